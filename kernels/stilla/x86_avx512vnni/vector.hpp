// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary (generic/vocabulary-inl.hpp) on 512-bit registers, where one vector holds one int32 or float for each row of a panel.
// The file also has operations that attention and the elementwise ops share.
//
//   instruction   what                       how many a cycle (source: uops.info)        Ice Lake  Zen 4  Zen 5
//   vpdpbusd zmm  acc += u8 * s8, 4 per lane                                                1        1      2
//   vcvtdq2ps     int32 -> float                                                           1        1      2
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <stilla/base/math.hpp>
#include <stilla/base/types.hpp>
#include <stilla/contract/matmul.hpp>  // small_stacks
#include <stilla/region.hpp>
#include <stilla/x86_avx2/few_ahead.hpp>
#include <stilla/x86_avx512vnni/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86
#include <immintrin.h>

STILLA_TARGET_BEGIN(STILLA_SETS_AVX512VNNI)
namespace stilla { inline namespace STILLA_ABI { namespace avx512vnni {

using Int = __m512i;
using Float = __m512;
inline constexpr std::size_t lanes = 16;
inline constexpr int largest_code = 255;

// The sizes of what the matmul kernels compute at once. They are chosen for the 32 vector registers of AVX-512 and for the caches of CPUs
// that have it. generic/vocabulary-inl.hpp describes each size.
struct Budget {
  static constexpr std::size_t few_tokens = 4;
  // In the kernel for few tokens, two panels share the loads of a token, and are read from memory side by side. Compared with one panel
  // after the other, 4 tokens take 9 to 23 % less time and 2 tokens 0 to 8 % less (Q4_0, Granite Rapids).
  static constexpr std::size_t few_panels = 2, few_panels_tokens = 8;
  static constexpr std::size_t few_ahead(std::size_t tokens) { return x86_few_ahead(tokens); }
  static constexpr std::size_t fewest_to_sweep = 16;
  // In a sweep, three panels have 96 KB of operands, and scales of an eighth to a fourth of that size. A tile of 4 tokens x 3 vectors
  // of rows has 12 products and 12 sums; with 3 operands and 1 broadcast they take 28 of the 32 registers. Compared with such tiles,
  // tiles of 6 tokens x 2 vectors took 6 % longer with GCC 12 and 20 % longer with clang 19. Tiles of 4 tokens x 4 vectors, whose
  // running sums were in memory, took 5 % longer.
  static constexpr std::size_t set_panels = 3, sweep_rows = 48;
  static constexpr std::size_t sweep_tokens(std::size_t) { return 4; }
  static constexpr std::size_t minimum_vectors = 3;
  static constexpr std::size_t chunk_k = small_stacks ? 1344 : 2048;
  // How many sets of panels are unpacked at once. Tiles also need numbers that are computed from the scales and sums of the activations
  // (TokenBlocks in generic/panel_sweep-inl.hpp); one computation serves all sets. An earlier version had 2 sets and computed these
  // numbers again for every tile. It took longer: 3 sets and a single computation, both together, made products take 3 % less time (8960
  // columns, Granite Rapids).
  static constexpr std::size_t sets = small_stacks ? 1 : 3;
  // The tile for float weights, 8 tokens x 3 vectors of rows, has 24 sums; with 3 weights they take 27 registers. The activations need
  // no registers, because the multiply-adds read them from memory.
  static constexpr std::size_t float_tokens = 8, float_vectors = 30, float_panels_of_one = 8, float_chunk_k = 192;
};

STILLA_INLINE void prefetch_near(const void* at) { _mm_prefetch(static_cast<const char*>(at), _MM_HINT_T0); }
STILLA_INLINE void prefetch_far(const void* at) { _mm_prefetch(static_cast<const char*>(at), _MM_HINT_T1); }

// Returns in each int32 lane: acc + the sum over four neighbouring bytes of codes (of format F, unsigned) times activations x (signed).
template <class F>
STILLA_INLINE Int dot_codes(Int acc, Int codes_u8x64, Int x_s8x64) {
#if defined(__GNUC__) && !defined(__clang__)
  // With the intrinsic of vpdpbusd, GCC 12 copies the accumulator to another register and back. With an asm that has a tied operand it
  // does not.
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(codes_u8x64), "v"(x_s8x64));
  return acc;
#else
  return _mm512_dpbusd_epi32(acc, codes_u8x64, x_s8x64);
#endif
}

// Returns x. For GCC there is an empty asm statement that reads x and might change it. So GCC has to compute x at this place, once, and to
// hold it in a register.
STILLA_INLINE Int keep(Int x) {
#if defined(__GNUC__) && !defined(__clang__)
  __asm__("" : "+v"(x));
#endif
  return x;
}
STILLA_INLINE void loads_stay() {}
template <class Sums>
STILLA_INLINE void sums_stay(Sums&) {}
STILLA_INLINE Int load(const void* from) { return _mm512_loadu_si512(from); }
// Loads `lanes` pairs of int32 and returns the first number of each pair, or, where of_two is 1, the second.
template <int of_two>
STILLA_INLINE Int load_of_pairs(const std::int32_t* pairs) {
  const __m512i places =
      _mm512_add_epi32(_mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0), _mm512_set1_epi32(of_two));
  return _mm512_permutex2var_epi32(load(pairs), places, load(pairs + lanes));
}
STILLA_INLINE Int first_of_pairs(const std::int32_t* pairs) { return load_of_pairs<0>(pairs); }
STILLA_INLINE Int second_of_pairs(const std::int32_t* pairs) { return load_of_pairs<1>(pairs); }
STILLA_INLINE void store(void* to, Int x) { _mm512_storeu_si512(to, x); }
// Loads bytes for packing: column[i] gets the bytes 4i .. 4i + 3 of each of `lanes` rows, which begin at `rows` and are `stride` bytes
// apart.
STILLA_INLINE void load_columns(const std::byte* rows, std::size_t stride, Int (&column)[4]) {
  __m512i x[4];  // x[r] has the rows r, r + 4, r + 8 and r + 12
  for (std::size_t r = 0; r < 4; ++r) {
    const auto row = [&](std::size_t i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + (r + 4 * i) * stride)); };
    x[r] = _mm512_castsi128_si512(row(0));
    x[r] = _mm512_inserti32x4(x[r], row(1), 1);
    x[r] = _mm512_inserti32x4(x[r], row(2), 2);
    x[r] = _mm512_inserti32x4(x[r], row(3), 3);
  }
  const __m512i a = _mm512_unpacklo_epi32(x[0], x[1]), b = _mm512_unpacklo_epi32(x[2], x[3]);
  const __m512i c = _mm512_unpackhi_epi32(x[0], x[1]), d = _mm512_unpackhi_epi32(x[2], x[3]);
  column[0] = _mm512_unpacklo_epi64(a, b);
  column[1] = _mm512_unpackhi_epi64(a, b);
  column[2] = _mm512_unpacklo_epi64(c, d);
  column[3] = _mm512_unpackhi_epi64(c, d);
}
// These two functions store a part of each 32-bit lane of x, side by side at `to`: the lowest byte, or the lower half.
STILLA_INLINE void store_low_bytes(std::byte* to, Int x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(x)); }
STILLA_INLINE void store_low_halves(std::byte* to, Int x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(x)); }
STILLA_INLINE void store_bytes(std::int8_t* to, Int x) {  // the lowest byte of each int32
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(x));
}
STILLA_INLINE Int broadcast4(const void* from) {  // reads four bytes
  std::int32_t four;
  std::memcpy(&four, from, sizeof four);
  return _mm512_set1_epi32(four);
}
// On other targets Quads holds activations in a register between dot products. Here it is empty: four activations are broadcast from
// memory each time.
struct Quads {};
STILLA_INLINE Int quad(Quads&, const std::int8_t* at, std::size_t) { return broadcast4(at); }
template <class F>
struct NarrowSums {
  static constexpr std::size_t quads = 1;
};

// Returns what dot_codes() returns if every lane has the same four activations: those at `x`.
template <class F>
STILLA_INLINE Int dot_codes_at(Int acc, Int codes_u8x64, Quads&, const std::int8_t* x, std::size_t) {
#if defined(__GNUC__) && !defined(__clang__)
  struct Four {
    std::int8_t x[4];
  };
  __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(codes_u8x64), "m"(*reinterpret_cast<const Four*>(x)));
  return acc;
#else
  return dot_codes<F>(acc, codes_u8x64, broadcast4(x));
#endif
}
using PairSums = Int;
// Returns in each int32 lane: acc + the sum over two neighbouring 16-bit integers of w * x. (w are sub-minimums, x sums of activations.)
STILLA_INLINE PairSums dot_pairs(PairSums acc, Int w, Int x) { return _mm512_dpwssd_epi32(acc, w, x); }
STILLA_INLINE Int set_s32(std::int32_t x) { return _mm512_set1_epi32(x); }
STILLA_INLINE PairSums no_pairs() { return set_s32(0); }
STILLA_INLINE Int added(PairSums sums) { return sums; }
STILLA_INLINE Int set_u8(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
STILLA_INLINE Int bit_and(Int a, Int b) { return _mm512_and_si512(a, b); }
STILLA_INLINE Int bit_or(Int a, Int b) { return _mm512_or_si512(a, b); }
STILLA_INLINE Int bit_xor(Int a, Int b) { return _mm512_xor_si512(a, b); }
// These two functions shift bits within 16-bit lanes. To shift within bytes, the caller also masks the bits that came from the
// neighbouring byte.
template <int count>
STILLA_INLINE Int shift_right(Int x) {
  return _mm512_srli_epi16(x, count);
}
template <int count>
STILLA_INLINE Int shift_left(Int x) {
  return _mm512_slli_epi16(x, count);
}
STILLA_INLINE Int high_nibbles(Int x) { return bit_and(shift_right<4>(x), set_u8(15)); }
STILLA_INLINE Int add_s32(Int a, Int b) { return _mm512_add_epi32(a, b); }
STILLA_INLINE Int shift_left_s32(Int x, int count) { return _mm512_sllv_epi32(x, _mm512_set1_epi32(count)); }
template <int count>
STILLA_INLINE Int shift_right_s32(Int x) {  // keeps the sign
  return _mm512_srai_epi32(x, count);
}
STILLA_INLINE Int sub_s32(Int a, Int b) { return _mm512_sub_epi32(a, b); }
template <int count>
STILLA_INLINE Int shift_left_s32(Int x) {
  return _mm512_slli_epi32(x, count);
}
STILLA_INLINE Int table_of(const std::int8_t* sixteen) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(sixteen)));
}
STILLA_INLINE Int look_up(Int table, Int index_u8x64) { return _mm512_shuffle_epi8(table, index_u8x64); }

STILLA_INLINE Float zero() { return _mm512_setzero_ps(); }
STILLA_INLINE Float set(float x) { return _mm512_set1_ps(x); }
STILLA_INLINE Float load_floats(const float* from) { return _mm512_loadu_ps(from); }
STILLA_INLINE void store_floats(float* to, Float x) { _mm512_storeu_ps(to, x); }
STILLA_INLINE Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
STILLA_INLINE Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
STILLA_INLINE Float fused_multiply_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
STILLA_INLINE Float as_floats(Int bits) { return _mm512_castsi512_ps(bits); }
STILLA_INLINE Int as_bits(Float x) { return _mm512_castps_si512(x); }
// Where a sweep needs a number in all lanes, memory holds it once, because loads can broadcast it (other targets store copies).
inline constexpr std::size_t copies = 1;
STILLA_INLINE Int load_copies(const std::int32_t* at) { return set_s32(*at); }
STILLA_INLINE Int load_copies(const float* at) { return as_bits(set(*at)); }
STILLA_INLINE void store_copies(float* to, Float x) { store_floats(to, x); }
STILLA_INLINE void store_copies(std::int32_t* to, Int x) { store(to, x); }
STILLA_INLINE bool any_nan(Float x) { return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q) != 0; }
STILLA_INLINE bool any_zero(Float x) { return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_EQ_OQ) != 0; }
// Returns `yes` in the lanes where x is 0, and `no` in the others.
STILLA_INLINE Int where_zero(Float x, Int yes, Int no) {
  return _mm512_mask_mov_epi32(no, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_EQ_OQ), yes);
}
STILLA_INLINE Float to_floats(Int x) { return _mm512_cvtepi32_ps(x); }
STILLA_INLINE Float load_f16(const std::byte* from) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))); }
STILLA_INLINE Float load_bf16(const std::byte* from) {
  return as_floats(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))), 16));
}
STILLA_INLINE Float load_s8(const std::byte* from) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

STILLA_INLINE Int load_u8_as_s32(const std::byte* from) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
STILLA_INLINE Int load_s8_as_s16(const std::byte* from) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

STILLA_INLINE Float sub(Float a, Float b) { return _mm512_sub_ps(a, b); }
STILLA_INLINE Float negated(Float a) { return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), set_s32(INT32_MIN))); }
STILLA_INLINE Float load16(const float* from, std::size_t count) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
}
STILLA_INLINE void store16(Float x, float* to, std::size_t count) {
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), x);
}
STILLA_INLINE Int max_s32(Int a, Int b) { return _mm512_max_epi32(a, b); }
STILLA_INLINE Int magnitude_bits(Float x) { return bit_and(_mm512_castps_si512(x), set_s32(INT32_MAX)); }
STILLA_INLINE float highest_lane(Float x) { return _mm512_reduce_max_ps(x); }
STILLA_INLINE std::int32_t highest_lane(Int x) { return _mm512_reduce_max_epi32(x); }
STILLA_INLINE Int round_products(Float x, Float scale) {
  const Float magic = set(stilla::detail::round_magic);
  return sub_s32(_mm512_castps_si512(fused_multiply_add(x, scale, magic)), _mm512_castps_si512(magic));
}

// Computes exp_approximate (math.hpp) in each lane, with the same bits, for x <= exp_highest or NaN.
STILLA_INLINE Float exponential(Float x) {
  using namespace stilla::detail;
  const __mmask16 in_range = _mm512_cmp_ps_mask(x, set(exp_lowest), _CMP_GE_OQ);
  const Float magic = set(round_magic);
  const Float shifted = fused_multiply_add(x, set(log2_e), magic);
  const Float n = sub(shifted, magic);
  Float r = fused_multiply_add(n, set(-ln2_high), x);
  r = fused_multiply_add(n, set(-ln2_low), r);
  Float p = set(exp_c7);
  p = fused_multiply_add(p, r, set(exp_c6));
  p = fused_multiply_add(p, r, set(exp_c5));
  p = fused_multiply_add(p, r, set(exp_c4));
  p = fused_multiply_add(p, r, set(exp_c3));
  p = fused_multiply_add(p, r, set(exp_c2));
  p = fused_multiply_add(p, r, set(1.0f));
  p = fused_multiply_add(p, r, set(1.0f));
  const Int exponent = shift_left_s32<23>(_mm512_castps_si512(shifted));
  return _mm512_maskz_mov_ps(in_range, _mm512_castsi512_ps(add_s32(_mm512_castps_si512(p), exponent)));
}

}}}  // namespace stilla::avx512vnni
STILLA_TARGET_END
#endif

#include <stilla/base/pop_macros-inl.hpp>
