// SPDX-License-Identifier: Apache-2.0
//
// A list of types, for the lists of targets, devices and formats.
#pragma once

#include <cstddef>
#include <type_traits>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

template <class... Ts>
struct TypeList {
  static constexpr std::size_t size = sizeof...(Ts);
};

// Calls f(tag) for every type of the list; tag is a default-constructed object of that type.
template <class... Ts, class F>
constexpr void for_each_type(TypeList<Ts...>, F&& f) {
  (f(Ts{}), ...);
}

namespace detail {

template <class... Lists>
struct JoinedTypes;
template <class... As>
struct JoinedTypes<TypeList<As...>> {
  using Type = TypeList<As...>;
};
template <class... As, class... Bs, class... Rest>
struct JoinedTypes<TypeList<As...>, TypeList<Bs...>, Rest...> : JoinedTypes<TypeList<As..., Bs...>, Rest...> {};

template <template <class> class Which, class List>
struct FilteredTypes;
template <template <class> class Which, class... Ts>
struct FilteredTypes<Which, TypeList<Ts...>> : JoinedTypes<TypeList<>, std::conditional_t<Which<Ts>::value, TypeList<Ts>, TypeList<>>...> {
};

template <class T, class List>
inline constexpr bool is_in_list = false;
template <class T, class... Ts>
inline constexpr bool is_in_list<T, TypeList<Ts...>> = (std::is_same_v<T, Ts> || ...);

// Turns what a list macro gives, T0, T1, ..., void, into a TypeList. The void is there because a macro writes a comma after the
// last type.
template <class List, class... Ts>
struct ListedTypes;
template <class... Done>
struct ListedTypes<TypeList<Done...>, void> {
  using Type = TypeList<Done...>;
};
template <class... Done, class T, class... Rest>
struct ListedTypes<TypeList<Done...>, T, Rest...> : ListedTypes<TypeList<Done..., T>, Rest...> {};

}  // namespace detail

// The types of List for which Which<T>::value is true.
template <template <class> class Which, class List>
using Filtered = typename detail::FilteredTypes<Which, List>::Type;

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
