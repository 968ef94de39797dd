// SPDX-License-Identifier: Apache-2.0
//
// Documents every macro that a user may set, and defines the inline namespace that keeps differently compiled objects apart.
//
// Users may define these macros before the first Stilla include, with the same values in the whole program:
//
//   STILLA_HIGHWAY        1 (default) compiles the portable kernels, which are written once with Highway. 0 leaves them out:
//                         then no Highway header is needed, and `scalar` runs wherever no machine-specific kernel exists.
//   STILLA_SINGLE_TARGET  0 (default) compiles every target of the architecture and chooses at run time. 1 compiles only
//                         the best target that the compiler flags guarantee (-march=native, for example). This gives fewer
//                         instantiations and shorter builds, and the program needs a CPU of that kind.
//   STILLA_TARGETS        The targets to compile, by type: Avx2,Portable. Default: all of the architecture. `scalar` is
//                         always compiled. A target that is not compiled is not chosen, so a program that leaves out a CPU's
//                         best target runs the next best one.
//   STILLA_FORMATS        The weight formats to compile, by type: Q4_0,Q8_0,F32. The default is the formats of published weights
//                         if STILLA_SEPARATE_KERNELS is 0, and all formats if it is 1 (format/format.hpp lists both). A file that
//                         multiplies only Q8_0 compiles in a tenth of the time, and to a tenth of the size, that all formats take.
//                         A matrix of another format is refused in the same way as one of an unknown format.
//   STILLA_SEPARATE_KERNELS  0 (default) compiles the kernels in every translation unit that calls them. 1 leaves them to the
//                         one part of the program that defines STILLA_DEFINE_KERNELS as 1 before it includes the op headers:
//                         the files in kernels/compiled/, or a file of yours. All other files compile in a second or two.
//   STILLA_ONEDNN         0 (default). 1 adds the device onednn (onednn/device.hpp); the program is then linked to oneDNN.
//
// Why the namespace carries the flags: a header-only library is compiled again in every translation unit, and the linker keeps one
// copy of each inline function. If one unit was built with -mavx512f and another for any x86-64 CPU, the copy that survives might
// hold instructions that the CPU lacks. So everything that is compiled differently under different flags gets a different name:
// stilla::v0_<instruction sets>_<options>::f. Users write stilla::f and never see that name.
#pragma once

#include <stilla/base/version.hpp>

#if !defined(__cpp_concepts) || __cplusplus < 202002L
#if !defined(_MSVC_LANG) || _MSVC_LANG < 202002L
#error "Stilla needs C++20: add -std=c++20 (GCC 12, clang 14 or newer)."
#endif
#endif

// Microsoft's older preprocessor passes __VA_ARGS__ on as one argument, so the macros below would paste wrong names.
#if defined(_MSVC_TRADITIONAL) && _MSVC_TRADITIONAL
#error "Stilla needs the standard's preprocessor: add /Zc:preprocessor to the flags of Microsoft's compiler."
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
#ifndef STILLA_ONEDNN
#define STILLA_ONEDNN 0
#endif
#if STILLA_SEPARATE_KERNELS
#define STILLA_KERNEL_LINKAGE
#else
#define STILLA_KERNEL_LINKAGE inline
#endif
// STILLA_COMPILE_KERNELS says whether the headers of ops bring their kernels with them. Each of these headers evaluates the macro again, so
// a file may define STILLA_DEFINE_KERNELS after some of its includes, and then gets only the kernels of the headers that it includes later.
#define STILLA_COMPILE_KERNELS (!STILLA_SEPARATE_KERNELS || STILLA_DEFINE_KERNELS)

#if defined(__x86_64__) || defined(_M_X64)
#define STILLA_ARCH_X86 1
#define STILLA_ARCH_ARM 0
#elif defined(__aarch64__) || defined(_M_ARM64)
#define STILLA_ARCH_X86 0
#define STILLA_ARCH_ARM 1
#else
#define STILLA_ARCH_X86 0
#define STILLA_ARCH_ARM 0
#endif

// Stilla rounds a number x by computing (x + c) - c. With -ffast-math the compiler may replace this difference by x. Results would
// then be wrong, and not just slightly different.
#if defined(__FAST_MATH__) || defined(_M_FP_FAST)
#error "Stilla cannot be compiled with -ffast-math, -Ofast or /fp:fast: give the files that include it -fno-fast-math or /fp:precise."
#endif
// Files, packed weights and the vector kernels hold numbers with the low byte first, as every CPU of the targets does.
#if defined(__BYTE_ORDER__) && defined(__ORDER_LITTLE_ENDIAN__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Stilla needs a CPU that stores the low byte first (little-endian); this one does not."
#endif
#if STILLA_ARCH_X86 && defined(__MINGW32__) && !defined(__FMA__)
#error "Stilla with MinGW needs -mfma: its fmaf() rounds twice, and results would not be those of every other build."
#endif

// Whether the flags guarantee AVX2 together with FMA, F16C and BMI2. With /arch:AVX2, Microsoft's compiler (not clang-cl) uses all
// of them, but defines no macro for the other three. This is untested: that compiler was not at hand, only the list of its macros.
#if defined(__AVX2__) && ((defined(__FMA__) && defined(__F16C__) && defined(__BMI2__)) || (defined(_MSC_VER) && !defined(__clang__)))
#define STILLA_FLAGS_GIVE_AVX2 1
#else
#define STILLA_FLAGS_GIVE_AVX2 0
#endif

// Marks a function that is called for errors and other rare events. Compilers do not inline it, and assume that the branch which
// calls it is rarely taken.
#if defined(__GNUC__)
#define STILLA_COLD __attribute__((cold, noinline))
#elif defined(_MSC_VER)
#define STILLA_COLD __declspec(noinline)
#else
#define STILLA_COLD
#endif

// STILLA_HAS_SET(macro) is 1 if the compiler defines its macro of an instruction set as 1, which means that the flags guarantee the
// set, and 0 if not. It takes the second of the arguments `x 1, 0, 0`, where x is STILLA_COMMA_IF_ with the value of the macro
// pasted to it. STILLA_COMMA_IF_1 expands to `0,` and so makes the 1 the second argument. Any other x leaves a 0 there.
#define STILLA_HAS_SET(macro) STILLA_HAS_SET_(macro)
#define STILLA_HAS_SET_(value) STILLA_SECOND_OF_(STILLA_COMMA_IF_##value 1, 0, 0)
#define STILLA_COMMA_IF_1 0,
#define STILLA_SECOND_OF_(...) STILLA_EXPAND_(STILLA_SECOND_(__VA_ARGS__))
#define STILLA_SECOND_(first, second, ...) second
#define STILLA_EXPAND_(...) __VA_ARGS__

// Pastes up to 32 pieces to one name. Pieces that are not given are empty.
// clang-format off
#define STILLA_PASTE_(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, c0, c1, c2, c3, c4, c5,   \
                      c6, c7, c8, c9, d0, d1, ...)                                                                              \
  a0##a1##a2##a3##a4##a5##a6##a7##a8##a9##b0##b1##b2##b3##b4##b5##b6##b7##b8##b9##c0##c1##c2##c3##c4##c5##c6##c7##c8##c9##d0##d1
#define STILLA_PASTE(...) \
  STILLA_EXPAND_(STILLA_PASTE_(__VA_ARGS__, , , , , , , , , , , , , , , , , , , , , , , , , , , , , , , , ))

// The instruction sets that the flags guarantee, as a part of a name with one digit for each. The compiler's macros are read once,
// in this header, before code for a target changes them: a pragma compiles such code for more instruction sets.
#if STILLA_ARCH_X86
#define STILLA_BASELINE                                                                                                     \
  STILLA_PASTE(x86_, STILLA_HAS_SET(__SSE3__), STILLA_HAS_SET(__SSSE3__), STILLA_HAS_SET(__SSE4_1__),                         \
               STILLA_HAS_SET(__SSE4_2__), STILLA_HAS_SET(__AVX__), STILLA_HAS_SET(__AVX2__), STILLA_HAS_SET(__FMA__),        \
               STILLA_HAS_SET(__F16C__), STILLA_HAS_SET(__BMI2__), STILLA_HAS_SET(__AVXVNNI__),                               \
               STILLA_HAS_SET(__AVXVNNIINT8__), STILLA_HAS_SET(__AVX512F__), STILLA_HAS_SET(__AVX512BW__),                    \
               STILLA_HAS_SET(__AVX512DQ__), STILLA_HAS_SET(__AVX512VL__), STILLA_HAS_SET(__AVX512VNNI__),                    \
               STILLA_HAS_SET(__AVX512BF16__), STILLA_HAS_SET(__AVX512FP16__), STILLA_HAS_SET(__AVX512VBMI__),                \
               STILLA_HAS_SET(__AMX_TILE__), STILLA_HAS_SET(__AMX_BF16__), STILLA_HAS_SET(__AMX_INT8__),                      \
               STILLA_HAS_SET(__AVX10_1__), STILLA_HAS_SET(__AVX10_2__))
#elif STILLA_ARCH_ARM
#define STILLA_BASELINE                                                                                                     \
  STILLA_PASTE(arm_, STILLA_HAS_SET(__ARM_FEATURE_DOTPROD), STILLA_HAS_SET(__ARM_FEATURE_MATMUL_INT8),                        \
               STILLA_HAS_SET(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC), STILLA_HAS_SET(__ARM_FEATURE_BF16),                      \
               STILLA_HAS_SET(__ARM_FEATURE_SVE), STILLA_HAS_SET(__ARM_FEATURE_SVE2), STILLA_HAS_SET(__ARM_FEATURE_SME),      \
               STILLA_HAS_SET(__ARM_FEATURE_SME2))
#else
#define STILLA_BASELINE other_
// clang-format on
#endif
#ifdef STILLA_TARGETS
#define STILLA_TARGETS_NAME_ STILLA_PASTE(STILLA_TARGETS)
#else
#define STILLA_TARGETS_NAME_ all
#endif
#ifdef STILLA_FORMATS
#define STILLA_FORMATS_NAME_ STILLA_PASTE(STILLA_FORMATS)
#else
#define STILLA_FORMATS_NAME_ all
#endif

#define STILLA_ABI                                                                                                                     \
  STILLA_PASTE(v0_, STILLA_BASELINE, _h, STILLA_HIGHWAY, _s, STILLA_SINGLE_TARGET, _k, STILLA_SEPARATE_KERNELS, _d, STILLA_ONEDNN, _t, \
               STILLA_TARGETS_NAME_, _f, STILLA_FORMATS_NAME_)
