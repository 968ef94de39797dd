// SPDX-License-Identifier: Apache-2.0
//
// Rounds a token's K floats to the integers of contract/npu.hpp, int8 or int16, with one scale.
//
//     highest = max |x[k]|;   scale = highest / largest;   a[k] = round(x[k] * (largest / highest)), ties to even, rounded once
//
// largest is 127 for int8 and 32767 for int16. A token whose highest is below 1e-30 becomes zeros with scale 0. A token with an
// infinity or a NaN becomes zeros with scale NaN, so that all its outputs are NaN.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include <stilla/base/math.hpp>
#include <stilla/contract/npu.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace npu {

template <class A>
inline constexpr float largest_activation = sizeof(A) == 1 ? 127.0f : 32767.0f;

// Rounds one token x[K] into a[K] and returns the scale.
template <class A>
float quantise_token(A* a, const float* x, std::size_t K) {
  constexpr float largest = largest_activation<A>;
  const float highest = detail::highest_magnitude(x, K);
  const float scale = detail::unit_of(highest, largest);
  const float inverse = scale > 0.0f ? largest / highest : 0.0f;
  for (std::size_t k = 0; k < K; ++k) a[k] = scale > 0.0f ? static_cast<A>(detail::round_product(x[k], inverse)) : A{0};
  return scale;
}

}}}  // namespace stilla::npu

#include <stilla/base/pop_macros-inl.hpp>
