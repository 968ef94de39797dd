// SPDX-License-Identifier: Apache-2.0
//
// Defines what a target is. A target is a type: an instruction set that kernels are written for, with the target to fall back to
// where it has no kernel of its own. The kernels of every target equal those of `scalar` bit for bit. (Something that computes
// otherwise, an NPU or another library, is a device: device.hpp.) Only kernels/stilla/targets.hpp lists the targets.
//
//   struct AvxVnni {
//     using Fallback = Avx2;
//     static constexpr TargetId id{"avxvnni"};
//     static constexpr bool is_compiled = STILLA_ARCH_X86;      // whether this translation unit compiles its kernels
//     static constexpr bool is_guaranteed = ...;                // whether the compiler flags guarantee the instructions
//     static bool available(const CpuInfo& cpu);                // whether the CPU and the operating system have them
//     static bool is_faster(const CpuInfo& cpu);                // optional: whether it is faster than Fallback where available
//   };
//
// Where a target is available but not faster, its fallback is the default. The target can still be forced (dispatch.hpp).
//
// With STILLA_SINGLE_TARGET (config.hpp) is_guaranteed decides which target is compiled. The preprocessor reads the compiler's
// flags for is_guaranteed outside of any target region, which is code that a pragma compiles for more instruction sets. Inside such
// a region GCC and clang define the macros of those sets too.
#pragma once

#include <concepts>
#include <string_view>

#include <stilla/base/cpu.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The name of a target at run time. Two ids are equal if their names are.
struct TargetId {
  const char* name = "";
  constexpr bool operator==(const TargetId& other) const { return std::string_view(name) == other.name; }
};

template <class T>
concept Target = requires(const CpuInfo& cpu) {
  { T::id } -> std::convertible_to<TargetId>;
  { T::is_compiled } -> std::convertible_to<bool>;
  { T::is_guaranteed } -> std::convertible_to<bool>;
  { T::available(cpu) } -> std::same_as<bool>;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
