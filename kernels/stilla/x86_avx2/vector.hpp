// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary of x86/panel_tile-inl.hpp with plain AVX2.
//
//   instruction          what                          throughput per cycle (notes: uops.info)   Haswell  Skylake  Zen 3
//   vpmaddubsw ymm       u8 * s8 pairs to s16, saturating                                          1        2       2
//   vpmaddwd ymm         s16 pairs to s32                                                          1        2       2
//
// vpmaddubsw saturates at 2^15, so the unsigned operand must stay below 129: 2 * 128 * 127 = 32512. Formats whose codes are
// wider (8 bits, codebooks) keep the fallback.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <stilla/region.hpp>
#include <stilla/types.hpp>

#if STILLA_ARCH_X86
#include <immintrin.h>

STILLA_TARGET_BEGIN("avx2,fma,f16c")
namespace stilla::inline STILLA_ABI::avx2 {

#include <stilla/x86/vector256-inl.hpp>

inline constexpr int largest_code = 128;

// acc + sum over four neighbouring bytes of codes (unsigned, up to 128) * x (signed), per int32 lane.
STILLA_INLINE Int dot_u8s8(Int acc, Int codes_u8x32, Int x_s8x32) {
  const Int pairs_s16x16 = _mm256_maddubs_epi16(codes_u8x32, x_s8x32);
  acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs_s16x16, _mm256_set1_epi16(1)));
#if defined(__GNUC__) && !defined(__clang__)
  __asm__("" : "+x"(acc));  // GCC 12 would reorder the sum and keep every product in memory: half the speed
#endif
  return acc;
}

}  // namespace stilla::STILLA_ABI::avx2
STILLA_TARGET_END
#endif
