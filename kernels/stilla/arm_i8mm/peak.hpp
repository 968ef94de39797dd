// SPDX-License-Identifier: Apache-2.0
//
// Defines the loops that measure the peak of the target i8mm. generic/peak.hpp says what a peak is.
#pragma once

#include <stilla/arm_dotprod/peak.hpp>
#include <stilla/arm_i8mm/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_HAS_I8MM && defined(__GNUC__)
namespace stilla { inline namespace STILLA_ABI {

template <>
struct PeakLoops<I8mm> : PeakLoops<I8mm::Fallback> {
  static constexpr MacLoop int8{"smmla", i8mm::smmla_loop, mac_chains * 32.0};
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
