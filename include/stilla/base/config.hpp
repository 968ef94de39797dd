// SPDX-License-Identifier: Apache-2.0
//
// Every macro a user may set, and the inline namespace that keeps differently compiled objects apart.
//
// Users may define, before the first Stilla include and alike in the whole program:
//
//   STILLA_HIGHWAY        1 (default) compiles the portable kernels, written once with Highway. 0 leaves them out: then no
//                         Highway header is needed and `scalar` runs wherever no machine-specific kernel exists.
//                         A translation unit that itself uses <hwy/foreach_target.h> must set 0 (see kernels/README.md).
//   STILLA_SINGLE_TARGET  0 (default) compiles every target of the architecture and chooses at run time. 1 compiles only
//                         what the compiler flags guarantee (say -march=native): fewer instantiations, shorter builds,
//                         and a program that needs that CPU.
//   STILLA_SEPARATE_KERNELS  0 (default) compiles the kernels of matmul and attention in every translation unit that calls
//                         them. 1 leaves them to the one file that defines STILLA_DEFINE_KERNELS before it includes
//                         <stilla/matmul.hpp> and <stilla/attention.hpp>, or to one file for each of the two headers: every
//                         other takes a few seconds instead of half a minute.
//
// Why the namespace carries the flags. A header-only library is compiled again in every translation unit, and the linker
// keeps one copy of each inline function. If one unit was built with -mavx512f and another for any x86-64, the copy that
// survives might hold instructions the CPU lacks. So everything that is compiled differently under different flags gets
// a different name: stilla::v0_<instruction sets>_<options>::f. Users write stilla::f and never see it.
#pragma once

#include <stilla/base/version.hpp>

#if !defined(__cpp_concepts) || __cplusplus < 202002L
#if !defined(_MSVC_LANG) || _MSVC_LANG < 202002L
#error "Stilla needs C++20: add -std=c++20 (GCC 12, clang 14 or newer)."
#endif
#endif

#ifndef STILLA_HIGHWAY
#define STILLA_HIGHWAY 1
#endif
#ifndef STILLA_SINGLE_TARGET
#define STILLA_SINGLE_TARGET 0
#endif
#ifndef STILLA_SEPARATE_KERNELS
#define STILLA_SEPARATE_KERNELS 0
#endif
#if STILLA_SEPARATE_KERNELS
#define STILLA_KERNEL_LINKAGE
#else
#define STILLA_KERNEL_LINKAGE inline
#endif
#if !STILLA_SEPARATE_KERNELS || defined(STILLA_DEFINE_KERNELS)
#define STILLA_COMPILE_KERNELS 1
#else
#define STILLA_COMPILE_KERNELS 0
#endif

// Which instruction sets the flags guarantee. Read once, here, before any target region redefines these macros.
#if defined(__x86_64__) || defined(_M_X64)
#define STILLA_ARCH_X86 1
#if defined(__AVX512VNNI__)
#define STILLA_BASELINE x86_avx512vnni
#elif defined(__AVX512F__)
#define STILLA_BASELINE x86_avx512
#elif defined(__AVXVNNI__)
#define STILLA_BASELINE x86_avxvnni
#elif defined(__AVX2__) && defined(__FMA__)
#define STILLA_BASELINE x86_avx2
#elif defined(__AVX__)
#define STILLA_BASELINE x86_avx
#elif defined(__SSE4_1__)
#define STILLA_BASELINE x86_sse4
#else
#define STILLA_BASELINE x86
#endif
#elif defined(__aarch64__) || defined(_M_ARM64)
#define STILLA_ARCH_ARM 1
#if defined(__ARM_FEATURE_SVE)
#define STILLA_BASELINE arm_sve
#elif defined(__ARM_FEATURE_MATMUL_INT8)
#define STILLA_BASELINE arm_i8mm
#elif defined(__ARM_FEATURE_DOTPROD)
#define STILLA_BASELINE arm_dotprod
#else
#define STILLA_BASELINE arm
#endif
#else
#define STILLA_BASELINE other
#endif
#ifndef STILLA_ARCH_X86
#define STILLA_ARCH_X86 0
#endif
#ifndef STILLA_ARCH_ARM
#define STILLA_ARCH_ARM 0
#endif

// -ffast-math lets the compiler cancel (x + c) - c, which is how numbers are rounded here: results would be wrong, not
// merely different.
#if defined(__FAST_MATH__)
#error "Stilla cannot be compiled with -ffast-math or -Ofast: give the files that include it -fno-fast-math."
#endif
#if defined(__MINGW32__) && !defined(__FMA__)
#error "Stilla with MinGW needs -mfma: its fmaf() rounds twice, and results would not be those of every other build."
#endif

#define STILLA_JOIN_(a, b, c, d, e) a##_##b##_h##c##_s##d##_k##e
#define STILLA_JOIN(a, b, c, d, e) STILLA_JOIN_(a, b, c, d, e)
#define STILLA_ABI STILLA_JOIN(v0, STILLA_BASELINE, STILLA_HIGHWAY, STILLA_SINGLE_TARGET, STILLA_SEPARATE_KERNELS)
