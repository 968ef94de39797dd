// SPDX-License-Identifier: Apache-2.0
//
// The three numbers of the library's version. CMakeLists.txt reads them from this file; nothing else states a version.
#pragma once

#define STILLA_VERSION_MAJOR 0
#define STILLA_VERSION_MINOR 1
#define STILLA_VERSION_PATCH 0
