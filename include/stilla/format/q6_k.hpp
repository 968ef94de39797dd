// SPDX-License-Identifier: Apache-2.0
//
// Q6_K: 256 weights in 210 bytes, 6.5625 bits per weight. GGUF tensor type 14; layout after ggml's reference.
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

#include <stilla/types.hpp>

namespace stilla::inline STILLA_ABI {

struct Q6_K {
  static constexpr std::string_view name = "q6_k";
  static constexpr std::uint32_t gguf_type = 14;
  static constexpr std::size_t block_weights = 256;
  static constexpr std::size_t block_bytes = 210;

  // What integer kernels see (format/format.hpp).
  static constexpr unsigned code_bits = 6;
  static constexpr int zero_point = 32;
  static constexpr std::size_t group_weights = 16;
  static constexpr bool has_sub_scales = true;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = false;

  static int code(const std::byte* block, std::size_t k) {
    const std::size_t half = k / 128;
    const std::size_t rest = k % 128;
    const unsigned low = std::to_integer<unsigned>(block[half * 64 + rest % 64]) >> (rest / 64 * 4) & 15u;
    const unsigned high = std::to_integer<unsigned>(block[128 + half * 32 + rest % 32]) >> (rest / 32 * 2) & 3u;
    return static_cast<int>(low | high << 4);
  }
  static f16 scale(const std::byte* block) { return load_as<f16>(block + 208); }
  static int sub_scale(const std::byte* block, std::size_t g) { return load_as<std::int8_t>(block + 192 + g); }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    for (std::size_t g = 0; g < block_weights / group_weights; ++g) {
      const float s = d * static_cast<float>(sub_scale(block, g));
      for (std::size_t k = g * group_weights; k < (g + 1) * group_weights; ++k) {
        weights[k] = s * static_cast<float>(code(block, k) - zero_point);
      }
    }
  }
};

}  // namespace stilla::STILLA_ABI
