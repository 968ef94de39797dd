// SPDX-License-Identifier: Apache-2.0
//
// Tests what ops refuse: arguments that would cause an endless loop, a division by zero or a wild access, or would silently do
// nothing. Each refusal says which argument it is, what was found and what was expected. Outputs stay unchanged, and a job with
// such arguments has no tasks.
#include <stilla/attention.hpp>
#include <stilla/fused.hpp>
#include <stilla/head.hpp>
#include <stilla/norm.hpp>
#include <stilla/rope.hpp>
#include <stilla/silu_mul.hpp>
#include <stilla/softmax.hpp>

#include "matmul_data.hpp"

namespace {

using namespace stilla_test;

::testing::AssertionResult refused(const Status& status, std::string_view part) {
  if (status) return ::testing::AssertionFailure() << "taken";
  if (status.error().message.find(part) == std::string::npos) return ::testing::AssertionFailure() << status.error().message;
  return ::testing::AssertionSuccess();
}

// While an object of this struct lives, ops check also what they do not check by default, such as overlapping arguments.
struct CheckEverything {
  CheckEverything() { check_everything(true); }
  ~CheckEverything() { check_everything(false); }
};

std::vector<float> x(4096);
Matrix matrix(std::size_t rows, std::size_t cols, std::size_t at = 0) { return {x.data() + at, rows, cols}; }

TEST(Check, Rope) {
  const auto rope_of = [](Matrix m, std::size_t head_dim, ConstMatrix cos, ConstMatrix sin) {
    const RopeJob job{m, head_dim, cos, sin};
    const Status s = rope(m, head_dim, cos, sin, RopeLayout::half_split);
    EXPECT_EQ(rope_tasks(job), s ? m.rows : 0);
    return s;
  };
  EXPECT_TRUE(rope_of(matrix(2, 64), 32, matrix(2, 16, 1024), matrix(2, 16, 2048)));
  EXPECT_TRUE(refused(rope_of(matrix(2, 64), 0, matrix(2, 16, 1024), matrix(2, 16, 2048)), "64 columns are no whole heads of 0"));
  EXPECT_TRUE(refused(rope_of(matrix(2, 64), 48, matrix(2, 16, 1024), matrix(2, 16, 2048)), "no whole heads of 48"));
  EXPECT_TRUE(refused(rope_of(matrix(2, 64), 32, matrix(2, 17, 1024), matrix(2, 17, 2048)), "17 pairs, expected at most 16"));
  EXPECT_TRUE(refused(rope_of(matrix(2, 64), 32, matrix(1, 16, 1024), matrix(2, 16, 2048)), "cos is 1 x 16, expected 2 x 16"));
  EXPECT_TRUE(refused(rope_of(matrix(2, 64), 32, matrix(2, 16, 1024), matrix(2, 8, 2048)), "sin is 2 x 8, expected 2 x 16"));
  EXPECT_TRUE(refused(rope_of({nullptr, 2, 64}, 32, matrix(2, 16, 1024), matrix(2, 16, 2048)), "x has no data"));
  EXPECT_TRUE(refused(rope_of({x.data(), 2, 64, 63}, 32, matrix(2, 16, 1024), matrix(2, 16, 2048)), "stride below its columns"));
  EXPECT_TRUE(rope_of(matrix(2, 64), 32, matrix(2, 16, 100), matrix(2, 16, 2048)));  // by default, overlaps are not looked for
  const CheckEverything on;
  EXPECT_TRUE(refused(rope_of(matrix(2, 64), 32, matrix(2, 16, 100), matrix(2, 16, 2048)), "x overlaps cos"));
}

TEST(Check, RowOps) {
  const std::vector<float> weight(64, 1.0f);
  EXPECT_TRUE(refused(rms_norm(matrix(2, 64), matrix(2, 63, 1024), weight.data(), 1e-6f), "x is 2 x 63, expected 2 x 64"));
  EXPECT_TRUE(refused(rms_norm(matrix(2, 0), matrix(2, 0), weight.data(), 1e-6f), "rows without columns"));
  EXPECT_TRUE(refused(rms_norm(matrix(2, 64), matrix(2, 64), nullptr, 1e-6f), "no weights"));
  EXPECT_TRUE(refused(silu_mul(matrix(2, 64), matrix(2, 64), matrix(3, 64)), "up is 3 x 64"));
  EXPECT_TRUE(refused(softmax(matrix(2, 64), matrix(2, 65)), "x is 2 x 65"));
  EXPECT_TRUE(refused(add_inplace(matrix(2, 64), matrix(2, 32)), "x is 2 x 32"));
  const CheckEverything on;
  EXPECT_TRUE(rms_norm(matrix(2, 64), matrix(2, 64), weight.data(), 1e-6f));
  EXPECT_TRUE(refused(rms_norm(matrix(2, 64), matrix(2, 64, 1), weight.data(), 1e-6f), "y overlaps x in part"));
  EXPECT_TRUE(refused(rms_norm(matrix(2, 64), matrix(2, 64), x.data() + 127, 1e-6f), "y overlaps the weights"));
  EXPECT_TRUE(refused(softmax(matrix(3, 64), matrix(3, 64, 100)), "in part"));
  // Gate and up are columns of the same matrix, and the result y of silu_mul() is written over one of these two. The op does not
  // refuse this as an overlap.
  const Matrix gate(x.data(), 4, 64, 128), up(x.data() + 64, 4, 64, 128);
  EXPECT_TRUE(silu_mul(gate, gate, up));
  EXPECT_TRUE(silu_mul(up, gate, up));
  EXPECT_TRUE(refused(silu_mul(gate, {x.data() + 63, 4, 64, 128}, up), "y overlaps gate"));
  EXPECT_TRUE(refused(silu_mul(gate, gate, {x.data() + 70, 4, 64, 128}), "y overlaps up"));  // reaches into the next row
  EXPECT_TRUE(silu_mul(matrix(1, 64), gate.rows_from(1, 1), up.rows_from(2, 1)));
}

TEST(Check, Matmul) {
  constexpr std::size_t M = 2, N = 40, K = 64;
  Weights<Q4_0> q(1, N, K);
  Weights<F32> f(2, N, K);
  const std::vector<float> values = noise_values(3, M * K);
  const ConstMatrix X(values.data(), M, K);
  ActivationBuffer rounded;
  ASSERT_TRUE(quantise(rounded, X));
  std::vector<float> y(M * N, 5.0f);
  const Matrix Y(y.data(), M, N);
  const auto product = [&](Matrix to, const PackedView& w, const MatmulInput& input) {
    const MatmulProduct p{to, w, nullptr};
    const Status s = matmul({&p, 1}, input);
    EXPECT_EQ(matmul_tasks(MatmulJob(p, input)) != 0, bool(s));
    return s;
  };
  // Float weights need float activations, and quantised weights need rounded ones. In earlier versions matmul silently did
  // nothing with the wrong kind.
  EXPECT_TRUE(refused(matmul(Y, f.view, rounded.view()), "float weights take float activations"));
  EXPECT_TRUE(refused(product(Y, q.view, {X, {}}), "quantised weights take rounded activations"));
  EXPECT_TRUE(refused(product({y.data(), M, N - 1}, q.view, {{}, rounded.view()}), "y is 2 x 39, expected 2 x 40"));
  EXPECT_TRUE(refused(product({y.data(), M + 1, N}, q.view, {{}, rounded.view()}), "y is 3 x 40, expected 2 x 40"));
  EXPECT_TRUE(refused(product({y.data(), M, N - 1}, f.view, {X, {}}), "y is 2 x 39"));
  EXPECT_TRUE(refused(product(Y, f.view, {ConstMatrix(values.data(), M, K - 1), {}}), "x is 2 x 63, expected 2 x 64"));
  PackedView w = q.view;
  w.cols = 96;
  EXPECT_TRUE(refused(product(Y, w, {{}, rounded.view()}), "x is 2 x 64, expected 96 columns"));
  w = q.view;
  w.data += 16;
  EXPECT_TRUE(refused(product(Y, w, {{}, rounded.view()}), "no multiple of 64"));
  w = q.view;
  w.format = FormatId{999};
  EXPECT_TRUE(refused(product(Y, w, {{}, rounded.view()}), "format"));
  w = q.view;
  w.layout = {};
  EXPECT_TRUE(refused(product(Y, w, {{}, rounded.view()}), "another layout"));
  ActivationQ8 view = rounded.view();
  view.sums = nullptr;
  EXPECT_TRUE(refused(product(Y, q.view, {{}, view}), "lack values, scales or sums"));
  const std::array five{MatmulProduct{Y, q.view}, MatmulProduct{Y, q.view}, MatmulProduct{Y, q.view}, MatmulProduct{Y, q.view},
                        MatmulProduct{Y, f.view}};
  EXPECT_TRUE(refused(matmul(five, {{}, rounded.view()}), "float weights"));
  EXPECT_TRUE(refused(matmul_check(MatmulJob(five, {{}, rounded.view()})), "5 products, expected at most 4"));
  EXPECT_TRUE(refused(quantise(rounded, ConstMatrix(values.data(), M, 40)), "40 columns are not a multiple of 32"));
  for (const float v : y) EXPECT_EQ(v, 5.0f);

  // A product for no tokens is no error. Nothing is computed then.
  ActivationBuffer none;
  EXPECT_TRUE(matmul(Matrix(y.data(), 0, N), q.view, ConstMatrix(values.data(), 0, K), none));
  EXPECT_TRUE(matmul(Matrix(y.data(), 0, N), f.view, ConstMatrix(values.data(), 0, K), none));

  ActivationBuffer narrow;
  ASSERT_TRUE(narrow.resize(M, 32));
  std::vector<float> up(M * N);
  EXPECT_TRUE(refused(gated_matmul({Y, q.view}, {Matrix(up.data(), M, N), q.view}, {{}, rounded.view()}, &narrow), "room for 2 x 32"));
  EXPECT_TRUE(refused(gated_matmul({Y, f.view}, {Matrix(up.data(), M, N), f.view}, {{}, rounded.view()}, nullptr), "float weights"));
  EXPECT_TRUE(refused(add_norm_quantise(matrix(2, 64), matrix(2, 64), nullptr, x.data() + 1024, 1e-6f, &narrow), "room for 2 x 32"));

  ASSERT_TRUE(quantise(rounded, X));
  const CheckEverything on;
  EXPECT_TRUE(matmul(Y, q.view, rounded.view()));
  const auto add_norm = [&](const Matrix& h, const Matrix& to, const Matrix& residual) {
    return add_norm_quantise(h, to, &residual, x.data() + 1024, 1e-6f, nullptr);
  };
  EXPECT_TRUE(add_norm(matrix(2, 64), matrix(2, 64, 128), matrix(2, 64)));
  EXPECT_TRUE(refused(add_norm(matrix(2, 64), matrix(2, 64, 128), matrix(2, 64, 129)), "x overlaps residual in part"));
  EXPECT_TRUE(refused(add_norm(matrix(2, 64), matrix(2, 64, 192), matrix(2, 64, 64)), "h overlaps residual in part"));
  std::vector<std::int32_t> sums(rounded.view().sums, rounded.view().sums + M * K / 16);
  ++sums[4];
  view = rounded.view();
  view.sums = sums.data();
  EXPECT_TRUE(refused(product(Y, q.view, {{}, view}), "the sums of block 0 of row 1"));
  std::vector<std::int8_t> lowest(M * K, -128);
  view = rounded.view();
  view.values = lowest.data();
  EXPECT_TRUE(refused(product(Y, q.view, {{}, view}), "is -128"));
  EXPECT_TRUE(refused(product({const_cast<float*>(values.data()) + 10, M, N}, f.view, {X, {}}), "y overlaps x"));
}

TEST(Check, AttentionAndCache) {
  constexpr std::size_t D = 32;
  Result<KvCache> cache = KvCache::create({2, 2, D, KvType::f16});
  ASSERT_TRUE(cache && cache->reserve(10));
  EXPECT_EQ(cache->reserved(), 256u);
  const std::vector<float> row(2 * D);
  ASSERT_TRUE(cache->store(1, 255, row.data(), row.data()));
  EXPECT_TRUE(refused(cache->store(1, 256, row.data(), row.data()), "position 256: reserved are 2 layers and positions 0 to 256"));
  EXPECT_TRUE(refused(cache->store(2, 0, row.data(), row.data()), "layer 2"));
  const auto attend = [&](std::size_t rows, std::size_t heads, std::size_t cols, std::size_t layer = 0, std::size_t first = 0) {
    return attention(matrix(rows, cols), matrix(rows, cols, 2048), *cache, layer, first, heads);
  };
  EXPECT_TRUE(attend(1, 4, 4 * D));
  EXPECT_TRUE(refused(attend(1, 0, 0), "0 heads, expected a multiple of the 2 of the cache"));
  EXPECT_TRUE(refused(attend(1, 1, D), "1 heads"));
  EXPECT_TRUE(refused(attend(1, 3, 3 * D), "3 heads"));
  EXPECT_TRUE(refused(attend(1, 4, 3 * D), "queries is 1 x 96, expected 1 x 128"));
  EXPECT_TRUE(refused(attend(1, 4, 4 * D, 2), "layer 2 of a cache of 2"));
  EXPECT_TRUE(refused(attend(2, 4, 4 * D, 0, 255), "257 positions, the cache has room for 256"));
  const AttentionJob job{matrix(1, D), matrix(1, D, 2048), cache->view(), 0, 0, 1};
  EXPECT_EQ(attention_tasks(job), 0u);

  // A fork of a cache shares the chunk that holds positions 0 to 255. So storing a key and a value at position 5 of the cache is
  // refused.
  cache->set_size(10);
  KvCache other = cache->fork();
  EXPECT_TRUE(refused(cache->store(0, 5, row.data(), row.data()), "positions 256 to 256"));
  ASSERT_TRUE(cache->reserve(11));
  EXPECT_TRUE(cache->store(0, 10, row.data(), row.data()));

  Result<KvCache> integers = KvCache::create({1, 2, D, KvType::int8});
  ASSERT_TRUE(integers && integers->reserve(300));
  KeyBiasTables tables(RopeFrequencies(1e4, D), D, RopeLayout::half_split);
  tables.reserve(256);
  const KeyBias bias{&tables, row.data()};
  EXPECT_TRUE(refused(attention(matrix(1, 64), matrix(1, 64, 2048), *integers, 0, 256, 2, nullptr, {}, bias), "without tables for 257"));
}

TEST(Check, Head) {
  Weights<Q8_0> w(1, 40, 32);
  const std::vector<float> values = noise_values(3, 32);
  ActivationBuffer rounded;
  ASSERT_TRUE(quantise(rounded, ConstMatrix(values.data(), 1, 32)));
  TopLogits top;
  const MatmulInput input{{}, rounded.view()};
  EXPECT_TRUE(refused(top_logits(top, w.view, input, {1, {5, 3}}), "found 3 behind 5"));
  EXPECT_TRUE(refused(top_logits(top, w.view, input, {1, {3, 3}}), "found 3 behind 3"));
  EXPECT_TRUE(refused(top_logits(top, w.view, {ConstMatrix(values.data(), 1, 32), {}}, {1, {}}), "quantised weights take"));
  EXPECT_TRUE(top_logits(top, w.view, input, {1, {3, 5, 1000}}));
}

}  // namespace
