// SPDX-License-Identifier: Apache-2.0
//
// The skeleton of a target, in plain C++: copy this folder to begin a target. It is as narrow as NEON (4 lanes), sweeps over 8
// rows at a time, keeps signed codes signed and has its own arrangement of activations. Some of these features are used by no x86
// target, so this target tests them.
#pragma once

#include <stilla/base/target.hpp>
#include <stilla/scalar/target.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Skeleton {
  using Fallback = Scalar;
  static constexpr TargetId id{"skeleton"};
  static constexpr bool is_compiled = true;
  static constexpr bool is_guaranteed = true;
  static bool available(const CpuInfo&) { return true; }
};

}}  // namespace stilla
