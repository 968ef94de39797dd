// SPDX-License-Identifier: Apache-2.0
//
// Q8_0: 32 weights in 34 bytes, 8.5 bits per weight. GGUF tensor type 8; layout and encoder are those of ggml's reference.
//
//     weight[k] = scale * code[k]                code -127..127 from the encoder, -128..127 in a file
//
//     byte  0        2                                                    34
//           | scale  | codes, 32 signed bytes                              |
//           |  f16   | byte k = code[k]                                    |
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/base/types.hpp>
#include <stilla/format/rounding.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Q8_0 {
  static constexpr std::string_view name = "q8_0";
  static constexpr std::size_t block_weights = 32;
  static constexpr std::size_t block_bytes = 34;

  // The following members describe the codes and scales of the format to the kernels that multiply integers. format/format.hpp says
  // what each of them means.
  static constexpr unsigned code_bits = 8;
  static constexpr int zero_point = 0;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = false;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = false;

  static constexpr int code(const std::byte* block, std::size_t k) { return load_as<std::int8_t>(block + 2 + k); }
  static f16 scale(const std::byte* block) { return load_as<f16>(block); }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    for (std::size_t k = 0; k < block_weights; ++k) weights[k] = d * static_cast<float>(code(block, k));
  }

  // The largest magnitude becomes +-127. Codes are rounded with the scale as a float, before the scale is rounded to f16.
  static void encode(const float* weights, std::byte* block) {
    const float d = detail::largest_magnitude(weights, block_weights) / 127.0f;
    const float inverse = detail::inverse_scale(d);
    store_as(block, to_f16(d));
    for (std::size_t k = 0; k < block_weights; ++k) {
      store_as(block + 2 + k, static_cast<std::int8_t>(detail::nearest_integer(weights[k] * inverse)));
    }
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
