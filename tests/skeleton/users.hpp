// SPDX-License-Identifier: Apache-2.0
//
// Functions of two files that use an op in different ways. Each file includes no more headers than its op needs.
#pragma once

#include <vector>

std::vector<float> norm_by_norm_hpp(const std::vector<float>& x, const std::vector<float>& weight);
std::vector<float> norm_by_fused_hpp(const std::vector<float>& x, const std::vector<float>& weight);
