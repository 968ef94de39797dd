// SPDX-License-Identifier: Apache-2.0
//
// The format BFP16EBS8: block floating point, in which eight weights share one exponent; 9 bits per weight. It is the type
// bfp16ebs8 of the compute tiles in AMD's XDNA2 NPUs (AIE2P), and the BFP16 of AMD Quark.
//
//     weight[k] = mantissa[k] * 2^(exponent - 133)          mantissa[k]: -128..127
//
//     byte  0          1                       9
//           | exponent | mantissas, int8[8]    |            exponent: 0..254, the exponent field of the largest weight as a float
//
// 133 = 127 + 6: the exponent is biased like that of a float, and a mantissa of 64 stands for 1.0 * 2^(exponent - 127). The source
// for the place of the exponent and the sign of the mantissas is mlir-aie, programming_examples/ml/block_datatypes/helper.h.
//
// The weights of a block are multiples of its step, 2^(exponent - 133). Every weight is exactly a bf16: a mantissa has 8
// significant bits, and the smallest step, 2^-133, is the smallest bf16. So a matrix is packed into panels of BF16 (PanelFormat),
// and the kernels for BF16 multiply it on every target. In these panels it has 16 bits per weight.
//
// The encoder takes the largest exponent of the eight weights, which gives the step, and rounds each weight to a multiple of the
// step. Two arguments of encode() decide what is left open: ties, and a largest weight that would round up to 128. AMD Quark's
// kernel has all of these variants (amd-quark 0.13, bfp_kernel.cc, bit_width 16, block_size 8), and encode() gives the same bits
// as that kernel (tests/golden/make_bfp16_golden.py). By default ties go to even and 128 becomes 127, as in Quark's configuration.
// mlir-aie's host code truncates instead, which loses more, and says that the NPU's own conversion truncates too (helper.h).
//
// The ends of the range:
//   - Subnormal weights are encoded like all others. The step is 2^-133 where the whole block is below 2^-126. An AIE2P counts
//     subnormal bf16 as 0; what it does with subnormal weights of this format is not documented.
//   - The largest float becomes 127 * 2^121: exponent 254 is never raised, so no finite weight becomes infinite.
//   - A weight that is not finite is ignored when the exponent is chosen. NaN becomes 0 and infinity becomes +-127. encode_rows()
//     refuses both.
//   - Exponent 255 is never written. decode() turns it into eight NaNs, as Quark does with its shared exponents of 255, so that a
//     damaged block is noticed. Exponent 254 with mantissa -128 is -2^128 and therefore minus infinity.
//   - The sign of a zero is lost.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include <stilla/base/math.hpp>
#include <stilla/base/types.hpp>
#include <stilla/format/float_formats.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The rounding of a weight that lies in the middle between two multiples of the step. AMD Quark numbers the same three ways:
// to_even is 2, away_from_zero is 0 and up is 1.
enum class Bfp16Ties : std::uint8_t {
  to_even,
  away_from_zero,
  up,  // to the larger one, so that -1.5 becomes -1
};

// What happens to a block whose largest weight would round to 128 steps, which is more than a mantissa of 8 bits can hold.
enum class Bfp16Overflow : std::uint8_t {
  // A weight that would round to 128 steps becomes 127 steps, and mantissas are -127..127. The error of the block as a whole is
  // then smaller than with a doubled step.
  saturate,
  // If a weight would round to +128 steps, the step of the whole block is doubled. A mantissa of -128 is allowed, so a weight of -128
  // steps does not double the step. Quark calls this way of rounding use_compiler_version_cpu_kernel.
  next_exponent,
};

namespace detail {

inline constexpr std::uint32_t highest_bfp16_exponent = 254;

// The magnitude of a weight, rounded to steps of 2^(exponent - 133). `bits` are the bits of the weight, a finite float whose own
// exponent is at most `exponent`, which the block shares.
constexpr std::uint32_t bfp16_steps(std::uint32_t bits, std::uint32_t exponent, Bfp16Ties ties) {
  std::uint32_t own = bits >> 23 & 0xffu;
  std::uint32_t mantissa = bits & 0x7fffffu;
  if (own != 0) mantissa |= 0x800000u;  // value = mantissa * 2^(own - 150)
  else own = 1;
  const std::uint32_t shift = exponent + 17 - own;  // at least 16
  if (shift > 25) return 0;                         // less than half a step becomes 0
  const std::uint32_t half = std::uint32_t{1} << (shift - 1);
  const bool is_odd = (mantissa >> shift & 1u) != 0, is_negative = bits >> 31 != 0;
  const bool tie_grows = ties == Bfp16Ties::to_even ? is_odd : ties == Bfp16Ties::away_from_zero || !is_negative;
  return (mantissa + half - (tie_grows ? 0 : 1)) >> shift;
}

constexpr std::uint32_t float_bits(float x) { return std::bit_cast<std::uint32_t>(x); }

}  // namespace detail

struct BFP16EBS8 {
  using PanelFormat = BF16;
  static constexpr std::string_view name = "bfp16ebs8";
  static constexpr std::size_t block_weights = 8;
  static constexpr std::size_t block_bytes = 9;

  // The two parts of a block: the exponent that its eight weights share, and the mantissa of weight k.
  static constexpr std::uint32_t exponent(const std::byte* block) { return std::to_integer<std::uint32_t>(block[0]); }
  static constexpr int mantissa(const std::byte* block, std::size_t k) { return load_as<std::int8_t>(block + 1 + k); }

  // The step of a block, 2^(exponent - 133), as a float. exponent is 0..254.
  static constexpr float step(std::uint32_t exponent) {
    return std::bit_cast<float>(exponent > 6 ? (exponent - 6) << 23 : std::uint32_t{1} << (exponent + 16));
  }

  static constexpr void decode(const std::byte* block, float* weights) {
    const std::uint32_t shared = exponent(block);
    const float scale = shared > detail::highest_bfp16_exponent ? std::numeric_limits<float>::quiet_NaN() : step(shared);
    for (std::size_t k = 0; k < block_weights; ++k) weights[k] = static_cast<float>(mantissa(block, k)) * scale;
  }

  static constexpr void encode(const float* weights, std::byte* block) {
    encode(weights, block, Bfp16Ties::to_even, Bfp16Overflow::saturate);
  }
  static constexpr void encode(const float* weights, std::byte* block, Bfp16Ties ties, Bfp16Overflow overflow) {
    std::uint32_t shared = 0;
    for (std::size_t k = 0; k < block_weights; ++k) {
      const std::uint32_t bits = detail::float_bits(weights[k]), own = bits >> 23 & 0xffu;
      if (detail::is_finite(weights[k]) && own > shared) shared = own;
    }
    bool fits_negative = false;  // whether -128 is allowed as a mantissa
    if (overflow == Bfp16Overflow::next_exponent && shared < detail::highest_bfp16_exponent) {
      fits_negative = true;
      bool is_too_large = false;
      for (std::size_t k = 0; k < block_weights; ++k) {
        const std::uint32_t bits = detail::float_bits(weights[k]);
        const std::uint32_t most = bits >> 31 != 0 ? 128 : 127;
        is_too_large = is_too_large || (detail::is_finite(weights[k]) && detail::bfp16_steps(bits, shared, ties) > most);
      }
      shared += is_too_large ? 1 : 0;
    }
    block[0] = static_cast<std::byte>(shared);
    for (std::size_t k = 0; k < block_weights; ++k) {
      const std::uint32_t bits = detail::float_bits(weights[k]);
      const bool is_negative = bits >> 31 != 0;
      const std::uint32_t most = is_negative && fits_negative ? 128 : 127;
      std::uint32_t steps = most;
      if (detail::is_finite(weights[k])) steps = detail::bfp16_steps(bits, shared, ties);
      else if ((bits & 0x7fffffu) != 0) steps = 0;  // NaN
      if (steps > most) steps = most;
      block[1 + k] = static_cast<std::byte>(is_negative ? 0u - steps : steps);
    }
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
