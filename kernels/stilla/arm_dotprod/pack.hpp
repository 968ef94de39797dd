// SPDX-License-Identifier: Apache-2.0
//
// Compiles the packing kernel of generic/pack_panel-inl.hpp for the target dotprod, with the vocabulary of vector.hpp.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>

#include <stilla/arm_dotprod/target.hpp>
#include <stilla/contract/pack.hpp>
#include <stilla/layout/pack.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_HAS_DOTPROD
#include <stilla/arm_dotprod/vector.hpp>

STILLA_TARGET_BEGIN(STILLA_SETS_DOTPROD)
namespace stilla { inline namespace STILLA_ABI { namespace dotprod {

#include <stilla/generic/pack_panel-inl.hpp>

}}}  // namespace stilla::dotprod
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <WeightFormat F>
  requires(QuantisedFormat<F> || std::is_same_v<PanelFormat<F>, F>)
struct PackPanel<Dotprod, F> {
  static constexpr TargetId implemented_on = Dotprod::id;
  static void run(std::byte* panel, const PanelRows& rows, std::size_t K) {
    if (rows.count != panel_rows) return PackPanel<Dotprod::Fallback, F>::run(panel, rows, K);
    dotprod::pack_panel<F>(panel, rows, K);
  }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
