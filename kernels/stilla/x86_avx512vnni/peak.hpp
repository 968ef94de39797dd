// SPDX-License-Identifier: Apache-2.0
//
// The loops that measure the peak of the target avx512vnni (generic/peak.hpp).
#pragma once

#include <stilla/generic/peak.hpp>
#include <stilla/x86_avx512vnni/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86 && defined(__GNUC__)
#include <immintrin.h>

STILLA_TARGET_BEGIN(STILLA_SETS_AVX512VNNI)
namespace stilla { inline namespace STILLA_ABI { namespace avx512vnni {
STILLA_MAC_LOOP(dpbusd_loop, __m512i, _mm512_set1_epi32, _mm512_dpbusd_epi32(sums[i], x, x))
STILLA_MAC_LOOP(fma_loop, __m512, _mm512_set1_ps, _mm512_fmadd_ps(x, x, sums[i]))
}}}  // namespace stilla::avx512vnni
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <>
struct PeakLoops<Avx512Vnni> {
  static constexpr MacLoop int8{"vpdpbusd zmm", avx512vnni::dpbusd_loop, mac_chains * 64.0};
  static constexpr MacLoop f32{"vfmadd zmm", avx512vnni::fma_loop, mac_chains * 16.0};
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
