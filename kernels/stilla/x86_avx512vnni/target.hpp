// SPDX-License-Identifier: Apache-2.0
//
// The target avx512vnni: AVX-512 with the subsets F, BW, VL and VNNI. Intel Cascade Lake (2019) was the first CPU with them; Ice Lake
// and AMD Zen 4 have them too.
#pragma once

#include <stilla/base/target.hpp>
#include <stilla/x86_avx2/target.hpp>

// The instruction sets of avx512vnni's target regions (region.hpp).
#define STILLA_SETS_AVX512VNNI "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni"

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Avx512Vnni {
  using Fallback = Avx2;  // not AvxVnni, which Ice Lake and Zen 4 lack
  static constexpr TargetId id{"avx512vnni"};
  static constexpr bool is_compiled = STILLA_ARCH_X86;
  static constexpr bool is_guaranteed = Avx2::is_guaranteed && STILLA_HAS_SET(__AVX512F__) && STILLA_HAS_SET(__AVX512BW__) &&
                                        STILLA_HAS_SET(__AVX512VL__) && STILLA_HAS_SET(__AVX512VNNI__);
  static bool available(const CpuInfo& cpu) {
    constexpr unsigned avx512f = 16, avx512bw = 30, avx512vl = 31, avx512vnni = 11;  // bits of cpuid: in leaf 7 ebx, the last one in ecx
    return Avx2::available(cpu) && cpu.saves_zmm() && CpuInfo::bit(cpu.leaf7.ebx, avx512f) && CpuInfo::bit(cpu.leaf7.ebx, avx512bw) &&
           CpuInfo::bit(cpu.leaf7.ebx, avx512vl) && CpuInfo::bit(cpu.leaf7.ecx, avx512vnni);
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
