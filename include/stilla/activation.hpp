// SPDX-License-Identifier: Apache-2.0
//
// SwiGLU's elementwise part (Shazeer, 2020):  y = silu(gate) * up,  silu(g) = g / (1 + e^-g).
// Contract: include/stilla/contract/elementwise.hpp.
#pragma once

#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// All three have the same shape; y may be gate or up.
inline void silu_mul(Matrix y, ConstMatrix gate, ConstMatrix up, Parallel parallel = {}) {
  const auto kernel = detail::row_kernel<SiluMul>(active_target());
  parallel(gate.rows, [&](std::size_t m) { kernel(y.row(m), gate.row(m), up.row(m), gate.cols); });
}

// y += x, the residual connection. The same shape.
inline void add_inplace(Matrix y, ConstMatrix x, Parallel parallel = {}) {
  parallel(y.rows, [&](std::size_t m) {
    float* to = y.row(m);
    const float* from = x.row(m);
    for (std::size_t i = 0; i < y.cols; ++i) to[i] += from[i];
  });
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
