// SPDX-License-Identifier: Apache-2.0
//
// Includes the matmul kernels of all targets (contract/matmul.hpp). An op includes this header and never the header of a single target.
// So all files of a program see the same kernels, and each of them chooses the same kernel. In a file that saw fewer kernels, the same
// C++ name would stand for another kernel: that of a fallback (coverage.hpp).
#pragma once

#include <stilla/contract/matmul.hpp>
#include <stilla/format/format.hpp>  // included first: it uses include_each-inl.hpp too, and no use of that file may contain another
#include <stilla/targets.hpp>

#define STILLA_EACH_LIST STILLA_TARGET_LIST
#define STILLA_EACH_HEADER(folder) <stilla/folder/matmul.hpp>
#include <stilla/base/include_each-inl.hpp>
