// SPDX-License-Identifier: Apache-2.0
//
// The target dotprod: NEON with the dot product of bytes, FEAT_DotProd. Cortex-A75 and A55 (2017), Neoverse N1, Apple M1, Snapdragon
// X and later CPUs have it.
#pragma once

#include <stilla/base/target.hpp>
#include <stilla/portable/target.hpp>

// The instruction sets that the compiler may use in dotprod's kernels, between STILLA_TARGET_BEGIN and STILLA_TARGET_END (region.hpp).
// On Arm, an architecture that is named there replaces the one of the compiler flags, and instruction sets that only the flags gave are
// lost. So where the flags already give the dot product, only "+simd" is named, which every AArch64 CPU has.
#if defined(__ARM_FEATURE_DOTPROD)
#define STILLA_SETS_DOTPROD "+simd"
#else
#define STILLA_SETS_DOTPROD "arch=armv8.2-a+dotprod"
#endif

// Whether the compiler has the intrinsics of the dot product inside a region. clang before 16 has them only where the compiler
// flags give the instructions.
#if !STILLA_ARCH_ARM
#define STILLA_HAS_DOTPROD 0
#elif defined(__clang__) && __clang_major__ < 16 && !defined(__ARM_FEATURE_DOTPROD)
#define STILLA_HAS_DOTPROD 0
#else
#define STILLA_HAS_DOTPROD 1
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Dotprod {
  using Fallback = Portable;
  static constexpr TargetId id{"dotprod"};
  static constexpr bool is_compiled = STILLA_ARCH_ARM;
  static constexpr bool is_guaranteed = STILLA_HAS_SET(__ARM_FEATURE_DOTPROD);
  static bool available(const CpuInfo& cpu) { return STILLA_ARCH_ARM != 0 && cpu.has_dotprod(); }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
