// SPDX-License-Identifier: Apache-2.0
//
// Tests that fused ops give the same bits as the ops that they join, on every target, with any number of threads and tokens.
#include <stilla/fused.hpp>

#include <stilla/norm.hpp>
#include <stilla/format/encode_rows.hpp>

#include "matmul_data.hpp"

namespace {

using namespace stilla_test;

void expect_same(const ActivationQ8& a, const ActivationQ8& b) {
  const std::size_t n = a.rows * a.cols;
  ASSERT_EQ(n, b.rows * b.cols);
  EXPECT_EQ(std::memcmp(a.values, b.values, n), 0);
  EXPECT_EQ(std::memcmp(a.scales, b.scales, n / 32 * sizeof(float)), 0);
  EXPECT_EQ(std::memcmp(a.sums, b.sums, n / 16 * sizeof(std::int32_t)), 0);
  EXPECT_EQ(std::memcmp(a.scaled_sums, b.scaled_sums, n / 32 * sizeof(float)), 0);
  for (std::size_t i = 0; i < a.rows * (a.cols / 256); ++i) {
    EXPECT_TRUE(same_bits(a.rounded_sums[i].scale, b.rounded_sums[i].scale));
    EXPECT_EQ(std::memcmp(a.rounded_sums[i].sums, b.rounded_sums[i].sums, sizeof a.rounded_sums[i].sums), 0);
  }
  // If the active target has an arrangement of the activations that only this target reads, its bytes are not compared here. Other
  // tests compare the products that are computed from it.
  ASSERT_EQ(a.arranged.data == nullptr, b.arranged.data == nullptr);
  ASSERT_EQ(a.low == nullptr, b.low == nullptr);
  if (a.low != nullptr) {
    EXPECT_EQ(std::memcmp(a.low, b.low, n), 0);
  }
}

// Calls f(M, bits, parallel) on every target, with a few numbers of tokens M, with activations of 8 and 16 bits, and without
// and with threads.
template <class F>
void everywhere(F&& f) {
  ThreadPool pool(3);
  for_each_available_target([&](TargetId target) {
    const OnTarget on(target);
    for (const std::size_t M : {1u, 3u, 17u, 33u}) {
      for (const ActivationBits bits : {ActivationBits::eight, ActivationBits::sixteen}) {
        SCOPED_TRACE(std::string(target.name) + ", M = " + std::to_string(M));
        f(M, bits, Parallel());
        f(M, bits, Parallel(pool));
      }
    }
  });
}

TEST(Fused, ProductsOfOneInput) {
  constexpr std::size_t K = 256;
  const PackedMatrix a = random_matrix(1, id_of<Q4_0>, 100, K), b = random_matrix(2, id_of<Q6_K>, 16, K),
                     c = random_matrix(3, id_of<F16>, 33, K);
  const std::vector<float> bias = noise_values(4, 100);
  everywhere([&](std::size_t M, ActivationBits bits, Parallel parallel) {
    const std::vector<float> x = noise_values(5, M * K);
    ActivationBuffer rounded(bits);
    ASSERT_TRUE(quantise(rounded, ConstMatrix(x.data(), M, K)));
    const MatmulInput input{ConstMatrix(x.data(), M, K), rounded.view()};
    std::vector<float> ya(M * 100), yb(M * 16), yc(M * 33), single(M * 100);
    EXPECT_TRUE(matmul(std::array{MatmulProduct{Matrix(ya.data(), M, 100), a, bias.data()}, MatmulProduct{Matrix(yb.data(), M, 16), b},
                                  MatmulProduct{Matrix(yc.data(), M, 33), c}},
                       input, parallel));
    EXPECT_TRUE(matmul(Matrix(single.data(), M, 100), a, rounded.view(), bias.data()));
    EXPECT_TRUE(same_bits(ya, single));
    single.resize(M * 16);
    EXPECT_TRUE(matmul(Matrix(single.data(), M, 16), b, rounded.view()));
    EXPECT_TRUE(same_bits(yb, single));
    single.resize(M * 33);
    ActivationBuffer unused;
    ASSERT_TRUE(matmul(Matrix(single.data(), M, 33), c, input.x, unused));
    EXPECT_TRUE(same_bits(yc, single));
  });
}

TEST(Fused, AsManyProductsAsAreAsked) {
  constexpr std::size_t K = 64, N = 20, count = 9;
  const std::vector<float> x = noise_values(15, K);
  ActivationBuffer rounded;
  ASSERT_TRUE(quantise(rounded, ConstMatrix(x.data(), 1, K)));
  std::vector<PackedMatrix> weights;
  std::vector<std::vector<float>> y(count, std::vector<float>(N));
  std::vector<MatmulProduct> products;
  for (std::uint32_t i = 0; i < count; ++i) weights.push_back(random_matrix(16 + i, id_of<Q4_0>, N, K));
  for (std::size_t i = 0; i < count; ++i) products.push_back({Matrix(y[i].data(), 1, N), weights[i]});
  ThreadPool pool(3);
  EXPECT_TRUE(matmul(products, {{}, rounded.view()}, pool));
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<float> single(N);
    EXPECT_TRUE(matmul(Matrix(single.data(), 1, N), weights[i], rounded.view()));
    EXPECT_TRUE(same_bits(y[i], single)) << i;
  }
}

TEST(Fused, GatedMatmul) {
  constexpr std::size_t K = 256;
  for (const std::size_t N : {32u, 96u, 192u, 544u, 960u}) {  // one task computes 192 rows
    const PackedMatrix gate = random_matrix(6, id_of<Q4_K>, N, K), up = random_matrix(7, id_of<Q8_0>, N, K);
    everywhere([&](std::size_t M, ActivationBits bits, Parallel parallel) {
      const std::vector<float> x = noise_values(8, M * K);
      ActivationBuffer rounded(bits), expected(bits), found(bits);
      ASSERT_TRUE(quantise(rounded, ConstMatrix(x.data(), M, K)) && found.resize(M, N));
      std::vector<float> g(M * N), u(M * N), y(M * N), scratch(M * N);
      EXPECT_TRUE(matmul(Matrix(g.data(), M, N), gate, rounded.view()));
      EXPECT_TRUE(matmul(Matrix(u.data(), M, N), up, rounded.view()));
      EXPECT_TRUE(silu_mul(Matrix(g.data(), M, N), ConstMatrix(g.data(), M, N), ConstMatrix(u.data(), M, N)));
      ASSERT_TRUE(quantise(expected, ConstMatrix(g.data(), M, N)));
      EXPECT_TRUE(gated_matmul({Matrix(y.data(), M, N), gate}, {Matrix(scratch.data(), M, N), up}, {{}, rounded.view()}, &found, parallel));
      expect_same(found.view(), expected.view());
      EXPECT_TRUE(
          gated_matmul({Matrix(y.data(), M, N), gate}, {Matrix(scratch.data(), M, N), up}, {{}, rounded.view()}, nullptr, parallel));
      EXPECT_TRUE(same_bits(y, g));
    });
  }
  // If gated_matmul() does not round its results, their rows may have any length, also one that is no multiple of 32.
  constexpr std::size_t odd = 41;
  const PackedMatrix gate = random_matrix(9, id_of<Q4_0>, odd, K), up = random_matrix(10, id_of<Q4_0>, odd, K);
  everywhere([&](std::size_t M, ActivationBits bits, Parallel parallel) {
    const std::vector<float> x = noise_values(11, M * K);
    ActivationBuffer rounded(bits);
    ASSERT_TRUE(quantise(rounded, ConstMatrix(x.data(), M, K)));
    std::vector<float> g(M * odd), u(M * odd), y(M * odd), scratch(M * odd);
    EXPECT_TRUE(matmul(Matrix(g.data(), M, odd), gate, rounded.view()));
    EXPECT_TRUE(matmul(Matrix(u.data(), M, odd), up, rounded.view()));
    EXPECT_TRUE(silu_mul(Matrix(g.data(), M, odd), ConstMatrix(g.data(), M, odd), ConstMatrix(u.data(), M, odd)));
    EXPECT_TRUE(
        gated_matmul({Matrix(y.data(), M, odd), gate}, {Matrix(scratch.data(), M, odd), up}, {{}, rounded.view()}, nullptr, parallel));
    EXPECT_TRUE(same_bits(y, g));
  });
}

// Tests products of so many tokens that one task computes only some of them.
TEST(Fused, PartsOfManyTokens) {
  constexpr std::size_t M = 201, K = 3072, N = 128;
  const std::vector<float> x = noise_values(24, M * K), bias = noise_values(25, N);
  const PackedMatrix gate = random_matrix(26, id_of<Q4_K>, N, K), up = random_matrix(27, id_of<Q8_0>, N, K),
                     floats = random_matrix(28, id_of<F16>, N, K);
  ActivationBuffer rounded;
  ASSERT_TRUE(quantise(rounded, ConstMatrix(x.data(), M, K)));
  MatmulInput input{ConstMatrix(x.data(), M, K), rounded.view()};
  // With AMX, a task computes only some of the tokens of this test. On CPUs without AMX, a task of this test computes all tokens,
  // whatever the target; skeleton_test has a target of its own whose tasks compute only some tokens on every CPU.
  if (rounded.has_arrangement()) {
    ASSERT_LT(stilla::detail::activation_form(active_target()).tokens_per_task(input.rounded), M);
  }
  // The expected results are computed in calls of 50 tokens, which are few enough for one task.
  std::vector<float> products[3] = {std::vector<float>(M * N), std::vector<float>(M * N), std::vector<float>(M * N)};
  for (std::size_t m = 0; m < M; m += 50) {
    const std::size_t count = std::min<std::size_t>(50, M - m);
    const auto rows = [&](std::vector<float>& y) { return Matrix(y.data() + m * N, count, N); };
    EXPECT_TRUE(matmul(std::array{MatmulProduct{rows(products[0]), gate, bias.data()}, MatmulProduct{rows(products[1]), up},
                                  MatmulProduct{rows(products[2]), floats}},
                       input.rows_from(m, count)));
  }
  const auto gated = [&](std::vector<float> g, const std::vector<float>& u) {
    EXPECT_TRUE(silu_mul(Matrix(g.data(), M, N), ConstMatrix(g.data(), M, N), ConstMatrix(u.data(), M, N)));
    return g;
  };
  ThreadPool pool(3);
  std::vector<float> y[3] = {std::vector<float>(M * N), std::vector<float>(M * N), std::vector<float>(M * N)};
  const auto all = [&](std::size_t i) { return Matrix(y[i].data(), M, N); };
  for (const Parallel parallel : {Parallel(), Parallel(pool)}) {
    for (std::vector<float>& each : y) std::fill(each.begin(), each.end(), 0.0f);
    EXPECT_TRUE(matmul(std::array{MatmulProduct{all(0), gate, bias.data()}, MatmulProduct{all(1), up}, MatmulProduct{all(2), floats}},
                       input, parallel));
    for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(same_bits(y[i], products[i])) << i;
  }
  // Tests gated_matmul() with two quantised matrices, and with a quantised gate and an up of floats.
  for (const std::size_t other : {std::size_t{1}, std::size_t{2}}) {
    const std::vector<float> expected = gated(products[0], products[other]);
    const MatmulProduct factor{all(1), other == 1 ? up : floats};
    EXPECT_TRUE(gated_matmul({all(0), gate, bias.data()}, factor, input, nullptr, pool));
    EXPECT_TRUE(same_bits(y[0], expected)) << other;
    ActivationBuffer found, wanted;
    ASSERT_TRUE(found.resize(M, N) && quantise(wanted, ConstMatrix(expected.data(), M, N)));
    EXPECT_TRUE(gated_matmul({all(0), gate, bias.data()}, factor, input, &found, pool));
    expect_same(found.view(), wanted.view());
  }
}

TEST(Fused, MatricesWithoutRowsOrColumns) {
  const PackedMatrix no_rows = random_matrix(29, id_of<Q4_K>, 0, 256), no_columns = random_matrix(30, id_of<Q4_K>, 64, 0);
  everywhere([&](std::size_t M, ActivationBits bits, Parallel parallel) {
    const std::vector<float> x = noise_values(31, M * 256);
    ActivationBuffer rounded(bits), products(bits);
    ASSERT_TRUE(quantise(rounded, ConstMatrix(x.data(), M, 256), parallel));
    ASSERT_TRUE(products.resize(M, 0));
    const MatmulProduct nothing{Matrix(nullptr, M, 0), no_rows};
    EXPECT_TRUE(matmul({&nothing, 1}, {{}, rounded.view()}, parallel));
    EXPECT_TRUE(gated_matmul(nothing, nothing, {{}, rounded.view()}, &products, parallel));
    EXPECT_TRUE(gated_matmul(nothing, nothing, {{}, rounded.view()}, nullptr, parallel));
    // With K = 0 every product is an empty sum, which is 0, and silu(0) * 0 is 0, too.
    ASSERT_TRUE(quantise(rounded, ConstMatrix(x.data(), M, 0), parallel));
    ASSERT_TRUE(products.resize(M, 64));
    std::vector<float> gate(M * 64, 1.0f), up(M * 64, 1.0f);
    EXPECT_TRUE(gated_matmul({Matrix(gate.data(), M, 64), no_columns}, {Matrix(up.data(), M, 64), no_columns}, {{}, rounded.view()},
                             nullptr, parallel));
    EXPECT_TRUE(same_bits(gate, std::vector<float>(M * 64)));
    EXPECT_TRUE(gated_matmul({Matrix(gate.data(), M, 64), no_columns}, {Matrix(up.data(), M, 64), no_columns}, {{}, rounded.view()},
                             &products, parallel));
    EXPECT_EQ(std::count(products.row_values(0), products.row_values(0) + M * 64, 0), std::ptrdiff_t(M * 64));
  });
}

TEST(Fused, AddNormQuantise) {
  constexpr std::size_t n = 800;
  const std::vector<float> weight = noise_values(12, n);
  everywhere([&](std::size_t M, ActivationBits bits, Parallel parallel) {
    const std::vector<float> start = noise_values(13, M * n), added = noise_values(14, M * n);
    for (const bool has_residual : {false, true}) {
      std::vector<float> x = start, h = added, expected_x = start, expected_h(M * n);
      if (has_residual) {
        EXPECT_TRUE(add_inplace(Matrix(expected_x.data(), M, n), ConstMatrix(added.data(), M, n)));
      }
      EXPECT_TRUE(rms_norm(Matrix(expected_h.data(), M, n), ConstMatrix(expected_x.data(), M, n), weight.data(), 1e-6f));
      ActivationBuffer rounded(bits), expected(bits);
      ASSERT_TRUE(rounded.resize(M, n) && quantise(expected, ConstMatrix(expected_h.data(), M, n)));
      const Matrix residual(h.data(), M, n);  // h is written to this place, too
      EXPECT_TRUE(add_norm_quantise(Matrix(h.data(), M, n), Matrix(x.data(), M, n), has_residual ? &residual : nullptr, weight.data(),
                                    1e-6f, &rounded, parallel));
      EXPECT_TRUE(same_bits(x, expected_x));
      EXPECT_TRUE(same_bits(h, expected_h));
      expect_same(rounded.view(), expected.view());
      x = start;
      h = added;
      EXPECT_TRUE(add_norm_quantise(Matrix(h.data(), M, n), Matrix(x.data(), M, n), has_residual ? &residual : nullptr, weight.data(),
                                    1e-6f, nullptr, parallel));
      EXPECT_TRUE(same_bits(h, expected_h));
    }
  });
}

}  // namespace
