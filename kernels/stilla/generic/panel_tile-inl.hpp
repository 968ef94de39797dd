// SPDX-License-Identifier: Apache-2.0
//
// Matmul over panels of quantised weights (contract/matmul.hpp), written once against the vocabulary of vector operations that
// vocabulary-inl.hpp describes. A target's matmul.hpp includes this file inside the target's region and namespace.
//
// The dot product multiplies codes u by activations x, which are signed bytes. It takes codes without a sign as they are. Their zero
// point z is handled outside the loop:  sum (u - z) x = sum u x - z sum x,  where z sum x is subtracted at the end. Codes with a sign
// (8 bits, codebooks) become unsigned when 128 is added to them. They stay signed where the target's product takes signed codes, or
// where codes up to 255 would overflow it (AVX2). One dot product covers 4 k of every row of a vector. All rows take the same four
// activations, which are broadcast from memory or come from a lane of a register. There is no shuffle and no sum across lanes.
//
// Activations of 16 bits are two planes: dot = 256 * dot(high) + dot(low). Sub-minimums (Q4_K, Q5_K) are multiplied by sums of
// activations as pairs of 16-bit integers: 256 k take four dot products and one multiply-add, instead of a multiply-add for each
// group.
//
// panel_codes-inl.hpp loads panels, panels_few-inl.hpp multiplies few tokens, panel_sweep-inl.hpp multiplies many. This file
// chooses between them.

#include <stilla/generic/vocabulary-inl.hpp>

#include <stilla/generic/panel_codes-inl.hpp>

#include <stilla/generic/panel_sweep-inl.hpp>
#include <stilla/generic/panels_few-inl.hpp>

#include <stilla/base/push_macros-inl.hpp>

// Multiplies `Panels` panels from p on by the tokens from m on: MT tokens together as long as there are so many, then half as many
// together, and so on down to two. Returns the first token that is left over, or the number of all tokens if none is.
template <class F, std::size_t Planes, std::size_t Panels, std::size_t MT>
STILLA_INLINE std::size_t tokens_together(const MatmulArgs<F>& a, std::size_t p, std::size_t m) {
  if constexpr (MT >= 2) {
    for (; m + MT <= a.x.rows; m += MT) panels_few<F, MT, Planes, Panels>(a, p, m);
    return tokens_together<F, Planes, Panels, MT / 2>(a, p, m);
  } else {
    return m;
  }
}

// Whether several panels are multiplied together where there are several tokens. If so, a panel that is multiplied alone is multiplied
// by one token after the other. It is alone if the call has only one panel, or if a sweep is not possible (panels_many). Kernels for
// one panel and several tokens would be used in these rare cases only, and would take 13 % of the target's compile time.
template <std::size_t Planes>
inline constexpr bool panels_go_together = Budget::few_panels > 1 && Planes == 1;

// Multiplies one panel by the tokens from m on.
template <class F, std::size_t Planes>
STILLA_INLINE void panels_left(const MatmulArgs<F>& a, std::size_t p, std::size_t m) {
  if constexpr (!panels_go_together<Planes>) m = tokens_together<F, Planes, 1, Budget::few_tokens>(a, p, m);
  for (; m < a.x.rows; ++m) panels_few<F, 1, Planes, 1>(a, p, m);
}

template <class F, std::size_t Planes>
STILLA_NOINLINE void matmul_planes(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
  std::size_t p = first;
  if (a.x.rows >= fewest_to_sweep && a.K != 0) {
    // A sweep takes sets of a fixed number of panels that have all 16 rows; the last panel of the matrix may have fewer. If the
    // panels to multiply are no whole number of sets, the last set includes some panels that are done already; they get the same
    // bits.
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
        // `few_panels` panels are multiplied together. Where fewer are left at the end, some panels before them, which are done
        // already, are taken again; they get the same bits.
        if (last - p < panels) p = last - panels;
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
