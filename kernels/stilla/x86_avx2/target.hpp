// SPDX-License-Identifier: Apache-2.0
//
// AVX2 with FMA and F16C: Intel Haswell (2013), AMD Excavator (2015) and later.
#pragma once

#include <stilla/portable/target.hpp>
#include <stilla/base/target.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Avx2 {
  using Fallback = Portable;
  static constexpr TargetId id{"avx2"};
  static bool available(const CpuInfo& cpu) { return Portable::available(cpu); }  // the same instruction sets
};

}}  // namespace stilla
