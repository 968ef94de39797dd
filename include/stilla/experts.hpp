// SPDX-License-Identifier: Apache-2.0
//
// Products of a mixture of experts. A router chooses a few experts for each token; each expert has matrices of its own. Rows that go to
// the same expert are put side by side, so that its weights are read once for all of them:
//
//   stilla::ExpertPlan plan;                                            // reused from layer to layer
//   stilla::Status planned = plan.build(ids, per_token, n_experts);     // ids[t * per_token + j]: the j-th expert of token t
//   stilla::Result<stilla::ConstMatrix> rows = plan.gather(x);          // row i is row plan.token(i) of x
//   stilla::Status rounded = stilla::quantise(x8, *rows);
//   stilla::Status done = stilla::expert_matmul(up, plan, up_weights, {{}, x8.view()});       // row i times its expert's matrix
//   ...                                                                 // gate, SwiGLU and down have the same rows
//   done = plan.combine(y, down, router_weights);                       // y[t] = sum over j of router_weights[t, j] * down[i], where
//                                                                       //   row i of `down` belongs to expert j of token t
//
//   ids, 3 tokens and 2 experts for each:   t0: 4 1   t1: 1 0   t2: 4 1
//   rows of the plan, by expert:            expert 0: t1   expert 1: t0 t1 t2   expert 4: t0 t2
//
// Every row has the bits that a matmul of that row alone with the expert's matrix gives, on every target. ExpertMatmulJob offers the
// same product as tasks (base/parallel.hpp).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <stilla/base/aligned.hpp>
#include <stilla/base/check.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/memory.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/matmul.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The bytes that an ExpertPlan in memory of the caller needs for `tokens` tokens, each of which goes to `per_token` of `n_experts`
// experts. `cols` is the number of columns of the matrix whose rows the plan gathers, 0 if it gathers none. A call with a smaller
// value of any of these arguments never returns more bytes. Returns impossible_bytes if no memory is large enough.
inline std::size_t expert_plan_bytes(std::size_t tokens, std::size_t per_token, std::size_t n_experts, std::size_t cols);

// Says which rows go to which expert. Building a plan does not touch weights. The memory of a plan is reused from call to call.
class ExpertPlan {
 public:
  ExpertPlan() = default;
  // Makes a plan in memory of the caller, which is on a 64-byte boundary and must outlive the plan. Such a plan allocates nothing.
  explicit ExpertPlan(std::span<std::byte> memory) : memory_(memory) {}

  // Builds the plan. `ids` are tokens x per_token numbers of experts, each below n_experts; a token may name an expert twice. It is
  // an error if an id is not below n_experts, if the number of ids is not a multiple of per_token, or if there are more than 2^32 - 1
  // ids. If memory is short, or the memory of the caller is too small, the plan is empty afterwards. After any other error it is as
  // it was before the call.
  Status build(std::span<const std::uint32_t> ids, std::size_t per_token, std::size_t n_experts) {
    if (per_token == 0 || ids.size() % per_token != 0 || ids.size() > 0xffffffffu) {
      return detail::bad_argument(concat("experts: ", ids.size(), " ids, expected a multiple of ", per_token, " up to 4294967295"));
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] >= n_experts) {
        return detail::bad_argument(concat("experts: token ", i / per_token, " names expert ", ids[i], ", expected one below ", n_experts));
      }
    }
    n_rows_ = n_experts_ = 0;
    const Parts parts(ids.size(), n_experts);
    if (Status s = memory_.resize("the rows of all experts", parts.bytes); !s) return s;
    if (memory_.is_lent()) gathered_ = memory_.rest(parts.bytes);
    begins_ = memory_.at<std::uint32_t>(parts.begins);
    rows_ = memory_.at<std::uint32_t>(parts.rows);
    tokens_ = memory_.at<std::uint32_t>(parts.tokens);
    // This is a counting sort. It counts the rows of each expert, then computes where the rows of each expert begin, and then
    // puts each row at the next free place of its expert.
    for (std::size_t e = 0; e <= n_experts; ++e) begins_[e] = 0;
    for (const std::uint32_t id : ids) ++begins_[id + 1];
    for (std::size_t e = 0; e < n_experts; ++e) begins_[e + 1] += begins_[e];
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::uint32_t row = begins_[ids[i]]++;
      rows_[i] = row;
      tokens_[row] = static_cast<std::uint32_t>(i / per_token);
    }
    for (std::size_t e = n_experts; e > 0; --e) begins_[e] = begins_[e - 1];  // begins_[e] was moved to where expert e + 1 begins
    begins_[0] = 0;
    n_rows_ = ids.size();
    n_experts_ = n_experts;
    per_token_ = per_token;
    return success();
  }

  std::size_t rows() const { return n_rows_; }  // the number of tokens times the number of experts for each
  std::size_t experts() const { return n_experts_; }
  std::size_t tokens() const { return per_token_ == 0 ? 0 : n_rows_ / per_token_; }
  std::size_t per_token() const { return per_token_; }
  // The number of the token that row i is a copy of.
  std::size_t token(std::size_t i) const { return tokens_[i]; }
  // The row into which token t is copied for its j-th expert.
  std::size_t row(std::size_t t, std::size_t j) const { return rows_[t * per_token_ + j]; }
  // The rows of expert e are [begin(e), begin(e + 1)).
  std::size_t begin(std::size_t e) const { return begins_[e]; }

  // Copies the rows of x, which has tokens() rows, in the order of the plan. The copies lie in memory of the plan and are valid until
  // the next call of gather() or build().
  Result<ConstMatrix> gather(ConstMatrix x) {
    if (Status s = detail::check_shape("experts", "x", x, tokens(), x.cols); !s) return s.error();
    detail::MemoryLayout layout;
    layout.add<float>(n_rows_, x.cols);
    if (Status s = gathered_.resize("the rows of all experts", layout.bytes()); !s) return s.error();
    float* const rows = gathered_.at<float>(0);
    for (std::size_t i = 0; i < n_rows_ && x.cols != 0; ++i) std::memcpy(rows + i * x.cols, x.row(token(i)), x.cols * sizeof(float));
    return ConstMatrix(rows, n_rows_, x.cols);
  }

  // Adds up the results of the experts of each token t: y[t] = sum over j of weights[t * per_token + j] * rows[row(t, j)], in the
  // order of j, each step one fused multiply-add. y is tokens() x rows.cols and does not overlap `rows`.
  Status combine(Matrix y, ConstMatrix rows, std::span<const float> weights, Parallel parallel = {}) const {
    if (Status s = detail::check_shape("experts", "rows", rows, n_rows_, rows.cols); !s) return s;
    if (Status s = detail::check_shape("experts", "y", y, tokens(), rows.cols); !s) return s;
    if (weights.size() != n_rows_) {
      return detail::bad_argument(concat("experts: ", weights.size(), " weights of the router, expected ", n_rows_));
    }
    parallel(y.rows, [&](std::size_t t) {
      float* const out = y.row(t);
      for (std::size_t c = 0; c < y.cols; ++c) out[c] = 0.0f;
      for (std::size_t j = 0; j < per_token_; ++j) {
        const float weight = weights[t * per_token_ + j];
        const float* const from = rows.row(row(t, j));
        for (std::size_t c = 0; c < y.cols; ++c) out[c] = std::fma(weight, from[c], out[c]);
      }
    });
    return success();
  }

 private:
  friend std::size_t expert_plan_bytes(std::size_t tokens, std::size_t per_token, std::size_t n_experts, std::size_t cols);

  // The offsets of the arrays of the plan in its memory. If the memory is the caller's, gathered rows lie behind these arrays.
  struct Parts {
    Parts(std::size_t n_rows, std::size_t n_experts) {
      detail::MemoryLayout layout;
      begins = layout.add<std::uint32_t>(n_experts < impossible_bytes ? n_experts + 1 : n_experts);
      rows = layout.add<std::uint32_t>(n_rows);
      tokens = layout.add<std::uint32_t>(n_rows);
      bytes = layout.bytes();
    }
    std::size_t begins, rows, tokens, bytes;
  };

  detail::Memory memory_, gathered_;
  std::uint32_t* begins_ = nullptr;
  std::uint32_t* rows_ = nullptr;
  std::uint32_t* tokens_ = nullptr;
  std::size_t n_rows_ = 0, n_experts_ = 0, per_token_ = 0;
};

inline std::size_t expert_plan_bytes(std::size_t tokens, std::size_t per_token, std::size_t n_experts, std::size_t cols) {
  const std::size_t max_tokens = static_cast<std::size_t>(-1) / (per_token == 0 ? 1 : per_token);
  if (tokens > max_tokens) return impossible_bytes;
  detail::MemoryLayout layout;
  layout.add<std::byte>(ExpertPlan::Parts(tokens * per_token, n_experts).bytes);
  layout.add<float>(tokens * per_token, cols);
  return layout.bytes();
}

// Row i of y becomes row i of the input times the transposed matrix of its expert, plus the bias of its expert. base/parallel.hpp
// says what tasks are. `experts` are plan.experts() matrices of the same shape and format. `biases` is empty or holds a pointer for
// each expert, which is null or points to as many floats as a matrix has rows. y has plan.rows() rows and a column for each row of
// a matrix; further columns are not written. `epilogue` is that of MatmulProduct; the rows of its tiles are rows of the plan. All
// arguments must live as long as the job.
class ExpertMatmulJob {
 public:
  ExpertMatmulJob(Matrix y, const ExpertPlan& plan, std::span<const PackedView> experts, const MatmulInput& input,
                  std::span<const float* const> biases = {}, const TileFunction& epilogue = {})
      : plan_(&plan), experts_(experts), biases_(biases) {
    if (experts.empty()) return;
    job_ = detail::panel_job({y, experts[0], nullptr, epilogue}, input);
    if (job_.tokens == 0) return;
    for (std::size_t e = 0; e < plan.experts(); ++e) tasks_ += tasks_of(e);
  }

  Status check() const {
    if (experts_.size() != plan_->experts() || (!biases_.empty() && biases_.size() != experts_.size())) {
      return detail::bad_argument(concat("expert_matmul: ", experts_.size(), " matrices and ", biases_.size(), " biases, expected ",
                                         plan_->experts(), " matrices, and as many biases or none"));
    }
    if (experts_.empty()) return success();
    if (Status s = detail::check_product("expert_matmul", job_); !s) return s;
    const PackedView& first = experts_[0];
    for (std::size_t e = 1; e < experts_.size(); ++e) {
      const PackedView& w = experts_[e];
      if (w.format != first.format || w.layout != first.layout || w.rows != first.rows || w.cols != first.cols) {
        return detail::bad_argument(concat("expert_matmul: matrix ", e, " is ", w.rows, " x ", w.cols,
                                           ", expected the shape, format and "
                                           "layout of matrix 0, ",
                                           first.rows, " x ", first.cols));
      }
      if (reinterpret_cast<std::uintptr_t>(w.data) % cache_line_bytes != 0 || (w.data == nullptr && first.data != nullptr)) {
        return detail::bad_argument(concat("expert_matmul: matrix ", e, " is at an address that is no multiple of ", cache_line_bytes));
      }
    }
    if (job_.product.y.rows != plan_->rows()) {
      return detail::bad_argument(concat("expert_matmul: y has ", job_.product.y.rows, " rows, expected ", plan_->rows()));
    }
    return success();
  }
  std::size_t tasks() const { return tasks_; }
  void run(std::size_t task) const {
    std::size_t e = 0;
    for (; task >= tasks_of(e); ++e) task -= tasks_of(e);
    const std::size_t begin = plan_->begin(e), count = plan_->begin(e + 1) - begin;
    detail::PanelJob job = job_;
    job.product.y = job_.product.y.rows_from(begin, count);
    job.product.w = experts_[e];
    job.product.bias = biases_.empty() ? nullptr : biases_[e];
    job.input = job_.input.rows_from(begin, count);
    job.first_row = begin;
    job.tasks = tasks_of(e);
    job.run_task(task);
  }

 private:
  std::size_t tasks_of(std::size_t e) const {
    return job_.steps * ((plan_->begin(e + 1) - plan_->begin(e) + job_.tokens - 1) / job_.tokens);
  }

  const ExpertPlan* plan_;
  std::span<const PackedView> experts_;
  std::span<const float* const> biases_;
  detail::PanelJob job_;
  std::size_t tasks_ = 0;
};

inline Status expert_matmul_check(const ExpertMatmulJob& job) { return job.check(); }
inline std::size_t expert_matmul_tasks(const ExpertMatmulJob& job) { return job.check() ? job.tasks() : 0; }
inline void expert_matmul_run(const ExpertMatmulJob& job, std::size_t task) { job.run(task); }

inline Status expert_matmul(Matrix y, const ExpertPlan& plan, std::span<const PackedView> experts, const MatmulInput& input,
                            std::span<const float* const> biases = {}, Parallel parallel = {}, const TileFunction& epilogue = {}) {
  const ExpertMatmulJob job(y, plan, experts, input, biases, epilogue);
  if (Status s = job.check(); !s) return s;
  parallel(job.tasks(), [&](std::size_t task) { job.run(task); });
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
