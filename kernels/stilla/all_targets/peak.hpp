// SPDX-License-Identifier: Apache-2.0
//
// Includes the loops that measure the peaks of all targets (generic/peak.hpp).
#pragma once

#include <stilla/generic/peak.hpp>
#include <stilla/targets.hpp>

#define STILLA_EACH_LIST STILLA_TARGET_LIST
#define STILLA_EACH_HEADER(folder) <stilla/folder/peak.hpp>
#include <stilla/base/include_each-inl.hpp>
