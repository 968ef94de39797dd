// SPDX-License-Identifier: Apache-2.0
//
// Q2_K: 256 weights in 84 bytes, 2.625 bits per weight. GGUF tensor type 10; the layout is that of ggml's reference.
//
//     weight[k] = scale * sub_scale[g] * code[k] - minimum * m[g]        g = k / 16, code 0..3, sub_scale and m 0..15
//
//     byte  0                        16                                                  80       82         84
//           | sub_scale, m           | codes, 2 runs of 32 bytes for 128 weights each    | scale  | minimum  |
//           | byte g: low nibble =   | run h, byte j: bits 2q, 2q + 1 =                  |  f16   |   f16    |
//           | sub_scale[g], high = m |     code[128 h + 32 q + j]                        |        |          |
//
// sub_minimum(block, g) is m[g]; it stands in a nibble, in the packed layout too. minimum(block) is the stored minimum with the
// opposite sign, so that minimum * sub_minimum is added, as in every format.
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

struct Q2_K {
  static constexpr std::string_view name = "q2_k";
  static constexpr std::size_t block_weights = 256;
  static constexpr std::size_t block_bytes = 84;

  // The following members describe the codes and scales of the format to the kernels that multiply integers. format/format.hpp says
  // what each of them means.
  static constexpr unsigned code_bits = 2;
  static constexpr int zero_point = 0;
  static constexpr std::size_t group_weights = 16;
  static constexpr bool has_sub_scales = true;
  static constexpr bool has_minimum = true;
  static constexpr bool is_codebook = false;

  static constexpr int code(const std::byte* block, std::size_t k) {
    return std::to_integer<int>(block[16 + k / 128 * 32 + k % 32]) >> (k % 128 / 32 * 2) & 3;
  }
  static f16 scale(const std::byte* block) { return load_as<f16>(block + 80); }
  static f16 minimum(const std::byte* block) { return {static_cast<std::uint16_t>(load_as<std::uint16_t>(block + 82) ^ 0x8000u)}; }
  static constexpr int sub_scale(const std::byte* block, std::size_t g) { return std::to_integer<int>(block[g]) & 15; }
  static constexpr int sub_minimum(const std::byte* block, std::size_t g) { return std::to_integer<int>(block[g]) >> 4; }

  static void decode(const std::byte* block, float* weights) { detail::decode_grouped_block<Q2_K>(block, weights); }

  // Chooses a scale and a minimum per group by least squares (format/scale_search.hpp), rounds them to multiples of 1/15 of the
  // block's largest scale and largest minimum, and then takes the codes whose decoded weights are nearest to the given ones.
  static void encode(const float* weights, std::byte* block, const float* importance = nullptr) {
    constexpr std::size_t n_groups = block_weights / group_weights;
    detail::ScaleAndMinimum fits[n_groups];
    float largest_scale = 0;
    float largest_minimum = 0;
    for (std::size_t g = 0; g < n_groups; ++g) {
      fits[g] = detail::fit_scale_and_minimum(weights + g * group_weights, group_weights, 3,
                                              detail::importance_from(importance, g * group_weights));
      if (fits[g].scale > largest_scale) largest_scale = fits[g].scale;
      if (fits[g].minimum > largest_minimum) largest_minimum = fits[g].minimum;
    }
    const f16 scale = to_f16(largest_scale / 15.0f);
    const f16 minimum = to_f16(largest_minimum / 15.0f);
    const float inverse_of_scale = detail::inverse_scale(to_float(scale));
    const float inverse_of_minimum = detail::inverse_scale(to_float(minimum));
    for (std::size_t i = 16; i < 80; ++i) block[i] = std::byte{0};
    for (std::size_t g = 0; g < n_groups; ++g) {
      const int s = detail::nearest_level(fits[g].scale * inverse_of_scale, 0, 15);
      const int m = detail::nearest_level(fits[g].minimum * inverse_of_minimum, 0, 15);
      block[g] = static_cast<std::byte>(s | m << 4);
      const float inverse = detail::inverse_scale(to_float(scale) * static_cast<float>(s));
      const float least = to_float(minimum) * static_cast<float>(m);
      for (std::size_t k = g * group_weights; k < (g + 1) * group_weights; ++k) {
        const int code = detail::nearest_level((weights[k] + least) * inverse, 0, 3);
        block[16 + k / 128 * 32 + k % 32] |= static_cast<std::byte>(code << (k % 128 / 32 * 2));
      }
    }
    store_as(block + 80, scale);
    store_as(block + 82, minimum);
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
