// SPDX-License-Identifier: Apache-2.0
//
// The Walsh-Hadamard transform as it is defined, not normalised: of each run of as many values as the largest power of two that
// divides n. For float, for double where weights are prepared, and for the integers of NPUs, whose compilers may have no library:
// hence stddef.h.
#pragma once

#include <stddef.h>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

constexpr size_t hadamard_run(size_t n) { return n & (~n + 1); }

// Butterflies a + b, a - b at distance 1, then 2, 4, ...; any n.
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
