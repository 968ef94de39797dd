// SPDX-License-Identifier: Apache-2.0
//
// Rounds activations to integers of 8 or 16 bits, as quantised weights take them; it can also round some rows to 8 bits and others to
// 16. An input is rounded once, for all matrices that take it. contract/activation_q8.hpp fixes the rounding. (encode_rows in
// format/encode_rows.hpp rounds weights.)
//
//   stilla::ActivationBuffer x8;
//   if (!stilla::quantise(x8, x)) return out_of_memory;
//   stilla::matmul(y, w, x8.view());
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include <stilla/activation_buffer.hpp>
#include <stilla/base/check.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/contract/wide_row.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

// Whether kernels for many tokens can use the scales of these activations: each must be a power of two from 2^-67 to 2^53, so that
// its product with a scale of weights is a normal number.
inline bool scales_are_powers(const ActivationQ8& x) {
  constexpr auto lowest = std::bit_cast<std::uint32_t>(0x1p-67f), highest = std::bit_cast<std::uint32_t>(0x1p53f);
  std::uint32_t others = 0;
  for (std::size_t i = 0; i < x.rows * x.blocks(); ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(x.scales[i]);
    others |= (bits & 0x007fffffu) | (bits - lowest > highest - lowest ? 1u : 0u);
  }
  return others == 0;
}

// Whether each scale of these activations is a power of two (as quantise() makes them), infinity, NaN or 0. With such scales,
// however large or small, the sums that are rounded together (RoundedSums) are what contract/activation_q8.hpp says. Weights that
// take these sums refuse other scales.
inline bool scales_are_rounded(const ActivationQ8& x) {
  for (std::size_t i = 0; i < x.rows * x.blocks(); ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(x.scales[i]), mantissa = bits & 0x007fffffu, exponent = bits >> 23 & 255;
    const bool is_power = mantissa == 0 || (exponent == 0 && std::has_single_bit(mantissa));
    if (!is_power && exponent != 255) return false;
  }
  return true;
}

// Uses the kernels of one target to fill an ActivationBuffer that has been resized. Rows are independent of each other, and so are
// blocks of 32 columns of a row.
class Quantiser {
 public:
  // If `out` has an arrangement (ArrangedActivations) for another target than `target`, the arrangement is removed.
  Quantiser(ActivationBuffer& out, TargetId target)
      : out_(out), target_(target), kernel_(row_kernel<QuantiseQ8>(target)), form_(activation_form(target)) {
    out.keep_arrangement_of(form_.id);
  }

  // Rounds `count` floats from x on and stores them as the columns [first, first + count) of row m; `first` and `count` are
  // multiples of 32. Call finish_row() after all columns of a row.
  void columns(std::size_t m, const float* x, std::size_t first, std::size_t count) const {
    std::int8_t* low = out_.row_low(m);
    const std::size_t block = first / activation_block, blocks = count / activation_block;
    kernel_(out_.row_values(m) + first, out_.row_scales(m) + block, out_.row_sums(m) + 2 * block, out_.row_scaled_sums(m) + block, x,
            blocks, low == nullptr ? nullptr : low + first);
    arrange(m, block, blocks);
    of_wide(m, [&](const Quantiser& wide, std::size_t i) { wide.columns(i, x, first, count); });
  }
  // Copies the blocks [block, block + blocks) of row m, whose arrays have been filled, into the arrangement of the target
  // (ArrangedActivations), if there is one.
  void arrange(std::size_t m, std::size_t block, std::size_t blocks) const {
    if (out_.has_arrangement() && blocks != 0) form_.arrange(out_.arranged(), out_.view(), m, block, blocks);
  }

  // Rounds the scaled sums of row m (RoundedSums). Call it when all columns of the row have been rounded.
  void finish_row(std::size_t m) const {
    const std::size_t count = out_.cols() / sums_block;
    for (std::size_t i = 0; i < count; ++i) {
      out_.row_rounded_sums(m)[i] = round_sums(out_.row_scaled_sums(m) + i * RoundedSums::blocks);
    }
    if (out_.has_arrangement()) form_.arrange_sums(out_.arranged(), out_.view(), m);
    of_wide(m, [&](const Quantiser& wide, std::size_t i) { wide.finish_row(i); });
  }

  // Rounds a whole row. With mixed activations the row rule (is_wide_row) then decides whether the row is wide.
  void row(std::size_t m, const float* x) const {
    columns(m, x, 0, out_.cols());
    finish_row(m);
    if (out_.is_mixed()) out_.mark_row(m, is_wide_row(out_.row_values(m), out_.row_scales(m), out_.cols() / activation_block));
  }

  // With mixed activations, rounds the wide rows to 16 bits. Call it when all rows have been rounded to 8 bits. floats(m) gives the
  // floats of row m.
  template <class Floats>
  void wide_rows(Parallel parallel, Floats&& floats) const {
    if (!out_.is_mixed()) return;
    out_.collect_wide(form_.id);
    const WideRows wide = out_.wide_rows();
    if (wide.count() == 0) return;
    const Quantiser to_sixteen(out_.wide(), target_);
    parallel(wide.count(), [&](std::size_t i) { to_sixteen.row(i, floats(wide.row(i))); });
  }

  // For mixed activations, selects the wide rows without the row rule: the rows that are wide in `like` will be wide. Call this
  // before any row is rounded. columns() and finish_row() then round these rows to 16 bits as well.
  void take_wide(const WideRows& like) {
    if (!out_.is_mixed()) return;
    out_.take_wide(like, form_.id);
    wide_ = out_.wide_rows();
  }

 private:
  // If row m is the i-th wide row, calls f(q, i), where q is a Quantiser that fills row i of the buffer of the wide rows with 16 bits.
  template <class F>
  void of_wide(std::size_t m, F&& f) const {
    if (wide_.count() == 0) return;
    if (const std::size_t i = wide_.find(m); i != wide_.count()) f(Quantiser(out_.wide(), target_), i);
  }

  ActivationBuffer& out_;
  TargetId target_;
  QuantiseQ8Function kernel_;
  ActivationFormFunctions form_;
  WideRows wide_ = {};  // set by take_wide()
};

}  // namespace detail

// quantise() as tasks (base/parallel.hpp), one for each row: one worker begins the job, which takes memory, and the others wait for it.
// Then each worker runs its part of the same job. For mixed activations one worker ends the job (quantise_end) when all tasks are done:
// this rounds the few wide rows to 16 bits. For other activations ending the job does nothing.
//
//   stilla::Result<stilla::QuantiseJob> job = stilla::quantise_begin(x8, x);
//   for (std::size_t task = ith, tasks = stilla::quantise_tasks(*job); task < tasks; task += nth) stilla::quantise_run(*job, task);
class QuantiseJob {
 public:
  QuantiseJob(ActivationBuffer& out, ConstMatrix x) : quantiser_(out, active_target()), x_(x) {}  // called by quantise_begin

  std::size_t tasks() const { return x_.rows; }
  void run(std::size_t m) const { quantiser_.row(m, x_.row(m)); }
  void end(Parallel parallel = {}) const {
    quantiser_.wide_rows(parallel, [&](std::size_t m) { return x_.row(m); });
  }

 private:
  detail::Quantiser quantiser_;
  ConstMatrix x_;
};

// Begins a job that rounds x into `out`. It is always checked that the number of columns is a multiple of 32 and x is not null
// (base/check.hpp). On an error nothing is done. Lack of memory is an error too.
inline Result<QuantiseJob> quantise_begin(ActivationBuffer& out, ConstMatrix x) {
  if (x.cols % activation_block != 0) {
    return detail::bad_argument(concat("quantise: ", x.cols, " columns are not a multiple of ", activation_block));
  }
  if (Status s = detail::check_shape("quantise", "x", x, x.rows, x.cols); !s) return s.error();
  if (Status s = out.resize(x.rows, x.cols); !s) return s.error();
  return QuantiseJob(out, x);
}
inline std::size_t quantise_tasks(const QuantiseJob& job) { return job.tasks(); }
inline void quantise_run(const QuantiseJob& job, std::size_t m) { job.run(m); }
inline void quantise_end(const QuantiseJob& job) { job.end(); }

// Rounds x[M, K] in blocks of 32 columns, to the bits that `out` was made for (ActivationBits).
inline Status quantise(ActivationBuffer& out, ConstMatrix x, Parallel parallel = {}) {
  const Result<QuantiseJob> job = quantise_begin(out, x);
  if (!job) return job.error();
  parallel(job->tasks(), [&](std::size_t m) { job->run(m); });
  job->end(parallel);
  return success();
}

// Does what quantise() does, but without the row rule (is_wide_row): if `out` is mixed, its wide rows are those of `like`. The
// activations to which `like` belongs have as many rows as x.
inline Status quantise_like(ActivationBuffer& out, ConstMatrix x, const WideRows& like, Parallel parallel = {}) {
  if (Result<QuantiseJob> job = quantise_begin(out, x); !job) return job.error();
  detail::Quantiser quantiser(out, active_target());
  quantiser.take_wide(like);
  parallel(x.rows, [&](std::size_t m) {
    quantiser.columns(m, x.row(m), 0, x.cols);
    quantiser.finish_row(m);
  });
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
