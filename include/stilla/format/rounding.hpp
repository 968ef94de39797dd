// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic shared by the encoders: float steps that every compiler rounds alike.
//
// A compiler may contract a * b + c into one fused multiply-add, which rounds once and not twice, so the code of a
// weight near a tie would depend on the CPU it was encoded for (GCC contracts across statements by default). rounded()
// makes a value pass through memory: what comes out is a float, and nothing can be fused with what made it. Decoders
// need none of this: their products are exact in float, so fused and unfused results are the same.
#pragma once

#include <cmath>
#include <cstddef>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

inline float rounded(float x) {
  volatile float stored = x;
  return stored;
}

inline float magnitude(float x) { return std::fabs(x); }  // also of -0, whose sign would reach the scale

// 1 / d for a block's scale; 0 for a block of zeros.
inline float inverse_scale(float d) { return d != 0.0f ? 1.0f / d : 0.0f; }

// trunc(x) within 0 .. highest. What is no number in 0 .. 255 becomes 0: it comes from a block so small that 1 / d is
// infinite (its scale is 0 as a half) or from weights that are not finite.
inline unsigned truncated_code(float x, unsigned highest) {
  if (!(x > 0.0f && x < 256.0f)) return 0;
  const auto code = static_cast<unsigned>(x);
  return code < highest ? code : highest;
}

// x rounded to an integer, ties away from zero; 0 for what is no number in -256 .. 256 (as above).
inline int nearest_integer(float x) {
  const float size = rounded(magnitude(x));
  if (!(size < 256.0f)) return 0;
  const auto whole = static_cast<int>(size);
  const int nearest = whole + (size - static_cast<float>(whole) >= 0.5f ? 1 : 0);
  return x < 0 ? -nearest : nearest;
}

// The weight of the largest magnitude, with its sign; the first of equals.
inline float extreme_of(const float* weights, std::size_t count) {
  float extreme = weights[0];
  for (std::size_t k = 1; k < count; ++k) {
    if (magnitude(weights[k]) > magnitude(extreme)) extreme = weights[k];
  }
  return extreme;
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
