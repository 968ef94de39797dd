// SPDX-License-Identifier: Apache-2.0
//
// The limit that matmuls of a target are judged by: its fastest instruction that multiplies and adds, as a loop on registers. A
// target's folder has its loops in peak.hpp; the benchmarks run them (bench/roofline.hpp). What a target does not have is that
// of its fallback.
#pragma once

#include <cstddef>

#include <stilla/base/target.hpp>
#include <stilla/region.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct MacLoop {
  const char* name = nullptr;  // of the instruction; null: none is known
  void (*run)(std::size_t rounds) = nullptr;
  double macs_per_round = 0.0;
};

// int8: of bytes, which quantised weights take;  f32: of floats.
template <class Target>
struct PeakLoops : PeakLoops<typename Target::Fallback> {};
template <class Target>
  requires(!requires { typename Target::Fallback; })
struct PeakLoops<Target> {
  static constexpr MacLoop int8{}, f32{};
};

// Independent sums, enough to hide a latency of 6 cycles on two ports.
inline constexpr std::size_t mac_chains = 12;

}}  // namespace stilla

// A vector register as an operand of asm.
#if STILLA_ARCH_ARM
#define STILLA_MAC_OPERAND(x) "+w"(x)
#else
#define STILLA_MAC_OPERAND(x) "+v"(x)
#endif

// Defines NAME(rounds): `rounds` times mac_chains steps on registers. The empty asm makes each sum opaque, so that no step is merged
// or left out. `step` uses sums[i] and x. For use inside a target region.
#define STILLA_MAC_LOOP(NAME, Vector, set, step)                   \
  inline STILLA_NOINLINE void NAME(std::size_t rounds) {           \
    const Vector x = set(1);                                       \
    Vector sums[mac_chains];                                       \
    STILLA_UNROLL                                                  \
    for (std::size_t i = 0; i < mac_chains; ++i) sums[i] = set(1); \
    for (std::size_t r = 0; r < rounds; ++r) {                     \
      STILLA_UNROLL                                                \
      for (std::size_t i = 0; i < mac_chains; ++i) {               \
        sums[i] = step;                                            \
        __asm__ volatile("" : STILLA_MAC_OPERAND(sums[i]));        \
      }                                                            \
    }                                                              \
  }

#include <stilla/base/pop_macros-inl.hpp>
