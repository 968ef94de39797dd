// SPDX-License-Identifier: Apache-2.0
//
// Matmul at the shapes of the models, every format and target, weights cold as in a real pass over a model:
//
//     MatMul/<target>/<format>/<model>_<matrix>/M<tokens>/T<threads>
//
// Each iteration multiplies with the next of a ring of matrices that together are at least 1 GiB, more than any cache.
// GB/s counts the packed bytes of one matrix (what decode has to read), GOP/s is 2 M N K, and both also come as a share
// of the limit measured in this run (roofline.hpp). Activations are rounded outside the timing.
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <stilla/matmul.hpp>
#include <stilla/quantise.hpp>

#include "common.hpp"

namespace stilla_bench {
namespace {

using namespace stilla;

struct MatrixShape {
  std::string name;
  std::size_t N, K;
};

std::vector<MatrixShape> shapes_of(const ModelShape& model) {
  const std::string prefix = std::string(model.name) + "_";
  return {
      {prefix + "qkv", (model.n_heads + 2 * model.n_kv_heads) * head_dim, model.hidden},
      {prefix + "o", model.hidden, model.n_heads * head_dim},
      {prefix + "gate_up", 2 * model.ffn, model.hidden},
      {prefix + "down", model.hidden, model.ffn},
      {prefix + "head", model.vocabulary, model.hidden},
  };
}

// Distinct matrices of one shape, at least 1 GiB of them, for the benchmark that runs now. One panel of random
// weights is encoded and then copied: what counts is where the bytes lie.
class Ring {
 public:
  bool prepare(std::uint32_t format, std::size_t N, std::size_t K) {
    if (first_.format == format && first_.rows == N && first_.cols == K) return true;
    std::vector<float> weights(panel_rows * K);
    stilla::Random random(1);
    for (float& w : weights) w = static_cast<float>(random.uniform() - 0.5) * 0.1f;
    const Result<std::size_t> bytes = encoded_bytes(format, panel_rows, K);
    if (!bytes) return false;
    std::vector<std::byte> blocks(*bytes);
    if (!encode_rows(blocks, ConstMatrix(weights.data(), panel_rows, K), format)) return false;
    const Result<PackedMatrix> panel = PackedMatrix::create(format, blocks.data(), panel_rows, K);
    if (!panel) return false;

    first_ = {};
    matrix_bytes_ = (N + panel_rows - 1) / panel_rows * panel->bytes();
    count_ = (roofline_bytes + matrix_bytes_ - 1) / matrix_bytes_;
    if (!memory_.resize(count_ * matrix_bytes_)) return false;
    for (std::size_t at = 0; at < count_ * matrix_bytes_; at += panel->bytes()) {
      std::memcpy(memory_.data() + at, panel->view().data, panel->bytes());
    }
    first_ = {format, N, K, memory_.data()};
    return true;
  }

  PackedView next() {
    next_ = (next_ + 1) % count_;
    PackedView view = first_;
    view.data += next_ * matrix_bytes_;
    return view;
  }
  std::size_t matrix_bytes() const { return matrix_bytes_; }

 private:
  AlignedBuffer<std::byte> memory_;
  PackedView first_;
  std::size_t matrix_bytes_ = 0, count_ = 0, next_ = 0;
};

void run_matmul(benchmark::State& state, TargetId target, std::uint32_t format, const MatrixShape& shape, std::size_t M,
                std::size_t threads) {
  static Ring ring;
  const std::size_t N = shape.N, K = shape.K;
  AlignedBuffer<float> x, y;
  ActivationBuffer rounded;
  if (!ring.prepare(format, N, K) || !x.resize(M * K) || !y.resize(M * N))
    return state.SkipWithError("not enough memory");
  fill_activations(x.data(), M * K, 2);
  if (!quantise(rounded, ConstMatrix(x.data(), M, K))) return state.SkipWithError("not enough memory");
  ThreadPool& pool = pool_of(threads);
  if (!force_target(target.name)) return state.SkipWithError("the target is not available");

  const bool is_float = takes_float_activations(format);
  Rates rates(state);
  for (auto _ : state) {
    const Matrix product(y.data(), M, N);
    if (is_float) {
      benchmark::DoNotOptimize(matmul(product, ring.next(), ConstMatrix(x.data(), M, K), rounded, nullptr, pool));
    } else {
      matmul(product, ring.next(), rounded.view(), nullptr, pool);
    }
    benchmark::ClobberMemory();
  }
  rates.end();
  (void)force_target("");

  const auto bytes = static_cast<double>(ring.matrix_bytes());
  const double operations = 2.0 * static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(K);
  rates.add("GB/s", bytes);
  rates.add_share("%read", bytes, read_bandwidth(pool));
  rates.add("GOP/s", operations);
  if (!is_float) rates.add_share("%int8", operations, int8_peak(pool));
}

// Ordered so that benchmarks of one format and shape follow each other and share the ring.
void register_all() {
  for_each_type(TypeList<Q4_0, Q4_K, Q6_K, Q8_0, F16>{}, [](auto format) {
    using F = decltype(format);
    for (const ModelShape& model : models) {
      for (const MatrixShape& shape : shapes_of(model)) {
        for_each_available_target([&](TargetId target) {
          for (const std::size_t M : {1u, 2u, 4u, 8u, 16u, 32u, 128u, 512u}) {
            if (target == Scalar::id && M > 2) continue;  // a specification's speed is known well enough
            for (const std::size_t threads : thread_counts()) {
              const std::string name =
                  concat("MatMul/", target.name, "/", F::name, "/", shape.name, "/M", M, "/T", threads);
              benchmark::RegisterBenchmark(name.c_str(), run_matmul, target, F::gguf_type, shape, M, threads)
                  ->UseRealTime()
                  ->Unit(benchmark::kMicrosecond);
            }
          }
        });
      }
    }
  });
}

}  // namespace
}  // namespace stilla_bench

int main(int argc, char** argv) {
  stilla_bench::register_all();
  return stilla_bench::run_benchmarks(argc, argv, "MatMul/[^/]+/(q4_0|q4_k|q6_k|q8_0)/1.5B_down/M(1|8|128)/T1/");
}
