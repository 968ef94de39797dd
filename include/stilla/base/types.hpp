// SPDX-License-Identifier: Apache-2.0
//
// Types that only store numbers: half precision (f16, IEEE 754 binary16) and bfloat16 (the upper half of a float). They hold bits
// and convert; no code computes in them. Conversions use integer arithmetic only, so every CPU and every compiler flag gives the
// same bits. Conversion to float is exact. Conversion from float rounds to the nearest, ties to even, overflows to infinity, and
// keeps a NaN a NaN.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct f16 {
  std::uint16_t bits = 0;  // 1 sign, 5 exponent, 10 mantissa
};

struct bf16 {
  std::uint16_t bits = 0;  // 1 sign, 8 exponent, 7 mantissa
};

constexpr float to_float(float x) { return x; }

constexpr float to_float(bf16 x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }

constexpr float to_float(f16 x) {
  const std::uint32_t sign = (x.bits & 0x8000u) << 16;
  const std::uint32_t exponent = (x.bits >> 10) & 0x1fu;
  std::uint32_t mantissa = x.bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13 | (mantissa ? 0x400000u : 0));
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  if (mantissa == 0) return std::bit_cast<float>(sign);
  // A subnormal f16 is mantissa * 2^-24. Its leading one is shifted up to the implicit place.
  const auto shift = static_cast<std::uint32_t>(std::countl_zero(mantissa) - 21);
  mantissa = mantissa << shift & 0x3ffu;
  return std::bit_cast<float>(sign | (113 - shift) << 23 | mantissa << 13);
}

constexpr bf16 to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>(bits >> 16 | 0x40u)};  // NaN, made quiet
  return {static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

constexpr f16 to_f16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t half = 0;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u | (magnitude >> 13 & 0x3ffu);                              // NaN, made quiet
  } else if (magnitude >= 0x477ff000u) {
    half = 0x7c00u;                                                           // rounds to 65536 or more: infinity
  } else if (magnitude >= 0x38800000u) {                                      // normal: at least 2^-14
    half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  } else if (magnitude >= 0x33000000u) {                                      // subnormal: at least 2^-25
    const std::uint32_t shift = 126 - (magnitude >> 23);                      // the mantissa moves by 14 .. 24 bits
    const std::uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    const std::uint32_t rest = mantissa & ((1u << shift) - 1);
    const std::uint32_t tie = 1u << (shift - 1);
    half = mantissa >> shift;
    if (rest > tie || (rest == tie && (half & 1u))) ++half;
  }
  return {static_cast<std::uint16_t>(sign | half)};
}

// Converts a float to a type that a format stores: float, f16 or bf16.
template <class T>
constexpr T from_float(float x);
template <>
constexpr float from_float<float>(float x) {
  return x;
}
template <>
constexpr f16 from_float<f16>(float x) {
  return to_f16(x);
}
template <>
constexpr bf16 from_float<bf16>(float x) {
  return to_bf16(x);
}

// Reads a trivially copyable value from any address, aligned or not. Files and machines are both little-endian.
template <class T>
constexpr T load_as(const std::byte* address) {
  if (std::is_constant_evaluated()) {
    std::array<std::byte, sizeof(T)> bytes{};
    for (std::size_t i = 0; i < sizeof(T); ++i) bytes[i] = address[i];
    return std::bit_cast<T>(bytes);
  }
  std::remove_const_t<T> value{};
  std::memcpy(&value, address, sizeof value);
  return value;
}

template <class T>
inline void store_as(std::byte* address, T value) {
  std::memcpy(address, &value, sizeof value);
}

static_assert(std::endian::native == std::endian::little, "Stilla reads little-endian files in place");

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
