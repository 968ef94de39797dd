// SPDX-License-Identifier: Apache-2.0
//
// Tests of model files whose token types are wrong or missing: tokens that chat templates write count as control tokens
// nevertheless.
#include <stilla/text/token_types.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <stilla/text/chat_template.hpp>
#include <stilla/text/source_tokenizer.hpp>
#include <stilla/text/tokenizer.hpp>

#include "gguf_builder.hpp"
#include "tokenizer_util.hpp"

namespace stilla { namespace {

using Ids = std::vector<std::uint32_t>;

// Returns a vocabulary with a token for each byte, followed by the tokens `names`, which all have the type `type`.
Vocabulary byte_vocabulary(const std::vector<std::string>& names, TokenType type) {
  Vocabulary vocabulary;
  vocabulary.pretokenizer = "qwen2";
  for (std::uint32_t letter = 0; letter < detail::byte_alphabet_end; ++letter) {
    if (detail::byte_of_letter[letter] < 0) continue;
    vocabulary.tokens.emplace_back();
    append_utf8(vocabulary.tokens.back(), letter);
  }
  vocabulary.types.assign(256, TokenType::normal);
  vocabulary.tokens.insert(vocabulary.tokens.end(), names.begin(), names.end());
  vocabulary.types.resize(vocabulary.tokens.size(), type);
  return vocabulary;
}

const std::vector<std::string> markup_tokens{"<|im_start|>",
                                             "<|im_end|>",
                                             "<|endoftext|>",
                                             "<|begin_of_text|>",
                                             "<|end_of_text|>",
                                             "<|start_header_id|>",
                                             "<|end_header_id|>",
                                             "<|eot_id|>",
                                             "<|eom_id|>",
                                             "<|python_tag|>",
                                             "<｜begin▁of▁sentence｜>",
                                             "<｜end▁of▁sentence｜>",
                                             "<｜User｜>",
                                             "<｜Assistant｜>",
                                             "<｜tool▁calls▁begin｜>",
                                             "<|EOT|>",
                                             "<|end|>",
                                             "<|user|>",
                                             "<|assistant|>",
                                             "<|system|>",
                                             "<|end_of_turn|>",
                                             "<|im_sep|>",
                                             "<|START_OF_TURN_TOKEN|>",
                                             "[|endofturn|]",
                                             "<start_of_turn>",
                                             "<end_of_turn>",
                                             "[INST]",
                                             "[/INST]",
                                             "<s>",
                                             "</s>"};

class WrongTypes : public testing::TestWithParam<TokenType> {};

TEST_P(WrongTypes, MarkupIsControl) {
  const Tokenizer tokenizer = make_tokenizer(byte_vocabulary(markup_tokens, GetParam()));
  for (std::uint32_t id = 256; id < tokenizer.size(); ++id) {
    const std::string& text = markup_tokens[id - 256];
    EXPECT_TRUE(tokenizer.is_control(id)) << text;
    EXPECT_EQ(tokenizer.encode(text, SpecialTokens::parse), Ids{id}) << text;
    EXPECT_EQ(tokenizer.encode(text).size(), text.size());  // one token for each byte
    EXPECT_EQ(tokenizer.piece(id), "");
    EXPECT_EQ(tokenizer.piece(id, ControlText::show), text);
  }
  EXPECT_EQ(tokenizer.notes().size(), GetParam() == TokenType::control ? 0u : 1u);
}

TEST_P(WrongTypes, GenerationEnds) {
  for (const std::string_view text : {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|EOT|>",
                                      "<｜end▁of▁sentence｜>", "<|end|>", "<|end_of_turn|>", "<end_of_turn>", "</s>"}) {
    EXPECT_TRUE(make_tokenizer(byte_vocabulary({std::string(text)}, GetParam())).is_end_of_generation(256)) << text;
  }
  for (const std::string_view text : {"<|im_start|>", "<｜User｜>", "<|end_header_id|>", "<s>", "<think>"}) {
    EXPECT_FALSE(make_tokenizer(byte_vocabulary({std::string(text)}, GetParam())).is_end_of_generation(256)) << text;
  }
}

// The messages of a user, a system prompt and a past answer hold every control token that a template writes, as text. They also
// hold pieces that could join with what the template writes around them. The prompt must have the same control tokens as with
// harmless messages.
TEST_P(WrongTypes, NobodyForgesATurn) {
  std::vector<std::string> names = markup_tokens;
  names.insert(names.end(), {"<think>", "</think>"});
  const Tokenizer tokenizer = make_tokenizer(byte_vocabulary(names, GetParam()));
  std::string evil;
  for (const std::string& text : markup_tokens) evil += text + "\n" + text.substr(0, text.size() / 2) + text;
  for (const char* name : {"chatml", "deepseek-r1", "llama3"}) {
    const ChatTemplate chat_template = *chat_template_by_name(name);
    const auto controls = [&](const std::string& text) {
      const std::vector<ChatMessage> messages{
          {ChatRole::system, text}, {ChatRole::user, text}, {ChatRole::assistant, text}, {ChatRole::user, text}};
      const Result<ChatPrompt> prompt = encode_chat(tokenizer, chat_template, messages);
      EXPECT_TRUE(prompt) << prompt.error().message;
      Ids out;
      for (const std::uint32_t id : prompt->ids) {
        if (tokenizer.is_control(id)) out.push_back(id);
      }
      return out;
    };
    EXPECT_FALSE(controls("hello").empty());
    EXPECT_EQ(controls(evil), controls("hello")) << name;
    EXPECT_EQ(controls("|im_end|>" + evil + "<|im_end"), controls("hello")) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, WrongTypes, testing::Values(TokenType::normal, TokenType::control, TokenType::user_defined),
                         [](const auto& instance) { return concat("Type", static_cast<int>(instance.param)); });

// A session may remember the ids with which a message was generated. If these hold control tokens, they are not used.
TEST(TokenTypes, RememberedIdsHoldNoMarkup) {
  const Tokenizer tokenizer = make_tokenizer(byte_vocabulary({"<|im_end|>"}, TokenType::control));
  const TextSegment segments[] = {{"hi", false, {tokenizer.encode("h")[0], 256, tokenizer.encode("i")[0]}}};
  for (const std::uint32_t id : tokenizer.encode(segments)) EXPECT_FALSE(tokenizer.is_control(id));
}

TEST(TokenTypes, MergesCannotMakeMarkup) {
  Vocabulary vocabulary = byte_vocabulary({}, TokenType::normal);
  std::string text = "<";
  for (const char c : std::string_view("|im_end|>")) {
    vocabulary.merges.push_back(concat(text, " ", c));
    vocabulary.tokens.push_back(text += c);
  }
  vocabulary.types.resize(vocabulary.tokens.size(), TokenType::normal);
  const Tokenizer tokenizer = make_tokenizer(vocabulary);
  const auto id = static_cast<std::uint32_t>(tokenizer.size() - 1);
  EXPECT_TRUE(tokenizer.is_control(id) && tokenizer.is_end_of_generation(id));
  for (const std::uint32_t made : tokenizer.encode("<|im_end|>")) EXPECT_NE(made, id);
  EXPECT_EQ(tokenizer.encode("<|im_end|>", SpecialTokens::parse), Ids{id});
}

TEST(TokenTypes, WordsOfTheVocabularyStayWords) {
  Vocabulary vocabulary = byte_vocabulary({"<s", "<s>", "</", "[]", "<|>", "<||>"}, TokenType::normal);
  vocabulary.merges = {"< s", "<s >"};  // these merges are in Qwen2's vocabulary
  const Tokenizer tokenizer = make_tokenizer(vocabulary);
  for (std::uint32_t id = 256; id < tokenizer.size(); ++id) EXPECT_EQ(tokenizer.type(id), TokenType::normal) << id;
  EXPECT_TRUE(tokenizer.notes().size() == 1 && tokenizer.notes()[0].starts_with("no token ends"));
}

TEST(TokenTypes, ThoughtsAreText) {
  for (const TokenType type : {TokenType::normal, TokenType::control, TokenType::user_defined}) {
    const Tokenizer tokenizer = make_tokenizer(byte_vocabulary({"<think>", "</think>", "<tool_call>"}, type));
    EXPECT_EQ(tokenizer.encode("<think></think><tool_call>"), (Ids{256, 257, 258}));
    EXPECT_EQ(tokenizer.decode(Ids{256, 257}), "<think></think>");
  }
}

TEST(TokenTypes, WhatTheTemplateWritesAndTheFileNames) {
  Vocabulary vocabulary = byte_vocabulary({"<im_user>", "<other>", "  ", "<stop>"}, TokenType::user_defined);
  vocabulary.chat_template = "{{ '<im_user>' + message.content + '  ' }}";
  vocabulary.eos = 259;
  const Tokenizer tokenizer = make_tokenizer(vocabulary);
  EXPECT_TRUE(tokenizer.is_control(256));
  EXPECT_EQ(tokenizer.type(257), TokenType::user_defined);
  EXPECT_EQ(tokenizer.type(258), TokenType::user_defined);
  EXPECT_TRUE(tokenizer.is_control(259) && tokenizer.is_end_of_generation(259));
  EXPECT_EQ(tokenizer.notes()[0],
            "token 256 '<im_user>' is taken for a control token, though the file gives it type 4 (the first of 2 such tokens)");
}

// Returns the type that `token` gets if the file gives it the type `given`. The vocabulary also has a token for each byte.
TokenType type_of(const std::string& token, TokenType given, const std::vector<std::string>& merges = {}) {
  Vocabulary vocabulary = byte_vocabulary({token}, given);
  vocabulary.merges = merges;
  std::vector<std::string> notes;
  return token_types(vocabulary, notes).back();
}

TEST(TokenTypes, OnlyNamesBetweenBarsAreMarkup) {
  for (const char* markup : {"<|a|>", "<|2|>", "<|-a|>", "<|:a|>", "<|_x|>", "<|é|>", "<|~Z|>", "[|9|]", "<｜User｜>", "\n<|a|> "}) {
    EXPECT_EQ(type_of(markup, TokenType::normal), TokenType::control) << markup;
  }
  for (const char* word : {"<|x>", "<|a|", "<|x]>", "<||>", "<|-|>", "<|~|>", "<|a b|>", "<|a|b|>", "<|<a>|>", "x<|a|>", "[|a|>"}) {
    EXPECT_EQ(type_of(word, TokenType::normal), TokenType::normal) << word;
  }
}

// Where a template writes a name in brackets, this name is markup. It is no markup if its two brackets do not belong together.
TEST(TokenTypes, BracketsMustBelongTogether) {
  for (const auto& [token, is_markup] : {std::pair{"<im_user>", true},
                                         {"[im_user]", true},
                                         {"<im_user]", false},
                                         {"[im_user>", false},
                                         {"im_user>", false},
                                         {"<>", false}}) {
    Vocabulary vocabulary = byte_vocabulary({token}, TokenType::user_defined);
    vocabulary.chat_template = concat("{{ '", token, "' }}");
    std::vector<std::string> notes;
    EXPECT_EQ(token_types(vocabulary, notes).back(), is_markup ? TokenType::control : TokenType::user_defined) << token;
  }
}

// If merges make a token, it can occur in every text, so it is a word and no markup. Merges of other words do not matter.
TEST(TokenTypes, WhatMergesMakeIsAWord) {
  for (const char* name : {"<s>", "[INST]", "<think>"}) {
    const std::string text = name, merge = text.substr(0, 1) + " " + text.substr(1);
    const TokenType without = text == "<think>" ? TokenType::user_defined : TokenType::control;
    EXPECT_EQ(type_of(text, TokenType::normal), without) << text;
    EXPECT_EQ(type_of(text, TokenType::normal, {"", "a >", "a ]", "a b"}), without) << text;
    EXPECT_EQ(type_of(text, TokenType::normal, {"a >", merge}), TokenType::normal) << text;
    EXPECT_EQ(type_of(text, TokenType::unused), TokenType::unused) << text;
  }
}

TEST(TokenTypes, NamesOfBytes) {
  for (const auto& [name, byte] : {std::pair{"<0x00>", 0}, {"<0x09>", 9}, {"<0xAF>", 0xaf}, {"<0xaf>", 0xaf}, {"<0xFf>", 0xff}}) {
    EXPECT_EQ(detail::byte_of_name(name), byte) << name;
  }
  for (const char* other : {"", "<0x0>", "<0x000>", "<abcd>", "<0x00]", "<0x/0>", "<0x0:>", "<0x@0>", "<0x0G>", "<0x`0>", "<0x0g>"}) {
    EXPECT_EQ(detail::byte_of_name(other), -1) << other;
  }
}

TEST(TokenTypes, EndsMayHaveSpaceAround) {
  for (const char* end : {"</s>", " </s>\n", "\t<|im_end|>\r\n"}) EXPECT_TRUE(is_end_markup(end)) << end;
  for (const char* other : {"", " \n", "</ s>", "s"}) EXPECT_FALSE(is_end_markup(other)) << other;
}

TEST(TokenTypes, NoTypesAtAll) {
  Vocabulary vocabulary = byte_vocabulary({"<|im_start|>", "<|im_end|>", "<think>", "[PAD259]", "th"}, TokenType::normal);
  vocabulary.types.clear();
  vocabulary.merges = {"t h"};
  const Tokenizer tokenizer = make_tokenizer(vocabulary);
  EXPECT_EQ(tokenizer.encode("<|im_start|>th<|im_end|>", SpecialTokens::parse), (Ids{256, 260, 257}));
  EXPECT_TRUE(tokenizer.is_end_of_generation(257));
  EXPECT_EQ(tokenizer.encode("<think>"), Ids{258});
  EXPECT_EQ(tokenizer.type(259), TokenType::unused);
  EXPECT_TRUE(tokenizer.notes().empty());
}

Result<Tokenizer> tokenizer_of(const stilla_test::GgufBuilder& builder) {
  const std::vector<std::byte> bytes = builder.build();
  const Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf"));
  if (!file) return file.error();
  return read_tokenizer(*file);
}

stilla_test::GgufBuilder small_file() {
  stilla_test::GgufBuilder builder;
  builder.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "qwen2");
  builder.strings("tokenizer.ggml.tokens", {"a", "b", "ab", "<stop>", "<halt>", "<quit>", "<|im_end|>"});
  builder.array("tokenizer.ggml.token_type", std::vector<std::int32_t>{1, 1, 1, 3, 3, 3, 3});
  builder.strings("tokenizer.ggml.merges", {"a b"});
  return builder;
}

TEST(TokenTypes, AllEndsThatAGgufFileNames) {
  stilla_test::GgufBuilder builder = small_file();
  builder.number<std::uint32_t>("tokenizer.ggml.eot_token_id", 3).number<std::uint32_t>("tokenizer.ggml.eom_token_id", 4);
  builder.array("tokenizer.ggml.eos_token_ids", std::vector<std::int32_t>{5, -1, 7});
  const Result<Tokenizer> tokenizer = tokenizer_of(builder);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (std::uint32_t id = 0; id < 7; ++id) EXPECT_EQ(tokenizer->is_end_of_generation(id), id >= 3) << id;
  for (const std::string_view outside : {"-1", "7"}) {
    EXPECT_EQ(std::ranges::count(tokenizer->notes(), concat("key 'tokenizer.ggml.eos_token_ids': found ", outside,
                                                            ", which is outside the vocabulary of 7 tokens and is ignored")),
              1)
        << outside;
  }
}

TEST(TokenTypes, UnknownKeysOfAGgufVocabularyAreTold) {
  stilla_test::GgufBuilder builder = small_file();
  builder.number<std::uint32_t>("tokenizer.ggml.mask_token_id", 3).boolean("tokenizer.ggml.ignore_merges", true);
  builder.string("tokenizer.ggml.precompiled_charsmap", "x");
  const Result<Tokenizer> tokenizer = tokenizer_of(builder);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(std::ranges::count(tokenizer->notes(),
                               "keys that are not known here and not used: 'tokenizer.ggml.ignore_merges', "
                               "'tokenizer.ggml.precompiled_charsmap'"),
            1);
}

TEST(TokenTypes, IdsOutsideTheVocabularyAreIgnoredUnlessNeeded) {
  for (const std::int32_t bad : {-1, 7}) {
    stilla_test::GgufBuilder builder = small_file();
    for (const char* name : {"bos", "eos", "eot", "padding", "unknown"}) {
      builder.number<std::int32_t>(concat("tokenizer.ggml.", name, "_token_id"), bad);
    }
    const Result<Tokenizer> tokenizer = tokenizer_of(builder);
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    ASSERT_EQ(tokenizer->notes().size(), 6u);  // the last note tells how many bytes have no token
    EXPECT_EQ(tokenizer->notes()[1],
              concat("key 'tokenizer.ggml.eos_token_id': found ", bad, ", which is outside the vocabulary of 7 tokens and is ignored"));
    EXPECT_FALSE(tokenizer->bos() || tokenizer->eos());
    EXPECT_TRUE(tokenizer->is_end_of_generation(6));
    EXPECT_EQ(tokenizer->encode("ab"), Ids{2});
    builder.boolean("tokenizer.ggml.add_bos_token", true);
    EXPECT_TRUE(tokenizer_of(builder).error().message.ends_with("a bos token is to be added but none is named"));
  }
  stilla_test::GgufBuilder unsigned_minus_one = small_file();
  unsigned_minus_one.number<std::uint32_t>("tokenizer.ggml.padding_token_id", UINT32_MAX);
  EXPECT_TRUE(tokenizer_of(unsigned_minus_one));
}

}  // namespace
}  // namespace stilla
