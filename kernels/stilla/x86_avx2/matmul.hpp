// SPDX-License-Identifier: Apache-2.0
//
// Matmul for avx2, on the vocabulary of vector.hpp: generic/panel_tile-inl.hpp for quantised weights, panels_float-inl.hpp for floats.
//
// Products of signed codes and activations of 16 bits use the fallback's kernel. It multiplies numbers of 16 bits, and one such product
// is faster than two products of bytes: these need unsigned codes, so the sign of each code has to be moved to its activation.
// (Besides, the low plane may have the activation -128, whose sign cannot be changed in a signed byte.)
#pragma once

#include <bit>

#include <stilla/contract/matmul.hpp>
#include <stilla/x86_avx2/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86
#include <stilla/x86_avx2/vector.hpp>

STILLA_TARGET_BEGIN(STILLA_SETS_AVX2)
namespace stilla { inline namespace STILLA_ABI { namespace avx2 {

#include <stilla/generic/panel_tile-inl.hpp>
#include <stilla/generic/panels_float-inl.hpp>

}}}  // namespace stilla::avx2
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <WeightFormat F>
  requires(!QuantisedFormat<F>)
struct MatmulPanels<Avx2, F> {
  static constexpr TargetId implemented_on = Avx2::id;
  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) { avx2::matmul_float_panels<F>(a, first, last); }
};

template <QuantisedFormat F>
struct MatmulPanels<Avx2, F> {
  static constexpr TargetId implemented_on = Avx2::id;
  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
    if constexpr (!avx2::is_signed<F>) {
      avx2::matmul_panels<F>(a, first, last);
    } else if (a.x.low == nullptr) {
      avx2::matmul_planes<F, 1>(a, first, last);
    } else {
      MatmulPanels<Avx2::Fallback, F>::run(a, first, last);
    }
  }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
