// SPDX-License-Identifier: Apache-2.0
//
// The eight 6-bit sub-scales and eight 6-bit sub-minimums of Q4_K and Q5_K, in 12 bytes. The layout is that of ggml's reference.
//
//     byte  0 .. 3    bits 0-5: sub-scale g = 0..3       bits 6-7: upper two bits of sub-scale g + 4
//     byte  4 .. 7    bits 0-5: sub-minimum g = 0..3     bits 6-7: upper two bits of sub-minimum g + 4
//     byte  8 .. 11   bits 0-3: lower four bits of sub-scale 4..7     bits 4-7: those of sub-minimum 4..7
#pragma once

#include <cstddef>

#include <stilla/base/types.hpp>
#include <stilla/format/grouped_block.hpp>
#include <stilla/format/rounding.hpp>
#include <stilla/format/scale_search.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

// Returns the sub-scale (0 to 63) of group g (0 to 7). `packed` points at the 12 bytes that hold the sub-scales and sub-minimums of a
// block.
constexpr int k_scale(const std::byte* packed, std::size_t g) {
  const auto at = [&](std::size_t i) { return std::to_integer<int>(packed[i]); };
  return g < 4 ? at(g) & 63 : (at(g + 4) & 15) | at(g - 4) >> 6 << 4;
}

// The sub-minimum of group g, 0..63, from the 12 bytes at `packed`.
constexpr int k_minimum(const std::byte* packed, std::size_t g) {
  const auto at = [&](std::size_t i) { return std::to_integer<int>(packed[i]); };
  return g < 4 ? at(g + 4) & 63 : at(g + 4) >> 4 | at(g) >> 6 << 4;
}

// The reverse of k_scale() and k_minimum(): writes the 12 bytes from eight sub-scales and eight sub-minimums, each 0..63.
inline void store_k_scales(std::byte* packed, const int* scales, const int* minima) {
  for (std::size_t g = 0; g < 4; ++g) {
    packed[g] = static_cast<std::byte>(scales[g] | scales[g + 4] >> 4 << 6);
    packed[g + 4] = static_cast<std::byte>(minima[g] | minima[g + 4] >> 4 << 6);
    packed[g + 8] = static_cast<std::byte>((scales[g + 4] & 15) | (minima[g + 4] & 15) << 4);
  }
}

// Chooses the scales and minimums of the eight groups of a block of Q4_K or Q5_K. Writes the first 16 bytes of the block (scale,
// minimum, and the packed sub-scales and sub-minimums) and fills `codes` with 256 codes 0 .. highest.
inline void encode_k_block(const float* weights, std::byte* block, unsigned* codes, int highest, const float* importance) {
  constexpr std::size_t n_groups = 8;
  constexpr std::size_t group_weights = 32;
  ScaleAndMinimum fits[n_groups];
  float largest_scale = 0;
  float largest_minimum = 0;
  for (std::size_t g = 0; g < n_groups; ++g) {
    fits[g] = fit_scale_and_minimum(weights + g * group_weights, group_weights, highest, importance_from(importance, g * group_weights));
    if (fits[g].scale > largest_scale) largest_scale = fits[g].scale;
    if (fits[g].minimum > largest_minimum) largest_minimum = fits[g].minimum;
  }
  const f16 scale = to_f16(largest_scale / 63.0f);
  const f16 minimum = to_f16(largest_minimum / 63.0f);
  const float inverse_of_scale = inverse_scale(to_float(scale));
  const float inverse_of_minimum = inverse_scale(to_float(minimum));
  int scales[n_groups];
  int minima[n_groups];
  for (std::size_t g = 0; g < n_groups; ++g) {
    scales[g] = nearest_level(fits[g].scale * inverse_of_scale, 0, 63);
    minima[g] = nearest_level(fits[g].minimum * inverse_of_minimum, 0, 63);
    // The codes are chosen for the rounded scales and minimums that the block stores, and not for those that least squares gave
    // before they were rounded.
    const float inverse = inverse_scale(to_float(scale) * static_cast<float>(scales[g]));
    const float m = to_float(minimum) * static_cast<float>(minima[g]);
    for (std::size_t k = g * group_weights; k < (g + 1) * group_weights; ++k) {
      codes[k] = static_cast<unsigned>(nearest_level((weights[k] + m) * inverse, 0, highest));
    }
  }
  store_as(block, scale);
  store_as(block + 2, minimum);
  store_k_scales(block + 4, scales, minima);
}

// What Q4_K and Q5_K have in common: a block of 256 weights in groups of 32, which begins with scale, minimum, and the 12 bytes of
// sub-scales and sub-minimums. `Format` derives from it and adds its name, block_bytes, code() and encode(). The members are those that
// format/format.hpp describes; `bits` is the number of bits of a code.
template <class Format, unsigned bits>
struct MinimumKBlock {
  static constexpr std::size_t block_weights = 256;
  static constexpr unsigned code_bits = bits;
  static constexpr int zero_point = 0;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = true;
  static constexpr bool has_minimum = true;
  static constexpr bool is_codebook = false;

  static f16 scale(const std::byte* block) { return load_as<f16>(block); }
  static f16 minimum(const std::byte* block) { return load_as<f16>(block + 2); }
  static constexpr int sub_scale(const std::byte* block, std::size_t g) { return k_scale(block + 4, g); }
  static constexpr int sub_minimum(const std::byte* block, std::size_t g) { return -k_minimum(block + 4, g); }

  static void decode(const std::byte* block, float* weights) { decode_grouped_block<Format>(block, weights); }
};

}}}  // namespace stilla::detail

#include <stilla/base/pop_macros-inl.hpp>
