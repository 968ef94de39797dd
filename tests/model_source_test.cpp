// SPDX-License-Identifier: Apache-2.0
//
// Tests a model that comes from a source that is no GGUF file (memory_source.hpp). The weights and logits of this model have the
// same bits as those of the model from a GGUF file. An error in the source is reported in one line, in the source's own words.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/text/source_tokenizer.hpp>

#include "memory_source.hpp"
#include "model_util.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

GgufFile tiny_file(const std::string& name) {
  Result<GgufFile> file = GgufFile::open(tiny_folder + name + ".gguf");
  EXPECT_TRUE(file) << file.error().message;
  return std::move(*file);
}
MemorySource tiny_source(const std::string& name) { return MemorySource::copy_of(tiny_file(name)); }

// Loads the tiny model from a source that `change` has altered. Returns the message with which the model is refused, or an empty
// text if it loads.
std::string message_after(const std::function<void(MemorySource&)>& change) {
  MemorySource source = tiny_source("tiny-qwen2");
  change(source);
  const Result<Model> model = Model::load(std::move(source));
  if (model) return "";
  EXPECT_EQ(model.error().kind, ErrorKind::refused_file);
  return model.error().message;
}

TEST(ModelSource, GivesTheSameLogitsAsAGgufFile) {
  const std::vector<std::uint32_t> ids{1, 500, 17, 3, 3, 99, 256, 511, 0, 42, 7};
  for (const std::string& name : tiny_models) {
    for (const std::optional<FormatId> format : {std::optional<FormatId>(), std::optional(id_of<ST4>)}) {
      const Result<Model> expected = Model::load(tiny_file(name), {}, {}, format);
      MemorySource source = tiny_source(name);
      source.words = *tiny_file(name).vocabulary();
      const Result<Model> model = Model::load(std::move(source), {}, {}, format);
      ASSERT_TRUE(expected) << expected.error().message;
      ASSERT_TRUE(model) << model.error().message;
      EXPECT_EQ(model->source().path(), "memory");
      EXPECT_EQ(model->identity(), expected->identity()) << name;
      EXPECT_TRUE(same_bits(all_logits(*model, ids), all_logits(*expected, ids))) << name;
    }
  }
}

TEST(ModelSource, WhatIsWrongWithTensorsIsSaidInItsWords) {
  const std::string name = "blk.1.ffn_up.weight";
  EXPECT_EQ(message_after([](auto&) {}), "");
  EXPECT_EQ(message_after([&](MemorySource& s) { s.remove(name); }), "memory: array 'blk.1.ffn_up.weight' is missing");
  EXPECT_EQ(message_after([&](MemorySource& s) { s.set(name, {{256, 2}, id_of<F32>, std::vector<std::byte>(2048)}); }),
            "memory: array 'blk.1.ffn_up.weight': found shape [256, 2]; expected [256, 512]");
  EXPECT_EQ(message_after([&](MemorySource& s) { s.set(name, {{256, 512}, no_format, std::vector<std::byte>(512)}); }),
            "memory: array 'blk.1.ffn_up.weight': type unknown is not supported; supported: all others");
  EXPECT_EQ(message_after([](MemorySource& s) { s.set("token_embd.weight", {{256, 2}, no_format, std::vector<std::byte>(4)}); }),
            "memory: array 'token_embd.weight': type unknown is not supported; supported: all others");
  EXPECT_EQ(message_after([](MemorySource& s) { s.set("token_embd.weight", {{}, id_of<F32>, std::vector<std::byte>(4)}); }),
            "memory: array 'token_embd.weight': found shape []; expected [256, 1], which are the embedding's length (hidden_size) and the "
            "number of tokens that the metadata say");
}

TEST(ModelSource, ShapesHaveUpToFourDimensions) {
  MemorySource source;
  source.set("vector", {{32}, id_of<F32>, {}});
  source.set("matrix", {{32, 2}, id_of<F32>, {}});
  source.set("cube", {{32, 2, 3}, id_of<F32>, {}});
  source.set("four", {{32, 2, 1, 3}, id_of<F32>, {}});
  for (const char* name : {"vector", "matrix", "cube", "four"}) {
    EXPECT_EQ(source.find_tensor(name)->is_matrix(), name == std::string_view("matrix")) << name;
  }
  EXPECT_EQ(source.find_tensor("four")->rows(), 6u);
  EXPECT_TRUE(source.require_tensor("four", {32, 2, 1, 3}));
  EXPECT_EQ(source.require_tensor("cube", {32, 6}).error().message, "memory: array 'cube': found shape [32, 2, 3]; expected [32, 6]");
  EXPECT_EQ(source.require_tensor("four", {32, 2, 1, 3, 1}).error().message, "memory: array 'four': asked for with more than 4 dimensions");
}

// Tests which format each tensor gets if the layers are requantised.
TEST(ModelSource, FormatsOfRequantisedTensors) {
  MemorySource source;
  source.set("output.weight", {{32, 2}, id_of<F32>, {}});
  source.set("token_embd.weight", {{32, 2}, id_of<F32>, {}});
  source.set("blk.0.ffn_up.weight", {{32, 2}, id_of<F32>, {}});
  source.set("blk.0.ffn_down.weight", {{16, 2}, id_of<F32>, {}});
  source.set("blk.0.ffn_norm.weight", {{32}, id_of<F32>, {}});
  source.set("blk.0.foreign.weight", {{32, 2}, no_format, {}});
  const auto format = [&](const char* name, std::optional<FormatId> asked) {
    return requantised_format(source, *source.find_tensor(name), asked);
  };
  EXPECT_EQ(format("blk.0.ffn_up.weight", {}), id_of<F32>);
  EXPECT_EQ(format("blk.0.ffn_up.weight", id_of<Q4_0>), id_of<Q4_0>);
  EXPECT_EQ(format("blk.0.ffn_down.weight", id_of<Q4_0>), id_of<F32>);  // its rows do not consist of whole blocks of Q4_0
  EXPECT_EQ(format("blk.0.ffn_norm.weight", id_of<Q4_0>), id_of<F32>);
  EXPECT_EQ(format("blk.0.foreign.weight", id_of<Q4_0>), no_format);
  EXPECT_EQ(format("token_embd.weight", id_of<Q4_0>), id_of<F32>);
  EXPECT_EQ(format("output.weight", id_of<Q4_0>), id_of<Q8_0>);
  EXPECT_EQ(format("output.weight", id_of<F16>), id_of<F32>);
  TensorInfo packed_head = *source.find_tensor("output.weight");
  packed_head.is_packed = true;
  EXPECT_EQ(requantised_format(source, packed_head, id_of<Q4_0>), id_of<F32>);
}

TEST(ModelSource, WhatIsWrongWithMetadataIsSaidInItsWords) {
  const auto after = [](const std::string& key, std::optional<MemorySource::Value> value) {
    return message_after([&](MemorySource& source) {
      source.values.erase(key);
      if (value) source.values[key] = *value;
    });
  };
  EXPECT_EQ(after("qwen2.block_count", {}), "memory: entry 'qwen2.block_count' is missing; expected an unsigned integer");
  EXPECT_EQ(after("qwen2.block_count", std::string("two")),
            "memory: entry 'qwen2.block_count': found a text; expected an unsigned integer");
  EXPECT_EQ(after("qwen2.block_count", std::uint64_t{5000}), "memory: entry 'qwen2.block_count': found 5000; expected 1 to 4096");
  EXPECT_EQ(after("qwen2.block_count", std::uint64_t{0}), "memory: entry 'qwen2.block_count': found 0; expected 1 to 4096");
  EXPECT_EQ(after("qwen2.rope.freq_base", true), "memory: entry 'qwen2.rope.freq_base': found a truth value; expected a float");
  EXPECT_EQ(after("qwen2.rope.freq_base", 1e300),
            "memory: entry 'qwen2.rope.freq_base': found 1e+300; expected a value that fits in a float");
  EXPECT_EQ(after("general.architecture", std::uint64_t{2}),
            "memory: entry 'general.architecture': found a whole number; expected a string");
  EXPECT_EQ(after("general.architecture", std::string("gpt2")),
            "memory: entry 'general.architecture': 'gpt2' is OpenAI's GPT-2, which is not supported; supported: qwen2, qwen3, llama");
}

TEST(ModelSource, BringsAVocabulary) {
  MemorySource source;
  source.words.tokens = {"a", "b", "ab"};
  source.words.merges = {"a b"};
  source.words.pretokenizer = "qwen2";
  const Result<Tokenizer> tokenizer = read_tokenizer(source);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->encode("ab", SpecialTokens::as_text), std::vector<std::uint32_t>{2});
  source.words.merges = {"b a"};
  EXPECT_EQ(read_tokenizer(source).error().message, "memory: words: merge 0 'b a': what it makes, 'ba', is no token of the vocabulary");
  source.words.pretokenizer = "tekken";
  EXPECT_EQ(read_tokenizer(source).error().message,
            "memory: entry 'tokenizer.ggml.pre': pre-tokenizer 'tekken' is not supported; choose one by name: qwen2, deepseek-r1-qwen, "
            "llama-bpe, smollm, gpt-2, qwen35");
}

}  // namespace
