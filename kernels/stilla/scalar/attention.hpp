// SPDX-License-Identifier: Apache-2.0
//
// The attention specification (contract/attention.hpp).
#pragma once

#include <cmath>

#include <stilla/contract/attention.hpp>
#include <stilla/math.hpp>
#include <stilla/scalar/target.hpp>
#include <stilla/types.hpp>

namespace stilla::inline STILLA_ABI {

template <class E>
struct AttentionChunk<Scalar, E> {
  static constexpr TargetId implemented_on = Scalar::id;

  static void run(const AttentionChunkArgs<E>& a) {
    const std::size_t D = a.head_dim;
    for (std::size_t h = 0; h < a.heads; ++h) {
      const float* query = a.queries + h * D;
      float* out = a.out + h * D;
      float weights[kv_chunk] = {};
      for (std::size_t j = 0; j < a.count; ++j) {
        const E* tile = a.keys + j / key_tile * key_tile * D;
        weights[j] = 0.0f;
        for (std::size_t d = 0; d < D; ++d) {
          weights[j] = std::fma(query[d], to_float(tile[d * key_tile + j % key_tile]), weights[j]);
        }
      }
      float max = weights[0];
      for (std::size_t j = 1; j < a.count; ++j) max = weights[j] > max ? weights[j] : max;
      float lanes[sum_lanes] = {};
      for (std::size_t j = 0; j < a.count; ++j) {
        weights[j] = exp_approximate(weights[j] - max);
        lanes[j % sum_lanes] += weights[j];
      }
      a.max[h] = max;
      a.sum[h] = detail::fold_lanes(lanes);
      for (std::size_t d = 0; d < D; ++d) {
        out[d] = 0.0f;
        for (std::size_t j = 0; j < a.count; ++j) out[d] = std::fma(weights[j], to_float(a.values[j * D + d]), out[d]);
      }
    }
  }
};

template <>
struct AttentionMerge<Scalar> {
  static constexpr TargetId implemented_on = Scalar::id;

  static void merge(AttentionPart into, AttentionPart part, std::size_t D) {
    const float max = part.max > into.max ? part.max : into.max;
    const float a = exp_approximate(into.max - max);
    const float b = exp_approximate(part.max - max);
    into.max = max;
    into.sum = std::fma(b, part.sum, a * into.sum);
    for (std::size_t d = 0; d < D; ++d) into.out[d] = std::fma(b, part.out[d], a * into.out[d]);
  }

  static void finish(float* out, float sum, std::size_t D) {
    const float inverse = 1.0f / sum;
    for (std::size_t d = 0; d < D; ++d) out[d] *= inverse;
  }
};

}  // namespace stilla::STILLA_ABI
