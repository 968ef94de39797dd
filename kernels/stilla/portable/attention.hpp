// SPDX-License-Identifier: Apache-2.0
//
// The attention kernels of the target portable. They are in attention-inl.hpp, which kernels.hpp compiles for Highway's target together
// with all other portable kernels.
#pragma once

#include <stilla/portable/kernels.hpp>
