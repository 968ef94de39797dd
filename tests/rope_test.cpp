// SPDX-License-Identifier: Apache-2.0
//
// Tests of RoPE: tables of cosines and sines are compared with mpmath, the target scalar with PyTorch, and every target with
// scalar. Properties of rotations are tested too.
#include <stilla/rope.hpp>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

struct Table {
  std::vector<float> cos;
  std::vector<float> sin;
};

Table table(const RopeFrequencies& frequencies, std::size_t position) {
  Table t{std::vector<float>(frequencies.pairs()), std::vector<float>(frequencies.pairs())};
  frequencies.table_row(t.cos.data(), t.sin.data(), position);
  return t;
}

// Rotates one head of head_dim values. The head, the cosines and the sines end at guard pages.
template <class T>
std::vector<float> rotated(std::span<const float> x, const Table& t, bool half_split) {
  GuardedArray<float> head(x);
  GuardedArray<float> cos{std::span<const float>(t.cos)};
  GuardedArray<float> sin{std::span<const float>(t.sin)};
  stilla::detail::row_kernel<Rope>(T::id)(head.data(), cos.data(), sin.data(), t.cos.size(), half_split);
  return {head.data(), head.data() + x.size()};
}

TEST(RopeTable, IsRightToTheLastBit) {
  double worst = 0;
  for_each_golden("rope_table", [&](const std::vector<std::string>& parameters, std::span<const double> expected) {
    const std::size_t dim = std::stoul(parameters[1]);
    const Table t = table(RopeFrequencies(std::stod(parameters[0]), dim), std::stoul(parameters[2]));
    for (std::size_t i = 0; i < dim / 2; ++i) {
      for (const auto& [found, value] : {std::pair(t.cos[i], expected[i]), std::pair(t.sin[i], expected[dim / 2 + i])}) {
        const double error = std::fabs(double{found} - value);
        worst = std::fmax(worst, error);
        // The bound is half an ulp (unit in the last place) of a float below 1, plus the error of the angle. The angle is at most
        // 131071 e^-a: 131071 is the largest position, and a is the logarithm of the frequency's inverse. The relative error of
        // e^-a is 2e-16 (1 + a). Since (1 + a) e^-a is at most 1, the absolute error of e^-a is at most 2e-16. The product with
        // the position has such an error too. So the error of the angle is at most 131071 * 4e-16.
        ASSERT_LE(error, 0x1p-25 + 131071 * 4e-16) << i;
      }
    }
  });
  std::printf("rope tables: worst error %.3g, half an ulp is %.3g\n", worst, 0x1p-25);
}

TEST(RopeTable, FactorsDivideTheAngle) {
  const std::vector<float> factors{1.0f, 2.0f, 8.0f, 32.0f};
  const Table plain = table(RopeFrequencies(1e4, 8), 64);
  const Table scaled = table(RopeFrequencies(1e4, 8, factors.data()), 64);
  EXPECT_TRUE(same_bits(scaled.cos[0], plain.cos[0]));
  // A division by a power of two is exact. So for a pair with the rope factor f, position 64 has the same angle as position 64 /
  // f without a factor.
  for (std::size_t i = 1; i < 4; ++i) {
    const Table earlier = table(RopeFrequencies(1e4, 8), static_cast<std::size_t>(64.0f / factors[i]));
    EXPECT_TRUE(same_bits(scaled.cos[i], earlier.cos[i]));
    EXPECT_TRUE(same_bits(scaled.sin[i], earlier.sin[i]));
  }
}

// Compares the frequencies, which are the angles by which each pair rotates from one position to the next, with those that
// transformers computed in float32.
TEST(RopeScaling, IsTransformers) {
  for_each_golden("rope_scaling", [&](const std::vector<std::string>& parameters, std::span<const double> expected) {
    RopeScaling scaling;
    scaling.type = parameters[0] == "yarn" ? RopeScaling::Type::yarn : RopeScaling::Type::linear;
    scaling.factor = std::stod(parameters[2]);
    scaling.original_context = std::stod(parameters[3]);
    const RopeFrequencies frequencies(std::stod(parameters[1]), 128, nullptr, scaling);
    ASSERT_EQ(expected.size(), 65u);
    for (std::size_t i = 0; i < 64; ++i) ASSERT_NEAR(frequencies.radians(i) / expected[i], 1.0, 1e-6) << i;
    EXPECT_NEAR(frequencies.magnitude(), expected[64], 1e-7);
    const Table t = table(frequencies, 1000);
    for (std::size_t i = 0; i < 64; ++i) {
      EXPECT_NEAR(t.cos[i], std::cos(1000 * frequencies.radians(i)) * frequencies.magnitude(), 2e-7);
      EXPECT_NEAR(t.sin[i], std::sin(1000 * frequencies.radians(i)) * frequencies.magnitude(), 2e-7);
    }
  });
}

TEST(RopeGolden, ScalarIsCloseToPyTorch) {
  for_each_golden("rope", [&](const std::vector<std::string>& parameters, std::span<const double> expected) {
    const std::size_t head_dim = std::stoul(parameters[1]), rotary_dim = std::stoul(parameters[2]);
    const bool half_split = parameters[0] == "half_split";
    const Table t = table(RopeFrequencies(1e4, rotary_dim), std::stoul(parameters[3]));
    const std::vector<float> x = noise_values(31, 2 * head_dim);
    for (std::size_t h = 0; h < 2; ++h) {
      const std::vector<float> y = rotated<Scalar>(std::span(x).subspan(h * head_dim, head_dim), t, half_split);
      for (std::size_t i = 0; i < head_dim; ++i) {
        // RoPE makes each value of a rotated pair from two products and their sum. Before the rotation, both values of the pair
        // are at most 1 in magnitude. Cosine and sine are off by half an ulp each (u is half an ulp of 1; the error is u / 2).
        // Each product and the sum are rounded once, by u times their size, which is at most 1 for a product and at most sqrt 2
        // for the sum. The last term of the bound is the error of the cosine and sine that comes from the error of the angle.
        ASSERT_LE(std::fabs(double{y[i]} - expected[h * head_dim + i]), 4 * unit_roundoff + 131071 * 8e-16) << i;
      }
    }
  });
}

template <class T>
class RopeOn : public TargetTest<T> {};
TYPED_TEST_SUITE(RopeOn, TargetTypes, TargetNames);

TYPED_TEST(RopeOn, EqualsScalarForEveryNumberOfPairs) {
  for (std::size_t pairs = 1; pairs <= 130; pairs += pairs < 40 ? 1 : 15) {
    const RopeFrequencies frequencies(1e6, 2 * pairs);
    for (const std::size_t position : {0u, 1u, 77u, 131071u}) {
      const Table t = table(frequencies, position);
      for (const std::size_t rest : {0u, 5u}) {  // the number of dimensions that are not rotated
        const std::vector<float> x = noise_values(1, 2 * pairs + rest, 100.0f);
        for (const bool half_split : {true, false}) {
          const std::vector<float> y = rotated<TypeParam>(x, t, half_split);
          ASSERT_TRUE(same_bits(y, rotated<Scalar>(x, t, half_split))) << pairs << " pairs at " << position;
          for (std::size_t i = 2 * pairs; i < x.size(); ++i) ASSERT_EQ(y[i], x[i]);
          if (position == 0) {
            ASSERT_EQ(y, x);
          }
        }
      }
    }
  }
}

TYPED_TEST(RopeOn, EqualsScalarOnSpecialValues) {
  const std::vector<float> special = special_values();
  const Table t = table(RopeFrequencies(1e4, 2 * special.size()), 3);
  for (const bool half_split : {true, false}) {
    std::vector<float> x = special;
    const std::vector<float> other = noise_values(2, special.size());
    x.insert(x.end(), other.begin(), other.end());
    ASSERT_TRUE(same_bits(rotated<TypeParam>(x, t, half_split), rotated<Scalar>(x, t, half_split)));
  }
}

TYPED_TEST(RopeOn, BothLayoutsTurnTheSamePairs) {
  constexpr std::size_t pairs = 32;
  const Table t = table(RopeFrequencies(1e4, 2 * pairs), 1234);
  const std::vector<float> halves = noise_values(3, 2 * pairs);
  std::vector<float> interleaved(2 * pairs);
  for (std::size_t i = 0; i < pairs; ++i) {
    interleaved[2 * i] = halves[i];
    interleaved[2 * i + 1] = halves[i + pairs];
  }
  const std::vector<float> a = rotated<TypeParam>(halves, t, true);
  const std::vector<float> b = rotated<TypeParam>(interleaved, t, false);
  for (std::size_t i = 0; i < pairs; ++i) {
    EXPECT_TRUE(same_bits(a[i], b[2 * i]));
    EXPECT_TRUE(same_bits(a[i + pairs], b[2 * i + 1]));
  }
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

// A rotation keeps the norm of a vector. The dot product of a query q, rotated for position m, and a key k, rotated for position
// n, depends only on m - n.
TYPED_TEST(RopeOn, KeepsNormsAndDependsOnDistance) {
  constexpr std::size_t dim = 128;
  const RopeFrequencies frequencies(1e6, dim);
  const std::vector<float> q = noise_values(4, dim);
  const std::vector<float> k = noise_values(5, dim);
  const double size = std::sqrt(dot(q, q) * dot(k, k));
  const auto at = [&](std::span<const float> x, std::size_t position) { return rotated<TypeParam>(x, table(frequencies, position), true); };
  // The error of a rotated pair is at most 4 u times the pair's length, where u is half an ulp of 1 (the tests RopeGolden derive
  // this bound for values up to 1). So the error of a product of two rotated vectors is at most twice as large, and that of a
  // difference of two products four times as large.
  const double bound = 16 * unit_roundoff * std::sqrt(2.0) * size;
  for (const std::size_t position : {1u, 100u, 32768u, 131071u}) {
    const std::vector<float> turned = at(q, position);
    EXPECT_NEAR(dot(turned, turned), dot(q, q), bound * dot(q, q) / size) << position;
  }
  for (const std::size_t distance : {0u, 1u, 63u, 4096u}) {
    const double unshifted = dot(at(q, distance), at(k, 0));
    for (const std::size_t shift : {1u, 1000u, 126975u}) {
      EXPECT_NEAR(dot(at(q, shift + distance), at(k, shift)), unshifted, bound) << distance << " at " << shift;
    }
  }
}

TYPED_TEST(RopeOn, HeadsAndRowsOfAMatrix) {
  using T = TypeParam;
  const OnTarget on(T::id);
  constexpr std::size_t M = 7, heads = 3, head_dim = 48, pairs = 16, cols = heads * head_dim, stride = cols + 2;
  const RopeFrequencies frequencies(1e4, 2 * pairs);
  std::vector<float> cos(M * pairs), sin(M * pairs);
  for (std::size_t m = 0; m < M; ++m) frequencies.table_row(cos.data() + m * pairs, sin.data() + m * pairs, 40 + m);
  const std::vector<float> before = noise_values(6, M * stride);
  ThreadPool pool(3);
  for (const RopeLayout layout : {RopeLayout::half_split, RopeLayout::interleaved}) {
    std::vector<float> expected = before;
    for (std::size_t m = 0; m < M; ++m) {
      for (std::size_t h = 0; h < heads; ++h) {
        float* head = expected.data() + m * stride + h * head_dim;
        const std::vector<float> y = rotated<Scalar>({head, head_dim}, table(frequencies, 40 + m), layout == RopeLayout::half_split);
        std::copy(y.begin(), y.end(), head);
      }
    }
    for (const bool threads : {false, true}) {
      std::vector<float> x = before;
      EXPECT_TRUE(rope(Matrix(x.data(), M, cols, stride), head_dim, ConstMatrix(cos.data(), M, pairs), ConstMatrix(sin.data(), M, pairs),
                       layout, threads ? Parallel(pool) : Parallel()));
      EXPECT_TRUE(same_bits(x, expected));
    }
  }
}

}  // namespace
