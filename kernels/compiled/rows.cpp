// SPDX-License-Identifier: Apache-2.0
//
// Compiles the kernels on rows of floats of all targets, for programs that set STILLA_SEPARATE_KERNELS.
#define STILLA_DEFINE_KERNELS 1
#include <stilla/row_kernels.hpp>
