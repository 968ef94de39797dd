// SPDX-License-Identifier: Apache-2.0
//
// Highway includes this file once for every target (see kernels.hpp). The file includes the kernels only on the pass for our
// target.

// No include guard: this file is read several times. NOLINT
#include <hwy/highway.h>

#include <stilla/base/push_macros-inl.hpp>

#if (STILLA_ARCH_X86 && HWY_TARGET == HWY_AVX2) || (!STILLA_ARCH_X86 && HWY_TARGET == HWY_STATIC_TARGET)
#ifndef STILLA_PORTABLE_COMPILED
#define STILLA_PORTABLE_COMPILED
#include <stilla/portable/attention-inl.hpp>
#include <stilla/portable/elementwise-inl.hpp>
#include <stilla/portable/matmul-inl.hpp>
namespace stilla { inline namespace STILLA_ABI {
namespace portable_kernels = HWY_NAMESPACE;  // for other targets' kernels that use these, outside Highway's pass
}}  // namespace stilla
#endif
#endif

#include <stilla/base/pop_macros-inl.hpp>
