// SPDX-License-Identifier: Apache-2.0
//
// Activations rounded to integers, the other operand of every quantised matmul: 8 bits, or 16 bits as two int8 planes. One
// scale per 32 values, because a coarser one costs accuracy (measured on a 0.5B model with 8 bits: KL 0.0007 with one per 32,
// 0.0027 with one per 256, 0.025 with one per row). 16 bits make the rounding disappear: KL against float activations 6e-7 on
// a 135M model and 2e-6 on a 0.5B model, where 8 bits give 6e-3 and 8e-4 (bench/check_fidelity.py). They cost twice the dot
// products: nothing where memory is the limit (decode), up to half the speed where it is not (prefill).
//
//     8 bits:   x[k] ~ scale[k / 32] * high[k]                     scale = max |x| of the block / 127, rounded up to a power of two
//     16 bits:  x[k] ~ scale[k / 32] * (256 * high[k] + low[k])    scale = max |x| of the block / 32512, likewise
//     mixed:    8 bits, and few rows once more with 16 bits, which count then: those that is_wide_row() names (contract/wide_row.hpp)
//
// Separate arrays, so that kernels read each as a stream:
//
//     values  int8  [M][K]        row m, k = 0 .. K-1; the high plane
//     low     int8  [M][K]        the low plane, -128 .. 127; none with 8 bits
//     scales  float [M][K / 32]
//     sums    int32 [M][K / 32][2]   of the first 16 values of a block and of all 32: weights with a zero point need them, in
//                             groups of 16 or of 32
//     scaled_sums  float [M][K / 32]   scale * sum of a block, exact: weights with a minimum need them (Q4_1, say)
//     rounded_sums  RoundedSums [M][K / 256]   of eight blocks those, rounded to 16 bits with one scale, a power of two: weights need
//                             them whose minimums are integers times one of 256 weights (Q4_K, Q5_K)
//     arranged        the same once more in an arrangement that the target's kernels take, if they want one (ArrangedActivations)
//
// The integer is x[k] / scale, rounded once, ties to even (math.hpp, round_magic). A block whose largest magnitude is below
// 2^-60 becomes zeros with scale 1. A block with a NaN or a magnitude above 2^60 becomes zeros with scale NaN, so the outputs
// that depend on it are NaN.
//
// With powers of two the products of scales are exact in any order, integers can be summed as the last places of floats
// (generic/panel_sweep-inl.hpp), and a scaled value fits a bf16 of AMX's tiles (x86_amx/activation_form.hpp). They cost up to one bit
// of 8: KL 0.0011 where max / 127 itself gave 0.0005, the head's input rounded as well, which it is not any more
// (model/forward.hpp). With scales of max / 127 a group's float step is one operation more: 1.13 to 1.16 times the time of a prompt
// (measured in panel_sweep-inl.hpp), and AMX would have to add up without tiles of bf16.
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

inline constexpr float smallest_activation = 0x1p-60f;  // of a block's highest magnitudes: every product of scales stays normal
inline constexpr float largest_activation = 0x1p60f;

// The scale of a block whose highest magnitude is `highest`, and 1 / scale: the least power of two with which highest / scale is
// at most `largest`. That is a difference of exponents, or one more where highest has the larger mantissa.
inline float activation_scale(float highest, float largest) {
  constexpr std::uint32_t exponent = 0x7f800000u, mantissa = 0x007fffffu;
  const auto limit = std::bit_cast<std::uint32_t>(largest);
  const std::uint32_t next = std::bit_cast<std::uint32_t>(highest) + mantissa - (limit & mantissa);
  return std::bit_cast<float>((next & exponent) - (limit & exponent) + std::bit_cast<std::uint32_t>(1.0f));
}
inline float inverse_of_power(float power_of_two) { return std::bit_cast<float>(0x7f000000u - std::bit_cast<std::uint32_t>(power_of_two)); }
// The scale of a block of zeros: because all is small, or because something is no number.
inline float scale_of_zeros(float highest) { return highest < smallest_activation ? 1.0f : std::numeric_limits<float>::quiet_NaN(); }

}  // namespace detail

// Sums of eight blocks: sums[b] * scale is a block's scaled sum, rounded once, ties to even, scale the least power of two with
// which all eight fit. Where one is no number, so are the dot products with its block; the sums are then 0 and scale is 1.
// So minimums that are integers times a common factor meet integers: for 256 weights four dot products of pairs, or one tile of
// AMX's, and one step in float where there were eight. With activations of 16 bits KL against float ones is 2.0e-6 as before
// (Qwen2.5 0.5B Q4_K_M, bench/check_fidelity.py).
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
    // An exact product: fused or not, the same bits. (std::fma may be a call into the C library.)
    rounded.sums[b] = static_cast<std::int16_t>(integer_in(scaled_sums[b] * inverse + round_magic));
  }
  return rounded;
}

}  // namespace detail

// Memory with the same activations in an arrangement that only one target knows (contract/activation_form.hpp), beside the
// arrays above. Kernels of that target find it by its id; all others take no notice.
struct ArrangedActivations {
  TargetId form;              // ActivationForm<Target>::id
  std::byte* data = nullptr;  // null: none. On a 64-byte boundary
  std::size_t rows = 0;       // the shape that it was made for
  std::size_t cols = 0;
  std::size_t first = 0;      // which of its rows is row 0 of the view
  bool has_low = false;       // 16 bits
};

struct ActivationQ8;

// Which rows of mixed activations have 16 bits, and what they are. Kernels take no notice: an op multiplies all rows as those of 8
// bits that they are too, and then these once more (PanelJob::panels in matmul.hpp).
struct WideRows {
  const std::uint32_t* numbers = nullptr;  // of the rows, ascending
  const ActivationQ8* rows = nullptr;      // row i, of 16 bits, is row numbers[i]
  std::size_t begin = 0, end = 0;          // those of the view
  std::size_t first = 0;                   // the number of the view's row 0

  std::size_t count() const { return end - begin; }
  // The place in the view of its wide row i.
  std::size_t row(std::size_t i) const { return numbers[begin + i] - first; }
  // The wide row that is row m of the view; count() if m is none.
  std::size_t find(std::size_t m) const {
    const std::size_t i = place(m) - begin;
    return i < count() && row(i) == m ? i : count();
  }
  // Wide rows [i, i + n) of the view as a matrix of their own.
  inline ActivationQ8 matrix(std::size_t i, std::size_t n) const;

  // Of the view's rows [from, from + n).
  WideRows rows_from(std::size_t from, std::size_t n) const {
    if (count() == 0) return {};
    return {numbers, rows, place(from), place(from + n), first + from};
  }

 private:
  // Of the first wide row that is not before row m.
  std::size_t place(std::size_t m) const {
    return static_cast<std::size_t>(std::lower_bound(numbers + begin, numbers + end, first + m) - numbers);
  }
};

// Somebody's rounded activations. K is a multiple of 32; any alignment. Whoever fills the arrays by hand keeps to what stands above:
// values of 8 bits are -127 .. 127, and sums are the values'. Scales that are no powers of two are taken, a few tokens at a time,
// which makes prompts slow; import_activations() (import_activations.hpp) does better for integers that were rounded elsewhere.
struct ActivationQ8 {
  const std::int8_t* values = nullptr;
  const float* scales = nullptr;
  const std::int32_t* sums = nullptr;
  const float* scaled_sums = nullptr;
  const RoundedSums* rounded_sums = nullptr;
  std::size_t rows = 0;  // M
  std::size_t cols = 0;  // K
  const std::int8_t* low = nullptr;  // null: 8 bits
  ArrangedActivations arranged = {};
  const float* row_factors = nullptr;  // [M], beside the scales, of any value: rows of products are multiplied by them. Null: none
  bool is_checked = false;  // filled by quantise() or import_activations(), whose scales and values all kernels take
  WideRows wide = {};  // none but in mixed activations

  std::size_t blocks() const { return cols / activation_block; }
  const std::int8_t* row_values(std::size_t m) const { return values + m * cols; }
  const std::int8_t* row_low(std::size_t m) const { return low + m * cols; }
  const float* row_scales(std::size_t m) const { return scales + m * blocks(); }
  const std::int32_t* row_sums(std::size_t m) const { return sums + m * 2 * blocks(); }
  const float* row_scaled_sums(std::size_t m) const { return scaled_sums + m * blocks(); }
  const RoundedSums* row_rounded_sums(std::size_t m) const { return rounded_sums + m * (cols / sums_block); }

  // Rows [begin, begin + count).
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

  // Sum of row m's values k .. k + count - 1; count is 16 or 32, k a multiple of it.
  std::int32_t sum_of(std::size_t m, std::size_t k, std::size_t count) const {
    const std::int32_t* at = row_sums(m) + k / activation_block * 2;
    return count == activation_block ? at[1] : k % activation_block == 0 ? at[0] : at[1] - at[0];
  }
};

inline ActivationQ8 WideRows::matrix(std::size_t i, std::size_t n) const { return rows->rows_from(begin + i, n); }

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
