// SPDX-License-Identifier: Apache-2.0
//
// For amx, of the ops on one row (contract/elementwise.hpp), the one that only its matmuls need.
#pragma once

#include <cstddef>
#include <cstdint>

#include <stilla/contract/elementwise.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/x86_amx/target.hpp>

#if STILLA_ARCH_X86
#include <stilla/x86_avx512vnni/vector.hpp>

STILLA_TARGET_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")
namespace stilla { inline namespace STILLA_ABI { namespace amx {

inline STILLA_NOINLINE void tile_values(std::uint16_t* out, std::size_t stride, const std::int8_t* values, const float* scales,
                                        std::size_t blocks, float unit) {
  using namespace avx512vnni;
  // Of two vectors of 16 floats the upper halves, in tile order.
  alignas(64) static constexpr std::uint16_t order[32] = {
      1,  5,  9,  13, 17, 21, 25, 29, 3,  7,  11, 15, 19, 23, 27, 31,
      33, 37, 41, 45, 49, 53, 57, 61, 35, 39, 43, 47, 51, 55, 59, 63};
  const Int upper_halves = load(order);
  for (std::size_t b = 0; b < blocks; ++b, values += activation_block, out += stride) {
    const Float scale = set(scales[b] * unit);
    const auto* from = reinterpret_cast<const std::byte*>(values);
    const Float first = mul(load_s8(from), scale), second = mul(load_s8(from + lanes), scale);
    store(out, _mm512_permutex2var_epi16(as_bits(first), upper_halves, as_bits(second)));
  }
}

}}}  // namespace stilla::amx
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <>
struct TileValues<Amx> {
  static constexpr TargetId implemented_on = Amx::id;
  static void run(std::uint16_t* tile_values, std::size_t stride, const std::int8_t* values, const float* scales,
                  std::size_t blocks, float unit) {
    amx::tile_values(tile_values, stride, values, scales, blocks, unit);
  }
};

}}  // namespace stilla
#endif
