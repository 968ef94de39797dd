// SPDX-License-Identifier: Apache-2.0
//
// Compiles the matmul kernels of all targets for all formats, for programs that set STILLA_SEPARATE_KERNELS.
#include <stilla/pack.hpp>  // stands before STILLA_DEFINE_KERNELS, so it gives no kernels here: pack.cpp compiles them
#include <stilla/row_kernels.hpp>  // stands before STILLA_DEFINE_KERNELS, so it gives no kernels here: rows.cpp compiles them
#define STILLA_DEFINE_KERNELS 1
#include <stilla/matmul.hpp>
