// SPDX-License-Identifier: Apache-2.0
//
// Causal grouped-query attention (Ainslie et al., 2023) over a KvCache, or over a KvView of the caller's memory:
//
//     out[m, h] = sum over j <= position(m) of softmax_j(query[m, h] . key[j, g] / sqrt(D)) * value[j, g]
//
// where query head h of H uses the KV head g = h / (H / G) of G, so that neighbouring query heads share a KV head. The size D of a head
// is a multiple of 4 up to 256. Row m of the queries is at position first_position + m: a prompt is M rows, and a decoding step is one
// row. AttentionOptions has other scales, windows, soft caps, and attention in which every row sees all positions.
// include/stilla/contract/attention.hpp fixes the order of the sums.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <stilla/base/check.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/contract/attention.hpp>
#include <stilla/contract/head_dim.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/key_bias.hpp>
#include <stilla/kv_cache.hpp>
#if STILLA_COMPILE_KERNELS
#include <stilla/all_targets/attention.hpp>
#include <stilla/all_targets/elementwise.hpp>
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// With scratch memory even one row of queries can use many threads: for up to attention_split_rows rows, the chunks of the cache
// that a row sees are shared among several tasks.
inline constexpr std::size_t attention_split_rows = 8;
// For a long text and few rows, attention is cut into at least attention_split_tasks tasks, so that all threads have work. Each task
// takes a few chunks of the cache, at most 8. A task takes more than one chunk because it prepares its queries first, which costs a
// tenth of the time of a chunk. With at least 64 tasks instead of 32, attention on one thread takes 4 % longer (16384 positions, int8
// cache).
inline constexpr std::size_t attention_split_tasks = 32;
inline constexpr std::size_t attention_max_chunks = 8;
inline constexpr std::size_t attention_merged_heads = 4;  // a task merges the results of this many heads, chunk after chunk

// Returns how many floats of scratch memory `attention` wants for `rows` rows of `n_heads` heads that see up to `positions` positions:
// 0 for more than 8 rows, which need no scratch.
constexpr std::size_t attention_scratch_floats(std::size_t rows, std::size_t n_heads, std::size_t head_dim, std::size_t positions) {
  if (rows > attention_split_rows) return 0;
  return rows * n_heads * ((positions + kv_chunk - 1) / kv_chunk) * (padded_head_dim(head_dim) + 2);
}

namespace detail {

// A team is the query heads of one KV head, in neighbouring rows, that share one pass over keys and values. Query r * heads + h
// of the team is head first_head + h of row first_row + r.
struct QueryTeam {
  std::size_t first_row = 0;
  std::size_t rows = 0;
  std::size_t kv_head = 0;
  std::size_t first_head = 0;
  std::size_t heads = 0;

  std::size_t size() const { return rows * heads; }
};

// How the queries are divided into teams. There are no teams if attention_check refuses the head counts. With `one_row` each team
// has one row. This is needed with a window (AttentionOptions): the first position that a row sees is then another one for each
// row, so that rows cannot share a pass over the cache.
class QueryTeams {
 public:
  QueryTeams(std::size_t rows, std::size_t n_heads, std::size_t n_kv_heads, bool one_row) {
    if (n_kv_heads == 0 || n_heads < n_kv_heads) return;
    rows_ = rows;
    n_kv_heads_ = n_kv_heads;
    group_ = n_heads / n_kv_heads;
    parts_ = (group_ + attention_queries_at_once - 1) / attention_queries_at_once;
    heads_ = (group_ + parts_ - 1) / parts_;
    rows_together_ = one_row ? 1 : attention_queries_at_once / heads_;
  }

  std::size_t count() const { return (rows_ + rows_together_ - 1) / rows_together_ * n_kv_heads_ * parts_; }
  QueryTeam operator[](std::size_t i) const {
    const std::size_t part = i % parts_;
    QueryTeam team;
    team.kv_head = i / parts_ % n_kv_heads_;
    team.first_row = i / parts_ / n_kv_heads_ * rows_together_;
    team.rows = std::min(rows_together_, rows_ - team.first_row);
    team.heads = std::min(heads_, group_ - part * heads_);
    team.first_head = team.kv_head * group_ + part * heads_;
    return team;
  }

 private:
  std::size_t rows_ = 0, n_kv_heads_ = 1, group_ = 1;
  // One pass over the keys takes at most attention_queries_at_once query heads. If a KV head has more query heads, they are divided
  // into parts_ parts, and each part has a pass of its own.
  std::size_t parts_ = 1;
  std::size_t heads_ = 1;          // heads in a part
  std::size_t rows_together_ = 1;
};

// How attention is divided into tasks.
struct AttentionPlan {
  AttentionPlan(std::size_t rows, std::size_t n_heads, std::size_t n_kv_heads, std::size_t positions, bool has_scratch, bool one_row)
      : teams(rows, n_heads, n_kv_heads, one_row), tasks(teams.count()) {
    if (!has_scratch || rows > attention_split_rows) return;
    // With few rows, a task computes one team for a few neighbouring chunks of the cache. Afterwards the results that each head has for
    // its chunks are merged in order.
    is_split = true;
    chunks = (positions + kv_chunk - 1) / kv_chunk;
    together = std::clamp<std::size_t>(teams.count() * chunks / attention_split_tasks, 1, attention_max_chunks);
    groups = (chunks + together - 1) / together;
    tasks *= groups;
    groups_of_heads = (n_heads + attention_merged_heads - 1) / attention_merged_heads;
    merge_tasks = rows * groups_of_heads;
  }

  QueryTeams teams;
  std::size_t tasks;
  bool is_split = false;
  // If attention is split, a row has `chunks` chunks, a task computes up to `together` of them, and a team has `groups` tasks.
  std::size_t chunks = 0, together = 1, groups = 1;
  std::size_t groups_of_heads = 1, merge_tasks = 0;
};

}  // namespace detail

// Variants of attention that some models need.
struct AttentionOptions {
  float scale = 0.0f;  // the factor of query . key; 0 stands for 1 / sqrt(D)
  bool causal = true;  // false: every row sees positions 0 .. first_position + M - 1
  // If `window` is not 0, a row sees at most `window` positions, of which its own is the last. Chunks before the window are not read.
  // Each row of a prompt then needs a pass of its own over the cache. A window is possible with causal attention only.
  std::size_t window = 0;
  // If soft_cap is not 0, a score s becomes soft_cap * tanh(s / soft_cap). This costs about as much as computing the score.
  float soft_cap = 0.0f;
};

struct AttentionJob;

namespace detail {

struct AttentionFunctions {
  void (*run)(const AttentionJob& job, std::size_t task) = nullptr;
  void (*merge)(const AttentionJob& job, std::size_t task) = nullptr;
};
// The functions with which a target computes attention over a cache whose elements are stored as `type`.
STILLA_KERNEL_LINKAGE AttentionFunctions attention_functions(TargetId target, KvType type);

}  // namespace detail

// Attention of M rows of queries. out and queries are M x (n_heads * D), where D is the size of a head and n_heads is a multiple of the
// number of heads in the cache. The cache holds the positions 0 .. first_position + M - 1 of `layer`. `scratch` is null or has
// attention_scratch_floats(M, n_heads, D, first_position + M) floats. If it is null, one thread computes each row; the results are the
// same. `bias` is the key bias of the layer, for caches whose type leaves it out of the keys; its tables have been reserved for all
// positions. Other caches hold the bias in their keys, and attention then ignores this member.
//
// Attention is also available as tasks (base/parallel.hpp). With scratch there are two kinds: the tasks that compute attention, and
// those that merge the results of chunks, which may begin only when all of the former are done:
//
//   const stilla::AttentionJob job{out, queries, cache.view(), layer, first_position, n_heads, scratch};
//   for (std::size_t task = ith, tasks = stilla::attention_tasks(job); task < tasks; task += nth) stilla::attention_run(job, task);
//   barrier();
//   for (std::size_t task = ith, tasks = stilla::attention_merge_tasks(job); task < tasks; task += nth)
//     stilla::attention_merge_run(job, task);
struct AttentionJob {
  Matrix out;
  ConstMatrix queries;
  KvView cache;  // the view of a KvCache, or one of the caller's memory
  std::size_t layer = 0;
  std::size_t first_position = 0;
  std::size_t n_heads = 0;
  float* scratch = nullptr;
  KeyBias bias = {};
  AttentionOptions options = {};
  detail::AttentionFunctions functions = detail::attention_functions(active_target(), cache.shape.type);
  detail::AttentionPlan plan{queries.rows,       n_heads, cache.shape.heads, first_position + queries.rows, scratch != nullptr,
                             options.window != 0};

  // Row m of the queries sees the positions [begin(m), end(m)).
  std::size_t end(std::size_t m) const { return first_position + (options.causal ? m + 1 : queries.rows); }
  std::size_t begin(std::size_t m) const { return options.window == 0 || options.window > end(m) ? 0 : end(m) - options.window; }
};

// It is always checked that the numbers of heads, the layer and the shapes are possible, and that the cache has room for the positions
// (base/check.hpp). With STILLA_CHECK, the addresses of the chunks are also checked, and that `out` does not overlap the queries.
inline Status attention_check(const AttentionJob& job) {
  constexpr const char* op = "attention";
  const KvShape& shape = job.cache.shape;
  const std::size_t M = job.queries.rows, positions = job.first_position + M, cols = job.n_heads * shape.head_dim;
  if (shape.heads == 0 || job.n_heads == 0 || job.n_heads % shape.heads != 0) {
    return detail::bad_argument(concat(op, ": ", job.n_heads, " heads, expected a multiple of the ", shape.heads, " of the cache"));
  }
  if (job.layer >= shape.layers) return detail::bad_argument(concat(op, ": layer ", job.layer, " of a cache of ", shape.layers));
  if (Status s = detail::check_shape(op, "queries", job.queries, M, cols); !s) return s;
  if (Status s = detail::check_shape(op, "out", job.out, M, cols); !s) return s;
  if (positions > job.cache.reserved()) {
    return detail::bad_argument(concat(op, ": ", positions, " positions, the cache has room for ", job.cache.reserved()));
  }
  if (!(std::isfinite(job.options.scale) && job.options.soft_cap >= 0.0f && std::isfinite(job.options.soft_cap))) {
    return detail::bad_argument(
        concat(op, ": scale ", job.options.scale, ", soft cap ", job.options.soft_cap, ": expected numbers, the cap not below 0"));
  }
  if (job.options.window != 0 && !job.options.causal) return detail::bad_argument(concat(op, ": a window is for causal attention"));
  if (job.bias && leaves_out_key_bias(shape.type) &&
      (job.bias.tables == nullptr || job.bias.tables->head_dim() != shape.head_dim || job.bias.tables->positions() < positions)) {
    return detail::bad_argument(concat(op, ": key bias without tables for ", positions, " positions of heads of ", shape.head_dim));
  }
  if (!checks_everything()) return success();
  if (Status s = job.cache.check(); !s) return s;
  return detail::check_apart(op, "out", job.out, "queries", job.queries);
}
inline std::size_t attention_tasks(const AttentionJob& job) { return attention_check(job) ? job.plan.tasks : 0; }
inline void attention_run(const AttentionJob& job, std::size_t task) { job.functions.run(job, task); }
inline std::size_t attention_merge_tasks(const AttentionJob& job) { return attention_check(job) ? job.plan.merge_tasks : 0; }
inline void attention_merge_run(const AttentionJob& job, std::size_t task) { job.functions.merge(job, task); }

inline Status attention(Matrix out, ConstMatrix queries, const KvView& cache, std::size_t layer, std::size_t first_position,
                        std::size_t n_heads, float* scratch = nullptr, Parallel parallel = {}, const KeyBias& bias = {},
                        const AttentionOptions& options = {}) {
  const AttentionJob job{out, queries, cache, layer, first_position, n_heads, scratch, bias, options};
  if (Status s = attention_check(job); !s) return s;
  parallel(job.plan.tasks, [&](std::size_t task) { attention_run(job, task); });
  parallel(job.plan.merge_tasks, [&](std::size_t task) { attention_merge_run(job, task); });
  return success();
}
inline Status attention(Matrix out, ConstMatrix queries, const KvCache& cache, std::size_t layer, std::size_t first_position,
                        std::size_t n_heads, float* scratch = nullptr, Parallel parallel = {}, const KeyBias& bias = {},
                        const AttentionOptions& options = {}) {
  return attention(out, queries, cache.view(), layer, first_position, n_heads, scratch, parallel, bias, options);
}

#if STILLA_COMPILE_KERNELS
namespace detail {

// The queries of a team in the form that the kernels take: multiplied by the scale of the scores, and each head of D values padded
// with zeros to D_ values.
template <class Target, class E>
class TeamQueries {
 public:
  TeamQueries(const QueryTeam& team, const AttentionJob& job) : D_(job.cache.shape.padded_dim()) {
    const ConstMatrix& queries = job.queries;
    const KeyBias& bias = job.bias;
    const std::size_t D = job.cache.shape.head_dim;
    const float scale = job.options.scale != 0.0f ? job.options.scale : 1.0f / std::sqrt(static_cast<float>(D));
    if constexpr (IntegerKv<E>) {
      if (bias) {
        tables_ = bias.tables;
        bias.tables->take_pairs(bias_, bias.values + team.kv_head * D);
      }
    }
    for (std::size_t r = 0; r < team.rows; ++r) {
      const float* from = queries.row(team.first_row + r) + team.first_head * D;
      for (std::size_t h = 0; h < team.heads; ++h) {
        const std::size_t i = r * team.heads + h;
        float* to = scaled_ + i * D_;
        for (std::size_t d = 0; d < D; ++d) to[d] = from[h * D + d] * scale;
        std::fill(to + D, to + D_, 0.0f);
        if constexpr (IntegerKv<E>) {
          if (bias) {
            tables_->take_pairs(pairs_ + i * 2 * tables_->padded_pairs(), to);
            constants_[i] = tables_->constant(to, bias.values + team.kv_head * D);
          }
          Hadamard<Target>::run(to, D_);
        }
      }
    }
  }

  // The arguments of the kernel for the queries [first, first + count) of the team and one chunk of the cache.
  AttentionChunkArgs<E> args(std::size_t chunk, std::size_t first, std::size_t count) const {
    AttentionChunkArgs<E> a;
    a.queries = scaled_ + first * D_;
    a.n_queries = count;
    a.head_dim = D_;
    if constexpr (IntegerKv<E>) {
      if (tables_ != nullptr) {
        a.key_bias = tables_->args(chunk);
        a.key_bias.bias = bias_;
        a.key_bias.queries = pairs_ + first * 2 * a.key_bias.padded_pairs;
        a.key_bias.constants = constants_ + first;
      }
    }
    return a;
  }

 private:
  static constexpr std::size_t most = attention_queries_at_once;
  static constexpr std::size_t max_pairs = IntegerKv<E> ? max_head_dim : 1;  // two floats for each pair of a head

  std::size_t D_;
  const KeyBiasTables* tables_ = nullptr;
  alignas(64) float scaled_[most * max_head_dim];
  alignas(64) float pairs_[most * max_pairs];
  alignas(64) float bias_[max_pairs];
  float constants_[most];
};

// Room for the results that all queries of a team have for one chunk, or for several chunks that were merged.
struct TeamResults {
  float max[attention_queries_at_once];
  float sum[attention_queries_at_once];
  alignas(64) float out[attention_queries_at_once * max_head_dim];  // [queries][D padded]

  AttentionParts from(std::size_t query, std::size_t D) { return {max + query, sum + query, out + query * D}; }
};

// Computes the attention of a team to one chunk. Rows that see the whole chunk go to the kernel together, other rows one by one.
// Returns the number of the first query of the team that sees any position of the chunk.
template <class Target, class E>
std::size_t attend_chunk(const AttentionJob& job, const TeamQueries<Target, E>& queries, const QueryTeam& team, std::size_t chunk,
                         TeamResults& results) {
  // `begin` is the first position that a row sees. It is the same for all rows of the team, because with a window a team has only one row.
  const std::size_t D = job.cache.shape.padded_dim(), begin = job.begin(team.first_row);
  const auto run = [&](std::size_t first, std::size_t count, std::size_t seen) {
    AttentionChunkArgs<E> args = queries.args(chunk, first, count);
    args.chunk = job.cache.head_chunk(job.layer, chunk, team.kv_head);
    const bool is_last = job.end(team.first_row + team.rows - 1) <= (chunk + 1) * kv_chunk;
    args.next = is_last ? args.chunk : job.cache.head_chunk(job.layer, chunk + 1, team.kv_head);
    args.count = seen;
    args.begin = begin > chunk * kv_chunk ? begin - chunk * kv_chunk : 0;
    args.soft_cap = job.options.soft_cap;
    args.max = results.max + first;
    args.sum = results.sum + first;
    args.out = results.out + first * D;
    AttentionChunk<Target, E>::run(args);
  };
  std::size_t first_seeing = team.size();
  for (std::size_t r = 0; r < team.rows; ++r) {
    const std::size_t visible = job.end(team.first_row + r);
    if (visible <= chunk * kv_chunk) continue;
    const std::size_t seen = std::min(visible - chunk * kv_chunk, kv_chunk);
    first_seeing = std::min(first_seeing, r * team.heads);
    if (seen == kv_chunk) {  // all rows that follow see the whole chunk too
      run(r * team.heads, (team.rows - r) * team.heads, seen);
      break;
    }
    run(r * team.heads, team.heads, seen);
  }
  return first_seeing;
}

// Divides the result of a head, `out`, by the sum of its weights. For integer caches, it transforms the result back with the Hadamard
// transform. Then it writes the first `size` values, the head size of the model, to `to`; the values from there to D are padding.
template <class Target, class E>
void finish_head(float* to, float* out, float sum, std::size_t D, std::size_t size) {
  AttentionMerge<Target>::finish(out, sum, D);
  if constexpr (IntegerKv<E>) Hadamard<Target>::run(out, D);
  std::copy(out, out + size, to);
}

// The task that is used where there are many rows of queries: it computes one team of queries (QueryTeam) for all chunks of the
// cache, one after the other.
template <class Target, class E>
void attend_team(const AttentionJob& job, std::size_t task) {
  const std::size_t size = job.cache.shape.head_dim, D = job.cache.shape.padded_dim();
  const QueryTeam team = job.plan.teams[task];
  const TeamQueries<Target, E> team_queries(team, job);
  TeamResults total, part;
  const std::size_t visible = job.end(team.first_row + team.rows - 1), first_chunk = job.begin(team.first_row) / kv_chunk;
  attend_chunk<Target, E>(job, team_queries, team, first_chunk, total);
  for (std::size_t c = first_chunk + 1; c * kv_chunk < visible; ++c) {
    const std::size_t first = attend_chunk<Target, E>(job, team_queries, team, c, part);
    if (first < team.size()) AttentionMerge<Target>::merge(total.from(first, D), part.from(first, D), team.size() - first, D);
  }
  for (std::size_t i = 0; i < team.size(); ++i) {
    float* to = job.out.row(team.first_row + i / team.heads) + (team.first_head + i % team.heads) * size;
    finish_head<Target, E>(to, total.out + i * D, total.sum[i], D, size);
  }
}

// The place in the scratch memory of the partial results of one row and chunk, from the head `head` on.
inline AttentionParts scratch_part(const AttentionJob& job, std::size_t row, std::size_t chunk, std::size_t head) {
  const std::size_t all = job.queries.rows * job.n_heads * job.plan.chunks, D = job.cache.shape.padded_dim();
  const std::size_t at = (row * job.plan.chunks + chunk) * job.n_heads + head;
  float* const maxes = job.scratch;  // [rows][chunks][H]
  float* const sums = maxes + all;  // [rows][chunks][H]
  float* const parts = sums + all;  // [rows][chunks][H][D]
  return {maxes + at, sums + at, parts + at * D};
}

// The task that is used where there are few tokens: it computes one team of queries (QueryTeam) for a few neighbouring chunks of the
// cache.
template <class Target, class E>
void attend_few_chunks(const AttentionJob& job, std::size_t task) {
  const AttentionPlan& plan = job.plan;
  const std::size_t D = job.cache.shape.padded_dim();
  const QueryTeam team = plan.teams[task / plan.groups];
  const std::size_t first_chunk = task % plan.groups * plan.together, end = std::min(first_chunk + plan.together, plan.chunks);
  const std::size_t seen_from = job.begin(team.first_row) / kv_chunk;
  if (end <= seen_from) return;
  const TeamQueries<Target, E> team_queries(team, job);
  TeamResults part;
  for (std::size_t c = std::max(first_chunk, seen_from); c < end; ++c) {
    const std::size_t first = attend_chunk<Target, E>(job, team_queries, team, c, part);
    for (std::size_t i = first; i < team.size(); i += team.heads) {
      const AttentionParts from = part.from(i, D), to = scratch_part(job, team.first_row + i / team.heads, c, team.first_head);
      std::copy(from.max, from.max + team.heads, to.max);
      std::copy(from.sum, from.sum + team.heads, to.sum);
      std::copy(from.out, from.out + team.heads * D, to.out);
    }
  }
}

template <class Target, class E>
void attend(const AttentionJob& job, std::size_t task) {
  if (job.plan.is_split) {
    attend_few_chunks<Target, E>(job, task);
  } else {
    attend_team<Target, E>(job, task);
  }
}

// One of the tasks that merge results. They exist only with scratch, and run when all tasks that compute attention are done. The task
// merges the results that some heads of a row have for each chunk, in the order of the chunks.
template <class Target, class E>
void merge_heads(const AttentionJob& job, std::size_t task) {
  const std::size_t size = job.cache.shape.head_dim, D = job.cache.shape.padded_dim();
  const std::size_t row = task / job.plan.groups_of_heads, first = task % job.plan.groups_of_heads * attention_merged_heads;
  const std::size_t n = std::min(attention_merged_heads, job.n_heads - first);
  const std::size_t first_chunk = job.begin(row) / kv_chunk;
  const AttentionParts total = scratch_part(job, row, first_chunk, first);
  for (std::size_t c = first_chunk + 1; c * kv_chunk < job.end(row); ++c) {
    AttentionMerge<Target>::merge(total, scratch_part(job, row, c, first), n, D);
  }
  for (std::size_t h = 0; h < n; ++h) {
    finish_head<Target, E>(job.out.row(row) + (first + h) * size, total.out + h * D, total.sum[h], D, size);
  }
}

STILLA_KERNEL_LINKAGE AttentionFunctions attention_functions(TargetId target, KvType type) {
  AttentionFunctions functions;
  with_target(target, [&](auto target_tag) {
    with_kv_type(type, [&](auto element) {
      functions = {attend<decltype(target_tag), decltype(element)>, merge_heads<decltype(target_tag), decltype(element)>};
    });
  });
  return functions;
}

}  // namespace detail
#endif

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
