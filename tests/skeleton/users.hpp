// SPDX-License-Identifier: Apache-2.0
//
// Two files that use an op in different ways, each with no more headers than its op asks for.
#pragma once

#include <vector>

std::vector<float> norm_by_norm_hpp(const std::vector<float>& x, const std::vector<float>& weight);
std::vector<float> norm_by_fused_hpp(const std::vector<float>& x, const std::vector<float>& weight);
