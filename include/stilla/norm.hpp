// SPDX-License-Identifier: Apache-2.0
//
// RMSNorm (Zhang and Sennrich, 2019):  y[m] = x[m] / sqrt(mean(x[m]^2) + epsilon) * weight, for every row m.
// Qwen2 and Llama multiply by the weight itself. Contract: include/stilla/contract/elementwise.hpp.
#pragma once

#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// y and x have the same shape and may be the same matrix; weight holds x.cols floats; x.cols > 0.
inline void rms_norm(Matrix y, ConstMatrix x, const float* weight, float epsilon, Parallel parallel = {}) {
  const auto kernel = detail::row_kernel<RmsNorm>(active_target());
  parallel(x.rows, [&](std::size_t m) { kernel(y.row(m), x.row(m), weight, epsilon, x.cols); });
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
