// SPDX-License-Identifier: Apache-2.0
//
// Steps of a transformer layer joined where they touch the same numbers, so that a layer of one token is five parallel jobs
// (query, key and value; attention; its output; gate and up; down) and an activation is rounded while it is in the cache.
// Each gives the bits of the separate ops that its comment names.
#pragma once

#include <algorithm>
#include <cstddef>

#include <stilla/activation.hpp>
#include <stilla/activation_buffer.hpp>
#include <stilla/matmul.hpp>
#include <stilla/matrix.hpp>
#include <stilla/parallel.hpp>

namespace stilla::inline STILLA_ABI {

// x += residual (add_inplace; skipped when residual is null), h = rms_norm(x), rounded = h rounded (quantise; skipped when
// null). residual may be h. Row by row; `rounded` has been resized to h's shape.
inline void add_norm_quantise(Matrix h, Matrix x, const Matrix* residual, const float* weight, float epsilon,
                              ActivationBuffer* rounded, Parallel parallel = {}) {
  with_target(active_target(), [&](auto target) {
    using Target = decltype(target);
    parallel(x.rows, [&](std::size_t m) {
      if (residual != nullptr) add_inplace(x.rows_from(m, 1), residual->rows_from(m, 1));
      RmsNorm<Target>::run(h.row(m), x.row(m), weight, epsilon, x.cols);
      if (rounded != nullptr) detail::quantise_columns<Target>(*rounded, m, h.row(m), 0, h.cols);
    });
  });
}

// gate.y = silu(x * gate.w^T + gate.bias) * (x * up.w^T + up.bias): two matmuls and silu_mul. With `rounded`, resized to
// gate.y's shape with columns a multiple of 32, also quantise. up.y is scratch. Both weights have the same shape.
inline void gated_matmul(const MatmulProduct& gate, const MatmulProduct& up, const MatmulInput& input,
                         ActivationBuffer* rounded, Parallel parallel = {}) {
  const detail::PanelJob gate_job = detail::panel_job(gate, input), up_job = detail::panel_job(up, input);
  if (gate_job.run == nullptr || up_job.run == nullptr) return;  // unknown formats
  // The same panels of both in one task; an even number of panels is whole blocks of activations.
  const std::size_t panels = gate.w.panels();
  const std::size_t step = std::min(gate_job.step, up_job.step);
  with_target(active_target(), [&](auto target) {
    using Target = decltype(target);
    parallel((panels + step - 1) / step, [&](std::size_t task) {
      const std::size_t first = task * step, last = std::min(first + step, panels);
      gate_job.run(gate_job, first, last);
      up_job.run(up_job, first, last);
      const std::size_t begin = first * panel_rows, count = std::min(last * panel_rows, gate.w.rows) - begin;
      for (std::size_t m = 0; m < gate.y.rows; ++m) {
        float* row = gate.y.row(m);
        SiluMul<Target>::run(row + begin, row + begin, up.y.row(m) + begin, count);
        if (rounded != nullptr) detail::quantise_columns<Target>(*rounded, m, row, begin, count);
      }
    });
  });
}

}  // namespace stilla::STILLA_ABI
