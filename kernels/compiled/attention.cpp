// SPDX-License-Identifier: Apache-2.0
//
// The attention kernels of all targets and types of cache, for programs that set STILLA_SEPARATE_KERNELS.
#include <stilla/row_kernels.hpp>  // rows.cpp compiles these kernels
#define STILLA_DEFINE_KERNELS 1
#include <stilla/attention.hpp>
