// SPDX-License-Identifier: Apache-2.0
//
// F32, F16, BF16: formats that store each weight as a number, one weight per block, little-endian. GGUF tensor types 0, 1 and 30.
//
//     byte  0                 4          byte  0        2          byte  0         2
//     F32   | IEEE binary32   |          F16   | binary16 |        BF16  | upper half of a binary32 |
//
// decode is exact. encode rounds to the nearest, ties to even; a weight that is too large becomes infinity (types.hpp).
#pragma once

#include <cstddef>
#include <string_view>

#include <stilla/base/types.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {
template <class T>
struct FloatFormat {
  using Storage = T;
  static constexpr std::size_t block_weights = 1;
  static constexpr std::size_t block_bytes = sizeof(T);

  static void decode(const std::byte* block, float* weights) { *weights = to_float(load_as<T>(block)); }
  static void encode(const float* weights, std::byte* block) { store_as(block, from_float<T>(*weights)); }
};
}  // namespace detail

struct F32 : detail::FloatFormat<float> {
  static constexpr std::string_view name = "f32";
};

struct F16 : detail::FloatFormat<f16> {
  static constexpr std::string_view name = "f16";
};

struct BF16 : detail::FloatFormat<bf16> {
  static constexpr std::string_view name = "bf16";
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
