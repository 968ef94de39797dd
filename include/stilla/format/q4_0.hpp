// SPDX-License-Identifier: Apache-2.0
//
// Q4_0: 32 weights in 18 bytes, 4.5 bits per weight. GGUF tensor type 2; layout and encoder after ggml's reference.
//
//     weight[k] = scale * (code[k] - 8)          code 0..15
//
//     byte  0        2                                                    18
//           | scale  | codes, 16 bytes                                     |
//           |  f16   | byte j: low nibble = code[j], high = code[j + 16]   |
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/format/rounding.hpp>
#include <stilla/types.hpp>

namespace stilla::inline STILLA_ABI {

struct Q4_0 {
  static constexpr std::string_view name = "q4_0";
  static constexpr std::uint32_t gguf_type = 2;
  static constexpr std::size_t block_weights = 32;
  static constexpr std::size_t block_bytes = 18;

  // What integer kernels see (format/format.hpp).
  static constexpr unsigned code_bits = 4;
  static constexpr int zero_point = 8;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = false;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = false;

  static int code(const std::byte* block, std::size_t k) {
    const unsigned pair = std::to_integer<unsigned>(block[2 + k % 16]);
    return static_cast<int>(k < 16 ? pair & 15u : pair >> 4);
  }
  static f16 scale(const std::byte* block) { return load_as<f16>(block); }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    for (std::size_t k = 0; k < block_weights; ++k) weights[k] = d * static_cast<float>(code(block, k) - zero_point);
  }

  // The weight of the largest magnitude becomes code 0 (its sign goes into the scale), as in ggml's reference encoder.
  static void encode(const float* weights, std::byte* block) {
    const float d = detail::extreme_of(weights, block_weights) / -8.0f;
    const float inverse = detail::inverse_scale(d);
    const auto quantise = [&](float w) { return detail::truncated_code(detail::rounded(w * inverse) + 8.5f, 15); };
    store_as(block, to_f16(d));
    for (std::size_t j = 0; j < 16; ++j) {
      block[2 + j] = static_cast<std::byte>(quantise(weights[j]) | quantise(weights[j + 16]) << 4);
    }
  }
};

}  // namespace stilla::STILLA_ABI
