// SPDX-License-Identifier: Apache-2.0
//
// Matmul of quantised weights for avxvnni: generic/panel_tile-inl.hpp on the vocabulary of vector.hpp.
#pragma once

#include <bit>

#include <stilla/contract/matmul.hpp>
#include <stilla/x86_avxvnni/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86
#include <stilla/x86_avxvnni/vector.hpp>

STILLA_TARGET_BEGIN(STILLA_SETS_AVXVNNI)
namespace stilla { inline namespace STILLA_ABI { namespace avxvnni {

#include <stilla/generic/panel_tile-inl.hpp>

}}}  // namespace stilla::avxvnni
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <QuantisedFormat F>
struct MatmulPanels<AvxVnni, F> {
  static constexpr TargetId implemented_on = AvxVnni::id;
  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) { avxvnni::matmul_panels<F>(a, first, last); }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
