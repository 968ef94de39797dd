// SPDX-License-Identifier: Apache-2.0
//
// Softmax of every row:  y[m, i] = e^(x[m, i] - max) / sum. Contract: include/stilla/contract/elementwise.hpp.
#pragma once

#include <stilla/contract/elementwise.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/portable/kernels.hpp>
#include <stilla/scalar/elementwise.hpp>

namespace stilla { inline namespace STILLA_ABI {

// y and x have the same shape and may be the same matrix; an empty row is left alone.
inline void softmax(Matrix y, ConstMatrix x, Parallel parallel = {}) {
  if (x.cols == 0) return;
  with_target(active_target(), [&](auto target) {
    parallel(x.rows, [&](std::size_t m) { Softmax<decltype(target)>::run(y.row(m), x.row(m), x.cols); });
  });
}

}}  // namespace stilla
