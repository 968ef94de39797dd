// SPDX-License-Identifier: Apache-2.0
//
// The kernels on one row (contract/elementwise.hpp) that avx512vnni has: SiLU and the rounding of activations. It has these two because
// a prompt spends time on them besides its matmuls: with AVX2's kernels for them, they took 4.6 % of the time of a prompt of 512 tokens
// with a 1.5B model.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include <stilla/base/math.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/x86_avx512vnni/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86
#include <stilla/x86_avx512vnni/vector.hpp>

STILLA_TARGET_BEGIN(STILLA_SETS_AVX512VNNI)
namespace stilla { inline namespace STILLA_ABI { namespace avx512vnni {

inline STILLA_NOINLINE void silu_mul(float* out, const float* gate, const float* up, std::size_t n) {
  const Float one = set(1.0f), highest = set(stilla::detail::exp_highest);
  for (std::size_t i = 0; i < n; i += lanes) {
    const std::size_t count = n - i < lanes ? n - i : lanes;
    const Float x = load16(gate + i, count);
    const Float minus_x = negated(x);
    const Float e = exponential(_mm512_min_ps(highest, minus_x));  // the minimum is NaN if minus_x, the second operand, is NaN
    store16(mul(_mm512_div_ps(x, add(one, e)), load16(up + i, count)), out + i, count);
  }
}

inline STILLA_NOINLINE void quantise_q8(std::int8_t* values, float* scales, std::int32_t* sums, float* scaled_sums, const float* x,
                                        std::size_t blocks, std::int8_t* low) {
  static_assert(activation_block == 2 * lanes);
  const float largest = low == nullptr ? 127.0f : 32512.0f;
  for (std::size_t b = 0; b < blocks; ++b, x += activation_block, values += activation_block) {
    const Float first = load_floats(x), second = load_floats(x + lanes);
    // To find the largest magnitude of a block, the bit patterns of the magnitudes are compared as integers: an infinity is above
    // every number, and a NaN above infinity.
    const float highest = std::bit_cast<float>(highest_lane(max_s32(magnitude_bits(first), magnitude_bits(second))));
    const bool usable = highest >= stilla::detail::smallest_activation && highest <= stilla::detail::largest_activation;
    scales[b] = usable ? stilla::detail::activation_scale(highest, largest) : stilla::detail::scale_of_zeros(highest);
    Int rounded[2] = {set_s32(0), set_s32(0)};
    if (usable) {
      const Float inverse = set(stilla::detail::inverse_of_power(scales[b]));
      rounded[0] = round_products(first, inverse);
      rounded[1] = round_products(second, inverse);
    }
    for (std::size_t half = 0; half < 2; ++half) {
      // With activations of 16 bits, the low plane gets the lower byte of the rounded value, and the high plane the rest, which is
      // a byte too.
      Int high = rounded[half];
      if (low != nullptr) {
        high = shift_right_s32<8>(add_s32(high, set_s32(128)));
        store_bytes(low + b * activation_block + half * lanes, rounded[half]);
      }
      store_bytes(values + half * lanes, high);
    }
    // Adds up the rounded values of a block: the first 16 and the last 16 at once, each in four lanes of a register.
    const __m256i eight_first = _mm256_add_epi32(_mm512_castsi512_si256(rounded[0]), _mm512_extracti64x4_epi64(rounded[0], 1));
    const __m256i eight_second = _mm256_add_epi32(_mm512_castsi512_si256(rounded[1]), _mm512_extracti64x4_epi64(rounded[1], 1));
    __m256i four = _mm256_hadd_epi32(eight_first, eight_second);
    four = _mm256_hadd_epi32(four, four);
    const __m128i both = _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
    sums[2 * b] = _mm_cvtsi128_si32(both);
    sums[2 * b + 1] = sums[2 * b] + _mm_extract_epi32(both, 1);
    scaled_sums[b] = scales[b] * static_cast<float>(sums[2 * b + 1]);
  }
}

}}}  // namespace stilla::avx512vnni
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <>
struct SiluMul<Avx512Vnni> {
  static constexpr TargetId implemented_on = Avx512Vnni::id;
  static void run(float* out, const float* gate, const float* up, std::size_t n) { avx512vnni::silu_mul(out, gate, up, n); }
};

template <>
struct QuantiseQ8<Avx512Vnni> {
  static constexpr TargetId implemented_on = Avx512Vnni::id;
  static void run(std::int8_t* values, float* scales, std::int32_t* sums, float* scaled_sums, const float* x, std::size_t blocks,
                  std::int8_t* low = nullptr) {
    avx512vnni::quantise_q8(values, scales, sums, scaled_sums, x, blocks, low);
  }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
