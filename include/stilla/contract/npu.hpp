// SPDX-License-Identifier: Apache-2.0
//
// Contract of matrix products on an NPU: y[m, n] = sum over k of W[n, k] * x[m, k] (+ bias[n]). It differs from the CPU's contract
// (matmul.hpp), which takes a float step for every group. The vectors of an NPU have no fused float multiply-add, so here the sum
// is exact in integers over all of K, and one float step ends it.
//
// Weights have 4 bits and zero point 8. A channel (a row of W, an output) has one float scale. With LPBQ (QNN's low-power block
// quantisation) every 32, 64 or 128 k also have an integer scale of 1 to 15:
//
//     W[n, k] = channel_scale[n] * block_scale[n, k / block] * (code[n, k] - 8)       code 0..15; per channel: block_scale = 1
//
// Activations are integers with one scale per token m: int8, or int16, which kernels read as two planes of bytes:
//
//     x[m, k] = scale[m] * a[m, k]           int8:  a = high, -128..127
//                                            int16: a = 256 * high + low, high -128..127, low 0..255
//
// The sum of a plane is exact in int32, whatever the order of its terms; with two planes the total is exact in int64:
//
//     sum_p = sum over k of block_scale * (code - 8) * a_p[k]                          for each plane p
//     total = sum_high                       or    256 * sum_high + sum_low
//     y     = fma(float(total), channel_scale * scale, bias)
//
// float(total) is rounded once, to nearest, ties to even. The product of the two scales is rounded once in the same way, and so is
// the fused multiply-add. Without a bias, bias is +0, so the fused step is one rounded product. Nothing else is rounded. Whoever
// does these three steps gets the same bits on any machine. It does not matter how a value of 16 bits is split into planes, because
// the total is the same integer.
//
// This file and the files that a DSP compiles need only a compiler and no library, not even a freestanding one. So they include
// stdint.h and not cstdint.
#pragma once

#include <stddef.h>
#include <stdint.h>
#if !defined(__GNUC__)
#include <cmath>
#endif

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace npu {

inline constexpr int zero_point = 8;
inline constexpr int largest_code = 15;
inline constexpr int largest_block_scale = 15;
inline constexpr size_t largest_k = 65536;  // a power of two that all limits below allow; R1's largest K is 18944

// The magnitude of the integer sum over all k of a plane of activations is at most the largest magnitude of code - 8, times that of
// a byte of the plane, times the largest block scale, times K.
constexpr int64_t largest_sum(int64_t level, int64_t byte, int64_t block_scale, int64_t k) { return level * byte * block_scale * k; }
static_assert(largest_sum(8, 128, largest_block_scale, largest_k) <= INT32_MAX, "the high plane: up to K = 139810");
static_assert(largest_sum(8, 255, largest_block_scale, largest_k) <= INT32_MAX, "the low plane: up to K = 70178");
static_assert(largest_sum(8, 128, 1, largest_k) <= INT32_MAX, "per channel: up to K = 2097151");

enum class Activations : uint8_t { int8 = 1, int16 = 2 };  // the value is the number of planes

constexpr int8_t high_plane(int16_t a) { return static_cast<int8_t>(a >> 8); }
constexpr uint8_t low_plane(int16_t a) { return static_cast<uint8_t>(a & 255); }

// The float step: makes the result of an exact total, float(total) * (channel_scale * token_scale) + bias. Total is int32_t or
// int64_t. On Hexagon the scalar core does it: a conversion, sfmpy, and an sfmpy that accumulates.
template <class Total>
inline float scaled(Total total, float channel_scale, float token_scale, float bias) {
  const float scale = channel_scale * token_scale;
#if defined(__hexagon__)
  return __builtin_HEXAGON_F2_sffma(bias, static_cast<float>(total), scale);
#elif defined(__GNUC__)
  return __builtin_fmaf(static_cast<float>(total), scale, bias);
#else
  return std::fma(static_cast<float>(total), scale, bias);
#endif
}

// A type can be the weights of a product if it has code(n, k), 0..15, block_scale(n, k), 1..15, and channel_scale(n): rows of a
// format, plain arrays, panels.
template <class W>
concept Weights = requires(const W& w, size_t n, size_t k) {
  static_cast<int>(w.code(n, k));
  static_cast<int>(w.block_scale(n, k));
  static_cast<float>(w.channel_scale(n));
};

// Plain arrays as weights: codes [N][K], block scales [N][K / block], channel scales [N]. block == 0 means one scale per channel
// and no block scales.
struct ArrayWeights {
  const uint8_t* codes = nullptr;
  const uint8_t* block_scales = nullptr;
  const float* channel_scales = nullptr;
  size_t K = 0;
  size_t block = 0;

  int code(size_t n, size_t k) const { return codes[n * K + k]; }
  int block_scale(size_t n, size_t k) const { return block == 0 ? 1 : block_scales[n * (K / block) + k / block]; }
  float channel_scale(size_t n) const { return channel_scales[n]; }
};

// The namespace `scalar` has the code that defines the results. It is the shortest code that is correct, not a fast one.
namespace scalar {

// The exact total of one output: the integer sum over all k of weight n, k times activation k. A is int8_t or int16_t.
template <class A, Weights W>
int64_t total(const W& w, size_t n, const A* a, size_t K) {
  int32_t high = 0, low = 0;
  for (size_t k = 0; k < K; ++k) {
    const int32_t weight = w.block_scale(n, k) * (w.code(n, k) - zero_point);
    if constexpr (sizeof(A) == 1) {
      high += weight * a[k];
    } else {
      high += weight * high_plane(a[k]);
      low += weight * low_plane(a[k]);
    }
  }
  return sizeof(A) == 1 ? int64_t{high} : 256 * int64_t{high} + low;
}

// The whole product of weights and activations, with a bias. y is [M][N], a is [M][K], scales is [M], bias is [N] or null.
// K <= largest_k.
template <class A, Weights W>
void matmul(float* y, const W& w, size_t N, size_t K, const A* a, const float* scales, size_t M, const float* bias) {
  for (size_t m = 0; m < M; ++m) {
    for (size_t n = 0; n < N; ++n) {
      y[m * N + n] = scaled(total(w, n, a + m * K, K), w.channel_scale(n), scales[m], bias == nullptr ? 0.0f : bias[n]);
    }
  }
}

}  // namespace scalar

}}}  // namespace stilla::npu

#include <stilla/base/pop_macros-inl.hpp>
