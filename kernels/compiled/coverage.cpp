// SPDX-License-Identifier: Apache-2.0
//
// The table of whose kernels run (coverage.hpp), which has to see all of them.
#define STILLA_DEFINE_KERNELS 1
#include <stilla/coverage.hpp>
