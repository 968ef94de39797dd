// SPDX-License-Identifier: Apache-2.0
//
// The kernels of the target scalar that work on rows of floats: RMSNorm, RoPE, SiLU, softmax and others. They compute the formulas of
// contract/elementwise.hpp one number at a time, and the kernels of every other target must give the same bits.
#pragma once

#include <bit>
#include <cmath>
#include <limits>

#include <stilla/base/math.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/scalar/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

template <>
struct RmsNorm<Scalar> {
  static constexpr TargetId implemented_on = Scalar::id;
  static void run(float* out, const float* x, const float* weight, float epsilon, std::size_t n) {
    float lanes[sum_lanes] = {};
    for (std::size_t i = 0; i < n; ++i) lanes[i % sum_lanes] = std::fma(x[i], x[i], lanes[i % sum_lanes]);
    const float mean = detail::fold_lanes(lanes) / static_cast<float>(n);
    const float scale = 1.0f / std::sqrt(mean + epsilon);
    for (std::size_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
  }
};

template <>
struct SiluMul<Scalar> {
  static constexpr TargetId implemented_on = Scalar::id;
  static void run(float* out, const float* gate, const float* up, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + exp_approximate(-gate[i])) * up[i];
  }
};

template <>
struct Softmax<Scalar> {
  static constexpr TargetId implemented_on = Scalar::id;
  static void run(float* out, const float* x, std::size_t n) {
    float highest = x[0];
    for (std::size_t i = 1; i < n; ++i) highest = x[i] > highest ? x[i] : highest;
    float lanes[sum_lanes] = {};
    for (std::size_t i = 0; i < n; ++i) {
      out[i] = x[i] == highest ? 1.0f : exp_approximate(x[i] - highest);
      lanes[i % sum_lanes] += out[i];
    }
    const float inverse = 1.0f / detail::fold_lanes(lanes);
    for (std::size_t i = 0; i < n; ++i) out[i] *= inverse;
  }
};

template <>
struct HighestLogits<Scalar> {
  static constexpr TargetId implemented_on = Scalar::id;
  static void run(float* highest, const float* logits, std::size_t n) {
    for (; n != 0; n -= logit_block, logits += logit_block, ++highest) {
      *highest = -std::numeric_limits<float>::infinity();
      for (std::size_t i = 0; i < logit_block; ++i) *highest = logits[i] > *highest ? logits[i] : *highest;
    }
  }
};

template <>
struct LogitWeights<Scalar> {
  static constexpr TargetId implemented_on = Scalar::id;
  static void run(double* sums, const float* logits, std::size_t n, float highest, float temperature) {
    for (; n != 0; n -= logit_block, logits += logit_block, ++sums) {
      double lanes[sum_lanes] = {};
      for (std::size_t i = 0; i < logit_block; ++i) {
        lanes[i % sum_lanes] += static_cast<double>(softmax_weight(logits[i], highest, temperature));
      }
      *sums = detail::fold_lanes(lanes);
    }
  }
};

template <>
struct Rope<Scalar> {
  static constexpr TargetId implemented_on = Scalar::id;
  static void run(float* x, const float* cos, const float* sin, std::size_t pairs, bool half_split) {
    for (std::size_t i = 0; i < pairs; ++i) {
      float& first = half_split ? x[i] : x[2 * i];
      float& second = half_split ? x[i + pairs] : x[2 * i + 1];
      const float a = first;
      const float b = second;
      first = std::fma(a, cos[i], -(b * sin[i]));
      second = std::fma(a, sin[i], b * cos[i]);
    }
  }
};

template <>
struct Hadamard<Scalar> {
  static constexpr TargetId implemented_on = Scalar::id;
  static void run(float* x, std::size_t n) { hadamard_butterflies(x, n); }
};

template <>
struct QuantiseQ8<Scalar> {
  static constexpr TargetId implemented_on = Scalar::id;
  static void run(std::int8_t* values, float* scales, std::int32_t* sums, float* scaled_sums, const float* x, std::size_t blocks,
                  std::int8_t* low = nullptr) {
    const float largest = low == nullptr ? 127.0f : 32512.0f;
    for (std::size_t b = 0; b < blocks; ++b, x += activation_block) {
      const float highest = detail::highest_magnitude(x, activation_block);
      const bool usable = highest >= detail::smallest_activation && highest <= detail::largest_activation;
      scales[b] = usable ? detail::activation_scale(highest, largest) : detail::scale_of_zeros(highest);
      const float inverse = usable ? detail::inverse_of_power(scales[b]) : 0.0f;
      sums[2 * b] = sums[2 * b + 1] = 0;
      for (std::size_t i = 0; i < activation_block; ++i) {
        const std::int32_t rounded = usable ? detail::round_product(x[i], inverse) : 0;
        const std::int32_t high = low == nullptr ? rounded : (rounded + 128) >> 8;
        values[b * activation_block + i] = static_cast<std::int8_t>(high);
        if (low != nullptr) low[b * activation_block + i] = static_cast<std::int8_t>(rounded - 256 * high);
        if (i < activation_block / 2) sums[2 * b] += rounded;
        sums[2 * b + 1] += rounded;
      }
      scaled_sums[b] = scales[b] * static_cast<float>(sums[2 * b + 1]);
    }
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
