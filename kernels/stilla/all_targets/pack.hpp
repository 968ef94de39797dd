// SPDX-License-Identifier: Apache-2.0
//
// Every packing kernel of every target (contract/pack.hpp). They are all included, so that all files of a program see the same kernels
// and choose the same kernel for a target.
#pragma once

#include <stilla/contract/pack.hpp>
#include <stilla/format/format.hpp>  // uses include_each-inl.hpp too, and its uses cannot be nested
#include <stilla/targets.hpp>

#define STILLA_EACH_LIST STILLA_TARGET_LIST
#define STILLA_EACH_HEADER(folder) <stilla/folder/pack.hpp>
#include <stilla/base/include_each-inl.hpp>
