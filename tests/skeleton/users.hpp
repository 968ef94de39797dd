// SPDX-License-Identifier: Apache-2.0
//
// Two functions, each in a source file of its own, that use RMSNorm through different headers. Each file
// includes only the header of its op.
#pragma once

#include <vector>

std::vector<float> norm_by_norm_hpp(const std::vector<float>& x, const std::vector<float>& weight);
std::vector<float> norm_by_fused_hpp(const std::vector<float>& x, const std::vector<float>& weight);
