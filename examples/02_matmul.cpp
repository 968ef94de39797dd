// SPDX-License-Identifier: Apache-2.0
//
// Example 2: an int4 matrix product on your own threads.
//
// Stilla starts no thread. Anything that can run body(0) .. body(count - 1) can be its thread pool. Below is a small pool. For your
// own pool you write one operator(). Results have the same bits on any number of threads and on every target, because the work is
// divided by outputs and never inside a sum. This program checks that.
//
//   c++ -std=c++20 -O2 -Istilla/include -Istilla/kernels 02_matmul.cpp -lpthread -o 02 && ./02
#include <algorithm>
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include <stilla/matmul.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/base/random.hpp>

namespace {

using stilla::Q4_0;

class MyPool {
 public:
  explicit MyPool(std::size_t threads) : start_(static_cast<std::ptrdiff_t>(threads)), done_(static_cast<std::ptrdiff_t>(threads)) {
    // The thread that calls the pool runs body(i) for some i itself, so the pool starts one thread fewer than `threads`.
    for (std::size_t i = 1; i < threads; ++i) {
      workers_.emplace_back([this] {
        for (;;) {
          start_.arrive_and_wait();
          if (body_ == nullptr) return;
          take_indices();
          done_.arrive_and_wait();
        }
      });
    }
  }
  ~MyPool() {
    body_ = nullptr;
    start_.arrive_and_wait();
    for (std::thread& worker : workers_) worker.join();
  }
  // The call operator, which runs body(0) .. body(count - 1), is all that Stilla needs of a pool.
  void operator()(std::size_t count, stilla::IndexFunction body) {
    body_ = &body;
    count_ = count;
    next_ = 0;
    start_.arrive_and_wait();
    take_indices();
    done_.arrive_and_wait();
  }

 private:
  void take_indices() {
    for (std::size_t i = next_++; i < count_; i = next_++) (*body_)(i);
  }
  std::barrier<> start_, done_;
  std::vector<std::thread> workers_;
  const stilla::IndexFunction* body_ = nullptr;
  std::size_t count_ = 0;
  std::atomic<std::size_t> next_{0};
};
static_assert(stilla::ParallelFor<MyPool>);

}  // namespace

int main() {
  constexpr std::size_t M = 5, N = 1000, K = 1024;  // 5 tokens, 1024 features in, 1000 out

  stilla::Random random(2);
  std::vector<float> weights(N * K), x(M * K), bias(N);
  for (float& w : weights) w = static_cast<float>(random.uniform() - 0.5) * 0.1f;
  for (float& v : x) v = static_cast<float>(random.uniform() - 0.5) * 4.0f;
  for (float& b : bias) b = static_cast<float>(random.uniform() - 0.5);

  // This is done once, when a model is loaded: floats become Q4_0 blocks, and the blocks are packed. A GGUF file already has such
  // blocks.
  std::vector<std::byte> blocks(N * stilla::row_bytes<Q4_0>(K));
  const auto report = stilla::encode_rows<Q4_0>(blocks, stilla::ConstMatrix(weights.data(), N, K));
  const auto packed = stilla::PackedMatrix::create<Q4_0>(blocks.data(), N, K);
  if (!report || !packed) return EXIT_FAILURE;
  std::printf("W[%zu, %zu]: %zu bytes of floats, %zu packed; off by %.1f %%\n\n", N, K, weights.size() * sizeof(float), packed->bytes(),
              100 * report->relative_rmse);

  // This is done for every input: round it to int8, and multiply. The example does so on every target of this CPU, with 1 and
  // with 4 threads.
  std::vector<float> y(M * N), first;
  stilla::ActivationBuffer x8;
  bool all_same = true;
  std::printf("target       threads   y[0, 0]      y[4, 999]    bits\n");
  stilla::for_each_available_target([&](stilla::TargetId target) {
    if (!stilla::force_target(target.name)) return;
    for (const std::size_t threads : {1u, 4u}) {
      MyPool pool(threads);
      std::fill(y.begin(), y.end(), 0.0f);
      if (!stilla::quantise(x8, stilla::ConstMatrix(x.data(), M, K), pool)) return;
      if (!stilla::matmul(stilla::Matrix(y.data(), M, N), *packed, x8.view(), bias.data(), pool)) return;
      if (first.empty()) first = y;
      const bool same = std::memcmp(first.data(), y.data(), y.size() * sizeof(float)) == 0;
      all_same = all_same && same;
      std::printf("%-12s %zu         %-12.8g %-12.8g %s\n", target.name, threads, y[0], y[M * N - 1], same ? "the same" : "DIFFER");
    }
  });
  (void)stilla::force_target("");  // back to the best target

  // The result of the quantised product is compared with the product of the original floats.
  double squared_error = 0.0, squared = 0.0;
  for (std::size_t m = 0; m < M; ++m) {
    for (std::size_t n = 0; n < N; ++n) {
      double exact = bias[n];
      for (std::size_t k = 0; k < K; ++k) exact += double{weights[n * K + k]} * double{x[m * K + k]};
      squared_error += (first[m * N + n] - exact) * (first[m * N + n] - exact);
      squared += exact * exact;
    }
  }
  // The errors of single weights are independent, so the relative error of the product is about as large as that of the weights.
  const double relative = std::sqrt(squared_error / squared);
  const bool close = relative < 1.2 * report->relative_rmse;
  std::printf("\nagainst the float product: off by %.1f %%\n%s\n", 100 * relative,
              all_same && close ? "ok: the same bits everywhere" : "WRONG");
  return all_same && close ? EXIT_SUCCESS : EXIT_FAILURE;
}
