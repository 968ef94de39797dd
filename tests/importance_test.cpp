// SPDX-License-Identifier: Apache-2.0
//
// Tests of encoders that choose scales by importance, which is the mean square of the input that a weight is multiplied by. The error
// weighted by importance becomes smaller; for simple formats it is near the smallest that any scale gives; and an importance of 1 for
// all weights changes nothing.
#include <stilla/format/encode_rows.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

template <class F>
struct UsesImportance {
  static constexpr bool value = ImportanceFormat<F>;
};
template <class F>
class Importance : public ::testing::Test {};
using ImportanceFormats = AsGtestTypes<Filtered<UsesImportance, Formats>>::Types;
TYPED_TEST_SUITE(Importance, ImportanceFormats, FormatNames);

// Returns mean squares of inputs as networks have them: most are alike, and some are a hundred times larger.
std::vector<float> some_mean_squares(std::size_t K) {
  std::vector<float> out = noise_values(3, K);
  for (std::size_t k = 0; k < K; ++k) out[k] = 0.3f * std::exp(2.0f * out[k]) * (k % 29 == 4 ? 100.0f : 1.0f);
  return out;
}

template <class F>
std::vector<std::byte> encoded(const std::vector<float>& weights, std::size_t N, std::size_t K, std::span<const float> mean_squares,
                               Parallel parallel = {}) {
  std::vector<std::byte> blocks(N * row_bytes<F>(K));
  const auto report = encode_rows<F>(blocks, ConstMatrix(weights.data(), N, K), parallel, mean_squares);
  EXPECT_TRUE(report) << report.error().message;
  return blocks;
}

template <class F>
double weighted_error(const std::vector<std::byte>& blocks, const std::vector<float>& weights, std::size_t K,
                      const std::vector<float>& mean_squares) {
  std::vector<float> decoded(K);
  double sum = 0;
  for (std::size_t n = 0; n < weights.size() / K; ++n) {
    decode_row<F>(blocks.data() + n * row_bytes<F>(K), decoded.data(), K);
    for (std::size_t k = 0; k < K; ++k) {
      const double error = double{decoded[k]} - double{weights[n * K + k]};
      sum += error * error * double{mean_squares[k]};
    }
  }
  return sum;
}

TYPED_TEST(Importance, MakesTheWeightedErrorSmaller) {
  using F = TypeParam;
  constexpr std::size_t N = 24, K = 512;
  const std::vector<float> weights = noise_values(7, N * K, 0.05f), mean_squares = some_mean_squares(K);
  ThreadPool pool(3);
  const std::vector<std::byte> plain = encoded<F>(weights, N, K, {}), weighted = encoded<F>(weights, N, K, mean_squares);
  EXPECT_EQ(weighted, encoded<F>(weights, N, K, mean_squares, pool));
  const double before = weighted_error<F>(plain, weights, K, mean_squares), after = weighted_error<F>(weighted, weights, K, mean_squares);
  EXPECT_LT(after, 0.97 * before) << after / before;
}

// If the inputs were all 0, in some columns or in all, the importance does not make the codes much worse than they are without it.
TYPED_TEST(Importance, SurvivesInputsThatWereZero) {
  using F = TypeParam;
  constexpr std::size_t N = 8, K = 512;
  const std::vector<float> weights = noise_values(8, N * K, 0.05f), equal(K, 1.0f);
  std::vector<float> mean_squares = some_mean_squares(K);
  const double plain = weighted_error<F>(encoded<F>(weights, N, K, {}), weights, K, equal);
  for (std::size_t k = 0; k < K; ++k) mean_squares[k] = k < 256 || k % 5 == 0 ? 0.0f : mean_squares[k];
  EXPECT_LT(weighted_error<F>(encoded<F>(weights, N, K, mean_squares), weights, K, equal), 2.5 * plain);
  const std::vector<float> zeros(K);
  EXPECT_LE(weighted_error<F>(encoded<F>(weights, N, K, zeros), weights, K, equal), 1.0001 * plain);
  std::vector<float> one(K);
  one[300] = std::numeric_limits<float>::max();
  EXPECT_LT(weighted_error<F>(encoded<F>(weights, N, K, one), weights, K, equal), 10.0 * plain);
}

// For formats whose encoder searches for scales even without importance, an importance of 1 for all weights gives the same bytes.
TYPED_TEST(Importance, OfOneChangesNothing) {
  using F = TypeParam;
  constexpr bool has_plain_encoder = !F::has_sub_scales && !F::is_codebook && !RowScaledFormat<F>;  // the encoder that ggml has
  constexpr std::size_t N = 24, K = 512;
  std::vector<float> weights = noise_values(9, N * K, 0.05f);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (i / 32 % 7 == 0) weights[i] = std::fabs(weights[i]);
    if (i / 32 % 7 == 1) weights[i] *= 1e-3f;
    if (i / 32 % 7 == 2) weights[i] = 0.0f;
  }
  const std::vector<float> ones(K, 1.0f);
  std::vector<std::byte> row(row_bytes<F>(K)), same(row_bytes<F>(K));
  for (std::size_t n = 0; n < N && !has_plain_encoder; ++n) {
    encode_row<F>(weights.data() + n * K, row.data(), K);
    encode_row<F>(weights.data() + n * K, same.data(), K, ones.data());
    ASSERT_EQ(row, same) << n;
  }
  if constexpr (!RowScaledFormat<F>) {
    F::encode(weights.data(), row.data());
    F::encode(weights.data(), same.data(), nullptr);
    EXPECT_EQ(std::memcmp(row.data(), same.data(), F::block_bytes), 0);
  }
}

// For formats with one scale for each block, this test tries every possible scale. The encoder tries 19 scales, around the one
// that suits the largest weight. If one weight of a block counts a hundred times as much as the others, the best scale can lie
// outside of these 19. So the encoder's error may be larger than that with the best scale, but at most `times` as large.
template <class F, class Nearest>
void expect_near_the_best(const Nearest& nearest, double times) {
  constexpr std::size_t N = 16, K = 64;
  const std::vector<float> weights = noise_values(11, N * K, 0.05f), mean_squares = some_mean_squares(K);
  const double found = weighted_error<F>(encoded<F>(weights, N, K, mean_squares), weights, K, mean_squares);
  double best = 0;
  for (std::size_t i = 0; i < N * K; i += F::block_weights) {
    double least = std::numeric_limits<double>::infinity();
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
      const float scale = to_float(f16{static_cast<std::uint16_t>(bits)});
      if (!(std::fabs(scale) > 1e-5f && std::fabs(scale) < 0.1f)) continue;
      double error = 0;
      for (std::size_t k = i; k < i + F::block_weights; ++k) {
        const double e = double{scale} * nearest(weights[k] / scale) - double{weights[k]};
        error += e * e * double{mean_squares[k % K]};
      }
      least = std::min(least, error);
    }
    best += least;
  }
  EXPECT_LT(found, times * best) << found / best;
  EXPECT_GT(found, 0.999 * best) << found / best;
}

TEST(ImportanceOfBlocks, IsUsedNearlyAsWellAsItCanBe) {
  expect_near_the_best<Q4_0>([](float x) { return std::clamp(std::round(x), -8.0f, 7.0f); }, 1.2);
  expect_near_the_best<IQ4_NL>([](float x) { return static_cast<float>(IQ4_NL::codebook[IQ4_NL::nearest_code(x)]); }, 1.9);
}

// If all weights of a group are equal, all its codes are equal, too. So the encoder cannot find the group's scale by least
// squares, and takes the one that follows from the minimum. The decoded weights must still be close to the original ones.
TYPED_TEST(Importance, EqualWeightsStayEqual) {
  using F = TypeParam;
  constexpr std::size_t K = 512;
  const std::vector<float> mean_squares = some_mean_squares(K);
  for (const float value : {0.0413f, -0.0257f, 1.7f}) {
    const std::vector<float> weights(K, value);
    std::vector<float> decoded(K);
    decode_row<F>(encoded<F>(weights, 1, K, mean_squares).data(), decoded.data(), K);
    for (std::size_t k = 0; k < K; ++k) ASSERT_NEAR(decoded[k], value, 0.08f * std::fabs(value)) << k;
  }
}

TEST(ImportanceOfRows, NamesWhatIsWrong) {
  const std::vector<float> weights(64, 1.0f);
  const auto message = [&](FormatId format, const std::vector<float>& mean_squares) {
    std::vector<std::byte> blocks(*encoded_bytes(format, 1, 64));
    const auto report = encode_rows(blocks, ConstMatrix(weights.data(), 1, 64), format, {}, mean_squares);
    return report ? std::string("accepted") : report.error().message;
  };
  std::vector<float> mean_squares(64, 1.0f);
  EXPECT_EQ(message(id_of<Q4_0>, mean_squares), "accepted");
  EXPECT_EQ(message(id_of<Q8_0>, mean_squares), "q8_0 has no scales that could be chosen by importance");
  EXPECT_EQ(message(id_of<Q4_0>, std::vector<float>(63, 1.0f)), "found the mean squares of 63 inputs; expected 64");
  for (const float bad : {-1.0f, std::nanf(""), HUGE_VALF}) {
    mean_squares[5] = bad;
    EXPECT_EQ(message(id_of<Q4_0>, mean_squares),
              concat("input 5: found ", bad, " as its mean square; expected a number that is not negative"));
  }
}

}  // namespace
