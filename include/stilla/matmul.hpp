// SPDX-License-Identifier: Apache-2.0
//
// Matrix times packed weights:  y[M, N] = x[M, K] * W[N, K]^T  (+ bias[N]).
//
//   stilla::PackedMatrix w = *stilla::PackedMatrix::create<stilla::Q4_0>(rows, N, K);
//   stilla::ActivationBuffer x8;
//   stilla::quantise(x8, x);                      // once per input, shared by every matrix that takes it
//   stilla::matmul(y, w, x8.view(), bias);        // any M; decode is M = 1
//
// Quantised weights take activations rounded to 8 or 16 bits (ActivationBuffer's argument), float weights (F32, F16, BF16)
// take floats. The arithmetic is fixed to the bit by include/stilla/contract/matmul.hpp: results are the same on every target,
// for every M and number of threads. Nothing is allocated here but by ActivationBuffer; many tokens take up to 400 KB of each
// thread's stack.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include <stilla/activation_buffer.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/contract/matmul.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/layout/pack.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/portable/kernels.hpp>
#include <stilla/scalar/elementwise.hpp>
#include <stilla/scalar/matmul.hpp>
#include <stilla/x86_amx/elementwise.hpp>
#include <stilla/x86_amx/matmul.hpp>
#include <stilla/x86_avx2/matmul.hpp>
#include <stilla/x86_avx512vnni/elementwise.hpp>
#include <stilla/x86_avx512vnni/matmul.hpp>
#include <stilla/x86_avxvnni/matmul.hpp>

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

// Tokens that one task takes: all, but where half or a third of them, as TileActivations, stay in L2 while all panels go by,
// and all would not. Panels are then unpacked that much oftener, so not for wide inputs, of which few tokens stay. (Granite
// Rapids, 2 MB of L2: 512 tokens of a 1.5B at once took 1.04 times as long as 256 and 256.)
inline std::size_t tokens_per_task(const ActivationQ8& x) {
  constexpr std::size_t most_bytes = std::size_t{1200} << 10, fewest = 192;
  if (x.tiles.values == nullptr || x.cols == 0) return x.rows;
  const std::size_t most = most_bytes / (x.cols * sizeof(std::uint16_t));
  if (x.rows <= most || most < fewest) return x.rows;
  const std::size_t tasks = (x.rows + most - 1) / most;
  return (x.rows + tasks - 1) / tasks;
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

template <class Target, class F>
void run_panels(const PanelJob& job, std::size_t first, std::size_t last) {
  const MatmulProduct& p = job.product;
  MatmulArgs<F> args;
  args.panels = p.w.data;
  args.N = p.w.rows;
  args.K = p.w.cols;
  args.y = p.y;
  args.bias = p.bias;
  if constexpr (QuantisedFormat<F>) {
    args.x = job.input.rounded;
  } else {
    args.x = job.input.x;
  }
  MatmulPanels<Target, F>::run(args, first, last);
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
  job.run = panel_function(active_target(), product.w.format);
  stilla::with_format(product.w.format, [&](auto tag) {
    job.panel_bytes = PanelLayout<decltype(tag)>::panel_bytes(product.w.cols);
    job.step = panels_per_task(job.panel_bytes);
    job.tokens = QuantisedFormat<decltype(tag)> ? tokens_per_task(input.rounded) : product.y.rows;
    job.steps = (product.w.panels() + job.step - 1) / job.step;
    job.tasks = job.tokens == 0 ? 0 : job.steps * ((product.y.rows + job.tokens - 1) / job.tokens);
  });
  return job;
}

}  // namespace detail

// Several products of one input: the query, key and value projections, say. Four at a time are one parallel job. Their
// weights may differ in format. Weights of an unknown format leave their y as it is.
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

namespace detail {

// Rounds x, columns [first, first + count) of row m; multiples of 32. When all of a row are done, round_row_sums.
template <class Target>
void quantise_columns(ActivationBuffer& out, std::size_t m, const float* x, std::size_t first, std::size_t count) {
  std::int8_t* low = out.row_low(m);
  QuantiseQ8<Target>::run(out.row_values(m) + first, out.row_scales(m) + first / activation_block,
                          out.row_sums(m) + first / activation_block * 2, out.row_scaled_sums(m) + first / activation_block,
                          x, count / activation_block, low == nullptr ? nullptr : low + first);
  if (!out.has_tiles() || count == 0) return;
  const TileActivations tiles = out.view().tiles;
  const std::size_t block = first / activation_block, blocks = count / activation_block;
  const std::size_t at = tiles.at(m, block), stride = tiles.at(0, 1);
  const float* scales = out.row_scales(m) + block;
  TileValues<Target>::run(out.tile_values() + at, stride, out.row_values(m) + first, scales, blocks, low == nullptr ? 1.0f : 256.0f);
  if (low != nullptr) TileValues<Target>::run(out.tile_low() + at, stride, low + first, scales, blocks, 1.0f);
  for (std::size_t b = block; b < block + blocks; ++b) out.tile_sums()[b * tiles.stride + m] = out.row_scaled_sums(m)[b];
}

// Rounds the scaled sums of row m, when all its columns are done.
inline void round_row_sums(ActivationBuffer& out, std::size_t m) {
  const std::size_t count = out.cols() / sums_block;
  const TileActivations tiles = out.view().tiles;
  for (std::size_t i = 0; i < count; ++i) {
    const RoundedSums& rounded = out.row_rounded_sums(m)[i] = round_sums(out.row_scaled_sums(m) + i * RoundedSums::blocks);
    if (out.has_tiles()) store_tile_sums(out.tile_rounded_sums() + tiles.sums_at(m, i * sums_block), rounded);
  }
  if (out.has_tiles() && count % 2 != 0) store_tile_sums(out.tile_rounded_sums() + tiles.sums_at(m, count * sums_block), {});
}

template <class Target>
void quantise_row(ActivationBuffer& out, std::size_t m, const float* x) {
  quantise_columns<Target>(out, m, x, 0, out.cols());
  round_row_sums(out, m);
}

}  // namespace detail

// Rounds x[M, K] in blocks of 32 to out.bits(); K is a multiple of 32. False, and nothing done, when memory is short.
[[nodiscard]] inline bool quantise(ActivationBuffer& out, ConstMatrix x, Parallel parallel = {}) {
  if (!out.resize(x.rows, x.cols)) return false;
  with_target(active_target(), [&](auto target) {
    parallel(x.rows, [&](std::size_t m) { detail::quantise_row<decltype(target)>(out, m, x.row(m)); });
  });
  return true;
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
