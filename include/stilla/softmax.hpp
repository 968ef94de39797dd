// SPDX-License-Identifier: Apache-2.0
//
// Softmax of every row:  y[m, i] = e^(x[m, i] - max) / sum. Contract: include/stilla/contract/elementwise.hpp.
#pragma once

#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// y and x have the same shape and may be the same matrix; an empty row is left alone.
inline void softmax(Matrix y, ConstMatrix x, Parallel parallel = {}) {
  if (x.cols == 0) return;
  const auto kernel = detail::row_kernel<Softmax>(active_target());
  parallel(x.rows, [&](std::size_t m) { kernel(y.row(m), x.row(m), x.cols); });
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
