// SPDX-License-Identifier: Apache-2.0
//
// Matmul for avx512vnni, on the vocabulary of vector.hpp: generic/panel_tile-inl.hpp for quantised weights, panels_float-inl.hpp
// for floats.
#pragma once

#include <bit>

#include <stilla/contract/matmul.hpp>
#include <stilla/x86_avx512vnni/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86
#include <stilla/x86_avx512vnni/vector.hpp>

STILLA_TARGET_BEGIN(STILLA_SETS_AVX512VNNI)
namespace stilla { inline namespace STILLA_ABI { namespace avx512vnni {

#include <stilla/generic/panel_tile-inl.hpp>
#include <stilla/generic/panels_float-inl.hpp>

}}}  // namespace stilla::avx512vnni
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <WeightFormat F>
  requires(!QuantisedFormat<F>)
struct MatmulPanels<Avx512Vnni, F> {
  static constexpr TargetId implemented_on = Avx512Vnni::id;
  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) { avx512vnni::matmul_float_panels<F>(a, first, last); }
};

template <QuantisedFormat F>
struct MatmulPanels<Avx512Vnni, F> {
  static constexpr TargetId implemented_on = Avx512Vnni::id;
  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) { avx512vnni::matmul_panels<F>(a, first, last); }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
