// SPDX-License-Identifier: Apache-2.0
//
// Formats in messages.
#pragma once

#include <cstdint>
#include <string_view>

#include <stilla/base/error.hpp>
#include <stilla/format/format.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// "q4_0"; "unknown" where no format has this id.
inline std::string_view format_name(FormatId format) {
  std::string_view name = "unknown";
  with_format(format, [&]<class F>(F) { name = F::name; });
  return name;
}

namespace detail {
inline Error unknown_format(FormatId format) {
  return {ErrorKind::bad_argument, concat("weights of an unknown format (id ", static_cast<std::uint32_t>(format), ") are not supported")};
}
}  // namespace detail

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
