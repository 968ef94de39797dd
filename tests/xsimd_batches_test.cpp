// SPDX-License-Identifier: Apache-2.0
//
// Tests of the loops over xsimd's batches, with rows that end before, at and behind the end of a batch.
#include <stilla/xsimd_batches.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

namespace {

using Arch = xsimd::default_arch;
constexpr std::size_t lanes = xsimd::batch<float, Arch>::size;

// Returns small integers. Sums of them are exact in every order.
std::vector<float> numbers(std::size_t n, std::size_t first) {
  std::vector<float> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<float>((first + 7 * i) % 16);
  return values;
}

TEST(XsimdBatches, MapWritesEachElementAndNothingElse) {
  for (std::size_t n = 0; n <= 9 * lanes; ++n) {
    const std::vector<float> a = numbers(n, 1), b = numbers(n, 5);
    std::vector<float> out(n + 1, -1.0f);
    stilla::map_batches<Arch>(out.data(), n, [](auto u, auto v) { return u * v + 1.0f; }, a.data(), b.data());
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(out[i], a[i] * b[i] + 1.0f) << i << " of " << n;
    ASSERT_EQ(out[n], -1.0f) << n;
  }
}

// The last batch of a row is filled up with zeros. What the function returns for these zeros must not be added to the sum. In this
// test it returns 1 for them.
TEST(XsimdBatches, SumCountsEachElementOnce) {
  for (std::size_t n = 0; n <= 9 * lanes; ++n) {
    const std::vector<float> a = numbers(n, 1), b = numbers(n, 5);
    float expected = 0.0f;
    for (std::size_t i = 0; i < n; ++i) expected += a[i] * b[i] + 1.0f;
    ASSERT_EQ(stilla::sum_batches<Arch>(n, [](auto u, auto v) { return u * v + 1.0f; }, a.data(), b.data()), expected) << n;
  }
}

}  // namespace
