// SPDX-License-Identifier: Apache-2.0
//
// The loop that measures the peak of the target avxvnni (generic/peak.hpp).
#pragma once

#include <stilla/generic/peak.hpp>
#include <stilla/portable/peak.hpp>
#include <stilla/x86_avxvnni/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86 && defined(__GNUC__)
#include <immintrin.h>

STILLA_TARGET_BEGIN(STILLA_SETS_AVXVNNI)
namespace stilla { inline namespace STILLA_ABI { namespace avxvnni {
STILLA_MAC_LOOP(dpbusd_loop, __m256i, _mm256_set1_epi32, _mm256_dpbusd_avx_epi32(sums[i], x, x))
}}}  // namespace stilla::avxvnni
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <>
struct PeakLoops<AvxVnni> : PeakLoops<AvxVnni::Fallback> {
  static constexpr MacLoop int8{"vpdpbusd ymm", avxvnni::dpbusd_loop, mac_chains * 32.0};
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
