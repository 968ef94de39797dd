// SPDX-License-Identifier: Apache-2.0
//
// RMSNorm, RoPE, softmax, SwiGLU and the Hadamard transform on HVX, the vector unit of Qualcomm's Hexagon DSP. They give the same
// bits as their definitions in contract/npu_fixed_point.hpp. They are written against the vocabulary of hvx.hpp and process 64
// values in each vector. All arrays begin at multiples of 128 bytes, and sizes are multiples of 64. The DSP's scalar core computes
// what is needed only once for a row: the root of RMSNorm and the reciprocal of softmax's sum.
//
// A packet is a group of up to four instructions that the DSP issues at once. The table says how many packets each loop of the
// Hadamard transform takes for 64 values, compiled by clang 19. The numbers are the same for the DSP's versions v68 and v73. The
// first loop combines values at distances of 1 to 32, and the second loop runs once for each greater distance. The third loop finds
// the highest sum, and the last one narrows the sums to 16 bits. ../../../tests/npu_hexagon/packets.py counts the packets, and
// fails where a loop takes more than this table says:
//
//     steps of 1 to 32         13.00
//     each later step           3.00
//     highest                   2.25
//     narrowing                 7.00
//
// A row of 8960 values consists of runs of 256. Its transform takes 13 + 2 x 3 + 2.25 + 7 = 28 packets for 64 values. In comparison,
// the down matrix has 1536 rows, so 64 values are multiplied by 64 x 1536 = 384 x 256 weights. With weights of int4 per channel, 256
// weights take 1.16 packets for one column of activations (the table in matmul.hpp). So this product takes 384 x 1.16 = 445 packets for
// each column.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <stilla/contract/npu_fixed_point.hpp>
#include <stilla/npu_hexagon/hvx.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace hexagon {

// Shifts the words of 32 bits in `a` right by s = 0..31, with rounding, and narrows them to halves of 16 bits, as npu::shifted does.
// Nothing overflows, because the magnitudes of all words are at most 2^30.
template <class V>
STILLA_HVX_INLINE typename V::Vector shifted(const typename V::Pair& a, int s) {
  const typename V::Vector half = V::splat_word(s == 0 ? 0 : 1 << (s - 1));
  return V::narrow_saturating(V::shift_right(V::add_words(a.upper, half), s), V::shift_right(V::add_words(a.lower, half), s), 0);
}

// Returns the sum of the 32 words of a vector. None of the words is negative.
template <class V>
STILLA_HVX_INLINE uint64_t sum_of_words(const typename V::Vector& a) {
  typename V::template Local<uint32_t, vector_words> lanes;
  V::store(lanes.values, a);
  uint64_t sum = 0;
  for (const uint32_t lane : lanes.values) sum += lane;
  return sum;
}

template <class V>
STILLA_HVX_NOINLINE void rms_norm(int16_t* y, const int16_t* x, const int16_t* weight, size_t n, uint64_t epsilon, npu::NormFormat f) {
  using Vector = typename V::Vector;
  using Pair = typename V::Pair;
  // RMSNorm needs the sum of the squares of a row. A square is up to 2^30, so many of them overflow a word of 32 bits. Therefore the lower
  // 16 bits of the squares are added up in one vector, and their upper bits in another.
  const Vector low_half = V::splat_word(0xffff);
  Vector low = V::zero(), high = V::zero();
  for (size_t i = 0; i < n; i += vector_halves) {
    const Vector v = V::load(x + i);
    const Pair squares = V::products(v, v);
    low = V::add_words(low, V::add_words(V::bit_and(squares.lower, low_half), V::bit_and(squares.upper, low_half)));
    high = V::add_words(high, V::add_words(V::shift_right(squares.lower, 16), V::shift_right(squares.upper, 16)));
  }
  const npu::Scaled r = npu::inverse_rms(epsilon + sum_of_words<V>(low) + (sum_of_words<V>(high) << 16), n);
  const int shift = npu::norm_shift(f, r.exponent) < 0 ? 0 : npu::norm_shift(f, r.exponent);
  const Vector mantissa = V::splat_half(r.mantissa);
  for (size_t i = 0; i < n; i += vector_halves) {
    const Pair p = V::products(V::load(x + i), V::load(weight + i));
    V::store(y + i, shifted<V>(Pair{V::words_times_q15(p.lower, mantissa), V::words_times_q15(p.upper, mantissa)}, shift));
  }
}

// RoPE of one head, in place: rotates each of its `pairs` pairs, whose numbers are x[i] and x[i + pairs]. `pairs` is a multiple of 64.
template <class V>
STILLA_HVX_NOINLINE void rope(int16_t* x, const int16_t* cos, const int16_t* sin, size_t pairs) {
  using Vector = typename V::Vector;
  using Pair = typename V::Pair;
  for (size_t i = 0; i < pairs; i += vector_halves) {
    const Vector a = V::load(x + i), b = V::load(x + i + pairs), c = V::load(cos + i), s = V::load(sin + i);
    const Pair ac = V::products(a, c), bs = V::products(b, s), as = V::products(a, s), bc = V::products(b, c);
    V::store(x + i, shifted<V>(V::sub_words(ac, bs), npu::rope_fraction));
    V::store(x + i + pairs, shifted<V>(Pair{V::add_words(as.lower, bc.lower), V::add_words(as.upper, bc.upper)}, npu::rope_fraction));
  }
}

template <class V>
STILLA_HVX_INLINE typename V::Vector exp_negative(const typename V::Vector& u, int fraction) {
  using Vector = typename V::Vector;
  const typename V::Pair product = V::products(u, V::splat_half(npu::log2_e_q14));
  const Vector lower = V::shift_right(product.lower, fraction - 1), upper = V::shift_right(product.upper, fraction - 1);
  const Vector x = V::bit_and(V::even_halves(upper, lower), V::splat_half(32767));
  const Vector whole = V::min_halves(V::narrow_saturating(upper, lower, 15), V::splat_half(15));
  Vector p = V::add_halves(V::splat_half(npu::exp2_c3), V::times_q15(V::splat_half(npu::exp2_c4), x));
  p = V::add_halves(V::splat_half(npu::exp2_c2), V::times_q15(p, x));
  p = V::add_halves(V::splat_half(npu::exp2_c1), V::times_q15(p, x));
  p = V::add_halves(V::splat_half(32767), V::times_q15(p, x));
  return V::shift_each_right(p, whole);
}

template <class V>
STILLA_HVX_NOINLINE void softmax(int16_t* y, const int16_t* x, size_t n, int fraction) {
  using Vector = typename V::Vector;
  using Pair = typename V::Pair;
  Vector highest = V::load(x);
  for (size_t i = vector_halves; i < n; i += vector_halves) highest = V::max_halves(highest, V::load(x + i));
  typename V::template Local<int16_t, vector_halves> lanes;
  V::store(lanes.values, highest);
  int16_t top = lanes.values[0];
  for (const int16_t lane : lanes.values) top = lane > top ? lane : top;
  highest = V::splat_half(top);
  Vector sums = V::zero();
  for (size_t i = 0; i < n; i += vector_halves) {
    const Vector e = exp_negative<V>(V::sub_halves_saturating(highest, V::load(x + i)), fraction);
    V::store(y + i, e);
    sums = V::sum2(sums, e);
  }
  const npu::Scaled r = npu::inverse_sum(static_cast<uint32_t>(sum_of_words<V>(sums)));
  const Vector mantissa = V::splat_half(r.mantissa);
  for (size_t i = 0; i < n; i += vector_halves) {
    const Pair p = V::products(V::load(y + i), mantissa);
    V::store(y + i, shifted<V>(p, r.exponent));
  }
}

template <class V>
STILLA_HVX_INLINE typename V::Vector sigmoid(const typename V::Vector& gate, int fraction) {
  using Vector = typename V::Vector;
  const Vector one = V::splat_half(INT16_MIN), half = V::splat_half(16384), first = V::splat_half(npu::reciprocal_first);
  const Vector e = exp_negative<V>(V::max_halves(gate, V::sub_halves_saturating(V::zero(), gate)), fraction);
  const Vector rest = V::shift_halves_right(e, 1), d = V::add_halves(half, rest);
  Vector s = V::sub_halves(first, V::times_q15(first, rest));
  STILLA_HVX_UNROLL
  for (int step = 0; step < 2; ++step) {
    const Vector correction = V::times_q15(s, V::sub_halves(half, V::times_q15(d, s)));
    s = V::add_halves_saturating(s, V::add_halves(correction, correction));
  }
  return V::where_negative(gate, V::sub_halves(one, s), s);  // 32768 - s, wrapped
}

template <class V>
STILLA_HVX_NOINLINE void swiglu(int16_t* y, const int16_t* gate, const int16_t* up, size_t n, int fraction, int shift) {
  for (size_t i = 0; i < n; i += vector_halves) {
    const typename V::Vector g = V::load(gate + i);
    const typename V::Vector silu = V::times_q15(g, sigmoid<V>(g, fraction));
    V::store(y + i, shifted<V>(V::products(silu, V::load(up + i)), shift));
  }
}

// Computes the Hadamard transform of the 64 values of 16 bits in `halves`. The results are words of 32 bits, in order: `first` gets
// the results 0 to 31, and `second` the rest. Each step takes pairs of neighbours. It puts their sums into the first vector and
// their differences into the second. This moves the lowest bit of a number's index to the top. So after six steps the numbers stand
// in their order again.
template <class V>
STILLA_HVX_INLINE void transform_64(typename V::Vector& first, typename V::Vector& second, const typename V::Vector& halves) {
  typename V::Pair neighbours = V::products(halves, V::splat_half(1));  // lower: the even lanes; upper: the odd lanes
  STILLA_HVX_UNROLL
  for (int step = 0; step < 6; ++step) {
    first = V::add_words(neighbours.lower, neighbours.upper);
    second = V::sub_words(neighbours.lower, neighbours.upper);
    neighbours = V::deal_words(second, first);
  }
}

// Computes the Hadamard transform of each run of x and writes it to y, which may be the same array as x. Both have n values. `sums`
// [n] is working space for the exact results, words of 32 bits. The function returns the number of bits by which it has shifted
// them right, so that they fit 16 bits.
template <class V>
STILLA_HVX_NOINLINE int hadamard(int16_t* y, int32_t* sums, const int16_t* x, size_t n) {
  using Vector = typename V::Vector;
  using Pair = typename V::Pair;
  for (size_t i = 0; i < n; i += vector_halves) {
    Vector first, second;
    transform_64<V>(first, second, V::load(x + i));
    V::store(sums + i, first);
    V::store(sums + i + vector_words, second);
  }
  for (size_t distance = vector_halves; distance < hadamard_run(n); distance *= 2) {
    for (size_t begin = 0; begin < n; begin += 2 * distance) {
      for (size_t i = begin; i < begin + distance; i += vector_words) {
        const Vector a = V::load(sums + i), b = V::load(sums + i + distance);
        V::store(sums + i, V::add_words(a, b));
        V::store(sums + i + distance, V::sub_words(a, b));
      }
    }
  }
  Vector highest = V::zero();
  for (size_t i = 0; i < n; i += vector_words) highest = V::max_words(highest, V::magnitude_words(V::load(sums + i)));
  typename V::template Local<uint32_t, vector_words> lanes;
  V::store(lanes.values, highest);
  uint32_t top = 0;
  for (const uint32_t lane : lanes.values) top = lane > top ? lane : top;
  const int s = npu::hadamard_shift(top);
  for (size_t i = 0; i < n; i += vector_halves) {
    const Pair neighbours = V::deal_words(V::load(sums + i + vector_words), V::load(sums + i));
    V::store(y + i, shifted<V>(neighbours, s));
  }
  return s;
}

}}}  // namespace stilla::hexagon

#include <stilla/base/pop_macros-inl.hpp>
