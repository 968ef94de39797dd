// SPDX-License-Identifier: Apache-2.0
//
// Tests of the rounding of activations to 8 and 16 bits (contract/activation_q8.hpp). Results are compared with the definition,
// computed in double, also for ties and for values that are NaN or infinite. Every target must give the same results.
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>

#include <stilla/matmul.hpp>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

struct Rounded {
  std::vector<std::int32_t> values;  // with 16 bits: 256 * high plane + low plane
  std::vector<float> scales;
  std::vector<std::int32_t> sums;
  std::vector<float> scaled_sums;
};

constexpr auto both = {ActivationBits::eight, ActivationBits::sixteen};
constexpr float largest(ActivationBits bits) { return bits == ActivationBits::eight ? 127.0f : 32512.0f; }

std::vector<std::int32_t> joined(const std::int8_t* high, const std::int8_t* low, std::size_t count) {
  std::vector<std::int32_t> values(high, high + count);
  for (std::size_t i = 0; low != nullptr && i < count; ++i) values[i] = 256 * values[i] + low[i];
  return values;
}

// Rounds activations on target T. Memory behind the input cannot be read, and memory behind the outputs cannot be written.
template <class T>
Rounded rounded(std::span<const float> x, ActivationBits bits = ActivationBits::eight) {
  const std::size_t blocks = x.size() / 32;
  GuardedArray<float> input(x);
  GuardedArray<std::int8_t> values(x.size());
  GuardedArray<float> scales(blocks);
  GuardedArray<std::int32_t> sums(2 * blocks);
  GuardedArray<float> scaled_sums(blocks);
  GuardedArray<std::int8_t> plane(x.size());
  std::int8_t* low = bits == ActivationBits::sixteen ? plane.data() : nullptr;
  stilla::detail::row_kernel<QuantiseQ8>(T::id)(values.data(), scales.data(), sums.data(), scaled_sums.data(), input.data(), blocks, low);
  return {joined(values.data(), low, x.size()),
          {scales.data(), scales.data() + blocks},
          {sums.data(), sums.data() + 2 * blocks},
          {scaled_sums.data(), scaled_sums.data() + blocks}};
}

void expect_equal(const Rounded& a, const Rounded& b) {
  EXPECT_EQ(a.values, b.values);
  EXPECT_EQ(a.sums, b.sums);
  EXPECT_TRUE(same_bits(a.scales, b.scales));
  EXPECT_TRUE(same_bits(a.scaled_sums, b.scaled_sums));
}

Rounded definition(std::span<const float> x, ActivationBits bits = ActivationBits::eight) {
  Rounded r;
  for (std::size_t b = 0; b < x.size(); b += 32) {
    float highest = 0;
    bool finite = true;
    for (std::size_t i = b; i < b + 32; ++i) {
      finite = finite && std::isfinite(x[i]);
      highest = std::fmax(highest, std::fabs(x[i]));
    }
    const bool usable = finite && highest >= 0x1p-60f && highest <= 0x1p60f;
    double scale = 1.0;
    while (usable && scale * largest(bits) < highest) scale *= 2;
    while (usable && scale * largest(bits) / 2 >= highest) scale /= 2;
    r.scales.push_back(!finite || highest > 0x1p60f ? std::nanf("") : static_cast<float>(scale));
    for (std::size_t i = b; i < b + 32; ++i) {
      r.values.push_back(usable ? static_cast<std::int32_t>(std::nearbyint(double{x[i]} / scale)) : 0);  // ties to even
    }
    const auto first = r.values.end() - 32;
    r.sums.push_back(std::accumulate(first, first + 16, 0));
    r.sums.push_back(std::accumulate(first, first + 32, 0));
    r.scaled_sums.push_back(r.scales.back() * static_cast<float>(r.sums.back()));
  }
  return r;
}

template <class T>
class Quantise : public TargetTest<T> {};
TYPED_TEST_SUITE(Quantise, TargetTypes, TargetNames);

TYPED_TEST(Quantise, FollowsTheDefinition) {
  for (const float scale : {1.0f, 1e-3f, 3e38f, 1.1e18f, 1.2e18f, 8e-19f, 1e-31f, 1e-40f, 127.0f, 1234.5f}) {
    const std::vector<float> x = noise_values(1, 32 * 500, scale);
    for (const ActivationBits bits : both) expect_equal(rounded<TypeParam>(x, bits), definition(x, bits));
  }
}

TYPED_TEST(Quantise, EveryNumberOfBlocks) {
  for (std::size_t blocks = 0; blocks <= 9; ++blocks) {
    const std::vector<float> x = noise_values(2, 32 * blocks);
    for (const ActivationBits bits : both) expect_equal(rounded<TypeParam>(x, bits), definition(x, bits));
  }
}

TYPED_TEST(Quantise, TiesGoToEven) {
  std::vector<float> x(32);
  x[31] = 127.0f;  // makes the scale 1
  for (std::size_t i = 0; i < 31; ++i) x[i] = static_cast<float>(i) - 15.5f;
  const Rounded r = rounded<TypeParam>(x);
  EXPECT_EQ(r.scales[0], 1.0f);
  for (std::size_t i = 0; i < 31; ++i) {
    EXPECT_EQ(r.values[i] % 2, 0) << x[i];
    EXPECT_EQ(std::fabs(static_cast<float>(r.values[i]) - x[i]), 0.5f);
  }
}

// The value of a block with the highest magnitude sets the scale. The test puts it at every place of the block and gives it
// both signs. It is chosen so that it becomes the largest integer, +-127 with 8 bits.
TYPED_TEST(Quantise, ExtremeInEveryLane) {
  for (std::size_t lane = 0; lane < 32; ++lane) {
    for (const float factor : {1.5f, -1.5f, 0x1p52f, -0x1p-59f}) {
      for (const ActivationBits bits : both) {
        const float extreme = std::copysign(std::exp2(std::floor(std::log2(std::fabs(factor)))) * largest(bits) / 128, factor);
        std::vector<float> x = noise_values(3, 32, std::fabs(extreme) * 0.25f);
        x[lane] = extreme;
        const Rounded r = rounded<TypeParam>(x, bits);
        EXPECT_EQ(static_cast<float>(r.values[lane]), extreme < 0 ? -largest(bits) : largest(bits));
        expect_equal(r, definition(x, bits));
      }
    }
  }
}

TYPED_TEST(Quantise, ZerosSubnormalsAndNoNumbers) {
  for (const float special : special_values()) {
    for (const std::size_t lane : {0u, 7u, 16u, 31u}) {
      std::vector<float> x(96);  // the first and the last block hold noise
      for (std::size_t i = 0; i < 32; ++i) x[i] = x[64 + i] = noise(4, i);
      x[32 + lane] = special;
      for (const ActivationBits bits : both) {
        const Rounded r = rounded<TypeParam>(x, bits);
        expect_equal(r, definition(x, bits));
        const bool is_number = std::fabs(special) <= 0x1p60f;
        EXPECT_EQ(std::isnan(r.scales[1]), !is_number);
        if (!is_number || std::fabs(special) < 0x1p-60f) {
          for (std::size_t i = 32; i < 64; ++i) EXPECT_EQ(r.values[i], 0);
        }
      }
    }
  }
}

// Each rounded value times the scale of its block is within half a scale of the original activation. If these products are
// rounded again, they stay the same.
TYPED_TEST(Quantise, ErrorIsHalfAStepAndTheSecondTimeNone) {
  const std::vector<float> x = noise_values(5, 32 * 64, 7.0f);
  const Rounded r = rounded<TypeParam>(x);
  std::vector<float> back(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    back[i] = static_cast<float>(r.values[i]) * r.scales[i / 32];
    EXPECT_LE(std::fabs(double{back[i]} - double{x[i]}), 0.5 * double{r.scales[i / 32]});
  }
  EXPECT_EQ(rounded<TypeParam>(back).values, r.values);
}

TYPED_TEST(Quantise, RowsOfAMatrix) {
  using T = TypeParam;
  const OnTarget on(T::id);
  constexpr std::size_t M = 5, K = 544, blocks = K / 32, stride = K + 3;
  const std::vector<float> x = noise_values(6, M * stride);
  ThreadPool pool(3);
  for (const ActivationBits bits : both) {
    ActivationBuffer buffer(bits);
    for (const bool threads : {false, true}) {
      ASSERT_TRUE(quantise(buffer, ConstMatrix(x.data(), M, K, stride), threads ? Parallel(pool) : Parallel()));
      const ActivationQ8 view = buffer.view();
      EXPECT_EQ(view.rows, M);
      EXPECT_EQ(view.cols, K);
      EXPECT_EQ(view.low != nullptr, bits == ActivationBits::sixteen);
      for (std::size_t m = 0; m < M; ++m) {
        expect_equal({joined(view.row_values(m), view.low == nullptr ? nullptr : view.row_low(m), K),
                      {view.row_scales(m), view.row_scales(m) + blocks},
                      {view.row_sums(m), view.row_sums(m) + 2 * blocks},
                      {view.row_scaled_sums(m), view.row_scaled_sums(m) + blocks}},
                     definition(std::span(x).subspan(m * stride, K), bits));
        for (std::size_t i = 0; i < K / 256; ++i) {
          const RoundedSums expected = stilla::detail::round_sums(view.row_scaled_sums(m) + 8 * i);
          EXPECT_EQ(view.row_rounded_sums(m)[i].scale, expected.scale);
          EXPECT_EQ(std::memcmp(view.row_rounded_sums(m)[i].sums, expected.sums, sizeof expected.sums), 0);
        }
      }
    }
    ASSERT_TRUE(quantise(buffer, ConstMatrix(x.data(), 2, 32, stride)));  // rounds a smaller matrix in the same memory
    EXPECT_EQ(buffer.view().rows, 2u);
    EXPECT_EQ(buffer.view().row_values(1), buffer.view().values + 32);
  }
}

// Compares round_sums() with its definition: the scale is the least power of two with which all sums fit 16 bits, and each sum
// is rounded once, with ties to even.
void expect_rounded(const std::array<float, 8>& sums) {
  const RoundedSums found = stilla::detail::round_sums(sums.data());
  float highest = 0.0f;
  bool is_number = true;
  for (const float sum : sums) highest = std::fmax(highest, std::fabs(sum)), is_number = is_number && std::isfinite(sum);
  double scale = 1.0;
  while (scale * 32767 < double{highest}) scale *= 2;
  while (highest != 0.0f && scale / 2 * 32767 >= double{highest}) scale /= 2;
  if (!is_number) scale = 1.0;
  EXPECT_EQ(double{found.scale}, scale);
  for (std::size_t b = 0; b < 8; ++b) {
    EXPECT_EQ(found.sums[b], is_number ? std::nearbyint(double{sums[b]} / scale) : 0.0) << sums[b] << " of " << highest;
  }
}

TEST(RoundedSums, FollowTheDefinition) {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    for (const float size : {1.0f, 0x1p-75f, 0x1p-60f, 0x1p73f, 1000.0f}) {
      std::array<float, 8> sums{};
      const std::vector<float> noise = noise_values(seed, 8, size);
      for (std::size_t b = 0; b < 8; ++b) sums.at(b) = noise[b] * (b % 3 == 0 ? 1.0f : 0x1p-9f);  // sums of different sizes
      expect_rounded(sums);
      sums.at(seed % 8) = seed % 2 == 0 ? std::nanf("") : HUGE_VALF;
      expect_rounded(sums);
    }
  }
  expect_rounded({});
  expect_rounded({32767, -32767, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 32766.5f});  // some sums are ties
  expect_rounded({32768, -32768, 1, 3, 5, -1, -3, 32767});
  expect_rounded({0x1p-75f, 0, 0, 0, 0, 0, 0, -0.0f});
}

TEST(QuantiseMemory, TooMuchIsRefused) {
  ActivationBuffer buffer;
  EXPECT_FALSE(buffer.resize(std::size_t{1} << 45, std::size_t{1} << 12));
  EXPECT_FALSE(buffer.resize(std::size_t{1} << 40, std::size_t{1} << 40));  // rows * columns does not fit 64 bits
}

}  // namespace
