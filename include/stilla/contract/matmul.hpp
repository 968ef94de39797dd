// SPDX-License-Identifier: Apache-2.0
//
// Contract of the matmul kernels: y[m, n] = sum over k of W[n, k] * x[m, k]  (+ bias[n]), for the rows n of some panels.
//
// Quantised formats take rounded activations of 8 bits, or of 16 bits (value = 256 * high + low). A name with _w belongs to the
// weights of row n, and one with _x to the activations of token m; sum_x[g] is the sum of a group's values. With g running over the
// groups of F::group_weights weights, in the order of k,
//
//     dot[g] = sum of (code - zero_point) * value            exact in int32: at most 32 * 128 * 32640 < 2^28
//     acc    = fma(scale_w[g] * scale_x[g], float(dot[g]), acc)  the product is exact, because scale_x is a power of two. (With the
//                                                            scale of a row, a float, it is exact unless the product is subnormal.)
//     acc    = fma(minimum_w[g], scale_x[g] * sum_x[g], acc)  only formats with a minimum; this product is exact too
//
// Where minimums of groups of 32 are integers times one minimum of 256 weights (Q4_K, Q5_K), two lines replace the third one. They
// run after every eight groups. (Q2_K, whose groups have 16 weights, keeps the third line: there are no rounded sums of 16
// activations.)
//
//     dot    = sum of sub_minimum[g] * sums_x[g]             exact in int32, and in float: at most 8 * 63 * 32767 < 2^24
//     acc    = fma(minimum_w * scale_s, float(dot), acc)     scale_s, sums_x: scale and sums of RoundedSums
//                                                            (contract/activation_q8.hpp). The product is exact: it is 0, or its
//                                                            magnitude is 2^-112 to 2^67
//
// and y = acc + bias. Formats with a scale per row follow the same formula: their scale_w is the same for all g, or, with
// sub-scales (LPBQ), the row's scale times the group's sub-scale, rounded once. Float formats: acc = fma(W[n, k], x[m, k], acc) for
// k = 0 .. K-1, y = acc + bias. Every target computes every output in exactly this way, so results do not depend on the target, on
// M, or on how panels are shared between threads.
#pragma once

#include <cstddef>

#include <stilla/base/matrix.hpp>
#include <stilla/base/target.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/layout/pack.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {
template <class F>
constexpr const std::int8_t* codebook_of() {
  if constexpr (QuantisedFormat<F>) {
    if constexpr (F::is_codebook) return F::codebook.data();
  }
  return nullptr;
}
}  // namespace detail

template <class F>
struct MatmulArgs {
  const std::byte* panels = nullptr;  // packed weights (layout/pack.hpp), 64-byte aligned
  std::size_t N = 0;
  std::size_t K = 0;
  ConstMatrix x;                 // M x K, any alignment
  // The results, M x N. The kernel writes only those columns n of y that are rows of the given panels and are below N.
  Matrix y;
  const float* bias = nullptr;   // N floats, or null
};

template <QuantisedFormat F>
struct MatmulArgs<F> {
  const std::byte* panels = nullptr;
  std::size_t N = 0;
  std::size_t K = 0;
  ActivationQ8 x;
  Matrix y;
  const float* bias = nullptr;
  // Only for codebook formats: the levels of the codes, 2^code_bits of them. Formats that share panels (PanelFormat) differ in
  // their levels only. Levels of 64 or more in magnitude are allowed only if F's own codebook has such levels.
  const std::int8_t* codebook = detail::codebook_of<F>();
};

// Whether kernels must use little of the stack. Kernels for many tokens unpack weights to the stack: up to 400 KB of it, or up to
// 100 KB with a C library whose threads may have less stack than 400 KB. (musl's threads have 128 KB by default; those of glibc,
// Windows and macOS have at least 512 KB.)
#if defined(__GLIBC__) || defined(_WIN32) || defined(__APPLE__)
inline constexpr bool small_stacks = false;
#else
inline constexpr bool small_stacks = true;
#endif

// The matmul kernel: run(args, first, last) computes the panels [first, last) for all rows of args.x.
template <class Target, class Format>
// The kernel of the fallback is used if Target has none of its own for this format.
struct MatmulPanels : MatmulPanels<typename Target::Fallback, Format> {};

namespace detail {

// Writes a panel's 16 results of row m into y and adds the bias. Results for rows past N are not written.
template <class Args>
inline void store_panel_row(const Args& a, std::size_t panel, std::size_t m, const float* results) {
  const std::size_t n0 = panel * panel_rows;
  const std::size_t count = a.N - n0 < panel_rows ? a.N - n0 : panel_rows;
  float* y = a.y.row(m) + n0;
  for (std::size_t r = 0; r < count; ++r) y[r] = a.bias != nullptr ? results[r] + a.bias[n0 + r] : results[r];
}

}  // namespace detail

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
