// SPDX-License-Identifier: Apache-2.0
//
// Includes <windows.h> without its rarer parts and without macros named min and max. If the application has included <windows.h>
// before, those macros may exist.
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
