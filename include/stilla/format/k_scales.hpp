// SPDX-License-Identifier: Apache-2.0
//
// The eight 6-bit scales and eight 6-bit minima of Q4_K and Q5_K, in 12 bytes. Layout after ggml's reference.
//
//     byte  0 .. 3    bits 0-5: scale g = 0..3       bits 6-7: upper two bits of scale g + 4
//     byte  4 .. 7    bits 0-5: minimum g = 0..3     bits 6-7: upper two bits of minimum g + 4
//     byte  8 .. 11   bits 0-3: lower four bits of scale 4..7     bits 4-7: of minimum 4..7
#pragma once

#include <cstddef>

#include <stilla/config.hpp>

namespace stilla::inline STILLA_ABI::detail {

// Scale of group g, 0..63. `packed` points at the 12 bytes.
inline int k_scale(const std::byte* packed, std::size_t g) {
  const auto at = [&](std::size_t i) { return std::to_integer<int>(packed[i]); };
  return g < 4 ? at(g) & 63 : (at(g + 4) & 15) | at(g - 4) >> 6 << 4;
}

// Minimum of group g, 0..63.
inline int k_minimum(const std::byte* packed, std::size_t g) {
  const auto at = [&](std::size_t i) { return std::to_integer<int>(packed[i]); };
  return g < 4 ? at(g + 4) & 63 : at(g + 4) >> 4 | at(g) >> 6 << 4;
}

}  // namespace stilla::STILLA_ABI::detail
