// SPDX-License-Identifier: Apache-2.0
//
// The skeleton of a weight format: 64 weights in 50 bytes, 6.25 bits per weight.
//
//     weight[k] = scale * (code[k] - 32)          code 0..63
//
//     byte  0        2                                     50
//           | scale  | codes, 48 bytes: 6 bits each,        |
//           |  f16   | code[k] from bit 6k on, lowest first |
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/base/types.hpp>
#include <stilla/format/rounding.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct SKELETON6 {
  static constexpr std::string_view name = "skeleton6";
  static constexpr std::size_t block_weights = 64;
  static constexpr std::size_t block_bytes = 50;

  // Members that integer kernels read (format/format.hpp explains them).
  static constexpr unsigned code_bits = 6;
  static constexpr int zero_point = 32;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = false;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = false;

  static f16 scale(const std::byte* block) { return load_as<f16>(block); }
  static constexpr int code(const std::byte* block, std::size_t k) {
    const std::size_t bit = 6 * k, last = (bit + 5) / 8;
    unsigned bits = std::to_integer<unsigned>(block[2 + bit / 8]);
    if (last != bit / 8) bits |= std::to_integer<unsigned>(block[2 + last]) << 8;
    return static_cast<int>(bits >> bit % 8 & 63u);
  }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    for (std::size_t k = 0; k < block_weights; ++k) weights[k] = d * static_cast<float>(code(block, k) - zero_point);
  }
  static void encode(const float* weights, std::byte* block) {
    const float d = detail::magnitude(detail::extreme_of(weights, block_weights)) / 31.0f;
    const float inverse = detail::inverse_scale(d);
    store_as(block, to_f16(d));
    for (std::size_t i = 2; i < block_bytes; ++i) block[i] = {};
    for (std::size_t k = 0; k < block_weights; ++k) {
      const int level = detail::nearest_integer(weights[k] * inverse);
      const auto bits = static_cast<unsigned>((level < -32 ? -32 : level > 31 ? 31 : level) + zero_point) << (6 * k % 8);
      block[2 + 6 * k / 8] |= static_cast<std::byte>(bits & 255u);
      if (bits > 255) block[3 + 6 * k / 8] |= static_cast<std::byte>(bits >> 8);
    }
  }
};

}}  // namespace stilla
