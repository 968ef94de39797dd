// SPDX-License-Identifier: Apache-2.0
//
// Matmul over panels of float weights, F32, F16 and BF16 (contract/matmul.hpp), written against the vocabulary that
// vocabulary-inl.hpp describes. A target's matmul.hpp includes this file behind panel_tile-inl.hpp.
//
// Each of the 16 rows of a panel has a lane. For every k, the weights of the rows are multiplied by one activation, which is broadcast.
// So there is one fused multiply-add for each output and k, in the order of k, as the contract wants it. A tile of a few panels and
// tokens keeps its sums in registers. A weight that was loaded is multiplied by all tokens of the tile, and an activation by all panels
// of the tile.
//
//             k                    y of the tile: tokens x (16 * panels) sums
//      +-----------------------+
//   w  | chunk | chunk | ...   |   Many tokens are multiplied by a chunk of float_chunk_k columns before the next chunk. So the chunk of
//      +-----------------------+   a tile's panels, 16 * 4 bytes for each k and panel, stays in L1 until all tokens are multiplied by
//                                  it. Between chunks the sums are stored in y, which is exact. The bias is added after the last chunk.
//
// Weights of 16 bits are converted to float where they are loaded. For one token the tile has one token and more panels: memory
// is the limit then, and many chains of sums hide the latency of the multiply-adds.

#include <stilla/base/push_macros-inl.hpp>

STILLA_INLINE Float load_weights(const float* from) { return load_floats(from); }
STILLA_INLINE Float load_weights(const f16* from) { return load_f16(reinterpret_cast<const std::byte*>(from)); }
STILLA_INLINE Float load_weights(const bf16* from) { return load_bf16(reinterpret_cast<const std::byte*>(from)); }

// Computes a tile over the k from k0 to k1 - 1: `Panels` panels from p on, times MT tokens from m0 on. If k0 is 0, its sums begin at 0;
// otherwise they are loaded from y.
template <class F, std::size_t Panels, std::size_t MT>
STILLA_NOINLINE void float_tile(const MatmulArgs<F>& a, std::size_t p, std::size_t m0, std::size_t k0, std::size_t k1) {
  using Weight = typename F::Storage;
  constexpr std::size_t vectors = Panels * row_vectors;
  const std::size_t panel_bytes = PanelLayout<F>::panel_bytes(a.K);
  const std::byte* w = a.panels + p * panel_bytes;
  Float acc[MT][vectors];
  STILLA_UNROLL
  for (std::size_t m = 0; m < MT; ++m) {
    STILLA_UNROLL
    for (std::size_t v = 0; v < vectors; ++v) {
      acc[m][v] = k0 == 0 ? zero() : load_floats(a.y.row(m0 + m) + p * panel_rows + v * lanes);
    }
  }
  // The activations of neighbouring tokens are `stride` floats apart. There are two base pointers, to the activations of the first and
  // of the middle token, because each different distance from a base pointer takes a register.
  const std::size_t stride = a.x.stride;
  constexpr std::size_t half = MT == 1 ? 1 : MT / 2;
  const float* x[2] = {a.x.row(m0), a.x.row(m0 + (MT == 1 ? 0 : half))};
  for (std::size_t k = k0; k < k1; ++k) {
    Float weights[vectors];
    STILLA_UNROLL
    for (std::size_t v = 0; v < vectors; ++v) {
      const auto* panel = reinterpret_cast<const Weight*>(w + v / row_vectors * panel_bytes);
      weights[v] = load_weights(panel + k * panel_rows + v % row_vectors * lanes);
    }
    STILLA_UNROLL
    for (std::size_t m = 0; m < MT; ++m) {
      const Float one = set(x[m < half ? 0 : 1][(m < half ? m : m - half) * stride + k]);
      STILLA_UNROLL
      for (std::size_t v = 0; v < vectors; ++v) acc[m][v] = fused_multiply_add(weights[v], one, acc[m][v]);
    }
  }
  if (k1 == a.K) return store_sums<Panels>(a, p, m0, acc);
  STILLA_UNROLL
  // After a chunk of k that is not the last one, the sums of all 16 rows of a panel are stored in y. The caller makes sure that the
  // matrix has all these rows.
  for (std::size_t m = 0; m < MT; ++m) {
    STILLA_UNROLL
    for (std::size_t v = 0; v < vectors; ++v) store_floats(a.y.row(m0 + m) + p * panel_rows + v * lanes, acc[m][v]);
  }
}

// How many panels a tile of MT tokens has: as many as fill the registers with sums and weights. With one token each weight is used
// only once, so weights need no registers of their own.
template <std::size_t MT>
inline constexpr std::size_t float_panels = [] {
  constexpr std::size_t most = Budget::float_panels_of_one, of_panel = (MT + 1) * row_vectors;
  constexpr std::size_t fit = MT == 1 ? most : Budget::float_vectors / of_panel;
  return fit < 1 ? std::size_t{1} : fit < most ? fit : most;
}();

// Multiplies the panels from p on by the tokens m0 to m1 - 1, whose number is a multiple of MT. `Panels` panels are multiplied
// together, as long as there are so many before `last`. If there is more than one tile of tokens, all of them are multiplied by
// float_chunk_k columns before the next columns; otherwise the tile goes over all K at once. Returns the first panel that is left over.
template <class F, std::size_t Panels, std::size_t MT>
STILLA_INLINE std::size_t float_panels_together(const MatmulArgs<F>& a, std::size_t p, std::size_t last, std::size_t m0, std::size_t m1) {
  for (; p + Panels <= last; p += Panels) {
    // Between chunks of k the sums of all 16 rows of a panel are stored in y. The last panel of the matrix may have fewer rows, so that
    // y has no room for 16 sums. Such a panel is multiplied over all K at once.
    const bool is_whole = (p + Panels) * panel_rows <= a.N;
    const std::size_t chunk = is_whole && m1 - m0 > MT ? Budget::float_chunk_k : a.K;
    std::size_t k = 0;
    do {
      const std::size_t end = a.K - k <= chunk ? a.K : k + chunk;
      for (std::size_t m = m0; m < m1; m += MT) float_tile<F, Panels, MT>(a, p, m, k, end);
      k = end;
    } while (k < a.K);
  }
  return p;
}

// Multiplies the panels `first` to `last` - 1 by all tokens from m0 on: MT together, then about half as many together, and so on down to
// one.
template <class F, std::size_t MT>
STILLA_INLINE void float_tokens_from(const MatmulArgs<F>& a, std::size_t first, std::size_t last, std::size_t m0) {
  const std::size_t m1 = a.x.rows - (a.x.rows - m0) % MT;
  if (m1 > m0) {
    const std::size_t p = float_panels_together<F, float_panels<MT>, MT>(a, first, last, m0, m1);
    if constexpr (float_panels<MT> > 1) float_panels_together<F, 1, MT>(a, p, last, m0, m1);
  }
  if constexpr (MT > 1) {
    if (m1 < a.x.rows) float_tokens_from<F, (MT + 1) / 2>(a, first, last, m1);
  }
}

template <class F>
STILLA_NOINLINE void matmul_float_panels(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
  float_tokens_from<F, Budget::float_tokens>(a, first, last, 0);
}

#include <stilla/base/pop_macros-inl.hpp>
