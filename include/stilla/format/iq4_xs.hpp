// SPDX-License-Identifier: Apache-2.0
//
// IQ4_XS: 256 weights in 136 bytes, 4.25 bits per weight. GGUF tensor type 23; the layout is that of ggml's reference.
//
//     weight[k] = scale * sub_scale[g] * codebook[code[k]]     g = k / 32, code 0..15, codebook of IQ4_NL
//     sub_scale[g] = stored 6-bit value - 32, so -32..31
//
//     byte  0        2                       4                    8                                          136
//           | scale  | upper scale bits, u16 | lower scale bits   | codes, 8 runs of 16 bytes                 |
//           |  f16   | bits 2g, 2g + 1:      | byte g / 2: low    | run g, byte j:                            |
//           |        | stored[g] / 16        | nibble for even g  | low nibble = code[32 g + j],              |
//           |        |                       |                    | high       = code[32 g + 16 + j]          |
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/base/types.hpp>
#include <stilla/format/grouped_block.hpp>
#include <stilla/format/iq4_nl.hpp>
#include <stilla/format/rounding.hpp>
#include <stilla/format/scale_search.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct IQ4_XS {
  static constexpr std::string_view name = "iq4_xs";
  static constexpr std::size_t block_weights = 256;
  static constexpr std::size_t block_bytes = 136;

  // The following members describe the codes and scales of the format to the kernels that multiply integers. format/format.hpp says
  // what each of them means.
  static constexpr unsigned code_bits = 4;
  static constexpr int zero_point = 0;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = true;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = true;

  static constexpr std::array<std::int8_t, 16> codebook = IQ4_NL::codebook;

  static constexpr int code(const std::byte* block, std::size_t k) { return detail::split_nibble(block + 8 + k / 32 * 16, k % 32); }
  static constexpr void set_code(std::byte* block, std::size_t k, int code) {
    detail::set_split_nibble(block + 8 + k / 32 * 16, k % 32, code);
  }
  static f16 scale(const std::byte* block) { return load_as<f16>(block); }
  static int sub_scale(const std::byte* block, std::size_t g) {
    const unsigned low = std::to_integer<unsigned>(block[4 + g / 2]) >> (g % 2 * 4) & 15u;
    const unsigned high = static_cast<unsigned>(load_as<std::uint16_t>(block + 2)) >> (2 * g) & 3u;
    return static_cast<int>(low | high << 4) - 32;
  }

  static void decode(const std::byte* block, float* weights) { detail::decode_grouped_block<IQ4_XS>(block, weights); }

  // Chooses a scale per group by least squares (format/scale_search.hpp), rounds it to a multiple of the block's scale, and then
  // takes the codes whose decoded weights are nearest to the given ones.
  static void encode(const float* weights, std::byte* block, const float* importance = nullptr) {
    constexpr std::size_t n_groups = block_weights / group_weights;
    const auto nearest = [](float x) { return codebook[IQ4_NL::nearest_code(x)]; };
    float fits[n_groups];
    for (std::size_t g = 0; g < n_groups; ++g) {
      fits[g] = detail::fit_scale(weights + g * group_weights, group_weights, -127.0f, nearest,
                                  detail::importance_from(importance, g * group_weights));
    }
    const f16 stored = to_f16(detail::extreme_of(fits, n_groups) / -32.0f);
    const float inverse_of_scale = detail::inverse_scale(to_float(stored));
    unsigned low_bits = 0;
    unsigned high_bits = 0;
    for (std::size_t g = 0; g < n_groups; ++g) {
      const int factor = detail::nearest_level(fits[g] * inverse_of_scale, -32, 31);
      const auto biased = static_cast<unsigned>(factor + 32);
      low_bits |= (biased & 15u) << (4 * g);
      high_bits |= biased >> 4 << (2 * g);
      const float inverse = detail::inverse_scale(to_float(stored) * static_cast<float>(factor));
      const float* group = weights + g * group_weights;
      for (std::size_t j = 0; j < 16; ++j) {
        const std::size_t low = IQ4_NL::nearest_code(group[j] * inverse);
        block[8 + g * 16 + j] = static_cast<std::byte>(low | IQ4_NL::nearest_code(group[j + 16] * inverse) << 4);
      }
    }
    store_as(block, stored);
    store_as(block + 2, static_cast<std::uint16_t>(high_bits));
    store_as(block + 4, low_bits);
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
