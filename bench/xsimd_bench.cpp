// SPDX-License-Identifier: Apache-2.0
//
// Compares functions on xsimd's batches (examples/07_xsimd_functions.cpp) with the library's own on each target that the CPU has:
//
//     Gelu/<target>                    a tile of 4 tokens and 256 rows: epilogue::gelu() and xsimd_epilogue(Gelu{})
//     GeluOfProduct/<target>/M<M>      a product of Q4_0, 8960 x 1536, with either epilogue
//     RmsNorm/<target>                 a row of 1536: rms_norm() and RmsNormOnePlus
//
// Each iteration runs both functions: the product once, and the two small ones (Gelu, RmsNorm) a hundred times. The function that runs
// first changes from iteration to iteration. `xsimd` is the median of the time of the function on xsimd, in microseconds. `of_ours` is the
// median of that time divided by the time of the library's function.
#include <cstddef>
#include <string>
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

// Measures `by_xsimd` and `ours`, each `repetitions` times in a row, so that the clock's resolution does not matter.
void compare(benchmark::State& state, std::size_t repetitions, auto&& by_xsimd, auto&& ours) {
  const auto seconds = [&](const auto& work) {
    return seconds_of([&] {
      for (std::size_t i = 0; i < repetitions; ++i) work();
    });
  };
  by_xsimd();
  ours();
  std::vector<double> times, ratios;
  bool is_xsimd_first = true;
  for (auto _ : state) {
    const double before = is_xsimd_first ? 0.0 : seconds(ours);
    times.push_back(seconds(by_xsimd));
    ratios.push_back(times.back() / (is_xsimd_first ? seconds(ours) : before));
    is_xsimd_first = !is_xsimd_first;
  }
  state.counters["xsimd"] = median(times) * 1e6 / static_cast<double>(repetitions);
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
  compare(state, 100, [&] { run(xsimd_epilogue(Gelu{})); }, [&] { run(epilogue::gelu); });
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
  compare(
      state, 1, [&] { (void)matmul({Y, *packed, nullptr, xsimd_epilogue(Gelu{})}, input); },
      [&] { (void)matmul({Y, *packed, nullptr, epilogue::gelu}, input); });
}

void run_rms_norm(benchmark::State& state, TargetId target) {
  (void)force_target(target.name);
  constexpr std::size_t n = 1536;
  std::vector<float> x(n), weight(n, 0.5f), y(n);
  fill_activations(x.data(), n, 2);
  const auto by_xsimd = on_xsimd_arch(RmsNormOnePlus{});
  compare(
      state, 100, [&] { by_xsimd(y.data(), x.data(), weight.data(), n, 1e-6f); },
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
