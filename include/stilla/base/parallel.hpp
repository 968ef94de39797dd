// SPDX-License-Identifier: Apache-2.0
//
// Defines how an op is given threads: the caller owns them. An op that can use several threads takes a `Parallel`. A Parallel is
// made of an object, a lambda or a function that can be called as pool(count, body) (the ParallelFor concept). Such a call must
// call body(i) exactly once for every i in [0, count), in any order and on any threads. It returns when all these calls are done.
// The library has two such types: SerialFor, the default, and ThreadPool in <stilla/base/thread_pool.hpp>. Ops do not include the
// latter, because <thread> would be a third of the compile time of their headers.
//
// Some programs have workers that know only "I am number `ith` of `nth`". They need no Parallel, because each op is also available
// as tasks. Each worker makes the same job, or all share one, and each worker takes every nth task:
//
//   const stilla::RopeJob job{x, head_dim, cos, sin, layout};
//   for (std::size_t task = ith, tasks = stilla::rope_tasks(job); task < tasks; task += nth) stilla::rope_run(job, task);
//
// The tasks of a job are independent of each other. Each must run once, in any order. All of them must be done before the next op
// reads what they wrote; the caller provides the barrier for this.
//
// Results never depend on the number of threads: work is split over outputs, never inside a sum.
#pragma once

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

#include <stilla/base/config.hpp>
#include <stilla/base/kept_function.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// A reference to a callable that takes an index. It is valid as long as the callable exists. A default-constructed one does
// nothing.
class IndexFunction {
 public:
  using Function = void (*)(void* object, std::size_t i);

  IndexFunction() : object_(nullptr), call_([](void*, std::size_t) {}) {}
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, IndexFunction>)
  IndexFunction(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, std::size_t i) { (*static_cast<std::remove_reference_t<F>*>(object))(i); }) {}
  void operator()(std::size_t i) const { call_(object_, i); }

  // The two parts of this reference, a pointer to the callable and a function that calls it. They are for pools written in C,
  // which take such a pair: function()(object(), i) does what (*this)(i) does.
  void* object() const { return object_; }
  Function function() const { return call_; }

 private:
  void* object_;
  Function call_;
};

template <class P>
concept ParallelFor = requires(P& pool, std::size_t count, IndexFunction body) { pool(count, body); };

// A ParallelFor that runs everything on the calling thread.
struct SerialFor {
  void operator()(std::size_t count, IndexFunction body) const {
    for (std::size_t i = 0; i < count; ++i) body(i);
  }
};

// The type by which ops take threads. The default is serial; a Parallel made of a null function pointer is serial too. An object or
// lambda that has a name is referred to and must outlive the Parallel. One that is made on the spot is copied
// (base/kept_function.hpp). The pool is called even if an op has only one task. This matters for programs in which every worker calls
// the op itself, with a pool that makes each worker run fixed indices of its own. The one task then runs only on the worker to which
// its index belongs; without the call of the pool, every worker would run it.
class Parallel {
 public:
  Parallel() = default;
  template <class P>
    requires(!std::same_as<std::remove_cvref_t<P>, Parallel> && ParallelFor<std::remove_reference_t<P>>)
  Parallel(P&& pool) : pool_(std::forward<P>(pool)) {}

  void operator()(std::size_t count, IndexFunction body) const {
    if (!pool_) {
      SerialFor{}(count, body);
    } else if (count != 0) {
      pool_(count, body);
    }
  }

 private:
  detail::KeptFunction<56, std::size_t, IndexFunction> pool_;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
