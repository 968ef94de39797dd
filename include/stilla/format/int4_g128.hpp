// SPDX-License-Identifier: Apache-2.0
//
// Int4 in groups of 128, as GPTQ, AWQ and their kin make it: for engines that bring such weights. Not in GGUF files.
//
//     symmetric,  INT4_G128:       weight[k] = scale * (code[k] - 8)         66 bytes, 4.125 bits per weight
//     asymmetric, INT4_G128_MIN:   weight[k] = scale * code[k] + minimum     68 bytes, 4.25 bits per weight
//
//     byte  0        2                                        66        byte  0        2          4                   68
//           | scale  | codes, 64 bytes                         |              | scale  | minimum  | codes, 64 bytes    |
//           |  f16   | byte j: low nibble = code[2j],          |              |  f16   |   f16    | the same           |
//           |        |         high       = code[2j + 1]       |
//
// A zero point z is the minimum -scale * z; rounded to a half it is off by at most 1/136 of a step.
// Kernels take 32 weights at a time, as activations have a scale for each 32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/format/rounding.hpp>
#include <stilla/types.hpp>

namespace stilla::inline STILLA_ABI {

struct INT4_G128 {
  static constexpr std::string_view name = "int4_g128";
  static constexpr std::uint32_t gguf_type = 0x00533449;  // "I4S"
  static constexpr std::size_t block_weights = 128;
  static constexpr std::size_t block_bytes = 66;

  // What integer kernels see (format/format.hpp).
  static constexpr unsigned code_bits = 4;
  static constexpr int zero_point = 8;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = false;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = false;

  static int code(const std::byte* block, std::size_t k) {
    return std::to_integer<int>(block[2 + k / 2] >> (k % 2 * 4) & std::byte{15});
  }
  static f16 scale(const std::byte* block) { return load_as<f16>(block); }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    for (std::size_t k = 0; k < block_weights; ++k) weights[k] = d * static_cast<float>(code(block, k) - zero_point);
  }

  // As Q4_0: the weight of the largest magnitude becomes code 0.
  static void encode(const float* weights, std::byte* block) {
    const float d = detail::extreme_of(weights, block_weights) / -8.0f;
    const float inverse = detail::inverse_scale(d);
    const auto quantise = [&](float w) { return detail::truncated_code(detail::rounded(w * inverse) + 8.5f, 15); };
    store_as(block, to_f16(d));
    for (std::size_t k = 0; k < block_weights; k += 2) {
      block[2 + k / 2] = static_cast<std::byte>(quantise(weights[k]) | quantise(weights[k + 1]) << 4);
    }
  }
};

struct INT4_G128_MIN {
  static constexpr std::string_view name = "int4_g128_min";
  static constexpr std::uint32_t gguf_type = 0x004d3449;  // "I4M"
  static constexpr std::size_t block_weights = 128;
  static constexpr std::size_t block_bytes = 68;

  static constexpr unsigned code_bits = 4;
  static constexpr int zero_point = 0;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = false;
  static constexpr bool has_minimum = true;
  static constexpr bool is_codebook = false;

  static int code(const std::byte* block, std::size_t k) {
    return std::to_integer<int>(block[4 + k / 2] >> (k % 2 * 4) & std::byte{15});
  }
  static f16 scale(const std::byte* block) { return load_as<f16>(block); }
  static f16 minimum(const std::byte* block) { return load_as<f16>(block + 2); }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    const float m = to_float(minimum(block));
    for (std::size_t k = 0; k < block_weights; ++k) weights[k] = d * static_cast<float>(code(block, k)) + m;
  }

  // As Q4_1: from the least weight to the most in 15 steps.
  static void encode(const float* weights, std::byte* block) {
    const detail::Range range = detail::range_of(weights, block_weights);
    const float d = (range.most - range.least) / 15.0f;
    const float inverse = detail::inverse_scale(d);
    const auto quantise = [&](float w) {
      return detail::truncated_code(detail::rounded((w - range.least) * inverse) + 0.5f, 15);
    };
    store_as(block, to_f16(d));
    store_as(block + 2, to_f16(range.least));
    for (std::size_t k = 0; k < block_weights; k += 2) {
      block[4 + k / 2] = static_cast<std::byte>(quantise(weights[k]) | quantise(weights[k + 1]) << 4);
    }
  }
};

}  // namespace stilla::STILLA_ABI
