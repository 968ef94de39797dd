// SPDX-License-Identifier: Apache-2.0
//
// Compiles the attention kernels of all targets for all types of cache, for programs that set STILLA_SEPARATE_KERNELS.
#include <stilla/row_kernels.hpp>  // stands before STILLA_DEFINE_KERNELS, so it gives no kernels here: rows.cpp compiles them
#define STILLA_DEFINE_KERNELS 1
#include <stilla/attention.hpp>
