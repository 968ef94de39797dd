// SPDX-License-Identifier: Apache-2.0
//
// Runs every op as tasks, for workers that know only their own number and how many workers there are (`ith` of `nth`). With 1, 2,
// 3 and 7 workers the results have the bits of the op's usual form, a call that takes a Parallel. Each worker may also call this
// usual form, with a Parallel that runs only this worker's tasks. The tests check that too, also for jobs of a single task.
#include <stilla/attention.hpp>
#include <stilla/head.hpp>
#include <stilla/import_activations.hpp>
#include <stilla/matmul.hpp>
#include <stilla/norm.hpp>
#include <stilla/rope.hpp>
#include <stilla/silu_mul.hpp>
#include <stilla/softmax.hpp>

#include <barrier>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "matmul_data.hpp"

namespace {

using namespace stilla_test;

constexpr std::size_t worker_counts[] = {1, 2, 3, 7};

struct Worker {
  std::size_t ith, nth;
  std::barrier<>* gate;

  void barrier() const { gate->arrive_and_wait(); }
  // Runs those of a job's tasks that belong to this worker.
  template <class Run>
  void stripe(std::size_t tasks, Run&& run) const {
    for (std::size_t task = ith; task < tasks; task += nth) run(task);
  }
};

void with_workers(std::size_t nth, const std::function<void(const Worker&)>& work) {
  std::barrier<> gate(static_cast<std::ptrdiff_t>(nth));
  std::vector<std::thread> threads;
  for (std::size_t ith = 0; ith < nth; ++ith) threads.emplace_back([&, ith] { work({ith, nth, &gate}); });
  for (std::thread& thread : threads) thread.join();
}

TEST(Tasks, RowOps) {
  constexpr std::size_t M = 5, n = 96, head_dim = 32, pairs = 12;
  const std::vector<float> a = noise_values(1, M * n, 3.0f), b = noise_values(2, M * n), cos = noise_values(3, M * pairs),
                           sin = noise_values(4, M * pairs), weight = noise_values(5, n);
  const ConstMatrix A(a.data(), M, n), B(b.data(), M, n), C(cos.data(), M, pairs), S(sin.data(), M, pairs);
  const auto matrix = [](std::vector<float>& v) { return Matrix(v.data(), M, n); };
  std::vector<float> normed(M * n), gated(M * n), soft(M * n), turned = a, sum = a;
  ASSERT_TRUE(rms_norm(matrix(normed), A, weight.data(), 1e-6f) && silu_mul(matrix(gated), A, B) && softmax(matrix(soft), A) &&
              rope(matrix(turned), head_dim, C, S, RopeLayout::interleaved) && add_inplace(matrix(sum), B));
  for (const std::size_t nth : worker_counts) {
    std::vector<float> normed2(M * n), gated2(M * n), soft2(M * n), turned2 = a, sum2 = a;
    with_workers(nth, [&](const Worker& w) {
      const RmsNormJob norm{matrix(normed2), A, weight.data(), 1e-6f};
      w.stripe(rms_norm_tasks(norm), [&](std::size_t t) { rms_norm_run(norm, t); });
      const SiluMulJob silu{matrix(gated2), A, B};
      w.stripe(silu_mul_tasks(silu), [&](std::size_t t) { silu_mul_run(silu, t); });
      const SoftmaxJob max{matrix(soft2), A};
      w.stripe(softmax_tasks(max), [&](std::size_t t) { softmax_run(max, t); });
      const RopeJob turn{matrix(turned2), head_dim, C, S, RopeLayout::interleaved};
      w.stripe(rope_tasks(turn), [&](std::size_t t) { rope_run(turn, t); });
      const AddJob add{matrix(sum2), B};
      w.stripe(add_tasks(add), [&](std::size_t t) { add_run(add, t); });
    });
    EXPECT_TRUE(same_bits(normed2, normed) && same_bits(gated2, gated) && same_bits(soft2, soft)) << nth;
    EXPECT_TRUE(same_bits(turned2, turned) && same_bits(sum2, sum)) << nth;
  }
}

TEST(Tasks, QuantiseAndMatmul) {
  constexpr std::size_t N = 600, K = 256;
  Weights<Q4_0> q(1, N, K);
  Weights<F32> f(2, 100, K);
  const std::vector<float> bias = noise_values(3, N);
  for (const std::size_t M : {1u, 3u, 40u}) {
    const std::vector<float> x = noise_values(4, M * K);
    const ConstMatrix X(x.data(), M, K);
    ActivationBuffer rounded;
    std::vector<float> yq(M * N), yf(M * 100);
    ASSERT_TRUE(quantise(rounded, X));
    const auto products = [&](std::vector<float>& a, std::vector<float>& b) {
      return std::array{MatmulProduct{Matrix(a.data(), M, N), q.view, bias.data()}, MatmulProduct{Matrix(b.data(), M, 100), f.view}};
    };
    ASSERT_TRUE(matmul(products(yq, yf), {X, rounded.view()}));
    for (const std::size_t nth : worker_counts) {
      ActivationBuffer shared;
      std::optional<Result<QuantiseJob>> begun;
      std::vector<float> yq2(M * N), yf2(M * 100);
      with_workers(nth, [&](const Worker& w) {
        if (w.ith == 0) begun.emplace(quantise_begin(shared, X));
        w.barrier();
        const QuantiseJob& round = **begun;
        w.stripe(quantise_tasks(round), [&](std::size_t t) { quantise_run(round, t); });
        w.barrier();
        const auto list = products(yq2, yf2);
        const MatmulJob job(list, {X, shared.view()});  // each worker makes a job object of its own
        w.stripe(matmul_tasks(job), [&](std::size_t t) { matmul_run(job, t); });
      });
      EXPECT_TRUE(same_bits(yq2, yq) && same_bits(yf2, yf)) << M << " tokens, " << nth << " workers";
    }
  }
}

TEST(Tasks, ImportActivations) {
  constexpr std::size_t M = 20, N = 64, K = 128;
  Weights<Q8_0> w(1, N, K);
  std::vector<std::int8_t> values(M * K);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int8_t>(noise_bits(2, i) >> 24);
  const float scale = 0.0371f;
  const IntegerActivations<std::int8_t> x{{values.data(), M, K}, ScaleFor::tensor, &scale};
  ActivationBuffer one, shared;
  std::vector<float> y(M * N);
  ASSERT_TRUE(import_activations(one, x) && matmul(Matrix(y.data(), M, N), w.view, one.view()));
  for (const std::size_t nth : worker_counts) {
    std::optional<Result<ImportActivationsJob<std::int8_t>>> begun;
    with_workers(nth, [&](const Worker& worker) {
      if (worker.ith == 0) begun.emplace(import_activations_begin(shared, x));
      worker.barrier();
      worker.stripe(import_activations_tasks(**begun), [&](std::size_t t) { import_activations_run(**begun, t); });
    });
    std::vector<float> y2(M * N);
    ASSERT_TRUE(matmul(Matrix(y2.data(), M, N), w.view, shared.view()));
    EXPECT_TRUE(same_bits(y2, y)) << nth;
  }
}

TEST(Tasks, Attention) {
  constexpr std::size_t heads = 6, kv_heads = 2, D = 32, width = heads * D, before = 700;
  for (const KvType type : {KvType::f16, KvType::int8}) {
    for (const std::size_t M : {1u, 3u, 12u}) {
      Result<KvCache> cache = KvCache::create({1, kv_heads, D, type});
      ASSERT_TRUE(cache && cache->reserve(before + M));
      for (std::size_t p = 0; p < before + M; ++p) {
        const std::vector<float> k = noise_values(static_cast<std::uint32_t>(p), kv_heads * D),
                                 v = noise_values(static_cast<std::uint32_t>(p + 9999), kv_heads * D);
        ASSERT_TRUE(cache->store(0, p, k.data(), v.data()));
      }
      const std::vector<float> q = noise_values(5, M * width);
      std::vector<float> out(M * width), scratch(attention_scratch_floats(M, heads, D, before + M) + 1);
      ASSERT_TRUE(attention(Matrix(out.data(), M, width), ConstMatrix(q.data(), M, width), *cache, 0, before, heads));
      for (const bool has_scratch : {false, true}) {
        for (const std::size_t nth : worker_counts) {
          std::vector<float> out2(M * width);
          with_workers(nth, [&](const Worker& w) {
            const AttentionJob job{Matrix(out2.data(), M, width),         ConstMatrix(q.data(), M, width), cache->view(), 0, before, heads,
                                   has_scratch ? scratch.data() : nullptr};
            w.stripe(attention_tasks(job), [&](std::size_t t) { attention_run(job, t); });
            w.barrier();
            w.stripe(attention_merge_tasks(job), [&](std::size_t t) { attention_merge_run(job, t); });
          });
          EXPECT_TRUE(same_bits(out2, out)) << M << " rows, " << nth << " workers, scratch " << has_scratch;
        }
      }
    }
  }
}

TEST(Tasks, Head) {
  constexpr std::size_t N = 700, K = 64;
  Weights<Q8_0> w(1, N, K);
  const LogitRequest request{7, {3, 400, 699}, N - 5};
  for (const std::size_t M : {1u, 40u}) {
    const std::vector<float> x = noise_values(2, M * K);
    ActivationBuffer rounded;
    TopLogits expected, found;
    ASSERT_TRUE(quantise(rounded, ConstMatrix(x.data(), M, K)) && top_logits(expected, w.view, {{}, rounded.view()}, request));
    for (const std::size_t nth : worker_counts) {
      std::optional<Result<TopLogitsJob>> begun;
      with_workers(nth, [&](const Worker& worker) {
        if (worker.ith == 0) begun.emplace(top_logits_begin(found, w.view, {{}, rounded.view()}, request));
        worker.barrier();
        const TopLogitsJob& job = **begun;
        worker.stripe(top_logits_tasks(job), [&](std::size_t t) { top_logits_run(job, t); });
        worker.barrier();
        if (worker.ith == 0) top_logits_end(job);
      });
      ASSERT_EQ(found.rows(), M);
      for (std::size_t m = 0; m < M; ++m) {
        const auto a = expected.row(m), b = found.row(m);
        EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end(),
                               [](Candidate i, Candidate j) { return i.id == j.id && same_bits(i.logit, j.logit); }))
            << m << " of " << M << ", " << nth << " workers";
      }
    }
  }
}

// Each worker calls the op itself, with a Parallel that runs only this worker's tasks and waits for the other workers. If there
// is only one task, only one worker may run it: if RoPE were computed in place twice, it would rotate twice as far.
TEST(Tasks, OneTaskIsNotRunByEveryWorker) {
  constexpr std::size_t head_dim = 32, width = 4 * head_dim;
  const std::vector<float> before = noise_values(1, width), cos = noise_values(2, head_dim / 2), sin = noise_values(3, head_dim / 2);
  const ConstMatrix C(cos.data(), 1, head_dim / 2), S(sin.data(), 1, head_dim / 2);
  std::vector<float> expected = before;
  ASSERT_TRUE(rope(Matrix(expected.data(), 1, width), head_dim, C, S, RopeLayout::half_split));
  for (const std::size_t nth : worker_counts) {
    std::vector<float> x = before, sum = before;
    with_workers(nth, [&](const Worker& w) {
      const auto striped = [&](std::size_t count, IndexFunction body) {
        w.stripe(count, body);
        w.barrier();
      };
      EXPECT_TRUE(rope(Matrix(x.data(), 1, width), head_dim, C, S, RopeLayout::half_split, striped));
      EXPECT_TRUE(add_inplace(Matrix(sum.data(), 1, width), ConstMatrix(x.data(), 1, width), striped));
    });
    EXPECT_TRUE(same_bits(x, expected)) << nth;
    for (std::size_t i = 0; i < width; ++i) EXPECT_EQ(sum[i], before[i] + expected[i]) << nth;
  }
}

}  // namespace
