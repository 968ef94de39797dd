// SPDX-License-Identifier: Apache-2.0
//
// Compiles the devices (device_matrix.hpp) with all formats that they hold, for programs that set STILLA_SEPARATE_KERNELS.
#define STILLA_DEFINE_KERNELS 1
#include <stilla/device_matrix.hpp>
