// SPDX-License-Identifier: Apache-2.0
//
// Matrix product with packed weights:  y[M, N] = x[M, K] * W[N, K]^T  (+ bias[N]).
//
//   stilla::PackedMatrix w = *stilla::PackedMatrix::create<stilla::Q4_0>(rows, N, K);
//   stilla::ActivationBuffer x8;
//   stilla::Status rounded = stilla::quantise(x8, x);              // once per input, shared by every matrix that takes it
//   stilla::Status done = stilla::matmul(y, w, x8.view(), bias);   // any M; decode is M = 1
//
// matmul() returns an error and leaves y as it was if shapes do not fit, if the weights have an unknown format or layout, or if
// they are given the wrong kind of activations. base/check.hpp says what is checked when. MatmulJob offers the same product as
// tasks.
//
// Quantised weights take activations that are rounded to 8 or 16 bits. The argument of ActivationBuffer chooses the bits; it can
// also choose 8 bits for some rows and 16 for others. Float weights (F32, F16, BF16, BFP16EBS8) take floats.
//
// A product can do more with its results while they are in the cache: add them to y, or give them to a function (MatmulProduct). The
// functions that models need are in epilogue.hpp.
//
// include/stilla/contract/matmul.hpp fixes the arithmetic to the bit. The results are therefore the same on every target, for
// every M and every number of threads. No memory is allocated, except by an ActivationBuffer that owns its memory. With many tokens
// each thread needs up to 400 KB of its stack.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <stilla/base/check.hpp>
#include <stilla/base/kept_function.hpp>
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
  const detail::FormatFacts facts = detail::facts_of(format);
  return facts.block_weights != 0 && !facts.is_quantised;
}

// What matmuls take: `x` for float weights, `rounded` for quantised weights. A member that none of the weights needs may be
// empty.
struct MatmulInput {
  ConstMatrix x;         // M x K
  // The activations of `x` once more, rounded to integers (quantise.hpp).
  ActivationQ8 rounded;

  MatmulInput rows_from(std::size_t begin, std::size_t count) const {
    MatmulInput part = *this;
    if (x.data != nullptr) part.x = x.rows_from(begin, count);
    if (rounded.values != nullptr) part.rounded = rounded.rows_from(begin, count);
    return part;
  }
};

// A rectangle of a product's results, which a task has just computed. It is mostly a part of y, and still in the cache.
struct MatmulTile {
  Matrix values;
  std::size_t row = 0;     // values.row(i)[j] is the result for row (token) `row` + i, column `column` + j
  std::size_t column = 0;
};

// A function that a product calls with its results: once for each tile (MatmulTile), on the thread that computed the tile. Several
// threads may call it at the same time for different tiles. The tiles of a product do not overlap and cover all of it, but how large they
// are depends on the shape, the format and the target. So what is done to a value may depend on the place of the value, and not on the
// tile. The function may change the values of its tile, and may read whatever no task writes to. A function object that has a name is
// referred to and must outlive the product; one that is made on the spot is copied (base/kept_function.hpp), up to 32 bytes.
using TileFunction = detail::KeptFunction<32, const MatmulTile&>;

//     y = epilogue(x * w^T + bias)         or, if `accumulate` is set,         y = y + epilogue(x * w^T + bias)
// The bits are those of separate steps: the product, then the epilogue, then the sum. y has M rows and at least w.rows columns;
// further columns are not written. bias holds w.rows floats, or is null. y overlaps no input, and no y of another product of the
// same call or job.
struct MatmulProduct {
  Matrix y;
  PackedView w;
  const float* bias = nullptr;
  TileFunction epilogue = {};
  bool accumulate = false;
};

namespace detail {

// The number of panels that one task takes. It is large enough (about 64 KB of weights) that the work outweighs the cost of
// handing out a task, and small enough that the other threads do not wait long for the last task. It is a multiple of 6, because
// kernels for many tokens take 1, 2 or 3 panels at once, and because the results of 2 panels fill one block of activations.
inline std::size_t panels_per_task(std::size_t panel_bytes) {
  const std::size_t sixes = std::size_t{10923} / (panel_bytes == 0 ? 1 : panel_bytes);
  return 6 * (sixes == 0 ? 1 : sixes > 10 ? 10 : sixes);
}

// If some scales of the activations are not powers of two, at most tokens_of_any_scale tokens are multiplied at a time. For so few
// tokens, the kernels of every target compute exactly what the formulas of contract/matmul.hpp say, which are right for any scales.
// The kernels for many tokens rely on powers of two (generic/panel_sweep-inl.hpp); no target uses them for fewer than 8 tokens.
inline constexpr std::size_t tokens_of_any_scale = 4;

// One product, with the function that computes it for the format of the weights and the active target.
struct PanelJob {
  using Function = void (*)(const PanelJob&, std::size_t first, std::size_t last);
  Function run = nullptr;  // null if the format is unknown
  MatmulProduct product;
  MatmulInput input;
  std::size_t panel_bytes = 0;
  std::size_t step = 1;    // how many panels a task computes
  std::size_t tokens = 0;  // how many tokens a task computes
  std::size_t steps = 0;   // how many tasks share the same tokens
  std::size_t tasks = 0;
  bool any_scale = false;  // some scales are not powers of two

  // Computes panels [first, last) for all tokens of the job. With mixed activations the wide rows are first multiplied as rows of
  // 8 bits, like all others. They are then multiplied again with 16 bits, while the weights are still in the cache, and these
  // results overwrite the first ones. Every row gets the bits that it would get alone, as contract/matmul.hpp guarantees.
  void panels(std::size_t first, std::size_t last) const {
    const std::size_t count = is_rounded ? input.rounded.wide.count() : 0;
    if (count != 0 && count == product.y.rows) {  // all rows are wide, mostly because there is only one token
      PanelJob job = *this;
      job.input.rounded = input.rounded.wide.matrix(0, count);
      return run(job, first, last);
    }
    panels_of_all(first, last);
    if (count == 0) return;
    for (std::size_t p = first; p < last; p += panels_at_once) {
      for (std::size_t i = 0; i < count; i += wide_at_once) {
        run_wide(p, std::min(panels_at_once, last - p), i, std::min(wide_at_once, count - i));
      }
    }
  }

  void run_task(std::size_t task) const {
    const std::size_t first = task % steps * step, last = std::min(first + step, product.w.panels());
    const std::size_t m = task / steps * tokens, count = std::min(tokens, product.y.rows - m);
    if (product.accumulate) return accumulate(first, last, m, count);
    if (product.epilogue) return run_into(tile(first, last, m, count), first, m);
    if (tasks == steps) return panels(first, last);
    PanelJob job = *this;
    job.product.y = product.y.rows_from(m, count);
    job.input = input.rows_from(m, count);
    job.panels(first, last);
  }

  // Computes the columns of the product from panel `first` on, for the tokens from m on, and writes them to the argument y instead of
  // product.y. The shape of y says how many columns and tokens. The epilogue then gets y.
  void run_into(Matrix y, std::size_t first, std::size_t m) const {
    PanelJob job = *this;
    job.product.y = y;
    if (y.rows < product.y.rows) job.input = input.rows_from(m, y.rows);
    job.product.w.data += first * panel_bytes;
    job.product.w.rows = y.cols;
    if (product.bias != nullptr) job.product.bias += first * panel_rows;
    job.panels(0, job.product.w.panels());
    if (product.epilogue) product.epilogue({y, first_row + m, first * panel_rows});
  }

  std::size_t first_row = 0;        // the number that the epilogue gets for row 0
  bool is_rounded = false;          // the weights take rounded activations
  bool wants_rounded_sums = false;  // the weights take RoundedSums too

 private:
  static constexpr std::size_t wide_at_once = 32, panels_at_once = 6;  // together 12 KB of results
  // Where a product is added to y, its results first lie on the stack, at most added_at_once of them at a time. There is room for the
  // results of at least 3 panels, because kernels for many tokens take up to 3 panels at once.
  static constexpr std::size_t added_at_once = small_stacks ? 2048 : 6144;

  // The columns of product.y that the panels [first, last) give, for the tokens [m, m + count).
  Matrix tile(std::size_t first, std::size_t last, std::size_t m, std::size_t count) const {
    const std::size_t begin = first * panel_rows;
    return {product.y.row(m) + begin, count, std::min(last * panel_rows, product.w.rows) - begin, product.y.stride};
  }

  // Computes the panels [first, last) for the tokens [m, m + count) and adds the results to product.y.
  void accumulate(std::size_t first, std::size_t last, std::size_t m, std::size_t count) const {
    alignas(cache_line_bytes) float results[added_at_once];
    const std::size_t rows = std::min(count, added_at_once / (3 * panel_rows)), panels = added_at_once / (rows * panel_rows);
    for (std::size_t p = first; p < last; p += panels) {
      for (std::size_t i = 0; i < count; i += rows) {
        const Matrix to = tile(p, std::min(p + panels, last), m + i, std::min(rows, count - i));
        const Matrix from(results, to.rows, to.cols);
        run_into(from, p, m + i);
        for (std::size_t r = 0; r < to.rows; ++r) {
          for (std::size_t n = 0; n < to.cols; ++n) to.row(r)[n] += from.row(r)[n];
        }
      }
    }
  }

  // Computes panels [first, last) for all tokens of the job as if no row were wide (contract/wide_row.hpp): every row is multiplied
  // by its values in `rounded`, and the values of 16 bits in `rounded.wide` are not read.
  void panels_of_all(std::size_t first, std::size_t last) const {
    if (any_scale && product.y.rows > tokens_of_any_scale) {
      for (std::size_t m = 0; m < product.y.rows; m += tokens_of_any_scale) {
        const std::size_t count = std::min(tokens_of_any_scale, product.y.rows - m);
        PanelJob job = *this;
        job.product.y = product.y.rows_from(m, count);
        job.input = input.rows_from(m, count);
        job.panels_of_all(first, last);
      }
    } else if (input.rounded.row_factors != nullptr && is_rounded) {
      PanelJob job = *this;
      job.product.bias = nullptr;
      run(job, first, last);
      finish_rows(first, last);
    } else {
      run(*this, first, last);
    }
  }

  // Multiplies the wide rows [i, i + rows) of mixed activations by the panels [p, p + panels).
  void run_wide(std::size_t p, std::size_t panels, std::size_t i, std::size_t rows) const {
    alignas(cache_line_bytes) float results[wide_at_once * panels_at_once * panel_rows];
    const std::size_t begin = p * panel_rows, columns = std::min(panels * panel_rows, product.w.rows - begin);
    PanelJob job = *this;
    job.input.rounded = input.rounded.wide.matrix(i, rows);
    const Matrix y(results, rows, columns);
    job.product = {y, panels_from(product.w, p, panels), product.bias == nullptr ? nullptr : product.bias + begin};
    run(job, 0, panels);
    for (std::size_t r = 0; r < rows; ++r) std::copy_n(y.row(r), columns, product.y.row(input.rounded.wide.row(i + r)) + begin);
  }

  // Multiplies each row of the results by the factor that the activations have for it (row_factors), and adds the bias. There are two
  // loops, so that no compiler fuses both operations into one rounding.
  void finish_rows(std::size_t first, std::size_t last) const {
    const std::size_t begin = first * panel_rows, end = std::min(last * panel_rows, product.w.rows);
    for (std::size_t m = 0; m < product.y.rows; ++m) {
      float* const y = product.y.row(m);
      const float factor = input.rounded.row_factors[m];
      for (std::size_t n = begin; n < end; ++n) y[n] *= factor;
      if (product.bias == nullptr) continue;
      for (std::size_t n = begin; n < end; ++n) y[n] += product.bias[n];
    }
  }
};

// Multiplies by weights of format F with the kernel of the format PanelFormat<F>, whose panels have the same layout.
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

// The matmul kernel of a target for weights of a format; null if the format is unknown. No other function refers to the matmul kernels of
// all targets and formats.
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

// Makes the job of a product. It has no tasks if the format or the layout of the weights is unknown.
inline PanelJob panel_job(const MatmulProduct& product, const MatmulInput& input) {
  PanelJob job{nullptr, product, input};
  const TargetId target = active_target();
  if (product.w.layout == Rows16K4::id) job.run = panel_function(target, product.w.format);
  if (job.run == nullptr) return job;
  const FormatFacts facts = facts_of(product.w.format);
  job.panel_bytes = facts.panel_bytes(product.w.cols);
  job.step = panels_per_task(job.panel_bytes);
  job.is_rounded = facts.is_quantised;
  job.wants_rounded_sums = facts.has_sub_minimums;
  job.tokens = job.is_rounded ? activation_form(target).tokens_per_task(input.rounded) : product.y.rows;
  job.steps = (product.w.panels() + job.step - 1) / job.step;
  job.tasks = job.tokens == 0 ? 0 : job.steps * ((product.y.rows + job.tokens - 1) / job.tokens);
  const ActivationQ8& x = input.rounded;
  job.any_scale = job.is_rounded && !x.is_checked && x.rows > tokens_of_any_scale && !scales_are_powers(x);
  return job;
}

// The part of the check of rounded activations that STILLA_CHECK turns on. It is an error if values or sums break the rules of
// contract/activation_q8.hpp.
inline Status check_rounded(std::string_view op, const ActivationQ8& x) {
  for (std::size_t m = 0; m < x.rows; ++m) {
    for (std::size_t b = 0; b < x.blocks(); ++b) {
      std::int32_t sums[2] = {};
      for (std::size_t k = b * activation_block; k < (b + 1) * activation_block; ++k) {
        const std::int32_t high = x.row_values(m)[k], value = x.low == nullptr ? high : 256 * high + x.row_low(m)[k];
        if (high == -128) return bad_argument(concat(op, ": value ", k, " of row ", m, " is -128, expected -127 to 127"));
        sums[0] += k % activation_block < activation_block / 2 ? value : 0;
        sums[1] += value;
      }
      const std::int32_t* found = x.row_sums(m) + 2 * b;
      const float scaled = x.row_scales(m)[b] * static_cast<float>(sums[1]);
      const bool same = found[0] == sums[0] && found[1] == sums[1] && (x.row_scaled_sums(m)[b] == scaled || !(scaled == scaled));
      if (!same) return bad_argument(concat(op, ": the sums of block ", b, " of row ", m, " are not those of its values"));
    }
  }
  return success();
}

// Returns an error if any argument of a product except y is wrong.
inline Status check_input(std::string_view op, const PanelJob& job) {
  const PackedView& w = job.product.w;
  const MatmulInput& input = job.input;
  if (job.run == nullptr) {
    return bad_argument(concat(op, ": ", w.layout == Rows16K4::id ? unknown_format(w.format).message : "weights of another layout"));
  }
  if (w.rows == 0) return success();
  const bool is_empty = w.cols == 0;
  if (!is_empty && (w.data == nullptr || reinterpret_cast<std::uintptr_t>(w.data) % cache_line_bytes != 0)) {
    return bad_argument(concat(op, ": packed weights at an address that is no multiple of ", cache_line_bytes));
  }
  if (!job.is_rounded) {
    if (input.x.data == nullptr && input.rounded.values != nullptr) {
      return bad_argument(concat(op, ": float weights take float activations, found rounded ones"));
    }
    return check_shape(op, "x", input.x, input.x.rows, w.cols);
  }
  const ActivationQ8& x = input.rounded;
  if (x.values == nullptr && input.x.data != nullptr && input.x.rows != 0 && !is_empty) {
    return bad_argument(concat(op, ": quantised weights take rounded activations, found floats: see quantise()"));
  }
  if (x.cols != w.cols) return bad_argument(concat(op, ": x is ", x.rows, " x ", x.cols, ", expected ", w.cols, " columns"));
  if (x.cols % activation_block != 0) {
    return bad_argument(concat(op, ": ", x.cols, " columns are not a multiple of ", activation_block));
  }
  if (x.rows == 0 || is_empty) return success();
  if (x.values == nullptr || x.scales == nullptr || x.sums == nullptr || x.scaled_sums == nullptr ||
      (job.wants_rounded_sums && x.rounded_sums == nullptr)) {
    return bad_argument(concat(op, ": rounded activations lack values, scales or sums"));
  }
  if (job.wants_rounded_sums && !x.is_checked && !scales_are_rounded(x)) {
    return bad_argument(concat(op,
                               ": weights with minimums in common for 256 columns take activations whose scales are powers of two "
                               "or one for each row: see import_activations()"));
  }
  return checks_everything() ? check_rounded(op, x) : success();
}

inline Status check_product(std::string_view op, const PanelJob& job) {
  if (Status s = check_input(op, job); !s) return s;
  const Matrix& y = job.product.y;
  const std::size_t M = job.is_rounded ? job.input.rounded.rows : job.input.x.rows;
  if (y.rows != M || y.cols < job.product.w.rows) {
    return bad_argument(concat(op, ": y is ", shape_of(y), ", expected ", M, " x ", job.product.w.rows));
  }
  if (Status s = check_shape(op, "y", y, y.rows, y.cols); !s) return s;
  if (!checks_everything() || y.rows == 0) return success();
  const Matrix written(y.data, y.rows, job.product.w.rows, y.stride);
  if (!job.is_rounded) return check_apart(op, "y", written, "x", job.input.x);
  const ActivationQ8& x = job.input.rounded;
  if (Status s = check_apart(op, "y", written, "the scales of x", ConstMatrix(x.scales, x.rows, x.blocks())); !s) return s;
  if (job.product.bias == nullptr) return success();
  return check_apart(op, "y", written, "the bias", ConstMatrix(job.product.bias, 1, job.product.w.rows));
}

}  // namespace detail

// Several products of one input as tasks (base/parallel.hpp), for example the query, key and value projections. Their weights may
// differ in format. check() refuses more than `max_products` products.
//
//   const stilla::MatmulProduct products[] = {{q, wq}, {k, wk}, {v, wv}};
//   const stilla::MatmulJob job(products, {{}, x8.view()});          // every worker makes its own, or all share one
//   for (std::size_t task = ith, tasks = stilla::matmul_tasks(job); task < tasks; task += nth) stilla::matmul_run(job, task);
class MatmulJob {
 public:
  static constexpr std::size_t max_products = 4;

  MatmulJob(std::span<const MatmulProduct> products, const MatmulInput& input) : found_(products.size()) {
    count_ = std::min(products.size(), max_products);
    for (std::size_t i = 0; i < count_; ++i) {
      jobs_[i] = detail::panel_job(products[i], input);
      tasks_ += jobs_[i].tasks;
    }
  }
  MatmulJob(const MatmulProduct& product, const MatmulInput& input) : MatmulJob(std::span(&product, 1), input) {}

  // Always checks formats, layouts, the kind of activations, shapes, the alignment of weights, and that no two products write to the same
  // y. With STILLA_CHECK it also checks the sums and values of rounded activations, and that no y overlaps the inputs.
  Status check() const {
    if (found_ > max_products) return detail::bad_argument(concat("matmul: ", found_, " products, expected at most ", max_products));
    for (std::size_t i = 0; i < count_; ++i) {
      if (Status s = detail::check_product("matmul", jobs_[i]); !s) return s;
      for (std::size_t j = 0; j < i; ++j) {
        const MatmulProduct &one = jobs_[j].product, &other = jobs_[i].product;
        const bool write = one.y.rows != 0 && one.w.rows != 0 && other.w.rows != 0;
        if (write && one.y.data == other.y.data) {
          return detail::bad_argument(concat("matmul: products ", j, " and ", i, " have the same y; one call writes each y once"));
        }
      }
    }
    return success();
  }
  std::size_t tasks() const { return tasks_; }
  void run(std::size_t task) const {
    const detail::PanelJob* job = jobs_;
    for (; task >= job->tasks; ++job) task -= job->tasks;
    job->run_task(task);
  }

 private:
  detail::PanelJob jobs_[max_products];
  std::size_t found_, count_ = 0, tasks_ = 0;
};

inline Status matmul_check(const MatmulJob& job) { return job.check(); }
inline std::size_t matmul_tasks(const MatmulJob& job) { return job.check() ? job.tasks() : 0; }
inline void matmul_run(const MatmulJob& job, std::size_t task) { job.run(task); }

// Computes several products of one input, each with a y of its own. Four products at a time form one parallel job.
inline Status matmul(std::span<const MatmulProduct> products, const MatmulInput& input, Parallel parallel = {}) {
  // A call with a wrong product computes nothing. If there are more than four products, those behind the first four are checked
  // here. The first four are checked in the loop that follows, before they are computed.
  for (std::size_t i = MatmulJob::max_products; i < products.size(); ++i) {
    if (Status s = MatmulJob(products[i], input).check(); !s) return s;
  }
  while (!products.empty()) {
    const std::size_t count = std::min(products.size(), MatmulJob::max_products);
    const MatmulJob job(products.first(count), input);
    if (Status s = job.check(); !s) return s;
    parallel(job.tasks(), [&](std::size_t task) { job.run(task); });
    products = products.subspan(count);
  }
  return success();
}

inline Status matmul(const MatmulProduct& product, const MatmulInput& input, Parallel parallel = {}) {
  return matmul(std::span(&product, 1), input, parallel);
}

// Multiplies quantised weights by rounded activations. y is x.rows x w.rows; x.cols == w.cols; bias holds w.rows floats, or is null. y
// overlaps no input.
inline Status matmul(Matrix y, const PackedView& w, const ActivationQ8& x, const float* bias = nullptr, Parallel parallel = {}) {
  return matmul(MatmulProduct{y, w, bias}, {{}, x}, parallel);
}

// Multiplies weights of any format by float activations. For quantised weights, the activations are first rounded into `rounded`; x then
// has a multiple of 32 columns. It is also an error if there is not enough memory for the rounded activations.
inline Status matmul(Matrix y, const PackedView& w, ConstMatrix x, ActivationBuffer& rounded, const float* bias = nullptr,
                     Parallel parallel = {}) {
  MatmulInput input{x, {}};
  if (!takes_float_activations(w.format)) {
    if (Status s = quantise(rounded, x, parallel); !s) return s;
    input.rounded = rounded.view();
  }
  return matmul(MatmulProduct{y, w, bias}, input, parallel);
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
