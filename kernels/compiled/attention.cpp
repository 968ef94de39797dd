// SPDX-License-Identifier: Apache-2.0
//
// The attention kernels of all targets and types of cache, as matmul.cpp those of matmul.
#define STILLA_DEFINE_KERNELS
#include <stilla/attention.hpp>
