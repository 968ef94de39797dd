// SPDX-License-Identifier: Apache-2.0
//
// LPBQ, the "low power block quantisation" of Qualcomm's AI stack: int4 with a scale for each block of a row. A block's scale is a
// small integer times the row's own scale. QNN calls it BLOCKWISE_EXPANSION; ONNX writes it as two DequantizeLinear, one inside the
// other. It is symmetric. GGUF files do not have it.
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
// LPBQ32 takes 4.25 + 32 / K bits per weight, LPBQ64 4.125 + 32 / K, and LPBQ128 4.0625 + 32 / K.
//
// An NPU multiplies such weights without a float before the end of a row: codes, block scales and activations are integers, and
// their sum over all of K is an integer too (contract/npu.hpp has the limits of this sum). The encoder's row scales have 16
// significant bits, so that the product of row scale, block scale and level is exact in float, in whatever order a decoder
// multiplies. The bits of a block scale above the lowest four mean nothing. Block scales stay below 16 because QNN's field for them
// has 4 bits.
//
// Measured on real weights, LPBQ loses least among the int4 formats that an NPU takes, and the weights need no rotation
// (model/rotation.hpp) before they are encoded (examples/stilla/npu.md).
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

// The common part of LPBQ32, LPBQ64 and LPBQ128. B is the number of weights in a block.
template <class F, std::size_t B>
struct BlockScaledRow {
  static constexpr std::size_t block_weights = B;
  static constexpr std::size_t block_bytes = 1 + B / 2;
  static constexpr unsigned code_bits = 4;
  static constexpr int zero_point = 8;
  // The groups that kernels see have 32 weights even where a block has 64 or 128, because activations have one scale for each 32 values.
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = true;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = false;

  static constexpr int max_block_scale = 15;

  static constexpr int code(const std::byte* block, std::size_t k) { return paired_nibble(block + 1, k); }
  static constexpr void set_code(std::byte* block, std::size_t k, int code) { set_paired_nibble(block + 1, k, code); }
  static float scale(const std::byte* row) { return load_as<float>(row); }
  static void set_sub_scale(std::byte* block, std::size_t, int sub_scale) { block[0] = static_cast<std::byte>(sub_scale); }
  static int sub_scale(const std::byte* block, std::size_t) { return std::to_integer<int>(block[0] & std::byte{15}); }

  static void decode(const std::byte* block, float row_scale, float* weights) {
    const float s = row_scale * static_cast<float>(sub_scale(block, 0));
    for (std::size_t k = 0; k < B; ++k) weights[k] = s * static_cast<float>(code(block, k) - zero_point);
  }

  // The scale for a row of `count` weights. It is not negative. It is 1/15 of the largest step that a block of the row wants
  // (block_step), so that this block gets 15 as its block scale.
  static float fit(const float* weights, std::size_t count, const float* importance = nullptr) {
    double largest = 0;
    for (std::size_t k = 0; k < count; k += B) {
      const double wish = block_step(weights + k, importance_from(importance, k));
      if (wish > largest) largest = wish;
    }
    return with_16_bits(static_cast<float>(largest / max_block_scale));
  }

  // Tries three block scales: the one nearest to the step that the block wants (block_step), and its two neighbours. Takes the
  // one with the least squared error.
  static void encode(const float* weights, float row_scale, std::byte* block, const float* importance = nullptr) {
    const float inverse = inverse_scale(row_scale);
    const int wished = nearest_level(rounded(static_cast<float>(block_step(weights, importance)) * inverse), 1, max_block_scale);
    int best = wished;
    double least = -1;
    for (int s = wished - 1; s <= wished + 1; ++s) {
      if (s < 1 || s > max_block_scale) continue;
      const double error = squared_error(weights, row_scale * static_cast<float>(s), importance);
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
  // How far the largest weight may be cut off: at most to 1 / (1 + `cuts` / 8) of its magnitude. For int4 with one scale per row
  // (int_channel.hpp) weights may be cut off further. In a block there are few other weights, which gain little from that.
  static constexpr int cuts = 6;

  static int level(float weight, float inverse_step) { return nearest_level(rounded(weight * inverse_step), lowest, highest); }

  // The step (the distance between neighbouring values) that would suit a block best if it could be any number: the best of several
  // fits by least squares. It is not negative.
  static double block_step(const float* weights, const float* importance) {
    const float extreme = largest_magnitude(weights, B);
    ScaleFit best{0, 0};
    for (int step = 0; step <= cuts && extreme != 0.0f; ++step) {
      const float last = static_cast<float>(highest) * (1.0f + 0.125f * static_cast<float>(step));  // exact
      const ScaleFit found = fit_at(weights, B, last / extreme, [](float x) { return nearest_level(x, lowest, highest); }, importance);
      if (found.gain > best.gain) best = found;
    }
    return best.scale;
  }

  // The squared error of a block whose scale is `step`. Products of a step and a level are exact in double. The difference of a
  // float from such a product is nearly always exact too. Where it is not, the choice between two scales hardly matters, and it is
  // the same with every compiler.
  static double squared_error(const float* weights, float step, const float* importance) {
    const float inverse = inverse_scale(step);
    double sum = 0;
    for (std::size_t k = 0; k < B; ++k) {
      const double error = std::fma(static_cast<double>(step), -level(weights[k], inverse), static_cast<double>(weights[k]));
      sum = std::fma(importance_of(importance, k) * error, error, sum);
    }
    return sum;
  }
};

}  // namespace detail

struct LPBQ32 : detail::BlockScaledRow<LPBQ32, 32> {
  static constexpr std::string_view name = "lpbq32";
};
// Panels have a block scale for each 32 weights. Panels of LPBQ64 and LPBQ128 repeat the scale of a block in each of its groups of
// 32, so they are panels of LPBQ32.
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
