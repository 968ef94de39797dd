// SPDX-License-Identifier: Apache-2.0
//
// The target amx: AVX-512 and AMX, which has tile registers of 16 x 64 bytes and an instruction that multiplies two of them as bf16.
// Intel Sapphire Rapids (2023) was the first CPU with it.
//
// Linux lets a process use tiles after the process has asked for them (CpuInfo::tiles_granted). On other systems the target is
// not available. Compiler flags cannot guarantee that permission, so no build with STILLA_SINGLE_TARGET has this target.
#pragma once

#include <stilla/base/target.hpp>
#include <stilla/x86_avx512vnni/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Amx {
  using Fallback = Avx512Vnni;
  static constexpr TargetId id{"amx"};
  static constexpr bool is_compiled = STILLA_ARCH_X86;
  static constexpr bool is_guaranteed = false;  // flags cannot guarantee it, because the process has to ask the system
  static bool available(const CpuInfo& cpu) {
    constexpr unsigned amx_bf16 = 22, amx_tile = 24;  // bits of cpuid: leaf 7 edx
    return Avx512Vnni::available(cpu) && CpuInfo::bit(cpu.leaf7.edx, amx_tile) && CpuInfo::bit(cpu.leaf7.edx, amx_bf16) &&
           cpu.tiles_granted;
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
