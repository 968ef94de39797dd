// SPDX-License-Identifier: Apache-2.0
//
// Matmul of quantised weights for amx: tile_sweep.hpp on the CPU's tiles.
#pragma once

#include <stilla/contract/matmul.hpp>
#include <stilla/x86_amx/target.hpp>
#include <stilla/x86_amx/tile_sweep.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_HAS_TILES
namespace stilla { inline namespace STILLA_ABI {

template <QuantisedFormat F>
  requires(!has_nibble_minimums<F>)
struct MatmulPanels<Amx, F> {
  static constexpr TargetId implemented_on = Amx::id;
  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) { amx::matmul_panels<F, HardwareTiles>(a, first, last); }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
