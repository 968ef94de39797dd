// SPDX-License-Identifier: Apache-2.0
//
// Q5_K: 256 weights in 176 bytes, 5.5 bits per weight. GGUF tensor type 13; the layout is that of ggml's reference.
//
//     weight[k] = scale * sub_scale[g] * code[k] - minimum * m[g]        g = k / 32, code 0..31, sub_scale and m 0..63
//
//     byte  0        2          4                 16                  48                                       176
//           | scale  | minimum  | sub_scale, m    | high bits         | low nibbles, 4 runs of 32 bytes         |
//           |  f16   |   f16    | 12 bytes:       | byte j, bit g:    | run c, byte j:                          |
//           |        |          | format/k_scales | code[32 g + j]/16 | low = code[64 c + j] % 16,              |
//           |        |          |                 |                   | high = code[64 c + 32 + j] % 16         |
//
// sub_minimum(block, g) is -m[g], so that minimum * sub_minimum is added, as in every format.
#pragma once

#include <cstddef>
#include <string_view>

#include <stilla/format/k_scales.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Q5_K : detail::MinimumKBlock<Q5_K, 5> {
  static constexpr std::string_view name = "q5_k";
  static constexpr std::size_t block_bytes = 176;

  static constexpr int code(const std::byte* block, std::size_t k) {
    const unsigned pair = std::to_integer<unsigned>(block[48 + k / 64 * 32 + k % 32]);
    const unsigned high = std::to_integer<unsigned>(block[16 + k % 32]) >> (k / 32) & 1u;
    return static_cast<int>((k % 64 < 32 ? pair & 15u : pair >> 4) | high << 4);
  }

  // Chooses scales and minimums per group by least squares (format/scale_search.hpp), then the codes whose decoded weights are
  // nearest to the given ones.
  static void encode(const float* weights, std::byte* block, const float* importance = nullptr) {
    unsigned codes[block_weights];
    detail::encode_k_block(weights, block, codes, 31, importance);
    for (std::size_t i = 0; i < block_weights / 2; ++i) {
      const std::size_t k = i / 32 * 64 + i % 32;
      block[48 + i] = static_cast<std::byte>((codes[k] & 15u) | (codes[k + 32] & 15u) << 4);
    }
    for (std::size_t j = 0; j < 32; ++j) {
      unsigned high_bits = 0;
      for (std::size_t g = 0; g < 8; ++g) high_bits |= codes[32 * g + j] >> 4 << g;
      block[16 + j] = static_cast<std::byte>(high_bits);
    }
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
