// SPDX-License-Identifier: Apache-2.0
//
// The matmul kernels of portable. They are in matmul-inl.hpp, which Highway's pass compiles with all the other kernels.
#pragma once

#include <stilla/portable/kernels.hpp>
