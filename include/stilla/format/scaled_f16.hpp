// SPDX-License-Identifier: Apache-2.0
//
// An f16 that stands for 2^exponent times its own value. Formats whose levels are fractions have it as their scale, so that the
// levels can be integers. The scale is divided by the power of two that the levels are multiplied by, and the weights stay the same
// numbers.
#pragma once

#include <stilla/base/types.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

template <int exponent>
struct scaled_f16 {
  f16 stored;
};

namespace detail {
// 2^exponent, exact.
constexpr float power_of_two(int exponent) {
  float power = 1.0f;
  for (; exponent < 0; ++exponent) power *= 0.5f;
  for (; exponent > 0; --exponent) power *= 2.0f;
  return power;
}
}  // namespace detail

// The factor by which a scale's f16 is multiplied: 2^exponent for a scaled_f16, 1 for all other types of scales.
template <class Scale>
inline constexpr float half_factor = 1.0f;
template <int exponent>
inline constexpr float half_factor<scaled_f16<exponent>> = detail::power_of_two(exponent);

// Converts to a float. The result is exact: it is an f16 times a power of two not far from 1.
template <int exponent>
constexpr float to_float(scaled_f16<exponent> x) {
  return to_float(x.stored) * half_factor<scaled_f16<exponent>>;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
