// SPDX-License-Identifier: Apache-2.0
//
// Rounding of activations to int8 (format/activation_q8.hpp): its definition worked out in double, ties, and what is no
// number; every target the same.
#include <stilla/matmul.hpp>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

struct Rounded {
  std::vector<std::int8_t> values;
  std::vector<float> scales;
  std::vector<std::int32_t> sums;
};

// With nothing readable behind the input and nothing writable behind the outputs.
template <class T>
Rounded rounded(std::span<const float> x) {
  const std::size_t blocks = x.size() / 32;
  GuardedArray<float> input(x);
  GuardedArray<std::int8_t> values(x.size());
  GuardedArray<float> scales(blocks);
  GuardedArray<std::int32_t> sums(2 * blocks);
  QuantiseQ8<T>::run(values.data(), scales.data(), sums.data(), input.data(), blocks);
  return {{values.data(), values.data() + x.size()},
          {scales.data(), scales.data() + blocks},
          {sums.data(), sums.data() + 2 * blocks}};
}

void expect_equal(const Rounded& a, const Rounded& b) {
  EXPECT_EQ(a.values, b.values);
  EXPECT_EQ(a.sums, b.sums);
  EXPECT_TRUE(same_bits(a.scales, b.scales));
}

Rounded definition(std::span<const float> x) {
  Rounded r;
  for (std::size_t b = 0; b < x.size(); b += 32) {
    float highest = 0;
    bool finite = true;
    for (std::size_t i = b; i < b + 32; ++i) {
      finite = finite && std::isfinite(x[i]);
      highest = std::fmax(highest, std::fabs(x[i]));
    }
    const bool usable = finite && highest >= 1e-30f;
    r.scales.push_back(!finite ? std::nanf("") : usable ? highest / 127.0f : 0.0f);
    for (std::size_t i = b; i < b + 32; ++i) {
      if (i % 16 == 0) r.sums.push_back(0);
      const float inverse = usable ? 127.0f / highest : 0.0f;
      // A product of two floats is exact in double; nearbyint sends ties to even.
      r.values.push_back(usable ? static_cast<std::int8_t>(std::nearbyint(double{x[i]} * double{inverse}))
                                : std::int8_t{0});
      r.sums.back() += r.values.back();
    }
  }
  return r;
}

template <class T>
class Quantise : public TargetTest<T> {};
TYPED_TEST_SUITE(Quantise, TargetTypes, TargetNames);

TYPED_TEST(Quantise, FollowsTheDefinition) {
  for (const float scale : {1.0f, 1e-3f, 3e38f, 1e-29f, 1e-31f, 1e-40f, 127.0f, 1234.5f}) {
    const std::vector<float> x = noise_values(1, 32 * 500, scale);
    expect_equal(rounded<TypeParam>(x), definition(x));
  }
}

TYPED_TEST(Quantise, EveryNumberOfBlocks) {
  for (std::size_t blocks = 0; blocks <= 9; ++blocks) {
    const std::vector<float> x = noise_values(2, 32 * blocks);
    expect_equal(rounded<TypeParam>(x), definition(x));
  }
}

TYPED_TEST(Quantise, TiesGoToEven) {
  std::vector<float> x(32);
  x[31] = 127.0f;  // scale 1
  for (std::size_t i = 0; i < 31; ++i) x[i] = static_cast<float>(i) - 15.5f;
  const Rounded r = rounded<TypeParam>(x);
  EXPECT_EQ(r.scales[0], 1.0f);
  for (std::size_t i = 0; i < 31; ++i) {
    EXPECT_EQ(r.values[i] % 2, 0) << x[i];
    EXPECT_EQ(std::fabs(static_cast<float>(r.values[i]) - x[i]), 0.5f);
  }
}

// For every place of the extreme value, and both signs: it becomes +-127 and sets the scale.
TYPED_TEST(Quantise, ExtremeInEveryLane) {
  for (std::size_t lane = 0; lane < 32; ++lane) {
    for (const float extreme : {1.5f, -1.5f, 3.0e38f, -1e-30f}) {
      std::vector<float> x = noise_values(3, 32, std::fabs(extreme) * 0.25f);
      x[lane] = extreme;
      const Rounded r = rounded<TypeParam>(x);
      EXPECT_EQ(r.values[lane], extreme < 0 ? -127 : 127);
      expect_equal(r, definition(x));
    }
  }
}

TYPED_TEST(Quantise, ZerosSubnormalsAndNoNumbers) {
  for (const float special : special_values()) {
    for (const std::size_t lane : {0u, 7u, 16u, 31u}) {
      std::vector<float> x(96);  // the neighbours stay what they are
      for (std::size_t i = 0; i < 32; ++i) x[i] = x[64 + i] = noise(4, i);
      x[32 + lane] = special;
      const Rounded r = rounded<TypeParam>(x);
      expect_equal(r, definition(x));
      EXPECT_EQ(std::isnan(r.scales[1]), !std::isfinite(special));
      if (!std::isfinite(special) || std::fabs(special) < 1e-30f) {
        for (std::size_t i = 32; i < 64; ++i) EXPECT_EQ(r.values[i], 0);
      }
    }
  }
}

// All values * scale lie within half a step of x, and rounding them again changes nothing.
TYPED_TEST(Quantise, ErrorIsHalfAStepAndTheSecondTimeNone) {
  const std::vector<float> x = noise_values(5, 32 * 64, 7.0f);
  const Rounded r = rounded<TypeParam>(x);
  std::vector<float> back(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    back[i] = static_cast<float>(r.values[i]) * r.scales[i / 32];
    // Rounding of 127 / max, max / 127 and the product move a value of at most 127 steps by 3 roundings.
    EXPECT_LE(std::fabs(double{back[i]} - double{x[i]}), (0.5 + 3 * 127 * unit_roundoff) * double{r.scales[i / 32]});
  }
  EXPECT_EQ(rounded<TypeParam>(back).values, r.values);
}

TYPED_TEST(Quantise, RowsOfAMatrix) {
  using T = TypeParam;
  const OnTarget on(T::id);
  constexpr std::size_t M = 5, K = 96, stride = K + 3;
  const std::vector<float> x = noise_values(6, M * stride);
  ActivationBuffer buffer;
  ThreadPool pool(3);
  for (const bool threads : {false, true}) {
    ASSERT_TRUE(quantise(buffer, ConstMatrix(x.data(), M, K, stride), threads ? Parallel(pool) : Parallel()));
    const ActivationQ8 view = buffer.view();
    EXPECT_EQ(view.rows, M);
    EXPECT_EQ(view.cols, K);
    for (std::size_t m = 0; m < M; ++m) {
      expect_equal({{view.row_values(m), view.row_values(m) + K},
                    {view.row_scales(m), view.row_scales(m) + 3},
                    {view.row_sums(m), view.row_sums(m) + 6}},
                   definition(std::span(x).subspan(m * stride, K)));
    }
  }
  ASSERT_TRUE(quantise(buffer, ConstMatrix(x.data(), 2, 32, stride)));  // a smaller one in the same memory
  EXPECT_EQ(buffer.view().rows, 2u);
  EXPECT_EQ(buffer.view().row_values(1), buffer.view().values + 32);
}

TEST(QuantiseMemory, TooMuchIsRefused) {
  ActivationBuffer buffer;
  EXPECT_FALSE(buffer.resize(std::size_t{1} << 45, std::size_t{1} << 12));
  EXPECT_FALSE(buffer.resize(std::size_t{1} << 40, std::size_t{1} << 40));  // the product does not fit 64 bits
}

}  // namespace
