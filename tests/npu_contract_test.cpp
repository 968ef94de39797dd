// SPDX-License-Identifier: Apache-2.0
//
// Compares the scalar specification of the NPU contract (contract/npu.hpp) with real arithmetic in double, also for extreme
// values. (tests/hexagon_test.cpp compares kernels with the specification.)
#include <stilla/contract/npu.hpp>
#include <stilla/contract/npu_activations.hpp>
#include <stilla/contract/npu_fixed_point.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

std::int16_t any_int16(std::uint32_t seed, std::size_t i) { return static_cast<std::int16_t>(noise_bits(seed, i) >> 16); }
std::vector<std::int16_t> int16_values(std::uint32_t seed, std::size_t n, int bits = 16) {
  std::vector<std::int16_t> v(n);
  for (std::size_t i = 0; i < n; ++i) v[i] = static_cast<std::int16_t>(any_int16(seed, i) >> (16 - bits));
  return v;
}

struct SomeWeights {
  SomeWeights(std::uint32_t seed, std::size_t N, std::size_t K, std::size_t block)
      : codes(N * K), block_scales(block == 0 ? 0 : N * K / block), scales(noise_values(seed + 2, N, 0.01f)) {
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = noise_bits(seed, i) >> 28 & 15u;
    for (std::size_t i = 0; i < block_scales.size(); ++i) {
      block_scales[i] = static_cast<std::uint8_t>(1 + noise_bits(seed + 1, i) % 15u);
    }
    view = {codes.data(), block_scales.data(), scales.data(), K, block};
  }
  std::vector<std::uint8_t> codes, block_scales;
  std::vector<float> scales;
  npu::ArrayWeights view;
};

template <class A>
void expect_products_of_doubles() {
  constexpr std::size_t N = 5, K = 384, M = 2;
  for (const std::size_t block : {0u, 32u, 64u, 128u}) {
    const SomeWeights w(11, N, K, block);
    const std::vector<float> x = noise_values(12, M * K, 3.0f), bias = noise_values(13, N);
    std::vector<A> a(M * K);
    std::vector<float> token_scales(M), y(M * N);
    for (std::size_t m = 0; m < M; ++m) token_scales[m] = npu::quantise_token(a.data() + m * K, x.data() + m * K, K);
    npu::scalar::matmul(y.data(), w.view, N, K, a.data(), token_scales.data(), M, bias.data());
    double error = 0.0, power = 0.0;
    for (std::size_t m = 0; m < M; ++m) {
      for (std::size_t n = 0; n < N; ++n) {
        double rounded = 0.0, exact = 0.0;
        for (std::size_t k = 0; k < K; ++k) {
          const double weight = double{w.scales[n]} * w.view.block_scale(n, k) * (w.view.code(n, k) - 8);
          rounded += weight * token_scales[m] * a[m * K + k];
          exact += weight * x[m * K + k];
        }
        // An output of the specification is rounded at three places: the total of integers, the product of the scales, and the
        // sum with the bias.
        EXPECT_NEAR(y[m * N + n], rounded + bias[n], 3 * unit_roundoff * (std::fabs(rounded) + std::fabs(rounded + bias[n])));
        error += (rounded - exact) * (rounded - exact);
        power += exact * exact;
      }
    }
    EXPECT_LT(error, power * (sizeof(A) == 1 ? 1e-4 : 2e-9)) << "block " << block;
    EXPECT_GT(error, 0.0);
  }
}
TEST(NpuMatmul, IsNearDoubles) {
  expect_products_of_doubles<std::int8_t>();
  expect_products_of_doubles<std::int16_t>();
}

TEST(NpuMatmul, PlanesAddUp) {
  for (int a = -32768; a < 32768; ++a) {
    const auto v = static_cast<std::int16_t>(a);
    ASSERT_EQ(256 * npu::high_plane(v) + npu::low_plane(v), a);
  }
}

// With the largest K and extreme weights and activations, the sums are the largest that are possible, and nothing overflows.
TEST(NpuMatmul, LargestSumsFit) {
  constexpr std::size_t K = npu::largest_k;
  const std::vector<std::uint8_t> block_scales(K / 32, 15);
  const float one = 1.0f;
  for (const int code : {0, 15}) {
    const std::vector<std::uint8_t> codes(K, static_cast<std::uint8_t>(code));
    const npu::ArrayWeights w{codes.data(), block_scales.data(), &one, K, 32};
    for (const int a : {-32768, 32767, 255, -1}) {
      const std::vector<std::int16_t> x(K, static_cast<std::int16_t>(a));
      EXPECT_EQ(npu::scalar::total(w, 0, x.data(), K), std::int64_t{code - 8} * 15 * a * std::int64_t{K});
    }
    const std::vector<std::int8_t> x(K, -128);
    EXPECT_EQ(npu::scalar::total(w, 0, x.data(), K), std::int64_t{code - 8} * 15 * -128 * std::int64_t{K});
  }
}

// The integer total of a product is converted to float once. If the two planes of 16-bit activations were converted separately,
// the result would be rounded twice.
TEST(NpuMatmul, TheFloatStepRoundsTheTotalOnce) {
  EXPECT_EQ(npu::scaled((std::int64_t{1} << 36) + (1 << 12) + 1, 1.0f, 1.0f, 0.0f), 0x1.000002p36f);
  EXPECT_EQ(npu::scaled((std::int64_t{1} << 36) + (1 << 12), 1.0f, 1.0f, 0.0f), 0x1p36f);
  EXPECT_EQ(npu::scaled(3, 0x1.000002p0f, 0x1.000002p0f, 0.0f), 3 * 0x1.000004p0f);  // the scales are multiplied with each other first
  EXPECT_EQ(npu::scaled((1 << 12) + 1, 0x1.002p0f, 1.0f, -0x1.003002p12f),
            static_cast<float>(4097.0 * 0x1.002p0 - 0x1.003002p12));  // the bias is added with a fused multiply-add
}

TEST(NpuMatmul, TokensThatAreNoNumbers) {
  std::vector<float> x(32, 1.0f);
  std::vector<std::int16_t> a(32, 7);
  x[3] = HUGE_VALF;
  EXPECT_TRUE(std::isnan(npu::quantise_token(a.data(), x.data(), 32)));
  EXPECT_EQ(a, std::vector<std::int16_t>(32));
  x.assign(32, 1e-31f);
  EXPECT_EQ(npu::quantise_token(a.data(), x.data(), 32), 0.0f);
  EXPECT_EQ(a, std::vector<std::int16_t>(32));
  x.assign(32, -3e38f);
  EXPECT_EQ(npu::quantise_token(a.data(), x.data(), 32), 3e38f / 32767.0f);
  EXPECT_EQ(a, std::vector<std::int16_t>(32, -32767));
}

double clipped(double y) { return std::min(32767.0, std::max(-32768.0, y)); }

TEST(NpuRmsNorm, IsNearDoubles) {
  double worst = 0.0;
  for (const std::size_t n : {64u, 128u, 1536u, 3584u, 5120u, 32768u}) {
    for (const int bits : {4, 9, 12, 16}) {  // the number of bits that the values of a token use
      for (const npu::NormFormat f : {npu::NormFormat{12, 10}, npu::NormFormat{15, 14}, npu::NormFormat{9, 3}}) {
        for (const std::uint64_t epsilon : {std::uint64_t{0}, 3 * std::uint64_t{n}}) {
          const std::vector<std::int16_t> x = int16_values(21, n, bits), weight = int16_values(22, n);
          std::vector<std::int16_t> y(n);
          npu::scalar::rms_norm(y.data(), x.data(), weight.data(), n, epsilon, f);
          double squares = static_cast<double>(epsilon);
          for (const double v : x) squares += v * v;
          for (std::size_t i = 0; i < n; ++i) {
            const double exact =
                clipped(x[i] / std::sqrt(squares / double(n)) * weight[i] * std::ldexp(1.0, f.out_fraction - f.weight_fraction));
            worst = std::max(worst, std::fabs(y[i] - exact) - 0x1p-14 * std::fabs(exact));
          }
        }
      }
    }
  }
  EXPECT_LE(worst, 0.75);
}
TEST(NpuRmsNorm, Extremes) {
  const std::vector<std::int16_t> lowest(64, -32768), zeros(64);
  std::vector<std::int16_t> y(64);
  npu::scalar::rms_norm(y.data(), lowest.data(), lowest.data(), 64, 0, {15, 14});
  EXPECT_EQ(y, std::vector<std::int16_t>(64, 16384));  // -1 * -1 is 1, which is 16384 in Q14
  npu::scalar::rms_norm(y.data(), zeros.data(), lowest.data(), 64, 0, {});
  EXPECT_EQ(y, zeros);
  for (std::uint64_t squares = 1; squares < std::uint64_t{1} << 45; squares = squares * 5 / 3 + 1) {
    for (const std::uint64_t n : {64u, 5120u, 32768u}) {
      const npu::Scaled r = npu::inverse_rms(squares, n);
      EXPECT_TRUE(r.mantissa >= 16384 && r.mantissa <= 32767);
      EXPECT_NEAR(std::ldexp(r.mantissa, -r.exponent) * std::sqrt(double(squares) / double(n)), 1.0, 0x1p-14);
    }
  }
}

TEST(NpuRope, IsNearDoubles) {
  constexpr std::size_t pairs = 64;
  for (std::uint32_t position = 0; position < 2000; position += 37) {
    std::vector<std::int16_t> x = int16_values(position, 2 * pairs), cos(pairs), sin(pairs);
    if (position == 37) std::fill(x.begin(), x.end(), std::int16_t{-32768});
    std::vector<double> angle(pairs);
    for (std::size_t i = 0; i < pairs; ++i) {
      angle[i] = position * std::pow(10000.0, -double(i) / pairs);
      cos[i] = static_cast<std::int16_t>(std::lrint(std::cos(angle[i]) * 16384));
      sin[i] = static_cast<std::int16_t>(std::lrint(std::sin(angle[i]) * 16384));
    }
    const std::vector<std::int16_t> before = x;
    npu::scalar::rope(x.data(), cos.data(), sin.data(), pairs);
    for (std::size_t i = 0; i < pairs; ++i) {
      const double a = before[i], b = before[i + pairs], of_tables = 0x1p-15 * (std::fabs(a) + std::fabs(b));
      ASSERT_NEAR(x[i], clipped(a * std::cos(angle[i]) - b * std::sin(angle[i])), 0.5 + of_tables);
      ASSERT_NEAR(x[i + pairs], clipped(a * std::sin(angle[i]) + b * std::cos(angle[i])), 0.5 + of_tables);
    }
  }
}

TEST(NpuExp, IsNearDoublesEverywhere) {
  for (int fraction = 1; fraction <= npu::largest_score_fraction; ++fraction) {
    double worst = 0.0;
    for (int u = 0; u < 32768; ++u) {
      const int found = npu::scalar::exp_negative(static_cast<std::int16_t>(u), fraction);
      worst = std::max(worst, std::fabs(found - 32768.0 * std::exp(-std::ldexp(u, -fraction))));
    }
    EXPECT_LE(worst, 3.5) << fraction;
  }
}

TEST(NpuSigmoid, IsNearDoublesEverywhere) {
  for (int fraction = 1; fraction <= npu::largest_score_fraction; ++fraction) {
    double worst = 0.0;
    for (int g = -32768; g < 32768; ++g) {
      const int found = npu::scalar::sigmoid(static_cast<std::int16_t>(g), fraction);
      worst = std::max(worst, std::fabs(found - 32768.0 / (1.0 + std::exp(-std::ldexp(g, -fraction)))));
    }
    EXPECT_LE(worst, 3.5) << fraction;
  }
}

TEST(NpuSoftmax, IsNearDoubles) {
  double worst = 0.0;
  for (const std::size_t n : {64u, 256u, 4096u}) {
    for (const int bits : {1, 8, 12, 14, 16}) {
      for (const int fraction : {1, 6, 11}) {
        const std::vector<std::int16_t> x = int16_values(31, n, bits);
        std::vector<std::int16_t> y(n);
        npu::scalar::softmax(y.data(), x.data(), n, fraction);
        const double highest = *std::max_element(x.begin(), x.end());
        double sum = 0.0;
        for (const double v : x) sum += std::exp(std::ldexp(v - highest, -fraction));
        for (std::size_t i = 0; i < n; ++i) {
          const double exact = 32768.0 * std::exp(std::ldexp(x[i] - highest, -fraction)) / sum;
          worst = std::max(worst, std::fabs(y[i] - exact) - 0x1p-14 * exact);
        }
      }
    }
  }
  EXPECT_LE(worst, 4.0);
}
TEST(NpuSoftmax, Extremes) {
  std::vector<std::int16_t> x(64, -32768), y(64);
  npu::scalar::softmax(y.data(), x.data(), 64, 8);
  EXPECT_EQ(y, std::vector<std::int16_t>(64, 512));  // each of 64 equal values gets 1 / 64 of the whole, which is 32768
  x[5] = 32767;
  npu::scalar::softmax(y.data(), x.data(), 64, 8);
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(y[i], i == 5 ? 32767 : 0);
  x.assign(65536, 100);
  y.resize(x.size());
  npu::scalar::softmax(y.data(), x.data(), x.size(), 8);
  EXPECT_EQ(y, std::vector<std::int16_t>(65536, 1));  // each value gets 0.5, which is rounded up
}

TEST(NpuSwiglu, IsNearDoubles) {
  for (const int fraction : {1, 5, 9, 11}) {
    for (const int shift : {0, 4, 11, 15}) {
      std::vector<std::int16_t> gate = int16_values(41, 4096), up = int16_values(42, 4096, shift < 8 ? 5 : 16);
      gate[0] = gate[1] = -32768, gate[2] = gate[3] = 32767, up[0] = up[2] = -32768;
      std::vector<std::int16_t> y(gate.size());
      npu::scalar::swiglu(y.data(), gate.data(), up.data(), y.size(), fraction, shift);
      for (std::size_t i = 0; i < y.size(); ++i) {
        const double g = std::ldexp(gate[i], -fraction), silu = gate[i] / (1.0 + std::exp(-g));
        // SiLU times up is computed as gate * sigmoid(gate) * up, in 16-bit integers. The sigmoid may be off by 3.5 units of Q15 (2^-15),
        // and this error is multiplied by the gate. The rounding of gate times sigmoid adds half a unit in the last place.
        const double allowed = 0.5 + (0.5 + 3.5 * std::fabs(gate[i]) * 0x1p-15) * std::fabs(up[i]) * std::ldexp(1.0, -shift);
        ASSERT_NEAR(y[i], clipped(silu * up[i] * std::ldexp(1.0, -shift)), allowed) << gate[i] << ' ' << up[i];
      }
    }
  }
}

TEST(NpuHadamard, IsNearDoubles) {
  for (const std::size_t n : {64u, 192u, 1536u, 4864u, 8960u, 18944u, 32768u}) {
    for (const int bits : {1, 4, 12, 16}) {
      const std::vector<std::int16_t> x = int16_values(51, n, bits);
      std::vector<double> exact(x.begin(), x.end());
      hadamard_butterflies(exact.data(), n);
      std::vector<std::int16_t> y(n);
      std::vector<std::int32_t> sums(n);
      const int s = npu::scalar::hadamard(y.data(), sums.data(), x.data(), n);
      const double scale = npu::hadamard_scale(0.25f, s, n);
      EXPECT_NEAR(scale, std::ldexp(0.25, s) / std::sqrt(double(hadamard_run(n))), 1e-7 * scale);
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(sums[i], exact[i]) << n;
        ASSERT_LE(std::fabs(y[i] - std::ldexp(exact[i], -s)), 0.5) << n;
      }
      if (s > 0) {  // with a shift, the result uses as many bits as it can
        std::int32_t highest = 0;
        for (const std::int32_t sum : sums) highest = std::max(highest, std::abs(sum));
        EXPECT_GT((std::int64_t{highest} + ((1 << (s - 1)) >> 1)) >> (s - 1), 32767);
      }
    }
  }
}
TEST(NpuHadamard, Extremes) {
  std::vector<std::int16_t> x(32768, -32768), y(32768);
  std::vector<std::int32_t> sums(32768);
  EXPECT_EQ(npu::scalar::hadamard(x.data(), sums.data(), x.data(), x.size()), 16);  // input and output are the same array
  EXPECT_EQ(sums[0], -(1 << 30));
  EXPECT_EQ(x[0], -16384);
  EXPECT_TRUE(std::all_of(x.begin() + 1, x.end(), [](int v) { return v == 0; }));
  x.assign(64, 0);
  x[5] = 32767;  // the result fits without a shift
  EXPECT_EQ(npu::scalar::hadamard(y.data(), sums.data(), x.data(), 64), 0);
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(y[i], (i & 5) == 0 || (i & 5) == 5 ? 32767 : -32767);
  x[5] = -32768;  // the result does not fit without a shift
  EXPECT_EQ(npu::scalar::hadamard(y.data(), sums.data(), x.data(), 64), 1);
  x.assign(64, 0);
  EXPECT_EQ(npu::scalar::hadamard(y.data(), sums.data(), x.data(), 64), 0);
  EXPECT_EQ(std::vector<std::int16_t>(y.begin(), y.begin() + 64), x);
}

}  // namespace
