// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: any bytes that are a GGUF file are read as a model. Its configuration, its list of tensors and its vocabulary are
// checked, its weights are loaded, and it reads two tokens. It counts as a fault if the program aborts, or if an error message has
// more than one line. The target is opt-in and needs clang; tests/fuzz.sh builds and runs it.
#define STILLA_HIGHWAY 0
#define STILLA_FORMATS F32, Q8_0
#define STILLA_TARGETS Scalar

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf_builder.hpp"

#include <stilla/io/damaged_weights.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/model/config.hpp>
#include <stilla/model/forward.hpp>
#include <stilla/model/required_tensors.hpp>
#include <stilla/text/source_tokenizer.hpp>

namespace {

using namespace stilla;

bool is_good(const Status& status) {
  if (status) return true;
  for (const char c : status.error().message) {
    if (static_cast<unsigned char>(c) < 0x20) __builtin_trap();
  }
  return false;
}
template <class T>
bool is_good(const Result<T>& result) {
  return is_good(result ? success() : Status(result.error()));
}

// Builds a file with a model of one layer. It leaves out the tensors and keys that `architecture` does not need.
stilla_test::GgufBuilder model(const std::string& architecture) {
  constexpr std::uint32_t hidden = 32, heads = 2, head_dim = 16, ffn = 32;
  stilla_test::GgufBuilder file;
  file.string("general.architecture", architecture).string("general.name", "seed");
  const auto number = [&](const char* name, std::uint32_t value) { file.number<std::uint32_t>(architecture + "." + name, value); };
  number("block_count", 1), number("embedding_length", hidden), number("feed_forward_length", ffn);
  number("attention.head_count", heads), number("attention.head_count_kv", 1), number("context_length", 64);
  file.number<float>(architecture + ".attention.layer_norm_rms_epsilon", 1e-6f);
  file.number<float>(architecture + ".rope.freq_base", 10000.0f);
  const std::vector<std::string> tokens{"<unk>",
                                        "<s>",
                                        "</s>",
                                        "\xe2\x96\x81",
                                        "a",
                                        "b",
                                        "\xe2\x96\x81"
                                        "a",
                                        "ab"};
  file.string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", tokens);
  file.array<float>("tokenizer.ggml.scores", {0, 0, 0, -1, -2, -3, -4, -5});
  file.array<std::int32_t>("tokenizer.ggml.token_type", {2, 3, 3, 1, 1, 1, 1, 1});
  file.number<std::uint32_t>("tokenizer.ggml.bos_token_id", 1).number<std::uint32_t>("tokenizer.ggml.eos_token_id", 2);
  file.string("tokenizer.chat_template", "{{ messages }}");
  const auto vocabulary = static_cast<std::uint32_t>(tokens.size());
  const auto matrix = [&](std::string_view name, std::uint32_t cols, std::uint32_t rows) {
    file.floats(name, {cols, rows}, std::vector<float>(std::size_t{cols} * rows, 0.25f));
  };
  const auto vector = [&](std::string_view name, std::uint32_t size) { file.floats(name, {size}, std::vector<float>(size, 1.0f)); };
  matrix("token_embd.weight", hidden, vocabulary);
  vector("blk.0.attn_norm.weight", hidden);
  matrix("blk.0.attn_q.weight", hidden, heads * head_dim);
  matrix("blk.0.attn_k.weight", hidden, head_dim);
  matrix("blk.0.attn_v.weight", hidden, head_dim);
  if (architecture == "qwen2") {
    vector("blk.0.attn_q.bias", heads * head_dim);
    vector("blk.0.attn_k.bias", head_dim);
    vector("blk.0.attn_v.bias", head_dim);
  }
  if (architecture == "qwen3") {
    vector("blk.0.attn_q_norm.weight", head_dim);
    vector("blk.0.attn_k_norm.weight", head_dim);
  }
  matrix("blk.0.attn_output.weight", heads * head_dim, hidden);
  vector("blk.0.ffn_norm.weight", hidden);
  matrix("blk.0.ffn_gate.weight", hidden, ffn);
  matrix("blk.0.ffn_up.weight", hidden, ffn);
  matrix("blk.0.ffn_down.weight", ffn, hidden);
  vector("output_norm.weight", hidden);
  return file;
}

// Returns whether the bytes are a model that can be loaded and that reads two tokens.
bool reads_two_tokens(std::span<const std::byte> bytes) {
  Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes, "fuzz"));
  if (!is_good(file)) return false;
  if (const auto tokenizer = read_tokenizer(*file); is_good(tokenizer)) {
    for (const std::uint32_t id : tokenizer->encode("ab a<s>\n", SpecialTokens::parse)) {
      if (id >= tokenizer->size()) __builtin_trap();
    }
  }
  (void)is_good(file->chat_template());
  (void)is_good(file->metadata_records());
  const Result<ModelConfig> config = read_model_config(*file);
  if (!is_good(config) || !is_good(check_required_tensors(*file, *config))) return false;
  (void)is_good(check_weights_are_numbers(*file));
  const Result<Model> model = Model::load(std::move(*file));
  if (!is_good(model)) return false;
  SessionOptions options;
  options.context = 4;
  options.batch = 2;
  Result<Session> session = Session::create(*model, options);
  if (!is_good(session)) return false;
  const auto last = static_cast<std::uint32_t>(config->vocabulary - 1);
  return is_good(session->evaluate(std::array{last, std::uint32_t{0}}));
}

}  // namespace

// If the only argument is a folder, the program writes inputs for the fuzzer to start with into this folder, and ends.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc != 2 || (*argv)[1][0] == '-') return 0;
  const std::string folder = (*argv)[1];
  for (const std::string architecture : {"llama", "qwen2", "qwen3"}) {
    if (!model(architecture).write(folder + "/" + architecture + ".gguf")) __builtin_trap();
  }
  stilla_test::GgufBuilder scaled = model("llama");
  scaled.string("llama.rope.scaling.type", "yarn").number<float>("llama.rope.scaling.factor", 4.0f);
  scaled.number<std::uint32_t>("llama.rope.scaling.original_context_length", 16);
  scaled.floats("rope_freqs.weight", {8}, std::vector<float>(8, 2.0f));
  if (!scaled.write(folder + "/yarn.gguf")) __builtin_trap();
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> bytes(size);
  if (size != 0) std::memcpy(bytes.data(), data, size);
  (void)reads_two_tokens(bytes);
  return 0;
}
