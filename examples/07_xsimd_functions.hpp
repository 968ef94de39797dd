// SPDX-License-Identifier: Apache-2.0
//
// The functions of example 7. 07_xsimd_functions.cpp defines them for one architecture each time it is compiled.
#pragma once

#include <cstddef>

// Replaces n values v by v / 2 * (1 + tanh(sqrt(2 / pi) * (v + 0.044715 v^3))).
struct Gelu {
  template <class Arch>
  void operator()(Arch, float* values, std::size_t n) const;
};

// RMSNorm as Gemma has it: y[i] = x[i] / sqrt(mean of x^2 + epsilon) * (1 + weight[i]).
struct RmsNormOnePlus {
  template <class Arch>
  void operator()(Arch, float* y, const float* x, const float* weight, std::size_t n, float epsilon) const;
};
