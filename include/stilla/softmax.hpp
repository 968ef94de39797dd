// SPDX-License-Identifier: Apache-2.0
//
// Softmax of every row m:  y[m, i] = e^(x[m, i] - max) / sum, where max is the highest value of the row and sum is that of the powers of
// e. contract/elementwise.hpp fixes the bits, base/check.hpp says what is checked and when, and base/parallel.hpp what tasks are.
#pragma once

#include <stilla/base/check.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Softmax as tasks: task m computes row m. y and x have the same shape and may be the same matrix. An empty row stays as it is.
struct SoftmaxJob {
  Matrix y;
  ConstMatrix x;
  SoftmaxFunction kernel = detail::row_kernel<Softmax>(active_target());
};

// Shapes are always checked. With STILLA_CHECK it is also checked that y either is x or does not overlap it.
inline Status softmax_check(const SoftmaxJob& job) {
  if (Status s = detail::check_shape("softmax", "x", job.x, job.y.rows, job.y.cols); !s) return s;
  if (Status s = detail::check_shape("softmax", "y", job.y, job.y.rows, job.y.cols); !s) return s;
  return checks_everything() ? detail::check_same_or_apart("softmax", "y", job.y, "x", job.x) : success();
}
inline std::size_t softmax_tasks(const SoftmaxJob& job) { return job.y.cols != 0 && softmax_check(job) ? job.y.rows : 0; }
inline void softmax_run(const SoftmaxJob& job, std::size_t m) { job.kernel(job.y.row(m), job.x.row(m), job.y.cols); }

inline Status softmax(Matrix y, ConstMatrix x, Parallel parallel = {}) {
  const SoftmaxJob job{y, x};
  if (Status s = softmax_check(job); !s) return s;
  if (y.cols != 0) parallel(y.rows, [&](std::size_t m) { softmax_run(job, m); });
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
