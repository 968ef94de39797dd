// SPDX-License-Identifier: Apache-2.0
//
// Compares a mixture of experts with one matrix. This shows how much more time a product takes if its rows are multiplied by different
// matrices (experts.hpp).
//
//     Experts/<format>/<N>x<K>/<experts>of<per token>/M<tokens>/T<threads>
//
// Each token has a row for each of its experts. Each iteration multiplies all rows twice: by the matrices of their experts, and then
// all of them by one matrix of the same shape, which is called the dense product. The time shown is that of the experts. `of_dense` is
// the median of the experts' time divided by the time of the dense product. With few tokens, as in decode, the experts read more weights
// than the dense product does, and the number of bytes determines the time. `bytes_of_dense` is the bytes of weights that the experts
// read, divided by those that the dense product reads.
#include <algorithm>
#include <vector>

#include <stilla/experts.hpp>
#include <stilla/format/encode_rows.hpp>

#include "common.hpp"

namespace stilla_bench { namespace {

using namespace stilla;

void run(benchmark::State& state, FormatId format, std::size_t N, std::size_t K, std::size_t n_experts, std::size_t per_token,
         std::size_t tokens, std::size_t threads) {
  Random random(1);
  std::vector<float> weights(N * K), x(tokens * K);
  for (float& w : weights) w = static_cast<float>(random.uniform() - 0.5) * 0.1f;
  fill_activations(x.data(), x.size(), 2);
  const Result<std::size_t> bytes = encoded_bytes(format, N, K);
  if (!bytes) return state.SkipWithError(bytes.error().message.c_str());
  std::vector<std::byte> rows(*bytes);
  if (!encode_rows(rows, ConstMatrix(weights.data(), N, K), format)) return state.SkipWithError("the format has no encoder");
  std::vector<PackedMatrix> matrices;
  std::vector<PackedView> views;
  for (std::size_t e = 0; e < n_experts; ++e) {
    Result<PackedMatrix> packed = PackedMatrix::create(format, rows.data(), N, K);
    if (!packed) return state.SkipWithError(packed.error().message.c_str());
    matrices.push_back(std::move(*packed));
    views.push_back(matrices.back());
  }
  // Each token gets different experts, chosen at random. A model's router, which chooses the experts, does it in a similar way if it
  // was trained to use all experts equally often.
  std::vector<std::uint32_t> ids;
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t j = 0; j < per_token; ++j) {
      std::uint32_t id = 0;
      do id = static_cast<std::uint32_t>(random.uniform() * static_cast<double>(n_experts));
      while (std::find(ids.end() - static_cast<std::ptrdiff_t>(j), ids.end(), id) != ids.end());
      ids.push_back(id);
    }
  }
  ExpertPlan plan;
  ActivationBuffer rounded;
  if (!plan.build(ids, per_token, n_experts)) return state.SkipWithError("not enough memory");
  const Result<ConstMatrix> gathered = plan.gather(ConstMatrix(x.data(), tokens, K));
  if (!gathered || !quantise(rounded, *gathered)) return state.SkipWithError("not enough memory");
  const ActivationQ8 input = rounded.view();
  std::vector<float> y(plan.rows() * N);
  const Matrix Y(y.data(), plan.rows(), N);
  ThreadPool& pool = pool_of(threads);

  std::vector<double> ratios;
  for (auto _ : state) {
    const double by_experts = seconds_of([&] { (void)expert_matmul(Y, plan, views, {{}, input}, {}, pool); });
    const double dense = seconds_of([&] { (void)matmul(Y, views[0], input, nullptr, pool); });
    ratios.push_back(by_experts / dense);
    state.SetIterationTime(by_experts);
  }
  std::size_t chosen = 0;
  for (std::size_t e = 0; e < n_experts; ++e) chosen += plan.begin(e + 1) != plan.begin(e) ? 1u : 0u;
  state.counters["of_dense"] = median(ratios);
  state.counters["bytes_of_dense"] = static_cast<double>(chosen);
}

void add(FormatId format, std::size_t N, std::size_t K, std::size_t n_experts, std::size_t per_token, std::size_t tokens,
         std::size_t threads) {
  const std::string name =
      concat("Experts/", format_name(format), "/", N, "x", K, "/", n_experts, "of", per_token, "/M", tokens, "/T", threads);
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) { run(state, format, N, K, n_experts, per_token, tokens, threads); })
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

void add_all() {
  for (const FormatId format : {id_of<Q4_0>, id_of<Q4_K>}) {
    for (const std::size_t tokens : {1u, 8u, 64u, 512u}) {
      for (const std::size_t threads : {1u, 2u}) {
        add(format, 1408, 2048, 8, 2, tokens, threads);  // an expert's gate of a small model
        add(format, 14336, 4096, 8, 2, tokens, threads);  // an expert's gate of Mixtral 8x7B
      }
    }
  }
}

}}  // namespace stilla_bench

int main(int argc, char** argv) {
  stilla_bench::add_all();
  return stilla_bench::run_benchmarks(argc, argv, "q4_0/1408");
}
