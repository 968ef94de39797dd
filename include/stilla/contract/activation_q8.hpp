// SPDX-License-Identifier: Apache-2.0
//
// Defines activations rounded to integers, the other operand of every quantised matmul. They have 8 bits, or 16 bits as two int8
// planes. There is one scale per 32 values, because a coarser scale costs accuracy: with 8 bits on a 0.5B model, the KL divergence
// (KL) of the logits was 0.0007 with one scale per 32 values, 0.0027 with one per 256, and 0.025 with one per row. With 16 bits the
// rounding has hardly any effect: KL against float activations is 6e-7 on a 135M model and 2e-6 on a 0.5B model, where 8 bits give
// 6e-3 and 8e-4 (bench/check_fidelity.py). 16 bits cost twice as many dot products. That costs nothing where memory is the limit
// (decode), and up to half the speed where it is not (prefill).
//
//     8 bits:   x[k] ~ scale[k / 32] * high[k]                     scale = max |x| of the block / 127, rounded up to a power of two
//     16 bits:  x[k] ~ scale[k / 32] * (256 * high[k] + low[k])    scale = max |x| of the block / 32512, rounded up in the same way
//     mixed:    8 bits for all rows. The few rows that is_wide_row() names (contract/wide_row.hpp) are there with 16 bits as well,
//               and only these 16 bits count for them
//
// The parts are separate arrays, so that kernels read each one as a stream:
//
//     values  int8  [M][K]        row m, k = 0 .. K-1; the high plane
//     low     int8  [M][K]        the low plane, -128 .. 127; none with 8 bits
//     scales  float [M][K / 32]
//     sums    int32 [M][K / 32][2]   the sum of the first 16 values of a block and the sum of all 32. Weights with a zero point, in
//                             groups of 16 or of 32, need them
//     scaled_sums  float [M][K / 32]   scale * sum of a block, exact. Weights with a minimum need them (Q4_1, for example)
//     rounded_sums  RoundedSums [M][K / 256]   the scaled sums of eight blocks, rounded to 16 bits with one scale, a power of two.
//                             Weights whose minimums are integers times one minimum of 256 weights need them (Q4_K, Q5_K)
//     arranged        the same activations in an arrangement that the target's kernels read, if they want one (ArrangedActivations)
//
// The integer for x[k] is x[k] / scale, rounded once, ties to even (math.hpp, round_magic). A block whose largest magnitude is
// below 2^-60 becomes zeros with scale 1. A block with a NaN or with a magnitude above 2^60 becomes zeros with scale NaN, so the
// outputs that depend on it are NaN.
//
// Scales are powers of two for three reasons. Products of scales are then exact in any order. The sum of a group's products can be
// formed as an integer in the low bits of a float, so that it need not be converted (generic/panel_sweep-inl.hpp). And a scaled value
// fits a bf16 of AMX's tiles (x86_amx/activation_form.hpp).
//
// To round scales up to powers of two costs up to one of the 8 bits: KL was 0.0011 with powers of two, and 0.0005 with scales of
// exactly max / 127. (Both were measured with the head's input rounded as well, which is no longer done, see model/forward.hpp.)
// But if scales were max / 127, the float step of a group would need one more operation, so that a prompt would take 13 to 16 %
// longer (measured in panel_sweep-inl.hpp), and AMX would have to add up the groups without tiles of bf16.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <stilla/base/config.hpp>
#include <stilla/base/math.hpp>
#include <stilla/base/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

inline constexpr std::size_t activation_block = 32;

enum class ActivationBits : std::uint8_t { eight, sixteen, mixed };

namespace detail {

// The limits of the largest magnitude of a block of activations that is rounded to integers. Within them the product of the block's
// scale and an f16 scale of weights is a normal float.
inline constexpr float smallest_activation = 0x1p-60f;
inline constexpr float largest_activation = 0x1p60f;

// The scale of a block whose largest magnitude is `highest`: the smallest power of two with which highest / scale is at most
// `largest`. Its exponent is the exponent of `highest` less that of `largest`, or one more where `highest` has the larger mantissa.
// inverse_of_power() gives 1 / scale for such a scale.
inline float activation_scale(float highest, float largest) {
  constexpr std::uint32_t exponent = 0x7f800000u, mantissa = 0x007fffffu;
  const auto limit = std::bit_cast<std::uint32_t>(largest);
  const std::uint32_t next = std::bit_cast<std::uint32_t>(highest) + mantissa - (limit & mantissa);
  return std::bit_cast<float>((next & exponent) - (limit & exponent) + std::bit_cast<std::uint32_t>(1.0f));
}
inline float inverse_of_power(float power_of_two) { return std::bit_cast<float>(0x7f000000u - std::bit_cast<std::uint32_t>(power_of_two)); }
// The scale of a block that is rounded to zeros: 1 if all values are too small, NaN if a value is too large or is no number.
inline float scale_of_zeros(float highest) { return highest < smallest_activation ? 1.0f : std::numeric_limits<float>::quiet_NaN(); }

}  // namespace detail

// The sums of eight blocks of activations. The scaled sum of a block is its scale times the sum of its 32 integers. sums[b] * scale
// is the scaled sum of block b, rounded once, ties to even; `scale` is the smallest power of two with which all eight sums fit into
// 16 bits. If a scaled sum is no number, then all sums are 0 and `scale` is 1; the dot products with that block are NaN anyway.
// With rounded sums, minimums that are integers times a common factor are multiplied by integers. The minimums of 256 weights then
// need four dot products of pairs, or one tile of AMX, and one float step instead of eight. With activations of 16 bits, KL against
// float activations stays 2.0e-6 although the sums are rounded (Qwen2.5 0.5B Q4_K_M, bench/check_fidelity.py).
inline constexpr std::size_t sums_block = 256;
struct RoundedSums {
  static constexpr std::size_t blocks = sums_block / activation_block;
  float scale = 1.0f;
  std::int16_t sums[blocks] = {};
};
static_assert(sizeof(RoundedSums) == 20);

namespace detail {

inline RoundedSums round_sums(const float* scaled_sums) {
  RoundedSums rounded;
  const float highest = highest_magnitude(scaled_sums, RoundedSums::blocks);
  if (!(highest > 0.0f && highest <= std::numeric_limits<float>::max())) return rounded;
  rounded.scale = activation_scale(highest, 32767.0f);
  const float inverse = inverse_of_power(rounded.scale);
  for (std::size_t b = 0; b < RoundedSums::blocks; ++b) {
    // A block's sum is rounded by adding a constant to scaled sum * (1 / scale). This product is exact, because the scale is a
    // power of two. So the bits are the same whether the compiler fuses the product with the addition or not. (std::fma may be a
    // call into the C library.)
    rounded.sums[b] = static_cast<std::int16_t>(integer_in(scaled_sums[b] * inverse + round_magic));
  }
  return rounded;
}

}  // namespace detail

// Memory that holds rounded activations once more, in an arrangement that only one target knows (contract/activation_form.hpp),
// beside the arrays of ActivationQ8. Kernels of that target find it by its id; all other kernels ignore it.
struct ArrangedActivations {
  TargetId form;              // ActivationForm<Target>::id
  // The memory of the arrangement, on a 64-byte boundary; null if there is none.
  std::byte* data = nullptr;
  std::size_t rows = 0;       // the shape that the memory was arranged for
  std::size_t cols = 0;
  std::size_t first = 0;      // which of these rows is row 0 of the ActivationQ8
  bool has_low = false;       // whether the activations have 16 bits
};

struct ActivationQ8;

// Says which rows of a view of mixed activations have 16 bits, and holds the values of these rows. Kernels ignore this struct. Wide
// rows have values of 8 bits too, so an op first multiplies all rows with 8 bits and then multiplies the wide rows again with 16
// bits, whose results replace the first ones (PanelJob::panels in matmul.hpp).
struct WideRows {
  const std::uint32_t* numbers = nullptr;  // the row numbers of all wide rows, ascending
  const ActivationQ8* rows = nullptr;      // all wide rows with 16 bits; the i-th of them is the row with the number numbers[i]
  std::size_t begin = 0, end = 0;          // the view has the wide rows numbers[begin] to numbers[end - 1]
  std::size_t first = 0;                   // the number of the view's row 0

  std::size_t count() const { return end - begin; }
  // The row number of the i-th wide row, counted from the first row of the view (the ActivationQ8 that this struct belongs to).
  std::size_t row(std::size_t i) const { return numbers[begin + i] - first; }
  // The i for which row m of the view (the ActivationQ8 that this struct belongs to) is its i-th wide row. Returns count() if row m
  // is not wide.
  std::size_t find(std::size_t m) const {
    const std::size_t i = place(m) - begin;
    return i < count() && row(i) == m ? i : count();
  }
  // The 16-bit values of n wide rows of the view, from its i-th wide row on, as a matrix of their own.
  inline ActivationQ8 matrix(std::size_t i, std::size_t n) const;

  // Returns the WideRows of a smaller view, which has only the rows [from, from + n) of this view.
  WideRows rows_from(std::size_t from, std::size_t n) const {
    if (count() == 0) return {};
    return {numbers, rows, place(from), place(from + n), first + from};
  }

 private:
  // The index in `numbers`, the ascending row numbers of all wide rows, of the first wide row that is not before row m of this view
  // of the activations.
  std::size_t place(std::size_t m) const {
    return static_cast<std::size_t>(std::lower_bound(numbers + begin, numbers + end, first + m) - numbers);
  }
};

// A view of rounded activations that the caller owns. K is a multiple of 32; the arrays may have any alignment. Whoever fills the
// arrays by hand must follow the description at the top of this file: values of 8 bits are -127 .. 127, and sums are the sums of
// the values. Scales that are not powers of two are accepted, but then only a few tokens are multiplied at a time, which makes
// prompts slow. import_activations() (import_activations.hpp) is better for integers that were rounded elsewhere.
struct ActivationQ8 {
  const std::int8_t* values = nullptr;
  const float* scales = nullptr;
  const std::int32_t* sums = nullptr;
  const float* scaled_sums = nullptr;
  const RoundedSums* rounded_sums = nullptr;
  std::size_t rows = 0;  // M
  std::size_t cols = 0;  // K
  const std::int8_t* low = nullptr;  // the lower plane; null if the values have 8 bits
  ArrangedActivations arranged = {};
  // One factor for each of the M tokens, or null if there are none. In a matmul each row of the product is multiplied by its
  // factor, in addition to the scales. A factor may be any number.
  const float* row_factors = nullptr;
  // True if quantise() or import_activations() filled the arrays and all scales are powers of two. Ops then need not check the
  // scales.
  bool is_checked = false;
  WideRows wide = {};  // empty except in mixed activations

  std::size_t blocks() const { return cols / activation_block; }
  const std::int8_t* row_values(std::size_t m) const { return values + m * cols; }
  const std::int8_t* row_low(std::size_t m) const { return low + m * cols; }
  const float* row_scales(std::size_t m) const { return scales + m * blocks(); }
  const std::int32_t* row_sums(std::size_t m) const { return sums + m * 2 * blocks(); }
  const float* row_scaled_sums(std::size_t m) const { return scaled_sums + m * blocks(); }
  const RoundedSums* row_rounded_sums(std::size_t m) const { return rounded_sums + m * (cols / sums_block); }

  // A view of the rows [begin, begin + count).
  ActivationQ8 rows_from(std::size_t begin, std::size_t count) const {
    const std::int8_t* const low_from = low == nullptr ? nullptr : row_low(begin);
    ArrangedActivations arranged_from = arranged;
    arranged_from.first += begin;
    return {row_values(begin),
            row_scales(begin),
            row_sums(begin),
            row_scaled_sums(begin),
            row_rounded_sums(begin),
            count,
            cols,
            low_from,
            arranged_from,
            row_factors == nullptr ? nullptr : row_factors + begin,
            is_checked,
            wide.rows_from(begin, count)};
  }

  // The sum of row m's values k .. k + count - 1; count is 16 or 32, and k is a multiple of count.
  std::int32_t sum_of(std::size_t m, std::size_t k, std::size_t count) const {
    const std::int32_t* at = row_sums(m) + k / activation_block * 2;
    return count == activation_block ? at[1] : k % activation_block == 0 ? at[0] : at[1] - at[0];
  }
};

inline ActivationQ8 WideRows::matrix(std::size_t i, std::size_t n) const { return rows->rows_from(begin + i, n); }

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
