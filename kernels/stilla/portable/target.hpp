// SPDX-License-Identifier: Apache-2.0
//
// Portable: kernels written once with Highway's vector types. On x86-64 they are compiled for Highway's AVX2 target (AVX2, FMA,
// F16C: Intel Haswell 2013, AMD Excavator 2015 and later), on AArch64 for NEON, which all AArch64 CPUs have. Other architectures run
// `scalar`: the specification needs a fused multiply-add, and emulating it in software would make a vector path slower than plain
// code.
#pragma once

#include <stilla/base/target.hpp>
#include <stilla/scalar/target.hpp>

// STILLA_HAS_PORTABLE is 1 where this translation unit compiles the portable kernels. With STILLA_SINGLE_TARGET, the compiler flags
// must guarantee the instruction sets of these kernels. On Arm it is 0 with compilers that do not define __ARM_NEON, such as
// Microsoft's: there Highway 1.0.3 finds no NEON for these kernels.
#if !STILLA_HIGHWAY
#define STILLA_HAS_PORTABLE 0
#elif STILLA_ARCH_ARM && defined(__ARM_NEON)
#define STILLA_HAS_PORTABLE 1
#elif STILLA_ARCH_X86 && (!STILLA_SINGLE_TARGET || STILLA_FLAGS_GIVE_AVX2)
#define STILLA_HAS_PORTABLE 1
#else
#define STILLA_HAS_PORTABLE 0
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Portable {
  using Fallback = Scalar;
  static constexpr TargetId id{"portable"};
  static constexpr bool is_compiled = STILLA_HAS_PORTABLE;
  static constexpr bool is_guaranteed = STILLA_HAS_PORTABLE;  // used only with STILLA_SINGLE_TARGET, where the macro depends on the flags
  static bool available(const CpuInfo& cpu) {
#if STILLA_ARCH_X86
    constexpr unsigned fma = 12, f16c = 29, avx2 = 5, bmi = 3, bmi2 = 8;  // bits of cpuid: two in leaf 1 ecx, three in leaf 7 ebx
    return cpu.saves_ymm() && CpuInfo::bit(cpu.leaf1.ecx, fma) && CpuInfo::bit(cpu.leaf1.ecx, f16c) && CpuInfo::bit(cpu.leaf7.ebx, avx2) &&
           CpuInfo::bit(cpu.leaf7.ebx, bmi) && CpuInfo::bit(cpu.leaf7.ebx, bmi2);
#else
    (void)cpu;
    return STILLA_ARCH_ARM != 0;
#endif
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
