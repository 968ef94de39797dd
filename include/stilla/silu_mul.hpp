// SPDX-License-Identifier: Apache-2.0
//
// SwiGLU's elementwise part (Shazeer, 2020):  y = silu(gate) * up,  silu(g) = g / (1 + e^-g).
// contract/elementwise.hpp fixes its bits, base/check.hpp says what is checked and when, and base/parallel.hpp what tasks are.
#pragma once

#include <stilla/base/check.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// y = silu(gate) * up as tasks: task m computes row m. y, gate and up have the same shape. y may be the same matrix as gate or up.
struct SiluMulJob {
  Matrix y;
  ConstMatrix gate, up;
  SiluMulFunction kernel = detail::row_kernel<SiluMul>(active_target());
};

// Shapes are always checked. With STILLA_CHECK it is also checked that y either is the same matrix as an input or does not overlap
// it.
inline Status silu_mul_check(const SiluMulJob& job) {
  constexpr const char* op = "silu_mul";
  if (Status s = detail::check_shape(op, "gate", job.gate, job.y.rows, job.y.cols); !s) return s;
  if (Status s = detail::check_shape(op, "up", job.up, job.y.rows, job.y.cols); !s) return s;
  if (Status s = detail::check_shape(op, "y", job.y, job.y.rows, job.y.cols); !s) return s;
  if (!checks_everything()) return success();
  if (Status s = detail::check_same_or_apart(op, "y", job.y, "gate", job.gate); !s) return s;
  return detail::check_same_or_apart(op, "y", job.y, "up", job.up);
}
inline std::size_t silu_mul_tasks(const SiluMulJob& job) { return silu_mul_check(job) ? job.y.rows : 0; }
inline void silu_mul_run(const SiluMulJob& job, std::size_t m) { job.kernel(job.y.row(m), job.gate.row(m), job.up.row(m), job.y.cols); }

inline Status silu_mul(Matrix y, ConstMatrix gate, ConstMatrix up, Parallel parallel = {}) {
  const SiluMulJob job{y, gate, up};
  if (Status s = silu_mul_check(job); !s) return s;
  parallel(y.rows, [&](std::size_t m) { silu_mul_run(job, m); });
  return success();
}

// y += x, the residual connection, as tasks: task m computes row m. y and x have the same shape.
struct AddJob {
  Matrix y;
  ConstMatrix x;
};

// Shapes are always checked. With STILLA_CHECK it is also checked that y either is x or does not overlap it.
inline Status add_check(const AddJob& job) {
  if (Status s = detail::check_shape("add_inplace", "x", job.x, job.y.rows, job.y.cols); !s) return s;
  if (Status s = detail::check_shape("add_inplace", "y", job.y, job.y.rows, job.y.cols); !s) return s;
  return checks_everything() ? detail::check_same_or_apart("add_inplace", "y", job.y, "x", job.x) : success();
}
inline std::size_t add_tasks(const AddJob& job) { return add_check(job) ? job.y.rows : 0; }
inline void add_run(const AddJob& job, std::size_t m) {
  float* to = job.y.row(m);
  const float* from = job.x.row(m);
  for (std::size_t i = 0; i < job.y.cols; ++i) to[i] += from[i];
}

inline Status add_inplace(Matrix y, ConstMatrix x, Parallel parallel = {}) {
  const AddJob job{y, x};
  if (Status s = add_check(job); !s) return s;
  parallel(y.rows, [&](std::size_t m) { add_run(job, m); });
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
