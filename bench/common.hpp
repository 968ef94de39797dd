// SPDX-License-Identifier: Apache-2.0
//
// What the benchmarks share: the shapes of the models, thread pools, random inputs, counters that show a speed as a share of the
// measured limit, and a main() whose default run is short.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/dispatch.hpp>
#include <stilla/base/cores.hpp>
#include <stilla/base/error.hpp>
#include <stilla/contract/r1_models.hpp>
#include <stilla/format/format.hpp>
#include <stilla/base/thread_pool.hpp>
#include <stilla/base/random.hpp>

#include "roofline.hpp"

namespace stilla_bench {

using ModelShape = stilla::R1Model;
inline constexpr const auto& models = stilla::r1_models;
inline constexpr std::size_t head_dim = ModelShape::head_dim;

// Returns the numbers of threads to measure with: 1, and the number that is fastest on this machine.
inline std::vector<std::size_t> thread_counts() {
  const std::size_t all = stilla::read_cores().threads();
  return all > 1 ? std::vector<std::size_t>{1, all} : std::vector<std::size_t>{1};
}

inline stilla::ThreadPool& pool_of(std::size_t threads) {
  static std::map<std::size_t, std::unique_ptr<stilla::ThreadPool>> pools;
  std::unique_ptr<stilla::ThreadPool>& pool = pools[threads];
  if (pool == nullptr) pool = std::make_unique<stilla::ThreadPool>(threads);
  return *pool;
}

// Returns how long a call of `work` takes.
inline double seconds_of(auto&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return seconds_since(begin);
}

// Returns the median of `values`, of which there is at least one. If two values are in the middle, it is the upper one. Changes the order
// of `values`.
inline double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Fills `x` with uniform values in [-1, 1); about one value in 64 is ten times as large, because activations have such outliers.
inline void fill_activations(float* x, std::size_t count, std::uint64_t seed) {
  stilla::Random random(seed);
  for (std::size_t i = 0; i < count; ++i) {
    x[i] = static_cast<float>(2 * random.uniform() - 1) * (random.next() % 64 == 0 ? 10.0f : 1.0f);
  }
}

// What a machine can do at this moment with `threads` threads: how many bytes it reads in a second, and how many multiply-adds it does
// (roofline.hpp).
struct Limits {
  double bytes_per_second = 0.0;
  double macs_per_second = 0.0;
};

// Measures how fast `threads` threads read memory and multiply. Google Benchmark calls a benchmark several times in a row, so a measurement
// that is younger than a quarter of a second, and was made with the same threads and instruction, is used again.
inline Limits limits_now(std::size_t threads, const MacLoop& loop) {
  struct Latest {
    std::chrono::steady_clock::time_point when;
    std::size_t threads = 0;
    const char* instruction = nullptr;
    Limits limits;
  };
  static ReadProbe probe;
  static Latest latest;
  const bool is_same = latest.threads == threads && latest.instruction == loop.name;
  if (!is_same || seconds_since(latest.when) > 0.25) {
    stilla::ThreadPool& pool = pool_of(threads);
    latest.limits = {probe.bytes_per_second(pool), macs_per_second(loop, pool, threads)};
    latest.threads = threads;
    latest.instruction = loop.name;
    latest.when = std::chrono::steady_clock::now();
  }
  return latest.limits;
}

// Computes the speeds that one benchmark shows. They come from the wall time of the benchmark's whole loop, and from what the machine can
// read and multiply just before and just after it. So create the object just before the loop, and call end() just after it.
class Rates {
 public:
  Rates(benchmark::State& state, std::size_t threads, const MacLoop& loop)
      : state_(state), threads_(threads), loop_(loop), before_(limits_now(threads, loop)) {
    start_ = std::chrono::steady_clock::now();
  }
  void end() {
    seconds_ = seconds_since(start_);
    after_ = limits_now(threads_, loop_);
  }

  // Shows how fast an iteration reads, given the bytes that it reads: GB/s, the GB/s that the machine can read, and the share of this
  // limit.
  void add_bytes(double per_iteration) {
    add("GB/s", "read GB/s", "%read", per_iteration, (before_.bytes_per_second + after_.bytes_per_second) / 2);
  }
  // Shows how fast an iteration multiplies, given its multiply-adds, each counted as two operations: GOP/s, the GOP/s that the machine can
  // do, and the share of this limit.
  void add_macs(double per_iteration) {
    add("GOP/s", "peak GOP/s", "%peak", 2 * per_iteration, before_.macs_per_second + after_.macs_per_second);
  }

 private:
  void add(const char* name, const char* limit_name, const char* share_name, double per_iteration, double limit) {
    const double per_second = per_iteration * static_cast<double>(state_.iterations()) / seconds_;
    state_.counters[name] = 1e-9 * per_second;
    if (limit <= 0.0) return;  // the limit is not known
    state_.counters[limit_name] = 1e-9 * limit;
    state_.counters[share_name] = 100 * per_second / limit;
  }

  benchmark::State& state_;
  std::size_t threads_;
  MacLoop loop_;
  Limits before_, after_;
  std::chrono::steady_clock::time_point start_;
  double seconds_ = 0.0;
};

// Runs the benchmarks. Without the option --benchmark_filter it runs those whose names match the regular expression `short_run`. The speeds
// that a benchmark shows are columns of a table unless an option says otherwise.
inline int run_benchmarks(int argc, char** argv, const char* short_run) {
  std::vector<char*> arguments(argv, argv + argc);
  bool has_filter = false, is_list = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    has_filter = has_filter || argument.starts_with("--benchmark_filter");
    is_list = is_list || argument.starts_with("--benchmark_list");
  }
  // If benchmarks are only listed, the filter is ".*" and not Google Benchmark's default ".", with which it takes minutes to list
  // tens of thousands of names.
  std::string filter = stilla::concat("--benchmark_filter=", is_list ? ".*" : short_run);
  if (!has_filter) arguments.push_back(filter.data());
  std::string tabular = "--benchmark_counters_tabular=true";
  arguments.insert(arguments.begin() + (argc > 0 ? 1 : 0), tabular.data());  // before the user's options, which can override it
  arguments.push_back(nullptr);
  int count = static_cast<int>(arguments.size()) - 1;
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;

  std::string targets;
  stilla::for_each_available_target([&](stilla::TargetId id) { targets += (targets.empty() ? "" : ", ") + std::string(id.name); });
  benchmark::AddCustomContext("targets of this CPU, best first", targets);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace stilla_bench
