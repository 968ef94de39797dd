// SPDX-License-Identifier: Apache-2.0
//
// Matmul at the shapes of the models, every format and target, weights cold as in a real pass over a model:
//
//     MatMul/<target>/<format>/<model>_<matrix>/<activations>/M<tokens>/T<threads>
//     Layer/<target>/<format>/<model>/<activations>/M<tokens>/T<threads>              the seven of a decoder layer in order
//     MatMul/onednn/s8/..., Layer/onednn/s8/...                                       oneDNN on the same shapes, where found
//
// Matrices: q (o has its shape), kv, gate (up has its shape), down, head, and the fused qkv and gate_up. Activations: a8 or
// a16, float weights af. Each iteration multiplies with the next of a ring of distinct matrices (or layers) that together
// are at least 1 GiB, more than any cache. GB/s counts the packed bytes (what decode has to read), GOP/s is 2 M N K, and
// both also come as a share of the limit measured around the loop (roofline.hpp). Activations are rounded outside the timing.
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <stilla/matmul.hpp>
#include <stilla/quantise.hpp>

#include "matmul_cases.hpp"

namespace stilla_bench {
namespace {

using namespace stilla;

// Copies of some matrices, one set after the other, for the benchmark that runs now. One panel of random weights for each
// matrix is encoded and then repeated: what counts is where the bytes lie. The memory is kept from benchmark to benchmark.
class Ring {
 public:
  bool prepare(std::uint32_t format, const std::vector<MatrixShape>& shapes) {
    if (format == format_ && shapes == shapes_) return true;
    shapes_.clear();
    matrices_.clear();
    set_bytes_ = 0;
    std::vector<PackedMatrix> panels;
    for (const MatrixShape& shape : shapes) {
      Result<PackedMatrix> panel = random_panel(format, shape.K);
      if (!panel) return false;
      matrices_.push_back({set_bytes_, {format, shape.N, shape.K, nullptr}});
      set_bytes_ += (shape.N + panel_rows - 1) / panel_rows * panel->bytes();
      panels.push_back(std::move(*panel));
    }
    count_ = copies_that_fit(set_bytes_, memory_.size());
    if (count_ == 0 || !memory_.resize(count_ * set_bytes_)) return false;
    for (std::size_t copy = 0; copy < count_; ++copy) {
      for (std::size_t i = 0; i < shapes.size(); ++i) {
        const std::size_t begin = copy * set_bytes_ + matrices_[i].offset;
        for (std::size_t p = 0; p < matrices_[i].view.panels(); ++p) {
          std::memcpy(memory_.data() + begin + p * panels[i].bytes(), panels[i].view().data, panels[i].bytes());
        }
      }
    }
    format_ = format;
    shapes_ = shapes;
    return true;
  }

  void next() { at_ = (at_ + 1) % count_; }
  PackedView matrix(std::size_t i) const {
    PackedView view = matrices_[i].view;
    view.data = memory_.data() + at_ * set_bytes_ + matrices_[i].offset;
    return view;
  }
  std::size_t set_bytes() const { return set_bytes_; }

 private:
  struct Entry {
    std::size_t offset;
    PackedView view;
  };

  static Result<PackedMatrix> random_panel(std::uint32_t format, std::size_t K) {
    std::vector<float> weights(panel_rows * K);
    stilla::Random random(1);
    for (float& w : weights) w = static_cast<float>(random.uniform() - 0.5) * 0.1f;
    const Result<std::size_t> bytes = encoded_bytes(format, panel_rows, K);
    if (!bytes) return bytes.error();
    std::vector<std::byte> blocks(*bytes);
    const auto encoded = encode_rows(blocks, ConstMatrix(weights.data(), panel_rows, K), format);
    if (!encoded) return encoded.error();
    return PackedMatrix::create(format, blocks.data(), panel_rows, K);
  }

  AlignedBuffer<std::byte> memory_;
  std::vector<Entry> matrices_;
  std::vector<MatrixShape> shapes_;
  std::uint32_t format_ = 0;
  std::size_t set_bytes_ = 0, count_ = 0, at_ = 0;
};

// Multiplies with all matrices of `shapes` in order.
void run_matmuls(benchmark::State& state, TargetId target, std::uint32_t format, ActivationBits bits,
                 const std::vector<MatrixShape>& shapes, std::size_t M, std::size_t threads) {
  static Ring ring;
  std::size_t widest_x = 0, widest_y = 0;
  for (const MatrixShape& shape : shapes) {
    widest_x = std::max(widest_x, shape.K);
    widest_y = std::max(widest_y, shape.N);
  }
  AlignedBuffer<float> x, y;
  if (!ring.prepare(format, shapes) || !x.resize(M * widest_x) || !y.resize(M * widest_y)) {
    return state.SkipWithError("not enough memory");
  }
  fill_activations(x.data(), M * widest_x, 2);
  std::map<std::size_t, ActivationBuffer> rounded;  // by K: matrices with the same input share it
  for (const MatrixShape& shape : shapes) {
    ActivationBuffer& buffer = rounded.try_emplace(shape.K, bits).first->second;
    if (!quantise(buffer, ConstMatrix(x.data(), M, shape.K))) return state.SkipWithError("not enough memory");
  }
  ThreadPool& pool = pool_of(threads);
  if (!force_target(target.name)) return state.SkipWithError("the target is not available");

  const bool is_float = takes_float_activations(format);
  const MacLoops loops = mac_loops(target.name);
  Rates rates(state, threads, is_float ? loops.f32 : loops.int8);
  for (auto _ : state) {
    ring.next();
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const Matrix product(y.data(), M, shapes[i].N);
      ActivationBuffer& in = rounded.find(shapes[i].K)->second;
      if (is_float) {
        benchmark::DoNotOptimize(
            matmul(product, ring.matrix(i), ConstMatrix(x.data(), M, shapes[i].K), in, nullptr, pool));
      } else {
        matmul(product, ring.matrix(i), in.view(), nullptr, pool);
      }
      benchmark::ClobberMemory();
    }
  }
  rates.end();
  (void)force_target("");
  rates.add_bytes(static_cast<double>(ring.set_bytes()));
  rates.add_macs(static_cast<double>(M) * weights_of(shapes));
}

// Ordered so that benchmarks of one format and shape follow each other and share the ring.
void register_all() {
  for_each_type(Formats{}, [](auto format) {
    using F = decltype(format);
    for (const MatmulCase& c : matmul_cases()) {
      for_each_available_target([&](TargetId target) {
        for (const ActivationBits bits : {ActivationBits::eight, ActivationBits::sixteen}) {
          if (!QuantisedFormat<F> && bits == ActivationBits::sixteen) continue;
          const char* activations = !QuantisedFormat<F> ? "af" : bits == ActivationBits::eight ? "a8" : "a16";
          for (const std::size_t M : token_counts) {
            if (target == Scalar::id && M > 2) continue;  // a specification's speed is known well enough
            for (const std::size_t threads : thread_counts()) {
              const std::string name = concat(c.kind, "/", target.name, "/", F::name, "/", c.name, "/", activations, "/M",
                                              M, "/T", threads);
              benchmark::RegisterBenchmark(name.c_str(), run_matmuls, target, F::gguf_type, bits, c.shapes, M, threads)
                  ->UseRealTime()
                  ->Unit(benchmark::kMicrosecond);
            }
          }
        }
      });
    }
  });
#if STILLA_BENCH_ONEDNN
  register_onednn();
#endif
}

}  // namespace
}  // namespace stilla_bench

int main(int argc, char** argv) {
  stilla_bench::register_all();
  return stilla_bench::run_benchmarks(
      argc, argv, "(MatMul/[^/]+/(q4_0|q4_k|q6_k|q8_0|s8)/1.5B_down|Layer/[^/]+/(q4_0|s8)/1.5B)/a8/M(1|8|128)/T1/");
}
