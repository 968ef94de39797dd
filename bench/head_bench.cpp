// SPDX-License-Identifier: Apache-2.0
//
// Measures the time from the last layer's output to the next token, in two ways: by computing the row of all logits, and by
// computing only the logits that the sampler asks for. Benchmarks are called Head/<format>/<model>/<setting>/T<threads> and run
// on the CPU's best target, with inputs of 16 bits as in model/forward.hpp. Each iteration does both ways, one after the other.
// The counters are medians in microseconds: `row` is that of the first way, `asked` of the second, and `saved` of the difference.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include <stilla/head.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/sampling.hpp>

#include "common.hpp"

namespace stilla_bench { namespace {

using namespace stilla;

// Returns the head of a model: a thousand different rows of random weights, repeated until the vocabulary is full. The bias makes
// the logits of equal rows differ.
const PackedMatrix& head_of(FormatId format, const ModelShape& model) {
  static std::map<std::pair<FormatId, std::size_t>, PackedMatrix> heads;
  const auto [found, is_new] = heads.try_emplace({format, model.hidden});
  if (is_new) {
    constexpr std::size_t kinds = 1000;
    std::vector<float> weights(kinds * model.hidden);
    Random random(1);
    for (float& w : weights) w = static_cast<float>(random.uniform() - 0.5) * 0.1f;
    const std::size_t row = *encoded_bytes(format, 1, model.hidden);
    std::vector<std::byte> encoded(kinds * row), rows(model.vocabulary * row);
    if (!encode_rows(encoded, ConstMatrix(weights.data(), kinds, model.hidden), format)) return found->second;
    for (std::size_t n = 0; n < model.vocabulary; ++n) {
      std::copy_n(encoded.begin() + static_cast<std::ptrdiff_t>(n % kinds * row), row, rows.begin() + static_cast<std::ptrdiff_t>(n * row));
    }
    Result<PackedMatrix> packed = PackedMatrix::create(format, rows.data(), model.vocabulary, model.hidden);
    if (packed) found->second = std::move(*packed);
  }
  return found->second;
}

void run_head(benchmark::State& state, FormatId format, const ModelShape& model, const SamplingOptions& options, std::size_t threads) {
  const PackedView& w = head_of(format, model).view();
  ThreadPool& pool = pool_of(threads);
  std::vector<float> x(model.hidden), row(model.vocabulary), bias(model.vocabulary);
  Random random(2);
  for (float& b : bias) b = static_cast<float>(random.uniform() + random.uniform() + random.uniform() - 1.5) * 4.0f;
  Sampler sampler(options), asking(options);
  ActivationBuffer rounded(ActivationBits::sixteen);
  TopLogits top;
  std::vector<double> by_row, by_request, saved;
  std::uint64_t seed = 0;
  for (auto _ : state) {
    fill_activations(x.data(), x.size(), ++seed);
    if (!quantise(rounded, ConstMatrix(x.data(), 1, x.size()))) return state.SkipWithError("no memory");
    const auto begin = std::chrono::steady_clock::now();
    (void)matmul(Matrix(row.data(), 1, row.size()), w, rounded.view(), bias.data(), pool);
    const std::optional<std::uint32_t> expected = sampler.sample(row);
    by_row.push_back(seconds_since(begin) * 1e6);

    const auto middle = std::chrono::steady_clock::now();
    const LogitRequest* request = asking.request();
    if (request == nullptr) return state.SkipWithError("the sampler needs the row");
    if (!top_logits(top, w, {{}, rounded.view()}, *request, bias.data(), pool)) return state.SkipWithError("no memory");
    const std::optional<std::uint32_t> found = asking.sample_from(top.row(0));
    by_request.push_back(seconds_since(middle) * 1e6);
    saved.push_back(by_row.back() - by_request.back());
    if (found != expected) return state.SkipWithError("another token");
  }
  state.counters["row"] = median(by_row);
  state.counters["asked"] = median(by_request);
  state.counters["saved"] = median(saved);
}

void register_all() {
  SamplingOptions greedy, top_k;
  greedy.temperature = 0.0f;
  top_k.top_k = 40;
  for (const FormatId format : {id_of<Q6_K>, id_of<Q8_0>}) {
    for (const ModelShape& model : models) {
      for (const auto& [name, options] : {std::pair("greedy", greedy), std::pair("top_k40", top_k)}) {
        for (const std::size_t threads : thread_counts()) {
          benchmark::RegisterBenchmark(
              concat("Head/", format_name(format), "/", model.name, "/", name, "/T", threads).c_str(),
              [format, &model, sampling = options, threads](benchmark::State& state) { run_head(state, format, model, sampling, threads); })
              ->Unit(benchmark::kMicrosecond);
        }
      }
    }
  }
}

}  // namespace
}  // namespace stilla_bench

int main(int argc, char** argv) {
  stilla_bench::register_all();
  return stilla_bench::run_benchmarks(argc, argv, "/q6_k/1.5B/");
}
