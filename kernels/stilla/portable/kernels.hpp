// SPDX-License-Identifier: Apache-2.0
//
// Compiles the portable kernels for one Highway target, from a header: AVX2 on x86-64, NEON on AArch64. Every op's header
// includes this file; it works once for each translation unit.
//
// How it works. <hwy/foreach_target.h> includes HWY_TARGET_INCLUDE once for every target that is enabled, with HWY_TARGET
// set to it; all-inl.hpp skips every pass but ours. Disabling the other targets keeps the compile time down: with
// Highway 1.0.3 the headers cost 0.67 s (GCC 12) and 0.46 s (clang 14) instead of 3 s for all of x86 (kernels/README.md).
// We choose the target at run time ourselves (portable/target.hpp), so nothing of Highway's library is linked.
#pragma once

#include <stilla/portable/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_HAS_PORTABLE

#if defined(HIGHWAY_HWY_FOREACH_TARGET_H_)
#error \
    "This file uses <hwy/foreach_target.h> itself, which works once per file: define STILLA_HIGHWAY=0 in the whole \
program, or include Stilla from another file (see kernels/README.md)."
#endif

#ifndef HWY_HEADER_ONLY
#define HWY_HEADER_ONLY
#endif
#ifndef HWY_IS_DEBUG_BUILD
#define HWY_IS_DEBUG_BUILD 0  // the assertions of unoptimised builds call Highway's library
#endif
#if !defined(HIGHWAY_HWY_DETECT_TARGETS_H_) && !defined(HWY_DISABLED_TARGETS)
#if STILLA_ARCH_X86
#define HWY_DISABLED_TARGETS (~(HWY_AVX2 | HWY_EMU128 | HWY_SCALAR))
#else
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#define HWY_COMPILE_ONLY_STATIC
#endif
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE <stilla/portable/all-inl.hpp>
#include <hwy/foreach_target.h>
#include <stilla/portable/all-inl.hpp>
#undef HWY_TARGET_INCLUDE

#ifndef STILLA_PORTABLE_COMPILED
#error \
    "Highway was included before Stilla with settings that leave its AVX2 target out: include Stilla first, or define \
STILLA_HIGHWAY=0 in the whole program (see kernels/README.md)."
#endif

#endif  // STILLA_HAS_PORTABLE

#include <stilla/base/pop_macros-inl.hpp>
