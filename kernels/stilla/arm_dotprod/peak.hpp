// SPDX-License-Identifier: Apache-2.0
//
// Defines the loops that measure the peak of the target dotprod. generic/peak.hpp says what a peak is.
#pragma once

#include <stilla/arm_dotprod/target.hpp>
#include <stilla/generic/peak.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_HAS_DOTPROD && defined(__GNUC__)
#include <arm_neon.h>

STILLA_TARGET_BEGIN(STILLA_SETS_DOTPROD)
namespace stilla { inline namespace STILLA_ABI { namespace dotprod {
STILLA_MAC_LOOP(sdot_loop, int8x16_t, vdupq_n_s8, vreinterpretq_s8_s32(vdotq_s32(vreinterpretq_s32_s8(sums[i]), x, x)))
STILLA_MAC_LOOP(fma_loop, float32x4_t, vdupq_n_f32, vfmaq_f32(sums[i], x, x))
}}}  // namespace stilla::dotprod
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <>
struct PeakLoops<Dotprod> {
  static constexpr MacLoop int8{"sdot", dotprod::sdot_loop, mac_chains * 16.0};
  static constexpr MacLoop f32{"fmla", dotprod::fma_loop, mac_chains * 4.0};
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
