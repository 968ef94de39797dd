// SPDX-License-Identifier: Apache-2.0
//
// Applies a function of xsimd's batches (xsimd 8.1 or later) to rows of floats, or adds up what it returns. This header is for the files
// that contain such functions, which are compiled once for each architecture (xsimd.hpp). It includes nothing else of the library, so
// these files compile fast.
//
//   stilla::map_batches<Arch>(y, n, [](auto g, auto u) { return g / (1.0f + xsimd::exp(-g)) * u; }, gate, up);   // SiLU of gate times up
//   const float squares = stilla::sum_batches<Arch>(n, [](auto v) { return v * v; }, x);
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

// Returns the sum of f(in[i]...) over i = 0 .. n - 1. f takes and returns batches, as in map_batches(). The order of the additions, and so
// the rounding of the sum, depends on the architecture: each lane of four batches is a sum of its own until the end. Whether a product
// in f and the addition are fused to one rounding depends on the compiler.
template <class Arch, class F, class... In>
float sum_batches(std::size_t n, const F& f, const In*... in) {
  using Batch = xsimd::batch<float, Arch>;
  constexpr std::size_t lanes = Batch::size;
  Batch sum_0(0.0f), sum_1(0.0f), sum_2(0.0f), sum_3(0.0f);  // several, because an addition waits 3 or 4 cycles for the one before
  const auto batch = [&](std::size_t i) { return f(Batch::load_unaligned(in + i)...); };
  std::size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    sum_0 += batch(i);
    sum_1 += batch(i + lanes);
    sum_2 += batch(i + 2 * lanes);
    sum_3 += batch(i + 3 * lanes);
  }
  for (; i + lanes <= n; i += lanes) sum_0 += batch(i);
  float lane_sums[lanes], sum = 0.0f;
  ((sum_0 + sum_1) + (sum_2 + sum_3)).store_unaligned(lane_sums);
  for (const float of_lane : lane_sums) sum += of_lane;
  if (i == n) return sum;
  float rest[lanes];
  map_batches<Arch>(rest, n - i, f, (in + i)...);
  for (std::size_t j = 0; j < n - i; ++j) sum += rest[j];
  return sum;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
