// SPDX-License-Identifier: Apache-2.0
//
// Part of panel_tile-inl.hpp: the kernel for few tokens. It unpacks codes in registers. It reads each panel once, from front to back,
// and prefetches it: into L1 Budget::few_ahead(tokens) bytes before the bytes are used, and into L2 twice as far ahead.

#include <stilla/base/push_macros-inl.hpp>

// The results of one token and the rows of `Panels` panels take this many vectors. Vector v belongs to panel v / row_vectors.
template <std::size_t Panels>
inline constexpr std::size_t few_vectors = Panels * row_vectors;

// The values of the activations of MT tokens from m0 on, in the block of 32 k that begins at k0.
//
// The values of token m0 + m begin m * `row` bytes behind those of token m0. Each different distance from a base pointer takes a
// register. So a second base pointer, to the values of the middle token, keeps the number of these registers small.
//
// The kernel's functions take this struct by value, and the pointers to scales and sums one by one. With references GCC 12 kept all of
// them on the stack, which took 8 of 207 instructions of a block on Arm (one token, two planes).
template <std::size_t MT, std::size_t Planes>
struct FewTokens {
  static constexpr std::size_t tokens_per_base = MT == 1 ? 1 : MT / 2;
  const std::int8_t* values[2];
  const std::int8_t* low[2];
  std::size_t row;  // from a token's values to the next token's

  STILLA_INLINE FewTokens(const ActivationQ8& x, std::size_t K, std::size_t m0, std::size_t k0)
      : values{x.row_values(m0) + k0, x.row_values(m0 + MT / 2) + k0}, low{nullptr, nullptr}, row(K) {
    if constexpr (Planes == 2) low[0] = x.row_low(m0) + k0, low[1] = x.row_low(m0 + MT / 2) + k0;
  }
  // These functions return the address of four values (with two planes, of their upper bytes) or of four lower bytes of token m0 + m:
  // those of the k-th and the next three k of the block.
  STILLA_INLINE const std::int8_t* values_at(std::size_t m, std::size_t k) const {
    return values[m / tokens_per_base] + (m % tokens_per_base * row + k);
  }
  STILLA_INLINE const std::int8_t* low_at(std::size_t m, std::size_t k) const {
    return low[m / tokens_per_base] + (m % tokens_per_base * row + k);
  }
};

// Prefetches, in each of the panels that are read together, the bytes that lie Budget::few_ahead(MT) bytes behind the block of 32 k at
// k0, and into L2 those twice as far behind it. `span` points to the first panel's span that holds the block, and k is the place in the
// span where the block begins.
template <class F, std::size_t MT, std::size_t Panels>
STILLA_INLINE void prefetch_few(const std::byte* span, std::size_t k0, std::size_t k, std::size_t panel_bytes) {
  using Layout = PanelLayout<F>;
  // The bytes of a panel that a block of 32 k takes, with its share of the scale records. Where a block does not end with a
  // cache line, the cache line that two blocks share is prefetched twice.
  constexpr std::size_t block_bytes = Layout::span_bytes * code_block / Layout::span_k;
  std::size_t ahead_by = Budget::few_ahead(MT);
  // The panels that are read together lie one behind the other. So behind the end of each panel but the last, there are bytes of a panel
  // that is being read already. Instead of such bytes, those behind the last of these panels are prefetched.
  if constexpr (Panels > 1) {
    if (k0 / code_block * block_bytes + Budget::few_ahead(MT) >= panel_bytes) ahead_by += (Panels - 1) * panel_bytes;
  }
  const char* ahead = reinterpret_cast<const char*>(span) + k / code_block * block_bytes + ahead_by;
  STILLA_UNROLL
  for (std::size_t j = 0; j < Panels; ++j) {
    STILLA_UNROLL
    for (std::size_t line = 0; line < block_bytes; line += 64) {
      prefetch_near(ahead + j * panel_bytes + line);
      prefetch_far(ahead + Budget::few_ahead(MT) + j * panel_bytes + line);
    }
  }
}

// Computes the dot products of group g of a block of 32 k, for MT tokens and the rows of `Panels` panels. `codes` are the first panel's
// codes of the block. With activations of two planes, `dot` gets the products of the high bytes and `dot_low` those of the low bytes.
template <class F, std::size_t MT, std::size_t Planes, std::size_t Panels>
STILLA_INLINE void few_dots(Int (&dot)[MT][few_vectors<Panels>], Int (&dot_low)[Planes == 2 ? MT : 1][few_vectors<Panels>],
                            FewTokens<MT, Planes> x, const std::byte* codes, std::size_t panel_bytes, std::size_t g, Int levels) {
  constexpr std::size_t halves = F::code_bits == 8 ? 1 : 2;
  constexpr std::size_t lines = (F::code_bits == 8 ? 8 : 4) / groups_per_block<F>;
  constexpr std::size_t vectors = few_vectors<Panels>;
  STILLA_UNROLL
  for (std::size_t m = 0; m < MT; ++m) {
    STILLA_UNROLL
    for (std::size_t v = 0; v < vectors; ++v) {
      dot[m][v] = set_s32(0);
      if constexpr (Planes == 2) dot_low[m][v] = set_s32(0);
    }
  }
  Quads held[MT], held_low[MT];
  [[maybe_unused]] Int narrow[MT][vectors], narrow_low[MT][vectors];
  STILLA_UNROLL
  for (std::size_t l = 0; l < lines; ++l) {
    STILLA_UNROLL
    for (std::size_t half = 0; half < halves; ++half) {
      const std::size_t line = g * lines + l;
      const std::size_t four = (line * halves + half) * 4, which = four / 4 % 4;
      if constexpr (Panels == 1) {  // the instructions may read the activations from memory themselves
        STILLA_UNROLL
        for (std::size_t v = 0; v < vectors; ++v) {
          const Int w = load_operand<F>(codes, line, half == 1, v, levels);
          STILLA_UNROLL
          for (std::size_t m = 0; m < MT; ++m) {
            if constexpr (has_narrow_sums<F>) {
              const std::size_t q = l * halves + half, n_quads = lines * halves;
              add_narrow<F>(dot[m][v], narrow[m][v], w, quad(held[m], x.values_at(m, four), which), q, n_quads, true);
              if constexpr (Planes == 2) {
                add_narrow<F>(dot_low[m][v], narrow_low[m][v], w, quad(held_low[m], x.low_at(m, four), which), q, n_quads, true);
              }
              continue;
            }
            dot[m][v] = dot_codes_at<F>(dot[m][v], w, held[m], x.values_at(m, four), which);
            if constexpr (Planes == 2) dot_low[m][v] = dot_codes_at<F>(dot_low[m][v], w, held_low[m], x.low_at(m, four), which);
          }
        }
      } else {  // activations are loaded to registers, once for all panels
        static_assert(!has_narrow_sums<F>, "the products of several panels are not added in 16 bits");
        Int w[vectors];
        STILLA_UNROLL
        for (std::size_t v = 0; v < vectors; ++v) {
          w[v] = load_operand<F>(codes + v / row_vectors * panel_bytes, line, half == 1, v % row_vectors, levels);
        }
        STILLA_UNROLL
        for (std::size_t m = 0; m < MT; ++m) {
          const auto four_x = quad(held[m], x.values_at(m, four), which);
          STILLA_UNROLL
          for (std::size_t v = 0; v < vectors; ++v) dot[m][v] = dot_codes<F>(dot[m][v], w[v], four_x);
        }
      }
    }
    STILLA_UNROLL
    for (std::size_t m = 0; m < MT; ++m) {
      sums_stay(dot[m]);
      if constexpr (Planes == 2) sums_stay(dot_low[m]);
    }
    loads_stay();
  }
}

// Adds to vector v of each token's sums in `acc` the dot products of group g of a block, times the scales of the weights and of the
// activations. Also adds what the minimum of the group or of the block contributes. `scale` and `minimum` are those of the group's
// weights. `scales`, `scaled_sums` and `sums` point to the scale, the scaled sum and the sums that the first token's activations have in
// this block. The numbers of the next token lie `blocks` blocks behind.
template <class F, std::size_t MT, std::size_t Planes, std::size_t Vectors>
STILLA_INLINE void add_few_dots(Float (&acc)[MT][Vectors], Int (&dot)[MT][Vectors], const Int (&dot_low)[Planes == 2 ? MT : 1][Vectors],
                                const float* scales, [[maybe_unused]] const float* scaled_sums, [[maybe_unused]] const std::int32_t* sums,
                                std::size_t blocks, std::size_t g, std::size_t v, Float scale, [[maybe_unused]] Float minimum) {
  STILLA_UNROLL
  for (std::size_t m = 0; m < MT; ++m) {
    if constexpr (Planes == 2) dot[m][v] = add_s32(shift_left_s32<8>(dot[m][v]), dot_low[m][v]);
    if constexpr (operand_zero<F> != 0) dot[m][v] = sub_s32(dot[m][v], zero_products<F>(sums + 2 * m * blocks, g));
    acc[m][v] = fused_multiply_add(mul(scale, set(scales[m * blocks])), to_floats(dot[m][v]), acc[m][v]);
  }
  if constexpr (F::has_minimum && !has_sub_minimums<F>) {
    STILLA_UNROLL
    for (std::size_t m = 0; m < MT; ++m) {
      float sum = 0.0f;
      // The sum of a group's activations, an integer, is converted to float by a scalar instruction, because this instruction can use
      // a port that 512-bit vectors leave idle.
      if constexpr (has_nibble_minimums<F>) {
        const std::int32_t* of_token = sums + 2 * m * blocks;
        sum = scales[m * blocks] * static_cast<float>(g == 0 ? of_token[0] : of_token[1] - of_token[0]);
      } else {
        sum = scaled_sums[m * blocks];
      }
      acc[m][v] = fused_multiply_add(minimum, set(sum), acc[m][v]);
    }
  }
}

// Adds to vector v of each token's sums in `acc` what the sub-minimums of a record contribute. `rounded` points to the first token's
// rounded sums of the record's 256 k; those of the next token are `stride` elements behind.
template <class F, std::size_t MT, std::size_t Vectors>
STILLA_INLINE void add_few_sub_minimums(Float (&acc)[MT][Vectors], const std::byte* record, const RoundedSums* rounded, std::size_t stride,
                                        std::size_t v) {
  Int sub_minimums[sum_pairs];
  STILLA_UNROLL
  for (std::size_t i = 0; i < sum_pairs; ++i) sub_minimums[i] = load_sub_minimums<F>(record, i, v % row_vectors);
  const Float minimum = load_minimum(record, v % row_vectors);
  STILLA_UNROLL
  for (std::size_t m = 0; m < MT; ++m) {
    const RoundedSums& of_token = rounded[m * stride];
    PairSums dot_sums = no_pairs();
    STILLA_UNROLL
    for (std::size_t i = 0; i < sum_pairs; ++i) {
      dot_sums = dot_pairs(dot_sums, sub_minimums[i], broadcast4(of_token.sums + 2 * i));
    }
    acc[m][v] = fused_multiply_add(mul(minimum, set(of_token.scale)), to_floats(added(dot_sums)), acc[m][v]);
  }
}

// Multiplies `Panels` panels from p on by MT tokens from m0 on, over all of K.
template <class F, std::size_t MT, std::size_t Planes, std::size_t Panels>
STILLA_NOINLINE void panels_few(const MatmulArgs<F>& a, std::size_t p, std::size_t m0) {
  using Layout = PanelLayout<F>;
  constexpr std::size_t vectors = few_vectors<Panels>;
  const std::size_t panel_bytes = Layout::panel_bytes(a.K);
  const std::byte* const panel = a.panels + p * panel_bytes;
  // A matrix with K = 0 has no bytes in its panels, and the pointer to them may be null, so nothing may be added to it.
  const std::byte* span = a.K == 0 ? panel : panel + Layout::head_bytes;
  const Int levels = operand_levels(a);
  Float acc[MT][vectors];
  STILLA_UNROLL
  for (std::size_t m = 0; m < MT; ++m) {
    STILLA_UNROLL
    for (std::size_t v = 0; v < vectors; ++v) acc[m][v] = zero();
  }
  for (std::size_t k1 = 0; k1 < a.K; k1 += few_k<F>) {
    const std::byte* record = nullptr;
    Float record_scale[vectors], record_minimum[vectors];
    if constexpr (keeps_record_scale<F>) {
      record = span + Layout::span_codes_bytes + k1 % Layout::span_k / Layout::super_block * Layout::record_bytes;
      STILLA_UNROLL
      for (std::size_t v = 0; v < vectors; ++v) {
        const std::byte* const panel_record = record + v / row_vectors * panel_bytes;
        record_scale[v] = load_record_scale<F>(panel_record, v % row_vectors);
        if constexpr (F::has_minimum) record_minimum[v] = load_minimum(panel_record, v % row_vectors);
      }
    }
    for (std::size_t k0 = k1; k0 < k1 + few_k<F>; k0 += code_block) {
      const std::size_t k = k0 % Layout::span_k;
      const std::byte* codes = span + k / code_block * Layout::code_bytes;
      record = span + Layout::span_codes_bytes + k / Layout::super_block * Layout::record_bytes;
      prefetch_few<F, MT, Panels>(span, k0, k, panel_bytes);
      if (k + code_block == Layout::span_k) span += Layout::span_bytes;
      const FewTokens<MT, Planes> x(a.x, a.K, m0, k0);
      const float* scales = a.x.row_scales(m0) + k0 / activation_block;
      const float* scaled_sums = a.x.row_scaled_sums(m0) + k0 / activation_block;
      const std::int32_t* sums = a.x.row_sums(m0) + k0 / activation_block * 2;
      STILLA_UNROLL
      for (std::size_t g = 0; g < groups_per_block<F>; ++g) {
        Int dot[MT][vectors], dot_low[Planes == 2 ? MT : 1][vectors];
        few_dots<F, MT, Planes, Panels>(dot, dot_low, x, codes, panel_bytes, g, levels);
        STILLA_UNROLL
        for (std::size_t v = 0; v < vectors; ++v) {
          const std::byte* const panel_record = record + v / row_vectors * panel_bytes;
          Float scale = zero(), minimum = zero();
          if constexpr (keeps_record_scale<F>) {
            scale = times_sub_scale<F>(record_scale[v], panel_record, k0, g, v % row_vectors);
            if constexpr (F::has_minimum) minimum = times_group_minimum<F>(record_minimum[v], panel_record, k0, g, v % row_vectors);
          } else {
            scale = load_scale<F>(panel + v / row_vectors * panel_bytes, panel_record, k0, g, v % row_vectors);
            if constexpr (F::has_minimum && !has_sub_minimums<F>) minimum = load_minimum(panel_record, v % row_vectors);
          }
          add_few_dots<F, MT, Planes, vectors>(acc, dot, dot_low, scales, scaled_sums, sums, a.x.blocks(), g, v, scale, minimum);
        }
        STILLA_UNROLL
        for (std::size_t m = 0; m < MT; ++m) sums_stay(acc[m]);
      }
    }
    if constexpr (has_sub_minimums<F>) {
      const RoundedSums* rounded = a.x.row_rounded_sums(m0) + k1 / sums_block;
      STILLA_UNROLL
      for (std::size_t v = 0; v < vectors; ++v) {
        add_few_sub_minimums<F, MT, vectors>(acc, record + v / row_vectors * panel_bytes, rounded, a.K / sums_block, v);
      }
    }
  }
  store_sums<Panels>(a, p, m0, acc);
}

#include <stilla/base/pop_macros-inl.hpp>
