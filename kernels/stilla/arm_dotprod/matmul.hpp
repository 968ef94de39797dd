// SPDX-License-Identifier: Apache-2.0
//
// Compiles the matmul kernels for the target dotprod, with the vocabulary of vector.hpp. Those for quantised weights come from
// generic/panel_tile-inl.hpp, and those for float weights from generic/panels_float-inl.hpp.
#pragma once

#include <bit>

#include <stilla/arm_dotprod/target.hpp>
#include <stilla/contract/matmul.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_HAS_DOTPROD
#include <stilla/arm_dotprod/vector.hpp>

STILLA_TARGET_BEGIN(STILLA_SETS_DOTPROD)
namespace stilla { inline namespace STILLA_ABI { namespace dotprod {

#include <stilla/generic/panel_tile-inl.hpp>
#include <stilla/generic/panels_float-inl.hpp>

}}}  // namespace stilla::dotprod
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <WeightFormat F>
  requires(!QuantisedFormat<F>)
struct MatmulPanels<Dotprod, F> {
  static constexpr TargetId implemented_on = Dotprod::id;
  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) { dotprod::matmul_float_panels<F>(a, first, last); }
};

template <QuantisedFormat F>
struct MatmulPanels<Dotprod, F> {
  static constexpr TargetId implemented_on = Dotprod::id;
  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) { dotprod::matmul_panels<F>(a, first, last); }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
