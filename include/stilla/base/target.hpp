// SPDX-License-Identifier: Apache-2.0
//
// A target is a type: an instruction set that kernels are written for, with the target to fall back to where it has no
// kernel of its own. kernels/stilla/targets.hpp lists them; nothing else does.
//
//   struct AvxVnni {
//     using Fallback = Avx2;
//     static constexpr TargetId id{"avxvnni"};
//     static bool available(const CpuInfo& cpu);   // CPU and operating system both
//   };
//
// `static constexpr bool takes_tile_activations = true;` where matmuls want TileActivations (contract/activation_q8.hpp).
#pragma once

#include <concepts>
#include <string_view>

#include <stilla/base/cpu.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Names a target at run time. Two ids are equal when their names are.
struct TargetId {
  const char* name = "";
  constexpr bool operator==(const TargetId& other) const { return std::string_view(name) == other.name; }
};

template <class T>
concept Target = requires(const CpuInfo& cpu) {
  { T::id } -> std::convertible_to<TargetId>;
  { T::available(cpu) } -> std::same_as<bool>;
};

template <class T>
inline constexpr bool takes_tile_activations = requires { requires T::takes_tile_activations; };

}}  // namespace stilla
