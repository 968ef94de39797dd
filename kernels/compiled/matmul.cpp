// SPDX-License-Identifier: Apache-2.0
//
// The matmul kernels of all targets and formats, for programs that set STILLA_SEPARATE_KERNELS.
#include <stilla/pack.hpp>  // pack.cpp compiles these kernels
#include <stilla/row_kernels.hpp>  // rows.cpp compiles these kernels
#define STILLA_DEFINE_KERNELS 1
#include <stilla/matmul.hpp>
