// SPDX-License-Identifier: Apache-2.0
//
// Names of formats, for messages.
#pragma once

#include <cstdint>
#include <string_view>

#include <stilla/base/error.hpp>
#include <stilla/format/format.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The name of a format, for example "q4_0", also if this program was compiled without the format; "unknown" if no format has this
// id.
inline std::string_view format_name(FormatId format) {
  std::string_view name = "unknown";
  detail::with_format(detail::ListedFormats{}, format, [&]<class F>(F) { name = F::name; });
#ifdef STILLA_FORMATS  // it may name formats of the program's own, which ListedFormats lacks
  with_format(format, [&]<class F>(F) { name = F::name; });
#endif
  return name;
}

namespace detail {
inline Error unknown_format(FormatId format) {
  if (const std::string_view name = format_name(format); name != "unknown") {
    return {ErrorKind::bad_argument, concat("weights of the format ", name,
                                            " are not supported, because it is not compiled: "
                                            "STILLA_FORMATS has to name it (stilla/base/config.hpp)")};
  }
  return {ErrorKind::bad_argument, concat("weights of an unknown format (id ", static_cast<std::uint32_t>(format), ") are not supported")};
}
}  // namespace detail

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
