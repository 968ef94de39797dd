// SPDX-License-Identifier: Apache-2.0
//
// Compiles the portable kernels for one Highway target, from a header: AVX2 on x86-64, NEON on AArch64. Every op's header
// includes this file. We choose the target at run time ourselves (portable/target.hpp), so nothing of Highway's library is linked.
//
// Highway belongs to the application too. So this file leaves it as if it had never been used here: the application may include
// <hwy/highway.h> or <hwy/foreach_target.h> before, after, or around it, with any settings and flags (tests/highway). For this:
//
//   - HWY_TARGET is set here, and <hwy/foreach_target.h> is not used, because a file can use it only once. HWY_DISABLED_TARGETS and
//     other settings keep their values, because they decide what HWY_STATIC_TARGET is.
//   - Highway's operations for our target are read into a namespace of another name. The application may read the same operations into
//     Highway's own namespace, and there they cannot be defined twice.
//   - Some headers of Highway are read once for each target. Their include guards change their meaning each time. A second pass, for
//     Highway's smallest target, brings these guards back to where they were.
//
// What else was tried, and what the passes cost: kernels/README.md, "Highway from a header".
#pragma once

#include <stilla/portable/target.hpp>

#if STILLA_HAS_PORTABLE

#include <stilla/base/push_macros-inl.hpp>  // some macros of other headers would break Highway's headers

#include <hwy/base.h>
#include <hwy/cache_control.h>
#include <hwy/detect_targets.h>

#if defined(HWY_DISABLE_BMI2_FMA) || defined(HWY_DISABLE_F16C)
#error "Stilla's portable kernels need FMA and F16C: remove HWY_DISABLE_BMI2_FMA and HWY_DISABLE_F16C, or define STILLA_HIGHWAY=0."
#endif

// Reading Highway's headers for our target changes these macros. Their values are saved here, and the last lines of this file restore
// them.
#pragma push_macro("HWY_ABORT")
#pragma push_macro("HWY_HIGHWAY_INCLUDED")
#pragma push_macro("HWY_SET_MACROS_PER_TARGET")
#pragma push_macro("HWY_TARGET")
#pragma push_macro("N_AVX2")
#pragma push_macro("N_NEON")
#pragma push_macro("N_NEON_WITHOUT_AES")
#pragma push_macro("N_SCALAR")

#undef HWY_ABORT
#define HWY_ABORT(...) static_cast<void>(0)  // otherwise assertions in unoptimised builds would call Highway's library
#undef HWY_HIGHWAY_INCLUDED
#define HWY_HIGHWAY_INCLUDED  // so that highway.h gives only its part that depends on HWY_TARGET
#define N_AVX2 N_STILLA_AVX2
#define N_NEON N_STILLA_NEON
#define N_NEON_WITHOUT_AES N_STILLA_NEON
#define N_SCALAR N_STILLA_SCALAR

// Where the application has included <hwy/highway.h> already, for a Highway target of its own, Highway's include guards keep the headers
// of Highway from being read again. toggle-inl.hpp switches these guards, so that the headers are read for our target.
#if defined(HWY_HIGHWAY_PER_TARGET) != defined(HWY_TARGET_TOGGLE)
#define STILLA_HIGHWAY_WAS_READ
#include <stilla/portable/toggle-inl.hpp>
#endif

#undef HWY_TARGET
#if STILLA_ARCH_X86
#define HWY_TARGET HWY_AVX2
#elif defined(HWY_NEON_WITHOUT_AES)  // from Highway 1.1 on, where HWY_NEON needs a CPU with AES
#define HWY_TARGET HWY_NEON_WITHOUT_AES
#else
#define HWY_TARGET HWY_NEON
#endif
#include <hwy/highway.h>

#include <stilla/portable/attention-inl.hpp>
#include <stilla/portable/elementwise-inl.hpp>
#include <stilla/portable/matmul-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {
namespace portable_kernels = HWY_NAMESPACE;  // for other targets' kernels that use these
}}  // namespace stilla

#include <stilla/portable/toggle-inl.hpp>
#undef HWY_TARGET
#define HWY_TARGET HWY_SCALAR
#include <hwy/highway.h>
#ifndef STILLA_HIGHWAY_WAS_READ
#include <stilla/portable/toggle-inl.hpp>
#endif
#undef STILLA_HIGHWAY_WAS_READ

#pragma pop_macro("HWY_ABORT")
#pragma pop_macro("HWY_HIGHWAY_INCLUDED")
#pragma pop_macro("HWY_TARGET")
#pragma pop_macro("N_AVX2")
#pragma pop_macro("N_NEON")
#pragma pop_macro("N_NEON_WITHOUT_AES")
#pragma pop_macro("N_SCALAR")
#include <hwy/ops/set_macros-inl.h>  // sets HWY_NAMESPACE, HWY_ATTR, ... again for the application's target
#pragma pop_macro("HWY_SET_MACROS_PER_TARGET")

#include <stilla/base/pop_macros-inl.hpp>

#endif  // STILLA_HAS_PORTABLE
