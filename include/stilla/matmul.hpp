// SPDX-License-Identifier: Apache-2.0
//
// Matrix times packed weights:  y[M, N] = x[M, K] * W[N, K]^T  (+ bias[N]).
//
//   stilla::PackedMatrix w = *stilla::PackedMatrix::create<stilla::Q4_0>(rows, N, K);
//   stilla::ActivationBuffer x8;
//   stilla::quantise(x8, x);                      // once per input, shared by every matrix that takes it
//   stilla::matmul(y, w, x8.view(), bias);        // any M; decode is M = 1
//
// Quantised weights take activations rounded to 8 or 16 bits (ActivationBuffer's argument), float weights (F32, F16, BF16,
// BFP16EBS8) take floats. The arithmetic is fixed to the bit by include/stilla/contract/matmul.hpp: results are the same on every target,
// for every M and number of threads. Nothing is allocated here but by ActivationBuffer; many tokens take up to 400 KB of each
// thread's stack.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/contract/matmul.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/layout/pack.hpp>
#include <stilla/pack.hpp>
#include <stilla/quantise.hpp>
#if STILLA_COMPILE_KERNELS
#include <stilla/all_targets/matmul.hpp>
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// True if weights of this format take float activations.
inline bool takes_float_activations(FormatId format) {
  bool is_float = false;
  with_format(format, [&](auto tag) { is_float = !QuantisedFormat<decltype(tag)>; });
  return is_float;
}

// What matmuls take: floats for float weights, rounded values for quantised ones. What no weights ask for may be empty.
struct MatmulInput {
  ConstMatrix x;         // M x K
  ActivationQ8 rounded;  // of x

  MatmulInput rows_from(std::size_t begin, std::size_t count) const {
    MatmulInput part = *this;
    if (x.data != nullptr) part.x = x.rows_from(begin, count);
    if (rounded.values != nullptr) part.rounded = rounded.rows_from(begin, count);
    return part;
  }
};

// y = x * w^T + bias: M x w.rows. bias: w.rows floats or null. y overlaps no input.
struct MatmulProduct {
  Matrix y;
  PackedView w;
  const float* bias = nullptr;
};

namespace detail {

// Panels that one task takes: enough work to outweigh handing it out (about 64 KB of weights), not so much that the last
// task keeps the others waiting. A multiple of 6, because kernels for many tokens take 1, 2 or 3 panels at once, and 2 make a
// block of activations.
inline std::size_t panels_per_task(std::size_t panel_bytes) {
  const std::size_t sixes = std::size_t{10923} / (panel_bytes == 0 ? 1 : panel_bytes);
  return 6 * (sixes == 0 ? 1 : sixes > 10 ? 10 : sixes);
}

// A product with its format and target resolved, once, to a function.
struct PanelJob {
  using Function = void (*)(const PanelJob&, std::size_t first, std::size_t last);
  Function run = nullptr;  // null for an unknown format
  MatmulProduct product;
  MatmulInput input;
  std::size_t panel_bytes = 0;
  std::size_t step = 1;    // panels of a task
  std::size_t tokens = 0;  // likewise
  std::size_t steps = 0;   // tasks for some tokens
  std::size_t tasks = 0;

  void run_task(std::size_t task) const {
    const std::size_t first = task % steps * step, panels = product.w.panels(), last = std::min(first + step, panels);
    if (tasks == steps) return run(*this, first, last);
    const std::size_t m = task / steps * tokens, count = std::min(tokens, product.y.rows - m);
    PanelJob job = *this;
    job.product.y = product.y.rows_from(m, count);
    job.input = input.rows_from(m, count);
    run(job, first, last);
  }

  // y alone: the columns from panel `first` on, of the tokens from m on.
  void run_into(Matrix y, std::size_t first, std::size_t m) const {
    PanelJob job = *this;
    job.product.y = y;
    if (y.rows < product.y.rows) job.input = input.rows_from(m, y.rows);
    job.product.w.data += first * panel_bytes;
    job.product.w.rows = y.cols;
    if (product.bias != nullptr) job.product.bias += first * panel_rows;
    run(job, 0, job.product.w.panels());
  }
};

// Weights of format F, by the kernel of the format whose panels it has.
template <class Target, class F>
void run_panels(const PanelJob& job, std::size_t first, std::size_t last) {
  const MatmulProduct& p = job.product;
  MatmulArgs<PanelFormat<F>> args;
  args.panels = p.w.data;
  args.N = p.w.rows;
  args.K = p.w.cols;
  args.y = p.y;
  args.bias = p.bias;
  if constexpr (QuantisedFormat<F>) {
    args.x = job.input.rounded;
    static_assert(F::is_codebook == PanelFormat<F>::is_codebook && has_small_codebook<F> == has_small_codebook<PanelFormat<F>>);
    args.codebook = codebook_of<F>();
  } else {
    args.x = job.input.x;
  }
  MatmulPanels<Target, PanelFormat<F>>::run(args, first, last);
}

// The kernel of a target for weights of a format. Nothing else asks for the kernels of all targets and formats.
STILLA_KERNEL_LINKAGE PanelJob::Function panel_function(TargetId target, FormatId format);
#if STILLA_COMPILE_KERNELS
STILLA_KERNEL_LINKAGE PanelJob::Function panel_function(TargetId target, FormatId format) {
  PanelJob::Function function = nullptr;
  with_target(target, [&](auto target_tag) {
    stilla::with_format(format, [&](auto tag) { function = run_panels<decltype(target_tag), decltype(tag)>; });
  });
  return function;
}
#endif

inline PanelJob panel_job(const MatmulProduct& product, const MatmulInput& input) {
  PanelJob job{nullptr, product, input};
  const TargetId target = active_target();
  if (product.w.layout == Rows16K4::id) job.run = panel_function(target, product.w.format);
  if (job.run == nullptr) return job;  // without tasks
  stilla::with_format(product.w.format, [&](auto tag) {
    job.panel_bytes = PanelLayout<decltype(tag)>::panel_bytes(product.w.cols);
    job.step = panels_per_task(job.panel_bytes);
    job.tokens = QuantisedFormat<decltype(tag)> ? activation_form(target).tokens_per_task(input.rounded) : product.y.rows;
    job.steps = (product.w.panels() + job.step - 1) / job.step;
    job.tasks = job.tokens == 0 ? 0 : job.steps * ((product.y.rows + job.tokens - 1) / job.tokens);
  });
  return job;
}

}  // namespace detail

// Several products of one input: the query, key and value projections, say. Four at a time are one parallel job. Their
// weights may differ in format. Weights of an unknown format or layout leave their y as it is.
inline void matmul(std::span<const MatmulProduct> products, const MatmulInput& input, Parallel parallel = {}) {
  constexpr std::size_t most_jobs = 4;
  while (!products.empty()) {
    const std::size_t count = std::min(products.size(), most_jobs);
    detail::PanelJob jobs[most_jobs];
    std::size_t tasks = 0;
    for (std::size_t i = 0; i < count; ++i) {
      jobs[i] = detail::panel_job(products[i], input);
      tasks += jobs[i].tasks;
    }
    parallel(tasks, [&](std::size_t task) {
      const detail::PanelJob* job = jobs;
      for (; task >= job->tasks; ++job) task -= job->tasks;
      job->run_task(task);
    });
    products = products.subspan(count);
  }
}

// Quantised weights. y is x.rows x w.rows; x.cols == w.cols; bias: w.rows floats or null. y overlaps no input.
inline void matmul(Matrix y, const PackedView& w, const ActivationQ8& x, const float* bias = nullptr,
                   Parallel parallel = {}) {
  const MatmulProduct product{y, w, bias};
  if (!takes_float_activations(w.format)) matmul({&product, 1}, {{}, x}, parallel);
}

// Float weights, or any weights when `rounded` lends memory to round x in (K a multiple of 32). False when that memory
// cannot be had.
[[nodiscard]] inline bool matmul(Matrix y, const PackedView& w, ConstMatrix x, ActivationBuffer& rounded,
                                 const float* bias = nullptr, Parallel parallel = {}) {
  MatmulInput input{x, {}};
  if (!takes_float_activations(w.format)) {
    if (!quantise(rounded, x, parallel)) return false;
    input.rounded = rounded.view();
  }
  const MatmulProduct product{y, w, bias};
  matmul({&product, 1}, input, parallel);
  return true;
}

// Row n of packed weights as floats, for embedding lookup: the same values as in the file.
inline void embedding_lookup(float* out, const PackedView& table, std::size_t n) {
  with_format(table.format, [&](auto tag) { unpack_row<decltype(tag)>(table, n, out); });
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
