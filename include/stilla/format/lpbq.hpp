// SPDX-License-Identifier: Apache-2.0
//
// LPBQ, "low power block quantisation" of Qualcomm's AI stack: int4 with a scale for each block of a row that is a small
// integer times the row's own scale. QNN calls it BLOCKWISE_EXPANSION; ONNX spells it as two DequantizeLinear, one inside the
// other. Symmetric. Not in GGUF files.
//
//     weight[k] = (row_scale * block_scale[k / B]) * (code[k] - 8)        code 0..15, block_scale 1..15, B = 32, 64, 128
//
//     byte  0             4                                   row
//           | row scale   | block | block | ...               a block is B weights in 1 + B / 2 bytes:
//           |     f32     |       |       |
//                                                             0               1
//                                                             | block scale   | codes, B / 2 bytes; byte j: low nibble =
//                                                             |     u8        | code[2j], high = code[2j + 1]
//
// LPBQ32 takes 4.25 bits per weight and 32 / K, LPBQ64 4.125, LPBQ128 4.0625.
//
// An NPU multiplies such weights without a float before the end of a row: codes, block scales and activations are integers, and
// their sum over all of K is one (contract/npu.hpp has the bounds). The encoder's row scales have 16 significant bits, so that a
// decoded weight is exact in float, whoever decodes it. The bits of a block scale above the lowest four mean nothing; block
// scales stay below 16 because QNN's field for them has 4 bits.
//
// Of real weights LPBQ loses least among the int4 forms that an NPU takes, and wants no rotation (README.md, "Weight formats").
#pragma once

#include <cmath>
#include <cstddef>
#include <string_view>

#include <stilla/base/types.hpp>
#include <stilla/format/even_levels.hpp>
#include <stilla/format/rounding.hpp>
#include <stilla/format/scale_search.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

// What the three have in common; B: weights of a block.
template <class F, std::size_t B>
struct BlockScaledRow {
  static constexpr std::size_t block_weights = B;
  static constexpr std::size_t block_bytes = 1 + B / 2;
  static constexpr unsigned code_bits = 4;
  static constexpr int zero_point = 8;
  static constexpr std::size_t group_weights = 32;  // kernels take 32 weights at a time, as activations have a scale for each 32
  static constexpr bool has_sub_scales = true;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = false;

  static constexpr int most_block_scale = 15;

  static constexpr int code(const std::byte* block, std::size_t k) { return paired_nibble(block + 1, k); }
  static constexpr void set_code(std::byte* block, std::size_t k, int code) { set_paired_nibble(block + 1, k, code); }
  static float scale(const std::byte* row) { return load_as<float>(row); }
  static void set_sub_scale(std::byte* block, std::size_t, int sub_scale) { block[0] = static_cast<std::byte>(sub_scale); }
  static int sub_scale(const std::byte* block, std::size_t) { return std::to_integer<int>(block[0] & std::byte{15}); }

  static void decode(const std::byte* block, float row_scale, float* weights) {
    const float s = row_scale * static_cast<float>(sub_scale(block, 0));
    for (std::size_t k = 0; k < B; ++k) weights[k] = s * static_cast<float>(code(block, k) - zero_point);
  }

  // The scale for a row of `count` weights, not negative: the block that wishes for the largest step gets it as 15 row scales.
  static float fit(const float* weights, std::size_t count) {
    double largest = 0;
    for (std::size_t k = 0; k < count; k += B) {
      const double wish = block_step(weights + k);
      if (wish > largest) largest = wish;
    }
    return with_16_bits(static_cast<float>(largest / most_block_scale));
  }

  // The block scale with the least squared error among the three around the one that is wished for.
  static void encode(const float* weights, float row_scale, std::byte* block) {
    const float inverse = inverse_scale(row_scale);
    const int wished = nearest_level(rounded(static_cast<float>(block_step(weights)) * inverse), 1, most_block_scale);
    int best = wished;
    double least = -1;
    for (int s = wished - 1; s <= wished + 1; ++s) {
      if (s < 1 || s > most_block_scale) continue;
      const double error = squared_error(weights, row_scale * static_cast<float>(s));
      if (least < 0 || error < least) {
        least = error;
        best = s;
      }
    }
    const float inverse_step = inverse_scale(row_scale * static_cast<float>(best));
    block[0] = static_cast<std::byte>(best);
    store_paired_nibbles(block + 1, B, [&](std::size_t k) { return level(weights[k], inverse_step) + zero_point; });
  }

 private:
  static constexpr int lowest = -8, highest = 7;
  // How far the largest weight may be cut off: of a block little, since few weights gain from it.
  static constexpr int cuts = 6;

  static int level(float weight, float inverse_step) { return nearest_level(rounded(weight * inverse_step), lowest, highest); }

  // The step that a block would like to have, not negative.
  static double block_step(const float* weights) {
    const float extreme = magnitude(extreme_of(weights, B));
    ScaleFit best{0, 0};
    for (int step = 0; step <= cuts && extreme != 0.0f; ++step) {
      const float last = static_cast<float>(highest) * (1.0f + 0.125f * static_cast<float>(step));  // exact
      const ScaleFit found = fit_at(weights, B, last / extreme, [](float x) { return nearest_level(x, lowest, highest); });
      if (found.gain > best.gain) best = found;
    }
    return best.scale;
  }

  // Products of a step and a level are exact in double, and so is the difference from a float nearly always; where it is not,
  // the choice hardly matters, and it is the same with every compiler.
  static double squared_error(const float* weights, float step) {
    const float inverse = inverse_scale(step);
    double sum = 0;
    for (std::size_t k = 0; k < B; ++k) {
      const double error = std::fma(static_cast<double>(step), -level(weights[k], inverse), static_cast<double>(weights[k]));
      sum = std::fma(error, error, sum);
    }
    return sum;
  }

  // The float nearest to x with 16 significant bits.
  static float with_16_bits(float x) {
    const float high = rounded(x * 257.0f);
    return rounded(high - rounded(high - x));  // Dekker's splitting at 8 bits
  }
};

}  // namespace detail

struct LPBQ32 : detail::BlockScaledRow<LPBQ32, 32> {
  static constexpr std::string_view name = "lpbq32";
};
// Panels have a block scale for each 32 weights, of these formats equal ones, and so are LPBQ32's.
struct LPBQ64 : detail::BlockScaledRow<LPBQ64, 64> {
  using PanelFormat = LPBQ32;
  static constexpr std::string_view name = "lpbq64";
};
struct LPBQ128 : detail::BlockScaledRow<LPBQ128, 128> {
  using PanelFormat = LPBQ32;
  static constexpr std::string_view name = "lpbq128";
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
