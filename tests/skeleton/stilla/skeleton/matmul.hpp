// SPDX-License-Identifier: Apache-2.0
//
// Matmul of quantised weights for the skeleton target: generic/panel_tile-inl.hpp on the vocabulary of vector.hpp. It counts the
// calls with many tokens that find their activations in the target's own arrangement, too.
#pragma once

#include <atomic>
#include <bit>

#include <stilla/contract/matmul.hpp>
#include <stilla/skeleton/target.hpp>
#include <stilla/skeleton/vector.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace skeleton {

#include <stilla/generic/panel_tile-inl.hpp>

inline std::atomic<std::size_t> arranged_matmuls = 0;

}}}  // namespace stilla::skeleton

namespace stilla { inline namespace STILLA_ABI {

template <QuantisedFormat F>
struct MatmulPanels<Skeleton, F> {
  static constexpr TargetId implemented_on = Skeleton::id;
  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
    if (a.x.arranged.data != nullptr && a.x.arranged.form == Skeleton::id) ++skeleton::arranged_matmuls;
    skeleton::matmul_panels<F>(a, first, last);
  }
};

}}  // namespace stilla
