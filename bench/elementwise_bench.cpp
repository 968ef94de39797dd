// SPDX-License-Identifier: Apache-2.0
//
// Measures the ops between the matrix products, on every target. Each works on one row that is as wide as the models' rows and
// stays in the cache:
//
//     RmsNorm, QuantiseActivations, SiluMul, Softmax / <target> / <width>      Rope / <target> / <layout>
//
// items_per_second counts the floats of the row. Two more benchmarks measure what loading a model costs, on one thread, in
// weights per second:
//
//     EncodeRows / <format>     encodes floats as blocks and measures the rounding error       Pack / <format>     packs blocks as panels
#include <string>
#include <vector>

#include <stilla/matmul.hpp>
#include <stilla/norm.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/rope.hpp>
#include <stilla/silu_mul.hpp>
#include <stilla/softmax.hpp>

#include "common.hpp"

namespace stilla_bench { namespace {

using namespace stilla;

// Measures an op, op(out, x, other), by calling it again and again. Each of the three arguments is one row of n random floats.
template <class Op>
void run_row(benchmark::State& state, TargetId target, std::size_t n, Op op) {
  AlignedBuffer<float> out, x, other;
  if (!out.resize(n) || !x.resize(n) || !other.resize(n)) return state.SkipWithError("not enough memory");
  fill_activations(x.data(), n, 5);
  fill_activations(other.data(), n, 6);
  fill_activations(out.data(), n, 7);
  if (!force_target(target.name)) return state.SkipWithError("the target is not available");
  for (auto _ : state) {
    op(Matrix(out.data(), 1, n), ConstMatrix(x.data(), 1, n), ConstMatrix(other.data(), 1, n));
    benchmark::ClobberMemory();
  }
  (void)force_target("");
  state.SetItemsProcessed(static_cast<std::int64_t>(n) * state.iterations());
}

template <class Op>
void register_row(const char* op_name, TargetId target, const std::string& variant, std::size_t n, Op op) {
  benchmark::RegisterBenchmark(concat(op_name, "/", target.name, "/", variant).c_str(),
                               [=](benchmark::State& state) { run_row(state, target, n, op); });
}

void register_ops(TargetId target) {
  for (const std::size_t n : {models[0].hidden, models[1].hidden, models[2].hidden}) {
    register_row("RmsNorm", target, concat(n), n,
                 [](Matrix out, ConstMatrix x, ConstMatrix weight) { (void)rms_norm(out, x, weight.data, 1e-6f); });
    register_row("QuantiseActivations", target, concat(n), n, [](Matrix, ConstMatrix x, ConstMatrix) {
      static ActivationBuffer rounded;
      benchmark::DoNotOptimize(quantise(rounded, x));
    });
  }
  for (const std::size_t n : {models[0].ffn, models[1].ffn}) {
    register_row("SiluMul", target, concat(n), n, [](Matrix out, ConstMatrix gate, ConstMatrix up) { (void)silu_mul(out, gate, up); });
  }
  for (const std::size_t n : {std::size_t{256}, std::size_t{4096}}) {
    register_row("Softmax", target, concat(n), n, [](Matrix out, ConstMatrix x, ConstMatrix) { (void)softmax(out, x); });
  }
  for (const RopeLayout layout : {RopeLayout::half_split, RopeLayout::interleaved}) {
    // RoPE is measured on a row as wide as all query heads of the 1.5B model. The row is rotated again and again, in place. That is
    // possible because a rotation does not change the norm of a row.
    std::vector<float> cos(head_dim / 2), sin(head_dim / 2);
    RopeFrequencies(10000.0, head_dim).table_row(cos.data(), sin.data(), 1000);
    register_row("Rope", target, layout == RopeLayout::half_split ? "half_split" : "interleaved", models[0].n_heads * head_dim,
                 [=](Matrix out, ConstMatrix, ConstMatrix) {
                   (void)rope(out, head_dim, {cos.data(), 1, cos.size()}, {sin.data(), 1, sin.size()}, layout);
                 });
  }
}

template <class F>
void run_encode(benchmark::State& state) {
  constexpr std::size_t N = 16, K = 1536;
  std::vector<float> weights(N * K);
  stilla::Random random(8);
  for (float& w : weights) w = static_cast<float>(random.uniform() - 0.5) * 0.1f;
  std::vector<std::byte> blocks(N * row_bytes<F>(K));
  for (auto _ : state) {
    benchmark::DoNotOptimize(encode_rows<F>(blocks, ConstMatrix(weights.data(), N, K)));
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(N * K) * state.iterations());
}

template <class F>
void run_pack(benchmark::State& state) {
  constexpr std::size_t N = 64, K = 1536;
  std::vector<std::byte> blocks(N * row_bytes<F>(K));
  AlignedBuffer<std::byte> packed;
  if (!packed.resize(packed_bytes<F>(N, K))) return state.SkipWithError("not enough memory");
  for (auto _ : state) {
    pack<F>(packed.data(), blocks.data(), N, K);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(N * K) * state.iterations());
}

void register_all() {
  for_each_available_target(register_ops);
  for_each_type(Formats{}, [](auto format) {
    using F = decltype(format);
    if constexpr (EncodableFormat<F>) benchmark::RegisterBenchmark(concat("EncodeRows/", F::name).c_str(), run_encode<F>);
    benchmark::RegisterBenchmark(concat("Pack/", F::name).c_str(), run_pack<F>);
  });
}

}  // namespace
}  // namespace stilla_bench

int main(int argc, char** argv) {
  stilla_bench::register_all();
  return stilla_bench::run_benchmarks(argc, argv, "RmsNorm|QuantiseActivations|SiluMul|Softmax|Rope|EncodeRows|Pack");
}
