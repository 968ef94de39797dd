// SPDX-License-Identifier: Apache-2.0
//
// Matmul of quantised weights for avx2: x86/panel_tile-inl.hpp on the vocabulary of vector.hpp.
#pragma once

#include <stilla/contract/matmul.hpp>
#include <stilla/x86_avx2/target.hpp>

#if STILLA_ARCH_X86
#include <stilla/x86_avx2/vector.hpp>

STILLA_TARGET_BEGIN("avx2,fma,f16c")
namespace stilla::inline STILLA_ABI::avx2 {

#include <stilla/x86/panel_tile-inl.hpp>

}  // namespace stilla::STILLA_ABI::avx2
STILLA_TARGET_END

namespace stilla::inline STILLA_ABI {

template <QuantisedFormat F>
  requires avx2::fits_dot<F>
struct MatmulPanels<Avx2, F> {
  static constexpr TargetId implemented_on = Avx2::id;
  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) { avx2::matmul_panels<F>(a, first, last); }
};

}  // namespace stilla::STILLA_ABI
#endif
