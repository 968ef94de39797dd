// SPDX-License-Identifier: Apache-2.0
//
// Q5_1: 32 weights in 24 bytes, 6 bits per weight. GGUF tensor type 7; layout and encoder after ggml's reference.
//
//     weight[k] = scale * code[k] + minimum      code 0..31
//
//     byte  0        2          4                   8                                                24
//           | scale  | minimum  | high bits, u32    | low nibbles, 16 bytes                           |
//           |  f16   |   f16    | bit k: code[k]/16 | byte j: low = code[j] % 16, high = code[j + 16] |
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/format/rounding.hpp>
#include <stilla/types.hpp>

namespace stilla::inline STILLA_ABI {

struct Q5_1 {
  static constexpr std::string_view name = "q5_1";
  static constexpr std::uint32_t gguf_type = 7;
  static constexpr std::size_t block_weights = 32;
  static constexpr std::size_t block_bytes = 24;

  // What integer kernels see (format/format.hpp).
  static constexpr unsigned code_bits = 5;
  static constexpr int zero_point = 0;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = false;
  static constexpr bool has_minimum = true;
  static constexpr bool is_codebook = false;

  static int code(const std::byte* block, std::size_t k) {
    const unsigned pair = std::to_integer<unsigned>(block[8 + k % 16]);
    const unsigned high = load_as<std::uint32_t>(block + 4) >> k & 1u;
    return static_cast<int>((k < 16 ? pair & 15u : pair >> 4) | high << 4);
  }
  static f16 scale(const std::byte* block) { return load_as<f16>(block); }
  static f16 minimum(const std::byte* block) { return load_as<f16>(block + 2); }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    const float m = to_float(minimum(block));
    for (std::size_t k = 0; k < block_weights; ++k) weights[k] = d * static_cast<float>(code(block, k)) + m;
  }

  // The smallest weight becomes code 0, the largest code 31.
  static void encode(const float* weights, std::byte* block) {
    const detail::Range range = detail::range_of(weights, block_weights);
    const float d = (range.most - range.least) / 31.0f;
    const float inverse = detail::inverse_scale(d);
    const auto quantise = [&](float w) {
      return detail::truncated_code(detail::rounded((w - range.least) * inverse) + 0.5f, 31);
    };
    std::uint32_t high_bits = 0;
    for (std::size_t j = 0; j < 16; ++j) {
      const unsigned first = quantise(weights[j]);
      const unsigned second = quantise(weights[j + 16]);
      block[8 + j] = static_cast<std::byte>((first & 15u) | (second & 15u) << 4);
      high_bits |= first >> 4 << j | second >> 4 << (j + 16);
    }
    store_as(block, to_f16(d));
    store_as(block + 2, to_f16(range.least));
    store_as(block + 4, high_bits);
  }
};

}  // namespace stilla::STILLA_ABI
