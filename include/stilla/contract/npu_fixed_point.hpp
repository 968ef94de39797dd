// SPDX-License-Identifier: Apache-2.0
//
// Contract of the ops between the matrix products on an NPU whose vectors have integers only: RMSNorm, RoPE, softmax, SwiGLU and
// the Hadamard transform, all of int16 values. Each op is defined to the last bit by integer steps that such vectors have. The
// code in `scalar` is the definition. The table gives the errors against real arithmetic that tests/npu_contract_test.cpp allows,
// in units of the last place of the result.
//
// "Qf" says that an int16 stands for itself times 2^-f. In the table, `wf` and `rf` are the fraction bits of weights and results
// (NormFormat), y is a result, a and b are the values of a pair, and s is a shift. The two basic steps are:
//
//     q15(a, b)      = saturate((a * b + 2^14) >> 15)      the product of two Q15 numbers, rounded
//     shifted(x, s)  = saturate((x + (2^s >> 1)) >> s)     32 bits to 16, rounded; ties go up
//
//   op        in                                      out                               error
//   rms_norm  x of any scale, weight Q wf             Q rf, rf < wf                     0.75 + 2^-14 |y|
//   rope      x of any scale; cos, sin Q14            the scale of x                    0.5 + 2^-15 (|a| + |b|)
//   softmax   scores Q f, f = 1..11                   Q15, 32767 for 1                  4 + 2^-14 y
//   swiglu    gate Q f, f = 1..11; up of any scale    gate * sigmoid(gate) * up >> s    0.5 + (0.5 + 3.5 |gate| 2^-15) |up| 2^-s
//   hadamard  x of any scale                          the transform >> s, s returned    0.5
//
// e^x alone and the sigmoid alone, in Q15, have an error of 3.5 for any argument. Most of it is the error of e^x, whose shift
// rounds down.
//
// Sizes n are multiples of 64 (a vector of Hexagon) and at most 65536; for rms_norm at most 32768. For hadamard n may be larger
// than that, but its runs have at most 32768 values.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <stilla/base/config.hpp>
#include <stilla/contract/hadamard.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace npu {

constexpr int16_t saturate16(int64_t x) { return static_cast<int16_t>(x < INT16_MIN ? INT16_MIN : x > INT16_MAX ? INT16_MAX : x); }
constexpr int16_t q15(int32_t a, int32_t b) { return saturate16((int64_t{a} * b + 0x4000) >> 15); }
constexpr int16_t shifted(int32_t x, int s) { return saturate16((int64_t{x} + ((int64_t{1} << s) >> 1)) >> s); }

// A positive number, mantissa * 2^-exponent. The mantissa is 16384 to 32767.
struct Scaled {
  int32_t mantissa;
  int exponent;
};

constexpr int log2_floor(uint64_t x) {
  int bits = 0;
  while (x >>= 1) ++bits;
  return bits;
}
constexpr uint32_t square_root(uint64_t x) {  // the root, rounded down
  uint64_t root = 0;
  for (uint64_t bit = uint64_t{1} << 31; bit != 0; bit >>= 1) {
    if ((root | bit) * (root | bit) <= x) root |= bit;
  }
  return static_cast<uint32_t>(root);
}

// Returns 1 / rms of n values, which is sqrt(n / squares). `squares` is the sum of the values' squares plus n * epsilon. The
// relative error is below 2^-14. Both n and `squares` are first shifted to 2^30 .. 2^32. Each shift is by an even number of bits,
// so the root of the quotient has to be shifted by half of the difference of the two shifts.
constexpr Scaled inverse_rms(uint64_t squares, uint64_t n) {
  if (squares == 0) squares = 1;
  const int n_shift = (31 - log2_floor(n)) & ~1, squares_shift = (31 - log2_floor(squares)) & ~1;
  const uint64_t a = n << n_shift;
  const uint64_t t = squares_shift >= 0 ? squares << squares_shift : squares >> -squares_shift;
  uint32_t root = square_root((a << 32) / t);  // sqrt(a / t) * 2^16: 2^15 .. 2^17
  int exponent = 16 - (squares_shift - n_shift) / 2;
  for (; root > 32767; root = (root + 1) >> 1) --exponent;
  return {static_cast<int32_t>(root), exponent};
}

// 1 / sum, for softmax: each power p of e, in Q15, is divided by the sum of them all. The division y = p / sum becomes y = (p *
// mantissa) >> exponent, with the mantissa and the exponent that this function returns. sum is 32767 .. 2^31 - 1.
constexpr Scaled inverse_sum(uint32_t sum) {
  const int exponent = log2_floor(sum);
  const uint64_t mantissa = ((uint64_t{1} << (exponent + 15)) + sum / 2) / sum;
  return {static_cast<int32_t>(mantissa < 32767 ? mantissa : 32767), exponent};
}

// The fraction bits f of rms_norm's weights and of its results: an int16 stands for itself times 2^-f. The result has fewer
// fraction bits than the weights, so that shifts go right.
struct NormFormat {
  int weight_fraction = 12;
  int out_fraction = 10;
};
// rms_norm multiplies an x by its weight and by 1 / rms = mantissa * 2^-exponent. This function returns by how many bits (x *
// weight * mantissa) >> 15 must then be shifted to the right.
constexpr int norm_shift(NormFormat f, int exponent) { return exponent + f.weight_fraction - f.out_fraction - 15; }
static_assert(norm_shift({12, 11}, inverse_rms(64, 64).exponent) == 0, "an rms of 1, the least except zeros");
static_assert(norm_shift({15, 0}, inverse_rms(uint64_t{64} << 30, 64).exponent) <= 30, "an rms of 2^15, the largest");

inline constexpr int rope_fraction = 14;  // fraction bits of cosines and sines: 1 is 16384
inline constexpr int log2_e_q14 = 23637;  // the factor of exponents: log2(e) * 2^14
inline constexpr int largest_score_fraction = 11;  // 32767 * 2^-11 = 16, and e^-16 is 0 in Q15
// Coefficients of 2^-x for x in Q15, 0 <= x < 1: 32767 + x (c1 + x (c2 + x (c3 + x c4))), with products of two Q15 numbers rounded
// to Q15. The polynomial interpolates at 1/4, 0.587, 0.883 and 1; then the last places of the coefficients were adjusted. The error
// is 1.5 units of the last place.
inline constexpr int16_t exp2_c1 = -22701, exp2_c2 = 7818, exp2_c3 = -1711, exp2_c4 = 211;
// 16 / 17 in Q15: a coefficient of the straight line that is nearest to 1 / (2d) for d = 1/2 .. 1. sigmoid() starts with this line.
inline constexpr int16_t reciprocal_first = 30840;

// The most values in a run of the Hadamard transform. A run of 2^k values gives sums of 2^k int16 values each. With at most 2^15
// values they are exact in 32 bits in any order, and are 2^30 at most, so that rounding them does not overflow either.
inline constexpr size_t largest_hadamard_run = 32768;
// Returns the smallest shift s with which the sums of a Hadamard transform fit into int16 without saturating. `highest`, 0..2^30,
// is the largest magnitude of these sums.
constexpr int hadamard_shift(uint32_t highest) {
  int s = 0;
  while ((highest + ((uint32_t{1} << s) >> 1)) >> s > INT16_MAX) ++s;
  return s;
}
// The scale of a token after the Hadamard transform, whose sums were shifted right by `shift` bits. Before the transform, the
// values were integers times `scale`. Their orthonormal transform is the shifted integers times the result of this function, which
// is scale * 2^shift / sqrt(2^k), where 2^k is the length of a run. If k is even, this factor is a power of two and nothing is
// rounded. If k is odd, it is a power of two times sqrt(1/2) as a float, and the product is rounded once.
constexpr float hadamard_scale(float scale, int shift, size_t n) {
  const int k = log2_floor(hadamard_run(n)), exponent = shift - k / 2;
  const float power = static_cast<float>(uint64_t{1} << (exponent < 0 ? -exponent : exponent));
  const float scaled = exponent < 0 ? scale / power : scale * power;
  return k % 2 == 0 ? scaled : scaled * 0.70710678f;
}

namespace scalar {

// y[i] = x[i] * weight[i] / rms. `epsilon` is n * eps / scale^2, in units of squares of x. Here eps is the model's epsilon, and
// scale is the scale of x. The rms must stay below 2^15: the squares and epsilon together may be at most n times 2^30.
inline void rms_norm(int16_t* y, const int16_t* x, const int16_t* weight, size_t n, uint64_t epsilon, NormFormat f) {
  uint64_t squares = epsilon;
  for (size_t i = 0; i < n; ++i) squares += static_cast<uint64_t>(int32_t{x[i]} * x[i]);
  const Scaled r = inverse_rms(squares, n);
  const int shift = norm_shift(f, r.exponent) < 0 ? 0 : norm_shift(f, r.exponent);
  for (size_t i = 0; i < n; ++i) {
    const int64_t product = int32_t{x[i]} * weight[i];
    y[i] = shifted(static_cast<int32_t>((product * r.mantissa + 0x4000) >> 15), shift);
  }
}

// Rotates the pairs (x[i], x[i + pairs]) of a head, in place, as Qwen2 splits a head into halves. cos and sin have a number for each
// pair, in Q14: -16384 .. 16384.
inline void rope(int16_t* x, const int16_t* cos, const int16_t* sin, size_t pairs) {
  for (size_t i = 0; i < pairs; ++i) {
    const int32_t a = x[i], b = x[i + pairs];
    x[i] = shifted(a * cos[i] - b * sin[i], rope_fraction);
    x[i + pairs] = shifted(a * sin[i] + b * cos[i], rope_fraction);
  }
}

// e^-(u * 2^-fraction) in Q15, u >= 0. It is 2 to the power of -u * 2^-fraction * log2(e); the integer part of that exponent
// becomes a shift.
constexpr int16_t exp_negative(int16_t u, int fraction) {
  const int32_t exponent = (int32_t{u} * log2_e_q14) >> (fraction - 1);  // in Q15
  const auto x = static_cast<int16_t>(exponent & 32767);
  const int32_t whole = exponent >> 15 < 15 ? exponent >> 15 : 15;
  int32_t p = exp2_c3 + q15(exp2_c4, x);
  p = exp2_c2 + q15(p, x);
  p = exp2_c1 + q15(p, x);
  p = 32767 + q15(p, x);
  return static_cast<int16_t>(p >> whole);
}

// y[i] = e^(x[i] - max) / sum, where max is the highest x and sum is that of all e^(x[i] - max). An x stands for itself times 2^-fraction.
// A position that must not count (a masked one) has an x of -32768. Its y is 0 if max exceeds this x by more than 10.4, after both
// are multiplied by 2^-fraction.
inline void softmax(int16_t* y, const int16_t* x, size_t n, int fraction) {
  int16_t highest = INT16_MIN;
  for (size_t i = 0; i < n; ++i) highest = x[i] > highest ? x[i] : highest;
  uint32_t sum = 0;
  for (size_t i = 0; i < n; ++i) {
    y[i] = exp_negative(saturate16(int32_t{highest} - x[i]), fraction);
    sum += static_cast<uint32_t>(y[i]);
  }
  const Scaled r = inverse_sum(sum);
  for (size_t i = 0; i < n; ++i) y[i] = shifted(y[i] * r.mantissa, r.exponent);
}

// The sigmoid in Q15. For |gate| it is s = 1 / (1 + e), where e is the exponential of -|gate|. With d = (1 + e) / 2, the first
// guess of s is a straight line in d; two of Newton's steps, s += 2 s (1/2 - d s), follow. For a negative gate the result is 1 - s.
constexpr int16_t sigmoid(int16_t gate, int fraction) {
  const int16_t e = exp_negative(saturate16(gate < 0 ? -int32_t{gate} : gate), fraction);
  const int32_t d = 16384 + (e >> 1);
  int16_t s = saturate16(reciprocal_first - q15(reciprocal_first, d - 16384));
  for (int step = 0; step < 2; ++step) {
    const int16_t correction = q15(s, 16384 - q15(d, s));
    s = saturate16(int32_t{s} + 2 * correction);
  }
  return gate < 0 ? saturate16(32768 - s) : s;
}

// y[i] = (gate[i] * sigmoid(gate[i]) * up[i]) >> shift, shift 0..30. The result has as many fraction bits as gate and up together,
// less the shift.
inline void swiglu(int16_t* y, const int16_t* gate, const int16_t* up, size_t n, int fraction, int shift) {
  for (size_t i = 0; i < n; ++i) y[i] = shifted(q15(gate[i], sigmoid(gate[i], fraction)) * up[i], shift);
}

// The Walsh-Hadamard transform of each run of hadamard_run(n) values. The sums are exact in `sums` [n] and are then rounded to
// int16, to as many bits as the highest sum of the token allows: y[i] = sums[i] >> s, and s is returned. y may be x.
inline int hadamard(int16_t* y, int32_t* sums, const int16_t* x, size_t n) {
  for (size_t i = 0; i < n; ++i) sums[i] = x[i];
  hadamard_butterflies(sums, n);
  uint32_t highest = 0;
  for (size_t i = 0; i < n; ++i) {
    const auto magnitude = static_cast<uint32_t>(sums[i] < 0 ? -sums[i] : sums[i]);
    highest = magnitude > highest ? magnitude : highest;
  }
  const int s = hadamard_shift(highest);
  for (size_t i = 0; i < n; ++i) y[i] = shifted(sums[i], s);
  return s;
}

}  // namespace scalar

}}}  // namespace stilla::npu

#include <stilla/base/pop_macros-inl.hpp>
