// SPDX-License-Identifier: Apache-2.0
//
// Tests of encode_rows(), which encodes the rows of a matrix in a weight format. Each row of the result has the bytes that
// the format's own encoder writes. The errors that encode_rows() reports are computed once more from the decoded weights.
// Threads and refusals are tested too.
#include <stilla/format/encode_rows.hpp>
#include <stilla/format/encoding_error.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

template <class F>
struct HasEncoder {
  static constexpr bool value = EncodableFormat<F>;
};
template <class F>
class EncodeRows : public ::testing::Test {};
using EncodableFormats = AsGtestTypes<Filtered<HasEncoder, Formats>>::Types;
TYPED_TEST_SUITE(EncodeRows, EncodableFormats, FormatNames);

std::vector<std::byte> encoded(ConstMatrix weights, FormatId format, EncodingReport* report, Parallel parallel = {}) {
  std::vector<std::byte> blocks(*encoded_bytes(format, weights.rows, weights.cols));
  const Result<EncodingReport> result = encode_rows(blocks, weights, format, parallel);
  EXPECT_TRUE(result) << result.error().message;
  if (result) *report = *result;
  return blocks;
}

TYPED_TEST(EncodeRows, GivesTheEncodersBytesAndTheirError) {
  using F = TypeParam;
  constexpr std::size_t N = 5, K = 512, stride = K + 3;
  const std::vector<float> values = noise_values(7, N * stride, 0.05f);
  const ConstMatrix weights(values.data(), N, K, stride);
  EncodingReport report;
  const std::vector<std::byte> blocks = encoded(weights, id_of<F>, &report);
  ASSERT_EQ(blocks.size(), N * row_bytes<F>(K));

  double squared_error = 0.0, squared_source = 0.0, highest = 0.0;
  std::vector<std::byte> row(row_bytes<F>(K));
  std::vector<float> decoded(K);
  for (std::size_t n = 0; n < N; ++n) {
    const float* source = weights.row(n);
    encode_row<F>(source, row.data(), K);
    ASSERT_EQ(std::memcmp(row.data(), blocks.data() + n * row.size(), row.size()), 0) << "row " << n;
    decode_row<F>(row.data(), decoded.data(), K);
    for (std::size_t k = 0; k < K; ++k) {
      const double error = double{decoded[k]} - double{source[k]};
      squared_error += error * error;
      squared_source += double{source[k]} * double{source[k]};
      highest = std::max(highest, std::fabs(error));
    }
  }
  // The errors that encode_rows() reports and those of this test are sums of the squared errors of 2560 weights in double, added in
  // different orders. So they may differ by the rounding of doubles.
  EXPECT_NEAR(report.rmse, std::sqrt(squared_error / (N * K)), 1e-12 * report.rmse);
  EXPECT_NEAR(report.relative_rmse, std::sqrt(squared_error / squared_source), 1e-12 * report.relative_rmse);
  EXPECT_EQ(report.max_error, highest);
  EXPECT_LE(report.rmse, report.max_error);
}

// Encoders round with nearest_integer(), which uses integer arithmetic. The test compares it with std::round near all multiples of
// 1/2 from -257.5 to 257.5, and for random bits. For NaN and for magnitudes of 256 or more, which no code has, the result is 0.
TEST(Rounding, NearestIntegerIsTheDefinition) {
  const auto expected = [](float x) { return std::fabs(x) < 256.0f ? static_cast<int>(std::round(x)) : 0; };
  for (int half = -515; half <= 515; ++half) {
    float x = 0.5f * static_cast<float>(half);
    for (int step = 0; step < 3; ++step) x = std::nextafter(x, -1000.0f);
    for (int step = 0; step < 7; ++step, x = std::nextafter(x, 1000.0f)) EXPECT_EQ(detail::nearest_integer(x), expected(x)) << x;
  }
  std::uint32_t bits = 1;
  for (int i = 0; i < 1'000'000; ++i) {
    bits = bits * 1664525u + 1013904223u;
    const auto x = std::bit_cast<float>(bits);
    ASSERT_EQ(detail::nearest_integer(x), expected(x)) << x;
  }
}

TEST(Rounding, LargestMagnitude) {
  const float weights[] = {0.5f, -0.0f, -3.25f, 3.0f};
  EXPECT_EQ(detail::largest_magnitude(weights, 4), 3.25f);
  EXPECT_EQ(detail::largest_magnitude(weights, 1), 0.5f);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(detail::largest_magnitude(weights + 1, 1)), 0u) << "+0, so a scale is never -0";
}

TYPED_TEST(EncodeRows, IsTheSameForAnyNumberOfThreads) {
  using F = TypeParam;
  constexpr std::size_t N = 37, K = 256;
  const std::vector<float> values = noise_values(8, N * K);
  EncodingReport serial, parallel;
  ThreadPool pool(3);
  const auto one = encoded(ConstMatrix(values.data(), N, K), id_of<F>, &serial);
  const auto three = encoded(ConstMatrix(values.data(), N, K), id_of<F>, &parallel, pool);
  EXPECT_EQ(one, three);
  EXPECT_EQ(serial.rmse, parallel.rmse);
  EXPECT_EQ(serial.relative_rmse, parallel.relative_rmse);
  EXPECT_EQ(serial.max_error, parallel.max_error);
}

TYPED_TEST(EncodeRows, RefusesWhatIsNotFinite) {
  using F = TypeParam;
  constexpr std::size_t N = 3, K = 256;
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    std::vector<float> values = noise_values(9, N * K);
    values[K + 200] = bad;
    std::vector<std::byte> blocks(*encoded_bytes(id_of<F>, N, K));
    const Result<EncodingReport> report = encode_rows<F>(blocks, ConstMatrix(values.data(), N, K));
    ASSERT_FALSE(report) << bad;
    EXPECT_TRUE(report.error().message.starts_with("row 1, column ")) << report.error().message;
    EXPECT_TRUE(report.error().message.ends_with(std::string(F::name))) << report.error().message;
  }
}

TYPED_TEST(EncodeRows, TakesEmptyAndZeroMatrices) {
  using F = TypeParam;
  for (const auto& [N, K] : {std::pair<std::size_t, std::size_t>{0, 256}, {4, 0}, {0, 0}}) {
    const Result<EncodingReport> report = encode_rows<F>({}, ConstMatrix(nullptr, N, K));
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->rmse, 0.0);
  }
  const std::vector<float> zeros(512, 0.0f);
  EncodingReport report;
  (void)encoded(ConstMatrix(zeros.data(), 2, 256), id_of<F>, &report);
  EXPECT_EQ(report.rmse, 0.0);
  EXPECT_EQ(report.relative_rmse, 0.0);
  EXPECT_EQ(report.max_error, 0.0);
}

// Q4_0 stores scales as halves. A weight that needs a scale too large for a half is refused.
TEST(EncodeRows, RefusesAScaleThatOverflows) {
  std::vector<float> values(64, 1.0f);
  values[40] = 1e6f;
  std::vector<std::byte> blocks(*encoded_bytes(id_of<Q4_0>, 1, 64));
  const Result<EncodingReport> report = encode_rows<Q4_0>(blocks, ConstMatrix(values.data(), 1, 64));
  ASSERT_FALSE(report);
  EXPECT_TRUE(report.error().message.starts_with("row 0, column ")) << report.error().message;
}

TEST(EncodeRows, NamesWhatDoesNotFit) {
  const std::vector<float> values(96, 1.0f);
  std::vector<std::byte> blocks(54);
  const auto message = [&](std::size_t N, std::size_t K, FormatId format) {
    const Result<EncodingReport> report = encode_rows(blocks, ConstMatrix(values.data(), N, K), format);
    return report ? std::string("accepted") : report.error().message;
  };
  EXPECT_EQ(message(1, 96, id_of<Q4_0>), "accepted");
  EXPECT_EQ(message(1, 95, id_of<Q4_0>), "95 columns are not a multiple of the q4_0 block of 32");
  EXPECT_EQ(message(1, 64, id_of<Q4_0>), "1 x 64 weights take 36 bytes in q4_0, but the memory given for them has 54");
  EXPECT_EQ(message(1, 96, FormatId{3333}), "weights of an unknown format (id 3333) are not supported");
#ifndef STILLA_FORMATS
  EXPECT_EQ(message(1, 256, id_of<IQ2_XS>), "weights cannot be encoded as iq2_xs: there is no encoder for it");
#endif

  constexpr std::size_t huge = std::size_t{1} << 62;
  for (const auto& [N, K] : {std::pair{huge, std::size_t{64}}, {std::size_t{1}, huge + huge / 2 * 4}, {huge, huge}}) {
    const Result<std::size_t> bytes = encoded_bytes(id_of<F32>, N, K);
    ASSERT_FALSE(bytes);
    EXPECT_TRUE(bytes.error().message.ends_with("do not fit the address space")) << bytes.error().message;
  }
}

// requantise_rows() from any format to another gives the same bytes as decoding all rows and encoding them, with threads,
// too.
TYPED_TEST(EncodeRows, RequantisesFromAnyFormat) {
  using From = TypeParam;
  constexpr std::size_t N = 9, K = 512;
  const std::vector<std::byte> rows = random_rows<From>(10, N, K);
  std::vector<float> decoded(N * K);
  for (std::size_t n = 0; n < N; ++n) decode_row<From>(rows.data() + n * row_bytes<From>(K), decoded.data() + n * K, K);
  ThreadPool pool(3);
  for_each_type(TypeList<Q4_0, Q4_K, ST4, INT4_CHANNEL>{}, [&]<class To>(To) {
    EncodingReport report;
    const std::vector<std::byte> expected = encoded(ConstMatrix(decoded.data(), N, K), id_of<To>, &report);
    const auto found = requantise_rows(id_of<To>, id_of<From>, rows.data(), N, K, pool);
    ASSERT_TRUE(found) << found.error().message;
    ASSERT_EQ(found->size(), expected.size());
    EXPECT_EQ(std::memcmp(found->data(), expected.data(), expected.size()), 0) << To::name;
  });
}

// EncodingError computes the error of encoded rows a few rows at a time, against floats or against the rows that the floats
// were decoded from. Its result equals what the encoder itself reports for all rows.
TEST(EncodingError, IsTheEncodersReport) {
  constexpr std::size_t N = 9, K = 512, first = 4;
  const std::vector<std::byte> rows = random_rows<Q8_0>(13, N, K);
  std::vector<float> decoded(N * K);
  for (std::size_t n = 0; n < N; ++n) decode_row<Q8_0>(rows.data() + n * row_bytes<Q8_0>(K), decoded.data() + n * K, K);
  const ConstMatrix values(decoded.data(), N, K);
  ThreadPool pool(3);
  for_each_type(TypeList<Q4_0, ST4, INT4_CHANNEL, BFP16EBS8>{}, [&]<class To>(To) {
    EncodingReport report;
    const std::vector<std::byte> blocks = encoded(values, id_of<To>, &report);
    EncodingError pieces, from_rows;
    ASSERT_TRUE(pieces.add(id_of<To>, blocks.data(), values.rows_from(0, first)));
    ASSERT_TRUE(pieces.add(id_of<To>, blocks.data() + first * row_bytes<To>(K), values.rows_from(first, N - first), pool));
    ASSERT_TRUE(from_rows.add(id_of<To>, blocks.data(), id_of<Q8_0>, rows.data(), N, K, pool));
    EXPECT_GT(report.relative_rmse, 0.0) << To::name;
    EXPECT_NEAR(pieces.relative_rmse(), report.relative_rmse, 1e-12) << To::name;
    EXPECT_NEAR(from_rows.relative_rmse(), report.relative_rmse, 1e-12) << To::name;
  });
  EncodingError nothing;
  EXPECT_EQ(nothing.relative_rmse(), 0.0);
  const std::vector<std::byte> zeros(N * row_bytes<Q4_0>(K));
  ASSERT_TRUE(nothing.add(id_of<Q4_0>, zeros.data(), id_of<Q4_0>, zeros.data(), N, K));
  EXPECT_EQ(nothing.relative_rmse(), 0.0);
}

TEST(EncodeRows, RequantisesInPieces) {
  constexpr std::size_t N = 4100, K = 1024;  // these are more than 2^22 weights, so they are requantised in several pieces
  const std::vector<std::byte> rows = random_rows<Q8_0>(11, N, K);
  const auto all = requantise_rows(id_of<Q4_0>, id_of<Q8_0>, rows.data(), N, K);
  ASSERT_TRUE(all);
  for (const std::size_t n : {std::size_t{0}, N / 2, N - 5, N - 1}) {
    const auto one = requantise_rows(id_of<Q4_0>, id_of<Q8_0>, rows.data() + n * row_bytes<Q8_0>(K), 1, K);
    ASSERT_TRUE(one);
    EXPECT_EQ(std::memcmp(all->data() + n * row_bytes<Q4_0>(K), one->data(), one->size()), 0) << n;
  }
}

TEST(EncodeRows, RequantisingNamesWhatDoesNotFit) {
  const std::vector<std::byte> rows = random_rows<Q4_0>(12, 20, 32);
  const auto message = [&](FormatId to, FormatId from, std::size_t K) {
    const auto made = requantise_rows(to, from, rows.data(), 2, K);
    return made ? std::string("made") : made.error().message;
  };
  EXPECT_EQ(message(id_of<ST4>, id_of<Q4_0>, 128), "made");
  EXPECT_EQ(message(id_of<ST4>, id_of<Q4_0>, 0), "made");
  EXPECT_EQ(message(id_of<ST4>, id_of<Q4_0>, 96), "96 columns are not a multiple of the st4 block of 128");
  EXPECT_EQ(message(FormatId{3333}, id_of<Q4_0>, 128), "weights of an unknown format (id 3333) are not supported");
  EXPECT_EQ(message(id_of<ST4>, FormatId{3333}, 128), "weights of an unknown format (id 3333) are not supported");
}

}  // namespace
