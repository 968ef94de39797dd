// SPDX-License-Identifier: Apache-2.0
#include <stilla/text/tokenizer.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <map>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <stilla/io/gguf.hpp>
#include <stilla/text/normalise.hpp>
#include <stilla/text/source_tokenizer.hpp>

#include "tokenizer_util.hpp"

namespace stilla { namespace {

using Ids = std::vector<std::uint32_t>;

Vocabulary golden_vocabulary(std::string_view name) { return *open_golden(name).vocabulary(); }

// Compares ids with golden ones that Hugging Face tokenizers made (tests/golden/make_tokenizer_golden.py).
class TokenizerGolden : public testing::TestWithParam<const char*> {};

void expect_golden(const GgufFile& file, const Tokenizer& tokenizer, std::string_view prefix, SpecialTokens special) {
  const auto strings = file.get_strings(concat("golden.", prefix, "strings"));
  const auto ids = file.get_array<std::uint32_t>(concat("golden.", prefix, "ids"));
  const auto counts = file.get_array<std::uint32_t>(concat("golden.", prefix, "counts"));
  ASSERT_TRUE(strings && ids && counts);
  ASSERT_EQ(strings->size(), counts->size());
  ASSERT_GT(strings->size(), prefix.empty() ? 500u : 0u);
  std::size_t at = 0;
  std::size_t i = 0;
  for (const std::string_view text : *strings) {
    const Ids expected(ids->begin() + static_cast<std::ptrdiff_t>(at), ids->begin() + static_cast<std::ptrdiff_t>(at + (*counts)[i]));
    EXPECT_EQ(tokenizer.encode(text, special), expected) << "string " << i << ": " << text;
    if (tokenizer.find("\x06")) {  // the vocabulary of smollm lacks this byte
      EXPECT_EQ(tokenizer.decode(expected, ControlText::show), tokenizer.nfc() ? to_nfc(text) : text);
    }
    at += (*counts)[i++];
  }
  EXPECT_EQ(at, ids->size());
}

TEST_P(TokenizerGolden, IdsEqualHuggingFace) {
  const GgufFile file = open_golden(GetParam());
  const Tokenizer tokenizer = *read_tokenizer(file);
  expect_golden(file, tokenizer, "", SpecialTokens::parse);
  expect_golden(file, tokenizer, "text_", SpecialTokens::as_text);
}

// Compares ids and decoded texts with those of Google's sentencepiece (tests/golden/make_sentencepiece_golden.py). One model has
// Llama's settings, and the other has tokens that reach across words.
TEST(SentencePieceGolden, IdsAndTextEqualTheLibrary) {
  for (const char* name : {"sentencepiece", "sentencepiece-phrases"}) {
    const GgufFile file = open_golden(name);
    const Tokenizer tokenizer = *read_tokenizer(file);
    expect_golden(file, tokenizer, "", SpecialTokens::as_text);
    const auto strings = file.get_strings("golden.strings");
    const auto decoded = file.get_strings("golden.decoded");
    ASSERT_TRUE(strings && decoded);
    auto expected = decoded->begin();
    for (const std::string_view text : *strings) {
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), *expected++) << text;
    }
  }
}

TEST_P(TokenizerGolden, WordsEqualHuggingFace) {
  const GgufFile file = open_golden(GetParam());
  const auto pretokenizer = pretokenizer_by_name(GetParam());
  const auto strings = file.get_strings("golden.strings");
  const auto word_bytes = file.get_array<std::uint32_t>("golden.word_bytes");
  ASSERT_TRUE(pretokenizer && strings && word_bytes);
  std::size_t i = 0;
  for (const std::string_view text : *strings) {
    split_words(pretokenizer->value, text, [&](std::string_view word) {
      ASSERT_LT(i, word_bytes->size());
      EXPECT_EQ(word.size(), (*word_bytes)[i++]) << "'" << word << "' of " << text;
    });
  }
  EXPECT_EQ(i, word_bytes->size());
}

TEST_P(TokenizerGolden, EveryByteStringSurvives) {
  Vocabulary vocabulary = golden_vocabulary(GetParam());
  if (vocabulary.pretokenizer == "smollm") vocabulary.tokens.push_back("Ć");  // the byte that this vocabulary lacks
  vocabulary.types.resize(vocabulary.tokens.size(), TokenType::normal);
  vocabulary.nfc = false;
  const Tokenizer tokenizer = make_tokenizer(vocabulary);
  std::mt19937 random(1);
  const std::string pool[] = {"a", " ", "'s", "é", "\xe4\xb8", "\x80", "\xff", "\xc0", "\xed\xa0\x80", "\n", "7", "<think>", "\xf0\x9f"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (std::size_t n = random() % 30; n > 0; --n) {
      if (random() % 2 == 0) text += static_cast<char>(random() % 256);
      else text += pool[random() % std::size(pool)];
    }
    for (const SpecialTokens special : {SpecialTokens::as_text, SpecialTokens::parse}) {
      ASSERT_EQ(tokenizer.decode(tokenizer.encode(text, special), ControlText::show), text);
    }
    std::string words;
    split_words(tokenizer.pretokenizer(), text, [&](std::string_view word) {
      ASSERT_FALSE(word.empty());
      words += word;
    });
    ASSERT_EQ(words, text);
  }
}

TEST_P(TokenizerGolden, SegmentsOfPlainTextEncodeAsOneText) {
  const GgufFile file = open_golden(GetParam());
  const Tokenizer tokenizer = *read_tokenizer(file);
  std::mt19937 random(2);
  const auto strings = file.get_strings("golden.strings");
  for (const std::string_view text : *strings) {
    std::vector<TextSegment> segments;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = 1 + random() % 5;
      segments.push_back({std::string(text.substr(at, length)), false});
      at += length;
    }
    ASSERT_EQ(tokenizer.encode(segments), tokenizer.encode(text, SpecialTokens::as_text)) << text;
    const TextSegment markup{std::string(text), true};
    ASSERT_EQ(tokenizer.encode({&markup, 1}), tokenizer.encode(text, SpecialTokens::parse)) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerGolden, testing::Values("qwen2", "deepseek-r1-qwen", "llama-bpe", "smollm", "gpt-2", "qwen35"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

std::vector<std::string> words(PreTokenizer pretokenizer, std::string_view text) {
  std::vector<std::string> out;
  split_words(pretokenizer, text, [&](std::string_view word) { out.emplace_back(word); });
  return out;
}

TEST(PreTokenizer, Words) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(words(PreTokenizer::qwen2, "Hello  world's 123\r\n\n x"),
            (Words{"Hello", " ", " world", "'s", " ", "1", "2", "3", "\r\n\n", " x"}));
  EXPECT_EQ(words(PreTokenizer::llama_bpe, "a1234567 b"), (Words{"a", "123", "456", "7", " b"}));
  EXPECT_EQ(words(PreTokenizer::smollm, "it's IT'S 12  \n 3 x"), (Words{"it", "'s", " IT", "'", "S", " ", "1", "2", "  \n ", "3", " x"}));
  EXPECT_EQ(words(PreTokenizer::qwen2, "IT'S a'\xc5\xbf ((x)) \t\n y  "),
            (Words{"IT", "'S", " a", "'\xc5\xbf", " ((", "x", "))", " \t\n", " y", "  "}));
  EXPECT_EQ(words(PreTokenizer::qwen2, "'\xc5\xbfs\nabc\r!"), (Words{"'\xc5\xbf", "s", "\n", "abc", "\r", "!"}));
}

TEST(PreTokenizer, AliasesMeanKnownNames) {
  for (const PreTokenizerAlias& alias : pretokenizer_aliases) {
    ASSERT_TRUE(pretokenizer_by_name(alias.name)) << alias.name;
    EXPECT_EQ(pretokenizer_by_name(alias.name)->name, alias.meaning);
  }
  for (const char* name : {"llama3", "llama-v3", "smaug-bpe"}) {
    EXPECT_EQ(pretokenizer_by_name(name)->value, PreTokenizer::llama_bpe);
  }
}

TEST(PreTokenizer, UnknownNameListsTheKnown) {
  const auto result = pretokenizer_by_name("gpt-\x01");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message,
            "pre-tokenizer 'gpt-\\x01' is not supported; choose one by name: qwen2, deepseek-r1-qwen, llama-bpe, smollm, gpt-2, qwen35");
}

// Merges the tokens of a word by the definition of byte-pair encoding: each step applies the rule with the lowest rank of all that
// fit, at the leftmost place in the word where this rule fits.
Ids merge_by_definition(const std::map<std::pair<std::uint32_t, std::uint32_t>, detail::MergeRule>& rules, Ids symbols) {
  while (true) {
    const detail::MergeRule* lowest = nullptr;
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = rules.find({symbols[i], symbols[i + 1]});
      if (found != rules.end() && (lowest == nullptr || found->second.rank < lowest->rank)) {
        lowest = &found->second;
        at = i;
      }
    }
    if (lowest == nullptr) return symbols;
    symbols[at] = lowest->merged;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

// The merge rules of the test are in random order. Several rules make the same token. Often a rule that uses a token has a lower
// rank, and so must be applied sooner, than the rule that makes this token. In these cases it could be wrong that one pass of the
// merger applies a rule everywhere in the word at once.
TEST(WordMerger, EqualsTheDefinition) {
  std::mt19937 random(3);
  for (int round = 0; round < 400; ++round) {
    std::vector<std::string> tokens;
    for (std::size_t c = 0; c < 1 + random() % 3; ++c) tokens.push_back(std::string(1, static_cast<char>('a' + c)));
    const std::size_t letters = tokens.size();
    std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
    for (std::size_t n = random() % 40; n > 0; --n) {
      const auto left = static_cast<std::uint32_t>(random() % tokens.size());
      const auto right = static_cast<std::uint32_t>(random() % tokens.size());
      const std::string merged = tokens[left] + tokens[right];
      if (merged.size() > 12) continue;
      pairs.emplace_back(left, right);
      if (std::find(tokens.begin(), tokens.end(), merged) == tokens.end()) tokens.push_back(merged);
    }
    std::sort(pairs.begin(), pairs.end());
    pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
    std::shuffle(pairs.begin(), pairs.end(), random);
    std::map<std::pair<std::uint32_t, std::uint32_t>, detail::MergeRule> rules;
    detail::MergeTable table(pairs.size());
    for (std::uint32_t rank = 0; rank < pairs.size(); ++rank) {
      const auto [left, right] = pairs[rank];
      const auto merged = std::find(tokens.begin(), tokens.end(), tokens[left] + tokens[right]) - tokens.begin();
      const detail::MergeRule rule{left, right, rank, static_cast<std::uint32_t>(merged)};
      rules[pairs[rank]] = rule;
      ASSERT_EQ(table.add(rule), detail::MergeTable::Added::yes);
    }
    detail::WordMerger merger(table);
    for (const std::size_t length : {0u, 1u, 2u, 5u, 31u, 32u, 33u, 34u, 64u, 100u, 300u}) {
      Ids symbols(length);
      for (auto& symbol : symbols) symbol = static_cast<std::uint32_t>(random() % letters);
      const Ids expected = merge_by_definition(rules, symbols);
      merger.merge(symbols);
      ASSERT_EQ(symbols, expected) << "round " << round << ", " << length << " symbols";
    }
  }
}

// Long words are merged in passes, each of which applies one rule everywhere in the word. When passes shorten a word too little,
// the merger continues with a heap of all possible merges.
TEST(WordMerger, HeapEqualsTheDefinition) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, detail::MergeRule> rules;
  std::mt19937 random(4);
  detail::MergeTable table(100 * 100);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
  for (std::uint32_t left = 0; left < 100; ++left) {
    for (std::uint32_t right = 0; right < 100; ++right) pairs.emplace_back(left, right);
  }
  std::shuffle(pairs.begin(), pairs.end(), random);
  for (std::uint32_t rank = 0; rank < pairs.size(); ++rank) {
    rules[pairs[rank]] = {pairs[rank].first, pairs[rank].second, rank, 100 + rank};
    ASSERT_EQ(table.add(rules[pairs[rank]]), detail::MergeTable::Added::yes);
  }
  detail::WordMerger merger(table);
  for (std::size_t length = 33; length < 1500; length = length * 3 / 2) {
    Ids symbols(length);
    for (auto& symbol : symbols) symbol = static_cast<std::uint32_t>(random() % 100);
    const Ids expected = merge_by_definition(rules, symbols);
    merger.merge(symbols);
    ASSERT_EQ(symbols, expected);
  }
}

TEST(WordMerger, RefusesRepeatedAndCrowdedRules) {
  detail::MergeTable table(2);
  EXPECT_EQ(table.add({1, 2, 0, 3}), detail::MergeTable::Added::yes);
  EXPECT_EQ(table.add({1, 2, 1, 4}), detail::MergeTable::Added::repeats);
  EXPECT_EQ(table.find(1, 2)->merged, 3u);
  EXPECT_EQ(table.find(2, 1), nullptr);
  // The pairs of tokens are chosen so that the search for each of them begins in the first 64 of the 16384 places of the hash table
  // of merges. So these places get crowded.
  detail::MergeTable crowded(5000);
  std::uint32_t added = 0;
  auto result = detail::MergeTable::Added::yes;
  for (std::uint64_t key = 0; result == detail::MergeTable::Added::yes; ++key) {
    if ((key ^ key >> 29) * 0x9e3779b97f4a7c15u >> 50 >= 64) continue;
    ASSERT_LT(added, 5000u);
    result = crowded.add({static_cast<std::uint32_t>(key >> 32), static_cast<std::uint32_t>(key), added++, 0});
  }
  EXPECT_EQ(result, detail::MergeTable::Added::crowded);
}

double seconds_to_encode(const Tokenizer& tokenizer, std::string_view text) {
  double best = 1e9;
  for (int i = 0; i < 2; ++i) {
    const std::clock_t begin = std::clock();  // CPU time, which other programs hardly change
    const Ids ids = tokenizer.encode(text);
    best = std::min(best, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
    EXPECT_FALSE(ids.empty());
  }
  return best;
}

// Four times the text may take up to twelve times as long to encode, because of caches and a busy machine. Work that grows with
// the square of the length would take sixteen times as long, and minutes in any case.
void expect_linear_time(const Tokenizer& tokenizer, std::string_view pattern, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += pattern;
  const double whole = seconds_to_encode(tokenizer, text);
  const double quarter = seconds_to_encode(tokenizer, std::string_view(text).substr(0, text.size() / 4));
  EXPECT_LT(whole, 30) << pattern.substr(0, 10);
  EXPECT_LT(whole, 12 * quarter + 0.1) << pattern.substr(0, 10);
}

// Encodes texts for which a backtracking regular expression or a quadratic merge would never end.
TEST(Tokenizer, LinearTime) {
  expect_linear_time(make_tokenizer(golden_vocabulary("qwen2")), "A", 4300000);
  std::mt19937 random(5);
  std::string letters;
  for (std::size_t i = 0; i < 500000; ++i) letters += static_cast<char>('a' + random() % 26);
  for (const char* name : {"qwen2", "llama-bpe", "smollm"}) {
    const Tokenizer tokenizer = make_tokenizer(golden_vocabulary(name));
    for (const std::string_view pattern : {" ", "\n ", "'", "1", "<", "\x80", "<|im_end|", "e\xcc\x81", letters.c_str()}) {
      expect_linear_time(tokenizer, pattern, 500000);
    }
  }
}

Vocabulary small_vocabulary() {
  Vocabulary vocabulary;
  vocabulary.pretokenizer = "qwen2";
  vocabulary.tokens = {"a", "b", "c", "ab", "abc", "<|im_end|>", "<think>", "[PAD]", "Ġ", "Ã", "©"};
  vocabulary.types.assign(11, TokenType::normal);
  vocabulary.types[5] = TokenType::control;
  vocabulary.types[6] = TokenType::user_defined;
  vocabulary.types[7] = TokenType::unused;
  vocabulary.merges = {"a b", "ab c"};
  vocabulary.eos = 5;
  return vocabulary;
}

TEST(Tokenizer, SpecialTokens) {
  const Tokenizer tokenizer = make_tokenizer(small_vocabulary());
  EXPECT_EQ(tokenizer.size(), 11u);
  EXPECT_EQ(tokenizer.encode("abc<|im_end|>ab", SpecialTokens::parse), (Ids{4, 5, 3}));
  EXPECT_EQ(tokenizer.encode("abc<think>ab"), (Ids{4, 6, 3}));
  EXPECT_EQ(tokenizer.encode("c<|im_end|>[PAD]"), (Ids{2}));  // the text's other bytes have no token
  EXPECT_EQ(tokenizer.encode(" é"), (Ids{8, 9, 10}));
  EXPECT_EQ(tokenizer.decode(Ids{8, 9, 10, 5, 6, 99}), " é<think>");
  EXPECT_EQ(tokenizer.decode(Ids{4, 5}, ControlText::show), "abc<|im_end|>");
  EXPECT_EQ(tokenizer.piece(9), "\xc3");
  EXPECT_EQ(tokenizer.find("abc"), 4u);
  EXPECT_EQ(tokenizer.find("<|im_end|>"), 5u);
  EXPECT_EQ(tokenizer.find(" "), 8u);
  EXPECT_EQ(tokenizer.find("bc"), std::nullopt);
  EXPECT_EQ(tokenizer.find(""), std::nullopt);
  EXPECT_TRUE(tokenizer.is_control(5));
  EXPECT_FALSE(tokenizer.is_control(6) || tokenizer.is_control(99));
  EXPECT_TRUE(tokenizer.is_end_of_generation(5));
  EXPECT_FALSE(tokenizer.is_end_of_generation(4));
}

std::string message_of(const Vocabulary& vocabulary) {
  const Result<Tokenizer> tokenizer = Tokenizer::create(vocabulary);
  return tokenizer ? "" : tokenizer.error().message;
}

TEST(Tokenizer, RefusesBadVocabularies) {
  const auto with = [](auto&& change) {
    Vocabulary vocabulary = small_vocabulary();
    change(vocabulary);
    return message_of(vocabulary);
  };
  EXPECT_EQ(message_of(small_vocabulary()), "");
  EXPECT_EQ(with([](Vocabulary& v) { v.tokens.clear(); }), "vocabulary has no tokens");
  EXPECT_EQ(with([](Vocabulary& v) { v.types.pop_back(); }), "vocabulary has 11 tokens but 10 token types");
  EXPECT_EQ(with([](Vocabulary& v) { v.types[2] = TokenType::byte; }),
            "token 2 'c' has type 6; a vocabulary of this kind has types 1 to 5");
  EXPECT_EQ(with([](Vocabulary& v) { v.tokens[6].assign(2000, '<'); }).substr(0, 18), "special token 6 '<");
  EXPECT_EQ(with([](Vocabulary& v) { v.merges[1] = "abc"; }), "merge 1 'abc' is not two tokens with a space between them");
  EXPECT_EQ(with([](Vocabulary& v) { v.merges[1] = "ab "; }), "merge 1 'ab ' is not two tokens with a space between them");
  EXPECT_EQ(with([](Vocabulary& v) { v.merges[1] = ""; }), "merge 1 '' is not two tokens with a space between them");
  EXPECT_EQ(with([](Vocabulary& v) { v.merges[1] = "a b c"; }), "merge 1 'a b c' is not two tokens with a space between them");
  EXPECT_EQ(with([](Vocabulary& v) { v.merges[0] = "x b"; }), "merge 0 'x b': its left part, 'x', is no token of the vocabulary");
  EXPECT_EQ(with([](Vocabulary& v) { v.merges[0] = "a <think>"; }),
            "merge 0 'a <think>': its right part, '<think>', is token 6, which is not of the type `normal`");
  EXPECT_EQ(with([](Vocabulary& v) { v.merges[0] = "b c"; }), "merge 0 'b c': what it makes, 'bc', is no token of the vocabulary");
  EXPECT_EQ(with([](Vocabulary& v) { v.merges[1] = "a b"; }), "merge 1 'a b' repeats merge 0");
  EXPECT_EQ(with([](Vocabulary& v) { v.add_eos = true, v.eos = 11; }), "an eos token is to be added but none is named");
  EXPECT_EQ(with([](Vocabulary& v) { v.add_bos = true; }), "a bos token is to be added but none is named");
  EXPECT_EQ(with([](Vocabulary& v) { v.pretokenizer = "tekken"; }),
            "pre-tokenizer 'tekken' is not supported; choose one by name: qwen2, deepseek-r1-qwen, llama-bpe, smollm, gpt-2, qwen35");
}

TEST(Tokenizer, ToleratesWhatIsNotNeeded) {
  Vocabulary vocabulary = small_vocabulary();
  vocabulary.tokens.insert(vocabulary.tokens.end(), {"ab", "<|im_end|>", "<think>"});
  vocabulary.types.insert(vocabulary.types.end(), {TokenType::normal, TokenType::control, TokenType::user_defined});
  vocabulary.padding = UINT32_MAX;
  vocabulary.unknown = 14;
  const Tokenizer tokenizer = make_tokenizer(vocabulary);
  EXPECT_EQ(tokenizer.encode("ab<|im_end|><think>", SpecialTokens::parse), (Ids{3, 5, 6}));  // of equal tokens the first one is used
  EXPECT_EQ(tokenizer.decode(Ids{11, 12, 13}, ControlText::show), "ab<|im_end|><think>");
  EXPECT_TRUE(tokenizer.is_end_of_generation(5) && tokenizer.is_end_of_generation(12));
  ASSERT_EQ(tokenizer.notes().size(), 4u);
  EXPECT_TRUE(tokenizer.notes()[3].ends_with(" of the 256 bytes: what needs them in a text is left out"));
  EXPECT_EQ(tokenizer.notes()[0], "token 11 'ab' repeats token 3, which is the one that text becomes");
  EXPECT_EQ(tokenizer.notes()[1], "padding token id 4294967295 is outside the vocabulary of 14 tokens and is ignored");
  EXPECT_EQ(tokenizer.notes()[2], "unknown token id 14 is outside the vocabulary of 14 tokens and is ignored");
  vocabulary = small_vocabulary();
  vocabulary.eos = std::nullopt;
  vocabulary.tokens[5] = "x";
  ASSERT_EQ(make_tokenizer(vocabulary).notes().size(), 2u);
  EXPECT_EQ(make_tokenizer(vocabulary).notes()[0], "no token ends an answer; it goes on until a limit");
}

// Encodes a text by SentencePiece's definition: the texts of all neighbouring pairs are joined and looked up. The pair with the
// best score is merged first, and of equal scores the leftmost one.
Ids sentencepiece_by_definition(const Tokenizer& tokenizer, const Vocabulary& vocabulary, std::string_view text) {
  std::vector<std::string> parts;
  for (const char c : text) parts.emplace_back(1, c);
  while (true) {
    std::size_t best = parts.size();
    float best_score = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto id = tokenizer.find(parts[i] + parts[i + 1]);
      if (!id || (best != parts.size() && vocabulary.scores[*id] <= best_score)) continue;
      best = i;
      best_score = vocabulary.scores[*id];
    }
    if (best == parts.size()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  Ids out;
  for (const std::string& part : parts) out.push_back(tokenizer.find(part).value_or(0));
  return out;
}

Vocabulary sentencepiece_vocabulary(const std::vector<std::string>& tokens) {
  Vocabulary vocabulary;
  vocabulary.kind = VocabularyKind::sentencepiece;
  vocabulary.tokens = {"<unk>", "<s>", "</s>"};
  vocabulary.tokens.insert(vocabulary.tokens.end(), tokens.begin(), tokens.end());
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) vocabulary.scores.push_back(-static_cast<float>(i));
  vocabulary.unknown = 0, vocabulary.bos = 1, vocabulary.eos = 2;
  return vocabulary;
}

// The vocabulary's scores are in random order and many of them are equal, some letters are no tokens, and words are long and
// short.
TEST(SentencePiece, EqualsTheDefinition) {
  std::mt19937 random(6);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> tokens;
    for (int n = 0; n < 30; ++n) {
      std::string token;
      for (std::size_t length = 1 + random() % 5; length > 0; --length) token += static_cast<char>('a' + random() % 3);
      if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
    }
    if (round % 2 == 0) tokens.insert(tokens.end(), {"a", "b", "c"});
    Vocabulary vocabulary = sentencepiece_vocabulary(tokens);
    for (float& score : vocabulary.scores) score = static_cast<float>(random() % 6);
    vocabulary.add_space_prefix = false;
    const Tokenizer tokenizer = make_tokenizer(vocabulary);
    for (const std::size_t length : {1u, 2u, 7u, 31u, 33u, 80u, 200u}) {
      std::string text;
      for (std::size_t i = 0; i < length; ++i) text += static_cast<char>('a' + random() % 3);
      Ids expected = sentencepiece_by_definition(tokenizer, vocabulary, text);
      for (std::size_t i = 1; i < expected.size(); ++i) {  // several unknown tokens in a row become one
        while (i < expected.size() && expected[i] == 0 && expected[i - 1] == 0)
          expected.erase(expected.begin() + static_cast<std::ptrdiff_t>(i));
      }
      ASSERT_EQ(tokenizer.encode(text), expected) << "round " << round << ": " << text;
    }
  }
}

TEST(SentencePiece, SpacesBytesAndMarkup) {
  Vocabulary vocabulary = sentencepiece_vocabulary({"▁", "h", "i", "▁h", "▁hi", "<0xC3>", "<0xA9>", "<0x0A>", "<think>", "<|im_end|>"});
  const Tokenizer tokenizer = make_tokenizer(vocabulary);  // without types, the tokenizer infers them from the tokens' texts
  EXPECT_EQ(tokenizer.kind(), VocabularyKind::sentencepiece);
  EXPECT_EQ(tokenizer.encode("hi"), Ids{7});
  EXPECT_EQ(tokenizer.encode("hi hi\n"), (Ids{7, 7, 10}));
  EXPECT_EQ(tokenizer.encode("▁hi"), tokenizer.encode(" hi"));
  EXPECT_EQ(tokenizer.encode("é"), (Ids{3, 8, 9}));
  EXPECT_EQ(tokenizer.encode("xéyz"), (Ids{3, 0, 8, 9, 0}));
  EXPECT_EQ(tokenizer.encode("\xc3"), (Ids{3, 8}));
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  EXPECT_EQ(tokenizer.encode("hi<think>hi"), (Ids{7, 11, 4, 5}));  // no space is inserted behind a token that the user may write
  EXPECT_EQ(tokenizer.encode("hi<|im_end|>hi</s>hi", SpecialTokens::parse), (Ids{7, 12, 7, 2, 7}));
  for (const std::uint32_t id : tokenizer.encode("<|im_end|></s><s><unk>")) EXPECT_TRUE(id == 0 || !tokenizer.is_control(id));
  EXPECT_TRUE(tokenizer.is_end_of_generation(2) && tokenizer.is_end_of_generation(12));
  EXPECT_EQ(tokenizer.decode(Ids{7, 7, 10, 8, 9}), "hi hi\né");
  EXPECT_EQ(tokenizer.decode(Ids{7, 12, 7}, ControlText::show), "hi<|im_end|>hi");
  EXPECT_EQ(tokenizer.piece(7), " hi");
  const TextSegment segments[] = {{"hi", true}, {"<|im_end|>", true}, {"hi", false}, {"hi", false, {4, 5}}, {"</s>", true}, {" hi", false}};
  EXPECT_EQ(tokenizer.encode(segments), (Ids{7, 12, 7, 4, 5, 2, 3, 7}));
  vocabulary.eos = 10;
  EXPECT_EQ(make_tokenizer(vocabulary).type(10), TokenType::byte);
  vocabulary.add_space_prefix = false;
  EXPECT_EQ(make_tokenizer(vocabulary).encode("hi"), (Ids{4, 5}));
  EXPECT_EQ(make_tokenizer(vocabulary).decode(Ids{7}), " hi");
}

TEST(SentencePiece, RefusesBadVocabularies) {
  const auto with = [](auto&& change) {
    Vocabulary vocabulary = sentencepiece_vocabulary({"a", "b", "ab"});
    change(vocabulary);
    return message_of(vocabulary);
  };
  EXPECT_EQ(with([](Vocabulary&) {}), "");
  EXPECT_EQ(with([](Vocabulary& v) { v.scores.pop_back(); }), "vocabulary has 6 tokens but 5 scores");
  EXPECT_EQ(with([](Vocabulary& v) { v.scores[5] = std::nanf(""); }), "token 5 'ab' has a score that is no number");
  EXPECT_EQ(with([](Vocabulary& v) { v.types.assign(6, TokenType::byte); }), "token 0 '<unk>' is to be a byte; expected <0x00> to <0xFF>");
  EXPECT_EQ(with([](Vocabulary& v) { v.tokens[5].assign(300, 'a'); }).substr(0, 9), "token 5 '");
  EXPECT_TRUE(with([](Vocabulary& v) { v.tokens[5].assign(300, 'a'); }).ends_with("' has 300 bytes, more than 256"));
}

// Encoding a word of length n takes a time that grows as n log n.
TEST(SentencePiece, LinearTime) {
  const Tokenizer tokenizer = make_tokenizer(golden_vocabulary("sentencepiece"));
  const Tokenizer phrases = make_tokenizer(golden_vocabulary("sentencepiece-phrases"));
  std::mt19937 random(7);
  std::string letters;
  for (std::size_t i = 0; i < 300000; ++i) letters += static_cast<char>('a' + random() % 26);
  for (const std::string_view pattern : {"a", " ", "the ", "\x80", "<", letters.c_str()}) {
    expect_linear_time(tokenizer, pattern, 300000);
    expect_linear_time(phrases, pattern, 300000);
  }
}

TEST(Tokenizer, NormalisesWhereTheModelDoes) {
  Vocabulary vocabulary = small_vocabulary();
  EXPECT_EQ(make_tokenizer(vocabulary).encode("e\xcc\x81"), (Ids{9, 10}));
  // The letter and the combining mark are not composed to one character, because a token stands between them. The vocabulary has
  // no tokens for their bytes, so only the token remains.
  EXPECT_EQ(make_tokenizer(vocabulary).encode("e<think>\xcc\x81"), (Ids{6}));
  vocabulary.pretokenizer = "deepseek-r1-qwen";
  EXPECT_EQ(make_tokenizer(vocabulary).encode("e\xcc\x81"), Ids{});
  vocabulary.nfc = true;
  EXPECT_EQ(make_tokenizer(vocabulary).encode("e\xcc\x81"), (Ids{9, 10}));
}

// The tokens of this vocabulary have texts for which the search begins in the first 64 of the 16384 places of the hash table of
// tokens.
TEST(Tokenizer, TokensThatCollideAreRefusedSoon) {
  Vocabulary vocabulary;
  vocabulary.pretokenizer = "qwen2";
  for (std::uint64_t i = 0; vocabulary.tokens.size() < 5000; ++i) {
    const std::string token = concat(i);
    std::uint64_t hash = token.size();
    for (const char c : token) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    if (((hash ^ hash >> 32) & 16383) < 64) vocabulary.tokens.push_back(token);
  }
  const std::string message = message_of(vocabulary);
  EXPECT_TRUE(message.ends_with("': too many tokens share its hash")) << message;
}

}  // namespace
}  // namespace stilla
