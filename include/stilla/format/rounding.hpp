// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic shared by the encoders: float steps that every compiler rounds in the same way.
//
// A compiler may contract a * b + c into one fused multiply-add, which rounds once instead of twice. Then the code of a weight
// near a tie would depend on the CPU that the encoder was compiled for (GCC contracts across statements by default). rounded()
// makes a value pass through memory: the result is a float, and the operation that made it cannot be fused with anything. Decoders
// do not need this: their products are exact in float, so fused and unfused results are the same.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

inline float rounded(float x) {
  volatile float stored = x;
  return stored;
}

// The float nearest to x with 16 significant bits.
inline float with_16_bits(float x) {
  const float high = rounded(x * 257.0f);
  return rounded(high - rounded(high - x));  // Dekker's splitting at 8 bits
}

// Returns |x|. For -0 this is +0, so the scale of a block of zeros does not become -0.
inline float magnitude(float x) { return std::fabs(x); }

// 1 / d for the scale d of a block; 0 for a block of zeros.
inline float inverse_scale(float d) { return d != 0.0f ? 1.0f / d : 0.0f; }

// trunc(x), limited to 0 .. highest. An x that is not a number between 0 and 256 becomes 0. Such an x comes from a block so small
// that 1 / scale is infinite (the scale of such a block is 0 as an f16), or from weights that are not finite.
inline unsigned truncated_code(float x, unsigned highest) {
  if (!(x > 0.0f && x < 256.0f)) return 0;
  const auto code = static_cast<unsigned>(x);
  return code < highest ? code : highest;
}

// x rounded to an integer, ties away from zero. An x that is not a number between -256 and 256 becomes 0. Such an x comes from a
// block so small that 1 / scale is infinite, or from weights that are not finite.
//
// The rounding is done in integers, on |x| in units of 2^-16: the multiplication by 2^16 is exact, and what the conversion cuts off
// is less than a unit, which does not decide whether the fraction is at least one half. So there is no addition of floats that a
// compiler could fuse with the multiplication that made x. The compiler can also work on several weights at once.
inline int nearest_integer(float x) {
  const float size = magnitude(x);
  const auto units = static_cast<int>((size < 256.0f ? size : 0.0f) * 65536.0f);
  const int nearest = (units + 32768) >> 16;
  return x < 0 ? -nearest : nearest;
}

// The weight of the largest magnitude, with its sign; the first one if several are equal.
inline float extreme_of(const float* weights, std::size_t count) {
  float extreme = weights[0];
  for (std::size_t k = 1; k < count; ++k) {
    if (magnitude(weights[k]) > magnitude(extreme)) extreme = weights[k];
  }
  return extreme;
}

// The largest |weight|. Magnitudes are compared as integers, which compilers do for several weights at once: bit patterns of floats
// without a sign have the order of their values. If a weight is NaN, the result is NaN too.
inline float largest_magnitude(const float* weights, std::size_t count) {
  std::int32_t largest = 0;
  for (std::size_t k = 0; k < count; ++k) {
    const std::int32_t bits = std::bit_cast<std::int32_t>(weights[k]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  return std::bit_cast<float>(largest);
}

struct Range {
  float least;
  float most;
};

inline Range range_of(const float* weights, std::size_t count) {
  Range range{weights[0], weights[0]};
  for (std::size_t k = 1; k < count; ++k) {
    if (weights[k] < range.least) range.least = weights[k];
    if (weights[k] > range.most) range.most = weights[k];
  }
  return range;
}

}}}  // namespace stilla::detail

#include <stilla/base/pop_macros-inl.hpp>
