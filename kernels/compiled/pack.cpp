// SPDX-License-Identifier: Apache-2.0
//
// Compiles the packing kernels of all targets for all formats, for programs that set STILLA_SEPARATE_KERNELS.
#define STILLA_DEFINE_KERNELS 1
#include <stilla/pack.hpp>
