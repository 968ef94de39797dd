// SPDX-License-Identifier: Apache-2.0
//
// Compares the library's own exp, sine, cosine and power with those of the C library in double, and tests the canonical
// sum (the one order in which all targets add many floats). With STILLA_EXHAUSTIVE=1 in the environment, exp is tested for
// every float (a minute or two).
#include <stilla/base/math.hpp>

#include <cstdlib>
#include <numeric>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

// Returns the error of `found` in units of the last place that a float of the expected size has.
double ulps(float found, double expected) {
  int exponent = 0;
  std::frexp(expected, &exponent);
  return std::fabs(double{found} - expected) / std::ldexp(1.0, exponent - 24);
}

double worst_exp_error(std::uint32_t first_bits, std::uint32_t last_bits, std::uint32_t step) {
  double worst = 0;
  for (std::uint64_t bits = first_bits; bits <= last_bits; bits += step) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    worst = std::fmax(worst, ulps(exp_approximate(x), std::exp(double{x})));
  }
  return worst;
}

TEST(Exp, ErrorIsAtMostOneUlp) {
  const bool every = std::getenv("STILLA_EXHAUSTIVE") != nullptr;
  const std::uint32_t step = every ? 1 : 499;
  const double above = worst_exp_error(0, std::bit_cast<std::uint32_t>(88.0f), step);
  const double below = worst_exp_error(0x80000000u, std::bit_cast<std::uint32_t>(-87.0f), step);
  std::printf("exp_approximate, %s: worst error %.4f ulp on [0, 88], %.4f ulp on [-87, 0]\n", every ? "every float" : "one float in 499",
              above, below);
  EXPECT_LE(above, 1.0);
  EXPECT_LE(below, 1.0);
}

TEST(Exp, EndsOfItsRange) {
  EXPECT_EQ(exp_approximate(0.0f), 1.0f);
  EXPECT_EQ(exp_approximate(-0.0f), 1.0f);
  EXPECT_EQ(exp_approximate(std::nextafter(-87.0f, -100.0f)), 0.0f);
  EXPECT_GT(exp_approximate(-87.0f), 0.0f);
  EXPECT_EQ(exp_approximate(-HUGE_VALF), 0.0f);
  EXPECT_EQ(exp_approximate(HUGE_VALF), exp_approximate(88.0f));
  EXPECT_TRUE(std::isfinite(exp_approximate(88.0f)));
  EXPECT_TRUE(std::isfinite(exp_approximate(std::nanf(""))));
}

// For softmax, exp of a number that is not positive must never exceed 1, so that no weight is above 1.
TEST(Exp, OfNegativeNumbersIsAtMostOne) {
  for (std::uint64_t bits = 0x80000000u; bits <= 0xff800000u; bits += 997) {
    const float e = exp_approximate(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    ASSERT_TRUE(e >= 0.0f && e <= 1.0f) << bits;
  }
}

TEST(RoundProduct, RoundsOnceToTheNearestTiesToEven) {
  EXPECT_EQ(detail::round_product(0.5f, 1.0f), 0);
  EXPECT_EQ(detail::round_product(1.5f, 1.0f), 2);
  EXPECT_EQ(detail::round_product(2.5f, 1.0f), 2);
  EXPECT_EQ(detail::round_product(-2.5f, 1.0f), -2);
  EXPECT_EQ(detail::round_product(-0.0f, 1.0f), 0);
  for (std::size_t i = 0; i < 200000; ++i) {
    const float a = noise(1, i) * 300.0f, b = noise(2, i);
    ASSERT_EQ(detail::round_product(a, b), static_cast<std::int32_t>(std::nearbyint(double{a} * double{b}))) << i;
  }
}

TEST(SinCos, AbsoluteErrorBelow2e16) {
  double worst = 0;
  const auto check = [&](double angle) {
    const SinCos found = sin_cos(angle);
    worst = std::fmax(worst, std::fabs(found.sin - std::sin(angle)));
    worst = std::fmax(worst, std::fabs(found.cos - std::cos(angle)));
  };
  for (std::size_t i = 0; i < 300000; ++i) {
    const double uniform = noise_bits(3, i) * 0x1p-32 + noise_bits(4, i) * 0x1p-64;
    check(uniform * 0x1p20);
    check(uniform * 8);
    check(uniform * 1e-5);
  }
  // Tests multiples of pi / 2 up to 2^20: there most digits of the argument cancel when the multiple of pi / 2 is
  // subtracted.
  for (int n = 0; n <= 667544; n += 37) {
    check(n * 1.5707963267948966);
    check(std::nextafter(n * 1.5707963267948966, 1e9));
  }
  check(0.0);
  check(0x1p20);
  std::printf("sin_cos: worst difference from the C library %.3g\n", worst);
  EXPECT_LE(worst, 2e-16 + 0x1p-54);  // the second term is half an ulp, the C library's own error
  EXPECT_EQ(sin_cos(0.0).sin, 0.0);
  EXPECT_EQ(sin_cos(0.0).cos, 1.0);
}

TEST(Power, RelativeErrorIsBounded) {
  double worst = 0;
  for (const double base : {1.0, 2.0, 10.0, 1e4, 5e5, 1e6, 1e7, 1e30, 1.4142135623730951, 1.41421356237309, 0.001}) {
    for (int i = 0; i < 512; ++i) {
      const double exponent = -2.0 * i / 512.0;
      const double expected = std::pow(base, exponent);
      worst = std::fmax(worst, std::fabs(power(base, exponent) - expected) / expected / (1 + std::fabs(std::log(expected))));
    }
    EXPECT_EQ(power(base, 0.0), 1.0);
  }
  std::printf("power: worst relative difference from the C library %.3g times (1 + |ln of the result|)\n", worst);
  EXPECT_LE(worst, 2e-16 + 0x1p-53);  // the second term is an ulp, the C library's own error
}

TEST(FoldLanes, IsTheTreeOfHalves) {
  float lanes[sum_lanes];
  for (std::size_t l = 0; l < sum_lanes; ++l) lanes[l] = noise(5, l);
  const auto l = [copy = std::vector<float>(lanes, lanes + sum_lanes)](std::size_t i) { return copy[i]; };
  const auto eight = [&](std::size_t i) { return l(i) + l(i + 8); };
  const auto four = [&](std::size_t i) { return eight(i) + eight(i + 4); };
  const auto two = [&](std::size_t i) { return four(i) + four(i + 2); };
  EXPECT_EQ(detail::fold_lanes(lanes), two(0) + two(1));
}

TEST(Logarithm, IsCloseToTheLibrarys) {
  double worst = 0.0;
  for (std::uint32_t i = 0; i < 200000; ++i) {
    const double x = std::ldexp(1.0 + noise_bits(3, i) * 0x1p-32, static_cast<int>(noise_bits(4, i) % 200) - 100);
    const double expected = std::log(x);
    if (expected != 0.0) worst = std::max(worst, std::fabs(log_approximate(x) - expected) / std::fabs(expected));
  }
  std::printf("log_approximate: relative error %.2e\n", worst);
  EXPECT_LT(worst, 1e-15);
  EXPECT_EQ(log_approximate(1.0), 0.0);
  EXPECT_EQ(log_approximate(2.0), 0x1.62e42fefa39efp-1);
  EXPECT_NEAR(log_approximate(1.0 - 0x1p-40), -0x1p-40, 1e-24);
}

}  // namespace
