// SPDX-License-Identifier: Apache-2.0
//
// Int4 and int8 with one scale for each row of weights. A row is an output channel; ONNX and QNN call this per-channel, and oneDNN
// calls it a scale per output. The formats are symmetric. They are for engines that bring such weights; GGUF files do not have
// them.
//
//     INT4_CHANNEL:   weight[k] = scale * (code[k] - 8)     4 + 32 / K bits per weight, code 0..15
//     INT8_CHANNEL:   weight[k] = scale * code[k]           8 + 32 / K bits per weight, code -127..127 from the encoder
//
//     byte  0        4                        row
//           | scale  | block | block | ...     a block is 32 weights: int4, 16 bytes, byte j: low nibble = code[2j],
//           |  f32   |       |       |         high = code[2j + 1]; int8, 32 bytes, byte k = code[k]
//
// Int8 loses almost nothing with one scale per row. Int4 does lose, because one distance between levels must suit the largest
// weight of a row and all others. So the encoder cuts off the largest weights where that makes the error smaller (README.md of this
// folder has the numbers).
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

namespace detail {

// The common part of INT4_CHANNEL and INT8_CHANNEL; F stores the codes. `lowest` and `highest` are the least and the greatest
// level, code - zero_point. `cuts` says how many ways to cut off the largest weights are tried: way number i lets levels end at
// 1 / (1 + i / 8) of the largest magnitude.
template <class F, int lowest, int highest, int cuts>
struct ChannelFormat {
  static constexpr std::size_t block_weights = 32;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = false;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = false;

  static float scale(const std::byte* row) { return load_as<float>(row); }

  static void decode(const std::byte* block, float scale, float* weights) {
    for (std::size_t k = 0; k < block_weights; ++k) weights[k] = scale * static_cast<float>(F::code(block, k) - F::zero_point);
  }

  // The scale for a row of `count` weights. It is not negative.
  static float fit(const float* weights, std::size_t count, const float* importance = nullptr) {
    const float extreme = largest_magnitude(weights, count);
    ScaleFit best{0, 0};
    for (int step = 0; step <= cuts && extreme != 0.0f; ++step) {
      const float last = static_cast<float>(highest) * (1.0f + 0.125f * static_cast<float>(step));  // exact
      const ScaleFit found = fit_at(weights, count, last / extreme, [](float x) { return nearest_level(x, lowest, highest); }, importance);
      if (found.gain > best.gain) best = found;
    }
    return static_cast<float>(best.scale);
  }

  static void encode(const float* weights, float scale, std::byte* block, const float* = nullptr) {
    const float inverse = inverse_scale(scale);
    F::store_codes(block, [&](std::size_t k) { return nearest_level(weights[k] * inverse, lowest, highest) + F::zero_point; });
  }
};

}  // namespace detail

struct INT4_CHANNEL : detail::ChannelFormat<INT4_CHANNEL, -8, 7, 16> {
  static constexpr std::string_view name = "int4_channel";
  static constexpr std::size_t block_bytes = 16;
  static constexpr unsigned code_bits = 4;
  static constexpr int zero_point = 8;

  static constexpr int code(const std::byte* block, std::size_t k) { return detail::paired_nibble(block, k); }
  static constexpr void set_code(std::byte* block, std::size_t k, int code) { detail::set_paired_nibble(block, k, code); }
  template <class Code>
  static void store_codes(std::byte* block, const Code& code_of) {
    detail::store_paired_nibbles(block, block_weights, code_of);
  }
};

struct INT8_CHANNEL : detail::ChannelFormat<INT8_CHANNEL, -127, 127, 0> {
  static constexpr std::string_view name = "int8_channel";
  static constexpr std::size_t block_bytes = 32;
  static constexpr unsigned code_bits = 8;
  static constexpr int zero_point = 0;

  static constexpr int code(const std::byte* block, std::size_t k) { return load_as<std::int8_t>(block + k); }
  template <class Code>
  static void store_codes(std::byte* block, const Code& code_of) {
    for (std::size_t k = 0; k < block_weights; ++k) store_as(block + k, static_cast<std::int8_t>(code_of(k)));
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
