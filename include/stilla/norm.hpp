// SPDX-License-Identifier: Apache-2.0
//
// RMSNorm (Zhang and Sennrich, 2019):  y[m] = x[m] / sqrt(mean(x[m]^2) + epsilon) * weight, for every row m.
// The factor is the weight itself, as in Qwen2 and Llama. contract/elementwise.hpp fixes the bits, base/check.hpp says what is
// checked and when, and base/parallel.hpp what tasks are.
#pragma once

#include <stilla/base/check.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// RMSNorm as tasks: task m computes row m. y and x have the same shape and may be the same matrix; weight holds x.cols floats;
// x.cols > 0.
struct RmsNormJob {
  Matrix y;
  ConstMatrix x;
  const float* weight = nullptr;
  float epsilon = 0.0f;
  RmsNormFunction kernel = detail::row_kernel<RmsNorm>(active_target());
};

// It is always checked that the shapes fit and that weights are given. With STILLA_CHECK it is also checked that y either is x or does
// not overlap it, and that y does not overlap the weights.
inline Status rms_norm_check(const RmsNormJob& job) {
  constexpr const char* op = "rms_norm";
  if (Status s = detail::check_shape(op, "x", job.x, job.y.rows, job.y.cols); !s) return s;
  if (Status s = detail::check_shape(op, "y", job.y, job.y.rows, job.y.cols); !s) return s;
  if (job.y.rows != 0 && (job.y.cols == 0 || job.weight == nullptr)) {
    return detail::bad_argument(concat(op, ": ", job.y.cols == 0 ? "rows without columns" : "no weights"));
  }
  if (!checks_everything()) return success();
  if (Status s = detail::check_same_or_apart(op, "y", job.y, "x", job.x); !s) return s;
  return detail::check_apart(op, "y", job.y, "the weights", ConstMatrix(job.weight, 1, job.y.cols));
}
inline std::size_t rms_norm_tasks(const RmsNormJob& job) { return rms_norm_check(job) ? job.y.rows : 0; }
inline void rms_norm_run(const RmsNormJob& job, std::size_t m) {
  job.kernel(job.y.row(m), job.x.row(m), job.weight, job.epsilon, job.y.cols);
}

inline Status rms_norm(Matrix y, ConstMatrix x, const float* weight, float epsilon, Parallel parallel = {}) {
  const RmsNormJob job{y, x, weight, epsilon};
  if (Status s = rms_norm_check(job); !s) return s;
  parallel(y.rows, [&](std::size_t m) { rms_norm_run(job, m); });
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
