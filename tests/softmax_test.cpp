// SPDX-License-Identifier: Apache-2.0
//
// Tests of softmax: the target scalar is compared with PyTorch, and every target with scalar; some properties are tested, too.
// Also tested are two kernels that sampling uses on blocks of neighbouring logits. One finds the highest logit of each block. The other
// adds up the weights of each block's logits; the weight of a logit is e^((logit - highest of all) / temperature).
#include <stilla/softmax.hpp>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

template <class T>
std::vector<float> softmaxed(std::span<const float> x, bool in_place = false) {
  GuardedArray<float> input(x);
  GuardedArray<float> output(x.size());
  float* out = in_place ? input.data() : output.data();
  stilla::detail::row_kernel<Softmax>(T::id)(out, input.data(), x.size());
  return {out, out + x.size()};
}

std::vector<std::size_t> lengths() {
  std::vector<std::size_t> all{64, 896, 1000};
  for (std::size_t n = 1; n <= 40; ++n) all.push_back(n);
  return all;
}

TEST(SoftmaxGolden, ScalarIsCloseToPyTorch) {
  for_each_golden("softmax", [&](const std::vector<std::string>& parameters, std::span<const double> expected) {
    const std::size_t n = std::stoul(parameters[0]);
    const std::vector<float> y = softmaxed<Scalar>(noise_values(23, n, 16.0f));
    // The bound counts roundings of u, half a unit in the last place (ulp), for e^(x - max) divided by the sum of all such terms of a
    // row of n values. x - max is at most 32 and is rounded once, so e^(x - max) is off by 32 u. exp is off by 1 ulp, which is 2 u.
    // The sum has these errors too, and n / 16 + 4 roundings of its own. The reciprocal of the sum and the product with it add 2.
    const double roundings = 2 * (32 + 2) + static_cast<double>(n) / 16 + 4 + 2;
    for (std::size_t i = 0; i < n; ++i) {
      EXPECT_LE(std::fabs(double{y[i]} - expected[i]), roundings * unit_roundoff * expected[i]) << i;
    }
  });
}

template <class T>
class SoftmaxOn : public TargetTest<T> {};
TYPED_TEST_SUITE(SoftmaxOn, TargetTypes, TargetNames);

TYPED_TEST(SoftmaxOn, EqualsScalarForEveryLength) {
  for (const std::size_t n : lengths()) {
    for (const float scale : {1.0f, 30.0f, 200.0f, 1e-20f, 3e38f}) {
      const std::vector<float> x = noise_values(1, n, scale);
      const std::vector<float> expected = softmaxed<Scalar>(x);
      ASSERT_TRUE(same_bits(softmaxed<TypeParam>(x), expected)) << "n " << n << " scale " << scale;
      ASSERT_TRUE(same_bits(softmaxed<TypeParam>(x, true), expected)) << "in place, n " << n;
    }
  }
}

TYPED_TEST(SoftmaxOn, EqualsScalarOnSpecialValues) {
  for (const float special : special_values()) {
    if (std::isnan(special)) continue;  // the results of such a row are unspecified
    for (const std::size_t at : {0u, 17u, 39u}) {
      std::vector<float> x = noise_values(2, 40);
      x[at] = special;
      ASSERT_TRUE(same_bits(softmaxed<TypeParam>(x), softmaxed<Scalar>(x))) << special;
    }
  }
}

// A NaN in the row causes no fault, wherever it stands.
TYPED_TEST(SoftmaxOn, NaNIsNoFault) {
  for (const std::size_t n : {1u, 5u, 16u, 33u}) {
    for (std::size_t at = 0; at < n; ++at) {
      std::vector<float> x = noise_values(3, n);
      x[at] = std::nanf("");
      EXPECT_EQ(softmaxed<TypeParam>(x).size(), n);
    }
  }
}

TYPED_TEST(SoftmaxOn, SumsToOneAndIgnoresAShift) {
  for (const std::size_t n : lengths()) {
    std::vector<float> x(n);  // the values are multiples of 1/8, so that adding 64 to them is exact
    for (std::size_t i = 0; i < n; ++i) x[i] = std::floor(noise(4, i) * 100.0f) / 8.0f;
    const std::vector<float> y = softmaxed<TypeParam>(x);
    double sum = 0;
    for (const float v : y) sum += double{v};
    // In the sum of all results of softmax, each result has the error of the sum that it was divided by (n / 16 + 4 roundings for n
    // values), that of this sum's reciprocal and that of the product with it.
    EXPECT_NEAR(sum, 1.0, (static_cast<double>(n) / 16 + 6) * unit_roundoff);
    for (float& v : x) v += 64.0f;
    EXPECT_TRUE(same_bits(softmaxed<TypeParam>(x), y));
  }
}

TYPED_TEST(SoftmaxOn, MaskedValuesAreExactlyZero) {
  std::vector<float> x = noise_values(5, 50);
  for (std::size_t i = 20; i < 50; ++i) x[i] = -HUGE_VALF;
  const std::vector<float> y = softmaxed<TypeParam>(x);
  for (std::size_t i = 20; i < 50; ++i) EXPECT_EQ(y[i], 0.0f);
  double sum = 0;
  for (const float v : y) sum += double{v};
  EXPECT_NEAR(sum, 1.0, 10 * unit_roundoff);
}

// If some values of a row are infinite, those that have the highest value share the weight equally.
TYPED_TEST(SoftmaxOn, InfinitiesShareTheWeight) {
  for (const std::size_t n : {1u, 4u, 19u}) {
    for (const float y : softmaxed<TypeParam>(std::vector<float>(n, -HUGE_VALF))) {
      EXPECT_EQ(y, 1.0f / static_cast<float>(n));
    }
  }
  std::vector<float> x = noise_values(6, 21);
  x[3] = x[20] = HUGE_VALF;
  const std::vector<float> y = softmaxed<TypeParam>(x);
  for (std::size_t i = 0; i < 21; ++i) EXPECT_EQ(y[i], i == 3 || i == 20 ? 0.5f : 0.0f);
}

TYPED_TEST(SoftmaxOn, RowsOfAMatrix) {
  using T = TypeParam;
  const OnTarget on(T::id);
  constexpr std::size_t M = 9, n = 37, stride = 41;
  std::vector<float> x = noise_values(7, M * stride, 5.0f);
  std::vector<float> expected = x;
  for (std::size_t m = 0; m < M; ++m) {
    const std::vector<float> row = softmaxed<Scalar>(std::span(x).subspan(m * stride, n));
    std::copy(row.begin(), row.end(), expected.data() + m * stride);
  }
  ThreadPool pool(3);
  std::vector<float> again = x;
  EXPECT_TRUE(softmax(Matrix(x.data(), M, n, stride), ConstMatrix(x.data(), M, n, stride)));
  EXPECT_TRUE(softmax(Matrix(again.data(), M, n, stride), ConstMatrix(again.data(), M, n, stride), pool));
  EXPECT_TRUE(same_bits(x, expected));
  EXPECT_TRUE(same_bits(again, expected));
  EXPECT_TRUE(softmax(Matrix(x.data(), M, 0, stride), ConstMatrix(x.data(), M, 0, stride)));  // empty rows are not written
  EXPECT_TRUE(same_bits(x, expected));
}

// Sampling uses two kernels on blocks of neighbouring logits. One finds the highest logit of each block, the other the sum of each
// block's weights, which grow as e^(logit / temperature). Every target is compared with scalar, and the results are compared with
// the definition.
TYPED_TEST(SoftmaxOn, BlocksOfLogits) {
  for (const std::size_t blocks : {0u, 1u, 2u, 5u}) {
    const std::size_t n = blocks * logit_block;
    for (const float scale : {1.0f, 30.0f, 3e38f}) {
      for (const float special : special_values()) {
        std::vector<float> x = noise_values(6, n, scale);
        for (std::size_t i = 0; i < n; i += 37) x[i] = special;
        if (blocks == 2) std::fill(x.begin() + logit_block, x.end(), special);
        GuardedArray<float> logits(x), highest(blocks), expected_highest(blocks);
        stilla::detail::row_kernel<HighestLogits>(TypeParam::id)(highest.data(), logits.data(), n);
        stilla::detail::row_kernel<HighestLogits>(Scalar::id)(expected_highest.data(), logits.data(), n);
        float most = -HUGE_VALF;
        for (std::size_t b = 0; b < blocks; ++b) {
          ASSERT_EQ(highest.data()[b], expected_highest.data()[b]) << special;
          most = std::max(most, highest.data()[b]);
        }
        for (const float v : x) ASSERT_FALSE(v > most);

        for (const float temperature : {1.0f, 0.6f, 1e-40f, 1e38f}) {
          GuardedArray<double> sums(blocks), expected(blocks);
          stilla::detail::row_kernel<LogitWeights>(TypeParam::id)(sums.data(), logits.data(), n, most, temperature);
          stilla::detail::row_kernel<LogitWeights>(Scalar::id)(expected.data(), logits.data(), n, most, temperature);
          for (std::size_t b = 0; b < blocks; ++b) {
            ASSERT_EQ(sums.data()[b], expected.data()[b]) << special << ", temperature " << temperature;
            double sum = 0;
            for (std::size_t i = b * logit_block; i < (b + 1) * logit_block; ++i) {
              if (!std::isnan(x[i])) sum += x[i] == most ? 1.0 : std::exp(double{(x[i] - most) / temperature});
            }
            ASSERT_NEAR(sums.data()[b], sum, 4 * unit_roundoff * sum + 64 * 1.7e-38) << special << ", temperature " << temperature;
          }
        }
      }
    }
  }
}

}  // namespace
