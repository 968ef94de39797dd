// SPDX-License-Identifier: Apache-2.0
//
// Tests of io/damaged_weights.hpp, which finds weights that are NaN or infinite by looking at the scales alone. The tests
// decode all weights and compare.
#include <stilla/io/damaged_weights.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include <stilla/base/random.hpp>
#include <stilla/format/format_name.hpp>

namespace {

using namespace stilla;

// The rows of weights are random bytes, and so are their scales. A random 16-bit float is NaN or infinite in one of 32 cases, so
// there are rows with and without damage.
TEST(DamagedWeights, ScalesTellOfEveryFormatWhatDecodingTells) {
  for_each_type(Formats{}, []<class F>(F) {
    const std::size_t K = 4 * F::block_weights;
    std::vector<std::byte> row(row_bytes<F>(K));
    std::vector<float> scratch(K), decoded(K);
    Random random(7);
    std::size_t finite = 0;
    constexpr std::size_t tries = 2000;
    for (std::size_t i = 0; i < tries; ++i) {
      for (std::byte& b : row) b = static_cast<std::byte>(static_cast<unsigned>(256 * random.uniform()));
      decode_row<F>(row.data(), decoded.data(), K);
      const bool expected = all_finite(decoded);
      ASSERT_EQ(detail::is_finite_row<F>(row.data(), scratch), expected) << F::name << ", row " << i;
      finite += expected;
    }
    if (detail::has_half_scales<F>) {
      EXPECT_GT(finite, tries / 4) << F::name;
      EXPECT_LT(finite, tries) << F::name;
    }
  });
}

}  // namespace
