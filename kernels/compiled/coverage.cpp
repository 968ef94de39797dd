// SPDX-License-Identifier: Apache-2.0
//
// The table that says which target's kernel runs (coverage.hpp). It has to see all kernels.
#define STILLA_DEFINE_KERNELS 1
#include <stilla/coverage.hpp>
