// SPDX-License-Identifier: Apache-2.0
//
// Asymmetric int4 in groups of 128 with an integer zero point, as AWQ and GPTQ make it and as Ryzen AI's models hold it. GGUF files
// do not have it.
//
//     weight[k] = scale * (code[k] - zero)        code 0..15, zero 0..15; 67 bytes, 4.1875 bits per weight
//
//     byte  0        2       3                                          67
//           | scale  | zero  | codes, 64 bytes                           |
//           |  f16   |  u8   | byte j: low nibble = code[2j],            |
//           |        |       |         high       = code[2j + 1]         |
//
// INT4_G128_MIN (int4_g128.hpp) holds the same weights with the zero point as a rounded minimum. In this format they are exact:
// integer kernels see code - zero, which has 31 levels, as a code of 5 bits. So packed panels take 5.125 bits per weight. The bits
// of `zero` above the lowest four mean nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/base/types.hpp>
#include <stilla/format/even_levels.hpp>
#include <stilla/format/rounding.hpp>
#include <stilla/format/scale_search.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct UINT4_G128 {
  static constexpr std::string_view name = "uint4_g128";
  static constexpr std::size_t block_weights = 128;
  static constexpr std::size_t block_bytes = 67;

  // The following members describe the codes and scales of the format to the kernels that multiply integers. format/format.hpp says
  // what each of them means.
  static constexpr unsigned code_bits = 5;
  static constexpr int zero_point = 16;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = false;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = false;

  static constexpr int zero(const std::byte* block) { return std::to_integer<int>(block[2] & std::byte{15}); }
  static constexpr int stored_code(const std::byte* block, std::size_t k) { return detail::paired_nibble(block + 3, k); }
  static constexpr int code(const std::byte* block, std::size_t k) { return stored_code(block, k) - zero(block) + zero_point; }
  static f16 scale(const std::byte* block) { return load_as<f16>(block); }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    for (std::size_t k = 0; k < block_weights; ++k) weights[k] = d * static_cast<float>(code(block, k) - zero_point);
  }

  // Rounds to the nearest, as AWQ and GPTQ do. The range of the weights is widened to include 0, so that a weight of 0 stays 0.
  static void encode(const float* weights, std::byte* block) {
    detail::Range range = detail::range_of(weights, block_weights);
    if (range.least > 0) range.least = 0;
    if (range.most < 0) range.most = 0;
    const float d = (range.most - range.least) / 15.0f;
    const float inverse = detail::inverse_scale(d);
    const int zero = detail::nearest_level(detail::rounded(-range.least * inverse), 0, 15);
    store_as(block, to_f16(d));
    block[2] = static_cast<std::byte>(zero);
    detail::store_paired_nibbles(block + 3, block_weights, [&](std::size_t k) {
      return detail::nearest_level(detail::rounded(weights[k] * inverse), -zero, 15 - zero) + zero;
    });
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
