// SPDX-License-Identifier: Apache-2.0
//
// A target region stands between STILLA_TARGET_BEGIN and STILLA_TARGET_END. Its functions may use the instruction sets that
// STILLA_TARGET_BEGIN names, whatever flags the file is compiled with. The definitions of the two macros test for clang first, because
// clang also defines __GNUC__ but ignores GCC's pragma. The rules for code inside a region are in kernels/README.md.
//
//     STILLA_TARGET_BEGIN("avx2,fma")
//     ...
//     STILLA_TARGET_END
#pragma once

// Where a kernel inlines functions of <immintrin.h>, GCC 12 warns of vectors that this header leaves uninitialised on purpose
// (GCC's bug 105593). Whether it warns depends on the place where the header is read first, so it is read here with these warnings
// switched off. Highway switches them off too, but not every target reads Highway before.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

#define STILLA_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define STILLA_TARGET_BEGIN(sets) STILLA_PRAGMA(clang attribute push(__attribute__((target(sets))), apply_to = function))
#define STILLA_TARGET_END STILLA_PRAGMA(clang attribute pop)
#elif defined(__GNUC__)
#define STILLA_TARGET_BEGIN(sets) STILLA_PRAGMA(GCC push_options) STILLA_PRAGMA(GCC target(sets))
#define STILLA_TARGET_END STILLA_PRAGMA(GCC pop_options)
#else
#define STILLA_TARGET_BEGIN(sets)
#define STILLA_TARGET_END
#endif

// STILLA_INLINE is for functions of a region that other functions of the same region call in their inner loops.
#if defined(__GNUC__)
#define STILLA_INLINE inline __attribute__((always_inline))
#define STILLA_NOINLINE __attribute__((noinline))
#else
#define STILLA_INLINE __forceinline
#define STILLA_NOINLINE __declspec(noinline)
#endif

// STILLA_UNROLL stands before a loop with a small, constant number of rounds that must be unrolled, so that its indices become
// constants. It has no effect under a sanitizer, where the instrumented copies would only make the compiler slow.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STILLA_UNROLL
#elif defined(__clang__)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STILLA_UNROLL
#else
#define STILLA_UNROLL _Pragma("clang loop unroll(full)")
#endif
#elif defined(__GNUC__)
#define STILLA_UNROLL _Pragma("GCC unroll 16")
#else
#define STILLA_UNROLL
#endif
