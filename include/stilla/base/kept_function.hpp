// SPDX-License-Identifier: Apache-2.0
//
// Keeps a callable of any type without memory of the heap. A Parallel (base/parallel.hpp) contains a KeptFunction, and so does the
// epilogue of a product (matmul.hpp).
//
//     made of                                          what it keeps
//     an object or lambda with a name (an lvalue)      a reference: the object must outlive what refers to it
//     a function, or a pointer to one                  the pointer
//     an object or lambda made on the spot             a copy. A callable that is larger than `kept_bytes`, or is more than plain
//                                                      data, cannot be kept as a copy and does not compile: give it a name
//
// So no KeptFunction refers to an object that is gone at the end of the line that made it.
#pragma once

#include <concepts>
#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

// A default-constructed KeptFunction, and one that is made of a null pointer, is empty and must not be called.
template <std::size_t kept_bytes, class... Args>
class KeptFunction {
 public:
  KeptFunction() = default;
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, KeptFunction> && requires(std::remove_reference_t<F>& f, Args... args) { f(args...); })
  KeptFunction(F&& f) {
    using Object = std::remove_reference_t<F>;
    using Kept = std::decay_t<F>;
    if constexpr (std::is_lvalue_reference_v<F> && !std::is_function_v<Object> && !std::is_pointer_v<Object>) {
      ::new (static_cast<void*>(kept_)) Object*(&f);
      call_ = [](unsigned char* kept, Args... args) { (**std::launder(reinterpret_cast<Object**>(kept)))(args...); };
    } else {
      static_assert(sizeof(Kept) <= kept_bytes && alignof(Kept) <= alignof(void*) && std::is_trivially_copyable_v<Kept> &&
                        std::is_trivially_destructible_v<Kept>,
                    "no copy of this callable can be kept: give it a name, and let it outlive what refers to it");
      if constexpr (std::is_pointer_v<Object>) {
        if (f == nullptr) return;
      }
      ::new (static_cast<void*>(kept_)) Kept(std::forward<F>(f));
      call_ = [](unsigned char* kept, Args... args) { (*std::launder(reinterpret_cast<Kept*>(kept)))(args...); };
    }
  }

  explicit operator bool() const { return call_ != nullptr; }
  void operator()(Args... args) const { call_(kept_, args...); }

 private:
  alignas(void*) mutable unsigned char kept_[kept_bytes] = {};  // mutable, because a call may change a kept copy
  void (*call_)(unsigned char*, Args...) = nullptr;
};

}}}  // namespace stilla::detail

#include <stilla/base/pop_macros-inl.hpp>
