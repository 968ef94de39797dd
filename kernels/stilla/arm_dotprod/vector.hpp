// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary (generic/vocabulary-inl.hpp) on NEON with dot products. Four vectors hold one int32 or float for each row of a
// panel. Four activations are a lane of a register that holds sixteen; sdot reads them from this lane, so that nothing is
// broadcast. The table says how many of these two instructions each CPU executes in a cycle.
//
//   instruction   what it does                            per cycle (LLVM's models)   Neoverse N1, N2   Neoverse V1, V2   Oryon
//   sdot          adds 4 products of signed bytes per lane                                  2                 4             4
//   scvtf         converts int32 to float                                                   1                 2             4
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <stilla/arm_dotprod/target.hpp>
#include <stilla/base/types.hpp>
#include <stilla/contract/matmul.hpp>  // small_stacks
#include <stilla/region.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_HAS_DOTPROD
#include <arm_neon.h>
#if !defined(__GNUC__) && !defined(__clang__)
#include <intrin.h>  // __prefetch of Microsoft's compiler
#endif

STILLA_TARGET_BEGIN(STILLA_SETS_DOTPROD)
namespace stilla { inline namespace STILLA_ABI { namespace dotprod {

using Int = int32x4_t;
using Float = float32x4_t;
inline constexpr std::size_t lanes = 4;
inline constexpr int largest_code = 127;  // sdot multiplies signed bytes by signed bytes

// How many bytes ahead of their use the kernels for few tokens prefetch a panel into L1; they prefetch twice as far ahead into
// L2. No Arm CPU was at hand: these values did best on x86 servers (x86_avx2/few_ahead.hpp).
inline constexpr std::size_t few_ahead_of_one = 3072, few_ahead_of_several = 4608;

// The sizes of what the matmul kernels compute at once. They are chosen for the 32 vector registers and the caches of Arm CPUs.
// generic/vocabulary-inl.hpp describes each size.
struct Budget {
  // In the kernel for few tokens, 2 tokens have 8 vectors of running sums and 8 of products. 4 tokens would need 32 registers for
  // these, which is all of them.
  static constexpr std::size_t few_tokens = 2;
  static constexpr std::size_t few_panels = 1, few_panels_tokens = 1;
  static constexpr std::size_t few_ahead(std::size_t tokens) { return tokens == 1 ? few_ahead_of_one : few_ahead_of_several; }
  // By LLVM's models (bench/port_limits.py, Q4_0, GCC 12), 256 products of one token take 9.4 to 10.2 cycles in the kernel for few
  // tokens, which computes two tokens together, and 5.0 cycles in a sweep. Unpacking comes before a sweep, and all its tokens share
  // that work, so panels are swept from 8 tokens on. From how many tokens on a sweep is faster was not measured.
  static constexpr std::size_t fewest_to_sweep = 8;
  // The tile of a sweep, 16 rows (4 vectors) x 3 tokens, has 12 vectors of products, which are enough to hide a latency of 3 cycles on 4
  // pipes, and 12 of running sums. With 3 of activations and 4 of operands they take 31 registers. Other tiles were compared with this one
  // by LLVM's models (bench/port_limits.py, Q4_0, GCC 12). Tiles of 12 rows x 4 tokens and of 8 x 6 take the same time with activations of
  // 8 bits and 1 to 6 % longer with 16 bits. A tile of 16 x 2 takes 4 to 7 % longer, and one of 16 x 4 spills registers.
  static constexpr std::size_t set_panels = 1, sweep_rows = 16;
  static constexpr std::size_t sweep_tokens(std::size_t) { return 3; }
  static constexpr std::size_t minimum_vectors = 1;
  static constexpr std::size_t chunk_k = 2048;
  static constexpr std::size_t sets = small_stacks ? 2 : 6;
  // The tile for float weights, 6 tokens x 4 vectors of rows, has 24 sums; with 4 weights and an activation they take 29 of the 32
  // registers.
  static constexpr std::size_t float_tokens = 6, float_vectors = 30, float_panels_of_one = 4, float_chunk_k = 192;
};

STILLA_INLINE int8x16_t as_s8(Int x) { return vreinterpretq_s8_s32(x); }
STILLA_INLINE uint8x16_t as_u8(Int x) { return vreinterpretq_u8_s32(x); }
STILLA_INLINE int16x8_t as_s16(Int x) { return vreinterpretq_s16_s32(x); }
STILLA_INLINE uint16x8_t as_u16(Int x) { return vreinterpretq_u16_s32(x); }

#if defined(__GNUC__) || defined(__clang__)
STILLA_INLINE void prefetch_near(const void* at) { __builtin_prefetch(at, 0, 3); }
STILLA_INLINE void prefetch_far(const void* at) { __builtin_prefetch(at, 0, 2); }
#else
STILLA_INLINE void prefetch_near(const void* at) { __prefetch(at); }
STILLA_INLINE void prefetch_far(const void*) {}
#endif

// Returns x. For GCC there is an empty asm statement that reads x and might change it. So GCC has to compute x at this place, once, and to
// hold it in a register.
STILLA_INLINE Int keep(Int x) {
#if defined(__GNUC__) && !defined(__clang__)
  __asm__("" : "+w"(x));
#endif
  return x;
}
// No load moves past a call of this function. Without it, compilers move all loads of a block before the first product, and the loaded
// values do not fit the registers: GCC 12 then had 0.14 (8 bits, Q4_0) to 0.74 (16 bits) accesses to the stack for each sdot of a sweep.
STILLA_INLINE void loads_stay() {
#if defined(__GNUC__)
  __asm__ volatile("" ::: "memory");
#endif
}
// Makes clang compute the vectors of `sums` here. Without this, clang moves products and sums behind the loads that follow, past
// loads_stay(), and must keep the operands of the delayed products in registers beside the newly loaded ones. clang 19 then had up to 0.38
// accesses to the stack for each sdot of a sweep (Q2_K); now it has at most 0.02. For GCC this function does nothing: GCC 12 has no such
// accesses anyway, and if it was held back in the same way, it took 4 % more cycles in Q4_0 by LLVM's model of Oryon.
template <class Sum, std::size_t Count>
STILLA_INLINE void sums_stay([[maybe_unused]] Sum (&sums)[Count]) {
#if defined(__clang__)
  STILLA_UNROLL
  for (std::size_t i = 0; i < Count; ++i) __asm__ volatile("" : "+w"(sums[i]));
#endif
}
STILLA_INLINE Int load(const void* from) { return vreinterpretq_s32_u8(vld1q_u8(static_cast<const std::uint8_t*>(from))); }
STILLA_INLINE void store(void* to, Int x) { vst1q_u8(static_cast<std::uint8_t*>(to), as_u8(x)); }
// Loads bytes for packing: column[i] gets the bytes 4i .. 4i + 3 of each of `lanes` rows, which begin at `rows` and are `stride` bytes
// apart.
STILLA_INLINE void load_columns(const std::byte* rows, std::size_t stride, Int (&column)[4]) {
  const Int a = load(rows), b = load(rows + stride), c = load(rows + 2 * stride), d = load(rows + 3 * stride);
  const Int ac = vzip1q_s32(a, c), bd = vzip1q_s32(b, d), ac_high = vzip2q_s32(a, c), bd_high = vzip2q_s32(b, d);
  column[0] = vzip1q_s32(ac, bd);
  column[1] = vzip2q_s32(ac, bd);
  column[2] = vzip1q_s32(ac_high, bd_high);
  column[3] = vzip2q_s32(ac_high, bd_high);
}
// These two functions store a part of each 32-bit lane of x, side by side at `to`: the lower half, or the lowest byte.
STILLA_INLINE void store_low_halves(std::byte* to, Int x) {
  vst1_u8(reinterpret_cast<std::uint8_t*>(to), vreinterpret_u8_s16(vmovn_s32(x)));
}
STILLA_INLINE void store_low_bytes(std::byte* to, Int x) {
  const int16x4_t halves = vmovn_s32(x);
  const std::uint32_t bytes = vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(halves, halves))), 0);
  std::memcpy(to, &bytes, sizeof bytes);
}
STILLA_INLINE Int first_of_pairs(const std::int32_t* pairs) { return vuzp1q_s32(vld1q_s32(pairs), vld1q_s32(pairs + lanes)); }
STILLA_INLINE Int second_of_pairs(const std::int32_t* pairs) { return vuzp2q_s32(vld1q_s32(pairs), vld1q_s32(pairs + lanes)); }
STILLA_INLINE Int broadcast4(const void* from) {  // four bytes
  std::int32_t four;
  std::memcpy(&four, from, sizeof four);
  return vdupq_n_s32(four);
}
STILLA_INLINE Int set_s32(std::int32_t x) { return vdupq_n_s32(x); }
STILLA_INLINE Int set_u8(int x) { return vreinterpretq_s32_u8(vdupq_n_u8(static_cast<std::uint8_t>(x))); }
STILLA_INLINE Int bit_and(Int a, Int b) { return vandq_s32(a, b); }
STILLA_INLINE Int bit_or(Int a, Int b) { return vorrq_s32(a, b); }
STILLA_INLINE Int bit_xor(Int a, Int b) { return veorq_s32(a, b); }
// These two functions shift bits within 16-bit lanes. To shift within bytes, the caller also masks the bits that came from the
// neighbouring byte.
template <int count>
STILLA_INLINE Int shift_right(Int x) {
  return vreinterpretq_s32_u16(vshrq_n_u16(as_u16(x), count));
}
template <int count>
STILLA_INLINE Int shift_left(Int x) {
  return vreinterpretq_s32_u16(vshlq_n_u16(as_u16(x), count));
}
STILLA_INLINE Int high_nibbles(Int x) { return vreinterpretq_s32_u8(vshrq_n_u8(as_u8(x), 4)); }
STILLA_INLINE Int add_s32(Int a, Int b) { return vaddq_s32(a, b); }
STILLA_INLINE Int sub_s32(Int a, Int b) { return vsubq_s32(a, b); }
STILLA_INLINE Int shift_left_s32(Int x, int count) { return vshlq_s32(x, vdupq_n_s32(count)); }
template <int count>
STILLA_INLINE Int shift_left_s32(Int x) {
  return vshlq_n_s32(x, count);
}
template <int count>
STILLA_INLINE Int shift_right_s32(Int x) {  // keeps the sign
  return vshrq_n_s32(x, count);
}
STILLA_INLINE Int table_of(const std::int8_t* sixteen) { return vreinterpretq_s32_s8(vld1q_s8(sixteen)); }
STILLA_INLINE Int look_up(Int table, Int index_u8x16) { return vreinterpretq_s32_u8(vqtbl1q_u8(as_u8(table), as_u8(index_u8x16))); }

// Returns in each int32 lane: acc + the sum over four neighbouring bytes of codes (of format F) times activations x, both signed.
template <class F>
STILLA_INLINE Int dot_codes(Int acc, Int codes, Int x) {
  return vdotq_s32(acc, as_s8(codes), as_s8(x));
}

// Quads holds sixteen activations in a register, and Quad names one lane of it. An instruction contains the number of the lane, so the
// compiler must know it. It knows it because the loops around the calls are unrolled.
struct Quads {
  STILLA_INLINE Quads() {}  // GCC would compile an implicit constructor outside of the region
  int8x16_t sixteen;
};
struct Quad {
  int8x16_t sixteen;
  std::size_t lane;
};
STILLA_INLINE Quad quad(Quads& held, const std::int8_t* at, std::size_t i) {
  if (i == 0) held.sixteen = vld1q_s8(at);
  return {held.sixteen, i};
}
template <class F>
STILLA_INLINE Int dot_codes(Int acc, Int codes, Quad x) {
  switch (x.lane) {
    case 0: return vdotq_laneq_s32(acc, as_s8(codes), x.sixteen, 0);
    case 1: return vdotq_laneq_s32(acc, as_s8(codes), x.sixteen, 1);
    case 2: return vdotq_laneq_s32(acc, as_s8(codes), x.sixteen, 2);
    default: return vdotq_laneq_s32(acc, as_s8(codes), x.sixteen, 3);
  }
}
template <class F>
STILLA_INLINE Int dot_codes_at(Int acc, Int codes, Quads& held, const std::int8_t* at, std::size_t i) {
  return dot_codes<F>(acc, codes, quad(held, at, i));
}

template <class F>
struct NarrowSums {
  static constexpr std::size_t quads = 1;
};

// PairSums is what dot_pairs() adds to. A 32-bit lane of dot_pairs()'s vectors has two 16-bit integers. Here the products of each of the
// two are added to an int32 sum of their own, so PairSums has two sums for a lane. added() adds the two to each other, once, at the end.
struct PairSums {
  int32x4_t low, high;
};
STILLA_INLINE PairSums no_pairs() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
STILLA_INLINE PairSums dot_pairs(PairSums sums, Int a, Int b) {
  return {vmlal_s16(sums.low, vget_low_s16(as_s16(a)), vget_low_s16(as_s16(b))), vmlal_high_s16(sums.high, as_s16(a), as_s16(b))};
}
STILLA_INLINE Int added(PairSums sums) { return vpaddq_s32(sums.low, sums.high); }

STILLA_INLINE Float zero() { return vdupq_n_f32(0.0f); }
STILLA_INLINE Float set(float x) { return vdupq_n_f32(x); }
STILLA_INLINE Float load_floats(const float* from) { return vld1q_f32(from); }
STILLA_INLINE void store_floats(float* to, Float x) { vst1q_f32(to, x); }
STILLA_INLINE Float add(Float a, Float b) { return vaddq_f32(a, b); }
STILLA_INLINE Float sub(Float a, Float b) { return vsubq_f32(a, b); }
STILLA_INLINE Float mul(Float a, Float b) { return vmulq_f32(a, b); }
STILLA_INLINE Float fused_multiply_add(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }
STILLA_INLINE Float as_floats(Int bits) { return vreinterpretq_f32_s32(bits); }
STILLA_INLINE Int as_bits(Float x) { return vreinterpretq_s32_f32(x); }
// A load that broadcasts takes an arithmetic pipe, and so does a copy of a register. So if a sweep needs a number in all four lanes, it
// stores four copies of the number and loads them as a vector. The asm keeps compilers from loading this vector once and copying it to
// other registers.
inline constexpr std::size_t copies = lanes;
STILLA_INLINE Int load_copies(const void* at) {
#if defined(__GNUC__)
  Int x;
  __asm__ volatile("ldr %q0, %1" : "=w"(x) : "m"(*static_cast<const int32x4_t*>(at)));
  return x;
#else
  return load(at);
#endif
}
STILLA_INLINE void store_copies(std::int32_t* to, Int x) {
  vst1q_s32(to, vdupq_laneq_s32(x, 0));
  vst1q_s32(to + 4, vdupq_laneq_s32(x, 1));
  vst1q_s32(to + 8, vdupq_laneq_s32(x, 2));
  vst1q_s32(to + 12, vdupq_laneq_s32(x, 3));
}
STILLA_INLINE void store_copies(float* to, Float x) {
  vst1q_f32(to, vdupq_laneq_f32(x, 0));
  vst1q_f32(to + 4, vdupq_laneq_f32(x, 1));
  vst1q_f32(to + 8, vdupq_laneq_f32(x, 2));
  vst1q_f32(to + 12, vdupq_laneq_f32(x, 3));
}
STILLA_INLINE bool any_nan(Float x) { return vminvq_u32(vceqq_f32(x, x)) == 0; }
STILLA_INLINE bool any_zero(Float x) { return vmaxvq_u32(vceqzq_f32(x)) != 0; }
// Returns `yes` in the lanes where x is 0, and `no` in the others.
STILLA_INLINE Int where_zero(Float x, Int yes, Int no) { return vbslq_s32(vceqzq_f32(x), yes, no); }
STILLA_INLINE Float to_floats(Int x) { return vcvtq_f32_s32(x); }
STILLA_INLINE Float load_bf16(const std::byte* from) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const std::uint16_t*>(from)), 16));
}
STILLA_INLINE Float load_f16(const std::byte* from) {
  return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(reinterpret_cast<const std::uint8_t*>(from))));
}
STILLA_INLINE Float load_s8(const std::byte* from) {
  std::uint32_t four;
  std::memcpy(&four, from, sizeof four);
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four)))));
}
STILLA_INLINE Int load_u8_as_s32(const std::byte* from) {
  std::uint32_t four;
  std::memcpy(&four, from, sizeof four);
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four)))));
}
STILLA_INLINE Int load_s8_as_s16(const std::byte* from) {
  return vreinterpretq_s32_s16(vmovl_s8(vld1_s8(reinterpret_cast<const std::int8_t*>(from))));
}

}}}  // namespace stilla::dotprod
STILLA_TARGET_END
#endif

#include <stilla/base/pop_macros-inl.hpp>
