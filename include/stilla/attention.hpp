// SPDX-License-Identifier: Apache-2.0
//
// Causal grouped-query attention (Ainslie et al., 2023) over a KvCache:
//
//     out[m, h] = sum over j <= position(m) of softmax_j(query[m, h] . key[j, g] / sqrt(D)) * value[j, g]
//
// with g = h / (H / G): neighbouring query heads share a KV head. Row m of the queries is at position first_position + m,
// so prefill is M rows and decode is one. The reduction order is fixed by kernels/stilla/contract/attention.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <stilla/contract/attention.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/kv_cache.hpp>
#include <stilla/matrix.hpp>
#include <stilla/parallel.hpp>
#include <stilla/portable/kernels.hpp>
#include <stilla/scalar/attention.hpp>

namespace stilla::inline STILLA_ABI {

// Scratch that lets a few queries use many threads: below this many rows the chunks of a row are shared out too.
inline constexpr std::size_t attention_split_rows = 8;

// Floats of scratch that `attention` wants for M rows of H heads seeing up to `positions` positions; 0 for many rows.
constexpr std::size_t attention_scratch_floats(std::size_t rows, std::size_t n_heads, std::size_t head_dim,
                                               std::size_t positions) {
  if (rows > attention_split_rows) return 0;
  return rows * n_heads * ((positions + kv_chunk - 1) / kv_chunk) * (head_dim + 2);
}

namespace detail {

// `heads` (up to 4) query heads of one row to one chunk; results to max, sum, out.
template <class Target, class E>
void attend_chunk(const KvCache& cache, std::size_t layer, std::size_t chunk, std::size_t kv_head, const float* scaled_queries,
                  std::size_t heads, std::size_t visible, float* max, float* sum, float* out) {
  AttentionChunkArgs<E> args;
  args.queries = scaled_queries;
  args.heads = heads;
  args.head_dim = cache.shape().head_dim;
  args.keys = cache.template keys<E>(layer, chunk, kv_head);
  args.values = cache.template values<E>(layer, chunk, kv_head);
  args.count = std::min(visible - chunk * kv_chunk, kv_chunk);
  args.max = max;
  args.sum = sum;
  args.out = out;
  AttentionChunk<Target, E>::run(args);
}

inline void scale_queries(float* scaled, const float* query, std::size_t count, std::size_t head_dim) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  for (std::size_t i = 0; i < count; ++i) scaled[i] = query[i] * scale;
}

template <class Target, class E>
void attention(Matrix out, ConstMatrix queries, const KvCache& cache, std::size_t layer, std::size_t first_position,
               std::size_t n_heads, float* scratch, Parallel parallel) {
  const std::size_t D = cache.shape().head_dim;
  const std::size_t n_kv_heads = cache.shape().heads;
  const std::size_t group = n_heads / n_kv_heads;
  const std::size_t teams = (group + attention_heads_at_once - 1) / attention_heads_at_once;  // of heads run together
  const std::size_t rows = queries.rows;

  const auto team_of = [&](std::size_t task, auto&& f) {  // f(row, kv head, first query head, heads)
    const std::size_t team = task % teams;
    const std::size_t kv_head = task / teams % n_kv_heads;
    const std::size_t row = task / teams / n_kv_heads;
    const std::size_t first = team * attention_heads_at_once;
    f(row, kv_head, kv_head * group + first, std::min(group - first, attention_heads_at_once));
  };

  if (scratch == nullptr || rows > attention_split_rows) {
    // Many rows: a task walks all chunks of its row.
    parallel(rows * n_kv_heads * teams, [&](std::size_t task) {
      team_of(task, [&](std::size_t row, std::size_t kv_head, std::size_t head, std::size_t heads) {
        alignas(64) float scaled[attention_heads_at_once * max_head_dim];
        alignas(64) float part[attention_heads_at_once * max_head_dim];
        float max[attention_heads_at_once], sum[attention_heads_at_once];
        float part_max[attention_heads_at_once], part_sum[attention_heads_at_once];
        scale_queries(scaled, queries.row(row) + head * D, heads * D, D);
        float* result = out.row(row) + head * D;
        const std::size_t visible = first_position + row + 1;
        attend_chunk<Target, E>(cache, layer, 0, kv_head, scaled, heads, visible, max, sum, result);
        for (std::size_t c = 1; c * kv_chunk < visible; ++c) {
          attend_chunk<Target, E>(cache, layer, c, kv_head, scaled, heads, visible, part_max, part_sum, part);
          for (std::size_t h = 0; h < heads; ++h) {
            AttentionMerge<Target>::merge({max[h], sum[h], result + h * D}, {part_max[h], part_sum[h], part + h * D}, D);
          }
        }
        for (std::size_t h = 0; h < heads; ++h) AttentionMerge<Target>::finish(result + h * D, sum[h], D);
      });
    });
    return;
  }

  // Few rows: every (row, team, chunk) is a task; then each head merges its chunks in order.
  const std::size_t chunks = (first_position + rows + kv_chunk - 1) / kv_chunk;
  float* const maxes = scratch;                           // [rows][H][chunks]
  float* const sums = maxes + rows * n_heads * chunks;    // [rows][H][chunks]
  float* const parts = sums + rows * n_heads * chunks;    // [rows][chunks][H][D]
  parallel(rows * n_kv_heads * teams * chunks, [&](std::size_t task) {
    const std::size_t c = task % chunks;
    team_of(task / chunks, [&](std::size_t row, std::size_t kv_head, std::size_t head, std::size_t heads) {
      const std::size_t visible = first_position + row + 1;
      if (c * kv_chunk >= visible) return;
      alignas(64) float scaled[attention_heads_at_once * max_head_dim];
      float max[attention_heads_at_once], sum[attention_heads_at_once];
      scale_queries(scaled, queries.row(row) + head * D, heads * D, D);
      attend_chunk<Target, E>(cache, layer, c, kv_head, scaled, heads, visible, max, sum,
                              parts + ((row * chunks + c) * n_heads + head) * D);
      for (std::size_t h = 0; h < heads; ++h) {
        maxes[(row * n_heads + head + h) * chunks + c] = max[h];
        sums[(row * n_heads + head + h) * chunks + c] = sum[h];
      }
    });
  });
  parallel(rows * n_heads, [&](std::size_t task) {
    const std::size_t row = task / n_heads;
    const std::size_t head = task % n_heads;
    float* max = maxes + task * chunks;
    float* sum = sums + task * chunks;
    float* result = out.row(row) + head * D;
    const auto part = [&](std::size_t c) { return parts + ((row * chunks + c) * n_heads + head) * D; };
    std::copy(part(0), part(0) + D, result);
    for (std::size_t c = 1; c * kv_chunk < first_position + row + 1; ++c) {
      AttentionMerge<Target>::merge({max[0], sum[0], result}, {max[c], sum[c], part(c)}, D);
    }
    AttentionMerge<Target>::finish(result, sum[0], D);
  });
}

}  // namespace detail

// out and queries: M x (n_heads * D); n_heads a multiple of the cache's heads. Positions 0 .. first_position + M - 1 of
// `layer` are stored in the cache. scratch: attention_scratch_floats(M, n_heads, D, first_position + M) floats, or null:
// then each row is one thread's work. Results are the same either way.
inline void attention(Matrix out, ConstMatrix queries, const KvCache& cache, std::size_t layer, std::size_t first_position,
                      std::size_t n_heads, float* scratch = nullptr, Parallel parallel = {}) {
  with_target(active_target(), [&](auto target) {
    with_kv_type(cache.shape().type, [&](auto element) {
      detail::attention<decltype(target), decltype(element)>(out, queries, cache, layer, first_position, n_heads, scratch,
                                                             parallel);
    });
  });
}

}  // namespace stilla::STILLA_ABI
