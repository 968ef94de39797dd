// SPDX-License-Identifier: Apache-2.0
//
// Defines the Walsh-Hadamard transform, not normalised. A row of n values is cut into runs, and each run is transformed by itself.
// The length of a run is the largest power of two that divides n. The element type is float, double where weights are prepared, or
// an integer on NPUs. NPU compilers may have no C++ library, so this header includes stddef.h instead of cstddef.
#pragma once

#include <stddef.h>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

constexpr size_t hadamard_run(size_t n) { return n & (~n + 1); }

// Transforms each run of the n values: replaces pairs (a, b) by (a + b, a - b), first at distance 1, then at 2, 4, and so on. n may
// be any number.
template <class T>
constexpr void hadamard_butterflies(T* x, size_t n) {
  for (size_t distance = 1; distance < hadamard_run(n); distance *= 2) {
    for (size_t first = 0; first < n; first += 2 * distance) {
      for (size_t i = first; i < first + distance; ++i) {
        const T a = x[i], b = x[i + distance];
        x[i] = a + b;
        x[i + distance] = a - b;
      }
    }
  }
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
