// SPDX-License-Identifier: Apache-2.0
//
// Q4_0: 32 weights in 18 bytes, 4.5 bits per weight. GGUF tensor type 2; layout and encoder are those of ggml's reference.
//
//     weight[k] = scale * (code[k] - 8)          code 0..15
//
//     byte  0        2                                                    18
//           | scale  | codes, 16 bytes                                     |
//           |  f16   | byte j: low nibble = code[j], high = code[j + 16]   |
#pragma once

#include <cstddef>
#include <string_view>

#include <stilla/format/even_levels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Q4_0 : detail::SymmetricFormat<Q4_0, 4> {
  static constexpr std::string_view name = "q4_0";
  static constexpr std::size_t block_weights = 32;
  static constexpr std::size_t block_bytes = 18;

  static constexpr int code(const std::byte* block, std::size_t k) { return detail::split_nibble(block + 2, k); }
  static constexpr void set_code(std::byte* block, std::size_t k, int code) { detail::set_split_nibble(block + 2, k, code); }
  template <class Code>
  static void store_codes(std::byte* block, const Code& code_of) {
    detail::store_split_nibbles(block + 2, code_of);
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
