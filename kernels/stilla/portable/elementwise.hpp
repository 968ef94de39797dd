// SPDX-License-Identifier: Apache-2.0
//
// The elementwise kernels of portable: elementwise-inl.hpp, which Highway's pass compiles with all the others.
#pragma once

#include <stilla/portable/kernels.hpp>
