// SPDX-License-Identifier: Apache-2.0
//
// The matmul kernels of all targets and formats, for programs that set STILLA_SEPARATE_KERNELS.
#include <stilla/pack.hpp>         // those are compiled by pack.cpp
#include <stilla/row_kernels.hpp>  // and those by rows.cpp
#define STILLA_DEFINE_KERNELS 1
#include <stilla/matmul.hpp>
