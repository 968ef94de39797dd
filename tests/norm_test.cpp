// SPDX-License-Identifier: Apache-2.0
//
// Tests of RMSNorm. The target scalar is compared with PyTorch, and every target with scalar; some properties are tested, too.
#include <stilla/norm.hpp>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

// Returns normalised values. The arrays end at guard pages, and the result replaces the input if `in_place` is true.
template <class T>
std::vector<float> normed(std::span<const float> x, std::span<const float> weight, float epsilon, bool in_place = false) {
  GuardedArray<float> input(x);
  GuardedArray<float> weights(weight);
  GuardedArray<float> output(x.size());
  float* out = in_place ? input.data() : output.data();
  stilla::detail::row_kernel<RmsNorm>(T::id)(out, input.data(), weights.data(), epsilon, x.size());
  return {out, out + x.size()};
}

std::vector<std::size_t> lengths() {
  std::vector<std::size_t> all{64, 896, 1000};
  for (std::size_t n = 1; n <= 40; ++n) all.push_back(n);
  return all;
}

TEST(RmsNormGolden, ScalarIsCloseToPyTorch) {
  for_each_golden("rms_norm", [&](const std::vector<std::string>& parameters, std::span<const double> expected) {
    const std::size_t n = std::stoul(parameters[0]);
    std::vector<float> x = noise_values(21, n);
    std::vector<float> weight = noise_values(22, n);
    for (float& v : x) v *= 3.0f;
    for (float& v : weight) v += 1.0f;
    const std::vector<float> y = normed<Scalar>(x, weight, std::stof(parameters[1]));
    // The bound counts roundings, each of which has a relative error of at most u (half a unit in the last place). This test itself
    // rounds its inputs, 3 * noise, and its weights, 1 + noise. These are 2 roundings. The rounding of the inputs counts once more,
    // at most, because it also affects the mean of squares. RMSNorm rounds each square once. It sums n squares in 16 lanes, which
    // takes n / 16 additions in each lane, and 4 more to add up the lanes. Then it divides by n and adds epsilon. The root halves
    // the errors of all these steps. The root itself, the reciprocal and 2 products add 4 roundings.
    const double roundings = 3.0 + 0.5 * (static_cast<double>(n) / 16 + 8) + 4;
    for (std::size_t i = 0; i < n; ++i) {
      // A weight of this test is 1 + w, with noise w. If this weight is near 0, its rounding error is as large as that of a weight
      // near 1. So the bound is relative to the larger of two results: with this weight and with a weight of 1.
      const double size = std::fmax(std::fabs(expected[i]), std::fabs(expected[i] / double{weight[i]}));
      EXPECT_LE(std::fabs(double{y[i]} - expected[i]), roundings * unit_roundoff * size) << i;
    }
  });
}

template <class T>
class RmsNormOn : public TargetTest<T> {};
TYPED_TEST_SUITE(RmsNormOn, TargetTypes, TargetNames);

TYPED_TEST(RmsNormOn, EqualsScalarForEveryLength) {
  for (const std::size_t n : lengths()) {
    for (const float scale : {1.0f, 1e-20f, 1e18f, 3e19f, 1e-40f}) {
      const std::vector<float> x = noise_values(1, n, scale);
      const std::vector<float> weight = noise_values(2, n);
      const std::vector<float> expected = normed<Scalar>(x, weight, 1e-6f);
      ASSERT_TRUE(same_bits(normed<TypeParam>(x, weight, 1e-6f), expected)) << "n " << n << " scale " << scale;
      ASSERT_TRUE(same_bits(normed<TypeParam>(x, weight, 1e-6f, true), expected)) << "in place, n " << n;
    }
  }
}

TYPED_TEST(RmsNormOn, EqualsScalarOnSpecialValues) {
  const std::vector<float> weight = noise_values(3, 40);
  for (const float special : special_values()) {
    for (const std::size_t at : {0u, 17u, 39u}) {
      std::vector<float> x = noise_values(4, 40);
      x[at] = special;
      ASSERT_TRUE(same_bits(normed<TypeParam>(x, weight, 1e-5f), normed<Scalar>(x, weight, 1e-5f))) << special;
    }
  }
}

TYPED_TEST(RmsNormOn, ZeroRowIsZeroAndPowersOfTwoCancel) {
  const std::vector<float> weight = noise_values(5, 100);
  for (const float y : normed<TypeParam>(std::vector<float>(100), weight, 1e-6f)) EXPECT_EQ(y, 0.0f);
  const std::vector<float> x = noise_values(6, 100);
  std::vector<float> scaled = x;
  for (float& v : scaled) v *= 1024.0f;
  EXPECT_TRUE(same_bits(normed<TypeParam>(scaled, weight, 0.0f), normed<TypeParam>(x, weight, 0.0f)));
}

// Rows of a matrix do not affect each other, whatever the strides, the threads, and the number of rows.
TYPED_TEST(RmsNormOn, RowsOfAMatrix) {
  using T = TypeParam;
  const OnTarget on(T::id);
  constexpr std::size_t M = 9, n = 37, stride = 41;
  const std::vector<float> x = noise_values(7, M * stride);
  const std::vector<float> weight = noise_values(8, n);
  ThreadPool pool(3);
  for (const bool threads : {false, true}) {
    std::vector<float> y(M * (n + 2), 5.0f);
    EXPECT_TRUE(rms_norm(Matrix(y.data(), M, n, n + 2), ConstMatrix(x.data(), M, n, stride), weight.data(), 1e-6f,
                         threads ? Parallel(pool) : Parallel()));
    for (std::size_t m = 0; m < M; ++m) {
      EXPECT_TRUE(same_bits(std::span(y).subspan(m * (n + 2), n), normed<Scalar>(std::span(x).subspan(m * stride, n), weight, 1e-6f)));
      EXPECT_EQ(y[m * (n + 2) + n], 5.0f);
      EXPECT_EQ(y[m * (n + 2) + n + 1], 5.0f);
    }
  }
}

}  // namespace
