// SPDX-License-Identifier: Apache-2.0
//
// Matrix times packed weights:  y[M, N] = x[M, K] * W[N, K]^T  (+ bias[N]).
//
//   stilla::PackedMatrix w = *stilla::PackedMatrix::create(stilla::Q4_0::gguf_type, rows, N, K);
//   stilla::ActivationBuffer x8;
//   stilla::quantise(x8, x);                      // once per input, shared by every matrix that takes it
//   stilla::matmul(y, w, x8.view(), bias);        // any M; decode is M = 1
//
// Quantised weights take activations rounded to 8 or 16 bits (ActivationBuffer's argument), float weights (F32, F16, BF16) take floats. The arithmetic is fixed to the bit by
// kernels/stilla/contract/matmul.hpp: results are the same on every target, for every M and number of threads.
#pragma once

#include <cstddef>

#include <stilla/contract/elementwise.hpp>
#include <stilla/contract/matmul.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/format/activation_q8.hpp>
#include <stilla/matrix.hpp>
#include <stilla/pack.hpp>
#include <stilla/parallel.hpp>
#include <stilla/portable/kernels.hpp>
#include <stilla/scalar/elementwise.hpp>
#include <stilla/scalar/matmul.hpp>
#include <stilla/x86_avx2/matmul.hpp>
#include <stilla/x86_avx512vnni/matmul.hpp>
#include <stilla/x86_avxvnni/matmul.hpp>

namespace stilla::inline STILLA_ABI {

// True if weights of this GGUF type take float activations.
inline bool takes_float_activations(std::uint32_t format) {
  bool is_float = false;
  with_format(format, [&](auto tag) { is_float = !QuantisedFormat<decltype(tag)>; });
  return is_float;
}

namespace detail {

// Panels that one task takes: enough work to outweigh handing it out (about 64 KB of weights), not so much that the last
// task keeps the others waiting.
inline std::size_t panels_per_task(std::size_t panel_bytes) {
  const std::size_t wanted = std::size_t{65536} / (panel_bytes == 0 ? 1 : panel_bytes);
  return wanted == 0 ? 1 : wanted > 64 ? 64 : wanted;
}

template <class F, class X>
void matmul(Matrix y, const PackedView& w, X x, const float* bias, Parallel parallel) {
  const MatmulArgs<F> args{w.data, w.rows, w.cols, x, y, bias};
  const std::size_t step = panels_per_task(PanelLayout<F>::panel_bytes(w.cols));
  const std::size_t panels = w.panels();
  with_target(active_target(), [&](auto target) {
    parallel((panels + step - 1) / step, [&](std::size_t task) {
      const std::size_t first = task * step;
      MatmulPanels<decltype(target), F>::run(args, first, first + step < panels ? first + step : panels);
    });
  });
}

}  // namespace detail

// Rounds x[M, K] in blocks of 32 to out.bits(); K is a multiple of 32. False, and nothing done, when memory is short.
[[nodiscard]] inline bool quantise(ActivationBuffer& out, ConstMatrix x, Parallel parallel = {}) {
  if (!out.resize(x.rows, x.cols)) return false;
  with_target(active_target(), [&](auto target) {
    parallel(x.rows, [&](std::size_t m) {
      QuantiseQ8<decltype(target)>::run(out.row_values(m), out.row_scales(m), out.row_sums(m), x.row(m),
                                        x.cols / activation_block, out.row_low(m));
    });
  });
  return true;
}

// Quantised weights. y is x.rows x w.rows; x.cols == w.cols; bias: w.rows floats or null. y overlaps no input.
inline void matmul(Matrix y, const PackedView& w, const ActivationQ8& x, const float* bias = nullptr,
                   Parallel parallel = {}) {
  with_format(w.format, [&](auto tag) {
    using F = decltype(tag);
    if constexpr (QuantisedFormat<F>) detail::matmul<F>(y, w, x, bias, parallel);
  });
}

// Float weights, or any weights when `rounded` lends memory to round x in (K a multiple of 32). False when that memory
// cannot be had.
[[nodiscard]] inline bool matmul(Matrix y, const PackedView& w, ConstMatrix x, ActivationBuffer& rounded,
                                 const float* bias = nullptr, Parallel parallel = {}) {
  if (!takes_float_activations(w.format)) {
    if (!quantise(rounded, x, parallel)) return false;
    matmul(y, w, rounded.view(), bias, parallel);
    return true;
  }
  with_format(w.format, [&](auto tag) {
    using F = decltype(tag);
    if constexpr (!QuantisedFormat<F>) detail::matmul<F>(y, w, x, bias, parallel);
  });
  return true;
}

// Row n of packed weights as floats, for embedding lookup: the same values as in the file.
inline void embedding_lookup(float* out, const PackedView& table, std::size_t n) {
  with_format(table.format, [&](auto tag) { unpack_row<decltype(tag)>(table, n, out); });
}

}  // namespace stilla::STILLA_ABI
