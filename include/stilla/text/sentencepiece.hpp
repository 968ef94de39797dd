// SPDX-License-Identifier: Apache-2.0
//
// Encodes text with a SentencePiece vocabulary of the BPE kind (Llama 2, TinyLlama, Mistral). The ids are those of Google's
// sentencepiece library, for models that do not normalise their text.
//
//   text -> add a space in front, if the model wants one -> cut out user-defined tokens -> characters
//        -> while any two neighbours joined are a token: join those whose token has the highest score; of equal scores the leftmost
//        -> ids; a character that is no token becomes the tokens of its bytes <0xE2><0x82><0xAC>, or the unknown token
//
// Google's library and the files write a space as U+2581. Inside this code both U+2581 and a space are a plain space. The two are
// therefore the same, and text with U+2581 decodes to spaces, as in the library. A byte that is no UTF-8 becomes the token of
// this byte (the library turns it into U+FFFD). If all bytes have tokens, decode(encode(text)) thus gives back every text without
// U+2581.
//
// Tokens are joined with the merging of byte_pair.hpp. Every way to cut a token into two tokens gives a merge rule. The rank of the rule
// is the rank of the score of the token that it makes, among all scores. If no token has a space behind another character, as in
// Llama's vocabulary, nothing is ever joined across the beginning of a word, and words are encoded one by one. Otherwise the whole
// text is one word. Both ways take n log n time for n characters.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/io/vocabulary.hpp>
#include <stilla/text/byte_pair.hpp>
#include <stilla/text/special_tokens.hpp>
#include <stilla/text/token_table.hpp>
#include <stilla/text/token_types.hpp>
#include <stilla/text/unicode.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

// Appends `text`, with every U+2581 replaced by a space.
inline void append_with_spaces(std::string& out, std::string_view text) {
  constexpr std::string_view mark = "\xe2\x96\x81";
  while (true) {
    const std::size_t at = text.find(mark);
    out.append(text.substr(0, at));
    if (at == std::string_view::npos) return;
    out.push_back(' ');
    text.remove_prefix(at + mark.size());
  }
}

class SentencePieceEncoder {
 public:
  SentencePieceEncoder() = default;

  // Appends the text that a token stands for. Control tokens and other special ones stand for their names.
  static void append_text(std::string& out, std::string_view token, TokenType type) {
    if (type == TokenType::byte) {
      if (const int byte = byte_of_name(token); byte >= 0) out.push_back(static_cast<char>(byte));
    } else if (type == TokenType::normal || type == TokenType::user_defined) {
      append_with_spaces(out, token);
    } else {
      out.append(token);
    }
  }

  // Makes the merge rules of the vocabulary. `types` are the types of its tokens after their correction (token_types.hpp), and
  // `table` finds its normal tokens.
  Result<MergeTable> read(const Vocabulary& vocabulary, const std::vector<TokenType>& types, const TokenTable& table);

  // Appends the ids of `text`. `begins` is true if nothing, or a control token, comes before the text.
  void encode(std::string_view text, bool begins, const TokenTable& table, WordMerger& merger, std::vector<std::uint32_t>& symbols,
              std::vector<std::uint32_t>& ids) const {
    if (text.empty()) return;
    std::string prepared(begins && add_space_prefix_ ? " " : "");
    append_with_spaces(prepared, text);
    Run run{table, merger, symbols, ids};
    std::string_view rest = prepared;
    while (!rest.empty()) {
      const auto match = user_defined_.find(rest, 0, rest.size(), rest.size());
      encode_words(rest.substr(0, match.length != 0 ? match.at : rest.size()), run);
      if (match.length == 0) return;
      ids.push_back(match.id);
      run.is_unknown = false;
      rest.remove_prefix(match.at + match.length);
    }
  }

  const SpecialTokenFinder& user_defined() const { return user_defined_; }
  bool adds_space_prefix() const { return add_space_prefix_; }

 private:
  // A symbol below `character` is the id of a token. A character that is no token has a symbol too: the bit `character` is set, and the
  // other bits are the code point. A byte that does not belong to a valid character also has a symbol: the bits `character` and
  // `byte_of_no_character` are set, and the lowest 8 bits are the byte.
  static constexpr std::uint32_t character = std::uint32_t{1} << 31;
  static constexpr std::uint32_t byte_of_no_character = std::uint32_t{1} << 30;
  static constexpr std::size_t max_word_bytes = std::size_t{1} << 31;  // a longer word is cut, because places have 32 bits
  static constexpr std::size_t max_token_bytes = 256;                  // limits the ways to cut a token; Llama's longest token has 48

  struct Run {
    const TokenTable& table;
    WordMerger& merger;
    std::vector<std::uint32_t>& symbols;
    std::vector<std::uint32_t>& ids;
    bool is_unknown = false;  // the last id is the unknown token
  };

  std::uint32_t symbol_of(const TokenTable& table, std::string_view text, std::size_t at, Utf8Char c) const {
    const auto byte = static_cast<unsigned char>(text[at]);
    const std::uint32_t id = byte < 0x80 ? ascii_tokens_[byte] : table.find(text.substr(at, c.length));
    if (id != TokenTable::none) return id;
    return character | (c.value == invalid_byte ? byte_of_no_character | byte : c.value);
  }

  void encode_words(std::string_view text, Run& run) const {
    std::size_t begin = 0;
    for (std::size_t at = 1; at <= text.size(); ++at) {
      const bool is_beginning = words_are_separate_ && at < text.size() && text[at] == ' ' && text[at - 1] != ' ';
      if (!is_beginning && at < text.size() && at - begin < max_word_bytes) continue;
      encode_word(text.substr(begin, at - begin), run);
      begin = at;
    }
  }

  void encode_word(std::string_view word, Run& run) const {
    run.symbols.clear();
    for (std::size_t at = 0; at < word.size();) {
      const Utf8Char c = decode_utf8(word, at);
      run.symbols.push_back(symbol_of(run.table, word, at, c));
      at += c.length;
    }
    run.merger.merge(run.symbols);
    for (const std::uint32_t symbol : run.symbols) {
      if (symbol < character) {
        run.ids.push_back(symbol);
        run.is_unknown = false;
      } else {
        append_character(symbol, run);
      }
    }
  }

  void append_character(std::uint32_t symbol, Run& run) const {
    std::string bytes;
    if (symbol & byte_of_no_character) {
      bytes.push_back(static_cast<char>(symbol & 0xff));
    } else {
      append_utf8(bytes, symbol & ~character);
    }
    const auto has_token = [&](char c) { return byte_tokens_[static_cast<unsigned char>(c)] != TokenTable::none; };
    if (std::all_of(bytes.begin(), bytes.end(), has_token)) {
      for (const char c : bytes) run.ids.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
      run.is_unknown = false;
    } else if (unknown_ && !run.is_unknown) {  // one unknown token for several such characters in a row
      run.ids.push_back(*unknown_);
      run.is_unknown = true;
    }
  }

  Status read_bytes_and_user_defined(const Vocabulary& vocabulary, const std::vector<TokenType>& types, const TokenTable& table);
  // Returns, by id, the rank of each normal token's score among all scores, counted from the highest. Equal scores have equal ranks.
  static std::vector<std::uint32_t> ranks_of(const Vocabulary& vocabulary, const std::vector<TokenType>& types);
  // Adds the merge rules that make the token `id`.
  void add_rules(std::vector<MergeRule>& rules, std::uint32_t id, std::uint32_t rank, const TokenTable& table) const;

  std::array<std::uint32_t, 256> byte_tokens_{};   // the tokens <0x00> to <0xFF>
  std::array<std::uint32_t, 128> ascii_tokens_{};  // normal tokens of one character
  SpecialTokenFinder user_defined_;                // finds user-defined tokens; their texts have spaces for U+2581
  std::optional<std::uint32_t> unknown_;
  bool add_space_prefix_ = true;
  bool words_are_separate_ = false;  // no token has a space behind another character
};

inline Status SentencePieceEncoder::read_bytes_and_user_defined(const Vocabulary& vocabulary, const std::vector<TokenType>& types,
                                                                const TokenTable& table) {
  byte_tokens_.fill(TokenTable::none);
  for (std::size_t byte = 0; byte < ascii_tokens_.size(); ++byte) {
    const char c = static_cast<char>(byte);
    ascii_tokens_[byte] = table.find({&c, 1});
  }
  std::vector<SpecialTokenFinder::Entry> user_defined;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const auto id = static_cast<std::uint32_t>(i);
    if (types[i] == TokenType::byte) {
      const int byte = byte_of_name(vocabulary.tokens[i]);
      if (byte < 0) {
        return Error{ErrorKind::refused_file,
                     concat("token ", i, " '", printable(vocabulary.tokens[i]), "' is to be a byte; expected <0x00> to <0xFF>")};
      }
      std::uint32_t& token = byte_tokens_[static_cast<std::size_t>(byte)];
      if (token == TokenTable::none) token = id;
    }
    if (types[i] == TokenType::user_defined && !table.text(id).empty()) user_defined.push_back({std::string(table.text(id)), id, false});
  }
  user_defined_ = SpecialTokenFinder(std::move(user_defined));
  return success();
}

inline std::vector<std::uint32_t> SentencePieceEncoder::ranks_of(const Vocabulary& vocabulary, const std::vector<TokenType>& types) {
  std::vector<std::uint32_t> order;
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (types[i] == TokenType::normal) order.push_back(static_cast<std::uint32_t>(i));
  }
  const std::vector<float>& scores = vocabulary.scores;
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
  std::vector<std::uint32_t> ranks(types.size());
  for (std::size_t i = 1; i < order.size(); ++i) {
    ranks[order[i]] = ranks[order[i - 1]] + (scores[order[i]] < scores[order[i - 1]] ? 1 : 0);
  }
  return ranks;
}

inline void SentencePieceEncoder::add_rules(std::vector<MergeRule>& rules, std::uint32_t id, std::uint32_t rank,
                                            const TokenTable& table) const {
  const std::string_view text = table.text(id);
  // The symbol of a part of the token's text: a token or a single character. It is `none` if the part is neither.
  const auto symbol = [&](std::string_view part) {
    const std::uint32_t token = table.find(part);
    if (token != TokenTable::none) return token;
    const Utf8Char c = decode_utf8(part, 0);
    return c.length == part.size() ? symbol_of(table, part, 0, c) : TokenTable::none;
  };
  for (std::size_t at = decode_utf8(text, 0).length; at < text.size(); at += decode_utf8(text, at).length) {
    const std::uint32_t left = symbol(text.substr(0, at));
    if (left == TokenTable::none) continue;
    const std::uint32_t right = symbol(text.substr(at));
    if (right != TokenTable::none) rules.push_back({left, right, rank, id});
  }
}

inline Result<MergeTable> SentencePieceEncoder::read(const Vocabulary& vocabulary, const std::vector<TokenType>& types,
                                                     const TokenTable& table) {
  const auto refuse = [](const auto&... parts) { return Error{ErrorKind::refused_file, concat(parts...)}; };
  if (vocabulary.scores.size() != types.size()) {
    return refuse("vocabulary has ", types.size(), " tokens but ", vocabulary.scores.size(), " scores");
  }
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (vocabulary.scores[i] != vocabulary.scores[i]) {
      return refuse("token ", i, " '", printable(vocabulary.tokens[i]), "' has a score that is no number");
    }
  }
  add_space_prefix_ = vocabulary.add_space_prefix;
  if (vocabulary.unknown && *vocabulary.unknown < types.size()) unknown_ = vocabulary.unknown;
  if (Status s = read_bytes_and_user_defined(vocabulary, types, table); !s) return s.error();
  const std::vector<std::uint32_t> ranks = ranks_of(vocabulary, types);
  std::vector<MergeRule> rules;
  words_are_separate_ = true;
  for (std::uint32_t id = 0; id < types.size(); ++id) {
    const std::string_view text = table.text(id);
    if (types[id] != TokenType::normal || table.find(text) != id) continue;
    if (text.size() > max_token_bytes) {
      return refuse("token ", id, " '", printable(vocabulary.tokens[id]), "' has ", text.size(), " bytes, more than ", max_token_bytes);
    }
    const std::size_t last_space = text.rfind(' ');
    const bool has_inner_space = last_space != std::string_view::npos && text.find_first_not_of(' ') < last_space;
    words_are_separate_ = words_are_separate_ && !has_inner_space;
    add_rules(rules, id, ranks[id], table);
  }
  MergeTable merges(rules.size());
  merges.allow_equal_ranks();
  for (const MergeRule& rule : rules) {
    if (merges.add(rule) == MergeTable::Added::crowded) {
      return refuse("token ", rule.merged, " '", printable(vocabulary.tokens[rule.merged]), "': too many merges share its hash");
    }
  }
  return merges;
}

}  // namespace detail
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
