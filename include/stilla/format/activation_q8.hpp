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

#include <stilla/aligned.hpp>
#include <stilla/error.hpp>

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

// Somebody's rounded activations. K is a multiple of 32; any alignment.
struct ActivationQ8 {
  const std::int8_t* values = nullptr;
  const float* scales = nullptr;
  const std::int32_t* sums = nullptr;
  const float* scaled_sums = nullptr;
  std::size_t rows = 0;  // M
  std::size_t cols = 0;  // K
  const std::int8_t* low = nullptr;  // null: 8 bits

  std::size_t blocks() const { return cols / activation_block; }
  const std::int8_t* row_values(std::size_t m) const { return values + m * cols; }
  const std::int8_t* row_low(std::size_t m) const { return low + m * cols; }
  const float* row_scales(std::size_t m) const { return scales + m * blocks(); }
  const std::int32_t* row_sums(std::size_t m) const { return sums + m * 2 * blocks(); }
  const float* row_scaled_sums(std::size_t m) const { return scaled_sums + m * blocks(); }

  // Rows [begin, begin + count).
  ActivationQ8 rows_from(std::size_t begin, std::size_t count) const {
    const std::int8_t* const low_from = low == nullptr ? nullptr : row_low(begin);
    return {row_values(begin), row_scales(begin), row_sums(begin), row_scaled_sums(begin), count, cols, low_from};
  }

  // Sum of row m's values k .. k + count - 1; count is 16 or 32, k a multiple of it.
  std::int32_t sum_of(std::size_t m, std::size_t k, std::size_t count) const {
    const std::int32_t* at = row_sums(m) + k / activation_block * 2;
    return count == activation_block ? at[1] : k % activation_block == 0 ? at[0] : at[1] - at[0];
  }
};

// Memory for them, reused from call to call.
class ActivationBuffer {
 public:
  explicit ActivationBuffer(ActivationBits bits = ActivationBits::eight) : bits_(bits) {}

  // Room for `rows` rows of `cols` values; false when memory is short.
  [[nodiscard]] bool resize(std::size_t rows, std::size_t cols) {
    if (cols != 0 && rows > std::numeric_limits<std::size_t>::max() / cols) return false;
    const std::size_t blocks = cols / activation_block;
    if (bits_ == ActivationBits::sixteen && !low_.resize(rows * cols)) return false;
    if (!values_.resize(rows * cols) || !scales_.resize(rows * blocks) || !sums_.resize(2 * rows * blocks)) return false;
    if (!scaled_sums_.resize(rows * blocks)) return false;
    rows_ = rows;
    cols_ = cols;
    return true;
  }
  ActivationQ8 view() const {
    const std::int8_t* low = bits_ == ActivationBits::sixteen ? low_.data() : nullptr;
    return {values_.data(), scales_.data(), sums_.data(), scaled_sums_.data(), rows_, cols_, low};
  }
  ActivationBits bits() const { return bits_; }
  std::int8_t* row_values(std::size_t m) { return values_.data() + m * cols_; }
  std::int8_t* row_low(std::size_t m) { return bits_ == ActivationBits::sixteen ? low_.data() + m * cols_ : nullptr; }  // null: 8 bits
  float* row_scales(std::size_t m) { return scales_.data() + m * (cols_ / activation_block); }
  std::int32_t* row_sums(std::size_t m) { return sums_.data() + m * (cols_ / activation_block) * 2; }
  float* row_scaled_sums(std::size_t m) { return scaled_sums_.data() + m * (cols_ / activation_block); }
  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }

 private:
  ActivationBits bits_;
  AlignedBuffer<std::int8_t> values_;
  AlignedBuffer<std::int8_t> low_;
  AlignedBuffer<float> scales_;
  AlignedBuffer<std::int32_t> sums_;
  AlignedBuffer<float> scaled_sums_;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
};

}  // namespace stilla::STILLA_ABI
