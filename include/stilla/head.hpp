// SPDX-License-Identifier: Apache-2.0
//
// The head of a model where the sampler needs a few logits only: of each row of  y[M, N] = x[M, K] * W[N, K]^T  (+ bias[N])  the
// best, and those of some ids that a sampler may change.
//
//   stilla::TopLogits top;
//   stilla::top_logits(top, head, {x, rounded}, {.best = 1}, bias);  // greedy: top.row(0)[0].id
//
// y is never in memory: Qwen2's row would be 600 KB, written by all threads and read again by one. A task multiplies a few
// panels into 8 KB of its stack and looks at them while they are in the first cache. What is not below the worst of the best
// so far is taken there; the best are shared by all tasks, so that only about k ln(N / k) logits ever are. Which they are does
// not depend on who came first, because ranks are a total order: higher logits first, ties to the lower id, NaN not at all.
// So the result is the same on every target, for every M and number of threads, and has matmul's bits.
// On two threads of a Zen 5 server, Q6_K head of the 1.5B: a greedy token 0.05 ms sooner of the 3.7 ms that it takes from the
// last layer on, one of top-k 40 0.02 ms (bench/head_bench.cpp, `saved` and `row`).
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <span>

#include <stilla/base/aligned.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/layout/pack.hpp>
#include <stilla/matmul.hpp>
#include <stilla/sampling/candidates.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Memory for the candidates of some rows, reused from call to call.
class TopLogits {
 public:
  std::size_t rows() const { return rows_; }

  // By id. The request's best of its other ids, fewer if there are not so many numbers, and its `also` but for NaN.
  std::span<const Candidate> row(std::size_t m) const { return {items_.data() + m * stride_, counts_[m]}; }

  // Room for `rows` rows; false when memory is short.
  [[nodiscard]] bool resize(std::size_t rows, const LogitRequest& request) {
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    const std::size_t stride = request.best + std::min(request.also.size(), most - request.best);
    if (stride != 0 && rows > most / stride) return false;
    if (!items_.resize(rows * stride) || !counts_.resize(rows)) return false;
    rows_ = rows;
    stride_ = stride;
    return true;
  }

 private:
  friend bool top_logits(TopLogits& out, PackedView w, const MatmulInput& input, const LogitRequest& request,
                         const float* bias, Parallel parallel);

  Candidate* room(std::size_t m) { return items_.data() + m * stride_; }

  AlignedBuffer<Candidate> items_;  // of each row: the best, then the others asked for
  AlignedBuffer<std::size_t> counts_;
  std::size_t rows_ = 0;
  std::size_t stride_ = 0;
};

namespace detail {

// The best of one row, shared by all tasks.
class SharedBest {
 public:
  void begin(std::span<Candidate> room) {
    best_ = BestCandidates(room);
    bound_.store(best_.bound(), std::memory_order_relaxed);
  }
  std::size_t size() const { return best_.size(); }

  // Logits of the ids from `id` on; those in `also` do not count.
  void offer(std::span<const float> logits, std::uint32_t id, std::span<const std::uint32_t> also) {
    float bound = bound_.load(std::memory_order_relaxed);  // an old one is lower, which takes time but changes nothing
    while (!logits.empty()) {
      const std::span<const float> group = logits.first(std::min(logits.size(), panel_rows));
      logits = logits.subspan(group.size());
      int reaching = 0;
      for (const float logit : group) reaching |= logit >= bound ? 1 : 0;  // without a branch; a NaN does not
      for (std::size_t i = 0; i < group.size() && reaching != 0; ++i) {
        const std::uint32_t candidate = id + static_cast<std::uint32_t>(i);
        if (!(group[i] >= bound) || std::binary_search(also.begin(), also.end(), candidate)) continue;
        const std::lock_guard<std::mutex> lock(mutex_);
        best_.offer({group[i], candidate});
        bound = best_.bound();
        bound_.store(bound, std::memory_order_relaxed);
      }
      id += static_cast<std::uint32_t>(group.size());
    }
  }

 private:
  std::mutex mutex_;
  BestCandidates best_;
  std::atomic<float> bound_{0.0f};
};

}  // namespace detail

// input: as for matmul. bias: w.rows floats or null. Weights of an unknown format have no logits. False, and nothing done, when
// memory is short, which `out` never is if it was resized for as many rows and this request.
[[nodiscard]] inline bool top_logits(TopLogits& out, PackedView w, const MatmulInput& input, const LogitRequest& request,
                                     const float* bias = nullptr, Parallel parallel = {}) {
  constexpr std::size_t most_rows = 32;       // at a time: more take another pass over the weights
  constexpr std::size_t block_floats = 2048;  // 4 panels of so many rows, as kernels for many tokens take them
  static_assert(most_rows * 4 * panel_rows <= block_floats);

  const std::size_t M = takes_float_activations(w.format) ? input.x.rows : input.rounded.rows;
  if (!out.resize(M, request)) return false;
  if (request.vocabulary != 0) w.rows = std::min(w.rows, request.vocabulary);
  std::span<const std::uint32_t> also = request.also;
  also = also.first(static_cast<std::size_t>(std::lower_bound(also.begin(), also.end(), w.rows) - also.begin()));

  for (std::size_t m0 = 0; m0 < M; m0 += most_rows) {
    const std::size_t rows = std::min(M - m0, most_rows);
    const MatmulInput part{input.x.rows == 0 ? input.x : input.x.rows_from(m0, rows),
                           input.rounded.rows == 0 ? input.rounded : input.rounded.rows_from(m0, rows)};
    const detail::PanelJob job = detail::panel_job({{}, w, bias}, part);
    const std::size_t step = std::min(job.step, block_floats / (rows * panel_rows) / 4 * 4);
    const std::size_t panels = job.run == nullptr ? 0 : w.panels();
    detail::SharedBest best[most_rows];
    for (std::size_t m = 0; m < rows; ++m) best[m].begin({out.room(m0 + m), request.best});

    parallel((panels + step - 1) / step, [&](std::size_t task) {
      alignas(cache_line_bytes) float block[block_floats];
      const std::size_t first = task * step * panel_rows;
      detail::PanelJob piece = job;
      piece.product.w = panels_from(w, task * step, std::min(step, panels - task * step));
      piece.product.y = {block, rows, piece.product.w.rows};
      if (bias != nullptr) piece.product.bias = bias + first;
      piece.run_rows(0, piece.product.w.panels());

      const auto begin = std::lower_bound(also.begin(), also.end(), first);
      const auto end = std::lower_bound(begin, also.end(), first + piece.product.w.rows);
      for (std::size_t m = 0; m < rows; ++m) {
        const float* logits = piece.product.y.row(m);
        for (auto id = begin; id != end; ++id) {
          out.room(m0 + m)[request.best + static_cast<std::size_t>(id - also.begin())] = {logits[*id - first], *id};
        }
        best[m].offer({logits, piece.product.w.rows}, static_cast<std::uint32_t>(first), {begin, end});
      }
    });

    for (std::size_t m = 0; m < rows; ++m) {
      Candidate* const room = out.room(m0 + m);
      Candidate* end = room + best[m].size();
      for (std::size_t i = 0; i < also.size() && panels != 0; ++i) {
        if (!std::isnan(room[request.best + i].logit)) *end++ = room[request.best + i];
      }
      std::sort(room, end, [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
      out.counts_[m0 + m] = static_cast<std::size_t>(end - room);
    }
  }
  return true;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
