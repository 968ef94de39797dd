// SPDX-License-Identifier: Apache-2.0
//
// Q5_0: 32 weights in 22 bytes, 5.5 bits per weight. GGUF tensor type 6; layout and encoder are those of ggml's reference.
//
//     weight[k] = scale * (code[k] - 16)         code 0..31
//
//     byte  0        2                   6                                                     22
//           | scale  | high bits, u32    | low nibbles, 16 bytes                                |
//           |  f16   | bit k: code[k]/16 | byte j: low = code[j] % 16, high = code[j + 16] % 16 |
#pragma once

#include <cstddef>
#include <string_view>

#include <stilla/format/even_levels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Q5_0 : detail::SymmetricFormat<Q5_0, 5> {
  static constexpr std::string_view name = "q5_0";
  static constexpr std::size_t block_weights = 32;
  static constexpr std::size_t block_bytes = 22;

  static constexpr int code(const std::byte* block, std::size_t k) { return detail::split_code5(block + 2, block + 6, k); }
  template <class Code>
  static void store_codes(std::byte* block, const Code& code_of) {
    detail::store_split_codes5(block + 2, block + 6, code_of);
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
