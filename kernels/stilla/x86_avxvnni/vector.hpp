// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary with AVX-VNNI: the vector operations that generic/vocabulary-inl.hpp lists and that the generic kernels are written
// against. They are those of x86_avx2/vector256-inl.hpp, and the dot product.
//
//   instruction   what                       how many a cycle (sources: uops.info, cpufp)     Alder Lake P  Lion Cove  Zen 5
//   vpdpbusd ymm  acc += u8 * s8, 4 per lane                                                  2            2          2
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <stilla/base/types.hpp>
#include <stilla/contract/matmul.hpp>  // small_stacks
#include <stilla/region.hpp>
#include <stilla/x86_avx2/few_ahead.hpp>
#include <stilla/x86_avxvnni/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86
#include <immintrin.h>

STILLA_TARGET_BEGIN(STILLA_SETS_AVXVNNI)
namespace stilla { inline namespace STILLA_ABI { namespace avxvnni {

#include <stilla/x86_avx2/vector256-inl.hpp>

inline constexpr int largest_code = 255;

// Returns in each int32 lane: acc + the sum over four neighbouring bytes of codes (of format F, unsigned) times activations x (signed).
template <class F>
STILLA_INLINE Int dot_codes(Int acc, Int codes_u8x32, Int x_s8x32) {
#if defined(__GNUC__) && !defined(__clang__)
  // With the intrinsic of vpdpbusd, GCC 12 copies the accumulator to another register and back. With an asm that has a tied operand it
  // does not.
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(codes_u8x32), "x"(x_s8x32));
  return acc;
#else
  return _mm256_dpbusd_avx_epi32(acc, codes_u8x32, x_s8x32);
#endif
}

template <class F>
struct NarrowSums {
  static constexpr std::size_t quads = 1;
};

// Returns what dot_codes() returns if every lane has the same four activations: those at `x`.
template <class F>
STILLA_INLINE Int dot_codes_at(Int acc, Int codes, Quads&, const std::int8_t* x, std::size_t) {
  return dot_codes<F>(acc, codes, broadcast4(x));
}

// Returns in each int32 lane: acc + the sum over two neighbouring 16-bit integers of w * x. (w are sub-minimums, x sums of activations.)
STILLA_INLINE PairSums dot_pairs(PairSums acc, Int w, Int x) { return _mm256_dpwssd_avx_epi32(acc, w, x); }

}}}  // namespace stilla::avxvnni
STILLA_TARGET_END
#endif

#include <stilla/base/pop_macros-inl.hpp>
