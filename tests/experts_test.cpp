// SPDX-License-Identifier: Apache-2.0
//
// Tests of a mixture of experts (experts.hpp). The result for each token and expert has the same bits as a product of this token
// alone with the expert's matrix. This is tested on every target, with any number of workers, and with quantised and float
// weights.
#include <stilla/experts.hpp>

#include <cmath>
#include <string>
#include <vector>

#include "test_util.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

constexpr std::size_t tokens = 37, per_token = 2, n_experts = 5, K = 512, N = 72;

// Returns the ids of the experts that are chosen, two for each token. Expert 3 is never chosen. Token 4 has the same expert twice.
std::vector<std::uint32_t> router_ids() {
  std::vector<std::uint32_t> ids;
  for (std::size_t i = 0; i < tokens * per_token; ++i) {
    const auto id = static_cast<std::uint32_t>((i * 7 + i / 5) % n_experts);
    ids.push_back(id == 3 ? 0 : id);
  }
  ids[4 * per_token] = ids[4 * per_token + 1] = 2;
  return ids;
}

TEST(ExpertPlan, HasEachChoiceOnceAndTogether) {
  const std::vector<std::uint32_t> ids = router_ids();
  ExpertPlan plan;
  ASSERT_TRUE(plan.build(ids, per_token, n_experts));
  ASSERT_EQ(plan.rows(), ids.size());
  EXPECT_EQ(plan.tokens(), tokens);
  std::vector<int> met(plan.rows());
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t j = 0; j < per_token; ++j) {
      const std::size_t row = plan.row(t, j), e = ids[t * per_token + j];
      ++met[row];
      EXPECT_EQ(plan.token(row), t);
      EXPECT_GE(row, plan.begin(e));
      EXPECT_LT(row, plan.begin(e + 1));
    }
  }
  for (const int times : met) EXPECT_EQ(times, 1);
  EXPECT_EQ(plan.begin(3), plan.begin(4));
  EXPECT_EQ(plan.begin(n_experts), plan.rows());
}

TEST(ExpertPlan, RefusesWhatIsNoChoice) {
  ExpertPlan plan;
  const std::vector<std::uint32_t> ids = {0, 1, 2};
  EXPECT_NE(plan.build(ids, 2, 4).error().message.find("3 ids, expected a multiple of 2"), std::string::npos);
  EXPECT_NE(plan.build(ids, 0, 4).error().message.find("3 ids"), std::string::npos);
  EXPECT_NE(plan.build(ids, 1, 2).error().message.find("token 2 names expert 2, expected one below 2"), std::string::npos);
  ASSERT_TRUE(plan.build({}, 2, 4));
  EXPECT_EQ(plan.rows(), 0u);
}

template <class F>
void equals_rows_alone(const char* what) {
  SCOPED_TRACE(what);
  std::vector<PackedMatrix> matrices;
  std::vector<PackedView> views;
  std::vector<float> bias_values = noise_values(9, n_experts * N);
  std::vector<const float*> biases;
  for (unsigned e = 0; e < n_experts; ++e) {
    matrices.push_back(*PackedMatrix::create<F>(random_rows<F>(50 + e, N, K).data(), N, K));
    views.push_back(matrices.back());
    biases.push_back(e == 1 ? nullptr : bias_values.data() + e * N);
  }
  const std::vector<float> x = noise_values(8, tokens * K);
  const std::vector<std::uint32_t> ids = router_ids();
  ExpertPlan plan;
  ASSERT_TRUE(plan.build(ids, per_token, n_experts));
  const Result<ConstMatrix> rows = plan.gather(ConstMatrix(x.data(), tokens, K));
  ASSERT_TRUE(rows);
  for_each_type(Targets{}, [&]<class Target>(Target) {
    if (!force_target(Target::id.name)) return;  // the CPU cannot run this target
    ActivationBuffer rounded, alone;
    MatmulInput input{*rows, {}};
    if constexpr (QuantisedFormat<F>) {
      ASSERT_TRUE(quantise(rounded, *rows));
      input = {{}, rounded.view()};
    }
    std::vector<float> expected(plan.rows() * N), y(plan.rows() * N, -1.0f);
    for (std::size_t i = 0; i < plan.rows(); ++i) {
      std::size_t e = 0;
      while (i >= plan.begin(e + 1)) ++e;
      ASSERT_TRUE(
          matmul(Matrix(expected.data() + i * N, 1, N), views[e], ConstMatrix(x.data() + plan.token(i) * K, 1, K), alone, biases[e]));
    }
    ASSERT_TRUE(expert_matmul(Matrix(y.data(), plan.rows(), N), plan, views, input, biases));
    EXPECT_TRUE(same_bits(y, expected)) << Target::id.name;
    for (const std::size_t nth : {1u, 2u, 3u, 7u}) {
      std::fill(y.begin(), y.end(), -1.0f);
      const ExpertMatmulJob job(Matrix(y.data(), plan.rows(), N), plan, views, input, biases);
      ASSERT_TRUE(expert_matmul_check(job));
      for (std::size_t ith = nth; ith-- > 0;) {
        for (std::size_t task = ith; task < expert_matmul_tasks(job); task += nth) expert_matmul_run(job, task);
      }
      EXPECT_TRUE(same_bits(y, expected)) << Target::id.name << ", " << nth << " workers";
    }
  });
  ASSERT_TRUE(force_target(""));
}

TEST(ExpertMatmul, EqualsEachRowAlone) {
  equals_rows_alone<Q4_0>("q4_0");
  equals_rows_alone<Q4_K>("q4_k");
  equals_rows_alone<F32>("f32");
}

TEST(ExpertMatmul, CombinesInTheOrderOfTheRouter) {
  const std::vector<std::uint32_t> ids = router_ids();
  ExpertPlan plan;
  ASSERT_TRUE(plan.build(ids, per_token, n_experts));
  const std::vector<float> rows = noise_values(5, plan.rows() * N), weights = noise_values(6, plan.rows());
  std::vector<float> y(tokens * N);
  ASSERT_TRUE(plan.combine(Matrix(y.data(), tokens, N), ConstMatrix(rows.data(), plan.rows(), N), weights));
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t c = 0; c < N; ++c) {
      float sum = 0.0f;
      for (std::size_t j = 0; j < per_token; ++j) sum = std::fma(weights[t * per_token + j], rows[plan.row(t, j) * N + c], sum);
      ASSERT_EQ(y[t * N + c], sum) << t << ", " << c;
    }
  }
  EXPECT_FALSE(plan.combine(Matrix(y.data(), tokens, N), ConstMatrix(rows.data(), plan.rows(), N), std::span(weights).first(3)));
  EXPECT_FALSE(plan.combine(Matrix(y.data(), tokens - 1, N), ConstMatrix(rows.data(), plan.rows(), N), weights));
}

TEST(ExpertMatmul, RefusesMatricesThatDiffer) {
  const std::vector<std::uint32_t> ids = {0, 1};
  ExpertPlan plan;
  ASSERT_TRUE(plan.build(ids, 1, 2));
  const PackedMatrix a = *PackedMatrix::create<Q4_0>(random_rows<Q4_0>(1, N, K).data(), N, K);
  const PackedMatrix b = *PackedMatrix::create<Q4_0>(random_rows<Q4_0>(1, N - 8, K).data(), N - 8, K);
  const std::vector<float> x = noise_values(8, 2 * K);
  ActivationBuffer rounded;
  ASSERT_TRUE(quantise(rounded, ConstMatrix(x.data(), 2, K)));
  std::vector<float> y(2 * N, 3.0f);
  const PackedView both[] = {a, b}, one[] = {a};
  const auto message = [&](std::span<const PackedView> experts, std::size_t y_rows) {
    const Status s = expert_matmul(Matrix(y.data(), y_rows, N), plan, experts, {{}, rounded.view()});
    return s ? std::string() : s.error().message;
  };
  EXPECT_NE(message(both, 2).find("matrix 1 is 64 x 512, expected the shape, format and layout of matrix 0, 72 x 512"), std::string::npos)
      << message(both, 2);
  EXPECT_NE(message(one, 2).find("1 matrices and 0 biases, expected 2 matrices"), std::string::npos);
  EXPECT_NE(message(both, 1).find("y is 1 x 72, expected 2 x 72"), std::string::npos) << message(both, 1);
  for (const float v : y) EXPECT_EQ(v, 3.0f);
}

}  // namespace
