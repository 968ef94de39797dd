// SPDX-License-Identifier: Apache-2.0
//
// The matmul kernels of the target portable. They are in matmul-inl.hpp, which kernels.hpp compiles for Highway's target together with
// all other portable kernels.
#pragma once

#include <stilla/portable/kernels.hpp>
