// SPDX-License-Identifier: Apache-2.0
//
// Matmul of quantised weights for many tokens on AMX (contract/matmul.hpp), against the vocabulary of tiles.hpp.
//
// A panel's operands, unpacked to bytes (x86/panel_tile-inl.hpp), lie as AMX wants them: four k of 16 rows are one row of a
// tile. Per group of weights and 16 tokens
//
//     C[token][row]  =  A[token][k]  *  B[k / 4][row * 4 + k % 4]        one tdpbssd, 16 x 16 int32
//
// then C goes through L1 to the float step of the contract, which AVX-512 does: 16 tokens' sums of one panel fill 16 registers.
// A tile product could take 64 k; the contract's groups are 32 or 16, so it is half or a quarter full. That costs
// little, because the float step takes longer: 3 vector operations per token and group are 24 cycles on two ports, the
// product 16. (Counted, not measured: there was no such CPU.)
//
// Operands are made signed, weight minus zero point, so nothing has to be corrected afterwards. Activations of 16 bits are two
// planes, two products: dot = 256 * high + low.
#pragma once

#include <cstddef>
#include <cstdint>

#include <stilla/contract/matmul.hpp>
#include <stilla/x86_amx/tiles.hpp>
#include <stilla/x86_avx512vnni/matmul.hpp>

#if STILLA_ARCH_X86
STILLA_TARGET_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")
namespace stilla::inline STILLA_ABI::amx {

using avx512vnni::Float;
using avx512vnni::Int;

inline constexpr std::size_t tile_tokens = 16;
inline constexpr std::size_t fewest_to_tile = 16;   // tokens; below, half a tile or more would be empty
inline constexpr std::size_t groups_at_once = 8;    // products that wait in L1 for their float step: 16 KB
inline constexpr std::size_t panels = 2;            // the tiles below are named for two
inline constexpr std::size_t chunk_k = 512;         // weights of a row unpacked at once

// Tiles: A and two C for 16 tokens, the same for the last ones, which are fewer, and two B.
enum Tile { tile_a, tile_c0, tile_c1, tile_rest_a, tile_rest_c0, tile_rest_c1, tile_b0, tile_b1 };

constexpr TileShapes shapes_of(std::size_t group, std::size_t rest) {
  TileShapes shapes;
  shapes.set(tile_a, tile_tokens, group);
  shapes.set(tile_c0, tile_tokens, 64);
  shapes.set(tile_c1, tile_tokens, 64);
  if (rest != 0) {
    shapes.set(tile_rest_a, rest, group);
    shapes.set(tile_rest_c0, rest, 64);
    shapes.set(tile_rest_c1, rest, 64);
  }
  shapes.set(tile_b0, group / 4, 64);
  shapes.set(tile_b1, group / 4, 64);
  return shapes;
}

using Products = std::int32_t[groups_at_once][panels][tile_tokens][panel_rows];

// One plane's products of `groups` groups of `group` weights.
template <class Tiles, bool is_rest, std::size_t group>
STILLA_INLINE void multiply(Products& products, const std::uint8_t* operands, const std::int8_t* x, std::size_t K,
                            std::size_t groups) {
  constexpr int a = is_rest ? tile_rest_a : tile_a;
  constexpr int c0 = is_rest ? tile_rest_c0 : tile_c0;
  constexpr int c1 = is_rest ? tile_rest_c1 : tile_c1;
  for (std::size_t g = 0; g < groups; ++g) {
    const std::uint8_t* b = operands + g * (group / 4) * panels * 64;
    Tiles::template load<a>(x + g * group, K);
    Tiles::template load<tile_b0>(b, panels * 64);
    Tiles::template zero<c0>();
    Tiles::template dot_s8s8<c0, a, tile_b0>();
    Tiles::template load<tile_b1>(b + 64, panels * 64);
    Tiles::template zero<c1>();
    Tiles::template dot_s8s8<c1, a, tile_b1>();
    Tiles::template store<c0>(products[g][0], 64);
    Tiles::template store<c1>(products[g][1], 64);
  }
}

// What the sweep reads of unpacked panels, whatever their format.
struct PanelsView {
  const std::uint8_t* operands;  // [four k][panel][row * 4 + k]
  const std::int32_t* scales;    // [group][panel][row], bits less those of 1.0f
  const float* minimums;         // likewise, or null
};

// What it reads of tokens: per group the scale, and scale * sum for weights with a minimum.
struct TokenScales {
  alignas(64) float scales[groups_at_once][tile_tokens];
  alignas(64) float sums[groups_at_once][tile_tokens];
};

// The contract's float step for `groups` groups of MT tokens, from token m of the tile, and one panel. The sums come from y
// and go back to y.
template <std::size_t MT, bool has_minimum, std::size_t Planes>
STILLA_INLINE void add_products(const Products& high, const Products& low, const TokenScales& x, const PanelsView& w,
                                std::size_t p, std::size_t m, std::size_t groups, bool is_first, const float* bias, float* y,
                                std::size_t stride) {
  using namespace avx512vnni;
  Float acc[MT];
  STILLA_UNROLL
  for (std::size_t t = 0; t < MT; ++t) acc[t] = is_first ? avx512vnni::zero() : load_floats(y + t * stride);
  for (std::size_t g = 0; g < groups; ++g) {
    const Int bits = avx512vnni::load(w.scales + (g * panels + p) * panel_rows);
    const Float scale = as_floats(add_s32(bits, avx512vnni::set_s32(avx512vnni::bits_of_one)));
    Float minimum = avx512vnni::zero();
    if constexpr (has_minimum) minimum = load_floats(w.minimums + (g * panels + p) * panel_rows);
    STILLA_UNROLL
    for (std::size_t t = 0; t < MT; ++t) {
      Int dot = avx512vnni::load(high[g][p][m + t]);
      if constexpr (Planes == 2) dot = add_s32(_mm512_slli_epi32(dot, 8), avx512vnni::load(low[g][p][m + t]));
      acc[t] = fused_multiply_add(mul(scale, set(x.scales[g][m + t])), to_floats(dot), acc[t]);
      if constexpr (has_minimum) acc[t] = fused_multiply_add(minimum, set(x.sums[g][m + t]), acc[t]);
    }
  }
  STILLA_UNROLL
  for (std::size_t t = 0; t < MT; ++t) {
    store_floats(y + t * stride, bias == nullptr ? acc[t] : add(acc[t], load_floats(bias)));
  }
}

// 16 tokens, or the last `count` ones, times two panels over k_begin .. k_end, which w begins with.
template <class Tiles, bool is_rest, std::size_t group, bool has_minimum, std::size_t Planes, class Args>
STILLA_NOINLINE void sweep_tokens(PanelsView w, const Args& a, std::size_t p0, std::size_t m0, std::size_t count,
                                  std::size_t k_begin, std::size_t k_end) {
  alignas(64) Products high;
  alignas(64) Products low;  // with two planes
  TokenScales x;
  for (std::size_t k0 = k_begin; k0 < k_end; k0 += groups_at_once * group) {
    const std::size_t left = (k_end - k0) / group;
    const std::size_t groups = left < groups_at_once ? left : groups_at_once;
    multiply<Tiles, is_rest, group>(high, w.operands, a.x.row_values(m0) + k0, a.K, groups);
    if constexpr (Planes == 2) multiply<Tiles, is_rest, group>(low, w.operands, a.x.row_low(m0) + k0, a.K, groups);

    for (std::size_t m = 0; m < count; ++m) {
      for (std::size_t g = 0; g < groups; ++g) {
        const std::size_t k = k0 + g * group;
        const float scale = a.x.row_scales(m0 + m)[k / activation_block];
        x.scales[g][m] = scale;
        if constexpr (has_minimum) x.sums[g][m] = a.x.row_scaled_sums(m0 + m)[k / activation_block];
      }
    }
    for (std::size_t p = 0; p < panels; ++p) {
      const std::size_t n0 = (p0 + p) * panel_rows;
      const float* bias = k0 + groups * group == a.K && a.bias != nullptr ? a.bias + n0 : nullptr;
      constexpr std::size_t MT = is_rest ? 1 : tile_tokens;
      for (std::size_t m = 0; m < count; m += MT) {
        add_products<MT, has_minimum, Planes>(high, low, x, w, p, m, groups, k0 == 0, bias, a.y.row(m0 + m) + n0, a.y.stride);
      }
    }

    w.operands += groups * (group / 4) * panels * 64;
    w.scales += groups * panels * panel_rows;
    if constexpr (has_minimum) w.minimums += groups * panels * panel_rows;
  }
}

// Two whole panels, all tokens. False, and the panels are still to do, where a scale is no number.
template <class F, class Tiles, std::size_t Planes>
STILLA_NOINLINE bool panels_many(const MatmulArgs<F>& a, std::size_t p0) {
  constexpr std::size_t group = F::group_weights;
  avx512vnni::Unpacked<F, panels, chunk_k> unpacked;
  const PanelsView view{&unpacked.operands[0][0][0][0], &unpacked.scales[0][0][0][0],
                        F::has_minimum ? &unpacked.minimums[0][0][0][0] : nullptr};
  for (std::size_t k_begin = 0; k_begin < a.K; k_begin += chunk_k) {
    const std::size_t k_end = a.K - k_begin < chunk_k ? a.K : k_begin + chunk_k;
    if (!avx512vnni::unpack_panels(unpacked, a, p0, k_begin, k_end)) return false;
    if constexpr (avx512vnni::operand_zero<F> != 0) {
      for (std::size_t b = 0; b < (k_end - k_begin) / code_block; ++b) {
        for (std::size_t q = 0; q < code_block / 4; ++q) {
          for (std::size_t p = 0; p < panels; ++p) {
            const Int zero_point = avx512vnni::set_u8(avx512vnni::operand_zero<F>);
            std::uint8_t* operands = unpacked.operands[b][q][p];
            avx512vnni::store(operands, _mm512_sub_epi8(avx512vnni::load(operands), zero_point));
          }
        }
      }
    }
    std::size_t m = 0;
    for (; m + tile_tokens <= a.x.rows; m += tile_tokens) {
      sweep_tokens<Tiles, false, group, F::has_minimum, Planes>(view, a, p0, m, tile_tokens, k_begin, k_end);
    }
    if (m < a.x.rows) {
      sweep_tokens<Tiles, true, group, F::has_minimum, Planes>(view, a, p0, m, a.x.rows - m, k_begin, k_end);
    }
  }
  return true;
}

// Panels [first, last). Few tokens, and the panels that make no pair of whole ones, are avx512vnni's.
template <class F, class Tiles>
STILLA_NOINLINE void matmul_panels(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
  std::size_t p = first;
  const std::size_t full = a.N / panel_rows < last ? a.N / panel_rows : last;
  if (a.x.rows >= fewest_to_tile && a.K != 0 && p + panels <= full) {
    Tiles::configure(shapes_of(F::group_weights, a.x.rows % tile_tokens));
    for (; p + panels <= full; p += panels) {
      const bool is_done = a.x.low == nullptr ? panels_many<F, Tiles, 1>(a, p) : panels_many<F, Tiles, 2>(a, p);
      if (!is_done) avx512vnni::matmul_panels<F>(a, p, p + panels);
    }
    Tiles::release();
  }
  if (p < last) avx512vnni::matmul_panels<F>(a, p, last);
}

}  // namespace stilla::STILLA_ABI::amx
STILLA_TARGET_END
#endif
