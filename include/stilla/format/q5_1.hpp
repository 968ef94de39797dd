// SPDX-License-Identifier: Apache-2.0
//
// Q5_1: 32 weights in 24 bytes, 6 bits per weight. GGUF tensor type 7; layout and encoder are those of ggml's reference.
//
//     weight[k] = scale * code[k] + minimum      code 0..31
//
//     byte  0        2          4                   8                                                     24
//           | scale  | minimum  | high bits, u32    | low nibbles, 16 bytes                                |
//           |  f16   |   f16    | bit k: code[k]/16 | byte j: low = code[j] % 16, high = code[j + 16] % 16 |
#pragma once

#include <cstddef>
#include <string_view>

#include <stilla/format/even_levels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Q5_1 : detail::MinimumFormat<Q5_1, 5> {
  static constexpr std::string_view name = "q5_1";
  static constexpr std::size_t block_weights = 32;
  static constexpr std::size_t block_bytes = 24;

  static constexpr int code(const std::byte* block, std::size_t k) { return detail::split_code5(block + 4, block + 8, k); }
  template <class Code>
  static void store_codes(std::byte* block, const Code& code_of) {
    detail::store_split_codes5(block + 4, block + 8, code_of);
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
