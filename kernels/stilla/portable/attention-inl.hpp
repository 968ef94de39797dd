// SPDX-License-Identifier: Apache-2.0
//
// Attention with Highway (contract/attention.hpp). Scores: 16 keys in lanes, query values broadcast. Weighted sum of values:
// 16 head dimensions in lanes, weights broadcast. Up to 4 query heads share every load and conversion of the cache; with
// 16 registers of 8 floats, 4 heads x 2 vectors of accumulators leave room for the operands, 5 heads would spill.
#pragma once

#include <stilla/contract/attention.hpp>
#include <stilla/portable/vector-inl.hpp>
#include <stilla/scalar/attention.hpp>
#include <stilla/types.hpp>

HWY_BEFORE_NAMESPACE();
namespace stilla::inline STILLA_ABI::HWY_NAMESPACE {

template <class E, std::size_t HT>
HWY_NOINLINE void attention_chunk(const AttentionChunkArgs<E>& a) {
  const DFloat d;
  const std::size_t D = a.head_dim;
  alignas(64) float weights[HT][kv_chunk];

  for (std::size_t j0 = 0; j0 < a.count; j0 += key_tile) {
    const E* tile = a.keys + j0 * D;
    Lanes16 score[HT];
    for (std::size_t h = 0; h < HT; ++h) score[h] = zero16();
    for (std::size_t i = 0; i < D; ++i) {
      for (std::size_t v = 0; v < row_vectors; ++v) {
        const VFloat key = load_weights(tile + i * key_tile + v * float_lanes);
        for (std::size_t h = 0; h < HT; ++h) {
          score[h].v[v] = hn::MulAdd(hn::Set(d, a.queries[h * D + i]), key, score[h].v[v]);
        }
      }
    }
    for (std::size_t h = 0; h < HT; ++h) store16(score[h], weights[h] + j0, sum_lanes);
  }

  for (std::size_t h = 0; h < HT; ++h) {
    float max = weights[h][0];
    for (std::size_t j = 1; j < a.count; ++j) max = weights[h][j] > max ? weights[h][j] : max;
    const auto max_lanes = hn::Set(d, max);
    Lanes16 sum = zero16();
    for_each_16(a.count, [&](std::size_t j, std::size_t count) HWY_ATTR {
      Lanes16 e = load16(weights[h] + j, count);
      for (std::size_t v = 0; v < row_vectors; ++v) e.v[v] = exp_lanes(hn::Sub(e.v[v], max_lanes));
      if (count < sum_lanes) e = first_lanes(e, count);
      for (std::size_t v = 0; v < row_vectors; ++v) sum.v[v] = hn::Add(sum.v[v], e.v[v]);
      store16(e, weights[h] + j, sum_lanes);
    });
    a.max[h] = max;
    a.sum[h] = fold16(sum);
  }

  for (std::size_t i = 0; i < D; i += sum_lanes) {
    Lanes16 out[HT];
    for (std::size_t h = 0; h < HT; ++h) out[h] = zero16();
    for (std::size_t j = 0; j < a.count; ++j) {
      for (std::size_t v = 0; v < row_vectors; ++v) {
        const VFloat value = load_weights(a.values + j * D + i + v * float_lanes);
        for (std::size_t h = 0; h < HT; ++h) {
          out[h].v[v] = hn::MulAdd(hn::Set(d, weights[h][j]), value, out[h].v[v]);
        }
      }
    }
    for (std::size_t h = 0; h < HT; ++h) store16(out[h], a.out + h * D + i, sum_lanes);
  }
}

inline HWY_NOINLINE void attention_merge(AttentionPart into, AttentionPart part, std::size_t D) {
  const DFloat d;
  const float max = part.max > into.max ? part.max : into.max;
  const float a = exp_approximate(into.max - max);
  const float b = exp_approximate(part.max - max);
  into.max = max;
  into.sum = std::fma(b, part.sum, a * into.sum);
  for (std::size_t i = 0; i < D; i += float_lanes) {
    const auto scaled = hn::Mul(hn::Set(d, a), hn::LoadU(d, into.out + i));
    hn::StoreU(hn::MulAdd(hn::Set(d, b), hn::LoadU(d, part.out + i), scaled), d, into.out + i);
  }
}

}  // namespace stilla::STILLA_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

namespace stilla::inline STILLA_ABI {

template <class E>
struct AttentionChunk<Portable, E> {
  static constexpr TargetId implemented_on = Portable::id;
  static void run(const AttentionChunkArgs<E>& a) {
    switch (a.heads) {
      case 1: return HWY_NAMESPACE::attention_chunk<E, 1>(a);
      case 2: return HWY_NAMESPACE::attention_chunk<E, 2>(a);
      case 3: return HWY_NAMESPACE::attention_chunk<E, 3>(a);
      default: return HWY_NAMESPACE::attention_chunk<E, 4>(a);
    }
  }
};

template <>
struct AttentionMerge<Portable> {
  static constexpr TargetId implemented_on = Portable::id;
  static void merge(AttentionPart into, AttentionPart part, std::size_t D) {
    HWY_NAMESPACE::attention_merge(into, part, D);
  }
  static void finish(float* out, float sum, std::size_t D) { AttentionMerge<Scalar>::finish(out, sum, D); }
};

}  // namespace stilla::STILLA_ABI
