// SPDX-License-Identifier: Apache-2.0
//
// The list of targets, best first. To add one: make a folder beside this file and add its line here. Everything else follows from
// the list: the kernels that ops choose from (all_targets/), dispatch, tests, benches, coverage(), and --target.
//
//   target(folder, Type)      <stilla/folder/target.hpp> defines Type (base/target.hpp says what Type must have). The kernels that the
//                             target has are in <stilla/folder/matmul.hpp>, pack.hpp, attention.hpp, elementwise.hpp, activation_form.hpp
#pragma once

#include <stilla/base/target.hpp>
#include <stilla/base/type_list.hpp>

// clang-format off
#define STILLA_TARGET_LIST(target)   \
  target(x86_amx, Amx)               \
  target(x86_avx512vnni, Avx512Vnni) \
  target(x86_avxvnni, AvxVnni)       \
  target(x86_avx2, Avx2)             \
  target(arm_i8mm, I8mm)             \
  target(arm_dotprod, Dotprod)       \
  target(portable, Portable)         \
  target(scalar, Scalar)
// clang-format on

#define STILLA_EACH_LIST STILLA_TARGET_LIST
#define STILLA_EACH_HEADER(folder) <stilla/folder/target.hpp>
#include <stilla/base/include_each-inl.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

#define STILLA_TYPE_OF_TARGET(folder, Type) Type,
using ListedTargets = ListedTypes<TypeList<>, STILLA_TARGET_LIST(STILLA_TYPE_OF_TARGET) void>::Type;
#undef STILLA_TYPE_OF_TARGET

#ifdef STILLA_TARGETS
using SelectedTargets = TypeList<STILLA_TARGETS, Scalar>;
#else
using SelectedTargets = ListedTargets;
#endif

template <class T>
struct IsCompiledTarget {
  static_assert(Target<T>, "kernels/stilla/targets.hpp lists a type that is no target");
  static constexpr bool value = T::is_compiled && is_in_list<T, SelectedTargets>;
};
template <class T>
struct IsGuaranteedTarget {
  static constexpr bool value = IsCompiledTarget<T>::value && T::is_guaranteed;
};

template <class List>
struct BestOf;
template <class T, class... Ts>
struct BestOf<TypeList<T, Ts...>> {
  using Type = TypeList<T>;
};

}  // namespace detail

// The targets of this program, best first; scalar is the last one. With STILLA_SINGLE_TARGET there is only one: the best of those
// that the compiler flags guarantee.
#if STILLA_SINGLE_TARGET
using Targets = detail::BestOf<Filtered<detail::IsGuaranteedTarget, detail::ListedTargets>>::Type;
#else
using Targets = Filtered<detail::IsCompiledTarget, detail::ListedTargets>;
#endif

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
