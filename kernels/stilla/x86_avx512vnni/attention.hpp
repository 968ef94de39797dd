// SPDX-License-Identifier: Apache-2.0
//
// Attention for the target avx512vnni: generic/attention_chunk-inl.hpp on 512-bit registers. If the cache has integer elements, the
// softmax weights, which are multiplied by the values, are rounded to integers n of 16 bits. They are stored as two planes of signed
// bytes, as the activations of matmul are: n = 256 * high + low. Each plane is multiplied by a vpdpbusd of its own. The queries are
// rounded to 8 bits, so only their low plane is multiplied.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include <stilla/base/math.hpp>
#include <stilla/base/types.hpp>
#include <stilla/contract/attention.hpp>
#include <stilla/scalar/attention.hpp>
#include <stilla/x86_avx512vnni/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86
#include <stilla/x86_avx512vnni/vector.hpp>

STILLA_TARGET_BEGIN(STILLA_SETS_AVX512VNNI)
namespace stilla { inline namespace STILLA_ABI { namespace avx512vnni::attention_kernels {

// How many queries share a load of keys or values. Of the 32 registers, 16 hold sums; with the values of integer caches, 28 do.
// The number was compared with others by attention_bench at 4096 positions. With at most 6 queries at once, generating text took 9 % to
// 18 % longer for the 7B model, which has 7 queries for a KV head. In prefill a KV head has the queries of several tokens at once, 14 with
// the 7B and 15 with the 14B; with at most 6 at once, prefill took 3 % to 15 % longer. A limit of 12 or 14 was not faster than one of 8.
inline constexpr std::size_t max_queries = 8;
inline constexpr std::size_t max_key_queries = 8;
inline constexpr std::size_t max_value_queries = 7;
inline constexpr std::size_t tiles_at_once = 2;
// How many bytes ahead the keys and values of the cache are prefetched. In attention_bench, with f16 and 16384 positions, attention took
// twice as long with 4096 bytes as with 16384, and 5 % longer with 8192.
inline constexpr std::size_t prefetch_bytes = 16384;

STILLA_INLINE Float higher(Float a, Float b) { return _mm512_max_ps(a, b); }  // vmaxps returns its second operand unless a > b
STILLA_INLINE Float first_lanes(Float x, std::size_t count) { return _mm512_maskz_mov_ps(static_cast<__mmask16>((1u << count) - 1), x); }
STILLA_INLINE Float alternating(const float* two) {
  double both;
  std::memcpy(&both, two, sizeof both);
  return _mm512_castpd_ps(_mm512_set1_pd(both));
}
STILLA_INLINE void store_alternating(float* to, Float a, Float b) {
  const Int low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  store_floats(to, _mm512_permutex2var_ps(a, low, b));
  store_floats(to + 16, _mm512_permutex2var_ps(a, add_s32(low, set_s32(8)), b));
}
STILLA_INLINE Float even_lanes_first(Float x) {
  return _mm512_permutexvar_ps(_mm512_set_epi32(15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0), x);
}
STILLA_INLINE Float reversed(Float x) {
  return _mm512_permutexvar_ps(_mm512_set_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), x);
}
STILLA_INLINE std::int32_t sum_of_lanes(Int x) { return _mm512_reduce_add_epi32(x); }
STILLA_INLINE float sum_of_lanes(Float x) {
  const __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), upper);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
STILLA_INLINE void prefetch(std::uintptr_t address) { _mm_prefetch(reinterpret_cast<const char*>(address), _MM_HINT_T0); }
STILLA_INLINE Float load_stored(const float* from) { return load_floats(from); }
STILLA_INLINE Float load_stored(const f16* from) { return load_f16(reinterpret_cast<const std::byte*>(from)); }
STILLA_INLINE Float load_stored(const bf16* from) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

STILLA_INLINE void unpack_codes(std::uint8_t* to, const std::uint8_t* from) {
  const Int two = load(from), offset = set_u8(97);
  for (int upper = 0; upper < 2; ++upper) {
    __mmask64 bits;
    std::memcpy(&bits, from + 64 + 8 * upper, sizeof bits);
    const Int low = bit_and(upper ? shift_right<4>(two) : two, set_u8(15));
    const Int doubled = _mm512_add_epi8(_mm512_add_epi8(low, low), offset);
    store(to + 64 * upper, _mm512_mask_add_epi8(doubled, bits, doubled, set_u8(32)));
  }
}

struct RoundedRow {
  alignas(64) std::int8_t high[kv_chunk];
  alignas(64) std::int8_t low[kv_chunk];

  // Stores 64 integers x, from index `at` of the row on, as two planes of bytes: high = (x + 128) >> 8, and low is the lower byte of x.
  // The instructions that narrow two vectors to one work within 128-bit lanes: four numbers of the first vector, then four of the
  // second. So the last permutation puts all numbers in order.
  STILLA_INLINE void store(std::size_t at, const Int (&x)[4]) {
    const Int order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    const Int first = _mm512_packs_epi32(x[0], x[1]), second = _mm512_packs_epi32(x[2], x[3]);
    const Int half = _mm512_set1_epi16(128), low_byte = _mm512_set1_epi16(255);
    const Int upper =
        _mm512_packs_epi16(_mm512_srai_epi16(_mm512_add_epi16(first, half), 8), _mm512_srai_epi16(_mm512_add_epi16(second, half), 8));
    const Int lower = _mm512_packus_epi16(bit_and(first, low_byte), bit_and(second, low_byte));
    stilla::avx512vnni::store(high + at, _mm512_permutexvar_epi32(order, upper));
    stilla::avx512vnni::store(low + at, _mm512_permutexvar_epi32(order, lower));
  }
};

template <std::size_t HT, std::size_t TILES, std::size_t BYTES>
STILLA_INLINE void integer_products(Int (&out)[HT][TILES], const RoundedRow* rows, const std::uint8_t* tiles,
                                    const std::uintptr_t (&ahead)[2], std::size_t tile_bytes, std::size_t length) {
  Int high[BYTES == 2 ? HT : 1][TILES];
  for (std::size_t h = 0; h < HT; ++h) {
    for (std::size_t t = 0; t < TILES; ++t) {
      out[h][t] = set_s32(0);
      if constexpr (BYTES == 2) high[h][t] = set_s32(0);
    }
  }
  for (std::size_t i = 0; i < length; i += 4) {
    Int codes[TILES];
    for (std::size_t t = 0; t < TILES; ++t) codes[t] = load(tiles + t * tile_bytes + i * 16);
    for (const std::uintptr_t lines : ahead) prefetch(lines + i * 16);
    STILLA_UNROLL
    for (std::size_t h = 0; h < HT; ++h) {
      const Int lower = broadcast4(rows[h].low + i);
      STILLA_UNROLL
      for (std::size_t t = 0; t < TILES; ++t) out[h][t] = dot_codes<KvInt8>(out[h][t], codes[t], lower);
      if constexpr (BYTES == 2) {
        const Int upper = broadcast4(rows[h].high + i);
        STILLA_UNROLL
        for (std::size_t t = 0; t < TILES; ++t) high[h][t] = dot_codes<KvInt8>(high[h][t], codes[t], upper);
      }
    }
  }
  if constexpr (BYTES == 2) {
    for (std::size_t h = 0; h < HT; ++h) {
      for (std::size_t t = 0; t < TILES; ++t) out[h][t] = add_s32(shift_left_s32<8>(high[h][t]), out[h][t]);
    }
  }
}

#include <stilla/generic/attention_chunk-inl.hpp>

}}}  // namespace stilla::avx512vnni::attention_kernels
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <class E>
struct AttentionChunk<Avx512Vnni, E> {
  static constexpr TargetId implemented_on = Avx512Vnni::id;
  static void run(const AttentionChunkArgs<E>& a) { avx512vnni::attention_kernels::attention_chunk<E>(a); }
};

template <>
struct AttentionMerge<Avx512Vnni> : AttentionMerge<Scalar> {
  static constexpr TargetId implemented_on = Avx512Vnni::id;
  static void merge(AttentionParts into, AttentionParts part, std::size_t n, std::size_t D) {
    avx512vnni::attention_kernels::merge(into, part, n, D);
  }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
