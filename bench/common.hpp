// SPDX-License-Identifier: Apache-2.0
//
// What the benchmarks share: the shapes of the models, thread pools, random weights, counters as shares of the measured
// limits, and a main() that has a short default run.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <stilla/dispatch.hpp>
#include <stilla/error.hpp>
#include <stilla/format/format.hpp>
#include <stilla/parallel.hpp>
#include <stilla/random.hpp>

#include "roofline.hpp"

namespace stilla_bench {

// R1-Distill-Qwen by size.
struct ModelShape {
  const char* name;
  std::size_t hidden, ffn, n_heads, n_kv_heads, layers, vocabulary;
};
inline constexpr std::size_t head_dim = 128;
inline constexpr ModelShape models[] = {
    {"1.5B", 1536, 8960, 12, 2, 28, 151936},
    {"7B", 3584, 18944, 28, 4, 28, 152064},
    {"14B", 5120, 13824, 40, 8, 48, 152064},
};

// 1 and all.
inline std::vector<std::size_t> thread_counts() {
  const std::size_t all = std::thread::hardware_concurrency();
  return all > 1 ? std::vector<std::size_t>{1, all} : std::vector<std::size_t>{1};
}

inline stilla::ThreadPool& pool_of(std::size_t threads) {
  static std::map<std::size_t, std::unique_ptr<stilla::ThreadPool>> pools;
  std::unique_ptr<stilla::ThreadPool>& pool = pools[threads];
  if (pool == nullptr) pool = std::make_unique<stilla::ThreadPool>(threads);
  return *pool;
}

// Uniform in [-1, 1), one value in 64 ten times as large: activations have such outliers.
inline void fill_activations(float* x, std::size_t count, std::uint64_t seed) {
  stilla::Random random(seed);
  for (std::size_t i = 0; i < count; ++i) {
    x[i] = static_cast<float>(2 * random.uniform() - 1) * (random.next() % 64 == 0 ? 10.0f : 1.0f);
  }
}

// Counters of one benchmark, from the wall time of its whole loop: create it just before the loop, end it just after.
class Rates {
 public:
  explicit Rates(benchmark::State& state) : state_(state), start_(std::chrono::steady_clock::now()) {}
  void end() { seconds_ = seconds_since(start_); }

  // In units of 1e9 per second.
  void add(const char* name, double per_iteration) { state_.counters[name] = 1e-9 * per_second(per_iteration); }
  // As a percentage of a limit; nothing where the limit is not known.
  void add_share(const char* name, double per_iteration, double limit) {
    if (limit > 0.0) state_.counters[name] = 100 * per_second(per_iteration) / limit;
  }

 private:
  double per_second(double per_iteration) const {
    return per_iteration * static_cast<double>(state_.iterations()) / seconds_;
  }
  benchmark::State& state_;
  std::chrono::steady_clock::time_point start_;
  double seconds_ = 0.0;
};

// Runs the benchmarks; without --benchmark_filter those that match `short_run`.
inline int run_benchmarks(int argc, char** argv, const char* short_run) {
  std::vector<char*> arguments(argv, argv + argc);
  std::string filter = std::string("--benchmark_filter=") + short_run;
  bool has_filter = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    has_filter = has_filter || argument.starts_with("--benchmark_filter") || argument.starts_with("--benchmark_list");
  }
  if (!has_filter) arguments.push_back(filter.data());
  arguments.push_back(nullptr);
  int count = static_cast<int>(arguments.size()) - 1;
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;

  std::string targets;
  stilla::for_each_available_target(
      [&](stilla::TargetId id) { targets += (targets.empty() ? "" : ", ") + std::string(id.name); });
  benchmark::AddCustomContext("targets of this CPU, best first", targets);
  benchmark::AddCustomContext("int8 peak is that of", int8_instruction().name);
  for (const std::size_t threads : thread_counts()) {
    stilla::ThreadPool& pool = pool_of(threads);
    const std::string on = stilla::concat(" on ", threads, threads == 1 ? " thread" : " threads");
    benchmark::AddCustomContext("read bandwidth" + on,
                                stilla::concat(static_cast<int>(read_bandwidth(pool) * 1e-9 + 0.5), " GB/s"));
    benchmark::AddCustomContext("int8 peak" + on,
                                stilla::concat(static_cast<int>(int8_peak(pool) * 1e-9 + 0.5), " GOP/s"));
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace stilla_bench
