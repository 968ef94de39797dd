// SPDX-License-Identifier: Apache-2.0
//
// Measures oneDNN's matmul (2.x or 3.x), to compare it with Stilla's. The weights have the layout that oneDNN asks for. Products of these
// types are measured:
//
//     s8    weights are s8, activations u8, results f32, with one scale per output. One scale per output is less work than the one scale
//           per 32 weights of a GGUF format. But a weight takes 8 bits here, and 4.5 bits in q4_0
//     f32   weights, activations and results are f32
//     bf16  weights and activations are bf16, results f32. In Stilla's products with bf16 weights, activations stay f32
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_map>
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

struct Types {
  const char* name;
  const char* activations_name;
  memory::data_type weights, activations;

  bool is_integer() const { return weights == memory::data_type::s8; }
};
const Types all_types[] = {{"s8", "a8", memory::data_type::s8, memory::data_type::u8},
                           {"f32", "af", memory::data_type::f32, memory::data_type::f32},
                           {"bf16", "af", memory::data_type::bf16, memory::data_type::bf16}};

// oneDNN's product of M tokens and a matrix of one shape. Each call of run() is told where the weights of a matrix lie.
class Product {
 public:
  Product(const Types& types, const MatrixShape& shape, std::size_t M) {
    const auto m = static_cast<memory::dim>(M), n = static_cast<memory::dim>(shape.N), k = static_cast<memory::dim>(shape.K);
    const memory::desc x({m, k}, types.activations, memory::format_tag::ab);
    const memory::desc w({k, n}, types.weights, memory::format_tag::any);
    const memory::desc y({m, n}, memory::data_type::f32, memory::format_tag::ab);
    constexpr int per_output = 1 << 1;
    dnnl::primitive_attr attributes;
#if DNNL_VERSION_MAJOR >= 3
    if (types.is_integer()) {
      attributes.set_scales_mask(DNNL_ARG_WEIGHTS, per_output);
      scales_ = memory({{n}, memory::data_type::f32, memory::format_tag::a}, engine());
      std::fill_n(static_cast<float*>(scales_.get_data_handle()), shape.N, scale);
    }
    const dnnl::matmul::primitive_desc chosen(engine(), x, w, y, attributes);
#else
    if (types.is_integer()) attributes.set_output_scales(per_output, std::vector<float>(shape.N, scale));
    const dnnl::matmul::primitive_desc chosen({x, w, y}, attributes, engine());
#endif
    matmul_ = dnnl::matmul(chosen);
    x_ = memory(chosen.src_desc(), engine());
    y_ = memory(chosen.dst_desc(), engine());
    w_ = memory(chosen.weights_desc(), engine(), nullptr);
    // All bytes of the activations are 0x3d, which is a sensible value in every type: 0.0462 as a float, 61 as an integer.
    std::memset(x_.get_data_handle(), 0x3d, x_.get_desc().get_size());
  }
  std::size_t weight_bytes() const { return w_.get_desc().get_size(); }
  void run(dnnl::stream& stream, std::byte* weights) {
    w_.set_data_handle(weights);
    std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, x_}, {DNNL_ARG_WEIGHTS, w_}, {DNNL_ARG_DST, y_}};
#if DNNL_VERSION_MAJOR >= 3
    if (scales_) arguments.emplace(DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, scales_);
#endif
    matmul_.execute(stream, arguments);
  }

 private:
  static constexpr float scale = 0.001f;

  dnnl::matmul matmul_;
  memory x_, w_, y_, scales_;  // the scales are an argument from version 3 on
};

void run_onednn(benchmark::State& state, const Types& types, const std::vector<MatrixShape>& shapes, std::size_t M, std::size_t threads) {
  static stilla::AlignedBuffer<std::byte> ring;
  omp_set_num_threads(static_cast<int>(threads));
  std::vector<Product> products;
  std::vector<std::size_t> offsets;
  std::size_t set_bytes = 0;
  try {
    for (const MatrixShape& shape : shapes) {
      products.emplace_back(types, shape, M);
      offsets.push_back(set_bytes);
      set_bytes += (products.back().weight_bytes() + 63) / 64 * 64;
    }
  } catch (const dnnl::error&) {  // for example bf16 on a CPU that has AVX2 and no AVX-512
    return state.SkipWithError("oneDNN has no such product for this CPU");
  }
  const std::size_t count = copies_that_fit(set_bytes, ring.size());
  const std::size_t before = ring.size();
  if (count == 0 || !ring.resize(count * set_bytes)) return state.SkipWithError("not enough memory");
  // All bytes of the weights are 0x3c, which gives valid weights of every type. Some of oneDNN's layouts of int8 weights keep a correction
  // term behind the weights. Here this term is wrong by a constant, which does not change the time.
  if (ring.size() != before) std::memset(ring.data(), 0x3c, ring.size());

  dnnl::stream stream(engine());
  std::size_t at = 0;
  const MacLoops loops = mac_loops(stilla::Scalar::id.name);  // gives those of the CPU's best target
  Rates rates(state, threads, types.is_integer() ? loops.int8 : loops.f32);
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
    for (const Types& types : all_types) {
      for (const std::size_t M : token_counts) {
        for (const std::size_t threads : thread_counts()) {
          const std::string name =
              stilla::concat(c.kind, "/onednn/", types.name, "/", c.name, "/", types.activations_name, "/M", M, "/T", threads);
          benchmark::RegisterBenchmark(name.c_str(), run_onednn, types, c.shapes, M, threads)->Unit(benchmark::kMicrosecond);
        }
      }
    }
  }
}

}  // namespace stilla_bench
