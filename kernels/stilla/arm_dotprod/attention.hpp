// SPDX-License-Identifier: Apache-2.0
//
// Attention over caches of integer elements for the target dotprod. The kernel is that of generic/attention_chunk-inl.hpp, and its
// vectors are those of portable/attention-inl.hpp; only the integer products are written here. The attention weights, which are
// multiplied by the values, are rounded to integers n of 16 bits. They are stored as two planes of signed bytes, n = 256 * high + low, and
// each plane is multiplied by an sdot of its own. The queries are rounded to 8 bits, so only their low plane is multiplied.
//
// The codes of the cache are unsigned bytes: a number plus 128. An sdot multiplies signed bytes, so here it multiplies the number without
// the 128. But the caller expects products with codes, from which it subtracts 128 times the sum of the row of rounded integers. So 128
// times this sum is added to the products at the end. The sums of products are exact, because 256 positions add at most
// 256 * (128 * 127 * 256 + 128 * 128), the two planes together, and this is below 2^31.
//
// For float elements, the kernel of the fallback is used. It is compiled for NEON's vectors too.
#pragma once

#include <cstddef>
#include <cstdint>

#include <stilla/arm_dotprod/target.hpp>
#include <stilla/arm_dotprod/vector.hpp>
#include <stilla/contract/attention.hpp>
#include <stilla/portable/kernels.hpp>
#include <stilla/region.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_HAS_DOTPROD && STILLA_HAS_PORTABLE
STILLA_TARGET_BEGIN(STILLA_SETS_DOTPROD "+crypto")  // Highway's functions have +crypto; only functions that have it too can inline them
namespace stilla { inline namespace STILLA_ABI { namespace dotprod_attention {
using namespace portable_kernels;
using namespace portable_kernels::attention_kernels;

// How many queries share a load of codes. The kernel takes 2 of the 4 vectors of a tile of codes at a time. With keys, the rounded
// queries have one plane, so 6 queries have 12 vectors of sums: with 6 registers of queries and 2 of codes they take 20 of the 32
// registers. With values, the rounded weights have two planes, so 4 queries have 16 vectors of sums: with 8 registers of weights and 2 of
// codes they take 26.
inline constexpr std::size_t max_key_queries = 6;
inline constexpr std::size_t max_value_queries = 4;
inline constexpr std::size_t vectors_at_once = 2;

struct RoundedRow {
  alignas(64) std::int8_t high[kv_chunk];
  alignas(64) std::int8_t low[kv_chunk];
  std::int32_t sum;

  // Stores 64 integers x, from index `at` of the row on, as two planes of bytes: high = (x + 128) >> 8, and low is the lower byte of x.
  // Also adds them to the sum of the row.
  STILLA_INLINE void store(std::size_t at, const Int (&x)[4]) {
    int32x4_t sums = vdupq_n_s32(0);
    for (std::size_t n = 0; n < 4; ++n) {
      for (std::size_t i = 0; i < row_vectors; i += 2) {
        const int16x8_t eight = vcombine_s16(vmovn_s32(x[n].v[i].raw), vmovn_s32(x[n].v[i + 1].raw));
        vst1_s8(high + at + n * 16 + i * 4, vrshrn_n_s16(eight, 8));
        vst1_s8(low + at + n * 16 + i * 4, vmovn_s16(eight));
        sums = vpadalq_s16(sums, eight);
      }
    }
    sum = vaddvq_s32(sums) + (at == 0 ? 0 : sum);
  }
};

// Multiplies codes by integers of each row (a rounded query or its rounded weights) and each plane, and adds the products to the sums. A
// lane has four neighbouring codes of a key or of a dimension of the values. They are multiplied by a quad, which is the four integers of
// a row from index `at` on. With i = 0 this function loads four neighbouring quads of each row and plane into `held`, for four calls. The
// calls with i = 1, 2 and 3 load nothing. Each call multiplies by the i-th quad in `held` (quad() in generic/vocabulary-inl.hpp).
template <std::size_t HT, std::size_t BYTES>
STILLA_INLINE void add_four(stilla::dotprod::Int (&sums)[BYTES][HT][vectors_at_once], const std::uint8_t* codes,
                            stilla::dotprod::Quads (&held)[BYTES][HT], const RoundedRow* rows, std::size_t at, std::size_t i) {
  namespace neon = stilla::dotprod;
  neon::Int signed_codes[vectors_at_once];
  STILLA_UNROLL
  for (std::size_t v = 0; v < vectors_at_once; ++v) {
    signed_codes[v] = neon::bit_xor(neon::load(codes + at * 16 + v * 16), neon::set_u8(128));
  }
  STILLA_UNROLL
  for (std::size_t plane = 0; plane < BYTES; ++plane) {
    STILLA_UNROLL
    for (std::size_t h = 0; h < HT; ++h) {
      const neon::Quad four = neon::quad(held[plane][h], (plane == 0 ? rows[h].low : rows[h].high) + at, i);
      STILLA_UNROLL
      for (std::size_t v = 0; v < vectors_at_once; ++v) {
        sums[plane][h][v] = neon::dot_codes<KvInt8>(sums[plane][h][v], signed_codes[v], four);
      }
    }
  }
}

template <std::size_t HT, std::size_t TILES, std::size_t BYTES>
STILLA_INLINE void integer_products(Int (&out)[HT][TILES], const RoundedRow* rows, const std::uint8_t* tiles,
                                    const std::uintptr_t (&ahead)[2], std::size_t tile_bytes, std::size_t length) {
  namespace neon = stilla::dotprod;
  for (std::size_t t = 0; t < TILES; ++t) {
    for (std::size_t v0 = 0; v0 < row_vectors; v0 += vectors_at_once) {
      const std::uint8_t* const codes = tiles + t * tile_bytes + v0 * 16;
      neon::Int sums[BYTES][HT][vectors_at_once];
      STILLA_UNROLL
      for (std::size_t plane = 0; plane < BYTES; ++plane) {
        STILLA_UNROLL
        for (std::size_t h = 0; h < HT; ++h) {
          STILLA_UNROLL
          for (std::size_t v = 0; v < vectors_at_once; ++v) sums[plane][h][v] = neon::set_s32(0);
        }
      }
      neon::Quads held[BYTES][HT];
      std::size_t at = 0;
      for (; at + 16 <= length; at += 16) {
        if (t == 0 && v0 == 0) {
          for (const std::uintptr_t lines : ahead) {
            for (std::size_t line = 0; line < 256; line += 64) prefetch(lines + at * 16 + line);
          }
        }
        STILLA_UNROLL
        for (std::size_t i = 0; i < 4; ++i) {
          neon::loads_stay();
          add_four<HT, BYTES>(sums, codes, held, rows, at + 4 * i, i);
        }
      }
      for (; at < length; at += 4) add_four<HT, BYTES>(sums, codes, held, rows, at, 0);  // zeros follow a row's end
      STILLA_UNROLL
      for (std::size_t h = 0; h < HT; ++h) {
        STILLA_UNROLL
        for (std::size_t v = 0; v < vectors_at_once; ++v) {
          neon::Int sum = neon::add_s32(sums[0][h][v], neon::set_s32(128 * rows[h].sum));
          if constexpr (BYTES == 2) sum = neon::add_s32(sum, neon::shift_left_s32<8>(sums[BYTES - 1][h][v]));
          out[h][t].v[v0 + v] = VInt32{sum};
        }
      }
    }
  }
}

#include <stilla/generic/attention_chunk-inl.hpp>

}}}  // namespace stilla::dotprod_attention
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <IntegerKv E>
struct AttentionChunk<Dotprod, E> {
  static constexpr TargetId implemented_on = Dotprod::id;
  static void run(const AttentionChunkArgs<E>& a) { dotprod_attention::attention_chunk<E>(a); }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
