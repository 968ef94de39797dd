// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary (generic/vocabulary-inl.hpp) with plain AVX2: vector256-inl.hpp and the dot product.
//
//   instruction          what                          how many a cycle (source: uops.info)      Haswell  Skylake  Zen 3
//   vpmaddubsw ymm       the sum of two products u8 * s8 as an s16, saturating                     1        2       2
//   vpmaddwd ymm         the sum of two products s16 * s16 as an s32                               1        2       2
//
// vpmaddubsw saturates at 2^15. Two products of unsigned codes, which have at most 6 bits, stay far below that: 2 * 63 * 128. The
// levels of small codebooks are below 128 when 64 is added, so two products of them stay below it too: 2 * 127 * 128. Levels of
// other codebooks would need 8 bits as unsigned numbers, so they stay signed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <stilla/base/types.hpp>
#include <stilla/contract/matmul.hpp>  // small_stacks
#include <stilla/region.hpp>
#include <stilla/x86_avx2/few_ahead.hpp>
#include <stilla/x86_avx2/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86
#include <immintrin.h>

STILLA_TARGET_BEGIN(STILLA_SETS_AVX2)
namespace stilla { inline namespace STILLA_ABI { namespace avx2 {

#include <stilla/x86_avx2/vector256-inl.hpp>

inline constexpr int largest_code = 128;

// Returns in each int32 lane: acc + the sum over four neighbouring bytes of codes (of format F) times activations x (signed). vpmaddubsw
// needs unsigned codes. So if the codes are signed, |code| is multiplied by x, and the sign of x is changed where the code is negative.
// |-128| is 128 as an unsigned byte. The sum of two products is at most 2 * 128 * 127, which fits 16 bits, because with signed codes
// every x must be above -128 (generic/vocabulary-inl.hpp).
template <class F>
STILLA_INLINE Int dot_codes(Int acc, Int codes, Int x) {
  Int pairs_s16x16;
  if constexpr (F::code_bits == 8 || (F::is_codebook && !has_small_codebook<F>)) {
    pairs_s16x16 = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes));
  } else {
    pairs_s16x16 = _mm256_maddubs_epi16(codes, x);
  }
  // Without keep(), GCC 12 moves the additions to `acc` behind all products of a block of 32 k. Until then it has to store every
  // product on the stack, which halves the speed.
  return keep(add_s32(acc, _mm256_madd_epi16(pairs_s16x16, _mm256_set1_epi16(1))));
}

// vpmaddubsw's 16-bit sums have room for the products of several quads before they are widened: one quad adds at most 2 * 128 * c to
// each sum, where c is the largest code. With codes of 4 bits the eight quads of a block of 32 k add up to at most
// 8 * 2 * 128 * 15 = 30720. So their sums are widened once, by one vpmaddwd, and not eight times.
template <class F>
struct NarrowSums {
  static constexpr int quad_max = 2 * 128 * ((1 << F::code_bits) - 1);
  static constexpr std::size_t quads = F::is_codebook || quad_max * 2 > 32767 ? 1 : std::size_t{32767 / quad_max};
  static STILLA_INLINE Int first(Int codes, Int x) { return _mm256_maddubs_epi16(codes, x); }
  static STILLA_INLINE Int add(Int sums, Int codes, Int x) { return keep(_mm256_add_epi16(sums, first(codes, x))); }
  static STILLA_INLINE Int widened(Int sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }
};

// Returns what dot_codes() returns if every lane has the same four activations: those at `x`.
template <class F>
STILLA_INLINE Int dot_codes_at(Int acc, Int codes, Quads&, const std::int8_t* x, std::size_t) {
  return dot_codes<F>(acc, codes, broadcast4(x));
}

// Returns in each int32 lane: acc + the sum over two neighbouring 16-bit integers of w * x. (w are sub-minimums, x sums of activations.)
STILLA_INLINE PairSums dot_pairs(PairSums acc, Int w, Int x) { return add_s32(acc, _mm256_madd_epi16(w, x)); }

}}}  // namespace stilla::avx2
STILLA_TARGET_END
#endif

#include <stilla/base/pop_macros-inl.hpp>
