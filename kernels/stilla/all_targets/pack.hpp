// SPDX-License-Identifier: Apache-2.0
//
// Includes the packing kernels of all targets (contract/pack.hpp). So all files of a program see the same kernels and choose the same
// kernel for a target.
#pragma once

#include <stilla/contract/pack.hpp>
#include <stilla/format/format.hpp>  // included first: it uses include_each-inl.hpp too, and no use of that file may contain another
#include <stilla/targets.hpp>

#define STILLA_EACH_LIST STILLA_TARGET_LIST
#define STILLA_EACH_HEADER(folder) <stilla/folder/pack.hpp>
#include <stilla/base/include_each-inl.hpp>
