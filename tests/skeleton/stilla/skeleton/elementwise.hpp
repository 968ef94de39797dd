// SPDX-License-Identifier: Apache-2.0
//
// RMSNorm for the skeleton target. It runs the kernel of the specification (the target `scalar`) and counts the calls.
#pragma once

#include <atomic>

#include <stilla/contract/elementwise.hpp>
#include <stilla/scalar/elementwise.hpp>
#include <stilla/skeleton/target.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace skeleton {
inline std::atomic<std::size_t> norms = 0;
}

template <>
struct RmsNorm<Skeleton> {
  static constexpr TargetId implemented_on = Skeleton::id;
  static void run(float* out, const float* x, const float* weight, float epsilon, std::size_t n) {
    ++skeleton::norms;
    RmsNorm<Scalar>::run(out, x, weight, epsilon, n);
  }
};

}}  // namespace stilla
