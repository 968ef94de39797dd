// SPDX-License-Identifier: Apache-2.0
#include <stilla/io/gguf.hpp>
#include <stilla/text/source_tokenizer.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "gguf_builder.hpp"

namespace stilla {
namespace {

using stilla_test::GgufBuilder;

// What a file says; the tests change one thing each.
struct Said {
  std::string model = "gpt2";
  std::string pre = "qwen2";
  std::vector<std::string> tokens = {"a", "b", "ab", "<|im_end|>"};
  std::vector<std::int32_t> types = {1, 1, 1, 3};
  std::vector<std::string> merges = {"a b"};
  std::uint32_t eos = 3;
  bool add_bos = false;
};

struct Outcome {
  std::string message;  // empty: a tokenizer was made
  std::vector<std::uint32_t> ids;
};

Outcome outcome_of(const GgufBuilder& builder) {
  const std::vector<std::byte> bytes = builder.build();
  const Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf"));
  if (!file) return {file.error().message, {}};
  const Result<Tokenizer> tokenizer = read_tokenizer(*file);
  if (!tokenizer) {
    EXPECT_EQ(tokenizer.error().kind, ErrorKind::refused_file);
    return {tokenizer.error().message, {}};
  }
  return {"", tokenizer->encode("ab<|im_end|>", SpecialTokens::parse)};
}

GgufBuilder builder_of(const Said& said) {
  GgufBuilder builder;
  builder.string("tokenizer.ggml.model", said.model)
      .string("tokenizer.ggml.pre", said.pre)
      .strings("tokenizer.ggml.tokens", said.tokens)
      .array("tokenizer.ggml.token_type", said.types)
      .strings("tokenizer.ggml.merges", said.merges)
      .number("tokenizer.ggml.eos_token_id", said.eos)
      .boolean("tokenizer.ggml.add_bos_token", said.add_bos);
  return builder;
}

template <class Change>
std::string message_with(Change change) {
  Said said;
  change(said);
  return outcome_of(builder_of(said)).message;
}

TEST(GgufVocabulary, ReadsAFile) {
  const Outcome outcome = outcome_of(builder_of({}));
  EXPECT_EQ(outcome.message, "");
  EXPECT_EQ(outcome.ids, (std::vector<std::uint32_t>{2, 3}));
}

TEST(GgufVocabulary, TypesAndIdsAreOptional) {
  GgufBuilder builder;
  builder.string("tokenizer.ggml.model", "gpt2")
      .string("tokenizer.ggml.pre", "smollm")
      .strings("tokenizer.ggml.tokens", {"a", "b", "ab"})
      .strings("tokenizer.ggml.merges", {"a b"});
  const Outcome outcome = outcome_of(builder);
  EXPECT_EQ(outcome.message, "");
  EXPECT_EQ(outcome.ids, (std::vector<std::uint32_t>{2}));
}

TEST(GgufVocabulary, MessagesNameFileKeyAndOffset) {
  EXPECT_EQ(message_with([](Said& s) { s.model = "t5"; }),
            "m.gguf: key 'tokenizer.ggml.model' at byte 24: found 't5' (SentencePiece of the unigram kind); expected 'gpt2' "
            "(byte-level BPE) or 'llama' (SentencePiece of the BPE kind), the kinds that are supported");
  EXPECT_EQ(message_with([](Said& s) { s.pre = "tekken"; }),
            "m.gguf: key 'tokenizer.ggml.pre' at byte 68: pre-tokenizer 'tekken' is not supported; known: qwen2, "
            "deepseek-r1-qwen, llama-bpe, smollm");
  EXPECT_EQ(message_with([](Said& s) { s.tokens.clear(); }),
            "m.gguf: key 'tokenizer.ggml.tokens' at byte 111: found no tokens");
  EXPECT_EQ(message_with([](Said& s) { s.types.pop_back(); }),
            "m.gguf: key 'tokenizer.ggml.token_type' at byte 202: found 3 types; expected 4");
  EXPECT_EQ(message_with([](Said& s) { s.types[1] = -7; }),
            "m.gguf: key 'tokenizer.ggml.token_type' at byte 202: found type -7 for token 1; expected 1 to 6");
  EXPECT_EQ(message_with([](Said& s) { s.merges[0] = "b a"; }),
            "m.gguf: keys 'tokenizer.ggml.*', tokens at byte 111 and merges at byte 267: merge 0 'b a': what it makes "
            "is not a normal token of the vocabulary");
  EXPECT_EQ(
      message_with([](Said& s) { s.add_bos = true; }),
      "m.gguf: keys 'tokenizer.ggml.*', tokens at byte 111 and merges at byte 267: a bos token is to be added but "
      "none is named");
}

TEST(GgufVocabulary, MissingAndMistypedKeys) {
  GgufBuilder builder;
  EXPECT_EQ(outcome_of(builder).message, "m.gguf: key 'tokenizer.ggml.model' is missing; expected a string");
  builder.string("tokenizer.ggml.model", "gpt2");
  EXPECT_EQ(outcome_of(builder).message, "m.gguf: key 'tokenizer.ggml.pre' is missing; expected a string");
  builder.string("tokenizer.ggml.pre", "qwen2");
  EXPECT_EQ(outcome_of(builder).message,
            "m.gguf: key 'tokenizer.ggml.tokens' is missing; expected an array of strings");
  builder.strings("tokenizer.ggml.tokens", {"a"});
  EXPECT_EQ(outcome_of(builder).message,
            "m.gguf: key 'tokenizer.ggml.merges' is missing; expected an array of strings");
  builder.array("tokenizer.ggml.merges", std::vector<std::int32_t>{1});
  EXPECT_EQ(outcome_of(builder).message,
            "m.gguf: key 'tokenizer.ggml.merges' at byte 165: found an array of 1 int32; "
            "expected an array of strings");
}

TEST(GgufVocabulary, ChatTemplateText) {
  const std::vector<std::byte> without = builder_of({}).build();
  EXPECT_EQ(*GgufFile::parse(MappedFile::from_memory(without, "m.gguf"))->chat_template(), "");
  const std::vector<std::byte> with = GgufBuilder().string("tokenizer.chat_template", "{{ x }}").build();
  const Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(with, "m.gguf"));
  EXPECT_EQ(*file->chat_template(), "{{ x }}");
}

}  // namespace
}  // namespace stilla
