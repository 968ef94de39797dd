// SPDX-License-Identifier: Apache-2.0
//
// The attention kernels of portable. They are in attention-inl.hpp, which Highway's pass compiles with all the other kernels.
#pragma once

#include <stilla/portable/kernels.hpp>
