// SPDX-License-Identifier: Apache-2.0
//
// Tests of silu_mul(), which multiplies SiLU of a row "gate" by a row "up", and of add_inplace(), the residual
// sum. The target scalar is compared with PyTorch, and every target with scalar.
#include <stilla/silu_mul.hpp>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

enum class Out { apart, over_gate, over_up };

template <class T>
std::vector<float> silu(std::span<const float> gate, std::span<const float> up, Out where = Out::apart) {
  GuardedArray<float> g(gate);
  GuardedArray<float> u(up);
  GuardedArray<float> output(gate.size());
  float* out = where == Out::apart ? output.data() : where == Out::over_gate ? g.data() : u.data();
  stilla::detail::row_kernel<SiluMul>(T::id)(out, g.data(), u.data(), gate.size());
  return {out, out + gate.size()};
}

TEST(SiluMulGolden, ScalarIsCloseToPyTorch) {
  for_each_golden("silu_mul", [&](const std::vector<std::string>& parameters, std::span<const double> expected) {
    const std::size_t n = std::stoul(parameters[0]);
    const std::vector<float> y = silu<Scalar>(noise_values(24, n, 32.0f), noise_values(25, n));
    // The product of SiLU, x / (1 + e^-x), and up has a relative error of at most 5 u, where u is half a unit in the last place (ulp):
    // exp is off by 1 ulp, which is 2 u, and the sum 1 + e^-x, the quotient and the product with up are rounded by one u each.
    for (std::size_t i = 0; i < n; ++i) {
      EXPECT_LE(std::fabs(double{y[i]} - expected[i]), 5.01 * unit_roundoff * std::fabs(expected[i])) << i;
    }
  });
}

template <class T>
class SiluMulOn : public TargetTest<T> {};
TYPED_TEST_SUITE(SiluMulOn, TargetTypes, TargetNames);

TYPED_TEST(SiluMulOn, EqualsScalarForEveryLength) {
  for (const std::size_t n : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 15u, 16u, 17u, 23u, 24u, 31u, 32u, 33u, 40u, 64u, 896u, 1000u}) {
    for (const float scale : {1.0f, 100.0f, 1e-30f}) {
      const std::vector<float> gate = noise_values(1, n, scale);
      const std::vector<float> up = noise_values(2, n);
      const std::vector<float> expected = silu<Scalar>(gate, up);
      for (const Out where : {Out::apart, Out::over_gate, Out::over_up}) {
        ASSERT_TRUE(same_bits(silu<TypeParam>(gate, up, where), expected)) << "n " << n << " scale " << scale;
      }
    }
  }
}

TYPED_TEST(SiluMulOn, EqualsScalarOnSpecialValues) {
  const std::vector<float> special = special_values();
  for (const float up : special) {
    const std::vector<float> ups(special.size(), up);
    ASSERT_TRUE(same_bits(silu<TypeParam>(special, ups), silu<Scalar>(special, ups))) << up;
  }
}

// The row "gate" has floats of every magnitude. The row "up" is all 1, so the results are SiLU alone. So the test compares a
// target's vector form of exp with the form of the target `scalar`.
TYPED_TEST(SiluMulOn, EqualsScalarOnFloatsOfEveryMagnitude) {
  std::vector<float> gate;
  for (std::uint64_t bits = 0; bits < 0x100000000u; bits += 65521) gate.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  const std::vector<float> ones(gate.size(), 1.0f);
  EXPECT_TRUE(same_bits(silu<TypeParam>(gate, ones), silu<Scalar>(gate, ones)));
}

TYPED_TEST(SiluMulOn, RowsOfAMatrix) {
  using T = TypeParam;
  const OnTarget on(T::id);
  constexpr std::size_t M = 9, n = 37, stride = 41;
  const std::vector<float> gate = noise_values(3, M * stride, 5.0f);
  const std::vector<float> up = noise_values(4, M * n);
  ThreadPool pool(3);
  for (const bool threads : {false, true}) {
    std::vector<float> y(M * n);
    EXPECT_TRUE(silu_mul(Matrix(y.data(), M, n), ConstMatrix(gate.data(), M, n, stride), ConstMatrix(up.data(), M, n),
                         threads ? Parallel(pool) : Parallel()));
    for (std::size_t m = 0; m < M; ++m) {
      EXPECT_TRUE(
          same_bits(std::span(y).subspan(m * n, n), silu<Scalar>(std::span(gate).subspan(m * stride, n), std::span(up).subspan(m * n, n))));
    }
  }
}

TEST(AddInplace, AddsRowsAndLeavesPaddingAlone) {
  constexpr std::size_t M = 5, n = 19, stride = 23;
  const std::vector<float> before = noise_values(5, M * stride);
  const std::vector<float> x = noise_values(6, M * n);
  ThreadPool pool(3);
  for (const bool threads : {false, true}) {
    std::vector<float> y = before;
    EXPECT_TRUE(add_inplace(Matrix(y.data(), M, n, stride), ConstMatrix(x.data(), M, n), threads ? Parallel(pool) : Parallel()));
    for (std::size_t i = 0; i < y.size(); ++i) {
      const std::size_t m = i / stride, c = i % stride;
      EXPECT_EQ(y[i], c < n ? before[i] + x[m * n + c] : before[i]);
    }
  }
}

}  // namespace
