// SPDX-License-Identifier: Apache-2.0
//
// Tests of the format ST4. No other program reads or writes it, so there is nothing to compare with. Instead the tests decode
// blocks with code of their own, as the drawing in st4.hpp says, and check every value of the scale and how good the encoder's
// choices are.
#include <stilla/format/st4.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

TEST(ST4, ScaleIsFiveBitsOfExponentAndThreeOfMantissa) {
  for (unsigned bits = 0; bits < 256; ++bits) {
    const double expected = std::ldexp(1.0 + bits % 8 / 8.0, static_cast<int>(bits / 8) - 28);
    EXPECT_EQ(static_cast<double>(to_float(ue5m3{static_cast<std::uint8_t>(bits)})), expected) << bits;
  }
}

// Any bytes are a valid block of ST4: decoding them causes no trap and gives only finite numbers.
TEST(ST4, DecodesAsDrawn) {
  const std::vector<int> levels{-127, -100, -79, -62, -46, -32, -19, -8, 2, 12, 23, 35, 49, 64, 82, 108};
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    std::vector<std::uint8_t> block(68);
    for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::uint8_t>(noise_bits(seed, i) >> 24);
    const unsigned word = block[0] | unsigned{block[1]} << 8 | unsigned{block[2]} << 16;
    std::vector<float> weights(128);
    ST4::decode(reinterpret_cast<const std::byte*>(block.data()), weights.data());
    for (std::size_t k = 0; k < 128; ++k) {
      const std::size_t g = k / 32;
      const int six_bits = static_cast<int>(word >> (6 * g) & 63u);
      const int sub_scale = six_bits < 32 ? six_bits : six_bits - 64;
      const unsigned pair = block[4 + 16 * g + k % 16];
      const int level = levels[k % 32 < 16 ? pair % 16 : pair / 16];
      const double scale = std::ldexp(1.0 + block[3] % 8 / 8.0, block[3] / 8 - 28);
      ASSERT_EQ(static_cast<double>(weights[k]), scale * sub_scale * level) << "seed " << seed << " weight " << k;
    }
  }
}

double squared_error(const std::vector<float>& weights, const std::vector<std::byte>& block) {
  std::vector<float> decoded(128);
  ST4::decode(block.data(), decoded.data());
  double sum = 0;
  for (std::size_t k = 0; k < 128; ++k) sum += std::pow(double{decoded[k]} - double{weights[k]}, 2);
  return sum;
}

// With the scales that the encoder chose, the code of every weight is the nearest one.
TEST(ST4, CodesAreNearest) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.03f);
  std::vector<float> weights(128);
  std::vector<std::byte> block(68);
  for (int round = 0; round < 20; ++round) {
    for (float& w : weights) w = normal(random);
    ST4::encode(weights.data(), block.data());
    const double error = squared_error(weights, block);
    for (std::size_t i = 4; i < 68; ++i) {
      for (const unsigned flip : {0x01u, 0x03u, 0x07u, 0x0fu, 0x10u, 0x30u, 0x70u, 0xf0u}) {
        std::vector<std::byte> other = block;
        other[i] ^= static_cast<std::byte>(flip);
        ASSERT_GE(squared_error(weights, other), error * (1 - 1e-6)) << "byte " << i;
      }
    }
  }
}

// Compares the encoder's error with the smallest that any search of scales can reach. For one group of the block, the test tries
// every scale that the block's scale word can hold, and for each scale it chooses the codes as the encoder does.
TEST(ST4, ScalesAreNearlyTheBest) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0.0f, 0.03f);
  double found = 0, best = 0;
  for (int round = 0; round < 40; ++round) {
    std::vector<float> weights(128, 0.0f);
    for (std::size_t k = 0; k < 32; ++k) weights[k] = normal(random);
    std::vector<std::byte> block(68);
    ST4::encode(weights.data(), block.data());
    found += squared_error(weights, block);
    double least = 1e9;
    for (double scale = 1e-5; scale < 2e-3; scale *= 1.005) {
      for (const double sign : {1.0, -1.0}) {
        double error = 0;
        for (std::size_t k = 0; k < 32; ++k) {
          double nearest = 1e9;
          for (const std::int8_t level : ST4::codebook) {
            nearest = std::min(nearest, std::fabs(weights[k] - sign * scale * level));
          }
          error += nearest * nearest;
        }
        least = std::min(least, error);
      }
    }
    best += least;
  }
  EXPECT_LT(found, 1.05 * best);
}

// The error of encoding in ST4, relative to the weights, does not depend on their size, from weights of 1e-3 to the largest.
TEST(ST4, EncodesEveryMagnitude) {
  std::vector<std::byte> block(68);
  for (const float size : {1e-3f, 0.02f, 1.0f, 300.0f, 5e4f}) {
    const std::vector<float> weights = noise_values(3, 128, size);
    ST4::encode(weights.data(), block.data());
    double sum = 0;
    for (const float w : weights) sum += double{w} * double{w};
    EXPECT_LT(squared_error(weights, block), 0.006 * sum) << size;
  }
  std::vector<float> weights(128, 0.0f), decoded(128);
  weights[5] = 1e6f;  // this is more than a block can hold, so it is clipped
  ST4::encode(weights.data(), block.data());
  ST4::decode(block.data(), decoded.data());
  EXPECT_GT(decoded[5], 5e4f);
  EXPECT_TRUE(std::all_of(decoded.begin(), decoded.begin() + 5, [](float w) { return std::fabs(w) < 1000.0f; }));
}

}  // namespace
