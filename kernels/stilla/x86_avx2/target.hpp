// SPDX-License-Identifier: Apache-2.0
//
// The target avx2: AVX2 with FMA and F16C. Intel Haswell (2013), AMD Excavator (2015) and later CPUs have them.
#pragma once

#include <stilla/base/target.hpp>
#include <stilla/portable/target.hpp>

// The instruction sets of avx2's target regions (region.hpp).
#define STILLA_SETS_AVX2 "avx2,fma,f16c"

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Avx2 {
  using Fallback = Portable;
  static constexpr TargetId id{"avx2"};
  static constexpr bool is_compiled = STILLA_ARCH_X86;
  static constexpr bool is_guaranteed = STILLA_FLAGS_GIVE_AVX2;
  static bool available(const CpuInfo& cpu) { return Portable::available(cpu); }  // avx2 needs the same instruction sets
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
