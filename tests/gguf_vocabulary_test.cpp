// SPDX-License-Identifier: Apache-2.0
#include <stilla/io/gguf.hpp>
#include <stilla/text/source_tokenizer.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "gguf_builder.hpp"

namespace stilla { namespace {

using stilla_test::GgufBuilder;

// What a file says about its vocabulary. Each test changes one of these members.
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
  std::string message;  // empty if a tokenizer was made
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

// Older files of Llama 3 do not say whether a text begins with BOS. llama.cpp begins it with BOS then.
TEST(GgufVocabulary, OldLlama3FilesBeginWithBos) {
  const auto add_bos = [](std::string_view pre, std::optional<bool> said) {
    GgufBuilder builder;
    builder.string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", pre)
        .strings("tokenizer.ggml.tokens", {"a", "b", "ab"})
        .strings("tokenizer.ggml.merges", {"a b"})
        .number<std::uint32_t>("tokenizer.ggml.bos_token_id", 1);
    if (said) builder.boolean("tokenizer.ggml.add_bos_token", *said);
    const std::vector<std::byte> bytes = builder.build();
    return GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf"))->vocabulary()->add_bos;
  };
  for (const char* pre : {"llama-bpe", "llama3", "pixtral"}) {
    EXPECT_TRUE(add_bos(pre, std::nullopt)) << pre;
    EXPECT_FALSE(add_bos(pre, false)) << pre;
  }
  EXPECT_FALSE(add_bos("qwen2", std::nullopt));
  EXPECT_TRUE(add_bos("qwen2", true));
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
            "m.gguf: key 'tokenizer.ggml.pre' at byte 68: pre-tokenizer 'tekken' is not supported; choose one by name: qwen2, "
            "deepseek-r1-qwen, llama-bpe, smollm, gpt-2, qwen35");
  EXPECT_EQ(message_with([](Said& s) { s.tokens.clear(); }), "m.gguf: key 'tokenizer.ggml.tokens' at byte 111: found no tokens");
  EXPECT_EQ(message_with([](Said& s) { s.types.pop_back(); }),
            "m.gguf: key 'tokenizer.ggml.token_type' at byte 202: found 3 types; expected 4");
  EXPECT_EQ(message_with([](Said& s) { s.types[1] = -7; }),
            "m.gguf: key 'tokenizer.ggml.token_type' at byte 202: found type -7 for token 1; expected 1 to 6");
  EXPECT_EQ(message_with([](Said& s) { s.merges[0] = "b a"; }),
            "m.gguf: keys 'tokenizer.ggml.*', tokens at byte 111 and merges at byte 267: merge 0 'b a': what it makes, "
            "'ba', is no token of the vocabulary");
  EXPECT_EQ(message_with([](Said& s) { s.add_bos = true; }),
            "m.gguf: keys 'tokenizer.ggml.*', tokens at byte 111 and merges at byte 267: a bos token is to be added but "
            "none is named");
}

TEST(GgufVocabulary, MissingAndMistypedKeys) {
  GgufBuilder builder;
  EXPECT_EQ(outcome_of(builder).message, "m.gguf: key 'tokenizer.ggml.model' is missing; expected a string");
  builder.string("tokenizer.ggml.model", "gpt2");
  builder.string("tokenizer.ggml.pre", "qwen2");
  EXPECT_EQ(outcome_of(builder).message, "m.gguf: key 'tokenizer.ggml.tokens' is missing; expected an array of strings");
  builder.strings("tokenizer.ggml.tokens", {"a"});
  EXPECT_EQ(outcome_of(builder).message, "m.gguf: key 'tokenizer.ggml.merges' is missing; expected an array of strings");
  builder.array("tokenizer.ggml.merges", std::vector<std::int32_t>{1});
  EXPECT_EQ(outcome_of(builder).message,
            "m.gguf: key 'tokenizer.ggml.merges' at byte 165: found an array of 1 int32; "
            "expected an array of strings");
}

// Builds a file with a vocabulary as a family of models has it. If the file does not name its pre-tokenizer (`pre`), Stilla
// guesses it from the file's architecture and its tokens, to which those in `more` are added.
GgufBuilder family(const std::string& architecture, const std::vector<std::string>& more, const char* pre = nullptr) {
  std::vector<std::string> tokens{"a", "1"};
  tokens.insert(tokens.end(), more.begin(), more.end());
  GgufBuilder builder;
  builder.string("general.architecture", architecture).string("tokenizer.ggml.model", "gpt2");
  if (pre != nullptr) builder.string("tokenizer.ggml.pre", pre);
  builder.strings("tokenizer.ggml.tokens", tokens).strings("tokenizer.ggml.merges", {});
  return builder;
}

// Returns the error message of read_tokenizer(), or the name of the pre-tokenizer that the
// tokenizer's notes mention.
std::string chosen(const GgufBuilder& builder, const TokenizerOptions& options = {}) {
  const std::vector<std::byte> bytes = builder.build();
  const Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf"));
  const Result<Tokenizer> tokenizer = read_tokenizer(*file, options);
  if (!tokenizer) return tokenizer.error().message;
  const std::string note = tokenizer->notes().empty() ? "" : tokenizer->notes()[0];
  return note
      .substr(0, note.rfind('\''))  // removes what follows the name of the pre-tokenizer
      .substr(note.rfind('\'', note.rfind('\'') - 1) + 1);
}

TEST(GgufVocabulary, PreTokenizerIsRecognised) {
  for (const char* pre : {static_cast<const char*>(nullptr), "default"}) {
    EXPECT_EQ(chosen(family("qwen2", {"<|im_start|>"}, pre)), "qwen2");
    EXPECT_EQ(chosen(family("qwen3", {}, pre)), "qwen2");
    EXPECT_EQ(chosen(family("qwen35", {}, pre)), "qwen35");
    EXPECT_EQ(chosen(family("qwen2", {"<｜User｜>", "<｜Assistant｜>"}, pre)), "deepseek-r1-qwen");
    EXPECT_EQ(chosen(family("llama", {"100", "<|begin_of_text|>", "<|eot_id|>"}, pre)), "llama-bpe");
    EXPECT_EQ(chosen(family("llama", {"<|im_start|>", "<repo_name>", "<gh_stars>"}, pre)), "smollm");
    // These three files have the architecture of a known family, but their tokens do not fit the pre-tokenizer of this family. The
    // pre-tokenizer qwen2 would never make the number 10 one token, but the first vocabulary has this token. A vocabulary for
    // llama-bpe has the token 100 and the control tokens of Llama 3. The second vocabulary has no token 100, and the third has no
    // control tokens. So no pre-tokenizer is recognised.
    EXPECT_TRUE(chosen(family("qwen2", {"10"}, pre)).find("choose one by name") != std::string::npos);
    EXPECT_TRUE(chosen(family("llama", {"<|begin_of_text|>", "<|eot_id|>"}, pre)).find("choose one by name") != std::string::npos);
    EXPECT_TRUE(chosen(family("llama", {"100"}, pre)).find("choose one by name") != std::string::npos);
  }
  GgufBuilder unnamed;
  unnamed.string("tokenizer.ggml.model", "gpt2").strings("tokenizer.ggml.tokens", {"a"}).strings("tokenizer.ggml.merges", {});
  unnamed.number<std::uint32_t>("general.architecture", 1);
  const std::string message = outcome_of(unnamed).message;
  EXPECT_TRUE(message.starts_with("m.gguf: key 'general.architecture' at byte ")) << message;
  EXPECT_TRUE(message.ends_with(": found uint32; expected a string")) << message;
  EXPECT_EQ(chosen(family("llama", {})),
            "m.gguf: key 'tokenizer.ggml.pre': no pre-tokenizer is named; choose one by name: qwen2, deepseek-r1-qwen, llama-bpe, smollm, "
            "gpt-2, qwen35");
}

TEST(GgufVocabulary, PreTokenizerAliasesAndChoice) {
  EXPECT_EQ(chosen(family("llama", {}, "llama3")), "llama-bpe");
  EXPECT_EQ(chosen(family("llama", {}, "smaug-bpe")), "llama-bpe");
  const std::vector<std::byte> bytes = family("llama", {"<|im_end|>"}, "tekken").build();
  const Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf"));
  EXPECT_FALSE(read_tokenizer(*file));
  const Result<Tokenizer> tokenizer = read_tokenizer(*file, {"gpt-2"});
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->pretokenizer(), PreTokenizer::gpt2);
  ASSERT_EQ(tokenizer->notes().size(), 1u);
  EXPECT_TRUE(tokenizer->notes()[0].ends_with(" of the 256 bytes: what needs them in a text is left out"));
  EXPECT_EQ(read_tokenizer(*file, {"x"}).error().kind, ErrorKind::bad_argument);
}

TEST(GgufVocabulary, PreTokenizerOfTheWrongType) {
  GgufBuilder builder;
  builder.string("tokenizer.ggml.model", "gpt2").number<std::uint32_t>("tokenizer.ggml.pre", 1).strings("tokenizer.ggml.tokens", {"a"});
  EXPECT_EQ(outcome_of(builder).message, "m.gguf: key 'tokenizer.ggml.pre' at byte 68: found uint32; expected a string");
}

TEST(GgufVocabulary, OtherKindsAreNamed) {
  for (const auto& [model, name] : {std::pair{"bert", "'bert' (WordPiece)"}, {"rwkv", "'rwkv'"}}) {
    EXPECT_EQ(message_with([&, kind = model](Said& s) { s.model = kind; }),
              concat("m.gguf: key 'tokenizer.ggml.model' at byte 24: found ", name,
                     "; expected 'gpt2' (byte-level BPE) or 'llama' (SentencePiece of the BPE kind), the kinds that are supported"));
  }
}

// For each key that says something about a vocabulary, the test makes a file in which this key has a value of the wrong type.
TEST(GgufVocabulary, KeysOfTheWrongType) {
  GgufBuilder byte_level, sentencepiece;
  byte_level.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "qwen2").strings("tokenizer.ggml.tokens", {"a"});
  byte_level.strings("tokenizer.ggml.merges", {});
  sentencepiece.string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", {"a"});
  GgufBuilder without_scores = sentencepiece;
  sentencepiece.array("tokenizer.ggml.scores", std::vector<float>{0});
  EXPECT_EQ(outcome_of(byte_level).message, "");
  const auto refused = [](GgufBuilder builder, const std::string& key, std::string_view message, bool is_text = false) {
    is_text ? builder.string(key, "x") : builder.number<std::uint16_t>(key, 1);
    const std::string found = outcome_of(builder).message;
    EXPECT_TRUE(found.starts_with(concat("m.gguf: key '", key, "' at byte ")) && found.ends_with(message)) << found;
  };
  refused(byte_level, "tokenizer.ggml.token_type", ": found uint16; expected an array of integers");
  refused(byte_level, "tokenizer.ggml.eos_token_ids", ": found uint16; expected an array of integers");
  refused(byte_level, std::string(end_ids_key), ": found uint16; expected an array of integers");
  // A file with many end tokens would make reading slow, or give a note for each. So a file with more than 64 of them is refused.
  for (const std::string_view key : {std::string_view("tokenizer.ggml.eos_token_ids"), std::string_view(end_ids_key)}) {
    for (const std::size_t count : {max_end_tokens, max_end_tokens + 1}) {
      GgufBuilder builder = byte_level;
      builder.array(key, std::vector<std::int8_t>(count, -1));
      const std::string found = outcome_of(builder).message;
      EXPECT_EQ(found.ends_with(": found 65 ids; expected at most 64"), count > max_end_tokens) << found;
    }
  }
  refused(byte_level, "tokenizer.ggml.add_bos_token", ": found uint16; expected a boolean");
  refused(byte_level, "tokenizer.ggml.add_eos_token", ": found uint16; expected a boolean");
  refused(byte_level, std::string(nfc_key), ": found uint16; expected a boolean");
  for (const char* name : {"bos", "eos", "eot", "eom", "padding", "unknown"}) {
    refused(byte_level, concat("tokenizer.ggml.", name, "_token_id"), ": found string; expected an integer", true);
  }
  refused(without_scores, "tokenizer.ggml.scores", ": found uint16; expected an array of floats");
  refused(sentencepiece, "tokenizer.ggml.add_space_prefix", ": found uint16; expected a boolean");
  refused(sentencepiece, "tokenizer.ggml.remove_extra_whitespaces", ": found uint16; expected a boolean");
}

TEST(GgufVocabulary, ThePlaceHasWhatTheFileHas) {
  const auto place = [](const GgufBuilder& builder) {
    const std::vector<std::byte> bytes = builder.build();
    const Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf"));
    return file ? file->vocabulary_place() : file.error().message;
  };
  GgufBuilder builder;
  EXPECT_EQ(place(builder), "m.gguf: keys 'tokenizer.ggml.*'");
  builder.strings("tokenizer.ggml.tokens", {"a"});
  EXPECT_EQ(place(builder), "m.gguf: keys 'tokenizer.ggml.*'");
  GgufBuilder merges = builder;
  EXPECT_EQ(place(merges.strings("tokenizer.ggml.merges", {})), "m.gguf: keys 'tokenizer.ggml.*', tokens at byte 24 and merges at byte 78");
  EXPECT_EQ(place(builder.array("tokenizer.ggml.scores", std::vector<float>{0})),
            "m.gguf: keys 'tokenizer.ggml.*', tokens at byte 24 and scores at byte 78");
}

TEST(GgufVocabulary, SentencePiece) {
  GgufBuilder builder;
  builder.string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "a"});
  const auto message = [](const GgufBuilder& file) { return outcome_of(file).message; };
  EXPECT_EQ(message(builder),
            "m.gguf: key 'tokenizer.ggml.scores' is missing; expected an array of floats; a SentencePiece vocabulary cannot be read "
            "without its scores");
  GgufBuilder few = builder;
  few.array("tokenizer.ggml.scores", std::vector<float>{0, 0});
  EXPECT_TRUE(message(few).ends_with("found 2 scores; expected 3")) << message(few);
  builder.array("tokenizer.ggml.scores", std::vector<float>{0, 0, -1});
  {
    const std::vector<std::byte> without_bos = builder.build();
    const Result<GgufFile> unnamed = GgufFile::parse(MappedFile::from_memory(without_bos, "m.gguf"));
    EXPECT_FALSE(read_tokenizer(*unnamed)->add_bos());
  }
  builder.number<std::uint32_t>("tokenizer.ggml.bos_token_id", 1);
  EXPECT_EQ(message(builder), "");
  const std::vector<std::byte> bytes = builder.build();
  const Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf"));
  const Result<Tokenizer> tokenizer = read_tokenizer(*file);
  ASSERT_TRUE(tokenizer);
  EXPECT_TRUE(tokenizer->add_bos());  // the default of Llama, unless the file says otherwise
  EXPECT_FALSE(tokenizer->add_eos());
  builder.boolean("tokenizer.ggml.remove_extra_whitespaces", true);
  EXPECT_TRUE(message(builder).find("not supported") != std::string::npos);
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
