// SPDX-License-Identifier: Apache-2.0
//
// Q6_K: 256 weights in 210 bytes, 6.5625 bits per weight. GGUF tensor type 14; the layout is that of ggml's reference.
//
//     weight[k] = scale * sub_scale[g] * (code[k] - 32)        g = k / 16, code 0..63, sub_scale -128..127
//
//     byte  0                               128                              192                 208      210
//           | low nibbles                   | high bit pairs                 | sub_scale         | scale  |
//           | 2 runs of 64 bytes for        | 2 runs of 32 bytes for 128     | 16 signed bytes   |  f16   |
//           | 128 weights each              | weights each                   |                   |        |
//
//     run h, nibble byte j:  low  = code[128 h + j] % 16, high = code[128 h + 64 + j] % 16
//     run h, pair byte j:    bits 2q, 2q + 1 = code[128 h + 32 q + j] / 16
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

struct Q6_K {
  static constexpr std::string_view name = "q6_k";
  static constexpr std::size_t block_weights = 256;
  static constexpr std::size_t block_bytes = 210;

  // The following members describe the codes and scales of the format to the kernels that multiply integers. format/format.hpp says
  // what each of them means.
  static constexpr unsigned code_bits = 6;
  static constexpr int zero_point = 32;
  static constexpr std::size_t group_weights = 16;
  static constexpr bool has_sub_scales = true;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = false;

  static constexpr int code(const std::byte* block, std::size_t k) {
    const std::size_t half = k / 128;
    const std::size_t rest = k % 128;
    const unsigned low = std::to_integer<unsigned>(block[half * 64 + rest % 64]) >> (rest / 64 * 4) & 15u;
    const unsigned high = std::to_integer<unsigned>(block[128 + half * 32 + rest % 32]) >> (rest / 32 * 2) & 3u;
    return static_cast<int>(low | high << 4);
  }
  static f16 scale(const std::byte* block) { return load_as<f16>(block + 208); }
  static int sub_scale(const std::byte* block, std::size_t g) { return load_as<std::int8_t>(block + 192 + g); }

  static void decode(const std::byte* block, float* weights) { detail::decode_grouped_block<Q6_K>(block, weights); }

  // Chooses a scale per group by least squares (format/scale_search.hpp), rounds it to a multiple of the block's scale, and then
  // takes the codes whose decoded weights are nearest to the given ones.
  static void encode(const float* weights, std::byte* block, const float* importance = nullptr) {
    constexpr std::size_t n_groups = block_weights / group_weights;
    const auto nearest = [](float x) { return detail::nearest_level(x, -32, 31); };
    float fits[n_groups];
    for (std::size_t g = 0; g < n_groups; ++g) {
      fits[g] = detail::fit_scale(weights + g * group_weights, group_weights, -32.0f, nearest,
                                  detail::importance_from(importance, g * group_weights));
    }
    const f16 scale = to_f16(detail::extreme_of(fits, n_groups) / -128.0f);
    const float inverse_of_scale = detail::inverse_scale(to_float(scale));
    unsigned codes[block_weights];
    for (std::size_t g = 0; g < n_groups; ++g) {
      const int sub_scale = detail::nearest_level(fits[g] * inverse_of_scale, -128, 127);
      store_as(block + 192 + g, static_cast<std::int8_t>(sub_scale));
      const float inverse = detail::inverse_scale(to_float(scale) * static_cast<float>(sub_scale));
      for (std::size_t k = g * group_weights; k < (g + 1) * group_weights; ++k) {
        codes[k] = static_cast<unsigned>(nearest(weights[k] * inverse) + zero_point);
      }
    }
    store_as(block + 208, scale);
    for (std::size_t half = 0; half < 2; ++half) {
      const unsigned* run = codes + half * 128;
      for (std::size_t j = 0; j < 64; ++j) {
        block[half * 64 + j] = static_cast<std::byte>((run[j] & 15u) | (run[j + 64] & 15u) << 4);
      }
      for (std::size_t j = 0; j < 32; ++j) {
        block[128 + half * 32 + j] =
            static_cast<std::byte>(run[j] >> 4 | run[j + 32] >> 4 << 2 | run[j + 64] >> 4 << 4 | run[j + 96] >> 4 << 6);
      }
    }
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
