// SPDX-License-Identifier: Apache-2.0
//
// The devices (device_matrix.hpp), with all formats that they hold.
#define STILLA_DEFINE_KERNELS 1
#include <stilla/device_matrix.hpp>
