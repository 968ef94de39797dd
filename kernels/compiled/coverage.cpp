// SPDX-License-Identifier: Apache-2.0
//
// Compiles the table that says, for every op, which target's kernel runs (coverage.hpp), for programs that set STILLA_SEPARATE_KERNELS.
// It includes the kernels of all ops.
#define STILLA_DEFINE_KERNELS 1
#include <stilla/coverage.hpp>
