// SPDX-License-Identifier: Apache-2.0
//
// Matmul of quantised weights for the target i8mm. Many tokens use the sweep of pair_sweep.hpp, and few tokens use dotprod's kernels.
#pragma once

#include <stilla/arm_dotprod/matmul.hpp>
#include <stilla/arm_i8mm/pair_sweep.hpp>
#include <stilla/arm_i8mm/target.hpp>
#include <stilla/contract/matmul.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_HAS_I8MM
namespace stilla { inline namespace STILLA_ABI {

template <QuantisedFormat F>
  requires(!has_nibble_minimums<F>)
struct MatmulPanels<I8mm, F> {
  static constexpr TargetId implemented_on = I8mm::id;
  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) { i8mm::matmul_panels<F>(a, first, last); }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
