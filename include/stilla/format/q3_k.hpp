// SPDX-License-Identifier: Apache-2.0
//
// Q3_K: 256 weights in 110 bytes, 3.4375 bits per weight. GGUF tensor type 11; the layout is that of ggml's reference.
//
//     weight[k] = scale * sub_scale[g] * (code[k] - 4)        g = k / 16, code 0..7
//     sub_scale[g] = stored 6-bit value - 32, so -32..31
//
//     byte  0                  32                                     96                            108      110
//           | high bits        | low bits, 2 runs of 32 bytes for     | stored scales, 12 bytes:    | scale  |
//           | byte j, bit c:   | 128 weights each                     | see below                   |  f16   |
//           | code[32 c + j]/4 |                                      |                             |        |
//
//     run h, byte j:           bits 2q, 2q + 1 = code[128 h + 32 q + j] % 4
//     scale byte i = 0..7:     low nibble = stored[i] % 16, high = stored[i + 8] % 16
//     scale byte 8 + i, i < 4: bits 2q, 2q + 1 = stored[4 q + i] / 16
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/base/types.hpp>
#include <stilla/format/grouped_block.hpp>
#include <stilla/format/rounding.hpp>
#include <stilla/format/scale_search.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Q3_K {
  static constexpr std::string_view name = "q3_k";
  static constexpr std::size_t block_weights = 256;
  static constexpr std::size_t block_bytes = 110;

  // The following members describe the codes and scales of the format to the kernels that multiply integers. format/format.hpp says
  // what each of them means.
  static constexpr unsigned code_bits = 3;
  static constexpr int zero_point = 4;
  static constexpr std::size_t group_weights = 16;
  static constexpr bool has_sub_scales = true;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = false;

  static constexpr int code(const std::byte* block, std::size_t k) {
    const int low = std::to_integer<int>(block[32 + k / 128 * 32 + k % 32]) >> (k % 128 / 32 * 2) & 3;
    const int high = std::to_integer<int>(block[k % 32]) >> (k / 32) & 1;
    return low | high << 2;
  }
  static f16 scale(const std::byte* block) { return load_as<f16>(block + 108); }
  static int sub_scale(const std::byte* block, std::size_t g) {
    const int low = std::to_integer<int>(block[96 + g % 8]) >> (g / 8 * 4) & 15;
    const int high = std::to_integer<int>(block[104 + g % 4]) >> (g / 4 * 2) & 3;
    return (low | high << 4) - 32;
  }

  static void decode(const std::byte* block, float* weights) { detail::decode_grouped_block<Q3_K>(block, weights); }

  // Chooses a scale per group by least squares (format/scale_search.hpp), rounds it to a multiple of the block's scale, and then
  // takes the codes whose decoded weights are nearest to the given ones.
  static void encode(const float* weights, std::byte* block, const float* importance = nullptr) {
    constexpr std::size_t n_groups = block_weights / group_weights;
    const auto nearest = [](float x) { return detail::nearest_level(x, -4, 3); };
    float fits[n_groups];
    for (std::size_t g = 0; g < n_groups; ++g) {
      fits[g] = detail::fit_scale(weights + g * group_weights, group_weights, -4.0f, nearest,
                                  detail::importance_from(importance, g * group_weights));
    }
    const f16 scale = to_f16(detail::extreme_of(fits, n_groups) / -32.0f);
    const float inverse_of_scale = detail::inverse_scale(to_float(scale));
    for (std::size_t i = 0; i < 108; ++i) block[i] = std::byte{0};
    for (std::size_t g = 0; g < n_groups; ++g) {
      const int sub_scale = detail::nearest_level(fits[g] * inverse_of_scale, -32, 31);
      const int stored = sub_scale + 32;
      block[96 + g % 8] |= static_cast<std::byte>((stored & 15) << (g / 8 * 4));
      block[104 + g % 4] |= static_cast<std::byte>(stored >> 4 << (g / 4 * 2));
      const float inverse = detail::inverse_scale(to_float(scale) * static_cast<float>(sub_scale));
      for (std::size_t k = g * group_weights; k < (g + 1) * group_weights; ++k) {
        const int code = nearest(weights[k] * inverse) + 4;
        block[32 + k / 128 * 32 + k % 32] |= static_cast<std::byte>((code & 3) << (k % 128 / 32 * 2));
        block[k % 32] |= static_cast<std::byte>(code >> 2 << (k / 32));
      }
    }
    store_as(block + 108, scale);
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
