// SPDX-License-Identifier: Apache-2.0
//
// IQ4_NL: 32 weights in 18 bytes, 4.5 bits per weight. GGUF tensor type 20; layout and codebook are those of ggml's reference.
//
//     weight[k] = scale * codebook[code[k]]      code 0..15; the 16 levels are denser around zero, where weights are denser too
//
//     byte  0        2                                                    18
//           | scale  | codes, 16 bytes                                     |
//           |  f16   | byte j: low nibble = code[j], high = code[j + 16]   |
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/base/types.hpp>
#include <stilla/format/even_levels.hpp>
#include <stilla/format/rounding.hpp>
#include <stilla/format/scale_search.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct IQ4_NL {
  static constexpr std::string_view name = "iq4_nl";
  static constexpr std::size_t block_weights = 32;
  static constexpr std::size_t block_bytes = 18;

  // The following members describe the codes and scales of the format to the kernels that multiply integers. format/format.hpp says
  // what each of them means.
  static constexpr unsigned code_bits = 4;
  static constexpr int zero_point = 0;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = false;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = true;

  static constexpr std::array<std::int8_t, 16> codebook{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

  static constexpr int code(const std::byte* block, std::size_t k) { return detail::split_nibble(block + 2, k); }
  static constexpr void set_code(std::byte* block, std::size_t k, int code) { detail::set_split_nibble(block + 2, k, code); }
  static f16 scale(const std::byte* block) { return load_as<f16>(block); }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    for (std::size_t k = 0; k < block_weights; ++k) {
      weights[k] = d * static_cast<float>(codebook[static_cast<std::size_t>(code(block, k))]);
    }
  }

  static std::size_t nearest_code(float x) { return detail::nearest_code(codebook, x); }

  // Chooses the scale by least squares (format/scale_search.hpp), then the codes whose decoded weights are nearest to the given
  // ones.
  static void encode(const float* weights, std::byte* block, const float* importance = nullptr) {
    const auto nearest = [](float x) { return codebook[nearest_code(x)]; };
    const f16 stored = to_f16(detail::fit_scale(weights, block_weights, -127.0f, nearest, importance));
    const float inverse = detail::inverse_scale(to_float(stored));
    store_as(block, stored);
    for (std::size_t j = 0; j < 16; ++j) {
      const std::size_t low = nearest_code(weights[j] * inverse);
      block[2 + j] = static_cast<std::byte>(low | nearest_code(weights[j + 16] * inverse) << 4);
    }
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
