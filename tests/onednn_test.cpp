// SPDX-License-Identifier: Apache-2.0
//
// Tests of the device onednn beyond those that every device passes (device_model_test): shared weights, the largest
// integers, calls by several threads, and errors.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include <stilla/devices.hpp>
#include <stilla/format/encode_rows.hpp>

#include "test_util.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

static_assert(stilla::detail::is_in_list<OneDnn, Devices>);

// Multiplies by few and by many rows of x, once with rows that lie directly behind each other and once with gaps between the rows
// of x and between those of y.
TEST(OneDnn, EveryFormatKeepsTheTolerance) {
  for_each_type(Formats{}, [&]<class F>(F) {
    SCOPED_TRACE(F::name);
    constexpr std::size_t N = 40, K = 512;
    const std::vector<std::byte> rows = random_rows<F>(31, N, K);
    const Result<OneDnn::Weights> w = OneDnn::prepare<F>(rows.data(), N, K);
    ASSERT_TRUE(w) << w.error().message;
    for (const std::size_t M : {1u, 3u, 300u}) {
      const std::vector<float> x = noise_values(32, M * K);
      std::vector<float> y(M * N), apart(M * (K + 5)), y_apart(M * (N + 3));
      ASSERT_TRUE(OneDnn::multiply(Matrix(y.data(), M, N), *w, ConstMatrix(x.data(), M, K)));
      const auto [error, power] = product_error<F>(rows.data(), N, K, x, y);
      EXPECT_LE(error, OneDnn::has_integers<F>() ? OneDnn::tolerance * power : 1e-11 * power) << M;
      const double root_mean_square = std::sqrt(power / static_cast<double>(M * N));
      for (std::size_t m = 0; m < M; ++m) std::copy_n(x.data() + m * K, K, apart.data() + m * (K + 5));
      ASSERT_TRUE(OneDnn::multiply(Matrix(y_apart.data(), M, N, N + 3), *w, ConstMatrix(apart.data(), M, K, K + 5)));
      for (std::size_t m = 0; m < M; ++m) {
        for (std::size_t n = 0; n < N; ++n) ASSERT_NEAR(y_apart[m * (N + 3) + n], y[m * N + n], 1e-5 * root_mean_square) << m << ", " << n;
      }
    }
  });
}

// All activations are equal, so they are rounded without an error, and all products of bytes are the largest. Sums of such products in 16
// bits would saturate.
TEST(OneDnn, TheLargestIntegersAreExact) {
  using F = INT8_CHANNEL;
  constexpr std::size_t N = 40, K = 512, M = 20;
  for (const float sign : {1.0f, -1.0f}) {
    std::vector<float> weights(N * K), x(M * K, 1.0f), y(M * N);
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = sign * (i % 3 == 0 ? 1.0f : 0.9f);
    std::vector<std::byte> rows(N * row_bytes<F>(K));
    for (std::size_t n = 0; n < N; ++n) encode_row<F>(weights.data() + n * K, rows.data() + n * row_bytes<F>(K), K);
    const Result<OneDnn::Weights> w = OneDnn::prepare<F>(rows.data(), N, K);
    ASSERT_TRUE(w) << w.error().message;
    ASSERT_TRUE(OneDnn::multiply(Matrix(y.data(), M, N), *w, ConstMatrix(x.data(), M, K)));
    const auto [error, power] = product_error<F>(rows.data(), N, K, x, y);
    EXPECT_LE(error, 1e-12 * power);
  }
}

TEST(OneDnn, SharedWeightsAreReadWhereTheyLie) {
  constexpr std::size_t N = 24, K = 40, stride = 48, M = 5;
  std::vector<float> weights = noise_values(1, N * stride);
  const std::vector<float> x = noise_values(2, M * K);
  const Result<OneDnn::Weights> w = OneDnn::share(ConstMatrix(weights.data(), N, K, stride));
  ASSERT_TRUE(w) << w.error().message;
  std::vector<float> y(M * N);
  for (const float factor : {1.0f, 3.0f}) {  // a factor of 3 changes the caller's weights, and so the products
    for (float& value : weights) value *= factor;
    ASSERT_TRUE(OneDnn::multiply(Matrix(y.data(), M, N), *w, ConstMatrix(x.data(), M, K)));
    for (std::size_t m = 0; m < M; ++m) {
      for (std::size_t n = 0; n < N; ++n) {
        double sum = 0.0;
        for (std::size_t k = 0; k < K; ++k) sum += double{x[m * K + k]} * weights[n * stride + k];
        ASSERT_NEAR(y[m * N + n], sum, 1e-4);
      }
    }
  }
}

TEST(OneDnn, ThreadsMayShareWeights) {
  using F = INT8_CHANNEL;
  constexpr std::size_t N = 64, K = 256, M = 33, threads = 4;
  const std::vector<std::byte> rows = random_rows<F>(7, N, K);
  const Result<OneDnn::Weights> w = OneDnn::prepare<F>(rows.data(), N, K);
  ASSERT_TRUE(w);
  const std::vector<float> x = noise_values(8, M * K);
  std::vector<std::vector<float>> y(threads, std::vector<float>(M * N));
  std::vector<std::thread> workers;
  for (std::size_t t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) EXPECT_TRUE(OneDnn::multiply(Matrix(y[t].data(), M, N), *w, ConstMatrix(x.data(), M, K)));
    });
  }
  for (std::thread& worker : workers) worker.join();
  for (std::size_t t = 0; t < threads; ++t) {
    const auto [error, power] = product_error<F>(rows.data(), N, K, x, y[t]);
    EXPECT_LE(error, OneDnn::tolerance * power);
  }
}

TEST(OneDnn, SaysWhatItCannotDo) {
  using F = INT8_CHANNEL;
  constexpr std::size_t N = 8, K = 64;
  const std::vector<std::byte> rows = random_rows<F>(7, N, K);
  const Result<OneDnn::Weights> w = OneDnn::prepare<F>(rows.data(), N, K);
  ASSERT_TRUE(w);
  std::vector<float> x(K, 1.0f), y(N, 42.0f);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    x[5] = bad;
    const Status s = OneDnn::multiply(Matrix(y.data(), 1, N), *w, ConstMatrix(x.data(), 1, K));
    ASSERT_FALSE(s);
    EXPECT_EQ(s.error().message, "row 0 of x has a number that is not finite");
    EXPECT_EQ(y, std::vector<float>(N, 42.0f));
  }
  for (const float tiny : {0.0f, 1e-45f}) {  // these count as zeros
    std::fill(x.begin(), x.end(), tiny);
    ASSERT_TRUE(OneDnn::multiply(Matrix(y.data(), 1, N), *w, ConstMatrix(x.data(), 1, K)));
    for (const float value : y) EXPECT_NEAR(value, 0.0f, 1e-40f);
  }
  EXPECT_EQ(OneDnn::multiply(Matrix(y.data(), 1, N), *w, ConstMatrix(x.data(), 1, K - 1)).error().message,
            "found y of 1 x 8 and x of 1 x 63 for weights of 8 x 64");
  EXPECT_EQ(OneDnn::prepare<F>(rows.data(), N, K + 1).error().message, "65 columns are not a multiple of the int8_channel block of 32");
  EXPECT_EQ(OneDnn::prepare<F>(rows.data(), 1, 65568).error().message,
            "65568 columns of int8_channel; sums of products of bytes fit 32 bits up to 65536");
  EXPECT_EQ(OneDnn::share(ConstMatrix(x.data(), 0, 5)).error().message, "found weights of 0 x 5, stride 5");
  EXPECT_EQ(OneDnn::share(ConstMatrix(nullptr, 3, 5)).error().message, "found weights of 3 x 5, stride 5");
  EXPECT_EQ(OneDnn::prepare<F>(rows.data(), 0, K).error().message, "found weights of 0 x 64, stride 64");
  EXPECT_EQ(OneDnn::prepare<F>(rows.data(), N, 0).error().message, "found weights of 8 x 0, stride 0");
  EXPECT_TRUE(OneDnn::multiply(Matrix(y.data(), 0, N), *w, ConstMatrix(x.data(), 0, K)));
}

}  // namespace
