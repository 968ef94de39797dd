// SPDX-License-Identifier: Apache-2.0
//
// Q4_1: 32 weights in 20 bytes, 5 bits per weight. GGUF tensor type 3; layout and encoder are those of ggml's reference.
//
//     weight[k] = scale * code[k] + minimum      code 0..15
//
//     byte  0        2          4                                                    20
//           | scale  | minimum  | codes, 16 bytes                                     |
//           |  f16   |   f16    | byte j: low nibble = code[j], high = code[j + 16]   |
#pragma once

#include <cstddef>
#include <string_view>

#include <stilla/format/even_levels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Q4_1 : detail::MinimumFormat<Q4_1, 4> {
  static constexpr std::string_view name = "q4_1";
  static constexpr std::size_t block_weights = 32;
  static constexpr std::size_t block_bytes = 20;

  static constexpr int code(const std::byte* block, std::size_t k) { return detail::split_nibble(block + 4, k); }
  template <class Code>
  static void store_codes(std::byte* block, const Code& code_of) {
    detail::store_split_nibbles(block + 4, code_of);
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
