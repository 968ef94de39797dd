// SPDX-License-Identifier: Apache-2.0
//
// Threads belong to the caller. An op that can use several of them takes a `Parallel`: a reference to anything callable
// as pool(count, body) that calls body(i) exactly once for every i in [0, count), in any order, on any threads, and
// returns when all are done (the ParallelFor concept). Two are offered: SerialFor, the default, and ThreadPool in
// <stilla/base/thread_pool.hpp>, which ops do not include, because <thread> would be a third of what their headers cost.
//
// Results never depend on the number of threads: work is split over outputs, never inside a sum.
#pragma once

#include <concepts>
#include <cstddef>
#include <type_traits>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// A reference to a callable taking an index. Valid as long as the callable is. Made of nothing, it does nothing.
class IndexFunction {
 public:
  IndexFunction() : object_(nullptr), call_([](void*, std::size_t) {}) {}
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, IndexFunction>)
  IndexFunction(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, std::size_t i) { (*static_cast<std::remove_reference_t<F>*>(object))(i); }) {}
  void operator()(std::size_t i) const { call_(object_, i); }

 private:
  void* object_;
  void (*call_)(void*, std::size_t);
};

template <class P>
concept ParallelFor = requires(P& pool, std::size_t count, IndexFunction body) { pool(count, body); };

// Everything on the calling thread.
struct SerialFor {
  void operator()(std::size_t count, IndexFunction body) const {
    for (std::size_t i = 0; i < count; ++i) body(i);
  }
};

// What ops take: a reference to some ParallelFor. Default: serial.
class Parallel {
 public:
  Parallel() = default;
  template <class P>
    requires(!std::same_as<std::remove_cvref_t<P>, Parallel> && ParallelFor<P>)
  Parallel(P& pool)
      : pool_(const_cast<void*>(static_cast<const void*>(&pool))),
        run_([](void* p, std::size_t count, IndexFunction body) { (*static_cast<P*>(p))(count, body); }) {}

  void operator()(std::size_t count, IndexFunction body) const {
    if (run_ == nullptr || count == 1) {
      SerialFor{}(count, body);
    } else if (count != 0) {
      run_(pool_, count, body);
    }
  }

 private:
  void* pool_ = nullptr;
  void (*run_)(void*, std::size_t, IndexFunction) = nullptr;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
