// SPDX-License-Identifier: Apache-2.0
//
// Matmul over panels of quantised weights (contract/matmul.hpp), written once against the vocabulary of an x86 target's
// vector.hpp: lanes, dot_codes and plain vector operations. Each target includes it inside its region and namespace.
//
// The dot product multiplies unsigned by signed bytes, so codes are the unsigned operand as they are and the zero point
// leaves the loop:  sum (u - z) x = sum u x - z sum x,  and z sum x is taken off at the end. Codes that are
// signed (8 bits, codebooks) become unsigned by adding 128, or stay signed where that overflows (AVX2). One dot instruction
// covers 4 k of every row of a vector; four activations are broadcast from memory. No shuffle, no sum across lanes.
//
// Activations of 16 bits are two planes: dot = 256 * dot(high) + dot(low). Sub-minimums (Q4_K, Q5_K) meet their sums as pairs of
// 16-bit integers: for 256 k four dot products and a multiply-add in place of a multiply-add for each group.
//
// panel_codes-inl.hpp loads panels, panels_few-inl.hpp and panel_sweep-inl.hpp multiply few tokens and many; here they are chosen.

#include <stilla/generic/panel_codes-inl.hpp>

#include <stilla/generic/panel_sweep-inl.hpp>
#include <stilla/generic/panels_few-inl.hpp>

// One panel, tokens from m on.
template <class F, std::size_t Planes>
STILLA_INLINE void panels_left(const MatmulArgs<F>& a, std::size_t p, std::size_t m) {
  if constexpr (lanes == 16) {
    for (; m + 4 <= a.x.rows; m += 4) panels_few<F, 4, Planes, 1>(a, p, m);
  }
  for (; m + 2 <= a.x.rows; m += 2) panels_few<F, 2, Planes, 1>(a, p, m);
  if (m < a.x.rows) panels_few<F, 1, Planes, 1>(a, p, m);
}

template <class F, std::size_t Planes>
STILLA_NOINLINE void matmul_planes(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
  std::size_t p = first;
  if (a.x.rows >= fewest_to_sweep && a.K != 0) {
    // Only panels with 16 rows: the last one of the matrix may have fewer. If they are no multiple, the last ones go with some
    // that are done already.
    const std::size_t full = a.N / panel_rows < last ? a.N / panel_rows : last;
    while (p < full && full - first >= sweep_panels) {
      const std::size_t at = full - p < sweep_panels ? full - sweep_panels : p;
      const std::size_t sets = full - at < most_sets * sweep_panels ? (full - at) / sweep_panels : most_sets;
      const std::size_t end = at + sets * sweep_panels;
      if (!panels_many<F, Planes>(a, at, sets)) {
        for (std::size_t i = at; i < end; ++i) panels_left<F, Planes>(a, i, 0);
      }
      p = end;
    }
  }
  if constexpr (lanes == 16 && Planes == 1) {
    // Two panels share what is loaded of a token, and memory sends two streams: 4 tokens in 0.77 to 0.91 of the time of one panel
    // after the other (Q4_0, Granite Rapids), 2 in 0.92 to 1.
    for (; a.x.rows >= 2 && p + 2 <= last; p += 2) {
      std::size_t m = 0;
      for (; m + 8 <= a.x.rows; m += 8) panels_few<F, 8, Planes, 2>(a, p, m);
      for (; m + 4 <= a.x.rows; m += 4) panels_few<F, 4, Planes, 2>(a, p, m);
      for (; m + 2 <= a.x.rows; m += 2) panels_few<F, 2, Planes, 2>(a, p, m);
      panels_left<F, Planes>(a, p, m);
      panels_left<F, Planes>(a, p + 1, m);
    }
  }
  for (; p < last; ++p) panels_left<F, Planes>(a, p, 0);
}

template <class F>
STILLA_NOINLINE void matmul_panels(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
  if (a.x.low == nullptr) {
    matmul_planes<F, 1>(a, first, last);
  } else {
    matmul_planes<F, 2>(a, first, last);
  }
}
