// SPDX-License-Identifier: Apache-2.0
//
// Defines loops that measure the peak of a target. They run its fastest instruction that multiplies and adds, on registers alone. The
// speed of matmuls is judged by this limit. A target's folder has its loops in peak.hpp; the benchmarks run them (bench/roofline.hpp).
// A target that has no loop of its own uses its fallback's.
#pragma once

#include <cstddef>

#include <stilla/base/target.hpp>
#include <stilla/region.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct MacLoop {
  const char* name = nullptr;  // the instruction's name; null: no loop is known
  void (*run)(std::size_t rounds) = nullptr;
  double macs_per_round = 0.0;
};

// The loops of a target: `int8` multiplies bytes, as quantised weights need it, and `f32` multiplies floats.
template <class Target>
struct PeakLoops : PeakLoops<typename Target::Fallback> {};
template <class Target>
  requires(!requires { typename Target::Fallback; })
struct PeakLoops<Target> {
  static constexpr MacLoop int8{}, f32{};
};

// How many independent sums a loop of multiply-adds has. Twelve are enough to hide a latency of 6 cycles on two ports.
inline constexpr std::size_t mac_chains = 12;

}}  // namespace stilla

#if defined(__GNUC__)
// Names a vector register as an operand of an asm statement that reads and writes it.
#if STILLA_ARCH_ARM
#define STILLA_MAC_OPERAND(x) "+w"(x)
#else
#define STILLA_MAC_OPERAND(x) "+v"(x)
#endif

// Defines NAME(rounds), which runs mac_chains steps on registers `rounds` times. `step` is an expression of sums[i] and x. The
// empty asm makes each sum opaque to the compiler, so that it merges or drops no step. For use inside a target region.
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
#endif

#include <stilla/base/pop_macros-inl.hpp>
