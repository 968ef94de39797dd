// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary of this folder's kernels: the HVX operations on vectors of 128 bytes that they need. `Hvx` has them as
// intrinsics; hvx_plain.hpp has the same operations in plain C++ for any CPU. Kernels take one of the two as a template argument
// V.
//
// There is no run-time choice. The intrinsics exist where the compiler was given -mhvx -mhvx-length=128B, which defines __HVX__.
// Such a translation unit is compiled for a DSP only and contains no CPU targets.
//
//   V::Vector, V::Pair     a vector: 128 bytes, 64 halves or 32 words in lanes, little endian; a pair is two vectors
//   V::Local<T, n>         an array on the stack that vectors may be stored to
//   load, store            vectors at addresses that are multiples of 128 (the hardware drops the address's low bits)
//   load_next<n, at>(p)    loads the vector that is `at` vectors behind p, and then moves p on by n vectors
//   in_order(a, b, ...)    makes the compiler compute these vectors here, neither earlier nor later, and end a packet. So does
//                          load_next. The order that clang 19 chooses without them fills packets less well
//   two_words              loads 8 bytes for the scalar core. Their address must be a multiple of 8, otherwise the load is a fault
//
// A word has 32 bits, a half 16. `lower` and `upper` are the two vectors of a pair.
//
//   operation                   lane by lane                                       instruction           unit it occupies
//   dot4(a, x)                  words: sum over j < 4 of a.u8[4i + j] * x.s8[j]    vrmpy                 a multiplier
//   dot4(sum, a, x)             words: sum + dot4(a, x)                            vrmpy                 a multiplier
//   dot2(sum, a, b)             words: sum + a.s16[2i] * b.s16[2i] + a.s16[2i + 1] * b.s16[2i + 1],
//                               saturating                                         vdmpy:sat             both multipliers
//   sum2(sum, a)                words: sum + a.s16[2i] + a.s16[2i + 1]             vdmpy                 a multiplier
//   products(a, b)              words: a.s16 * b.s16. The result's lower vector has the even lanes' products,
//                               its upper vector the odd lanes'                    vmpy                  both multipliers
//   times_q15(a, b)             halves: saturate((a * b + 2^14) >> 15)             vmpy:<<1:rnd:sat      a multiplier
//   words_times_q15(a, b)       words: saturate((a.s32 * b.s16[2i + 1] + 2^14) >> 15)   vmpyo:<<1:rnd:sat  both multipliers
//   narrow(upper, lower, s)     halves: odd lanes upper >> s, even ones lower >> s;
//                               their low 16 bits, s = 0..15                       vasr                  the shifter
//   narrow_saturating           as narrow, but saturated to 16 bits                vasr:sat              the shifter
//   even_halves(upper, lower)   as narrow with s = 0, without the shifter          vshuffe               any pipe
//   deal_words(upper, lower)    the result's lower vector: the even words of `lower`, then those of `upper`;
//                               its upper vector: the odd words in the same order  vdeal                 permutation
//   sub_words of pairs          subtracts both vectors of the pairs at once        vsub                  two pipes
//   shift_right(a, s)           words, arithmetic, s = 0..31                       vasr                  the shifter
//   shift_left(a, s)            words, s = 0..31                                   vasl                  the shifter
//   shift_halves_right(a, s)    unsigned halves, s = 0..15                         vlsr                  the shifter
//   shift_each_right(a, s)      unsigned halves, each by its half of s, 0..15      vlsr                  the shifter
//   where_negative(a, b, c)     halves: a < 0 ? b : c                              vcmp, vmux            any pipe, twice
//   bit_and, add, sub, max, min   words or halves; they wrap unless saturating     vand ...              any pipe
//   magnitude_words(a)          words: |a|; -2^31 stays -2^31                      vabs                  any pipe
//   splat_word, splat_half      a scalar in all lanes                              vsplat                a multiplier
//
// A packet is a group of up to four instructions that the DSP issues at once. One of them may load a vector, and two may multiply.
// The comments of the kernels give the length of a loop in packets.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <stilla/base/config.hpp>

#if defined(__HVX__)
#include <hexagon_types.h>
#include <hvx_hexagon_protos.h>
#endif

// On the DSP everything is inlined into a kernel, because vectors among a call's arguments would go through memory. A sweep, the kernel of
// a matrix product, is never inlined, so that tests/npu_hexagon/packets.py finds its loop in the program. On other machines inlining would
// only make the compiler slow.
#if defined(__HVX__)
#define STILLA_HVX_INLINE inline __attribute__((always_inline))
#define STILLA_HVX_NOINLINE __attribute__((noinline))
#define STILLA_HVX_UNROLL _Pragma("clang loop unroll(full)")
#else
#define STILLA_HVX_INLINE inline
#define STILLA_HVX_NOINLINE
#define STILLA_HVX_UNROLL
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace hexagon {

inline constexpr size_t vector_bytes = 128;
inline constexpr size_t vector_halves = 64;
inline constexpr size_t vector_words = 32;

struct TwoWords {
  int32_t first;
  int32_t second;
};

#if defined(__HVX__)
struct Hvx {
  using Vector = HVX_Vector;
  struct Pair {
    Vector lower, upper;
  };
  template <class T, size_t n>
  struct Local {
    alignas(vector_bytes) T values[n];
  };

  static STILLA_HVX_INLINE Vector load(const void* from) { return *static_cast<const Vector*>(from); }
  template <ptrdiff_t n, ptrdiff_t at = 0>
  static STILLA_HVX_INLINE Vector load_next(const uint8_t*& from) {
    const Vector a = load(from + at * static_cast<ptrdiff_t>(vector_bytes));
    from += n * static_cast<ptrdiff_t>(vector_bytes);
    asm("" : "+r"(from));  // the compiler does not schedule instructions across this point
    return a;
  }
  static STILLA_HVX_INLINE void in_order(Vector& a) { asm volatile("" : "+v"(a)); }
  static STILLA_HVX_INLINE void in_order(Vector& a, Vector& b) { asm volatile("" : "+v"(a), "+v"(b)); }
  static STILLA_HVX_INLINE void in_order(Vector& a, Vector& b, Vector& c) { asm volatile("" : "+v"(a), "+v"(b), "+v"(c)); }
  static STILLA_HVX_INLINE void in_order(Vector& a, Vector& b, Vector& c, Vector& d) {
    asm volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d));
  }
  static STILLA_HVX_INLINE void in_order(Vector& a, Vector& b, const uint8_t*& p) { asm volatile("" : "+v"(a), "+v"(b), "+r"(p)); }
  static STILLA_HVX_INLINE void store(void* to, Vector a) { *static_cast<Vector*>(to) = a; }
  static STILLA_HVX_INLINE TwoWords two_words(const void* from) {
    const int64_t both = *static_cast<const int64_t*>(from);
    return {static_cast<int32_t>(both), static_cast<int32_t>(both >> 32)};
  }

  static STILLA_HVX_INLINE Vector zero() { return Q6_V_vzero(); }
  static STILLA_HVX_INLINE Vector splat_word(int32_t x) { return Q6_V_vsplat_R(x); }
  static STILLA_HVX_INLINE Vector splat_half(int32_t x) { return Q6_Vh_vsplat_R(x); }
  static STILLA_HVX_INLINE Vector bit_and(Vector a, Vector b) { return Q6_V_vand_VV(a, b); }

  static STILLA_HVX_INLINE Vector add_words(Vector a, Vector b) { return Q6_Vw_vadd_VwVw(a, b); }
  static STILLA_HVX_INLINE Vector sub_words(Vector a, Vector b) { return Q6_Vw_vsub_VwVw(a, b); }
  static STILLA_HVX_INLINE Pair sub_words(Pair a, Pair b) {
    const HVX_VectorPair d = Q6_Ww_vsub_WwWw(Q6_W_vcombine_VV(a.upper, a.lower), Q6_W_vcombine_VV(b.upper, b.lower));
    return {Q6_V_lo_W(d), Q6_V_hi_W(d)};
  }
  static STILLA_HVX_INLINE Vector add_halves(Vector a, Vector b) { return Q6_Vh_vadd_VhVh(a, b); }
  static STILLA_HVX_INLINE Vector add_halves_saturating(Vector a, Vector b) { return Q6_Vh_vadd_VhVh_sat(a, b); }
  static STILLA_HVX_INLINE Vector sub_halves(Vector a, Vector b) { return Q6_Vh_vsub_VhVh(a, b); }
  static STILLA_HVX_INLINE Vector sub_halves_saturating(Vector a, Vector b) { return Q6_Vh_vsub_VhVh_sat(a, b); }
  static STILLA_HVX_INLINE Vector max_halves(Vector a, Vector b) { return Q6_Vh_vmax_VhVh(a, b); }
  static STILLA_HVX_INLINE Vector min_halves(Vector a, Vector b) { return Q6_Vh_vmin_VhVh(a, b); }
  static STILLA_HVX_INLINE Vector max_words(Vector a, Vector b) { return Q6_Vw_vmax_VwVw(a, b); }
  static STILLA_HVX_INLINE Vector magnitude_words(Vector a) { return Q6_Vw_vabs_Vw(a); }
  static STILLA_HVX_INLINE Vector where_negative(Vector a, Vector b, Vector c) {
    return Q6_V_vmux_QVV(Q6_Q_vcmp_gt_VhVh(Q6_V_vzero(), a), b, c);
  }

  static STILLA_HVX_INLINE Vector shift_right(Vector a, int s) { return Q6_Vw_vasr_VwR(a, s); }
  static STILLA_HVX_INLINE Vector shift_left(Vector a, int s) { return Q6_Vw_vasl_VwR(a, s); }
  static STILLA_HVX_INLINE Vector shift_halves_right(Vector a, int s) { return Q6_Vuh_vlsr_VuhR(a, s); }
  static STILLA_HVX_INLINE Vector shift_each_right(Vector a, Vector s) { return Q6_Vh_vlsr_VhVh(a, s); }
  static STILLA_HVX_INLINE Vector narrow(Vector upper, Vector lower, int s) { return Q6_Vh_vasr_VwVwR(upper, lower, s); }
  static STILLA_HVX_INLINE Vector narrow_saturating(Vector upper, Vector lower, int s) { return Q6_Vh_vasr_VwVwR_sat(upper, lower, s); }
  static STILLA_HVX_INLINE Vector even_halves(Vector upper, Vector lower) { return Q6_Vh_vshuffe_VhVh(upper, lower); }

  static STILLA_HVX_INLINE Pair deal_words(Vector upper, Vector lower) {
    const HVX_VectorPair d = Q6_W_vdeal_VVR(upper, lower, -4);
    return {Q6_V_lo_W(d), Q6_V_hi_W(d)};
  }

  static STILLA_HVX_INLINE Vector dot4(Vector a, int32_t x) { return Q6_Vw_vrmpy_VubRb(a, x); }
  static STILLA_HVX_INLINE Vector dot4(Vector sum, Vector a, int32_t x) { return Q6_Vw_vrmpyacc_VwVubRb(sum, a, x); }
  static STILLA_HVX_INLINE Vector dot2(Vector sum, Vector a, Vector b) { return Q6_Vw_vdmpyacc_VwVhVh_sat(sum, a, b); }
  static STILLA_HVX_INLINE Vector sum2(Vector sum, Vector a) { return Q6_Vw_vdmpyacc_VwVhRb(sum, a, 0x01010101); }
  static STILLA_HVX_INLINE Pair products(Vector a, Vector b) {
    const HVX_VectorPair p = Q6_Ww_vmpy_VhVh(a, b);
    return {Q6_V_lo_W(p), Q6_V_hi_W(p)};
  }
  static STILLA_HVX_INLINE Vector times_q15(Vector a, Vector b) { return Q6_Vh_vmpy_VhVh_s1_rnd_sat(a, b); }
  static STILLA_HVX_INLINE Vector words_times_q15(Vector a, Vector b) { return Q6_Vw_vmpyo_VwVh_s1_rnd_sat(a, b); }
};
#endif

}}}  // namespace stilla::hexagon

#include <stilla/base/pop_macros-inl.hpp>
