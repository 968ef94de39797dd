// SPDX-License-Identifier: Apache-2.0
//
// Scalar: plain C++ without intrinsics. It is the specification: every other target gives the same bits. It also runs where no
// other target does. Its kernels are the shortest correct code; they are not written for speed.
#pragma once

#include <stilla/base/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Scalar {
  static constexpr TargetId id{"scalar"};
  static constexpr bool is_compiled = true;
  static constexpr bool is_guaranteed = true;
  static bool available(const CpuInfo&) { return true; }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
