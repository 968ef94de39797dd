// SPDX-License-Identifier: Apache-2.0
//
// The loop that measures the peak of the target amx (generic/peak.hpp).
#pragma once

#include <stilla/generic/peak.hpp>
#include <stilla/x86_amx/target.hpp>
#include <stilla/x86_amx/tiles.hpp>
#include <stilla/x86_avx512vnni/peak.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_HAS_TILES
namespace stilla { inline namespace STILLA_ABI { namespace amx {

// Four sums hide the latency of tile products. A tile product takes 16 cycles, so this loop runs fewer steps than the loops of other
// targets. It multiplies bf16, which is what the kernels use (tile_sweep.hpp says why). Tile products of bytes would have twice the
// peak.
inline constexpr std::size_t rounds_per_tile_round = 8;
inline void dpbf16_loop(std::size_t rounds) {
  TileShapes shapes;
  for (int tile = 0; tile < 6; ++tile) shapes.set(tile, 16, 64);
  HardwareTiles::configure(shapes);
  for (std::size_t r = 0; r < rounds; r += rounds_per_tile_round) {
    HardwareTiles::dot_bf16<0, 4, 5>();
    HardwareTiles::dot_bf16<1, 4, 5>();
    HardwareTiles::dot_bf16<2, 4, 5>();
    HardwareTiles::dot_bf16<3, 4, 5>();
  }
  HardwareTiles::release();
}

}}}  // namespace stilla::amx

namespace stilla { inline namespace STILLA_ABI {

template <>
struct PeakLoops<Amx> : PeakLoops<Amx::Fallback> {
  static constexpr MacLoop int8{"tdpbf16ps", amx::dpbf16_loop, 4.0 * 16 * 16 * 32 / amx::rounds_per_tile_round};
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
