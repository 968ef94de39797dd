// SPDX-License-Identifier: Apache-2.0
//
// The functions of example 7, for the architecture ARCH of xsimd. This file is compiled once for each architecture, each time with another
// ARCH and with the compiler flags of that architecture.
#include "07_xsimd_functions.hpp"

#include <cmath>

#include <stilla/xsimd_batches.hpp>

template <class Arch>
void Gelu::operator()(Arch, float* values, std::size_t n) const {
  stilla::map_batches<Arch>(
      values, n,
      [](auto v) {
        const auto inner = 0.7978845608f * (v + 0.044715f * v * v * v);
        return 0.5f * v * (1.0f + xsimd::tanh(inner));
      },
      values);
}
template void Gelu::operator()(ARCH, float*, std::size_t) const;

template <class Arch>
void RmsNormOnePlus::operator()(Arch, float* y, const float* x, const float* weight, std::size_t n, float epsilon) const {
  const float squares = stilla::sum_batches<Arch>(n, [](auto v) { return v * v; }, x);
  const float scale = 1.0f / std::sqrt(squares / static_cast<float>(n) + epsilon);
  stilla::map_batches<Arch>(y, n, [scale](auto v, auto w) { return v * scale * (1.0f + w); }, x, weight);
}
template void RmsNormOnePlus::operator()(ARCH, float*, const float*, const float*, std::size_t, float) const;
