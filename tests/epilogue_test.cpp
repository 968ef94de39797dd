// SPDX-License-Identifier: Apache-2.0
//
// Tests of epilogues: what a product does with its results while they are in the cache (MatmulProduct, epilogue.hpp). A product with
// an epilogue has the bits of two steps, the product and then the function. This holds on every target, for rounded activations of
// every kind and for floats, for matrices whose last panel is not full, with threads, and if a caller runs the tasks itself. A function
// of the user sees each result once and learns its place. GELU is compared with its formula in doubles, SiLU with silu_mul().
#include <stilla/epilogue.hpp>

#include <atomic>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <stilla/experts.hpp>
#include <stilla/fused.hpp>
#include <stilla/import_activations.hpp>
#include <stilla/silu_mul.hpp>

#include "matmul_data.hpp"

namespace {

using namespace stilla_test;

constexpr float untouched = -77.5f;

// The operands of a product: weights W[N, K], activations as floats and rounded, and a place for the results y, whose rows are longer
// than N.
struct Operands {
  Operands(FormatId format, std::size_t M_, std::size_t N_, std::size_t K, ActivationBits bits)
      : M(M_), N(N_), w(random_matrix(1, format, N, K)), x(noise_values(2, M * K)), bias(noise_values(3, N)),
        residual(noise_values(4, M * N)), factors(noise_values(5, M)), rounded(bits) {
    for (std::size_t m = 0; m < M; m += 3) x[m * K] = 100.0f;  // wide rows, where the bits are mixed
    const ConstMatrix X(x.data(), M, K);
    EXPECT_TRUE(quantise(rounded, X));
    input = {X, rounded.view()};
  }
  std::size_t stride() const { return N + 5; }
  std::vector<float> fresh() const {
    std::vector<float> y(M * stride(), untouched);
    for (std::size_t m = 0; m < M; ++m) std::copy_n(residual.begin() + static_cast<std::ptrdiff_t>(m * N), N, row(y, m));
    return y;
  }
  std::vector<float>::iterator row(std::vector<float>& y, std::size_t m) const {
    return y.begin() + static_cast<std::ptrdiff_t>(m * stride());
  }
  Matrix matrix(std::vector<float>& y) const { return {y.data(), M, N, stride()}; }
  ConstMatrix others() const { return {residual.data(), M, N}; }

  std::size_t M, N;
  PackedMatrix w;
  std::vector<float> x, bias, residual, factors;
  ActivationBuffer rounded;
  MatmulInput input;
};

// Calls f(operands, bits) on every target, for some formats and numbers of tokens, and with activations of 8 bits, of 16 bits and
// mixed (`bits`).
template <class F>
void everywhere(F&& f) {
  for_each_available_target([&](TargetId target) {
    const OnTarget on(target);
    for (const FormatId format : {id_of<Q4_0>, id_of<Q4_K>, id_of<F16>}) {
      for (const std::size_t M : {1u, 2u, 5u, 33u, 70u}) {
        for (const ActivationBits bits : {ActivationBits::eight, ActivationBits::sixteen, ActivationBits::mixed}) {
          if (bits != ActivationBits::eight && (format == id_of<F16> || M == 2)) continue;
          SCOPED_TRACE(concat(target.name, " ", format_name(format), ", M = ", M, ", bits ", static_cast<int>(bits)));
          f(Operands(format, M, M == 33 ? 361 : 105, 256, bits));
        }
      }
    }
  });
}

// One kind of epilogue: the values for the members `epilogue` and `accumulate` of MatmulProduct, and the function `second_step`,
// which computes the same afterwards from the results of a product without an epilogue.
struct Kind {
  const char* name;
  TileFunction epilogue;
  bool accumulate;
  std::function<void(const Operands&, Matrix y, ConstMatrix before)> second_step;
};

std::vector<Kind> kinds(const Operands& o) {
  const auto each = [](auto f) {
    return [f](const Operands&, Matrix y, ConstMatrix) {
      for (std::size_t m = 0; m < y.rows; ++m) {
        for (std::size_t n = 0; n < y.cols; ++n) y.row(m)[n] = f(y.row(m)[n], m, n);
      }
    };
  };
  const auto add_before = [](const Operands&, Matrix y, ConstMatrix before) { EXPECT_TRUE(add_inplace(y, before)); };
  const auto silu = [](const Operands&, Matrix y, ConstMatrix) {
    const std::vector<float> ones(y.rows * y.cols, 1.0f);
    EXPECT_TRUE(silu_mul(y, y, ConstMatrix(ones.data(), y.rows, y.cols)));
  };
  const auto gelu = [](const Operands&, Matrix y, ConstMatrix) { epilogue::gelu({y}); };
  return {{"none", {}, false, [](const Operands&, Matrix, ConstMatrix) {}},
          {"accumulate", {}, true, add_before},
          {"silu", epilogue::silu, false, silu},
          {"gelu", epilogue::gelu, false, gelu},
          {"gelu, accumulate", epilogue::gelu, true,
           [=](const Operands& operands, Matrix y, ConstMatrix before) {
             gelu(operands, y, before);
             add_before(operands, y, before);
           }},
          {"clamp", epilogue::clamp(-0.25f, 0.5f), false, each([](float v, std::size_t, std::size_t) {
             return v < -0.25f ? -0.25f : v > 0.5f ? 0.5f : v;
           })},
          {"add", epilogue::add(o.others()), false,
           [](const Operands& operands, Matrix y, ConstMatrix) { EXPECT_TRUE(add_inplace(y, operands.others())); }},
          {"scale_rows", epilogue::scale_rows(o.factors.data()), false, [each](const Operands& operands, Matrix y, ConstMatrix before) {
             each([&](float v, std::size_t m, std::size_t) { return v * operands.factors[m]; })(operands, y, before);
           }}};
}

TEST(Epilogue, EqualsTwoSteps) {
  ThreadPool pool(3);
  everywhere([&](const Operands& o) {
    for (const Kind& kind : kinds(o)) {
      for (const float* bias : {static_cast<const float*>(nullptr), o.bias.data()}) {
        std::vector<float> expected = o.fresh(), before = o.fresh();
        ASSERT_TRUE(matmul({o.matrix(expected), o.w, bias}, o.input));
        kind.second_step(o, o.matrix(expected), o.matrix(before));
        const auto product = [&](std::vector<float>& y) { return MatmulProduct{o.matrix(y), o.w, bias, kind.epilogue, kind.accumulate}; };
        std::vector<float> y = o.fresh();
        ASSERT_TRUE(matmul(product(y), o.input, pool));
        ASSERT_TRUE(same_bits(y, expected)) << kind.name;
        y = o.fresh();
        const MatmulJob job(product(y), o.input);
        for (std::size_t ith = 3; ith-- > 0;) {
          for (std::size_t task = ith; task < matmul_tasks(job); task += 3) matmul_run(job, task);
        }
        ASSERT_TRUE(same_bits(y, expected)) << kind.name << " as tasks";
      }
    }
  });
}

TEST(Epilogue, OfTheUserSeesEachResultOnce) {
  ThreadPool pool(3);
  everywhere([&](const Operands& o) {
    std::vector<float> expected = o.fresh();
    ASSERT_TRUE(matmul({o.matrix(expected), o.w, o.bias.data()}, o.input));
    for (const bool accumulate : {false, true}) {
      std::vector<std::atomic<int>> seen(o.M * o.N);
      std::atomic<bool> right{true};
      const auto look = [&](const MatmulTile& tile) {
        for (std::size_t i = 0; i < tile.values.rows; ++i) {
          for (std::size_t j = 0; j < tile.values.cols; ++j) {
            const std::size_t m = tile.row + i, n = tile.column + j;
            if (m >= o.M || n >= o.N) {
              right = false;
              continue;
            }
            ++seen[m * o.N + n];
            if (!same_bits(tile.values.row(i)[j], expected[m * o.stride() + n])) right = false;
          }
        }
      };
      std::vector<float> y = o.fresh();
      ASSERT_TRUE(matmul({o.matrix(y), o.w, o.bias.data(), look, accumulate}, o.input, pool));
      EXPECT_TRUE(right);
      for (const std::atomic<int>& times : seen) ASSERT_EQ(times, 1);
    }
  });
}

// A job has several products with different epilogues, and some of its products have none.
TEST(Epilogue, OfSeveralProducts) {
  const Operands o(id_of<Q4_0>, 7, 105, 256, ActivationBits::eight);
  std::vector<float> a = o.fresh(), b = o.fresh(), c = o.fresh(), plain = o.fresh();
  ASSERT_TRUE(matmul(std::array{MatmulProduct{o.matrix(a), o.w, nullptr, epilogue::silu}, MatmulProduct{o.matrix(b), o.w},
                                MatmulProduct{o.matrix(c), o.w, nullptr, {}, true}},
                     o.input));
  ASSERT_TRUE(matmul({o.matrix(plain), o.w}, o.input));
  EXPECT_TRUE(same_bits(b, plain));
  std::vector<float> sum = o.fresh();
  ASSERT_TRUE(add_inplace(o.matrix(sum), o.matrix(plain)));
  EXPECT_TRUE(same_bits(c, sum));
  epilogue::silu({o.matrix(plain)});
  EXPECT_TRUE(same_bits(a, plain));
  const Status shared = matmul(std::array{MatmulProduct{o.matrix(a), o.w}, MatmulProduct{o.matrix(a), o.w, nullptr, {}, true}}, o.input);
  ASSERT_FALSE(shared);
  EXPECT_EQ(shared.error().message, "matmul: products 0 and 1 have the same y; one call writes each y once");
}

// Matmul has separate code for activations that bring one scale for a whole row, and for scales that are no powers of two. Epilogues
// must work there, too.
TEST(Epilogue, OfForeignActivations) {
  constexpr std::size_t M = 21, N = 50, K = 128;
  const PackedMatrix w = random_matrix(6, id_of<Q4_0>, N, K);
  const std::vector<float> x = noise_values(7, M * K), scales = noise_values(8, M * K / 32), bias = noise_values(9, N);
  std::vector<std::int8_t> values(M * K);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int8_t>(x[i] * 100.0f);
  for_each_available_target([&](TargetId target) {
    const OnTarget on(target);
    for (const ScaleFor scale_for : {ScaleFor::row, ScaleFor::block}) {
      ActivationBuffer rounded;
      ASSERT_TRUE(
          import_activations(rounded, IntegerActivations<std::int8_t>{{values.data(), M, K}, scale_for, scales.data(), nullptr, 32}));
      std::vector<float> expected(M * N), y = noise_values(10, M * N);
      ASSERT_TRUE(matmul(Matrix(expected.data(), M, N), w, rounded.view(), bias.data()));
      epilogue::gelu({Matrix(expected.data(), M, N)});
      ASSERT_TRUE(add_inplace(Matrix(expected.data(), M, N), ConstMatrix(y.data(), M, N)));
      ASSERT_TRUE(matmul({Matrix(y.data(), M, N), w, bias.data(), epilogue::gelu, true}, {{}, rounded.view()}));
      EXPECT_TRUE(same_bits(y, expected)) << target.name;
    }
  });
}

TEST(Epilogue, OfExperts) {
  constexpr std::size_t tokens = 19, per_token = 2, n_experts = 3, K = 256, N = 40;
  std::vector<PackedMatrix> matrices;
  std::vector<PackedView> views;
  for (unsigned e = 0; e < n_experts; ++e) {
    matrices.push_back(random_matrix(11 + e, id_of<Q4_0>, N, K));
    views.push_back(matrices.back());
  }
  std::vector<std::uint32_t> ids;
  for (std::size_t i = 0; i < tokens * per_token; ++i) ids.push_back(static_cast<std::uint32_t>((i * 5 + i / 3) % n_experts));
  const std::vector<float> x = noise_values(14, tokens * K), factors = noise_values(15, tokens * per_token);
  ExpertPlan plan;
  ASSERT_TRUE(plan.build(ids, per_token, n_experts));
  ActivationBuffer rounded;
  ASSERT_TRUE(quantise(rounded, *plan.gather(ConstMatrix(x.data(), tokens, K))));
  std::vector<float> y(plan.rows() * N), expected(plan.rows() * N);
  ASSERT_TRUE(expert_matmul(Matrix(expected.data(), plan.rows(), N), plan, views, {{}, rounded.view()}));
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] *= factors[i / N];
  ThreadPool pool(3);
  ASSERT_TRUE(
      expert_matmul(Matrix(y.data(), plan.rows(), N), plan, views, {{}, rounded.view()}, {}, pool, epilogue::scale_rows(factors.data())));
  EXPECT_TRUE(same_bits(y, expected));
}

TEST(Epilogue, OfAGatedProduct) {
  const Operands o(id_of<Q4_0>, 33, 96, 256, ActivationBits::mixed);
  std::vector<float> gate(o.M * o.N), up(o.M * o.N), expected(o.M * o.N), factor(o.M * o.N);
  const auto all = [&](std::vector<float>& y) { return Matrix(y.data(), o.M, o.N); };
  const auto clamped = epilogue::clamp(-1.0f, 0.25f);
  ASSERT_TRUE(matmul({all(expected), o.w, o.bias.data()}, o.input) && matmul({all(factor), o.w}, o.input));
  clamped({all(expected)});
  ASSERT_TRUE(silu_mul(all(expected), all(expected), all(factor)));
  ASSERT_TRUE(gated_matmul({all(gate), o.w, o.bias.data(), clamped}, {all(up), o.w}, o.input, nullptr));
  EXPECT_TRUE(same_bits(gate, expected));
  const Status s = gated_matmul({all(gate), o.w}, {all(up), o.w, nullptr, {}, true}, o.input, nullptr);
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().message, "gated_matmul: the products cannot accumulate");
}

TEST(Epilogue, OfNothing) {
  const PackedMatrix no_columns = random_matrix(16, id_of<Q4_K>, 64, 0);
  ActivationBuffer rounded;
  ASSERT_TRUE(quantise(rounded, ConstMatrix(nullptr, 3, 0)));
  std::vector<float> y = noise_values(17, 3 * 64);
  const std::vector<float> before = y, bias = noise_values(18, 64);
  ASSERT_TRUE(matmul({Matrix(y.data(), 3, 64), no_columns, bias.data(), {}, true}, {{}, rounded.view()}));
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i], before[i] + bias[i % 64]);
}

TEST(Epilogue, GeluIsItsFormula) {
  std::vector<float> x = special_values();
  for (std::size_t i = 0; i < 20000; ++i) x.push_back(noise(19, i) * (i % 2 == 0 ? 12.0f : 3.0f));
  std::vector<float> by_scalar;
  for_each_available_target([&](TargetId target) {
    const OnTarget on(target);
    std::vector<float> y = x;
    epilogue::gelu({Matrix(y.data(), 1, y.size())});
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double v = x[i], exact = 0.5 * v * (1.0 + std::tanh(std::sqrt(2.0 / 3.14159265358979323846) * (v + 0.044715 * v * v * v)));
      if (std::isnan(exact)) {  // NaN, and -infinity times 0
        EXPECT_FALSE(std::isfinite(y[i])) << v;
      } else if (std::fabs(v) < 1e30) {
        ASSERT_LE(std::fabs(y[i] - exact), 1e-6 * std::fabs(exact) + 1e-9) << target.name << ", x = " << v;
      }
    }
    std::vector<float>& expected = by_scalar.empty() ? by_scalar = y : by_scalar;
    EXPECT_TRUE(same_bits(y, expected)) << target.name;
  });
}

TEST(Epilogue, ClampLeavesNaN) {
  std::vector<float> y = {std::nanf(""), -HUGE_VALF, HUGE_VALF, 0.5f, -0.0f};
  epilogue::clamp(0.0f, HUGE_VALF)({Matrix(y.data(), 1, y.size())});
  EXPECT_TRUE(same_bits(y, std::vector<float>{std::nanf(""), 0.0f, HUGE_VALF, 0.5f, -0.0f}));
}

}  // namespace
