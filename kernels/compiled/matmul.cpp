// SPDX-License-Identifier: Apache-2.0
//
// The matmul kernels of all targets and formats, once, for the programs of this repository (config.hpp,
// STILLA_SEPARATE_KERNELS).
#define STILLA_DEFINE_KERNELS
#include <stilla/matmul.hpp>
