// SPDX-License-Identifier: Apache-2.0
//
// Measures how long it takes to draw one token from the 151936 logits of Qwen2: Sampling/<setting>. The logits are random but
// distributed as a model's are: normal with a standard deviation of 3, and about a hundred likelier ones above the others. Each
// iteration takes another row of logits. For comparison: decoding on two threads takes 8 ms for each token with the 0.5B model, and
// more with larger models. The setting `chain` uses every step (filter or penalty) of the default order.
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <stilla/sampling.hpp>

#include "common.hpp"

namespace stilla_bench { namespace {

using namespace stilla;

constexpr std::size_t vocabulary = 151936, rows = 8;

const std::vector<float>& logits() {
  static const std::vector<float> values = [] {
    std::vector<float> out(rows * vocabulary);
    Random random(1);
    for (float& logit : out) {
      double sum = -6.0;
      for (int i = 0; i < 12; ++i) sum += random.uniform();
      logit = static_cast<float>(3.0 * sum);
    }
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = 0; i < 100; ++i) {
        const double steepness = 2.0 + 0.3 * static_cast<double>(row);
        out[row * vocabulary + random.next() % vocabulary] = static_cast<float>(20.0 - steepness * std::log1p(static_cast<double>(i)));
      }
    }
    return out;
  }();
  return values;
}

void run_sampling(benchmark::State& state, const std::function<void(SamplingOptions&)>& set) {
  SamplingOptions options;
  set(options);
  Sampler sampler(options);
  const std::span<const float> all = logits();
  std::size_t row = 0;
  for (auto _ : state) {
    const std::optional<std::uint32_t> id = sampler.sample(all.subspan(row * vocabulary, vocabulary));
    if (!id) return state.SkipWithError("no token");
    sampler.accept(*id);
    row = (row + 1) % rows;
  }
}

void register_all() {
  using Setting = std::pair<const char*, std::function<void(SamplingOptions&)>>;
  for (const Setting& setting : {
           Setting{"greedy", [](SamplingOptions& o) { o.temperature = 0.0f; }},
           Setting{"default", [](SamplingOptions&) {}},
           Setting{"temperature", [](SamplingOptions& o) { o.top_p = 1.0f; }},
           Setting{"top_k40", [](SamplingOptions& o) { o.top_k = 40; }},
           Setting{"min_p0.05", [](SamplingOptions& o) { o.top_p = 1.0f, o.min_p = 0.05f; }},
           Setting{"typ_p0.9", [](SamplingOptions& o) { o.top_p = 1.0f, o.typical_p = 0.9f; }},
           Setting{"mirostat", [](SamplingOptions& o) { o.mirostat = true; }},
           Setting{"chain",
                   [](SamplingOptions& o) {
                     o.top_k = 40, o.typical_p = 0.95f, o.min_p = 0.02f, o.xtc_probability = 0.5f;
                     o.presence_penalty = 0.1f, o.dry.multiplier = 0.8f, o.dry_window = 1024;
                   }},
       }) {
    benchmark::RegisterBenchmark(stilla::concat("Sampling/", setting.first).c_str(), [set = setting.second](benchmark::State& state) {
      run_sampling(state, set);
    })->Unit(benchmark::kMicrosecond);
  }
}

}  // namespace
}  // namespace stilla_bench

int main(int argc, char** argv) {
  stilla_bench::register_all();
  return stilla_bench::run_benchmarks(argc, argv, ".*");
}
