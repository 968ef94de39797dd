// SPDX-License-Identifier: Apache-2.0
//
// Measures oneDNN's int8 matmul, to compare it with Stilla's: activations are u8, weights s8 in the layout that oneDNN asks for,
// results f32 with one scale per output. This is less work than the one scale per 32 weights of a GGUF format. But a weight
// takes 8 bits here, and 4.5 bits in q4_0.
#include <omp.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "matmul_cases.hpp"

namespace stilla_bench {
namespace {

using dnnl::memory;

dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

// The product with one matrix of a shape. At each run the caller says where the weights lie.
class Product {
 public:
  Product(const MatrixShape& shape, std::size_t M) {
    const auto m = static_cast<memory::dim>(M), n = static_cast<memory::dim>(shape.N), k = static_cast<memory::dim>(shape.K);
    const memory::desc x({m, k}, memory::data_type::u8, memory::format_tag::ab);
    const memory::desc w({k, n}, memory::data_type::s8, memory::format_tag::any);
    const memory::desc y({m, n}, memory::data_type::f32, memory::format_tag::ab);
    dnnl::primitive_attr scales;
    scales.set_output_scales(1 << 1, std::vector<float>(shape.N, 0.001f));
    const dnnl::matmul::primitive_desc chosen({x, w, y}, scales, engine());
    matmul_ = dnnl::matmul(chosen);
    x_ = memory(chosen.src_desc(), engine());
    y_ = memory(chosen.dst_desc(), engine());
    w_ = memory(chosen.weights_desc(), engine(), nullptr);
    std::memset(x_.get_data_handle(), 3, x_.get_desc().get_size());
  }
  std::size_t weight_bytes() const { return w_.get_desc().get_size(); }
  void run(dnnl::stream& stream, std::byte* weights) {
    w_.set_data_handle(weights);
    matmul_.execute(stream, {{DNNL_ARG_SRC, x_}, {DNNL_ARG_WEIGHTS, w_}, {DNNL_ARG_DST, y_}});
  }

 private:
  dnnl::matmul matmul_;
  memory x_, w_, y_;
};

void run_onednn(benchmark::State& state, const std::vector<MatrixShape>& shapes, std::size_t M, std::size_t threads) {
  static stilla::AlignedBuffer<std::byte> ring;
  omp_set_num_threads(static_cast<int>(threads));
  std::vector<Product> products;
  std::vector<std::size_t> offsets;
  std::size_t set_bytes = 0;
  for (const MatrixShape& shape : shapes) {
    products.emplace_back(shape, M);
    offsets.push_back(set_bytes);
    set_bytes += (products.back().weight_bytes() + 63) / 64 * 64;
  }
  const std::size_t count = copies_that_fit(set_bytes, ring.size());
  const std::size_t before = ring.size();
  if (count == 0 || !ring.resize(count * set_bytes)) return state.SkipWithError("not enough memory");
  // Any bytes are valid int8 weights. Some of oneDNN's layouts keep a compensation (a correction that depends on the weights)
  // behind them. The compensation is wrong by a constant in this benchmark, which does not change the time.
  if (ring.size() != before) std::memset(ring.data(), 5, ring.size());

  dnnl::stream stream(engine());
  std::size_t at = 0;
  Rates rates(state, threads, mac_loops(stilla::Scalar::id.name).int8);  // of the CPU's best target
  for (auto _ : state) {
    at = (at + 1) % count;
    for (std::size_t i = 0; i < products.size(); ++i) products[i].run(stream, ring.data() + at * set_bytes + offsets[i]);
    stream.wait();
  }
  rates.end();
  rates.add_bytes(static_cast<double>(set_bytes));
  rates.add_macs(static_cast<double>(M) * weights_of(shapes));
}

}  // namespace

void register_onednn() {
  const dnnl_version_t* version = dnnl_version();
  benchmark::AddCustomContext("oneDNN", stilla::concat(version->major, ".", version->minor, ".", version->patch));
  for (const MatmulCase& c : matmul_cases()) {
    for (const std::size_t M : token_counts) {
      for (const std::size_t threads : thread_counts()) {
        const std::string name = stilla::concat(c.kind, "/onednn/s8/", c.name, "/a8/M", M, "/T", threads);
        benchmark::RegisterBenchmark(name.c_str(), run_onednn, c.shapes, M, threads)->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace stilla_bench
