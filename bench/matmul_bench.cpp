// SPDX-License-Identifier: Apache-2.0
//
// Measures matmul at the shapes of the models, for every format and target. Weights are not in the caches, as in a real pass over
// a model:
//
//     MatMul/<target>/<format>/<model>_<matrix>/<activations>/M<tokens>/T<threads>
//     Layer/<target>/<format>/<model>/<activations>/M<tokens>/T<threads>              a decoder layer without its attention
//     MatMul/onednn/s8/..., Layer/onednn/s8/...                                       products by oneDNN, if it is installed
//
// The matrices are q (o has the same shape), kv (the shape of k and of v), gate (up has the same shape), down and head. qkv is q, k and v
// joined to one matrix, and gate_up is gate and up joined to one. The activations are a8 or a16 (rounded to 8 or 16 bits), and af (floats)
// for float weights. The weights are a ring of copies of the matrix (or of a layer's matrices) that together take at least 1 GiB, which is
// more than any cache holds; each iteration takes the next copy. GB/s counts the packed bytes, which decode has to read; GOP/s counts
// 2 M N K operations for each product. Both rates are also given as a share of the limit that was measured around the loop
// (roofline.hpp). MatMul rounds its activations before the timing begins. Layer runs the fused ops in the order of model/forward.hpp, so
// its time includes norms, residuals, SiLU and all rounding. With oneDNN, Layer runs only the products of a layer.
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <stilla/fused.hpp>
#include <stilla/matmul.hpp>
#include <stilla/format/encode_rows.hpp>

#include "matmul_cases.hpp"

namespace stilla_bench { namespace {

using namespace stilla;

// The weights that the benchmark running now multiplies by: several copies of all its matrices, one copy behind the other. For each matrix
// only one panel of random weights is encoded, and then repeated, because for the time it only matters where the bytes lie. The memory is
// kept from benchmark to benchmark.
class Ring {
 public:
  bool prepare(FormatId format, const std::vector<MatrixShape>& shapes) {
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

  static bool has_encoder(FormatId format) {
    bool found = false;
    with_format(format, [&](auto tag) { found = EncodableFormat<decltype(tag)>; });
    return found;
  }

  // Fills the blocks of formats that have no encoder. Any bytes are valid indices, signs and sub-scales in these formats; only
  // the scale at the beginning of each block must be a sensible number.
  static void fill_with_random_blocks(std::vector<std::byte>& blocks, FormatId format) {
    stilla::Random random(1);
    for (std::byte& byte : blocks) byte = static_cast<std::byte>(random.uniform() * 256.0);
    with_format(format, [&](auto tag) {
      for (std::size_t at = 0; at < blocks.size(); at += decltype(tag)::block_bytes) store_as(blocks.data() + at, to_f16(0.001f));
    });
  }

  static Result<PackedMatrix> random_panel(FormatId format, std::size_t K) {
    std::vector<float> weights(panel_rows * K);
    stilla::Random random(1);
    for (float& w : weights) w = static_cast<float>(random.uniform() - 0.5) * 0.1f;
    const Result<std::size_t> bytes = encoded_bytes(format, panel_rows, K);
    if (!bytes) return bytes.error();
    std::vector<std::byte> blocks(*bytes);
    if (has_encoder(format)) {
      const auto encoded = encode_rows(blocks, ConstMatrix(weights.data(), panel_rows, K), format);
      if (!encoded) return encoded.error();
    } else {
      fill_with_random_blocks(blocks, format);
    }
    return PackedMatrix::create(format, blocks.data(), panel_rows, K);
  }

  AlignedBuffer<std::byte> memory_;
  std::vector<Entry> matrices_;
  std::vector<MatrixShape> shapes_;
  FormatId format_ = no_format;
  std::size_t set_bytes_ = 0, count_ = 0, at_ = 0;
};

Ring& ring() {
  static Ring one;
  return one;
}

MacLoop mac_loop(TargetId target, FormatId format) {
  const MacLoops loops = mac_loops(target.name);
  return takes_float_activations(format) ? loops.f32 : loops.int8;
}

// Measures matmul with one matrix, the only element of `shapes`.
void run_matmul(benchmark::State& state, TargetId target, FormatId format, ActivationBits bits, const std::vector<MatrixShape>& shapes,
                std::size_t M, std::size_t threads) {
  const auto [N, K] = shapes[0];
  AlignedBuffer<float> x, y;
  ActivationBuffer rounded(bits);
  if (!ring().prepare(format, shapes) || !x.resize(M * K) || !y.resize(M * N)) {
    return state.SkipWithError("not enough memory");
  }
  fill_activations(x.data(), M * K, 2);
  MatmulInput input{ConstMatrix(x.data(), M, K), {}};
  if (!quantise(rounded, input.x)) return state.SkipWithError("not enough memory");
  input.rounded = rounded.view();
  ThreadPool& pool = pool_of(threads);
  if (!force_target(target.name)) return state.SkipWithError("the target is not available");

  Rates rates(state, threads, mac_loop(target, format));
  for (auto _ : state) {
    ring().next();
    (void)matmul(std::array{MatmulProduct{Matrix(y.data(), M, N), ring().matrix(0)}}, input, pool);
    benchmark::ClobberMemory();
  }
  rates.end();
  (void)force_target("");
  rates.add_bytes(static_cast<double>(ring().set_bytes()));
  rates.add_macs(static_cast<double>(M) * weights_of(shapes));
}

// Measures a decoder layer as model/forward.hpp computes it, from one layer's output to the next one's, but without the rotation by
// position, the key/value cache and attention (attention_bench measures those). The query stands in for the result of attention.
void run_layer(benchmark::State& state, TargetId target, FormatId format, ActivationBits bits, const std::vector<MatrixShape>& shapes,
               std::size_t M, std::size_t threads) {
  const std::size_t E = shapes[0].K, kv_width = shapes[1].N, F = shapes[4].N;  // all query heads together are E wide
  AlignedBuffer<float> floats;
  ActivationBuffer rounded(bits), rounded_ffn(bits);
  if (!ring().prepare(format, shapes) || !floats.resize(M * (3 * E + 2 * kv_width + 2 * F) + E) || !rounded.resize(M, E) ||
      !rounded_ffn.resize(M, F)) {
    return state.SkipWithError("not enough memory");
  }
  fill_activations(floats.data(), floats.size(), 2);
  float* next = floats.data();
  const auto take = [&](std::size_t width) { return Matrix(std::exchange(next, next + M * width), M, width); };
  const Matrix x = take(E), h = take(E), q = take(E), k = take(kv_width), v = take(kv_width);
  const Matrix gate = take(F), up = take(F);
  const float* const norm = next;
  const bool is_float = takes_float_activations(format);
  ActivationBuffer* const round = is_float ? nullptr : &rounded;
  ThreadPool& pool = pool_of(threads);
  if (!force_target(target.name)) return state.SkipWithError("the target is not available");

  Rates rates(state, threads, mac_loop(target, format));
  for (auto _ : state) {
    ring().next();
    const auto product = [&](Matrix y, std::size_t matrix) { return MatmulProduct{y, ring().matrix(matrix)}; };
    (void)add_norm_quantise(h, x, &h, norm, 1e-6f, round, pool);
    (void)matmul(std::array{product(q, 0), product(k, 1), product(v, 2)}, {h, rounded.view()}, pool);
    if (!is_float) benchmark::DoNotOptimize(quantise(rounded, q, pool));
    (void)matmul(std::array{product(h, 3)}, {q, rounded.view()}, pool);
    (void)add_norm_quantise(h, x, &h, norm, 1e-6f, round, pool);
    (void)gated_matmul(product(gate, 4), product(up, 5), {h, rounded.view()}, is_float ? nullptr : &rounded_ffn, pool);
    (void)matmul(std::array{product(h, 6)}, {gate, rounded_ffn.view()}, pool);
    benchmark::ClobberMemory();
  }
  rates.end();
  (void)force_target("");
  rates.add_bytes(static_cast<double>(ring().set_bytes()));
  rates.add_macs(static_cast<double>(M) * weights_of(shapes));
}

// Registers the benchmarks in an order in which those of one format and shape follow each other and share the matrices in memory.
void register_all() {
  for_each_type(Formats{}, [](auto format) {
    using F = decltype(format);
    for (const MatmulCase& c : matmul_cases()) {
      for_each_available_target([&](TargetId target) {
        for (const ActivationBits bits : {ActivationBits::eight, ActivationBits::sixteen}) {
          if (!QuantisedFormat<F> && bits == ActivationBits::sixteen) continue;
          const char* activations = !QuantisedFormat<F> ? "af" : bits == ActivationBits::eight ? "a8" : "a16";
          for (const std::size_t M : token_counts) {
            // The target scalar, which is the specification, is slow, and its speed is of interest for 1 and 2 tokens only.
            if (target == Scalar::id && M > 2) continue;
            for (const std::size_t threads : thread_counts()) {
              const std::string name =
                  concat(c.kind, "/", target.name, "/", F::name, "/", c.name, "/", activations, "/M", M, "/T", threads);
              const auto run = c.shapes.size() == 1 ? run_matmul : run_layer;
              benchmark::RegisterBenchmark(name.c_str(), run, target, id_of<F>, bits, c.shapes, M, threads)->Unit(benchmark::kMicrosecond);
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
  return stilla_bench::run_benchmarks(argc, argv,
                                      "(MatMul/[^/]+/(q4_0|q4_k|q6_k|q8_0|int4_channel|int8_channel|s8)/1.5B_down|"
                                      "Layer/[^/]+/(q4_0|s8)/1.5B)/a8/M(1|8|128)/T1$");
}
