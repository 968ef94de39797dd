// SPDX-License-Identifier: Apache-2.0
//
// Compiles the matmul kernels of all targets for all formats, for programs that set STILLA_SEPARATE_KERNELS.
#include <stilla/pack.hpp>  // gives no kernels here: pack.cpp compiles them
#include <stilla/row_kernels.hpp>  // gives no kernels here: rows.cpp compiles them
#define STILLA_DEFINE_KERNELS 1
#include <stilla/matmul.hpp>
