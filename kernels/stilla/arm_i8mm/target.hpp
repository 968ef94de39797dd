// SPDX-License-Identifier: Apache-2.0
//
// The target i8mm: NEON with smmla, which multiplies 2 x 8 by 8 x 2 bytes (FEAT_I8MM). Neoverse V1 and N2, Cortex-X2 and A710 (2021),
// Apple M2, Snapdragon X and later CPUs have it. The only kernel that is written for this target is the matmul of many tokens. All other
// kernels are those of its fallback, dotprod.
//
// Whether smmla is faster depends on the core. An smmla does the work of two sdot. In a cycle, Arm's own cores execute as many smmla as
// sdot, and Qualcomm's Oryon in Snapdragon X executes half as many. So the target is used on Arm's cores and not on Oryon. On other
// cores, and on systems that do not tell the core, a measurement of some microseconds decides, once in a program.
#pragma once

#include <optional>

#include <stilla/arm_dotprod/target.hpp>
#include <stilla/base/target.hpp>

#if STILLA_ARCH_ARM  // headers for measuring sdot and smmla, which other CPUs do not need
#include <chrono>
#include <cstddef>

#include <stilla/arm_dotprod/peak.hpp>
#include <stilla/generic/peak.hpp>
#endif

// The instruction sets that the compiler may use in i8mm's kernels, between STILLA_TARGET_BEGIN and STILLA_TARGET_END (region.hpp). Where
// the compiler flags already give some of these sets, only the others are named; if there are no others, "+simd", which every AArch64
// CPU has (arm_dotprod/target.hpp says why).
#if defined(__ARM_FEATURE_MATMUL_INT8)
#define STILLA_SETS_I8MM "+simd"
#elif defined(__ARM_FEATURE_DOTPROD)
#define STILLA_SETS_I8MM "+i8mm"
#else
#define STILLA_SETS_I8MM "arch=armv8.2-a+dotprod+i8mm"
#endif
#define STILLA_HAS_I8MM STILLA_HAS_DOTPROD

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_HAS_I8MM && defined(__GNUC__)
#include <arm_neon.h>

STILLA_TARGET_BEGIN(STILLA_SETS_I8MM)
namespace stilla { inline namespace STILLA_ABI { namespace i8mm {
STILLA_MAC_LOOP(smmla_loop, int8x16_t, vdupq_n_s8, vreinterpretq_s8_s32(vmmlaq_s32(vreinterpretq_s32_s8(sums[i]), x, x)))
}}}  // namespace stilla::i8mm
STILLA_TARGET_END
#endif

namespace stilla { inline namespace STILLA_ABI {

namespace i8mm {

enum class Designer : unsigned { unknown = 0, arm = 0x41, qualcomm = 0x51, microsoft = 0x6d };
inline constexpr unsigned oryon_of_snapdragon_x = 0x001;  // a part number of Qualcomm's

// Returns whether the kernels are faster with smmla on this core than with sdot. The result is empty if this is not known for the core
// and has to be measured.
constexpr std::optional<bool> smmla_is_known_faster(const CpuInfo& cpu) {
  switch (static_cast<Designer>(cpu.implementer())) {
    case Designer::arm:
    case Designer::microsoft: return true;  // Microsoft's Cobalt 100 is a Neoverse N2
    case Designer::qualcomm:
      if (cpu.part() == oryon_of_snapdragon_x) return false;
      break;
    default: break;
  }
  return std::nullopt;
}

// Measures smmla and sdot on registers alone. Returns whether smmla multiplies more than 1.25 times as many bytes as sdot in the same time.
// A smaller advantage does not count, because a kernel also has float operations, which are the same with both instructions.
inline bool smmla_measures_faster() {
#if STILLA_HAS_I8MM && defined(__GNUC__)
  using Clock = std::chrono::steady_clock;
  constexpr std::size_t rounds = 1000;
  Clock::duration best[2] = {Clock::duration::max(), Clock::duration::max()};
  for (int repeat = 0; repeat < 5; ++repeat) {
    for (int which = 0; which < 2; ++which) {
      const Clock::time_point start = Clock::now();
      which == 0 ? dotprod::sdot_loop(rounds) : smmla_loop(rounds);
      const Clock::duration time = Clock::now() - start;
      if (time < best[which]) best[which] = time;
    }
  }
  return 8 * best[0] > 5 * best[1];  // an smmla computes twice as many products as an sdot
#else
  return false;
#endif
}

}  // namespace i8mm

struct I8mm {
  using Fallback = Dotprod;
  static constexpr TargetId id{"i8mm"};
  static constexpr bool is_compiled = STILLA_ARCH_ARM;
  static constexpr bool is_guaranteed = Dotprod::is_guaranteed && STILLA_HAS_SET(__ARM_FEATURE_MATMUL_INT8);
  static bool available(const CpuInfo& cpu) { return Dotprod::available(cpu) && cpu.has_i8mm(); }
  static bool is_faster(const CpuInfo& cpu) {
    if (const std::optional<bool> known = i8mm::smmla_is_known_faster(cpu)) return *known;
    static const bool measured = i8mm::smmla_measures_faster();
    return measured;
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
