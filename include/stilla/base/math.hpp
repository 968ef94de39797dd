// SPDX-License-Identifier: Apache-2.0
//
// The scalar definition of every approximate function and of the canonical order of sums. Vector kernels repeat exactly these
// steps lane by lane, so they give the same bits.
//
// These rules give the same bits everywhere:
//   - A product that feeds a sum is always an explicit fused multiply-add. (std::fma rounds once on every CPU; `a * b + c` would be
//     fused by some compilers and not by others.)
//   - Divisions and square roots are those of IEEE 754.
//   - Sums of many terms use 16 lanes: lane l adds the terms l, l + 16, l + 32, ... in this order. Then the upper half of the lanes
//     is added to the lower half, 16 -> 8 -> 4 -> 2 -> 1.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The number of lanes of every float sum, whatever the width of the machine's vectors.
inline constexpr std::size_t sum_lanes = 16;

namespace detail {

// Whether a number is neither infinite nor NaN. The functions read this from the number's bits, because -ffast-math lets a compiler
// assume that every number is finite.
constexpr bool is_finite(float x) { return (std::bit_cast<std::uint32_t>(x) >> 23 & 0xffu) != 0xffu; }
constexpr bool is_finite(double x) { return (std::bit_cast<std::uint64_t>(x) >> 52 & 0x7ffu) != 0x7ffu; }

// Adding 1.5 * 2^23 to a float x, with |x| below 2^22, leaves round(x), ties to even, in the low bits of the sum.
inline constexpr float round_magic = 12582912.0f;
inline std::int32_t integer_in(float sum_with_magic) {
  return std::bit_cast<std::int32_t>(sum_with_magic) - std::bit_cast<std::int32_t>(round_magic);
}

// round(a * b), ties to even, rounded once; |a * b| < 2^22.
inline std::int32_t round_product(float a, float b) { return integer_in(std::fma(a, b, round_magic)); }

// The largest magnitude among n floats. Magnitudes are compared as integers: an infinity is above every number, and a NaN is above
// infinity.
inline float highest_magnitude(const float* x, std::size_t n) {
  std::uint32_t highest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu;
    highest = magnitude > highest ? magnitude : highest;
  }
  return std::bit_cast<float>(highest);
}

// A block that is rounded to integers becomes zeros if its largest magnitude is below smallest_block: 127 divided by that magnitude
// would come near the largest float.
inline constexpr float smallest_block = 1e-30f;

// The scale of a block that is rounded to integers: the number that the integer 1 stands for if `highest`, the block's largest
// magnitude, becomes the integer `largest`. It is 0 for a block of zeros (highest below smallest_block), and NaN if `highest` is
// not finite.
inline float unit_of(float highest, float largest) {
  if (!(highest <= std::numeric_limits<float>::max())) return std::numeric_limits<float>::quiet_NaN();
  return highest >= smallest_block ? highest / largest : 0.0f;
}

// Constants of e^x, shared by the scalar and the vector forms of exp_approximate(): e^x = 2^n e^r with an integer n and
// |r| <= ln2 / 2. ln 2 is in two parts; the upper part has 9 trailing zero bits so that n * ln2_high is exact. The polynomial
// interpolates (e^r - 1 - r) / r^2 at 6 Chebyshev nodes of |r| <= ln2 / 2; the truncation error is 0.02 ulp.
inline constexpr float log2_e = 1.44269504f;
inline constexpr float ln2_high = 0.693359375f;
inline constexpr float ln2_low = -2.12194440e-4f;
inline constexpr float exp_lowest = -87.0f;   // an x below it gives exactly 0 (exp(-87) = 1.6e-38 is near the smallest normal float)
inline constexpr float exp_highest = 88.0f;   // an x above it gives exp(88) = 1.65e38
inline constexpr float exp_c2 = 5.000000000e-01f;
inline constexpr float exp_c3 = 1.666666716e-01f;
inline constexpr float exp_c4 = 4.166646674e-02f;
inline constexpr float exp_c5 = 8.333310485e-03f;
inline constexpr float exp_c6 = 1.393364975e-03f;
inline constexpr float exp_c7 = 1.989099110e-04f;

// Adds 16 lanes to their sum, in the canonical order: the upper half to the lower half, until one is left. Overwrites the lanes.
template <class T>
T fold_lanes(T* lanes) {
  for (std::size_t width = sum_lanes / 2; width != 0; width /= 2) {
    for (std::size_t l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  }
  return lanes[0];
}

}  // namespace detail

// e^x for x in [-87, 88], the range that softmax and SiLU need. An x below -87 gives 0, an x above 88 gives e^88, and a NaN gives
// 0. Method: Cody-Waite reduction x = n ln2 + r, a polynomial of degree 7 in r, and n added to the exponent bits.
inline float exp_approximate(float x) {
  using namespace detail;
  if (!(x >= exp_lowest)) return 0.0f;
  x = x > exp_highest ? exp_highest : x;
  const float shifted = std::fma(x, log2_e, round_magic);
  const float n = shifted - round_magic;
  float r = std::fma(n, -ln2_high, x);
  r = std::fma(n, -ln2_low, r);
  float p = exp_c7;
  p = std::fma(p, r, exp_c6);
  p = std::fma(p, r, exp_c5);
  p = std::fma(p, r, exp_c4);
  p = std::fma(p, r, exp_c3);
  p = std::fma(p, r, exp_c2);
  p = std::fma(p, r, 1.0f);
  p = std::fma(p, r, 1.0f);
  const std::uint32_t exponent = std::bit_cast<std::uint32_t>(shifted) << 23;  // n at the place of a float's exponent
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + exponent);
}

// The numerator of softmax for a number x of a row whose largest number is `highest`: e^((x - highest) / temperature). It is 1 for
// x == highest, which may be infinite, and 0 for a NaN.
inline float softmax_weight(float x, float highest, float temperature) {
  return x == highest ? 1.0f : exp_approximate((x - highest) / temperature);
}

// The natural logarithm of a positive normal number, with a relative error below 1e-15 and the same bits on every platform:
// x = 2^n m with m in [1/sqrt2, sqrt2), then  ln m = 2 artanh(s) = 2 (s + s^3/3 + s^5/5 + ...),  s = (m - 1) / (m + 1).
inline double log_approximate(double x) {
  constexpr std::uint64_t sqrt_half = 0x3fe6a09e667f3bcd;
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(x);
  const auto n = static_cast<std::int64_t>(bits - sqrt_half) >> 52;
  const double m = std::bit_cast<double>(bits - (static_cast<std::uint64_t>(n) << 52));
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double p = 0.0;
  for (int k = 21; k >= 3; k -= 2) p = std::fma(p, z, 1.0 / k);
  const double tail = std::fma(2.0 * s * z, p, 2.0 * s);
  return std::fma(static_cast<double>(n), 0x1.62e42fefa39efp-1, tail);
}

// sin and cos of an angle in [0, 2^20], in double, with the same bits on every platform (those of C libraries differ). Method:
// reduction by pi/2 in three parts, then Taylor polynomials on [-pi/4, pi/4]. The absolute error is below 2e-16.
struct SinCos {
  double sin;
  double cos;
};
inline SinCos sin_cos(double angle) {
  constexpr double two_over_pi = 0x1.45f306dc9c883p-1;
  constexpr double pi_2_high = 0x1.921fb54400000p+0;   // it has 33 significant bits, so n * pi_2_high is exact for n < 2^20
  constexpr double pi_2_middle = 0x1.0b4611a600000p-34;
  constexpr double pi_2_low = 0x1.3198a2e037073p-69;
  constexpr double magic = 0x1.8p52;
  const double shifted = std::fma(angle, two_over_pi, magic);
  const double n = shifted - magic;
  double r = std::fma(n, -pi_2_high, angle);
  r = std::fma(n, -pi_2_middle, r);
  r = std::fma(n, -pi_2_low, r);
  const double z = r * r;
  double sine = -1.0 / 1307674368000.0;
  sine = std::fma(sine, z, 1.0 / 6227020800.0);
  sine = std::fma(sine, z, -1.0 / 39916800.0);
  sine = std::fma(sine, z, 1.0 / 362880.0);
  sine = std::fma(sine, z, -1.0 / 5040.0);
  sine = std::fma(sine, z, 1.0 / 120.0);
  sine = std::fma(sine, z, -1.0 / 6.0);
  sine = std::fma(sine * z, r, r);
  double cosine = 1.0 / 20922789888000.0;
  cosine = std::fma(cosine, z, -1.0 / 87178291200.0);
  cosine = std::fma(cosine, z, 1.0 / 479001600.0);
  cosine = std::fma(cosine, z, -1.0 / 3628800.0);
  cosine = std::fma(cosine, z, 1.0 / 40320.0);
  cosine = std::fma(cosine, z, -1.0 / 720.0);
  cosine = std::fma(cosine, z, 1.0 / 24.0);
  cosine = std::fma(cosine, z, -0.5);
  cosine = std::fma(cosine, z, 1.0);
  switch (std::bit_cast<std::uint64_t>(shifted) & 3u) {
    case 0: return {sine, cosine};
    case 1: return {cosine, -sine};
    case 2: return {-sine, -cosine};
    default: return {-cosine, sine};
  }
}

namespace detail {
inline constexpr double ln2_double_high = 0x1.62e42fee00000p-1;  // it has 33 significant bits, so n * high is exact
inline constexpr double ln2_double_low = 0x1.a39ef35793c76p-33;
}  // namespace detail

// ln of a normal number above 0, by the atanh series, with the same bits on every platform. The relative error is below 3e-16.
inline double logarithm(double value) {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  auto e = static_cast<std::int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);  // value = m 2^e, m in [1, 2)
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++e;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double series = 0.0;
  for (int k = 23; k >= 3; k -= 2) series = std::fma(series, z, 1.0 / k);
  const double ln_m = std::fma(2.0 * s * z, series, 2.0 * s);
  const auto ed = static_cast<double>(e);
  return std::fma(ed, detail::ln2_double_high, std::fma(ed, detail::ln2_double_low, ln_m));
}

// base^exponent, with the same bits on every platform. base and the result are in [2^-100, 2^100]. The relative error is below
// 2e-16 * (1 + |ln of the result|). exp is computed by a Taylor polynomial after a reduction by ln 2.
inline double power(double base, double exponent) {
  using namespace detail;
  constexpr double magic = 0x1.8p52;
  const double ln = logarithm(base);
  const double x = exponent * ln;
  const double shifted = std::fma(x, 0x1.71547652b82fep+0, magic);
  const double n = shifted - magic;
  double r = std::fma(n, -ln2_double_high, x);
  r = std::fma(n, -ln2_double_low, r);
  double p = 1.0;
  for (int k = 14; k >= 1; --k) p = std::fma(p * r, 1.0 / k, 1.0);
  return std::bit_cast<double>(std::bit_cast<std::uint64_t>(p) + (std::bit_cast<std::uint64_t>(shifted) << 52));
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
