// SPDX-License-Identifier: Apache-2.0
//
// Compares functions on xsimd's batches (examples/07_xsimd_functions.cpp) with the library's own on each target that the CPU has:
//
//     Gelu/<target>                    a tile of 4 tokens and 256 rows: epilogue::gelu() and xsimd_epilogue(Gelu{})
//     GeluOfProduct/<target>/M<M>      a product of Q4_0, 8960 x 1536, with either epilogue
//     RmsNorm/<target>                 a row of 1536: rms_norm() and RmsNormOnePlus
//
// Each iteration does both, one after the other, small ones a hundred times. `xsimd` is the median of the time of xsimd's function in
// microseconds. `of_ours` is the median of that time divided by the time of the library's function. For a product, `of_plain` is the
// median of its time divided by that of a product without an epilogue.
#include <algorithm>
#include <vector>

#include <stilla/epilogue.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/matmul.hpp>
#include <stilla/norm.hpp>
#include <stilla/xsimd.hpp>

#include "07_xsimd_functions.hpp"
#include "common.hpp"

namespace stilla_bench { namespace {

using namespace stilla;

double seconds_of(auto&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Measures `by_xsimd` and `ours` in turns, each a hundred times, so that the clock's resolution does not matter.
void compare(benchmark::State& state, auto&& by_xsimd, auto&& ours) {
  constexpr std::size_t repetitions = 100;
  std::vector<double> times, ratios;
  for (auto _ : state) {
    times.push_back(seconds_of([&] {
      for (std::size_t i = 0; i < repetitions; ++i) by_xsimd();
    }));
    ratios.push_back(times.back() / seconds_of([&] {
                       for (std::size_t i = 0; i < repetitions; ++i) ours();
                     }));
  }
  state.counters["xsimd"] = median(times) * 1e6 / repetitions;
  state.counters["of_ours"] = median(ratios);
}

void run_gelu(benchmark::State& state, TargetId target) {
  (void)force_target(target.name);
  constexpr std::size_t tokens = 4, rows = 256;
  std::vector<float> x(tokens * rows), y;
  fill_activations(x.data(), x.size(), 2);
  const auto run = [&](const auto& epilogue) {
    y = x;  // both functions get the same values; copying them takes a tenth of the time at most
    epilogue(MatmulTile{Matrix(y.data(), tokens, rows), 0, 0});
    benchmark::ClobberMemory();
  };
  compare(state, [&] { run(xsimd_epilogue(Gelu{})); }, [&] { run(epilogue::gelu); });
}

void run_product(benchmark::State& state, TargetId target, std::size_t M) {
  (void)force_target(target.name);
  constexpr std::size_t N = 8960, K = 1536;
  std::vector<float> weights(N * K), x(M * K), y(M * N);
  Random random(1);
  for (float& w : weights) w = static_cast<float>(random.uniform() - 0.5) * 0.1f;
  fill_activations(x.data(), x.size(), 2);
  std::vector<std::byte> rows(*encoded_bytes(id_of<Q4_0>, N, K));
  ActivationBuffer rounded;
  if (!encode_rows(rows, ConstMatrix(weights.data(), N, K), id_of<Q4_0>) || !quantise(rounded, ConstMatrix(x.data(), M, K))) {
    return state.SkipWithError("not enough memory");
  }
  const Result<PackedMatrix> packed = PackedMatrix::create(id_of<Q4_0>, rows.data(), N, K);
  if (!packed) return state.SkipWithError(packed.error().message.c_str());
  const Matrix Y(y.data(), M, N);
  const MatmulInput input{{}, rounded.view()};
  const auto run = [&](auto&&... epilogue_of_y) {
    return seconds_of([&] { (void)matmul({Y, *packed, nullptr, epilogue_of_y...}, input); });
  };
  std::vector<double> times, of_ours, of_plain;
  for (auto _ : state) {
    times.push_back(run(xsimd_epilogue(Gelu{})));
    of_ours.push_back(times.back() / run(epilogue::gelu));
    of_plain.push_back(times.back() / run());
  }
  state.counters["xsimd"] = median(times) * 1e6;
  state.counters["of_ours"] = median(of_ours);
  state.counters["of_plain"] = median(of_plain);
}

void run_rms_norm(benchmark::State& state, TargetId target) {
  (void)force_target(target.name);
  constexpr std::size_t n = 1536;
  std::vector<float> x(n), weight(n, 0.5f), y(n);
  fill_activations(x.data(), n, 2);
  const auto by_xsimd = on_xsimd_arch(RmsNormOnePlus{});
  compare(
      state, [&] { by_xsimd(y.data(), x.data(), weight.data(), n, 1e-6f); },
      [&] { (void)rms_norm(Matrix(y.data(), 1, n), ConstMatrix(x.data(), 1, n), weight.data(), 1e-6f); });
}

void add_all() {
  const auto add = [](const std::string& name, auto run) {
    benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMicrosecond);
  };
  for_each_available_target([&](TargetId target) {
    add(concat("Gelu/", target.name), [=](benchmark::State& state) { run_gelu(state, target); });
    for (const std::size_t M : {1u, 64u}) {
      add(concat("GeluOfProduct/", target.name, "/M", M), [=](benchmark::State& state) { run_product(state, target, M); });
    }
    add(concat("RmsNorm/", target.name), [=](benchmark::State& state) { run_rms_norm(state, target); });
  });
}

}}  // namespace stilla_bench

int main(int argc, char** argv) {
  stilla_bench::add_all();
  return stilla_bench::run_benchmarks(argc, argv, ".");
}
