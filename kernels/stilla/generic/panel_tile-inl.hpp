// SPDX-License-Identifier: Apache-2.0
//
// Matmul over panels of quantised weights (contract/matmul.hpp), written once against the vocabulary of vector operations that
// vocabulary-inl.hpp describes. A target's matmul.hpp includes this file inside the target's region and namespace.
//
// The dot product multiplies codes by signed bytes. Codes without a sign are the operand as they are, and the zero point leaves
// the loop:  sum (u - z) x = sum u x - z sum x,  where z sum x is taken off at the end. Codes with a sign (8 bits, codebooks)
// become unsigned by adding 128, or stay signed where the target's product takes signed codes or where 255 would overflow it
// (AVX2). One dot product covers 4 k of every row of a vector, and takes the same four activations for each: broadcast from
// memory, or a lane of a register. There is no shuffle and no sum across lanes.
//
// Activations of 16 bits are two planes: dot = 256 * dot(high) + dot(low). Sub-minimums (Q4_K, Q5_K) meet their sums as pairs of
// 16-bit integers: for 256 k four dot products and a multiply-add in place of a multiply-add for each group.
//
// panel_codes-inl.hpp loads panels, panels_few-inl.hpp and panel_sweep-inl.hpp multiply few tokens and many; here they are chosen.

#include <stilla/generic/vocabulary-inl.hpp>

#include <stilla/generic/panel_codes-inl.hpp>

#include <stilla/generic/panel_sweep-inl.hpp>
#include <stilla/generic/panels_few-inl.hpp>

#include <stilla/base/push_macros-inl.hpp>

// Tokens from m on, MT together, then half as many and so on down to two. Returns the first token that is left, if any is.
template <class F, std::size_t Planes, std::size_t Panels, std::size_t MT>
STILLA_INLINE std::size_t tokens_together(const MatmulArgs<F>& a, std::size_t p, std::size_t m) {
  if constexpr (MT >= 2) {
    for (; m + MT <= a.x.rows; m += MT) panels_few<F, MT, Planes, Panels>(a, p, m);
    return tokens_together<F, Planes, Panels, MT / 2>(a, p, m);
  } else {
    return m;
  }
}

// Whether several panels go together where there are several tokens. Then a panel alone takes its tokens one by one: kernels for
// more would serve matrices of one panel, and take 13 % of the target's compile time.
template <std::size_t Planes>
inline constexpr bool panels_go_together = Budget::few_panels > 1 && Planes == 1;

// One panel, tokens from m on.
template <class F, std::size_t Planes>
STILLA_INLINE void panels_left(const MatmulArgs<F>& a, std::size_t p, std::size_t m) {
  if constexpr (!panels_go_together<Planes>) m = tokens_together<F, Planes, 1, Budget::few_tokens>(a, p, m);
  for (; m < a.x.rows; ++m) panels_few<F, 1, Planes, 1>(a, p, m);
}

template <class F, std::size_t Planes>
STILLA_NOINLINE void matmul_planes(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
  std::size_t p = first;
  if (a.x.rows >= fewest_to_sweep && a.K != 0) {
    // Only panels with 16 rows: the last one of the matrix may have fewer. If they are no multiple, the last ones go with some
    // that are done already.
    const std::size_t full = a.N / panel_rows < last ? a.N / panel_rows : last;
    constexpr std::size_t set = Budget::set_panels;
    while (p < full && full - first >= set) {
      const std::size_t at = full - p < set ? full - set : p;
      const std::size_t sets = full - at < Budget::sets * set ? (full - at) / set : Budget::sets;
      const std::size_t end = at + sets * set;
      if (!panels_many<F, Planes>(a, at, sets)) {
        for (std::size_t i = at; i < end; ++i) panels_left<F, Planes>(a, i, 0);
      }
      p = end;
    }
  }
  if constexpr (panels_go_together<Planes>) {
    constexpr std::size_t panels = Budget::few_panels;
    if (a.x.rows >= 2 && last - first >= panels) {
      for (; p < last; p += panels) {
        if (last - p < panels) p = last - panels;  // some are done already: the same bits are written again
        const std::size_t m = tokens_together<F, Planes, panels, Budget::few_panels_tokens>(a, p, 0);
        for (std::size_t i = 0; i < panels; ++i) panels_left<F, Planes>(a, p + i, m);
      }
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

#include <stilla/base/pop_macros-inl.hpp>
