// SPDX-License-Identifier: Apache-2.0
//
// The elementwise kernels of the target portable. They are in elementwise-inl.hpp, which kernels.hpp compiles for Highway's target
// together with all other portable kernels.
#pragma once

#include <stilla/portable/kernels.hpp>
