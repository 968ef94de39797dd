// SPDX-License-Identifier: Apache-2.0
//
// Opens Highway's include guards for the next target, as <hwy/foreach_target.h> does between two targets. Only kernels.hpp includes
// this file, several times.
#ifdef HWY_TARGET_TOGGLE
#undef HWY_TARGET_TOGGLE
#else
#define HWY_TARGET_TOGGLE
#endif
