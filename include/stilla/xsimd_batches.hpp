// SPDX-License-Identifier: Apache-2.0
//
// Applies a function of xsimd's batches (xsimd 8.1 or later) to rows of floats. This header is for the files that contain such functions,
// which are compiled once for each architecture (xsimd.hpp). It includes nothing else of the library, so these files compile fast.
//
//   stilla::map_batches<Arch>(y, n, [](auto g, auto u) { return g / (1.0f + xsimd::exp(-g)) * u; }, gate, up);   // SiLU of gate times up
#pragma once

#include <cstddef>
#include <cstring>

#include <xsimd/xsimd.hpp>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// out[i] = f(in[i]...) for i = 0 .. n - 1. f takes and returns batches xsimd::batch<float, Arch>. `out` may be one of the inputs. If n is
// no multiple of the batch's size, the last batches are filled up with zeros, and what f returns for these is not stored.
template <class Arch, class F, class... In>
void map_batches(float* out, std::size_t n, const F& f, const In*... in) {
  using Batch = xsimd::batch<float, Arch>;
  constexpr std::size_t lanes = Batch::size;
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) f(Batch::load_unaligned(in + i)...).store_unaligned(out + i);
  if (i == n) return;
  const auto load_rest = [&](const float* from) {
    float rest[lanes] = {};
    std::memcpy(rest, from + i, (n - i) * sizeof(float));
    return Batch::load_unaligned(rest);
  };
  float results[lanes];
  f(load_rest(in)...).store_unaligned(results);
  std::memcpy(out + i, results, (n - i) * sizeof(float));
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
