// SPDX-License-Identifier: Apache-2.0
//
// Tests of matmul. The target `scalar` is compared with the definition, which this file computes from the blocks of a weight
// format (all bits must be equal), and with PyTorch (within the rounding of the sums). Every target is compared with scalar, bit
// for bit, whatever the shape, the number of threads and the number of tokens. The tests run for the formats of `TestedFormats`,
// which the including program defines: one program for all formats takes too long to compile.
#pragma once

#include <stilla/matmul.hpp>

#include <memory>

#include "matmul_data.hpp"

namespace {

using namespace stilla_test;

inline void multiply(Matrix y, const PackedView& w, const ActivationQ8& x, const float* bias = nullptr, Parallel parallel = {}) {
  EXPECT_TRUE(matmul(y, w, x, bias, parallel));
}
inline void multiply(Matrix y, const PackedView& w, ConstMatrix x, const float* bias = nullptr, Parallel parallel = {}) {
  ActivationBuffer unused;
  ASSERT_TRUE(matmul(y, w, x, unused, bias, parallel));
}

template <class X>
std::vector<float> product(TargetId target, const PackedView& w, const X& x, const float* bias = nullptr, Parallel parallel = {}) {
  const OnTarget on(target);
  GuardedArray<float> y(x.rows * w.rows);
  multiply(Matrix(y.data(), x.rows, w.rows), w, x, bias, parallel);
  return {y.data(), y.data() + y.size()};
}

ThreadPool& pool_of(std::size_t threads) {
  static std::map<std::size_t, std::unique_ptr<ThreadPool>> pools;
  auto& pool = pools[threads];
  if (!pool) pool = std::make_unique<ThreadPool>(threads);
  return *pool;
}

// The definition of matmul, computed from the blocks of a weight format.

// One output of matmul, and the numbers from which the tests compute how far an output that a kernel found may be from `value`. The
// two may differ because the steps of the sum have another order or other roundings.
struct Exact {
  float contract;  // the result of the steps in contract/matmul.hpp
  // The output of matmul once more, computed in double, where products of floats are exact and sums nearly so.
  double value;
  double magnitude;  // the sum of the magnitudes of the terms
  double sums_rounding;  // the error that the rounding of sums of activations (RoundedSums) may cause
};

template <class F>
Exact definition(const std::byte* row, std::size_t K, Activations<F>& x, std::size_t m) {
  Exact y{0.0f, 0.0, 0.0, 0.0};
  if constexpr (QuantisedFormat<F>) {
    const ActivationQ8 q = x.all();
    std::int64_t sub_minimums = 0;
    const auto value = [&](std::size_t k) {
      const int high = q.row_values(m)[k];
      return q.low == nullptr ? high : 256 * high + q.row_low(m)[k];
    };
    for (std::size_t k0 = 0; k0 < K; k0 += F::group_weights) {
      const std::byte* block = block_of<F>(row, k0);
      const std::size_t first = k0 % F::block_weights;
      std::int64_t dot = 0;
      for (std::size_t k = 0; k < F::group_weights; ++k) {
        int code = F::code(block, first + k);
        if constexpr (F::is_codebook) code = F::codebook[static_cast<std::size_t>(code)];
        dot += std::int64_t{code - F::zero_point} * value(k0 + k);
      }
      float scale = to_float(F::scale(RowScaledFormat<F> ? row : block));
      if constexpr (F::has_sub_scales) scale *= static_cast<float>(F::sub_scale(block, first / F::group_weights));
      const float scale_x = q.row_scales(m)[k0 / 32];
      y.contract = std::fma(scale * scale_x, static_cast<float>(dot), y.contract);
      const double term = double{scale} * double{scale_x} * static_cast<double>(dot);
      y.value += term;
      y.magnitude += std::fabs(term);
      if constexpr (F::has_minimum) {
        float minimum = to_float(F::minimum(block));
        float sum = 0;
        // The sum of a group's activations, in a float. It is exact: a group has at most 32 integers of at most 16 bits, so the sum
        // is at most 2^20 in magnitude, and a float holds every integer up to 2^24.
        for (std::size_t k = 0; k < F::group_weights; ++k) sum += static_cast<float>(value(k0 + k));
        if constexpr (F::has_sub_scales && F::group_weights == 16) {
          minimum *= static_cast<float>(F::sub_minimum(block, first / 16));
          y.contract = std::fma(minimum, scale_x * sum, y.contract);
        } else if constexpr (F::has_sub_scales) {
          const RoundedSums& rounded = q.row_rounded_sums(m)[k0 / 256];
          const int sub_minimum = F::sub_minimum(block, first / 32);
          sub_minimums += std::int64_t{sub_minimum} * rounded.sums[first / 32];
          y.sums_rounding += std::fabs(double{minimum} * sub_minimum) * double{rounded.scale} / 2;
          if (first == 224) {
            y.contract = std::fma(minimum * rounded.scale, static_cast<float>(sub_minimums), y.contract);
            sub_minimums = 0;
          }
          minimum *= static_cast<float>(sub_minimum);
        } else {
          y.contract = std::fma(minimum, scale_x * sum, y.contract);
        }
        const double least = double{minimum} * double{scale_x} * double{sum};
        y.value += least;
        y.magnitude += std::fabs(least);
      }
    }
  } else {
    for (std::size_t k = 0; k < K; ++k) {
      float block[F::block_weights];
      decode_block<F>(row, k - k % F::block_weights, block);
      const float w = block[k % F::block_weights];
      const float value = x.floats.data()[m * K + k];
      y.contract = std::fma(w, value, y.contract);
      y.value += double{w} * double{value};
      y.magnitude += std::fabs(double{w} * double{value});
    }
  }
  return y;
}

template <class F>
// Returns how many roundings the sum of an output over K columns has. Quantised formats have one for each group, or two if the
// format has minimums. They have one more, because two factors of each term are multiplied first, which rounds once. Formats that
// take floats have one for each weight.
constexpr std::size_t roundings(std::size_t K) {
  if constexpr (QuantisedFormat<F>) {
    return K / F::group_weights * (F::has_minimum ? 2 : 1) + 1;
  } else {
    return K;
  }
}

template <class F>
class MatmulDefinition : public ::testing::Test {};
TYPED_TEST_SUITE(MatmulDefinition, AsGtestTypes<TestedFormats>::Types, FormatNames);

TYPED_TEST(MatmulDefinition, ScalarFollowsIt) {
  using F = TypeParam;
  for (const std::size_t K : columns<F>()) {
    for (const std::size_t N : {1u, 16u, 19u}) {
      Weights<F> w(1, N, K);
      for (const ActivationBits bits : roundings_of<F>()) {
        Activations<F> x(2, 3, K, bits);
        const std::vector<float> y = product(Scalar::id, w.view, x.all());
        for (std::size_t m = 0; m < 3; ++m) {
          for (std::size_t n = 0; n < N; ++n) {
            const Exact expected = definition<F>(w.row(n), K, x, m);
            const float found = y[m * N + n];
            ASSERT_TRUE(same_bits(found, expected.contract)) << "K " << K << " row " << n << " token " << m;
            // Each rounding of an output's sum has an error of at most u (half a unit in the last place) times a partial sum, and a partial
            // sum is at most the sum of the terms' magnitudes.
            const double bound = static_cast<double>(roundings<F>(K)) * unit_roundoff * 1.01 * expected.magnitude + expected.sums_rounding;
            ASSERT_LE(std::fabs(found - expected.value), bound) << "K " << K << " row " << n << " token " << m;
          }
        }
      }
    }
  }
}

TYPED_TEST(MatmulDefinition, ScalarIsCloseToPyTorch) {
  using F = TypeParam;
  if (!is_gguf_type<F>) GTEST_SKIP() << "gguf-py cannot decode " << F::name;
  bool compared = false;
  for_each_golden("matmul", [&](const std::vector<std::string>& parameters, std::span<const double> expected) {
    if (parameters[0] != F::name) return;
    compared = true;
    const std::size_t N = std::stoul(parameters[1]), K = std::stoul(parameters[2]), M = std::stoul(parameters[3]);
    Weights<F> w(11, N, K);
    Activations<F> x(12, M, K);
    const std::vector<float> bias = noise_values(13, N);
    const std::vector<float> y = product(Scalar::id, w.view, x.all(), bias.data());
    double error = 0, power = 0;
    for (std::size_t m = 0; m < M; ++m) {
      for (std::size_t n = 0; n < N; ++n) {
        const Exact exact = definition<F>(w.row(n), K, x, m);
        // The bound for the difference from PyTorch has two more roundings than that for the difference from the definition of matmul:
        // one for the bias, and one for each weight, which gguf-py decodes to a float.
        const double bound =
            static_cast<double>(roundings<F>(K) + 2) * unit_roundoff * 1.01 * (exact.magnitude + std::fabs(static_cast<double>(bias[n]))) +
            exact.sums_rounding;
        // A weight of a format with minimums is scale * code plus the minimum, and these two can nearly cancel. The bound for the
        // sum's roundings contains the magnitudes of both. The rounding of the whole weight in gguf-py is added to this bound.
        double weight_rounding = 0;
        if constexpr (QuantisedFormat<F>) {
          std::vector<float> decoded(K);
          decode_row<F>(w.row(n), decoded.data(), K);
          for (std::size_t k = 0; k < K; ++k) {
            weight_rounding += std::fabs(static_cast<double>(decoded[k])) * unit_roundoff *
                               std::fabs(static_cast<double>(x.floats.data()[m * K + k])) * 1.01;
          }
        }
        const double wanted = expected[m * N + n];
        ASSERT_LE(std::fabs(y[m * N + n] - wanted), bound + weight_rounding) << "row " << n << " token " << m;
        error += (y[m * N + n] - wanted) * (y[m * N + n] - wanted);
        power += wanted * wanted;
      }
    }
    EXPECT_LE(error / power, 1e-13);  // normalised mean square error; the tests find 2e-14
  });
  EXPECT_TRUE(compared);
}

// Tests that every target has the bits of scalar.

template <class C>
class MatMul : public TargetTest<typename C::Target> {};

using MatMulCases = Product<Targets, TestedFormats>::Types;

struct CaseNames {
  template <class C>
  static std::string GetName(int) {
    return std::string(C::Target::id.name) + "_" + std::string(C::Second::name);
  }
};
TYPED_TEST_SUITE(MatMul, MatMulCases, CaseNames);

STILLA_CASE_TEST(MatMul, EqualsScalarInEveryShape) {
  using F = Second;
  for (const std::size_t K : columns<F>()) {
    for (const std::size_t N : {1u, 15u, 16u, 17u, 33u, 66u}) {
      Weights<F> w(3, N, K);
      const std::vector<float> bias = noise_values(4, N);
      for (const std::size_t M : {0u, 1u, 2u, 3u, 4u, 5u, 7u, 33u}) {
        if (M == 33 && N != 33 && N != 66) continue;  // 66 rows are four whole panels and a part of one
        const float* b = M % 2 == 1 ? bias.data() : nullptr;
        for (const ActivationBits bits : roundings_of<F>()) {
          Activations<F> x(5, M, K, bits);
          ASSERT_TRUE(same_bits(product(target, w.view, x.all(), b), product(Scalar::id, w.view, x.all(), b)))
              << "M " << M << " N " << N << " K " << K;
        }
      }
    }
  }
}

// The shape has slightly more tokens and panels than the kernels for many tokens take at once, which is 112 tokens and 6 panels.
// It has 117 tokens, and eight whole panels and a part of one.
STILLA_CASE_TEST(MatMul, EqualsScalarForManyTokensAndPanels) {
  using F = Second;
  constexpr std::size_t M = 117, N = 131, K = std::max<std::size_t>(F::block_weights, 64);
  Weights<F> w(36, N, K);
  const std::vector<float> bias = noise_values(37, N);
  for (const ActivationBits bits : roundings_of<F>()) {
    Activations<F> x(38, M, K, bits);
    ASSERT_TRUE(same_bits(product(target, w.view, x.all(), bias.data()), product(Scalar::id, w.view, x.all(), bias.data())));
  }
}

// The shape has more columns than the kernels for many tokens take at once, which is 8192. The rows are four whole panels and a
// part of one.
STILLA_CASE_TEST(MatMul, EqualsScalarInManyColumns) {
  using F = Second;
  constexpr std::size_t M = 34, N = 66, K = 8192 + std::max<std::size_t>(F::block_weights, 32);
  Weights<F> w(11, N, K);
  const std::vector<float> bias = noise_values(12, N);
  for (const ActivationBits bits : roundings_of<F>()) {
    Activations<F> x(13, M, K, bits);
    EXPECT_TRUE(same_bits(product(target, w.view, x.all(), bias.data()), product(Scalar::id, w.view, x.all(), bias.data())));
  }
}

// The blocks consist of random bits, so they can be any that a file can hold: some of their scales are NaN, infinite or subnormal.
// In every third matrix some scales are 0 and all others finite. The test multiplies few tokens and many.
STILLA_CASE_TEST(MatMul, EqualsScalarOnRandomBytes) {
  using F = Second;
  constexpr std::size_t N = 80, K = some_columns<F>;
  for (std::uint32_t seed = 100; seed < 130; ++seed) {
    std::vector<std::byte> blocks(N * row_bytes<F>(K));
    for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<std::byte>(noise_bits(seed, i) >> 24);
    if constexpr (QuantisedFormat<F>) {
      for (std::size_t b = 0; seed % 3 == 0 && b < blocks.size(); b += F::block_bytes) {
        for (const std::size_t offset : half_offsets<F>()) {
          const std::uint32_t bits = noise_bits(seed + 1000, b + offset);
          store_as(blocks.data() + b + offset, static_cast<std::uint16_t>(bits % 5 == 0 ? bits & 0x8000u : bits & 0xbfffu));
        }
      }
    }
    if (seed % 3 == 0) set_row_scales<F>(blocks, N, K, seed, seed % 2 == 0 ? -52 : -53, seed % 2 == 0 ? 73 : 74);
    Weights<F> w(std::move(blocks), N, K);
    for (const std::size_t M : {3u, 19u, 32u}) {
      Activations<F> x(seed + 100, M, K, seed % 2 == 0 ? ActivationBits::eight : ActivationBits::sixteen);
      ASSERT_TRUE(same_bits(product(target, w.view, x.all()), product(Scalar::id, w.view, x.all()))) << "seed " << seed;
    }
  }
}

// The scales of activations and of weights reach from the smallest that are possible to the largest, and some are 0. All targets
// must have the bits of scalar here too, because the size of two scales decides whether their product is exact.
STILLA_CASE_TEST(MatMul, EqualsScalarWhereTokensAreTinyAndHuge) {
  using F = Second;
  constexpr std::size_t N = 48, K = many_columns<F>, M = 33;  // as many tokens as the kernels for many tokens need
  std::vector<std::byte> rows = random_rows<F>(31, N, K);
  set_row_scales<F>(rows, N, K, 34, -52, 73);
  // In formats whose scales are halves (16-bit floats), the scales of every second row of weights are halves of many kinds: zeros,
  // subnormals, the largest numbers, with both signs.
  if constexpr (QuantisedFormat<F>) {
    constexpr std::uint16_t halves[] = {0x0001, 0x7bff, 0x0000, 0xbc00, 0x8000, 0x03ff, 0xfbff, 0x8001};  // 2^-24, 65504 ...
    std::uint32_t i = 0;
    for (std::size_t n = 0; n < N; ++n) {
      for (std::size_t b = 0; b < row_bytes<F>(K) && n % 2 == 1; b += F::block_bytes) {
        std::byte* block = rows.data() + n * row_bytes<F>(K) + b;
        for (const std::size_t offset : half_offsets<F>()) store_as(block + offset, halves[noise_bits(35, i++) % 8]);
      }
    }
  }
  Weights<F> w(std::move(rows), N, K);
  std::vector<float> values = noise_values(32, M * K);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int exponent = static_cast<int>(noise_bits(33, i / 32) % 124) - 63;  // from 2^-63, which is rounded to 0, to 2^60
    values[i] = std::ldexp(values[i], exponent);
  }
  values[5 * K + 3] = std::nanf("");
  // This activation is beyond the largest that can be rounded (2^60), so the scale of its block becomes NaN, as that of a block
  // with a NaN does.
  values[22 * K] = 0x1.8p60f;
  for (const ActivationBits bits : roundings_of<F>()) {
    Activations<F> x(ConstMatrix(values.data(), M, K), bits);
    ASSERT_TRUE(same_bits(product(target, w.view, x.all()), product(Scalar::id, w.view, x.all())));
  }
}

// The sums of products are at their largest: every byte of the weights is 0x00, or 0xff, and so on, and all activations are
// +-127. If a kernel saturated its sums to int16, the test would fail.
STILLA_CASE_TEST(MatMul, ExtremeCodesAndActivations) {
  using F = Second;
  constexpr std::size_t N = 48, K = many_columns<F>, M = 33;  // as many tokens as the kernels for many tokens need
  for (const unsigned byte : {0x00u, 0xffu, 0x0fu, 0xf0u, 0x80u, 0x7fu, 0x88u}) {
    std::vector<std::byte> blocks(N * row_bytes<F>(K), std::byte(byte));
    if constexpr (QuantisedFormat<F>) {
      set_scales_to_one<F>(blocks, N, K);
    } else {
      if (byte == 0xff || byte == 0x7f) continue;  // these bytes are NaN in float formats
    }
    Weights<F> w(std::move(blocks), N, K);
    std::vector<float> values(M * K, 127.0f);
    for (std::size_t m = 0; m < M; ++m) {
      for (std::size_t k = 0; k < K; ++k) {
        const bool is_negative = m % 4 == 1 || (m % 4 == 2 && k % 2 == 0) || (m % 4 == 3 && k % 4 >= 2);
        if (is_negative) values[m * K + k] = -127.0f;
      }
    }
    for (const ActivationBits bits : roundings_of<F>()) {
      Activations<F> x(ConstMatrix(values.data(), M, K), bits);
      // Minimums are multiplied by the rounded sums of activations. These are set to +-32767 here, which is the largest magnitude
      // that 16 bits can hold with both signs.
      if constexpr (has_sub_minimums<F>) {
        for (std::size_t m = 4; m < M; ++m) {
          RoundedSums largest;
          for (std::int16_t& sum : largest.sums) sum = m % 4 == 1 || (m % 4 == 2 && &sum - largest.sums > 5) ? -32767 : 32767;
          for (std::size_t i = 0; i < K / 256; ++i) x.set_rounded_sums(m, i, largest);
        }
      }
      const std::vector<float> y = product(target, w.view, x.all());
      for (std::size_t m = 0; m < M; ++m) {
        for (std::size_t n = 0; n < N; n += 13) {
          ASSERT_TRUE(same_bits(y[m * N + n], definition<F>(w.row(n), K, x, m).contract)) << "byte " << byte << " token " << m;
        }
      }
    }
  }
}

STILLA_CASE_TEST(MatMul, RowsOfACallEqualCallsOfARow) {
  using F = Second;
  constexpr std::size_t N = 83, K = some_columns<F>;
  Weights<F> w(6, N, K);
  constexpr std::size_t most = 37;
  for (const ActivationBits bits : roundings_of<F>()) {
    Activations<F> x(7, most, K, bits);
    std::vector<float> alone;
    for (std::size_t m = 0; m < most; ++m) {
      const std::vector<float> row = product(target, w.view, x.rows(m, 1));
      alone.insert(alone.end(), row.begin(), row.end());
    }
    // Sweeps divide tokens into tiles of 2 to 4 tokens, and take tiles of up to 24 tokens at a time.
    for (const std::size_t M : {2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u, 10u, 11u, 12u, 13u, 14u, 15u, 16u, 23u, 24u, 25u, 26u, 27u, 33u, 37u}) {
      ASSERT_TRUE(same_bits(std::span(alone).first(M * N), product(target, w.view, x.rows(0, M)))) << M << " rows";
    }
    ASSERT_TRUE(same_bits(std::span(alone).subspan(3 * N), product(target, w.view, x.rows(3, most - 3))));
  }
}

STILLA_CASE_TEST(MatMul, ThreadsDoNotMatter) {
  using F = Second;
  constexpr std::size_t N = 2000, K = std::max<std::size_t>(F::block_weights, 64), M = 3;  // so many rows are more than one task
  Weights<F> w(8, N, K);
  Activations<F> x(9, M, K);
  const std::vector<float> bias = noise_values(10, N);
  const std::vector<float> alone = product(target, w.view, x.all(), bias.data());
  for (const std::size_t threads : {1u, 2u, 3u, 7u, 16u}) {
    ASSERT_TRUE(same_bits(product(target, w.view, x.all(), bias.data(), pool_of(threads)), alone)) << threads << " threads";
  }
}

STILLA_CASE_TEST(MatMul, WritesItsColumnsAndNothingElse) {
  using F = Second;
  constexpr std::size_t K = some_columns<F>, M = 3;
  for (const std::size_t N : {1u, 15u, 17u, 35u}) {
    const std::size_t stride = N + 5;
    Weights<F> w(14, N, K);
    Activations<F> x(15, M, K);
    const std::vector<float> dense = product(target, w.view, x.all());
    GuardedArray<float> y(M * stride - 5);  // the last row ends where memory ends, without padding
    std::fill(y.data(), y.data() + y.size(), 7.0f);
    const OnTarget on(target);
    multiply(Matrix(y.data(), M, N, stride), w.view, x.all());
    for (std::size_t i = 0; i < y.size(); ++i) {
      const bool padding = i % stride >= N;
      ASSERT_TRUE(same_bits(y.data()[i], padding ? 7.0f : dense[i / stride * N + i % stride])) << "N " << N << " at " << i;
    }
  }
}

STILLA_CASE_TEST(MatMul, AnyAlignmentOfActivations) {
  using F = Second;
  constexpr std::size_t N = 17, K = some_columns<F>, M = 3;
  Weights<F> w(16, N, K);
  Activations<F> x(17, M, K);
  const std::vector<float> expected = product(target, w.view, x.all());
  for (std::size_t offset = 1; offset < 4; ++offset) {
    if constexpr (QuantisedFormat<F>) {
      const ActivationQ8 from = x.all();
      std::vector<std::int8_t> values(M * K + offset);
      std::vector<float> scales(M * K / 32 + offset);
      std::vector<std::int32_t> sums(M * K / 16 + offset);
      std::copy(from.values, from.values + M * K, values.data() + offset);
      std::copy(from.scales, from.scales + M * K / 32, scales.data() + offset);
      std::copy(from.sums, from.sums + M * K / 16, sums.data() + offset);
      std::vector<float> scaled_sums(M * K / 32 + offset);
      std::copy(from.scaled_sums, from.scaled_sums + M * K / 32, scaled_sums.data() + offset);
      std::vector<RoundedSums> rounded_sums(M * (K / 256) + offset);
      std::copy(from.rounded_sums, from.rounded_sums + M * (K / 256), rounded_sums.data() + offset);
      const ActivationQ8 moved{values.data() + offset,
                               scales.data() + offset,
                               sums.data() + offset,
                               scaled_sums.data() + offset,
                               rounded_sums.data() + offset,
                               M,
                               K};
      ASSERT_TRUE(same_bits(product(target, w.view, moved), expected)) << offset;
    } else {
      const std::size_t stride = K + offset;  // there is padding between rows, and no row begins at a multiple of a vector's length
      std::vector<float> values(M * stride + offset, std::nanf(""));
      for (std::size_t m = 0; m < M; ++m)
        std::copy(x.floats.data() + m * K, x.floats.data() + (m + 1) * K, values.data() + offset + m * stride);
      ASSERT_TRUE(same_bits(product(target, w.view, ConstMatrix(values.data() + offset, M, K, stride)), expected)) << offset;
    }
  }
}

STILLA_CASE_TEST(MatMul, NumbersThatAreNoneStayInTheirRow) {
  using F = Second;
  constexpr std::size_t N = 50, K = many_columns<F>;
  Weights<F> w(18, N, K);
  for (const std::size_t M : {5u, 21u, 45u}) {
    const std::vector<float> clean = noise_values(19, M * K);
    Activations<F> expected_x(ConstMatrix(clean.data(), M, K));
    const std::vector<float> expected = product(target, w.view, expected_x.all());
    for (std::size_t bad = 0; bad < M; bad += M == 5 ? 1 : 20) {
      std::vector<float> dirty = clean;
      dirty[bad * K + K / 2] = bad % 2 == 0 ? std::nanf("") : HUGE_VALF;
      Activations<F> x(ConstMatrix(dirty.data(), M, K));
      const std::vector<float> y = product(target, w.view, x.all());
      for (std::size_t m = 0; m < M; ++m) {
        for (std::size_t n = 0; n < N; ++n) {
          if (m == bad) {
            ASSERT_FALSE(std::isfinite(y[m * N + n])) << m;
          } else {
            ASSERT_TRUE(same_bits(y[m * N + n], expected[m * N + n])) << m;
          }
        }
      }
    }
  }
}

STILLA_CASE_TEST(MatMul, ZerosGiveTheBias) {
  using F = Second;
  constexpr std::size_t N = 19, K = some_columns<F>, M = 2;
  const std::vector<float> bias = noise_values(20, N);
  Weights<F> w(21, N, K);
  Weights<F> no_weights(std::vector<std::byte>(N * row_bytes<F>(K)), N, K);
  Activations<F> x(22, M, K);
  Activations<F> no_x(ConstMatrix(std::vector<float>(M * K).data(), M, K));
  for (const std::vector<float>& y :
       {product(target, w.view, no_x.all(), bias.data()), product(target, no_weights.view, x.all(), bias.data())}) {
    for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], bias[i % N]);
  }
  for (const std::vector<float>& y : {product(target, w.view, no_x.all()), product(target, no_weights.view, x.all())}) {
    for (const float value : y) ASSERT_EQ(value, 0.0f);
  }
}

STILLA_CASE_TEST(MatMul, PowersOfTwoScaleExactly) {
  using F = Second;
  constexpr std::size_t N = 19, K = some_columns<F>, M = 2;
  Weights<F> w(23, N, K);
  const std::vector<float> values = noise_values(24, M * K);
  std::vector<float> scaled = values;
  for (float& x : scaled) x *= -16.0f;
  Activations<F> x(ConstMatrix(values.data(), M, K));
  Activations<F> x_scaled(ConstMatrix(scaled.data(), M, K));
  const std::vector<float> y = product(target, w.view, x.all());
  const std::vector<float> y_scaled = product(target, w.view, x_scaled.all());
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y_scaled[i], -16.0f * y[i]);
}

STILLA_CASE_TEST(MatMul, PermutedRowsPermuteTheResults) {
  using F = Second;
  constexpr std::size_t N = 37, K = some_columns<F>, M = 3;
  Weights<F> w(25, N, K);
  std::vector<std::byte> shuffled(N * row_bytes<F>(K));
  const auto source = [](std::size_t n) { return (n * 10 + 3) % N; };  // 10 and 37 have no common factor
  for (std::size_t n = 0; n < N; ++n) std::memcpy(shuffled.data() + n * row_bytes<F>(K), w.row(source(n)), row_bytes<F>(K));
  Weights<F> permuted(std::move(shuffled), N, K);
  Activations<F> x(26, M, K);
  const std::vector<float> y = product(target, w.view, x.all());
  const std::vector<float> y_permuted = product(target, permuted.view, x.all());
  for (std::size_t m = 0; m < M; ++m) {
    for (std::size_t n = 0; n < N; ++n) ASSERT_TRUE(same_bits(y_permuted[m * N + n], y[m * N + source(n)]));
  }
}

// If x is 1 at column k and 0 elsewhere, the product is column k of the weights. It must equal what decode_row() gives, except
// for the sign of a zero.
STILLA_CASE_TEST(MatMul, OneHotActivationsReadOutTheWeights) {
  using F = Second;
  constexpr std::size_t N = 17, K = some_columns<F>;
  Weights<F> w(27, N, K);
  std::vector<float> decoded(N * K);
  for (std::size_t n = 0; n < N; ++n) decode_row<F>(w.row(n), decoded.data() + n * K, K);
  for (std::size_t k = 0; k < K; ++k) {
    Activations<F> x(ConstMatrix(std::vector<float>(K).data(), 1, K));
    x.floats.data()[k] = 1.0f;
    if constexpr (QuantisedFormat<F>) {
      x.values.data()[k] = 1;
      x.scales.data()[k / 32] = 1.0f;
      x.sums.data()[k / 32 * 2] = k % 32 < 16 ? 1 : 0;
      x.sums.data()[k / 32 * 2 + 1] = 1;
      x.scaled_sums.data()[k / 32] = 1.0f;
      if (k / 256 < K / 256) x.set_rounded_sums(0, k / 256, stilla::detail::round_sums(x.scaled_sums.data() + k / 256 * 8));
    }
    const std::vector<float> y = product(target, w.view, x.all());
    for (std::size_t n = 0; n < N; ++n) ASSERT_EQ(y[n], decoded[n * K + k]) << "row " << n << " column " << k;
  }
}

// The caller passes float activations: if the weights are quantised, matmul() rounds the activations in the caller's buffer.
STILLA_CASE_TEST(MatMul, FloatsAreRoundedOnTheWay) {
  using F = Second;
  constexpr std::size_t N = 51;
  // All calls of matmul() round their activations in the same buffer. What an earlier call left in it must not matter.
  ActivationBuffer rounded;
  for (const std::size_t M : {5u, 35u}) {
    for (const std::size_t K : {2 * some_columns<F>, some_columns<F>, 3 * some_columns<F> / 2}) {
      if (K % F::block_weights != 0 || (QuantisedFormat<F> && K % 32 != 0)) continue;
      Weights<F> w(28, N, K);
      Activations<F> x(29, M, K);
      const std::vector<float> expected = product(Scalar::id, w.view, x.all());
      const OnTarget on(target);
      std::vector<float> y(M * N);
      ASSERT_TRUE(matmul(Matrix(y.data(), M, N), w.view, ConstMatrix(x.floats.data(), M, K), rounded));
      EXPECT_TRUE(same_bits(y, expected)) << M << ' ' << K;
      EXPECT_EQ(rounded.rows(), QuantisedFormat<F> ? M : 0);
    }
  }
  EXPECT_EQ(takes_float_activations(id_of<F>), !QuantisedFormat<F>);
}

STILLA_CASE_TEST(MatMul, NoColumnsIsABiasAndNoRowsNothing) {
  using F = Second;
  const std::vector<float> bias = noise_values(30, 3);
  const PackedView empty{id_of<F>, 3, 0, nullptr};
  Activations<F> x(ConstMatrix(nullptr, 2, 0));
  EXPECT_TRUE(
      same_bits(product(target, empty, x.all(), bias.data()), std::vector<float>{bias[0], bias[1], bias[2], bias[0], bias[1], bias[2]}));
  Activations<F> many(ConstMatrix(nullptr, 33, 0));
  for (const float y : product(target, PackedView{id_of<F>, 64, 0, nullptr}, many.all())) ASSERT_EQ(y, 0.0f);
  Activations<F> some(31, 2, some_columns<F>);
  EXPECT_TRUE(product(target, PackedView{id_of<F>, 0, some_columns<F>, nullptr}, some.all()).empty());
}

}  // namespace
