// SPDX-License-Identifier: Apache-2.0
//
// Tests of INT4_CHANNEL and INT8_CHANNEL, which have one scale for each row. No file format that Stilla reads has such weights.
// The tests decode rows with code of their own, as the drawing in format/int_channel.hpp says, and check how good the encoder's
// choices are.
#include <stilla/format/int_channel.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

static_assert(row_bytes<INT4_CHANNEL>(896) == 4 + 896 / 2 && row_bytes<INT8_CHANNEL>(896) == 4 + 896);
static_assert(row_bytes<INT4_CHANNEL>(0) == 0);
static_assert(RowScaledFormat<INT4_CHANNEL> && RowScaledFormat<INT8_CHANNEL> && !RowScaledFormat<INT4_G128>);

TEST(IntChannel, RowsDecodeAsDrawn) {
  constexpr std::size_t K = 96;
  for (std::uint32_t seed = 0; seed < 50; ++seed) {
    const std::vector<std::byte> int4 = random_rows<INT4_CHANNEL>(seed, 1, K), int8 = random_rows<INT8_CHANNEL>(seed, 1, K);
    std::vector<float> found4(K), found8(K);
    decode_row<INT4_CHANNEL>(int4.data(), found4.data(), K);
    decode_row<INT8_CHANNEL>(int8.data(), found8.data(), K);
    const float scale4 = load_as<float>(int4.data()), scale8 = load_as<float>(int8.data());
    for (std::size_t k = 0; k < K; ++k) {
      const int pair = std::to_integer<int>(int4[4 + k / 2]);
      const int level = (k % 2 == 0 ? pair % 16 : pair / 16) - 8;
      ASSERT_EQ(found4[k], scale4 * static_cast<float>(level)) << k;
      ASSERT_EQ(found8[k], scale8 * static_cast<float>(std::to_integer<std::int8_t>(int8[4 + k]))) << k;
    }
  }
}

std::vector<float> normal_row(std::mt19937& random, std::size_t K, float outlier) {
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> row(K);
  for (float& w : row) w = normal(random);
  row[K / 3] = outlier;
  return row;
}

template <class F>
double squared_error(const std::vector<float>& weights, float scale) {
  std::vector<std::byte> block(F::block_bytes);
  std::vector<float> decoded(F::block_weights);
  double sum = 0;
  for (std::size_t k0 = 0; k0 < weights.size(); k0 += F::block_weights) {
    F::encode(weights.data() + k0, scale, block.data());
    F::decode(block.data(), scale, decoded.data());
    for (std::size_t k = 0; k < F::block_weights; ++k) {
      sum += std::pow(static_cast<double>(decoded[k]) - static_cast<double>(weights[k0 + k]), 2);
    }
  }
  return sum;
}

// The encoder chooses one scale for a row. No other scale has an error that is smaller by more than a few percent, whether or not
// one weight of the row is far from all others.
TEST(IntChannel, ScalesAreNearlyTheBest) {
  std::mt19937 random(4);
  for (const float outlier : {0.02f, 0.15f, -0.15f}) {
    const std::vector<float> row = normal_row(random, 1024, outlier);
    const auto expect_near_best = [&]<class F>(F, double slack) {
      const float scale = F::fit(row.data(), row.size());
      EXPECT_GT(scale, 0.0f);
      double least = 1e9;
      for (float tried = 0.1f * scale; tried < 10 * scale; tried *= 1.01f) least = std::min(least, squared_error<F>(row, tried));
      EXPECT_LT(squared_error<F>(row, scale), slack * least) << F::name << " " << outlier;
    };
    expect_near_best(INT4_CHANNEL{}, 1.05);
    expect_near_best(INT8_CHANNEL{}, 1.10);
  }
}

// With the row's scale, the encoder chooses the nearest code for every weight: changing any code by one makes the error no
// smaller.
TEST(IntChannel, CodesAreNearest) {
  std::mt19937 random(5);
  const std::vector<float> row = normal_row(random, 128, 0.07f);
  for_each_type(TypeList<INT4_CHANNEL, INT8_CHANNEL>{}, [&]<class F>(F) {
    std::vector<std::byte> encoded(row_bytes<F>(row.size()));
    encode_row<F>(row.data(), encoded.data(), row.size());
    const float scale = F::scale(encoded.data());
    EXPECT_EQ(scale, F::fit(row.data(), row.size()));
    const int lowest = F::code_bits == 8 ? -127 : -8, highest = F::code_bits == 8 ? 127 : 7;
    for (std::size_t k = 0; k < row.size(); ++k) {
      const int level = F::code(block_of<F>(encoded.data(), k), k % F::block_weights) - F::zero_point;
      const auto error = [&](int l) { return std::fabs(static_cast<double>(scale) * l - static_cast<double>(row[k])); };
      const int below = std::max(level - 1, lowest), above = std::min(level + 1, highest);
      EXPECT_LE(error(level), std::min(error(below), error(above)) * (1 + 1e-6)) << F::name << " " << k;
    }
  });
}

}  // namespace
