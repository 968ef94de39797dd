// SPDX-License-Identifier: Apache-2.0
//
// <windows.h>, without its rarer parts and, unless the application has included it before, without macros named min and max.
#pragma once

#if defined(_WIN32)
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#if !defined(WIN32_LEAN_AND_MEAN)
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>
#endif
