// SPDX-License-Identifier: Apache-2.0
//
// Packing for avx2: generic/pack_panel-inl.hpp on the vocabulary of vector.hpp.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>

#include <stilla/contract/pack.hpp>
#include <stilla/layout/pack.hpp>
#include <stilla/x86_avx2/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86
#include <stilla/x86_avx2/vector.hpp>

STILLA_TARGET_BEGIN(STILLA_SETS_AVX2)
namespace stilla { inline namespace STILLA_ABI { namespace avx2 {

#include <stilla/generic/pack_panel-inl.hpp>

}}}  // namespace stilla::avx2
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <WeightFormat F>
  requires(QuantisedFormat<F> || std::is_same_v<PanelFormat<F>, F>)
struct PackPanel<Avx2, F> {
  static constexpr TargetId implemented_on = Avx2::id;
  static void run(std::byte* panel, const PanelRows& rows, std::size_t K) {
    if (rows.count != panel_rows) return PackPanel<Avx2::Fallback, F>::run(panel, rows, K);
    avx2::pack_panel<F>(panel, rows, K);
  }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
