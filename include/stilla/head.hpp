// SPDX-License-Identifier: Apache-2.0
//
// The head of a model (its last matrix), for a sampler that needs only a few logits. Of each row of
// y[M, N] = x[M, K] * W[N, K]^T  (+ bias[N])  it finds the best logits, and the logits of some ids that the sampler may change.
//
//   stilla::TopLogits top;
//   stilla::top_logits(top, head, {x, rounded}, {.best = 1}, bias);  // greedy: top.row(0)[0].id
//
// y never lies in memory as a whole. For Qwen2 a row of y would be 600 KB, which all threads would write and one thread would
// read again. Instead, a task multiplies a few panels into 8 KB of its stack and looks at the logits while they are in the
// first-level cache. All tasks share the list of the k best logits so far. A task offers to it only logits that are not below the
// worst one in the list, so that only about k ln(N / k) logits of a row are ever offered.
//
// Which logits are found does not depend on the order of the tasks, because the ranking is a total order: higher logits come
// first, equal logits are ordered by id, lower first, and NaN is not ranked at all. The result is therefore the same on every
// target, for every M and number of threads, and has matmul's bits.
//
// The saving was measured on two threads of a Zen 5 server, with the Q6_K head of a 1.5B model. The way from the last layer's
// output to the next token takes 3.7 ms. If no whole row of logits is written, it takes 0.05 ms less for a greedy token, and 0.02
// ms less for a token with top-k 40 (bench/head_bench.cpp, `saved` and `row`).
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <span>

#include <stilla/base/aligned.hpp>
#include <stilla/base/check.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/memory.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/layout/pack.hpp>
#include <stilla/matmul.hpp>
#include <stilla/sampling/candidates.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

// The best logits of one row so far, shared by all tasks.
class SharedBest {
 public:
  void begin(std::span<Candidate> room) {
    best_ = BestCandidates(room);
    bound_.store(best_.bound(), std::memory_order_relaxed);
  }
  std::size_t size() const { return best_.size(); }

  // Offers logits of neighbouring ids, from `id` on, to the list of the best logits of a row, except the logits of ids in `also`.
  void offer(std::span<const float> logits, std::uint32_t id, std::span<const std::uint32_t> also) {
    // The bound is the worst logit in the list of the best logits, once this list is full. Logits below it need not be offered.
    // Another thread may raise the bound meanwhile. An older, lower bound costs time but changes no result.
    float bound = bound_.load(std::memory_order_relaxed);
    while (!logits.empty()) {
      const std::span<const float> group = logits.first(std::min(logits.size(), panel_rows));
      logits = logits.subspan(group.size());
      int reaching = 0;
      for (const float logit : group) reaching |= logit >= bound ? 1 : 0;  // has no branch; a NaN does not reach the bound
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

// The SharedBest objects of several rows. They lie in memory that belongs to somebody else, so they are destroyed but not freed.
struct EndOfSharedBests {
  std::size_t rows = 0;
  void operator()(SharedBest* shared) const { std::destroy_n(shared, rows); }
};
using SharedBests = std::unique_ptr<SharedBest[], EndOfSharedBests>;

}  // namespace detail

// The bytes that a TopLogits in memory of the caller needs for this request and `rows` rows. Fewer rows, candidates or ids never need
// more bytes. Returns impossible_bytes if no memory is large enough.
inline std::size_t top_logits_bytes(std::size_t rows, const LogitRequest& request);

// Memory for the candidates of some rows. Every call reuses it. A TopLogits that owned its memory may be used for a new request
// after it was moved from. Memory that the caller lent moves to the new object.
class TopLogits {
 public:
  TopLogits() = default;
  // Makes a TopLogits in memory of the caller, which is on a 64-byte boundary and must outlive the object. Nothing is then allocated.
  explicit TopLogits(std::span<std::byte> memory) : memory_(memory) {}

  std::size_t rows() const { return rows_; }

  // The candidates of row m, ordered by id: the logits of the ids in `also`, and the best logits among all other ids. There are
  // fewer than requested if the row has fewer numbers; NaN is left out.
  std::span<const Candidate> row(std::size_t m) const { return {items_ + m * stride_, counts_[m]}; }

  // Makes room for the candidates of `rows` rows. It is an error if memory is short, or if memory of the caller is smaller than
  // top_logits_bytes().
  Status resize(std::size_t rows, const LogitRequest& request) {
    const Parts parts(rows, request);
    shared_.reset();  // its objects lie in the memory that is resized
    if (Status s = memory_.resize("candidates", parts.bytes); !s) return s;
    shared_ = {memory_.at<detail::SharedBest>(parts.shared), {rows}};
    std::uninitialized_default_construct_n(shared_.get(), rows);
    items_ = memory_.at<Candidate>(parts.items);
    counts_ = memory_.at<std::size_t>(parts.counts);
    rows_ = rows;
    stride_ = parts.stride;
    return success();
  }

 private:
  friend class TopLogitsJob;
  friend std::size_t top_logits_bytes(std::size_t rows, const LogitRequest& request);

  // The offsets of the arrays of a TopLogits in its memory.
  struct Parts {
    Parts(std::size_t rows, const LogitRequest& request) {
      constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
      stride = request.best + std::min(request.also.size(), most - request.best);
      detail::MemoryLayout layout;
      shared = layout.add<detail::SharedBest>(rows);
      counts = layout.add<std::size_t>(rows);
      items = layout.add<Candidate>(rows, stride);
      bytes = layout.bytes();
    }
    std::size_t stride, shared, counts, items, bytes;
  };

  Candidate* room(std::size_t m) { return items_ + m * stride_; }

  detail::Memory memory_;
  detail::SharedBests shared_;  // used while a job runs
  Candidate* items_ = nullptr;  // for each row: the best candidates, then those whose ids are in `also`
  std::size_t* counts_ = nullptr;
  std::size_t rows_ = 0;
  std::size_t stride_ = 0;
};

inline std::size_t top_logits_bytes(std::size_t rows, const LogitRequest& request) { return TopLogits::Parts(rows, request).bytes; }

// top_logits() as tasks (base/parallel.hpp): one worker begins the job, all workers run it, and when all tasks are done one worker
// ends it.
//
//   stilla::Result<stilla::TopLogitsJob> job = stilla::top_logits_begin(top, w, input, request, bias);
//   for (std::size_t task = ith, tasks = stilla::top_logits_tasks(*job); task < tasks; task += nth) stilla::top_logits_run(*job, task);
//   barrier();
//   if (ith == 0) stilla::top_logits_end(*job);
class TopLogitsJob {
 public:
  // Only top_logits_begin() calls this constructor. That function has checked all arguments and made room in `out`.
  TopLogitsJob(TopLogits& out, const detail::PanelJob& job, const LogitRequest& request)
      : out_(&out), job_(job), w_(job.product.w), also_(request.also), best_(request.best), rows_(out.rows()) {
    if (request.vocabulary != 0) w_.rows = std::min(w_.rows, request.vocabulary);
    also_ = also_.first(static_cast<std::size_t>(std::lower_bound(also_.begin(), also_.end(), w_.rows) - also_.begin()));
    for (std::size_t m = 0; m < rows_; ++m) out_->shared_[m].begin({out_->room(m), best_});
    if (rows_ == 0) return;
    const std::size_t rows = std::min(rows_, max_rows);
    step_ = std::min(job_.step, block_floats / (rows * panel_rows) / 4 * 4);
    steps_ = (w_.panels() + step_ - 1) / step_;
    tasks_ = steps_ * ((rows_ + max_rows - 1) / max_rows);
  }

  std::size_t tasks() const { return tasks_; }

  void run(std::size_t task) const {
    alignas(cache_line_bytes) float block[block_floats];
    const std::size_t m0 = task / steps_ * max_rows, rows = std::min(rows_ - m0, max_rows);
    const std::size_t panel = task % steps_ * step_, first = panel * panel_rows;
    detail::PanelJob piece = job_;
    piece.input = job_.input.rows_from(m0, rows);
    piece.product.w = panels_from(w_, panel, std::min(step_, w_.panels() - panel));
    piece.product.y = {block, rows, piece.product.w.rows};
    if (piece.product.bias != nullptr) piece.product.bias += first;
    piece.panels(0, piece.product.w.panels());

    const auto begin = std::lower_bound(also_.begin(), also_.end(), first);
    const auto end = std::lower_bound(begin, also_.end(), first + piece.product.w.rows);
    for (std::size_t m = 0; m < rows; ++m) {
      const float* logits = piece.product.y.row(m);
      for (auto id = begin; id != end; ++id) {
        out_->room(m0 + m)[best_ + static_cast<std::size_t>(id - also_.begin())] = {logits[*id - first], *id};
      }
      out_->shared_[m0 + m].offer({logits, piece.product.w.rows}, static_cast<std::uint32_t>(first), {begin, end});
    }
  }

  void end() const {
    for (std::size_t m = 0; m < rows_; ++m) {
      Candidate* const room = out_->room(m);
      Candidate* end = room + out_->shared_[m].size();
      for (std::size_t i = 0; i < also_.size(); ++i) {
        if (!std::isnan(room[best_ + i].logit)) *end++ = room[best_ + i];
      }
      std::sort(room, end, [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
      out_->counts_[m] = static_cast<std::size_t>(end - room);
    }
  }

 private:
  // The most rows of x that one task takes. If there are more rows, other tasks take them and read the weights again.
  static constexpr std::size_t max_rows = 32;
  static constexpr std::size_t block_floats = 2048;  // 4 panels for max_rows rows; kernels for many tokens take several panels at once
  static_assert(max_rows * 4 * panel_rows <= block_floats);

  TopLogits* out_;
  detail::PanelJob job_;
  PackedView w_;  // without the rows that are padding
  std::span<const std::uint32_t> also_;
  std::size_t best_, rows_;
  std::size_t step_ = 1, steps_ = 1, tasks_ = 0;
};

// `input` is the same as for matmul. `bias` holds w.rows floats, or is null. What matmul checks is checked here too, and it is always
// checked that `request.also` is sorted and names each id once (base/check.hpp). On an error nothing is done. Lack of memory is an
// error too; it cannot happen if `out` was resized before for the same request and at least as many rows. The request must outlive
// the job.
inline Result<TopLogitsJob> top_logits_begin(TopLogits& out, const PackedView& w, const MatmulInput& input, const LogitRequest& request,
                                             const float* bias = nullptr) {
  const detail::PanelJob job = detail::panel_job({{}, w, bias}, input);
  if (Status s = detail::check_input("top_logits", job); !s) return s.error();
  const auto unsorted = std::adjacent_find(request.also.begin(), request.also.end(), std::greater_equal<>());
  if (unsorted != request.also.end()) {
    return detail::bad_argument(
        concat("top_logits: ids to answer for must be sorted, each once; found ", unsorted[1], " behind ", unsorted[0]));
  }
  const std::size_t M = job.is_rounded ? input.rounded.rows : input.x.rows;
  if (Status s = out.resize(M, request); !s) return s.error();
  return TopLogitsJob(out, job, request);
}
inline std::size_t top_logits_tasks(const TopLogitsJob& job) { return job.tasks(); }
inline void top_logits_run(const TopLogitsJob& job, std::size_t task) { job.run(task); }
inline void top_logits_end(const TopLogitsJob& job) { job.end(); }

inline Status top_logits(TopLogits& out, const PackedView& w, const MatmulInput& input, const LogitRequest& request,
                         const float* bias = nullptr, Parallel parallel = {}) {
  const Result<TopLogitsJob> job = top_logits_begin(out, w, input, request, bias);
  if (!job) return job.error();
  parallel(job->tasks(), [&](std::size_t task) { job->run(task); });
  job->end();
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
