// SPDX-License-Identifier: Apache-2.0
//
// The specification of attention (contract/attention.hpp).
#pragma once

#include <bit>
#include <cmath>
#include <limits>

#include <stilla/base/math.hpp>
#include <stilla/base/types.hpp>
#include <stilla/contract/attention.hpp>
#include <stilla/scalar/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

// A row of n floats, a query or its attention weights, rounded to integers, with the number that an integer 1 stands for (`unit`).
// rounded() in contract/attention.hpp says how.
struct RoundedRow {
  std::int32_t values[kv_chunk];
  float unit;

  RoundedRow(const float* x, std::size_t n, float largest) {
    const float highest = highest_magnitude(x, n);
    unit = unit_of(highest, largest);
    for (std::size_t i = 0; i < n; ++i) values[i] = unit > 0.0f ? round_product(x[i], largest / highest) : 0;
  }
};

// What the key bias adds to a score is the sum or difference of two fma chains, which contract/attention.hpp calls `even` and `odd`.
// Computes the coefficients of both for one query.
inline void key_bias_coefficients(float* coefficients, const KeyBiasArgs& a, std::size_t query) {
  const float* q = a.queries + query * 2 * a.padded_pairs;
  const float* b = a.bias;
  const std::size_t second = a.padded_pairs;
  float slow[slow_terms] = {};
  for (std::size_t i = 0; i < a.pairs; ++i) {
    const float A = std::fma(q[i], b[i], q[second + i] * b[second + i]);
    const float B = std::fma(q[second + i], b[i], -(q[i] * b[second + i]));
    const float moved_A = std::fma(A, a.middle_cos[i], B * a.middle_sin[i]);
    const float moved_B = std::fma(B, a.middle_cos[i], -(A * a.middle_sin[i]));
    if (i < a.fast) {
      coefficients[i] = moved_A;
      coefficients[a.half_terms + i] = moved_B;
      continue;
    }
    for (std::size_t k = 0; k < slow_terms; ++k) {
      slow[k] = std::fma(k % 2 == 0 ? moved_A : moved_B, a.slow[(i - a.fast) * slow_terms + k], slow[k]);
    }
  }
  slow[0] += a.constants[query];
  for (std::size_t k = 0; k < slow_terms; ++k) coefficients[k % 2 * a.half_terms + a.fast + k / 2] = slow[k];
}

// Returns what the key bias adds to the score of position j of the chunk.
inline float key_bias_score(const float* coefficients, const KeyBiasArgs& a, std::size_t j) {
  if (a.half_terms == 0) return 0.0f;
  constexpr std::size_t half = kv_chunk / 2;
  const std::size_t r = j < half ? half - 1 - j : j - half;
  float sums[2] = {};
  for (std::size_t odd = 0; odd < 2; ++odd) {
    const float* table = a.table + (odd * half + r / key_tile * key_tile) * a.half_terms + r % key_tile;
    for (std::size_t t = 0; t < a.half_terms; ++t) {
      sums[odd] = std::fma(coefficients[odd * a.half_terms + t], table[t * key_tile], sums[odd]);
    }
  }
  return j < half ? sums[0] - sums[1] : sums[0] + sums[1];
}

template <class E>
void attention_scores(float* scores, const AttentionChunkArgs<E>& a, std::size_t query) {
  const std::size_t D = a.head_dim;
  const float* q = a.queries + query * D;
  if constexpr (!IntegerKv<E>) {
    const E* keys = reinterpret_cast<const E*>(a.chunk + KvLayout<E>::keys);
    for (std::size_t j = 0; j < a.count; ++j) {
      const E* tile = keys + j / key_tile * key_tile * D;
      scores[j] = 0.0f;
      for (std::size_t d = 0; d < D; ++d) scores[j] = std::fma(q[d], to_float(tile[d * key_tile + j % key_tile]), scores[j]);
    }
  } else {
    float coefficients[max_head_dim + slow_terms];
    if (a.key_bias.half_terms != 0) key_bias_coefficients(coefficients, a.key_bias, query);
    const RoundedRow rounded(q, D, largest_query);
    const float* scales = reinterpret_cast<const float*>(a.chunk + KvLayout<E>::key_scales);
    for (std::size_t j = 0; j < a.count; ++j) {
      std::int32_t dot = 0;
      for (std::size_t d = 0; d < D; ++d) dot += rounded.values[d] * key_code<E>(a.chunk, D, j, d);
      scores[j] = std::fma(static_cast<float>(dot), rounded.unit * scales[j], key_bias_score(coefficients, a.key_bias, j));
    }
  }
}

}  // namespace detail

template <class E>
struct AttentionChunk<Scalar, E> {
  static constexpr TargetId implemented_on = Scalar::id;

  static void run(const AttentionChunkArgs<E>& a) {
    const std::size_t D = a.head_dim;
    for (std::size_t h = 0; h < a.n_queries; ++h) {
      float* out = a.out + h * D;
      float weights[kv_chunk] = {};
      detail::attention_scores(weights, a, h);
      detail::limit_scores(weights, a);
      float max = -std::numeric_limits<float>::infinity();
      for (std::size_t j = 0; j < a.count; ++j) max = weights[j] > max ? weights[j] : max;
      float lanes[sum_lanes] = {};
      for (std::size_t j = 0; j < a.count; ++j) {
        weights[j] = exp_approximate(weights[j] - max);
        lanes[j % sum_lanes] += weights[j];
      }
      a.max[h] = max;
      a.sum[h] = detail::fold_lanes(lanes);
      if constexpr (!IntegerKv<E>) {
        const E* values = reinterpret_cast<const E*>(a.chunk + KvLayout<E>::values(D));
        for (std::size_t d = 0; d < D; ++d) {
          out[d] = 0.0f;
          for (std::size_t j = 0; j < a.count; ++j) out[d] = std::fma(weights[j], to_float(values[j * D + d]), out[d]);
        }
      } else {
        const float* scales = reinterpret_cast<const float*>(a.chunk + KvLayout<E>::value_scales);
        for (std::size_t j = 0; j < a.count; ++j) weights[j] *= scales[j];
        const detail::RoundedRow rounded(weights, a.count, largest_weight);
        for (std::size_t d = 0; d < D; ++d) {
          std::int32_t dot = 0;
          for (std::size_t j = 0; j < a.count; ++j) dot += rounded.values[j] * value_code<E>(a.chunk, D, j, d);
          out[d] = static_cast<float>(dot) * rounded.unit;
        }
      }
    }
  }
};

template <>
struct AttentionMerge<Scalar> {
  static constexpr TargetId implemented_on = Scalar::id;

  static void merge(AttentionParts into, AttentionParts part, std::size_t n, std::size_t D) {
    for (std::size_t h = 0; h < n; ++h) {
      const float max = part.max[h] > into.max[h] ? part.max[h] : into.max[h];
      const float a = exp_approximate(into.max[h] - max);
      const float b = exp_approximate(part.max[h] - max);
      into.max[h] = max;
      into.sum[h] = std::fma(b, part.sum[h], a * into.sum[h]);
      for (std::size_t d = h * D; d < (h + 1) * D; ++d) into.out[d] = std::fma(b, part.out[d], a * into.out[d]);
    }
  }

  static void finish(float* out, float sum, std::size_t D) {
    const float inverse = 1.0f / sum;
    for (std::size_t d = 0; d < D; ++d) out[d] *= inverse;
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
