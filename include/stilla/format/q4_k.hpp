// SPDX-License-Identifier: Apache-2.0
//
// Q4_K: 256 weights in 144 bytes, 4.5 bits per weight. GGUF tensor type 12; the layout is that of ggml's reference.
//
//     weight[k] = scale * sub_scale[g] * code[k] - minimum * m[g]        g = k / 32, code 0..15, sub_scale and m 0..63
//
//     byte  0        2          4                   16                                                  144
//           | scale  | minimum  | sub_scale, m      | codes, 4 runs of 32 bytes for 64 weights each      |
//           |  f16   |   f16    | 12 bytes:         | run c, byte j: low nibble = code[64 c + j],        |
//           |        |          | format/k_scales   |                high       = code[64 c + 32 + j]    |
//
// sub_minimum(block, g) is -m[g], so that minimum * sub_minimum is added, as in every format.
#pragma once

#include <cstddef>
#include <string_view>

#include <stilla/format/k_scales.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Q4_K : detail::MinimumKBlock<Q4_K, 4> {
  static constexpr std::string_view name = "q4_k";
  static constexpr std::size_t block_bytes = 144;

  static constexpr int code(const std::byte* block, std::size_t k) {
    const unsigned pair = std::to_integer<unsigned>(block[16 + k / 64 * 32 + k % 32]);
    return static_cast<int>(k % 64 < 32 ? pair & 15u : pair >> 4);
  }

  // Chooses scales and minimums per group by least squares (format/scale_search.hpp), then the codes whose decoded weights are
  // nearest to the given ones.
  static void encode(const float* weights, std::byte* block, const float* importance = nullptr) {
    unsigned codes[block_weights];
    detail::encode_k_block(weights, block, codes, 15, importance);
    for (std::size_t i = 0; i < block_weights / 2; ++i) {
      const std::size_t k = i / 32 * 64 + i % 32;
      block[16 + i] = static_cast<std::byte>(codes[k] | codes[k + 32] << 4);
    }
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
