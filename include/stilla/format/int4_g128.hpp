// SPDX-License-Identifier: Apache-2.0
//
// Int4 in groups of 128, as GPTQ, AWQ and similar quantisers make it, for engines that bring such weights. GGUF files do not have
// it.
//
//     symmetric,  INT4_G128:       weight[k] = scale * (code[k] - 8)         66 bytes, 4.125 bits per weight
//     asymmetric, INT4_G128_MIN:   weight[k] = scale * code[k] + minimum     68 bytes, 4.25 bits per weight
//
//     byte  0        2                                        66        byte  0        2          4                   68
//           | scale  | codes, 64 bytes                         |              | scale  | minimum  | codes, 64 bytes    |
//           |  f16   | byte j: low nibble = code[2j],          |              |  f16   |   f16    | as in INT4_G128    |
//           |        |         high       = code[2j + 1]       |
//
// A zero point z becomes the minimum -scale * z. The minimum is rounded to f16 and is then off by at most 1/136 of the distance
// between two levels. Kernels take 32 weights at a time, because activations have one scale for each 32.
#pragma once

#include <cstddef>
#include <string_view>

#include <stilla/format/even_levels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct INT4_G128 : detail::SymmetricFormat<INT4_G128, 4> {
  static constexpr std::string_view name = "int4_g128";
  static constexpr std::size_t block_weights = 128;
  static constexpr std::size_t block_bytes = 66;

  static constexpr int code(const std::byte* block, std::size_t k) { return detail::paired_nibble(block + 2, k); }
  static constexpr void set_code(std::byte* block, std::size_t k, int code) { detail::set_paired_nibble(block + 2, k, code); }
  template <class Code>
  static void store_codes(std::byte* block, const Code& code_of) {
    detail::store_paired_nibbles(block + 2, block_weights, code_of);
  }
};

struct INT4_G128_MIN : detail::MinimumFormat<INT4_G128_MIN, 4> {
  static constexpr std::string_view name = "int4_g128_min";
  static constexpr std::size_t block_weights = 128;
  static constexpr std::size_t block_bytes = 68;

  static constexpr int code(const std::byte* block, std::size_t k) { return detail::paired_nibble(block + 4, k); }
  template <class Code>
  static void store_codes(std::byte* block, const Code& code_of) {
    detail::store_paired_nibbles(block + 4, block_weights, code_of);
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
