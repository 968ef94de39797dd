// SPDX-License-Identifier: Apache-2.0
//
// Tests of mixed activations: some rows are rounded to 16 bits (wide rows) and all others to 8 bits. The rule that chooses the
// wide rows is compared with its definition. Every row of a product must have the same bits as if this row alone were multiplied
// with 8 or with 16 bits. This is tested for every number of tokens and every place of the wide rows, on every target, with
// threads, and for parts of a batch.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>

#include <stilla/fused.hpp>
#include <stilla/head.hpp>
#include <stilla/matmul.hpp>

#include "matmul_data.hpp"

namespace {

using namespace stilla_test;

// Returns what the rule for wide rows says, computed in doubles: a row is wide if the square of its largest scale is more than half
// the sum of the squares of all scales. Blocks that are all zeros do not count.
bool definition(std::span<const std::int8_t> values, std::span<const float> scales) {
  double highest = 0, sum = 0;
  for (std::size_t b = 0; b < scales.size(); ++b) {
    const auto block = values.subspan(b * activation_block, activation_block);
    if (scales[b] == 1.0f && std::all_of(block.begin(), block.end(), [](std::int8_t v) { return v == 0; })) continue;
    const double square = double{scales[b]} * double{scales[b]};
    highest = std::max(highest, square);
    sum += square;
  }
  return 2 * highest > sum;
}

bool is_wide(std::span<const std::int8_t> values, std::span<const float> scales) {
  return is_wide_row(values.data(), scales.data(), scales.size());
}

TEST(RowRule, IsTheShareOfTheLargestBlock) {
  std::size_t wide = 0;
  constexpr std::size_t rows = 2000;
  for (std::uint32_t seed = 0; seed < rows; ++seed) {
    const std::size_t blocks = 1 + noise_bits(1, seed) % 60;
    std::vector<float> scales(blocks);
    for (std::size_t b = 0; b < blocks; ++b) {
      scales[b] = std::ldexp(1.0f, static_cast<int>(noise_bits(seed + 2, b) % 5) - 3 - static_cast<int>(seed % 40));
    }
    scales[seed % blocks] *= std::ldexp(1.0f, static_cast<int>(seed % 7));
    std::vector<std::int8_t> values(blocks * activation_block, std::int8_t{1});
    if (seed % 3 == 0) {  // makes the first block of the row all zeros
      std::fill_n(values.begin(), activation_block, std::int8_t{0});
      scales[0] = 1.0f;
    }
    EXPECT_EQ(is_wide(values, scales), definition(values, scales)) << "seed " << seed;
    if (is_wide(values, scales)) ++wide;
  }
  EXPECT_GT(wide, rows / 10);
  EXPECT_LT(wide, rows * 9 / 10);
}

TEST(RowRule, AtTheThresholdAndAtTheEnds) {
  const auto row = [](std::vector<float> scales) {
    const std::vector<std::int8_t> values(scales.size() * activation_block, 5);
    return is_wide(values, scales);
  };
  EXPECT_FALSE(row({1.0f, 1.0f})) << "exactly a half";
  EXPECT_FALSE(row({0.5f, 0.5f, 0.5f, 0.5f, 1.0f}));
  EXPECT_TRUE(row({0.5f, 0.5f, 0.5f, 1.0f}));
  EXPECT_TRUE(row({4.0f}));
  EXPECT_TRUE(row({0x1p-67f, 0x1p53f}));
  EXPECT_TRUE(row({0x1p53f, 0x1p-67f}));
  EXPECT_FALSE(row({}));
  EXPECT_TRUE(row({1.0f, std::numeric_limits<float>::quiet_NaN(), 2.0f}));
  const std::vector<std::int8_t> zeros(4 * activation_block);
  EXPECT_FALSE(is_wide(zeros, std::vector<float>(4, 1.0f))) << "nothing but zeros";
}

// Returns noise with one large value in each row that is_wide_at(row) names. These rows become wide.
template <class IsWide>
std::vector<float> spiky(std::uint32_t seed, std::size_t M, std::size_t K, IsWide&& is_wide_at) {
  std::vector<float> x = noise_values(seed, M * K);
  for (std::size_t m = 0; m < M; ++m) {
    if (is_wide_at(m)) x[m * K + noise_bits(seed, m) % K] = 1000.0f;
  }
  return x;
}

// Patterns that say which rows of a test are wide.
struct Pattern {
  const char* name;
  bool (*is_wide)(std::size_t m);
};
constexpr Pattern patterns[] = {{"none", [](std::size_t) { return false; }},
                                {"all", [](std::size_t) { return true; }},
                                {"the first", [](std::size_t m) { return m == 0; }},
                                {"some", [](std::size_t m) { return m % 5 == 3 || m % 7 == 6 || m == 32; }},
                                {"all but some", [](std::size_t m) { return m % 6 != 2; }}};

template <class F>
void for_each_pattern(F&& f) {
  for_each_available_target([&](TargetId target) {
    const OnTarget on(target);
    for (const Pattern& pattern : patterns) {
      for (const std::size_t M : {1u, 3u, 41u}) {
        SCOPED_TRACE(std::string(target.name) + ", M = " + std::to_string(M) + ", wide: " + pattern.name);
        f(pattern, M);
      }
    }
  });
}

// The activations x, rounded in three ways: to 8 bits, to 16 bits, and mixed.
struct Rounded {
  Rounded(const std::vector<float>& x, std::size_t M, std::size_t K) {
    const ConstMatrix matrix(x.data(), M, K);
    EXPECT_TRUE(quantise(eight, matrix) && quantise(sixteen, matrix) && quantise(mixed, matrix));
  }
  ActivationBuffer eight{ActivationBits::eight}, sixteen{ActivationBits::sixteen}, mixed{ActivationBits::mixed};
};

std::vector<float> product(const PackedView& w, const ActivationQ8& x, const float* bias, Parallel parallel = {}) {
  std::vector<float> y(x.rows * w.rows, -1.0f);
  EXPECT_TRUE(matmul(Matrix(y.data(), x.rows, w.rows), w, x, bias, parallel));
  return y;
}

TEST(MixedActivations, RowsAreThoseOfTheRule) {
  constexpr std::size_t K = 544;
  for_each_pattern([](const Pattern& pattern, std::size_t M) {
    const std::vector<float> x = spiky(1, M, K, pattern.is_wide);
    const Rounded rounded(x, M, K);
    const ActivationQ8 all = rounded.mixed.view(), eight = rounded.eight.view(), sixteen = rounded.sixteen.view();
    EXPECT_EQ(rounded.mixed.bits(), ActivationBits::mixed);
    EXPECT_EQ(all.low, nullptr);
    ASSERT_EQ(std::memcmp(all.values, eight.values, M * K), 0);
    ASSERT_EQ(std::memcmp(all.scales, eight.scales, M * K / 32 * sizeof(float)), 0);
    std::size_t i = 0;
    for (std::size_t m = 0; m < M; ++m) {
      if (!pattern.is_wide(m)) continue;
      ASSERT_LT(i, all.wide.count());
      EXPECT_EQ(all.wide.row(i), m);
      const ActivationQ8 row = all.wide.matrix(i++, 1);
      EXPECT_EQ(std::memcmp(row.values, sixteen.row_values(m), K), 0);
      EXPECT_EQ(std::memcmp(row.low, sixteen.row_low(m), K), 0);
      EXPECT_EQ(std::memcmp(row.scales, sixteen.row_scales(m), K / 32 * sizeof(float)), 0);
      EXPECT_EQ(std::memcmp(row.sums, sixteen.row_sums(m), K / 16 * sizeof(std::int32_t)), 0);
      EXPECT_EQ(std::memcmp(row.rounded_sums, sixteen.row_rounded_sums(m), K / 256 * sizeof(RoundedSums)), 0);
    }
    EXPECT_EQ(i, all.wide.count());
  });
}

TEST(MixedActivations, ProductsHaveTheBitsOfTheirRows) {
  constexpr std::size_t K = 512;
  ThreadPool pool(3);
  for (const auto& [format, rows] :
       {std::pair{id_of<Q4_0>, std::size_t{100}}, {id_of<Q4_K>, std::size_t{221}}, {id_of<Q6_K>, std::size_t{33}}}) {
    const std::size_t N = rows;  // clang 14 cannot capture a structured binding
    const PackedMatrix w = random_matrix(2, format, N, K);
    const std::vector<float> bias = noise_values(3, N);
    for_each_pattern([&](const Pattern& pattern, std::size_t M) {
      const Rounded rounded(spiky(4, M, K, pattern.is_wide), M, K);
      const ActivationQ8 all = rounded.mixed.view();
      std::vector<float> expected = product(w, rounded.eight.view(), bias.data());
      const std::vector<float> sixteen = product(w, rounded.sixteen.view(), bias.data());
      for (std::size_t m = 0; m < M; ++m) {
        if (pattern.is_wide(m)) std::copy_n(sixteen.data() + m * N, N, expected.data() + m * N);
      }
      EXPECT_TRUE(same_bits(product(w, all, bias.data()), expected));
      EXPECT_TRUE(same_bits(product(w, all, bias.data(), pool), expected));
      for (const std::size_t step : {std::size_t{1}, std::size_t{17}}) {  // multiplies one row of the batch at a time, or 17
        for (std::size_t m = 0; m < M; m += step) {
          const std::size_t count = std::min(step, M - m);
          const ActivationQ8 part = step == 1 ? all.rows_from(m, 1) : all.rows_from(m, M - m).rows_from(0, count);
          EXPECT_TRUE(same_bits(product(w, part, bias.data()), std::span(expected).subspan(m * N, count * N)));
        }
      }
      TopLogits top;
      ASSERT_TRUE(top_logits(top, w, {{}, all}, {.best = 3}, bias.data(), pool));
      for (std::size_t m = 0; m < M; ++m) {
        const float* const row = expected.data() + m * N;
        EXPECT_EQ(top.row(m).size(), 3u);
        for (const Candidate& candidate : top.row(m)) EXPECT_TRUE(same_bits(candidate.logit, row[candidate.id]));
      }
    });
  }
}

// One matmul call multiplies quantised weights and weights that take floats by the same input. The input holds the activations
// twice, mixed and as floats.
TEST(MixedActivations, BesideFloatWeights) {
  constexpr std::size_t M = 20, K = 256, N = 48;
  const PackedMatrix quantised = random_matrix(5, id_of<Q4_0>, N, K), floats = random_matrix(6, id_of<F16>, N, K);
  const std::vector<float> x = spiky(7, M, K, patterns[3].is_wide);
  const Rounded rounded(x, M, K);
  ASSERT_NE(rounded.mixed.view().wide.count(), 0u);
  std::vector<float> y[2] = {std::vector<float>(M * N), std::vector<float>(M * N)}, expected(M * N);
  const MatmulInput input{ConstMatrix(x.data(), M, K), rounded.mixed.view()};
  EXPECT_TRUE(
      matmul(std::array{MatmulProduct{Matrix(y[0].data(), M, N), quantised}, MatmulProduct{Matrix(y[1].data(), M, N), floats}}, input));
  EXPECT_TRUE(same_bits(y[0], product(quantised, rounded.mixed.view(), nullptr)));
  ActivationBuffer unused;
  ASSERT_TRUE(matmul(Matrix(expected.data(), M, N), floats, input.x, unused));
  EXPECT_TRUE(same_bits(y[1], expected));
}

void expect_same(const ActivationQ8& a, const ActivationQ8& b) {
  const std::size_t n = a.rows * a.cols;
  ASSERT_EQ(n, b.rows * b.cols);
  EXPECT_EQ(std::memcmp(a.values, b.values, n), 0);
  EXPECT_EQ(std::memcmp(a.scales, b.scales, n / 32 * sizeof(float)), 0);
  ASSERT_EQ(a.low == nullptr, b.low == nullptr);
  if (a.low != nullptr) {
    EXPECT_EQ(std::memcmp(a.low, b.low, n), 0);
  }
  ASSERT_EQ(a.wide.count(), b.wide.count());
  for (std::size_t i = 0; i < a.wide.count(); ++i) EXPECT_EQ(a.wide.row(i), b.wide.row(i));
  if (a.wide.count() != 0) expect_same(a.wide.matrix(0, a.wide.count()), b.wide.matrix(0, b.wide.count()));
}

// When gated_matmul() rounds its results to mixed activations, the rows that are wide in the input become wide in the result.
TEST(MixedActivations, GatedMatmul) {
  constexpr std::size_t K = 256;
  ThreadPool pool(3);
  for (const std::size_t N : {32u, 544u}) {
    const PackedMatrix gate = random_matrix(8, id_of<Q4_K>, N, K), up = random_matrix(9, id_of<Q8_0>, N, K);
    for_each_pattern([&](const Pattern& pattern, std::size_t M) {
      const Rounded rounded(spiky(10, M, K, pattern.is_wide), M, K);
      const ActivationQ8 input = rounded.mixed.view();
      std::vector<float> g = product(gate, input, nullptr);
      const std::vector<float> u = product(up, input, nullptr);
      ASSERT_TRUE(silu_mul(Matrix(g.data(), M, N), ConstMatrix(g.data(), M, N), ConstMatrix(u.data(), M, N)));
      ActivationBuffer eight, sixteen(ActivationBits::sixteen), found(ActivationBits::mixed);
      ASSERT_TRUE(quantise(eight, ConstMatrix(g.data(), M, N)) && quantise(sixteen, ConstMatrix(g.data(), M, N)));
      const auto expect_wide_rows_of_input = [&] {
        ActivationQ8 all = found.view();
        ASSERT_EQ(all.wide.count(), input.wide.count());
        for (std::size_t i = 0; i < all.wide.count(); ++i) {
          EXPECT_EQ(all.wide.row(i), input.wide.row(i));
          expect_same(all.wide.matrix(i, 1), sixteen.view().rows_from(all.wide.row(i), 1));
        }
        all.wide = {};
        expect_same(all, eight.view());
      };
      for (const Parallel parallel : {Parallel(), Parallel(pool)}) {
        std::vector<float> y(M * N), scratch(M * N);
        const MatmulProduct of_gate{Matrix(y.data(), M, N), gate}, of_up{Matrix(scratch.data(), M, N), up};
        ASSERT_TRUE(found.resize(M, N));
        ASSERT_TRUE(gated_matmul(of_gate, of_up, {{}, input}, &found, parallel));
        expect_wide_rows_of_input();
        ASSERT_TRUE(gated_matmul(of_gate, of_up, {{}, input}, nullptr, parallel));
        EXPECT_TRUE(same_bits(y, g));
        ASSERT_TRUE(quantise_like(found, ConstMatrix(g.data(), M, N), input.wide, parallel));
        expect_wide_rows_of_input();
      }
    });
  }
}

TEST(MixedActivations, AddNormQuantise) {
  constexpr std::size_t K = 800;
  const std::vector<float> weight = noise_values(11, K);
  ThreadPool pool(3);
  for_each_pattern([&](const Pattern& pattern, std::size_t M) {
    std::vector<float> x = spiky(12, M, K, pattern.is_wide), h(M * K);
    ActivationBuffer expected(ActivationBits::mixed), found(ActivationBits::mixed);
    ASSERT_TRUE(found.resize(M, K));
    ASSERT_TRUE(add_norm_quantise(Matrix(h.data(), M, K), Matrix(x.data(), M, K), nullptr, weight.data(), 1e-6f, &found, pool));
    ASSERT_TRUE(quantise(expected, ConstMatrix(h.data(), M, K)));
    expect_same(found.view(), expected.view());
  });
}

// What an earlier use left in a buffer of activations does not affect a later one, and a view of a buffer stays valid when this
// buffer is moved.
TEST(MixedActivations, BuffersAreReusedAndMoved) {
  constexpr std::size_t K = 256;
  ActivationBuffer buffer(ActivationBits::mixed);
  for (const Pattern& pattern : {patterns[1], patterns[0], patterns[3]}) {
    for (const std::size_t M : {40u, 3u, 41u}) {
      const std::vector<float> x = spiky(13, M, K, pattern.is_wide);
      ASSERT_TRUE(quantise(buffer, ConstMatrix(x.data(), M, K)));
      const ActivationQ8 view = buffer.view();
      ActivationBuffer moved = std::move(buffer);
      ActivationBuffer fresh(ActivationBits::mixed);
      ASSERT_TRUE(quantise(fresh, ConstMatrix(x.data(), M, K)));
      expect_same(view, fresh.view());
      expect_same(moved.view(), fresh.view());
      buffer = std::move(moved);
    }
  }
  ASSERT_TRUE(buffer.resize(5, K));
  EXPECT_EQ(buffer.view().wide.count(), 0u);
  EXPECT_FALSE(buffer.resize(std::size_t{1} << 45, std::size_t{1} << 12));
}

}  // namespace
