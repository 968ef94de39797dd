// SPDX-License-Identifier: Apache-2.0
//
// Measures attention at the shapes of the models, on every target:
//
//     Attention/<target>/<cache type>/<model>/decode/C<positions>/T<threads>     one token that sees C positions
//     Attention/<target>/<cache type>/<model>/prefill/C<positions>/T<threads>    the last 512 tokens of a text of C tokens
//
// Each iteration takes the next layer of a cache that has as many layers as the model, so that a long context is read from
// memory, as in a real pass over a model. GB/s counts the keys and values that the tokens see, once for each key/value head; the
// limit of decode is the bandwidth of reading them (%read). GOP/s counts 4 D operations (D is the size of a head) for each query
// head, each token and each position that the token sees; the limit of prefill is that of fused multiply-adds (%peak).
#include <optional>
#include <string>
#include <vector>

#include <stilla/attention.hpp>
#include <stilla/kv_cache.hpp>

#include "common.hpp"

namespace stilla_bench { namespace {

using namespace stilla;

constexpr std::size_t prefill_tokens = 512;

// Returns a key/value cache for the benchmark that runs now, filled with random keys and values. It is kept, and returned again if the
// next benchmark needs a cache of the same shape and size.
KvCache* filled_cache(const ModelShape& model, KvType type, std::size_t positions) {
  static std::optional<KvCache> cache;
  const KvShape shape{model.layers, model.n_kv_heads, head_dim, type};
  if (cache && cache->size() == positions && cache->shape().layers == shape.layers && cache->shape().heads == shape.heads &&
      cache->shape().type == type) {
    return &*cache;
  }
  cache.reset();
  Result<KvCache> fresh = KvCache::create(shape);
  if (!fresh || !fresh->reserve(positions)) return nullptr;
  std::vector<float> row(2 * model.n_kv_heads * head_dim);
  fill_activations(row.data(), row.size(), 3);
  for (std::size_t layer = 0; layer < model.layers; ++layer) {
    for (std::size_t p = 0; p < positions; ++p) {
      const std::size_t turn = p % (model.n_kv_heads * head_dim);
      (void)fresh->store(layer, p, row.data() + turn, row.data() + turn / 2);
    }
  }
  fresh->set_size(positions);
  cache = std::move(*fresh);
  return &*cache;
}

void run_attention(benchmark::State& state, TargetId target, const ModelShape& model, KvType type, std::size_t M, std::size_t positions,
                   std::size_t threads) {
  const KvCache* cache = filled_cache(model, type, positions);
  const std::size_t width = model.n_heads * head_dim;
  const std::size_t scratch_floats = attention_scratch_floats(M, model.n_heads, head_dim, positions);
  AlignedBuffer<float> queries, out, scratch;
  if (cache == nullptr || !queries.resize(M * width) || !out.resize(M * width) || !scratch.resize(scratch_floats)) {
    return state.SkipWithError("not enough memory");
  }
  fill_activations(queries.data(), M * width, 4);
  // A key bias as Qwen2 has it. It has no effect with cache types whose stored keys already include the bias.
  KeyBiasTables tables(RopeFrequencies(10000.0, head_dim), head_dim, RopeLayout::half_split);
  tables.reserve(positions);
  std::vector<float> bias(model.n_kv_heads * head_dim);
  fill_activations(bias.data(), bias.size(), 5);
  ThreadPool& pool = pool_of(threads);
  if (!force_target(target.name)) return state.SkipWithError("the target is not available");

  std::size_t layer = 0;
  Rates rates(state, threads, mac_loops(target.name).f32);
  for (auto _ : state) {
    (void)attention(Matrix(out.data(), M, width), ConstMatrix(queries.data(), M, width), *cache, layer, positions - M, model.n_heads,
                    scratch.data(), pool, {&tables, bias.data()});
    benchmark::ClobberMemory();
    layer = (layer + 1) % model.layers;
  }
  rates.end();
  (void)force_target("");

  double seen = 0.0;
  for (std::size_t m = 0; m < M; ++m) seen += static_cast<double>(positions - M + m + 1);
  const KvShape one_layer{1, model.n_kv_heads, head_dim, type};
  const double bytes = static_cast<double>(positions * one_layer.bytes(kv_chunk)) / static_cast<double>(kv_chunk);
  rates.add_bytes(bytes);
  rates.add_macs(2.0 * static_cast<double>(width) * seen);
}

// Registers the benchmarks in an order in which those that share a cache follow each other.
void register_all() {
  for (const ModelShape& model : models) {
    for (const KvType type : {KvType::f16, KvType::int8, KvType::int5, KvType::bf16, KvType::f32}) {
      for (const std::size_t positions : {128u, 512u, 1024u, 4096u, 16384u}) {
        for_each_available_target([&](TargetId target) {
          for (const bool is_decode : {true, false}) {
            const std::size_t M = is_decode ? 1 : prefill_tokens;
            if (M > positions || (target == Scalar::id && !is_decode)) continue;
            for (const std::size_t threads : thread_counts()) {
              const std::string name = concat("Attention/", target.name, "/", kv_type_name(type), "/", model.name,
                                              is_decode ? "/decode/C" : "/prefill/C", positions, "/T", threads);
              benchmark::RegisterBenchmark(name.c_str(), run_attention, target, model, type, M, positions, threads)
                  ->Unit(benchmark::kMicrosecond);
            }
          }
        });
      }
    }
  }
}

}  // namespace
}  // namespace stilla_bench

int main(int argc, char** argv) {
  stilla_bench::register_all();
  return stilla_bench::run_benchmarks(argc, argv, "Attention/[^/]+/f16/1.5B/(decode|prefill)/C(512|4096)/T1$");
}
