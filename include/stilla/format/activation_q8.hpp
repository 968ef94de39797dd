// SPDX-License-Identifier: Apache-2.0
//
// Activations rounded to integers, the other operand of every quantised matmul: 8 bits, or 16 bits as two int8 planes. One
// scale per 32 values, because a coarser one costs accuracy (measured on a 0.5B model with 8 bits: KL 0.0007 with one per 32,
// 0.0027 with one per 256, 0.025 with one per row). 16 bits make the rounding disappear: KL against float activations 6e-7 on
// a 135M model and 2e-6 on a 0.5B model, where 8 bits give 6e-3 and 8e-4 (scripts/check_fidelity.py). They cost twice the dot
// products: nothing where memory is the limit (decode), up to half the speed where it is not (prefill).
//
//     8 bits:   x[k] ~ scale[k / 32] * high[k]                     scale = max |x| of the block / 127, rounded up to a power of two
//     16 bits:  x[k] ~ scale[k / 32] * (256 * high[k] + low[k])    scale = max |x| of the block / 32512, likewise
//
// Separate arrays, so that kernels read each as a stream:
//
//     values  int8  [M][K]        row m, k = 0 .. K-1; the high plane
//     low     int8  [M][K]        the low plane, -128 .. 127; none with 8 bits
//     scales  float [M][K / 32]
//     sums    int32 [M][K / 32][2]   of the first 16 values of a block and of all 32: weights with a zero point need them, in
//                             groups of 16 or of 32
//     scaled_sums  float [M][K / 32]   scale * sum of a block, exact: weights with a minimum need them
//     tiles           the same once more in the form that AMX takes, where that is the target (below)
//
// The integer is x[k] / scale, rounded once, ties to even (math.hpp, round_magic). A block whose largest magnitude is below
// 2^-60 becomes zeros with scale 1. A block with a NaN or a magnitude above 2^60 becomes zeros with scale NaN, so the outputs
// that depend on it are NaN.
//
// Powers of two multiply any scale of weights exactly, by an addition to its exponent, which CPUs do beside their dot
// products (x86/panel_tile-inl.hpp). They cost up to one bit of 8: KL 0.0011 where max / 127 itself gave 0.0005, the head's
// input rounded as well, which it is not any more (model/forward.hpp).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <stilla/config.hpp>

namespace stilla::inline STILLA_ABI {

inline constexpr std::size_t activation_block = 32;

enum class ActivationBits : std::uint8_t { eight, sixteen };

namespace detail {

inline constexpr float smallest_activation = 0x1p-60f;  // of a block's highest magnitudes: every product of scales stays normal
inline constexpr float largest_activation = 0x1p60f;

// The scale of a block whose highest magnitude is `highest`, and 1 / scale. largest: 127 or 32512.
inline float activation_scale(float highest, float largest) {
  const auto bits = std::bit_cast<std::uint32_t>(highest / largest);
  return std::bit_cast<float>((bits + 0x007fffffu) & 0x7f800000u);
}
inline float inverse_of_power(float power_of_two) {
  return std::bit_cast<float>(0x7f000000u - std::bit_cast<std::uint32_t>(power_of_two));
}
// The scale of a block of zeros: because all is small, or because something is no number.
inline float scale_of_zeros(float highest) {
  return highest < smallest_activation ? 1.0f : std::numeric_limits<float>::quiet_NaN();
}

}  // namespace detail

// Activations as AMX's tiles take them: scale * value in bf16, exact, because a value has 8 bits and a scale is a power of two.
//
//     values  bf16  [K / 32][stride][32]   a block of all tokens, then the next one: a tile is one run of memory. Each 16 values
//                                          in the order 0 2 4 6 8 10 12 14 1 3 5 7 9 11 13 15 (tile_position)
//     low     bf16  likewise               the low plane; values are then scale * 256 * high. None with 8 bits
//     scaled_sums  float [K / 32][stride]  as above
//
// stride: tokens that there is room for, M + 16 at least (kernels read scaled_sums of a whole tile).
//
// Fewer tokens are multiplied sooner without them (16 tokens 1.3 times, 32 alike, 64 0.75; Granite Rapids).
inline constexpr std::size_t fewest_tokens_for_tiles = 32;
struct TileActivations {
  const std::uint16_t* values = nullptr;  // null: none, and no kernel needs them
  const std::uint16_t* low = nullptr;
  const float* scaled_sums = nullptr;
  std::size_t stride = 0;

  // Where the values of token m and its block of 32 begin.
  std::size_t at(std::size_t m, std::size_t block) const { return (block * stride + m) * activation_block; }
};

// Where value k of 16 stands in TileActivations. Neighbours there, which one multiplication takes, are k and k + 2: so weights,
// whose four neighbouring k share a word (pack.hpp), become such pairs by a shift.
constexpr std::size_t tile_position(std::size_t k) { return k % 2 * 8 + k / 4 * 2 + k / 2 % 2; }

// Somebody's rounded activations. K is a multiple of 32; any alignment.
struct ActivationQ8 {
  const std::int8_t* values = nullptr;
  const float* scales = nullptr;
  const std::int32_t* sums = nullptr;
  const float* scaled_sums = nullptr;
  std::size_t rows = 0;  // M
  std::size_t cols = 0;  // K
  const std::int8_t* low = nullptr;  // null: 8 bits
  TileActivations tiles = {};

  std::size_t blocks() const { return cols / activation_block; }
  const std::int8_t* row_values(std::size_t m) const { return values + m * cols; }
  const std::int8_t* row_low(std::size_t m) const { return low + m * cols; }
  const float* row_scales(std::size_t m) const { return scales + m * blocks(); }
  const std::int32_t* row_sums(std::size_t m) const { return sums + m * 2 * blocks(); }
  const float* row_scaled_sums(std::size_t m) const { return scaled_sums + m * blocks(); }

  // Rows [begin, begin + count).
  ActivationQ8 rows_from(std::size_t begin, std::size_t count) const {
    const std::int8_t* const low_from = low == nullptr ? nullptr : row_low(begin);
    TileActivations tiles_from = tiles;
    if (tiles.values != nullptr) {
      tiles_from.values += tiles.at(begin, 0);
      if (low != nullptr) tiles_from.low += tiles.at(begin, 0);
      tiles_from.scaled_sums += begin;
    }
    return {row_values(begin), row_scales(begin), row_sums(begin), row_scaled_sums(begin), count, cols, low_from, tiles_from};
  }

  // Sum of row m's values k .. k + count - 1; count is 16 or 32, k a multiple of it.
  std::int32_t sum_of(std::size_t m, std::size_t k, std::size_t count) const {
    const std::int32_t* at = row_sums(m) + k / activation_block * 2;
    return count == activation_block ? at[1] : k % activation_block == 0 ? at[0] : at[1] - at[0];
  }
};

}  // namespace stilla::STILLA_ABI
