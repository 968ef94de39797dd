// SPDX-License-Identifier: Apache-2.0
//
// Example 5: an inference engine of your own. It has its own memory (an arena), its own threads and its own file format. From
// Stilla it takes the ops and nothing else: no model, no GGUF reader, no tokenizer.
//
// The model is a tiny Qwen2-like decoder with random weights, so its tokens mean nothing. The program checks what an engine
// relies on: a prompt gives the same bits in one call, token by token, and on another number of threads.
//
//   c++ -std=c++20 -O2 -Istilla/include -Istilla/kernels 05_own_engine.cpp -lpthread -o 05 && ./05
#include <algorithm>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include <stilla/attention.hpp>
#include <stilla/kv_cache.hpp>
#include <stilla/matmul.hpp>
#include <stilla/norm.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/base/random.hpp>
#include <stilla/rope.hpp>
#include <stilla/sampling.hpp>
#include <stilla/silu_mul.hpp>

namespace {

[[noreturn]] void die(const char* why) {
  std::fprintf(stderr, "own_engine: %s\n", why);
  std::exit(EXIT_FAILURE);
}

// Prints the error and ends the program if an op refused its arguments.
void must(const stilla::Status& status) {
  if (!status) die(status.error().message.c_str());
}

// The engine's own memory: one block. take() hands out pieces of it, which begin on 64-byte boundaries. Pieces are never given back.
class Arena {
 public:
  explicit Arena(std::size_t bytes) : bytes_(bytes) {
    if (!block_.resize(bytes)) die("no memory for the arena");
  }
  template <class T>
  T* take(std::size_t count) {
    const std::size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
    if (bytes > bytes_ - used_) die("the arena is too small");
    used_ += bytes;
    return reinterpret_cast<T*>(block_.data() + used_ - bytes);
  }
  std::size_t used() const { return used_; }

 private:
  stilla::AlignedBuffer<std::byte> block_;
  std::size_t bytes_, used_ = 0;
};

// The engine's own threads: a team of threads that splits every loop into equal stripes, one for each thread.
class Team {
 public:
  explicit Team(std::size_t size) : size_(size), gate_(static_cast<std::ptrdiff_t>(size)) {
    for (std::size_t t = 1; t < size; ++t)
      threads_.emplace_back([this, t] {
        while (run_stripe(t)) {
        }
      });
  }
  ~Team() {
    body_ = nullptr;
    gate_.arrive_and_wait();
    for (std::thread& thread : threads_) thread.join();
  }
  void operator()(std::size_t count, stilla::IndexFunction body) {
    body_ = &body;
    count_ = count;
    run_stripe(0);
  }

 private:
  bool run_stripe(std::size_t t) {
    gate_.arrive_and_wait();  // all threads begin together
    if (body_ == nullptr) return false;
    for (std::size_t i = t; i < count_; i += size_) (*body_)(i);
    gate_.arrive_and_wait();  // waits until all threads are done
    return true;
  }
  std::size_t size_, count_ = 0;
  std::barrier<> gate_;
  const stilla::IndexFunction* body_ = nullptr;
  std::vector<std::thread> threads_;
};

// The engine's own file format: a Header, then all weights of the model as floats, in the order in which the class Engine reads them.
struct Header {
  std::uint32_t magic = 0x4e474e45, vocabulary = 320, hidden = 128, layers = 3;
  std::uint32_t heads = 6, kv_heads = 2, head_dim = 32, ffn = 384;

  std::size_t query_width() const { return std::size_t{heads} * head_dim; }
  std::size_t kv_width() const { return std::size_t{kv_heads} * head_dim; }
  std::size_t qkv_width() const { return query_width() + 2 * kv_width(); }

  // Returns whether the sizes can be used. They come from a file that anybody may have written, so they are checked first. Widths
  // must be multiples of 32, the number of weights in a block.
  bool is_valid() const {
    for (const std::uint32_t size : {vocabulary, hidden, layers, heads, kv_heads, head_dim, ffn}) {
      if (size == 0 || size > 4096) return false;
    }
    return magic == Header{}.magic && hidden % 32 == 0 && ffn % 32 == 0 && head_dim % 32 == 0 && head_dim <= 256 && heads % kv_heads == 0;
  }
};

void write_random_model(std::FILE* file) {
  const Header h;
  const std::size_t layer = h.hidden * (h.qkv_width() + h.query_width() + 3 * std::size_t{h.ffn} + 2) + h.qkv_width();
  const std::size_t floats = 2 * std::size_t{h.vocabulary} * h.hidden + h.layers * layer + h.hidden;
  stilla::Random random(5);
  std::vector<float> values(floats);
  for (float& v : values) v = static_cast<float>(2 * random.uniform() - 1);
  if (std::fwrite(&h, sizeof h, 1, file) != 1 || std::fwrite(values.data(), sizeof(float), floats, file) != floats) {
    die("cannot write the model");
  }
  std::rewind(file);
}

struct Layer {
  const float *attention_norm, *qkv_bias, *ffn_norm;
  stilla::PackedView qkv, output, gate_up, down;  // qkv is Q, K and V in one matrix; gate_up is gate and up in one
};

class Engine {
 public:
  Engine(std::FILE* file, Arena& arena, std::size_t threads) : arena_(arena), team_(threads) {
    if (std::fread(&h_, sizeof h_, 1, file) != 1 || !h_.is_valid()) die("not a model file");
    embedding_ = load_floats(file, h_.vocabulary, h_.hidden);
    for (std::size_t l = 0; l < h_.layers; ++l) {
      Layer layer;
      layer.attention_norm = load_floats(file, 1, h_.hidden);
      layer.qkv = load<stilla::Q4_0>(file, h_.qkv_width(), h_.hidden);
      layer.qkv_bias = load_floats(file, 1, h_.qkv_width());
      layer.output = load<stilla::Q4_0>(file, h_.hidden, h_.query_width());
      layer.ffn_norm = load_floats(file, 1, h_.hidden);
      layer.gate_up = load<stilla::Q4_0>(file, 2 * std::size_t{h_.ffn}, h_.hidden);
      layer.down = load<stilla::Q4_0>(file, h_.hidden, h_.ffn);
      layers_.push_back(layer);
    }
    output_norm_ = load_floats(file, 1, h_.hidden);
    head_ = load<stilla::Q8_0>(file, h_.vocabulary, h_.hidden);

    x_ = arena_.take<float>(max_tokens * h_.hidden);
    normed_ = arena_.take<float>(max_tokens * h_.hidden);
    wide_ = arena_.take<float>(max_tokens * std::max<std::size_t>(h_.qkv_width(), 2 * h_.ffn));
    mixed_ = arena_.take<float>(max_tokens * h_.query_width());
    cos_ = arena_.take<float>(max_tokens * h_.head_dim / 2);
    sin_ = arena_.take<float>(max_tokens * h_.head_dim / 2);
    const std::size_t widest = std::max<std::size_t>({h_.hidden, h_.ffn, h_.query_width()});
    const std::size_t rounded_bytes = stilla::activation_bytes(max_tokens, widest);
    rounded_ = stilla::ActivationBuffer({arena_.take<std::byte>(rounded_bytes), rounded_bytes});
    frequencies_ = stilla::RopeFrequencies(10000.0, h_.head_dim);
    auto cache = stilla::KvCache::create({h_.layers, h_.kv_heads, h_.head_dim, stilla::KvType::f16});
    if (!cache || !cache->reserve(max_positions)) die("no memory for the cache");
    cache_ = std::move(*cache);
  }

  // Appends up to 64 tokens to the tokens of earlier calls. Returns the logits of the last token.
  std::vector<float> feed(std::span<const std::uint32_t> tokens) {
    const std::size_t M = tokens.size(), first = cache_->size(), D = h_.head_dim, ffn = h_.ffn;
    const std::size_t Q = h_.query_width(), KV = h_.kv_width(), QKV = h_.qkv_width();
    if (M > max_tokens || first + M > max_positions) die("the text is too long");
    const stilla::Matrix x(x_, M, h_.hidden), normed(normed_, M, h_.hidden), mixed(mixed_, M, Q);
    const stilla::Matrix cos(cos_, M, D / 2), sin(sin_, M, D / 2);
    const stilla::Matrix qkv(wide_, M, QKV), q(wide_, M, Q, QKV);  // q, k and v are columns of qkv
    const stilla::Matrix k(wide_ + Q, M, KV, QKV), v(wide_ + Q + KV, M, KV, QKV);
    const stilla::Matrix gate_up(wide_, M, 2 * ffn), gate(wide_, M, ffn, 2 * ffn), up(wide_ + ffn, M, ffn, 2 * ffn);

    for (std::size_t m = 0; m < M; ++m) {
      std::memcpy(x.row(m), embedding_ + tokens[m] * std::size_t{h_.hidden}, h_.hidden * sizeof(float));
      frequencies_.table_row(cos.row(m), sin.row(m), first + m);
    }
    for (std::size_t l = 0; l < h_.layers; ++l) {
      const Layer& w = layers_[l];
      must(stilla::rms_norm(normed, x, w.attention_norm, epsilon, team_));
      multiply(qkv, w.qkv, normed, w.qkv_bias);
      must(stilla::rope(q, D, cos, sin, stilla::RopeLayout::half_split, team_));
      must(stilla::rope(k, D, cos, sin, stilla::RopeLayout::half_split, team_));
      for (std::size_t m = 0; m < M; ++m) must(cache_->store(l, first + m, k.row(m), v.row(m)));
      must(stilla::attention(mixed, q, *cache_, l, first, h_.heads, nullptr, team_));
      multiply(x, w.output, mixed, nullptr, true);

      must(stilla::rms_norm(normed, x, w.ffn_norm, epsilon, team_));
      multiply(gate_up, w.gate_up, normed);
      must(stilla::silu_mul(gate, gate, up, team_));
      multiply(x, w.down, gate, nullptr, true);
    }
    cache_->set_size(first + M);
    const stilla::Matrix last = normed.rows_from(M - 1, 1);
    must(stilla::rms_norm(last, x.rows_from(M - 1, 1), output_norm_, epsilon));
    std::vector<float> logits(h_.vocabulary);
    multiply({logits.data(), 1, logits.size()}, head_, last);
    return logits;
  }

  void forget() { cache_->set_size(0); }

 private:
  static constexpr std::size_t max_tokens = 64, max_positions = 512;
  static constexpr float epsilon = 1e-6f;

  static void read_floats(std::FILE* file, float* values, std::size_t count) {
    if (std::fread(values, sizeof(float), count, file) != count) die("the model file is too short");
  }

  const float* load_floats(std::FILE* file, std::size_t rows, std::size_t cols) {
    float* values = arena_.take<float>(rows * cols);
    read_floats(file, values, rows * cols);
    return values;
  }

  // Reads the floats of one matrix from the model's file, quantises them to the format F, and packs them into the engine's memory.
  template <class F>
  stilla::PackedView load(std::FILE* file, std::size_t rows, std::size_t cols) {
    std::vector<float> values(rows * cols);
    read_floats(file, values.data(), values.size());
    std::vector<std::byte> blocks(rows * stilla::row_bytes<F>(cols));
    const auto report = stilla::encode_rows<F>(blocks, stilla::ConstMatrix(values.data(), rows, cols), team_);
    if (!report) die(report.error().message.c_str());
    std::byte* packed = arena_.take<std::byte>(stilla::packed_bytes<F>(rows, cols));
    stilla::pack<F>(packed, blocks.data(), rows, cols, team_);
    return {stilla::id_of<F>, rows, cols, packed};
  }

  // Computes the product y = x * w^T + bias of activations x and weights w. With `accumulate` the product is added to y, as the residual
  // connections of a layer need it.
  void multiply(stilla::Matrix y, const stilla::PackedView& w, stilla::ConstMatrix x, const float* bias = nullptr,
                bool accumulate = false) {
    must(stilla::quantise(rounded_, x, team_));
    must(stilla::matmul({y, w, bias, {}, accumulate}, {{}, rounded_.view()}, team_));
  }

  Header h_;
  Arena& arena_;
  Team team_;
  std::vector<Layer> layers_;
  const float *embedding_, *output_norm_;
  stilla::PackedView head_;
  stilla::RopeFrequencies frequencies_;
  std::optional<stilla::KvCache> cache_;
  stilla::ActivationBuffer rounded_;
  float *x_, *normed_, *wide_, *mixed_, *cos_, *sin_;
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

int main() {
  std::FILE* file = std::tmpfile();
  if (file == nullptr) die("cannot create a temporary file");
  write_random_model(file);
  Arena arena(8 << 20), another_arena(8 << 20);
  Engine engine(file, arena, 3);
  std::rewind(file);
  Engine single(file, another_arena, 1);
  std::fclose(file);
  std::printf("model in %zu KiB of the arena, on target %s\n", arena.used() / 1024, stilla::active_target().name);

  std::vector<std::uint32_t> prompt;
  for (std::uint32_t i = 0; i < 40; ++i) prompt.push_back(i * 37 % 320);

  const std::vector<float> whole = engine.feed(prompt);
  engine.forget();
  std::vector<float> one_by_one;
  for (const std::uint32_t token : prompt) one_by_one = engine.feed({&token, 1});
  const std::vector<float> on_one_thread = single.feed(prompt);
  std::printf("prompt of %zu tokens: in one call and one by one %s bits, on 3 threads and on 1 %s bits\n", prompt.size(),
              same(whole, one_by_one) ? "the same" : "DIFFERENT", same(whole, on_one_thread) ? "the same" : "DIFFERENT");

  std::printf("greedy tokens:");
  std::vector<float> logits = whole;
  for (int i = 0; i < 24; ++i) {
    const std::optional<std::uint32_t> token = stilla::greedy_token(logits);
    if (!token) die("the logits are not numbers");
    std::printf(" %u", *token);
    logits = engine.feed({&*token, 1});
  }
  const bool ok = same(whole, one_by_one) && same(whole, on_one_thread);
  std::printf("\n%s\n", ok ? "ok" : "WRONG");
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
