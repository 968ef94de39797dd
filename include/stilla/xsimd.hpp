// SPDX-License-Identifier: Apache-2.0
//
// Lets functions on xsimd's batches (xsimd 8.1 or later) serve as epilogues of matrix products, or as ops of their own, on every
// target. This header says which architecture of xsimd belongs to a target, and makes calls that choose the architecture of the
// active target.
//
// xsimd takes the instruction sets from the compiler's flags. So a program for CPUs that are not known in advance compiles the file that
// contains its functions once for each architecture, and this header chooses among the results. examples/07_xsimd.cpp is such a program:
//
//   // functions.hpp: what both sides see. Arguments must not be types of this library, because files that are compiled with other flags
//   // see them under other names (STILLA_ABI in base/config.hpp).
//   struct Softplus {
//     template <class Arch>
//     void operator()(Arch, float* values, std::size_t n) const;
//   };
//
//   // functions.cpp: compiled for each architecture, for example with -mavx2 -mfma -DARCH='xsimd::fma3<xsimd::avx2>'
//   #include <stilla/xsimd_batches.hpp>
//   template <class Arch>
//   void Softplus::operator()(Arch, float* values, std::size_t n) const {
//     stilla::map_batches<Arch>(values, n, [](auto v) { return xsimd::log1p(xsimd::exp(v)); }, values);
//   }
//   template void Softplus::operator()(ARCH, float*, std::size_t) const;
//
//   // program.cpp
//   stilla::matmul({y, w, nullptr, stilla::xsimd_epilogue(Softplus{})}, x8);   // y = softplus(x * w^T)
//   stilla::on_xsimd_arch(Softplus{})(row, n);                                 // the same function for a row
//
// The functions return nothing. They are needed for each architecture that a compiled target has, and always for that of `scalar`.
// When you link the program, name the object for the architecture with the fewest instructions first: of an inline function that
// several objects have, std::sqrt(float) for example, the linker keeps the first copy, which must run on every CPU. The bits of
// functions on batches are xsimd's, and may differ from one architecture to another.
#pragma once

#include <cstddef>
#include <type_traits>

#include <xsimd/xsimd.hpp>

#include <stilla/dispatch.hpp>
#include <stilla/epilogue.hpp>
#include <stilla/matmul.hpp>

#if XSIMD_VERSION_MAJOR < 8 || (XSIMD_VERSION_MAJOR == 8 && XSIMD_VERSION_MINOR < 1)
#error "stilla/xsimd.hpp needs xsimd 8.1 or later."
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The architecture of xsimd that functions on batches are called with while target T is active. A target that is not named here has
// the architecture of its fallback.
//
//     target                     architecture               GCC's and clang's flags
//
//     avx512vnni, amx            avx512bw                   -mavx2 -mfma -mavx512f -mavx512cd -mavx512dq -mavx512bw
//     avx2, avxvnni, portable    fma3<avx2>                 -mavx2 -mfma
//     scalar on x86-64           sse2                       none
//     all on AArch64             neon64                     none
//
// Every CPU with AVX-512 VNNI has the other sets of AVX-512 that these flags name.
template <class T>
struct XsimdArch {
  using type = typename XsimdArch<typename T::Fallback>::type;
};
#if STILLA_ARCH_X86
template <>
struct XsimdArch<Scalar> : std::type_identity<xsimd::sse2> {};
template <>
struct XsimdArch<Portable> : std::type_identity<xsimd::fma3<xsimd::avx2>> {};
template <>
struct XsimdArch<Avx2> : std::type_identity<xsimd::fma3<xsimd::avx2>> {};
template <>
struct XsimdArch<Avx512Vnni> : std::type_identity<xsimd::avx512bw> {};
#elif STILLA_ARCH_ARM
template <>
struct XsimdArch<Scalar> : std::type_identity<xsimd::neon64> {};
#else
#error "stilla/xsimd.hpp knows no architecture of xsimd for this CPU."
#endif
template <class T>
using xsimd_arch = typename XsimdArch<T>::type;

// Returns a function that calls f(arch, arguments...), where `arch` is the architecture of the active target.
template <class F>
auto on_xsimd_arch(F f) {
  return [f](auto&&... arguments) { with_target(active_target(), [&](auto target) { f(xsimd_arch<decltype(target)>{}, arguments...); }); };
}

// An epilogue (epilogue.hpp) that calls f(arch, values, count) for pieces of the rows of a tile. f replaces the `count` floats at
// `values`.
template <class F>
auto xsimd_epilogue(F f) {
  return [f](const MatmulTile& tile) {
    with_target(active_target(), [&](auto target) {
      epilogue::for_each_piece(tile, [&](float* values, std::size_t count) { f(xsimd_arch<decltype(target)>{}, values, count); });
    });
  };
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
