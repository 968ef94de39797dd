// SPDX-License-Identifier: Apache-2.0
//
// The loops that measure how many multiply-adds `portable` can do in a second (generic/peak.hpp). On x86-64 they are compiled for
// AVX2, and the target avx2, whose fallback is `portable`, uses them too.
#pragma once

#include <stilla/generic/peak.hpp>
#include <stilla/portable/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86 && defined(__GNUC__)
#include <immintrin.h>

STILLA_TARGET_BEGIN("avx2,fma")
namespace stilla { inline namespace STILLA_ABI { namespace portable_peak {
// The first loop multiplies bytes and adds the products to sums of 16 bits. Matmul kernels also have to widen such sums to 32 bits now
// and then, which this loop leaves out.
STILLA_MAC_LOOP(maddubs_loop, __m256i, _mm256_set1_epi32, _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(x, sums[i])))
STILLA_MAC_LOOP(fma_loop, __m256, _mm256_set1_ps, _mm256_fmadd_ps(x, x, sums[i]))
}}}  // namespace stilla::portable_peak
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <>
struct PeakLoops<Portable> {
  static constexpr MacLoop int8{"vpmaddubsw ymm", portable_peak::maddubs_loop, mac_chains * 32.0};
  static constexpr MacLoop f32{"vfmadd ymm", portable_peak::fma_loop, mac_chains * 8.0};
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
