// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary of generic/vocabulary-inl.hpp on 256-bit registers, except the dot product. AVX2 and AVX-VNNI include this file
// inside their regions and namespaces. Two vectors hold one int32 or float for each row of a panel. The file has no include
// guard, because it is read twice.

#include <stilla/base/push_macros-inl.hpp>

using Int = __m256i;
using Float = __m256;
inline constexpr std::size_t lanes = 8;

// The sizes of what the matmul kernels compute at once. They are chosen for the 16 vector registers of AVX2 and AVX-VNNI and for the
// caches of CPUs that have them. generic/vocabulary-inl.hpp describes each size.
struct Budget {
  static constexpr std::size_t few_tokens = 2;
  static constexpr std::size_t few_panels = 1, few_panels_tokens = 1;
  static constexpr std::size_t few_ahead(std::size_t tokens) { return x86_few_ahead(tokens); }
  // Measured with AVX2 on Zen 3, a sweep compared with the kernel for few tokens. Activations of 8 bits: 8 tokens take 5 % (Q4_0) to
  // 29 % (Q5_0) less time. 6 tokens take 6 to 8 % longer with Q4_0, Q4_K and Q8_0, and 21 % less time with Q6_K. Activations of 16
  // bits: 8 tokens take 10 to 20 % less time, and with Q4_K the same time. AVX-VNNI was not measured. By LLVM's model of Lunar Lake
  // (Q4_0, GCC 12), 256 products take 8.3 cycles in the kernel for few tokens and 4.6 cycles in a sweep, but a sweep also has to unpack
  // the codes.
  static constexpr std::size_t fewest_to_sweep = 8;
  // In a sweep, the 32 KB of unpacked operands of one panel stay in L1: with 8960 columns, 8 chunks of 1120 k took 5 % less time than 2
  // chunks of 4480 (AVX-VNNI, Granite Rapids). A tile has 4 tokens x 2 vectors of rows. Its products take 8 of the 16 registers, and so
  // do the sums of 16 bits that AVX2 uses, so that some of both are in memory. The running sums are in memory. With tiles of 4 tokens,
  // products took less time than with tiles of 6: 11 % less with Q3_K, 6 % with Q6_K and 3 % with Q4_0. With Q8_0, where the tokens of
  // a tile share more work, tiles of 4 took 1 to 2 % more than tiles of 6 (512 tokens, AVX2, Zen 3). By LLVM's model of Lunar Lake
  // (bench/port_limits.py), tiles of 4 and 6 tokens take the same time with 8 bits under GCC 12, and under clang 19 tiles of 6 tokens
  // take 17 % longer. With 16 bits, tiles of 4 tokens take 19 % longer than tiles of 3 or 6.
  static constexpr std::size_t set_panels = 1, sweep_rows = 16;
  static constexpr std::size_t sweep_tokens(std::size_t planes) { return planes == 1 ? 4 : 3; }
  static constexpr std::size_t minimum_vectors = 2;
  static constexpr std::size_t chunk_k = 2048;
  // How many sets of panels are unpacked at once. Tiles also need numbers that are computed from the scales and sums of the activations
  // (TokenBlocks in generic/panel_sweep-inl.hpp); one computation serves all sets. An earlier version had 2 sets and computed these
  // numbers again for every tile. It took longer: 6 sets and a single computation, both together, made products take 11 % less time (8960
  // columns, AVX-VNNI, Granite Rapids).
  static constexpr std::size_t sets = small_stacks ? 2 : 6;
  // The tile for float weights has 6 tokens x 2 vectors of rows, so 12 sums. A multiply-add has a latency of 4 cycles, and two begin in
  // each cycle, so 8 sums would be enough to hide the latency. The 12 sums, 2 weights and 1 broadcast take 15 registers.
  static constexpr std::size_t float_tokens = 6, float_vectors = 14, float_panels_of_one = 4, float_chunk_k = 192;
};

STILLA_INLINE void prefetch_near(const void* at) { _mm_prefetch(static_cast<const char*>(at), _MM_HINT_T0); }
STILLA_INLINE void prefetch_far(const void* at) { _mm_prefetch(static_cast<const char*>(at), _MM_HINT_T1); }

// Returns x. For GCC there is an empty asm statement that reads x and might change it. So GCC has to compute x at this place, once, and to
// hold it in a register.
STILLA_INLINE Int keep(Int x) {
#if defined(__GNUC__) && !defined(__clang__)
  __asm__("" : "+x"(x));
#endif
  return x;
}
STILLA_INLINE void loads_stay() {}
template <class Sums>
STILLA_INLINE void sums_stay(Sums&) {}
STILLA_INLINE Int load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
// Loads bytes for packing: column[i] gets the bytes 4i .. 4i + 3 of each of `lanes` rows, which begin at `rows` and are `stride` bytes
// apart.
STILLA_INLINE void load_columns(const std::byte* rows, std::size_t stride, Int (&column)[4]) {
  __m256i x[4];  // x[r] has the rows r and r + 4
  for (std::size_t r = 0; r < 4; ++r) {
    const auto* low = reinterpret_cast<const __m128i*>(rows + r * stride);
    const auto* high = reinterpret_cast<const __m128i*>(rows + (r + 4) * stride);
    x[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(low)), _mm_loadu_si128(high), 1);
  }
  const __m256i a = _mm256_unpacklo_epi32(x[0], x[1]), b = _mm256_unpacklo_epi32(x[2], x[3]);
  const __m256i c = _mm256_unpackhi_epi32(x[0], x[1]), d = _mm256_unpackhi_epi32(x[2], x[3]);
  column[0] = _mm256_unpacklo_epi64(a, b);
  column[1] = _mm256_unpackhi_epi64(a, b);
  column[2] = _mm256_unpacklo_epi64(c, d);
  column[3] = _mm256_unpackhi_epi64(c, d);
}
// These two functions store a part of each 32-bit lane of x, side by side at `to`: the lower half, or the lowest byte.
STILLA_INLINE void store_low_halves(std::byte* to, Int x) {
  const __m256i first = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                         0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m256i halves = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(x, first), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(halves));
}
STILLA_INLINE void store_low_bytes(std::byte* to, Int x) {
  const __m256i first = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                         0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m256i bytes = _mm256_shuffle_epi8(x, first);
  const __m128i both = _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), both);
}
// Loads `lanes` pairs of int32 and returns the first number of each pair, or, where of_two is 1, the second.
template <int of_two>
STILLA_INLINE Int load_of_pairs(const std::int32_t* pairs) {
  const __m256 a = _mm256_castsi256_ps(load(pairs)), b = _mm256_castsi256_ps(load(pairs + lanes));
  return _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(a, b, of_two == 0 ? 0x88 : 0xdd)), 0xd8);
}
STILLA_INLINE Int first_of_pairs(const std::int32_t* pairs) { return load_of_pairs<0>(pairs); }
STILLA_INLINE Int second_of_pairs(const std::int32_t* pairs) { return load_of_pairs<1>(pairs); }
STILLA_INLINE void store(void* to, Int x) { _mm256_storeu_si256(static_cast<__m256i*>(to), x); }
STILLA_INLINE Int broadcast4(const void* from) {  // reads four bytes
  std::int32_t four;
  std::memcpy(&four, from, sizeof four);
  return _mm256_set1_epi32(four);
}
// On other targets Quads holds activations in a register between dot products. Here it is empty: four activations are broadcast from
// memory each time.
struct Quads {};
STILLA_INLINE Int quad(Quads&, const std::int8_t* at, std::size_t) { return broadcast4(at); }
STILLA_INLINE Int set_s32(std::int32_t x) { return _mm256_set1_epi32(x); }
// PairSums is what dot_pairs() adds to: sums of products of two neighbouring 16-bit integers. Here it is one int32 for each lane.
using PairSums = Int;
STILLA_INLINE PairSums no_pairs() { return set_s32(0); }
STILLA_INLINE Int added(PairSums sums) { return sums; }
STILLA_INLINE Int set_u8(int x) { return _mm256_set1_epi8(static_cast<char>(x)); }
STILLA_INLINE Int bit_and(Int a, Int b) { return _mm256_and_si256(a, b); }
STILLA_INLINE Int bit_or(Int a, Int b) { return _mm256_or_si256(a, b); }
STILLA_INLINE Int bit_xor(Int a, Int b) { return _mm256_xor_si256(a, b); }
// These two functions shift bits within 16-bit lanes. To shift within bytes, the caller also masks the bits that came from the
// neighbouring byte.
template <int count>
STILLA_INLINE Int shift_right(Int x) {
  return _mm256_srli_epi16(x, count);
}
template <int count>
STILLA_INLINE Int shift_left(Int x) {
  return _mm256_slli_epi16(x, count);
}
STILLA_INLINE Int high_nibbles(Int x) { return bit_and(shift_right<4>(x), set_u8(15)); }
STILLA_INLINE Int add_s32(Int a, Int b) { return _mm256_add_epi32(a, b); }
STILLA_INLINE Int shift_left_s32(Int x, int count) { return _mm256_sllv_epi32(x, _mm256_set1_epi32(count)); }
template <int count>
STILLA_INLINE Int shift_right_s32(Int x) {  // keeps the sign
  return _mm256_srai_epi32(x, count);
}
STILLA_INLINE Int sub_s32(Int a, Int b) { return _mm256_sub_epi32(a, b); }
template <int count>
STILLA_INLINE Int shift_left_s32(Int x) {
  return _mm256_slli_epi32(x, count);
}
STILLA_INLINE Int table_of(const std::int8_t* sixteen) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(sixteen)));
}
STILLA_INLINE Int look_up(Int table, Int index_u8x32) { return _mm256_shuffle_epi8(table, index_u8x32); }

STILLA_INLINE Float zero() { return _mm256_setzero_ps(); }
STILLA_INLINE Float set(float x) { return _mm256_set1_ps(x); }
STILLA_INLINE Float load_floats(const float* from) { return _mm256_loadu_ps(from); }
STILLA_INLINE void store_floats(float* to, Float x) { _mm256_storeu_ps(to, x); }
STILLA_INLINE Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
STILLA_INLINE Float sub(Float a, Float b) { return _mm256_sub_ps(a, b); }
STILLA_INLINE Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
STILLA_INLINE Float fused_multiply_add(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
STILLA_INLINE Float as_floats(Int bits) { return _mm256_castsi256_ps(bits); }
STILLA_INLINE Int as_bits(Float x) { return _mm256_castps_si256(x); }
// Where a sweep needs a number in all lanes, memory holds it once, because loads can broadcast it (other targets store copies).
inline constexpr std::size_t copies = 1;
STILLA_INLINE Int load_copies(const std::int32_t* at) { return set_s32(*at); }
STILLA_INLINE Int load_copies(const float* at) { return as_bits(set(*at)); }
STILLA_INLINE void store_copies(float* to, Float x) { store_floats(to, x); }
STILLA_INLINE void store_copies(std::int32_t* to, Int x) { store(to, x); }
STILLA_INLINE bool any_nan(Float x) { return _mm256_movemask_ps(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)) != 0; }
STILLA_INLINE bool any_zero(Float x) { return _mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_EQ_OQ)) != 0; }
// Returns `yes` in the lanes where x is 0, and `no` in the others.
STILLA_INLINE Int where_zero(Float x, Int yes, Int no) {
  return _mm256_blendv_epi8(no, yes, _mm256_castps_si256(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_EQ_OQ)));
}
STILLA_INLINE Float to_floats(Int x) { return _mm256_cvtepi32_ps(x); }
STILLA_INLINE Float load_f16(const std::byte* from) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))); }
STILLA_INLINE Float load_bf16(const std::byte* from) {
  return as_floats(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))), 16));
}
STILLA_INLINE Float load_s8(const std::byte* from) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
STILLA_INLINE Int load_u8_as_s32(const std::byte* from) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}
STILLA_INLINE Int load_s8_as_s16(const std::byte* from) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

#include <stilla/base/pop_macros-inl.hpp>
