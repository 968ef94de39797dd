// SPDX-License-Identifier: Apache-2.0
//
// Functions that compute several steps of a transformer layer in one call, where each step uses what the step before computed. A
// layer of one token is then five parallel jobs (query, key and value; attention; its output; gate and up; down), and an activation
// is rounded while it is still in the cache. Each function gives the same bits as the separate ops that its comment names.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <stilla/activation_buffer.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/matmul.hpp>
#include <stilla/norm.hpp>
#include <stilla/quantise.hpp>
#include <stilla/row_kernels.hpp>
#include <stilla/silu_mul.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

// Returns an error if the buffer `rounded`, which is to receive the rounded x, was not resized to the shape of x (rounding would
// write past its end), or if the columns of x are no multiple of 32. Without a buffer (null) there is no error.
inline Status check_room(std::string_view op, const ActivationBuffer* rounded, const Matrix& x) {
  if (rounded == nullptr || (rounded->rows() == x.rows && rounded->cols() == x.cols && x.cols % activation_block == 0)) return success();
  return bad_argument(concat(op, ": room for ", rounded->rows(), " x ", rounded->cols(), " rounded activations, expected ", shape_of(x),
                             " in blocks of ", activation_block));
}

}  // namespace detail

// Three ops in one pass over the rows: x += residual (add_inplace; skipped if `residual` is null), h = rms_norm(x), and `rounded` = h
// rounded (quantise; skipped if `rounded` is null).
//
// h, x and `residual` have the same shape, M rows of K floats with K > 0, and `weight` holds K floats. h may be x or lie apart from x.
// h lies apart from `weight`. `residual` may be h or x, or lie apart from both. Before the call, the caller resizes `rounded` to the
// shape of h, whose K must then be a multiple of 32. The function checks shapes, null pointers and `rounded`, and with STILLA_CHECK
// (base/check.hpp) also where h, x, `residual` and `weight` lie. If something is wrong, it returns an error and changes nothing.
inline Status add_norm_quantise(Matrix h, Matrix x, const Matrix* residual, const float* weight, float epsilon, ActivationBuffer* rounded,
                                Parallel parallel = {}) {
  if (Status s = rms_norm_check({h, x, weight, epsilon}); !s) return s;
  if (residual != nullptr) {
    constexpr const char* op = "add_norm_quantise";
    if (Status s = detail::check_shape(op, "residual", *residual, x.rows, x.cols); !s) return s;
    if (checks_everything()) {
      if (Status s = detail::check_same_or_apart(op, "x", x, "residual", *residual); !s) return s;
      if (Status s = detail::check_same_or_apart(op, "h", h, "residual", *residual); !s) return s;
    }
  }
  if (Status s = detail::check_room("add_norm_quantise", rounded, h); !s) return s;
  const TargetId target = active_target();
  const auto rms_norm_row = detail::row_kernel<RmsNorm>(target);
  std::optional<detail::Quantiser> quantiser;
  if (rounded != nullptr) quantiser.emplace(*rounded, target);
  parallel(x.rows, [&](std::size_t m) {
    if (residual != nullptr) add_run({x, *residual}, m);
    rms_norm_row(h.row(m), x.row(m), weight, epsilon, x.cols);
    if (quantiser) quantiser->row(m, h.row(m));
  });
  if (quantiser) quantiser->wide_rows(parallel, [&](std::size_t m) { return h.row(m); });
  return success();
}

namespace detail {

// Hands out pieces of memory to the tasks of a job. There are as many pieces as tasks. 64 neighbouring tasks form a bundle, and a
// bundle has the 64 pieces with the same numbers. A task takes the lowest free piece of its bundle, so that few threads use the
// same few pieces again and again. Tasks that run at the same time never hold the same piece. If n tasks of a bundle call take(),
// they get only the n lowest pieces of the bundle, because at most n pieces are held at once. So the caller may leave out the last
// task, which then uses the last piece without take(). No other task gets this piece, and it may be smaller than the others.
class TaskPieces {
 public:
  static constexpr std::size_t max_tasks = 1024;

  std::size_t take(std::size_t task) {
    std::atomic<std::uint64_t>& taken = taken_[task / 64];
    std::uint64_t before = taken.load(std::memory_order_relaxed);
    while (!taken.compare_exchange_weak(before, before | (before + 1), std::memory_order_acquire)) {
    }
    return task / 64 * 64 + static_cast<std::size_t>(std::countr_one(before));
  }
  void give_back(std::size_t piece) { taken_[piece / 64].fetch_and(~(std::uint64_t{1} << piece % 64), std::memory_order_release); }

 private:
  std::atomic<std::uint64_t> taken_[max_tasks / 64] = {};
};

}  // namespace detail

// rounded = quantise(silu(x * gate.w^T + gate.bias) * (x * up.w^T + up.bias)): the same as two matmuls, silu_mul and quantise. gate.w
// and up.w have the same shape. The epilogue of a product is applied before silu and the multiplication. The products replace what
// gate.y and up.y held.
//
// If `rounded` is null, gate.y receives the product. Otherwise gate.y is scratch memory, as up.y always is: the product of many
// tokens never lies in memory as floats as a whole, because it is rounded piece by piece. Before the call, the caller resizes
// `rounded` to the shape of gate.y; the weights must then have a multiple of 32 rows. If `rounded` is mixed, the rows that are wide
// in the input are wide in it too (quantise_like; contract/wide_row.hpp). The function refuses what matmul and silu_mul refuse, and
// then changes nothing.
inline Status gated_matmul(const MatmulProduct& gate, const MatmulProduct& up, const MatmulInput& input, ActivationBuffer* rounded,
                           Parallel parallel = {}) {
  constexpr const char* op = "gated_matmul";
  const detail::PanelJob gate_job = detail::panel_job(gate, input), up_job = detail::panel_job(up, input);
  if (Status s = detail::check_product(op, gate_job); !s) return s;
  if (Status s = detail::check_product(op, up_job); !s) return s;
  if (gate.w.rows != up.w.rows || gate.y.rows != up.y.rows) {
    return detail::bad_argument(concat(op, ": gate has ", gate.w.rows, " rows, up ", up.w.rows));
  }
  if (gate.accumulate || up.accumulate) return detail::bad_argument(concat(op, ": the products cannot accumulate"));
  if (Status s = detail::check_room(op, rounded, gate.y); !s) return s;
  // Each task computes the same panels of both products, gate and up. The number of these panels is even, so that the results of a row
  // are whole blocks of 32 activations.
  const std::size_t M = gate.y.rows, tokens = std::min(gate_job.tokens, up_job.tokens);
  if (tokens == 0) return success();
  const std::size_t step = std::min(gate_job.step, up_job.step);
  const std::size_t width = step * panel_rows, steps = (gate.w.panels() + step - 1) / step;
  const std::size_t parts = (M + tokens - 1) / tokens, tasks = steps * parts;
  // With many tokens, the results of a task do not stay in the cache if they are written to the task's columns of the two wide
  // matrices gate.y and up.y. So a task writes them to a small matrix of its own instead (a piece of memory from TaskPieces), which
  // later tasks use again and which stays in the cache. For 512 tokens of a 1.5B model, this takes 20 % less time on AMX, and 4 %
  // less on AVX-512-VNNI, than the wide matrices take. To compute fewer panels at once, so that a smaller cache can hold the
  // pieces, costs more than it gains. `numbers` is how many piece numbers are set aside for the tasks that compute the same tokens.
  // It is a multiple of 64, so that tasks of different tokens never share a bundle of 64 pieces.
  const std::size_t numbers = (steps + 63) / 64 * 64;
  const bool in_pieces = rounded != nullptr && M >= 16 && numbers * parts <= detail::TaskPieces::max_tasks &&
                         gate.y.stride == gate.y.cols && up.y.stride == up.y.cols;
  detail::TaskPieces pieces;
  const TargetId target = active_target();
  const auto silu_mul_row = detail::row_kernel<SiluMul>(target);
  std::optional<detail::Quantiser> quantiser;
  if (rounded != nullptr) {
    quantiser.emplace(*rounded, target);
    quantiser->take_wide(input.rounded.wide);
  }
  parallel(tasks, [&](std::size_t task) {
    const std::size_t number = task % steps, first = number * step, begin = first * panel_rows;
    const std::size_t count = std::min(width, gate.w.rows - begin);
    const std::size_t m0 = task / steps * tokens, rows = std::min(tokens, M - m0), number0 = task / steps * numbers;
    const bool takes_piece = in_pieces && count == width;
    const std::size_t piece = takes_piece ? pieces.take(number0 + number) - number0 : number;
    const auto columns = [&](const Matrix& y) {
      if (in_pieces) return Matrix(y.row(m0) + piece * rows * width, rows, count);
      return Matrix(y.row(m0) + begin, rows, count, y.stride);
    };
    const Matrix product = columns(gate.y), factor = columns(up.y);
    gate_job.run_into(product, first, m0);
    up_job.run_into(factor, first, m0);
    for (std::size_t m = 0; m < rows; ++m) {
      float* row = product.row(m);
      silu_mul_row(row, row, factor.row(m), count);
      if (quantiser) quantiser->columns(m0 + m, row, begin, count);
    }
    if (takes_piece) pieces.give_back(number0 + piece);
  });
  if (rounded == nullptr) return success();
  // The sums of activations over 256 columns (RoundedSums) are made by other tasks, which begin when all tasks of the products are done,
  // because one task of the products may have computed only a part of those columns.
  const std::size_t rows_at_once = M < 16 ? M : 1;  // for few rows the work takes less time than handing it out
  parallel(M / rows_at_once, [&](std::size_t task) {
    for (std::size_t m = task * rows_at_once; m < (task + 1) * rows_at_once; ++m) quantiser->finish_row(m);
  });
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
