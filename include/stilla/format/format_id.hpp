// SPDX-License-Identifier: Apache-2.0
//
// The number of a weight format in this library: a hash of its name. So a new format needs no number from a list, and the numbers
// of file formats do not reach the kernels (io/gguf_types.hpp has the numbers of GGUF files). An id depends on the name alone: it
// is the same in every build and on every machine, and may be stored. format.hpp checks that no two formats have the same id.
#pragma once

#include <cstdint>
#include <string_view>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class FormatId : std::uint32_t {};

// The id of no format. A view of no matrix has it, and so has a tensor whose type is not among the formats.
inline constexpr FormatId no_format{};

// The id of the format with this name, whether such a format exists or not. It is the FNV-1a hash of the name, 32 bits.
constexpr FormatId format_id(std::string_view name) {
  std::uint32_t hash = 0x811c9dc5;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193;
  return FormatId{hash};
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
