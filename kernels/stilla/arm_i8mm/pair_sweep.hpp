// SPDX-License-Identifier: Apache-2.0
//
// Matmul of quantised weights for many tokens with smmla (contract/matmul.hpp), on the vocabulary of arm_dotprod/vector.hpp.
//
// An smmla multiplies 2 tokens x 8 k by 8 k x 2 rows and adds the products to 2 x 2 sums:
//
//     sum  [t0 r0, t0 r1, t1 r0, t1 r1]  +=  tokens [t0 k0..7, t1 k0..7]  x  rows [r0 k0..7, r1 k0..7]
//
// When codes are unpacked (layout/rows16_k4.hpp), one vector holds k to k + 3 of four rows, and another vector the next four k of the same
// rows. Two zips of their 32-bit lanes make the operands of two pairs of rows. Sums, and the scales of rows and of tokens, keep the
// 2 x 2 arrangement to the end of a chunk of k. Every output still goes through the contract's float steps in the contract's order.
// generic/panel_sweep-inl.hpp says where these steps come from, and why a sum starts from the bits of a float.
//
//     tile        8 rows x 6 tokens, which are 4 x 3 pairs: 12 registers of integer sums of products and 12 of running float sums, with
//                 2 x 2 numbers in each. With the operands of 4 pairs of rows and of one pair of tokens they take 29 of the 32
//                 registers. There are 7 loads of operands for 12 smmla
//     chunk       up to max_chunk_k k of max_panels panels are unpacked, and the same k of max_tokens tokens are arranged in pairs.
//                 Between two chunks the running sums are stored in y
//
// If fewer than 6 tokens are left for the last tile, it multiplies zeros in place of the missing tokens. Activations of 16 bits are two
// planes, which are multiplied one after the other.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <stilla/arm_dotprod/matmul.hpp>
#include <stilla/arm_i8mm/target.hpp>
#include <stilla/contract/matmul.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_HAS_I8MM
#include <arm_neon.h>

STILLA_TARGET_BEGIN(STILLA_SETS_I8MM)
namespace stilla { inline namespace STILLA_ABI { namespace i8mm {

using dotprod::Float;
using dotprod::Int;

// The smallest number of tokens for which panels are unpacked for a sweep with smmla. It is that of dotprod's sweep with sdot. From how
// many tokens on smmla is faster was not measured: no CPU with smmla was at hand.
inline constexpr std::size_t fewest_to_sweep = dotprod::Budget::fewest_to_sweep;
inline constexpr std::size_t tile_rows = 8, tile_tokens = 6;
inline constexpr std::size_t row_pairs = tile_rows / 2, token_pairs = tile_tokens / 2;
// How many k of how many panels are unpacked at once, and how many tokens are arranged at once. These sizes are chosen so that the unpacked
// weights, 240 to 290 KB, fit the second-level cache, and the weights and activations of one tile, 10 KB and 9 KB, fit the first-level
// cache. The more panels are unpacked at once, the less often tokens are arranged. None of these sizes was measured: no CPU with smmla was
// at hand.
inline constexpr std::size_t max_chunk_k = small_stacks ? 512 : 1024, max_panels = small_stacks ? 4 : 12;
inline constexpr std::size_t max_tiles = 4, max_tokens = max_tiles * tile_tokens;
static_assert(max_chunk_k % sums_block == 0 && panel_rows % tile_rows == 0);

inline constexpr std::size_t panel_pairs = panel_rows / 2;
inline constexpr std::size_t eights_per_block = code_block / 8;

// The weights of a panel in one chunk of k, unpacked for smmla: 16 bytes are 8 k of a pair of rows, as one smmla reads them. F is the form
// of the weights (dotprod::SweepFormOf), here and in the functions for tiles.
template <class F>
struct Unpacked {
  static constexpr std::size_t blocks = max_chunk_k / code_block, groups = dotprod::groups_per_block<F>;
  static constexpr std::size_t eights = has_sub_minimums<F> ? blocks / RoundedSums::blocks : 1;
  alignas(64) std::uint8_t operands[blocks][eights_per_block][panel_pairs][16];  // [..][row of the pair * 8 + k]
  alignas(64) float scales[blocks][groups][panel_pairs][4];  // those of a pair of rows r0, r1 are stored as r0 r1 r0 r1
  // The minimums of each block, or in formats with sub-minimums those of each 256 k. Those of a pair of rows r0, r1 are stored as r0 r1
  // r0 r1, like their scales.
  alignas(64) float minimums[!F::has_minimum ? 1 : has_sub_minimums<F> ? eights : blocks][panel_pairs][4];
  alignas(64) std::int8_t sub_minimums[eights][panel_pairs][16];  // [..][row of the pair * 8 + group]
};

// The activations of a tile's tokens in one chunk of k, arranged for smmla: 16 bytes are 8 k of a pair of tokens, as one smmla reads
// them. Where each of two tokens t0, t1 has one number, such as a scale, the four lanes are t0 t0 t1 t1.
template <class F, std::size_t Planes>
struct TokenTile {
  static constexpr std::size_t blocks = max_chunk_k / code_block, groups = dotprod::groups_per_block<F>;
  static constexpr std::size_t eights = has_sub_minimums<F> ? blocks / RoundedSums::blocks : 1;
  alignas(64) std::int8_t values[blocks * eights_per_block][Planes][token_pairs][16];  // [..][token of the pair * 8 + k]
  float scales[blocks][token_pairs][4];  // with activations of 8 bits: 1.5 * 2^23 * the scale
  // With activations of 8 bits, `starts` has the integers from which the sums of each group's products start, instead of from 0
  // (generic/panel_sweep-inl.hpp says why). With 16 bits the sums start from 0, and `starts` has what is subtracted from them: codes
  // with a zero point make each sum too large by this zero point times the sum of the group's activations.
  std::int32_t starts[blocks][groups][token_pairs][4];
  float scaled_sums[F::has_minimum && !has_sub_minimums<F> ? blocks : 1][token_pairs][4];
  // The tokens' rounded sums of each 256 k (RoundedSums), by which sub-minimums are multiplied. `sums_scales` has the scale that a token's
  // eight sums share. `sums_high` and `sums_low` have the upper and the lower bytes of the sums: a sum is 256 * high + low.
  float sums_scales[eights][token_pairs][4];
  std::int8_t sums_high[eights][token_pairs][16];
  std::uint8_t sums_low[eights][token_pairs][16];
};

STILLA_INLINE Int multiply(Int sums, Int tokens, Int rows) { return vmmlaq_s32(sums, dotprod::as_s8(tokens), dotprod::as_s8(rows)); }

// The first of these two functions returns a vector of the first half of a and the first half of b, the other one a vector of their second
// halves. If a has the sums of four rows for one token, and b those for the next token, the results are the sums of rows 0 and 1 and of
// rows 2 and 3 for both tokens, as smmla has them. Applied to these two vectors, the functions give a and b again.
STILLA_INLINE Float first_halves(Float a, Float b) {
  return vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}
STILLA_INLINE Float second_halves(Float a, Float b) {
  return vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}
// Stores the numbers x of four rows r0 to r3 twice, for the two pairs of rows: as r0 r1 r0 r1 and as r2 r3 r2 r3.
STILLA_INLINE void store_pairs(float (*to)[4], Float x) {
  dotprod::store_floats(to[0], first_halves(x, x));
  dotprod::store_floats(to[1], second_halves(x, x));
}

// Unpacks the weights of panel p for the k from k_begin to k_end - 1. Returns false if, for some row, the product of the row's scale and a
// token's scale might be rounded. A sweep over this panel would then not give the contract's bits.
template <class F>
STILLA_NOINLINE bool unpack_panel(Unpacked<dotprod::SweepFormOf<F>>& out, const MatmulArgs<F>& a, std::size_t p, std::size_t k_begin,
                                  std::size_t k_end) {
  using namespace dotprod;
  using Layout = PanelLayout<F>;
  constexpr std::size_t halves = F::code_bits == 8 ? 1 : 2;
  const std::byte* const panel = a.panels + p * Layout::panel_bytes(a.K);
  const Int levels = operand_levels(a);
  bool is_exact = true;
  for (std::size_t k0 = k_begin; k0 < k_end; k0 += code_block) {
    const std::byte* const codes = panel + Layout::codes_offset(k0);
    const std::byte* const record = panel + Layout::record_offset(k0);
    const std::size_t b = (k0 - k_begin) / code_block;
    fetch_to_unpack<F>(panel, k0);
    STILLA_UNROLL
    for (std::size_t eight = 0; eight < eights_per_block; ++eight) {
      const std::size_t four = 2 * eight;
      for (std::size_t v = 0; v < row_vectors; ++v) {
        const Int first = load_operand<F>(codes, four / halves, four % halves == 1, v, levels);
        const Int second = load_operand<F>(codes, (four + 1) / halves, (four + 1) % halves == 1, v, levels);
        store(out.operands[b][eight][2 * v], vzip1q_s32(first, second));
        store(out.operands[b][eight][2 * v + 1], vzip2q_s32(first, second));
      }
    }
    for (std::size_t v = 0; v < row_vectors; ++v) {
      for (std::size_t g = 0; g < groups_per_block<F>; ++g) {
        const Float scale = load_scale<F>(panel, record, k0, g, v);
        if constexpr (RowScaledFormat<F>) is_exact = is_exact && row_scales_are_exact(scale);
        store_pairs(out.scales[b][g] + 2 * v, scale);
      }
      if constexpr (F::has_minimum && !has_sub_minimums<F>) store_pairs(out.minimums[b] + 2 * v, load_minimum(record, v));
    }
    if constexpr (has_sub_minimums<F>) {
      if (k0 % sums_block != 0) continue;
      const std::size_t s = b / RoundedSums::blocks;
      for (std::size_t v = 0; v < row_vectors; ++v) store_pairs(out.minimums[s] + 2 * v, load_minimum(record, v));
      for (std::size_t row = 0; row < panel_rows; ++row) {
        for (std::size_t pair = 0; pair < sum_pairs; ++pair) {
          const std::byte* const from = record + Layout::sub_minimum_offset(2 * pair) + 2 * row;
          std::memcpy(out.sub_minimums[s][row / 2] + row % 2 * 8 + 2 * pair, from, 2);
        }
      }
    }
  }
  return is_exact;
}

// Arranges the activations of token m as smmla reads them, for the k from k_begin to k_end - 1. The token becomes the t-th token of the
// tile `out`. If the form has a zero point, the zero point is 2^zero_shift.
template <class F, std::size_t Planes>
STILLA_INLINE void arrange_token(TokenTile<F, Planes>& out, std::size_t t, const ActivationQ8& x, std::size_t m, std::size_t k_begin,
                                 std::size_t k_end, int zero_shift) {
  constexpr std::size_t groups = dotprod::groups_per_block<F>;
  const std::size_t pair = t / 2, half = t % 2;
  const auto put = [&](auto(&to)[token_pairs][4], auto number) { to[pair][2 * half] = to[pair][2 * half + 1] = number; };
  const std::int8_t* const planes[] = {x.row_values(m) + k_begin, Planes == 2 ? x.row_low(m) + k_begin : nullptr};
  for (std::size_t e = 0; e < (k_end - k_begin) / 8; ++e) {
    for (std::size_t plane = 0; plane < Planes; ++plane) std::memcpy(out.values[e][plane][pair] + 8 * half, planes[plane] + 8 * e, 8);
  }
  const std::size_t first_block = k_begin / activation_block, blocks = (k_end - k_begin) / activation_block;
  const float* const scales = x.row_scales(m) + first_block;
  const std::int32_t* const sums = x.row_sums(m) + 2 * first_block;
  for (std::size_t b = 0; b < blocks; ++b) {
    const float scale = Planes == 1 ? scales[b] * 0x1.8p23f : scales[b];
    put(out.scales[b], scale);
    const auto first = static_cast<std::uint32_t>(sums[2 * b]), all = static_cast<std::uint32_t>(sums[2 * b + 1]);
    const std::uint32_t of_groups[] = {groups == 1 ? all : first, all - first};
    for (std::size_t g = 0; g < groups; ++g) {
      const std::uint32_t zeros = F::has_zero ? of_groups[g] << zero_shift : 0;
      put(out.starts[b][g], static_cast<std::int32_t>(Planes == 1 ? std::bit_cast<std::uint32_t>(scale) - zeros : zeros));
    }
    if constexpr (F::has_minimum && !has_sub_minimums<F>) put(out.scaled_sums[b], x.row_scaled_sums(m)[first_block + b]);
  }
  if constexpr (has_sub_minimums<F>) {
    for (std::size_t s = 0; s < (k_end - k_begin) / sums_block; ++s) {
      const RoundedSums& rounded = x.row_rounded_sums(m)[k_begin / sums_block + s];
      put(out.sums_scales[s], rounded.scale);
      for (std::size_t i = 0; i < RoundedSums::blocks; ++i) {
        out.sums_high[s][pair][8 * half + i] = static_cast<std::int8_t>(rounded.sums[i] >> 8);
        out.sums_low[s][pair][8 * half + i] = static_cast<std::uint8_t>(rounded.sums[i] & 255);
      }
    }
  }
}

// Fills the tile `out` with `count` tokens from token m on, in the order in which smmla reads them. If the tile has room for more tokens,
// zeros stand in their places.
template <class F, std::size_t Planes>
STILLA_NOINLINE void arrange_tile(TokenTile<F, Planes>& out, const ActivationQ8& x, std::size_t m, std::size_t count, std::size_t k_begin,
                                  std::size_t k_end, int zero_shift) {
  if (count < tile_tokens) std::memset(&out, 0, sizeof out);
  for (std::size_t t = 0; t < count; ++t) arrange_token<F, Planes>(out, t, x, m + t, k_begin, k_end, zero_shift);
}

using Products = Int[token_pairs][row_pairs];
using Sums = Float[token_pairs][row_pairs];

// Adds to `dot` the products of a tile's rows with one plane of its tokens, over the next `Eights` times 8 k. Each smmla takes two rows,
// two tokens and 8 k. Compilers load values long before they use them, and in a tile so many that they do not fit the registers.
// loads_stay() keeps loads from moving up past its call, and this function calls it before each 8 k. The table compares three choices of
// where it is called. Its numbers are accesses to the stack for each smmla of Q4_0, the first with activations of 8 bits, the second with
// 16 bits. The last line is without the calls of sums_stay(), which do something with clang only:
//
//     where loads_stay() is called    nowhere         before each 8 k     before each pair of tokens
//     GCC 12                          0.17, 0.26      0, 0                0, 0 (8 bits: 3 % more cycles by llvm-mca)
//     clang 19                        not tried       0, 0                not tried
//     clang 19, no sums_stay()        0, 0.29         0.04, 0.05          0.10, 0.08
template <std::size_t Eights, std::size_t Planes>
STILLA_INLINE void add_products(Products& dot, const std::uint8_t (*rows)[panel_pairs][16],
                                const std::int8_t (*tokens)[Planes][token_pairs][16], std::size_t plane) {
  STILLA_UNROLL
  for (std::size_t e = 0; e < Eights; ++e) {
    dotprod::loads_stay();
    Int w[row_pairs];
    STILLA_UNROLL
    for (std::size_t r = 0; r < row_pairs; ++r) w[r] = dotprod::load(rows[e][r]);
    STILLA_UNROLL
    for (std::size_t t = 0; t < token_pairs; ++t) {
      const Int x = dotprod::load(tokens[e][plane][t]);
      STILLA_UNROLL
      for (std::size_t r = 0; r < row_pairs; ++r) dot[t][r] = multiply(dot[t][r], x, w[r]);
    }
    STILLA_UNROLL
    for (std::size_t t = 0; t < token_pairs; ++t) dotprod::sums_stay(dot[t]);
  }
}

// For formats with sub-minimums: adds to the running sums of a tile what the minimums of 256 k, which are eight groups, contribute. The
// contribution is the minimum times the scale of the rounded sums, times the products of sub-minimums and rounded sums.
STILLA_INLINE void add_minimums(Sums& acc, const float (*minimums)[4], const std::int8_t (*sub_minimums)[16], const float (*scales)[4],
                                const std::int8_t (*high)[16], const std::uint8_t (*low)[16]) {
  using namespace dotprod;
  STILLA_UNROLL
  for (std::size_t t = 0; t < token_pairs; ++t) {
    loads_stay();
    const Float scale = load_floats(scales[t]);
    const Int sums_high = load(high[t]), sums_low = load(low[t]);
    STILLA_UNROLL
    for (std::size_t r = 0; r < row_pairs; ++r) {
      const Int sub = load(sub_minimums[r]);
      const Int dot_high = shift_left_s32<8>(multiply(set_s32(0), sums_high, sub));
      const Int dot = vusmmlaq_s32(dot_high, as_u8(sums_low), as_s8(sub));
      acc[t][r] = fused_multiply_add(mul(load_floats(minimums[r]), scale), to_floats(dot), acc[t][r]);
    }
  }
}

// load_sums() reads the running sums of `count` tokens and 8 rows from y and arranges them in pairs of tokens and rows. store_sums() does
// the reverse. y_of.at(t) is where the sums of the tile's t-th token stand in y.
template <class Y>
STILLA_INLINE void load_sums(Sums& acc, std::size_t count, const Y& y_of) {
  using namespace dotprod;
  STILLA_UNROLL
  for (std::size_t t = 0; t < token_pairs; ++t) {
    STILLA_UNROLL
    for (std::size_t r = 0; r < row_pairs; r += 2) {
      const Float first = 2 * t < count ? load_floats(y_of.at(2 * t) + 2 * r) : zero();
      const Float second = 2 * t + 1 < count ? load_floats(y_of.at(2 * t + 1) + 2 * r) : zero();
      acc[t][r] = first_halves(first, second);
      acc[t][r + 1] = second_halves(first, second);
    }
  }
}

// Tells where the results of a tile stand in y: at(t) points to the result of the tile's t-th token and its first row. The results of the
// token's other rows follow it.
struct TileOutput {
  const dotprod::SweepArgs& a;
  std::size_t m0, n0;
  STILLA_INLINE float* at(std::size_t t) const { return a.y.row(m0 + t) + n0; }
};

STILLA_INLINE void store_sums(const Sums& acc, std::size_t count, const TileOutput& y_of, const float* bias) {
  using namespace dotprod;
  STILLA_UNROLL
  for (std::size_t t = 0; t < token_pairs; ++t) {
    STILLA_UNROLL
    for (std::size_t r = 0; r < row_pairs; r += 2) {
      Float first = first_halves(acc[t][r], acc[t][r + 1]), second = second_halves(acc[t][r], acc[t][r + 1]);
      if (bias != nullptr) {
        const Float of_rows = load_floats(bias + 2 * r);
        first = add(first, of_rows);
        second = add(second, of_rows);
      }
      if (2 * t < count) store_floats(y_of.at(2 * t) + 2 * r, first);
      if (2 * t + 1 < count) store_floats(y_of.at(2 * t + 1) + 2 * r, second);
    }
  }
}

// Computes a tile over one chunk of k: the rows r0 to r0 + 7 of panel p, times `count` tokens from m0 on. The tile's running sums are
// loaded from y (zeros in the first chunk), and are stored to y at the end.
template <class F, std::size_t Planes>
STILLA_NOINLINE void pair_tile(const Unpacked<F>& w, const TokenTile<F, Planes>& x, const dotprod::SweepArgs& a, std::size_t p,
                               std::size_t r0, std::size_t m0, std::size_t count, std::size_t k_begin, std::size_t k_end) {
  using namespace dotprod;
  constexpr std::size_t groups = groups_per_block<F>, eights = eights_per_block / groups;
  const TileOutput y_of{a, m0, p * panel_rows + r0};
  const std::size_t pair0 = r0 / 2;
  Sums acc;
  if (k_begin == 0) {
    STILLA_UNROLL
    for (std::size_t t = 0; t < token_pairs; ++t) {
      STILLA_UNROLL
      for (std::size_t r = 0; r < row_pairs; ++r) acc[t][r] = zero();
    }
  } else {
    load_sums(acc, count, y_of);
  }
  const std::size_t blocks = (k_end - k_begin) / code_block;
  // Each of these pointers (to unpacked weights and arranged tokens) moves on from block to block, because indices would need more
  // registers (generic/panel_sweep-inl.hpp). Those to weights begin at the tile's first pair of rows.
  const auto first_pair = [&](auto& of_panel) { return reinterpret_cast<decltype(&of_panel)>(&of_panel[pair0]); };
  auto rows = first_pair(w.operands[0][0]);
  auto w_scales = first_pair(w.scales[0][0]);
  auto tokens = x.values;
  auto scales = x.scales;
  auto starts = x.starts[0];
  auto scaled_sums = x.scaled_sums;
  auto minimums = first_pair(w.minimums[0]);
  for (std::size_t b = 0; b < blocks;) {
    const std::size_t last = has_sub_minimums<F> ? b + RoundedSums::blocks : blocks;
    for (; b < last; ++b, ++scales, starts += groups) {
      STILLA_UNROLL
      for (std::size_t g = 0; g < groups; ++g, ++w_scales, rows += eights, tokens += eights) {
        Products dot;
        STILLA_UNROLL
        for (std::size_t t = 0; t < token_pairs; ++t) {
          STILLA_UNROLL
          for (std::size_t r = 0; r < row_pairs; ++r) dot[t][r] = Planes == 1 ? load_copies(starts[g][t]) : set_s32(0);
        }
        add_products<eights, Planes>(dot, rows, tokens, 0);
        if constexpr (Planes == 2) {
          STILLA_UNROLL
          for (std::size_t t = 0; t < token_pairs; ++t) {
            const Int zeros = load(starts[g][t]);
            STILLA_UNROLL
            for (std::size_t r = 0; r < row_pairs; ++r) {
              dot[t][r] = shift_left_s32<8>(dot[t][r]);
              if constexpr (F::has_zero) dot[t][r] = sub_s32(dot[t][r], zeros);
            }
          }
          add_products<eights, Planes>(dot, rows, tokens, 1);
        }
        STILLA_UNROLL
        for (std::size_t t = 0; t < token_pairs; ++t) {
          const Float scale_x = load_floats((*scales)[t]);
          STILLA_UNROLL
          for (std::size_t r = 0; r < row_pairs; ++r) {
            const Float scaled = Planes == 2 ? mul(to_floats(dot[t][r]), scale_x) : sub(as_floats(dot[t][r]), scale_x);
            acc[t][r] = fused_multiply_add(load_floats((*w_scales)[r]), scaled, acc[t][r]);
          }
          sums_stay(acc[t]);
        }
      }
      if constexpr (F::has_minimum && !has_sub_minimums<F>) {
        STILLA_UNROLL
        for (std::size_t t = 0; t < token_pairs; ++t) {
          const Float sum = load_floats((*scaled_sums)[t]);
          STILLA_UNROLL
          for (std::size_t r = 0; r < row_pairs; ++r) acc[t][r] = fused_multiply_add(load_floats((*minimums)[r]), sum, acc[t][r]);
        }
        ++scaled_sums;
        ++minimums;
      }
    }
    if constexpr (has_sub_minimums<F>) {
      const std::size_t s = b / RoundedSums::blocks - 1;
      add_minimums(acc, w.minimums[s] + pair0, w.sub_minimums[s] + pair0, x.sums_scales[s], x.sums_high[s], x.sums_low[s]);
    }
  }
  store_sums(acc, count, y_of, k_end == a.K && a.bias != nullptr ? a.bias + y_of.n0 : nullptr);
}

// Multiplies `panels` panels from p0 on, of 16 rows each, by all tokens. Returns false if one of these rows has a scale for which a sweep
// might not give the contract's bits (unpack_panel). The caller then has to compute all of these panels with dotprod's kernels.
template <class F, std::size_t Planes>
STILLA_NOINLINE bool sweep(const MatmulArgs<F>& a, std::size_t p0, std::size_t panels) {
  using Form = dotprod::SweepFormOf<F>;
  Unpacked<Form> unpacked[max_panels];
  TokenTile<Form, Planes> tiles[max_tiles];
  const dotprod::SweepArgs args{a.K, a.x, a.y, a.bias};
  for (std::size_t k_begin = 0; k_begin < a.K; k_begin += max_chunk_k) {
    const std::size_t k_end = a.K - k_begin < max_chunk_k ? a.K : k_begin + max_chunk_k;
    for (std::size_t i = 0; i < panels; ++i) {
      if (!unpack_panel<F>(unpacked[i], a, p0 + i, k_begin, k_end)) return false;
    }
    for (std::size_t first = 0; first < a.x.rows; first += max_tokens) {
      const std::size_t end = a.x.rows - first < max_tokens ? a.x.rows : first + max_tokens;
      const auto tokens_of = [&](std::size_t m) { return end - m < tile_tokens ? end - m : tile_tokens; };
      for (std::size_t m = first; m < end; m += tile_tokens) {
        arrange_tile<Form, Planes>(tiles[(m - first) / tile_tokens], a.x, m, tokens_of(m), k_begin, k_end, dotprod::zero_bits<F>);
      }
      for (std::size_t i = 0; i < panels; ++i) {
        for (std::size_t r0 = 0; r0 < panel_rows; r0 += tile_rows) {
          for (std::size_t m = first; m < end; m += tile_tokens) {
            pair_tile<Form, Planes>(unpacked[i], tiles[(m - first) / tile_tokens], args, p0 + i, r0, m, tokens_of(m), k_begin, k_end);
          }
        }
      }
    }
  }
  return true;
}

template <class F>
STILLA_NOINLINE void matmul_panels(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
  std::size_t p = first;
  if (a.x.rows >= fewest_to_sweep && a.K != 0) {
    const std::size_t full = a.N / panel_rows < last ? a.N / panel_rows : last;
    while (p < full) {
      const std::size_t panels = full - p < max_panels ? full - p : max_panels;
      const bool done = a.x.low == nullptr ? sweep<F, 1>(a, p, panels) : sweep<F, 2>(a, p, panels);
      if (!done) dotprod::matmul_panels<F>(a, p, p + panels);
      p += panels;
    }
  }
  if (p < last) dotprod::matmul_panels<F>(a, p, last);
}

}}}  // namespace stilla::i8mm
STILLA_TARGET_END
#endif

#include <stilla/base/pop_macros-inl.hpp>
