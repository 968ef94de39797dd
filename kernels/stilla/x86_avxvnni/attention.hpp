// SPDX-License-Identifier: Apache-2.0
//
// Attention over caches of integer elements for the target avxvnni: generic/attention_chunk-inl.hpp on the vectors of
// portable/attention-inl.hpp, with integer products of its own. The softmax weights, which are multiplied by the values, are rounded to
// integers n of 16 bits. They are stored as two planes of signed bytes, as the activations of matmul are: n = 256 * high + low. Each plane
// is multiplied by a vpdpbusd of its own. The queries are rounded to 8 bits, so only their low plane is multiplied. The sums are exact:
// the largest products are 255 * 127 * 256 of the high plane and 255 * 128 of the low plane, and over 256 positions they add up to less
// than 2^31.
//
// For caches of float elements, the fallback's kernel is used. It reached 86 % of the multiply-add peak (attention_bench,
// Attention/avx2/f16/1.5B/prefill/C4096/T1).
#pragma once

#include <cstddef>
#include <cstdint>

#include <stilla/contract/attention.hpp>
#include <stilla/portable/kernels.hpp>
#include <stilla/region.hpp>
#include <stilla/x86_avxvnni/target.hpp>
#include <stilla/x86_avxvnni/vector.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86 && STILLA_HAS_PORTABLE
STILLA_TARGET_BEGIN(HWY_TARGET_STR_AVX2 ",avxvnni")
namespace stilla { inline namespace STILLA_ABI { namespace avxvnni_attention {
using namespace portable_kernels;
using namespace portable_kernels::attention_kernels;

// How many queries share a load of keys, and how many share a load of values. Both numbers lead to 12 vectors of sums, in 16 registers.
// Other numbers were slower, as attention_bench measured with the shapes of the 1.5B and the 7B and 4096 positions. With 6 queries that
// share values, and one vector at a time so that the sums fit, attention took 3 % to 7 % longer. With 3 queries that share keys it took
// 3 % to 5 % longer.
inline constexpr std::size_t max_key_queries = 6;
inline constexpr std::size_t max_value_queries = 3;

struct RoundedRow {
  alignas(64) std::int8_t high[kv_chunk];
  alignas(64) std::int8_t low[kv_chunk];

  // Stores 64 integers x, from index `at` of the row on, as two planes of bytes: high = (x + 128) >> 8, and low is the lower byte of x.
  // The instructions that narrow two vectors to one work within 128-bit lanes: four numbers of the first vector, then four of the
  // second. So the last permutation puts all numbers in order.
  STILLA_INLINE void store(std::size_t at, const Int (&x)[4]) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i half = _mm256_set1_epi16(128), low_byte = _mm256_set1_epi16(255);
    for (std::size_t i = 0; i < 4; i += 2) {
      const __m256i first = _mm256_packs_epi32(x[i].v[0].raw, x[i].v[1].raw);
      const __m256i second = _mm256_packs_epi32(x[i + 1].v[0].raw, x[i + 1].v[1].raw);
      const __m256i upper =
          _mm256_packs_epi16(_mm256_srai_epi16(_mm256_add_epi16(first, half), 8), _mm256_srai_epi16(_mm256_add_epi16(second, half), 8));
      const __m256i lower = _mm256_packus_epi16(_mm256_and_si256(first, low_byte), _mm256_and_si256(second, low_byte));
      stilla::avxvnni::store(high + at + i * 16, _mm256_permutevar8x32_epi32(upper, order));
      stilla::avxvnni::store(low + at + i * 16, _mm256_permutevar8x32_epi32(lower, order));
    }
  }
};

template <std::size_t HT, std::size_t TILES, std::size_t BYTES>
STILLA_INLINE void integer_products(Int (&out)[HT][TILES], const RoundedRow* rows, const std::uint8_t* tiles,
                                    const std::uintptr_t (&ahead)[2], std::size_t tile_bytes, std::size_t length) {
  namespace ymm = stilla::avxvnni;
  for (std::size_t t = 0; t < TILES; ++t) {
    ymm::Int low[HT][row_vectors], high[BYTES == 2 ? HT : 1][row_vectors];
    for (std::size_t h = 0; h < HT; ++h) {
      for (std::size_t v = 0; v < row_vectors; ++v) {
        low[h][v] = ymm::set_s32(0);
        if constexpr (BYTES == 2) high[h][v] = ymm::set_s32(0);
      }
    }
    for (std::size_t i = 0; i < length; i += 4) {
      ymm::Int codes[row_vectors];
      for (std::size_t v = 0; v < row_vectors; ++v) codes[v] = ymm::load(tiles + t * tile_bytes + i * 16 + v * 32);
      if (t == 0) {
        for (const std::uintptr_t lines : ahead) prefetch(lines + i * 16);
      }
      STILLA_UNROLL
      for (std::size_t h = 0; h < HT; ++h) {
        const ymm::Int lower = ymm::broadcast4(rows[h].low + i);
        STILLA_UNROLL
        for (std::size_t v = 0; v < row_vectors; ++v) low[h][v] = ymm::dot_codes<KvInt8>(low[h][v], codes[v], lower);
        if constexpr (BYTES == 2) {
          const ymm::Int upper = ymm::broadcast4(rows[h].high + i);
          STILLA_UNROLL
          for (std::size_t v = 0; v < row_vectors; ++v) high[h][v] = ymm::dot_codes<KvInt8>(high[h][v], codes[v], upper);
        }
      }
    }
    for (std::size_t h = 0; h < HT; ++h) {
      for (std::size_t v = 0; v < row_vectors; ++v) {
        if constexpr (BYTES == 2) low[h][v] = ymm::add_s32(ymm::shift_left_s32<8>(high[h][v]), low[h][v]);
        out[h][t].v[v] = VInt32{low[h][v]};
      }
    }
  }
}

#include <stilla/generic/attention_chunk-inl.hpp>

}}}  // namespace stilla::avxvnni_attention
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <IntegerKv E>
struct AttentionChunk<AvxVnni, E> {
  static constexpr TargetId implemented_on = AvxVnni::id;
  static void run(const AttentionChunkArgs<E>& a) { avxvnni_attention::attention_chunk<E>(a); }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
