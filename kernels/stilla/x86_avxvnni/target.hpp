// SPDX-License-Identifier: Apache-2.0
//
// The target avxvnni: AVX-VNNI has vpdpbusd, a dot product of bytes, on 256-bit registers without AVX-512. Intel Alder Lake (2021) was
// the first CPU with it; AMD Zen 5 has it too.
#pragma once

#include <stilla/base/target.hpp>
#include <stilla/x86_avx2/target.hpp>

// The instruction sets that the compiler may use in avxvnni's kernels, between STILLA_TARGET_BEGIN and STILLA_TARGET_END (region.hpp).
#define STILLA_SETS_AVXVNNI "avx2,fma,f16c,avxvnni"

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct AvxVnni {
  using Fallback = Avx2;
  static constexpr TargetId id{"avxvnni"};
  static constexpr bool is_compiled = STILLA_ARCH_X86;
  static constexpr bool is_guaranteed = Avx2::is_guaranteed && STILLA_HAS_SET(__AVXVNNI__);
  static bool available(const CpuInfo& cpu) {
    constexpr unsigned avx_vnni = 4;  // a bit of cpuid: leaf (7, 1) eax
    return Avx2::available(cpu) && CpuInfo::bit(cpu.leaf7_1.eax, avx_vnni);
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
