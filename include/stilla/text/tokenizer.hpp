// SPDX-License-Identifier: Apache-2.0
//
// Byte-level BPE tokenizer: text to token ids and back, with the ids of Hugging Face's reading of the same GGUF file.
//
//   text -> special tokens cut out (special_tokens.hpp) -> words (pretokenizer.hpp) -> bytes -> merges (byte_pair.hpp)
//
// Bytes are never changed on the way: there is no Unicode normalisation, as transformers' reading of GGUF files has none,
// so decode(encode(text)) == text for every byte string if the vocabulary has a token for every byte. SmolLM2's lacks 21
// bytes that hardly occur in text; there a missing byte is left out, as in transformers.
//
// encode() never adds a token. Who needs BOS uses chat_template.hpp, the one place that adds it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/io/vocabulary.hpp>
#include <stilla/text/byte_alphabet.hpp>
#include <stilla/text/byte_pair.hpp>
#include <stilla/text/pretokenizer.hpp>
#include <stilla/text/special_tokens.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class SpecialTokens : std::uint8_t {
  as_text,  // <|im_end|> in the text is eight characters like any other; user-defined tokens such as <think> are found
  parse,    // <|im_end|> in the text is that token (what Hugging Face does unless told otherwise)
};

enum class ControlText : std::uint8_t { hide, show };

// A part of a prompt. Control tokens are found in a template's parts only, so what a user types cannot forge them.
struct TextSegment {
  std::string text;
  bool is_template = false;
  std::vector<std::uint32_t> ids{};  // if they decode to the text, it becomes these
};

class Tokenizer {
 public:
  // Checks everything; the message names the token or merge.
  static Result<Tokenizer> create(const Vocabulary& vocabulary);

  std::vector<std::uint32_t> encode(std::string_view text, SpecialTokens special = SpecialTokens::as_text) const {
    std::vector<std::uint32_t> ids;
    detail::WordMerger merger(merges_);
    std::vector<std::uint32_t> symbols;
    const std::size_t control_end = special == SpecialTokens::parse ? text.size() : 0;
    std::size_t done = 0;
    while (done < text.size()) {
      const auto match = special_.find(text, done, text.size(), control_end);
      const std::size_t end = match.length != 0 ? match.at : text.size();
      encode_plain(text.substr(done, end - done), merger, symbols, ids);
      if (match.length != 0) ids.push_back(match.id);
      done = end + match.length;
    }
    return ids;
  }

  // Encodes the segments' joined text: words may cross from one segment into the next, control tokens may not.
  std::vector<std::uint32_t> encode(std::span<const TextSegment> segments) const;

  // The bytes of the tokens, joined. Ids outside the vocabulary give nothing.
  std::string decode(std::span<const std::uint32_t> ids, ControlText control = ControlText::hide) const {
    std::string text;
    for (const std::uint32_t id : ids) text.append(piece(id, control));
    return text;
  }

  // The bytes of one token, often not whole characters (see stream_decoder.hpp).
  std::string_view piece(std::uint32_t id, ControlText control = ControlText::hide) const {
    if (id >= size() || (control == ControlText::hide && is_control(id))) return {};
    return std::string_view(pieces_).substr(piece_ends_[id], piece_ends_[id + 1] - piece_ends_[id]);
  }

  std::size_t size() const { return types_.size(); }

  // The token of exactly this text: a special one, else the normal one of these bytes.
  std::optional<std::uint32_t> find(std::string_view text) const {
    if (const auto* entry = special_.find_exactly(text)) return entry->id;
    const std::uint32_t id = token_places_[place_of(text)];
    return id != no_token ? std::optional(id) : std::nullopt;
  }

  bool is_control(std::uint32_t id) const {
    return id < size() && (types_[id] == TokenType::control || types_[id] == TokenType::unknown);
  }

  // Tokens after which a model has nothing more to say: eos, eot and control tokens known to end a turn.
  bool is_end_of_generation(std::uint32_t id) const {
    for (const std::uint32_t end : ends_) {
      if (end == id) return true;
    }
    return false;
  }

  std::optional<std::uint32_t> bos() const { return bos_; }
  std::optional<std::uint32_t> eos() const { return eos_; }
  bool add_bos() const { return add_bos_; }
  PreTokenizer pretokenizer() const { return pretokenizer_; }

 private:
  static constexpr std::uint32_t no_token = UINT32_MAX;
  static constexpr std::size_t max_word_bytes = std::size_t{1} << 31;  // a longer word is cut: places are 32 bits
  static constexpr std::size_t max_special_bytes = 1024;               // bounds the work at each character

  Tokenizer() = default;

  Status add_tokens(const Vocabulary& vocabulary);
  Status add_merges(const Vocabulary& vocabulary);
  Status add_ids(const Vocabulary& vocabulary);

  void encode_plain(std::string_view text, detail::WordMerger& merger, std::vector<std::uint32_t>& symbols,
                    std::vector<std::uint32_t>& ids) const {
    split_words(pretokenizer_, text, [&](std::string_view word) {
      while (word.size() > max_word_bytes) {
        encode_word(word.substr(0, max_word_bytes), merger, symbols, ids);
        word.remove_prefix(max_word_bytes);
      }
      encode_word(word, merger, symbols, ids);
    });
  }

  void encode_word(std::string_view word, detail::WordMerger& merger, std::vector<std::uint32_t>& symbols,
                   std::vector<std::uint32_t>& ids) const {
    if (prefers_whole_words_) {
      const std::uint32_t id = token_places_[place_of(word)];
      if (id != no_token) {
        ids.push_back(id);
        return;
      }
    }
    symbols.clear();
    for (const char c : word) {
      const std::uint32_t id = byte_tokens_[static_cast<unsigned char>(c)];
      if (id != no_token) symbols.push_back(id);
    }
    merger.merge(symbols);
    ids.insert(ids.end(), symbols.begin(), symbols.end());
  }

  std::size_t home_of(std::string_view bytes) const {
    std::uint64_t hash = bytes.size();
    for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return static_cast<std::size_t>(hash ^ hash >> 32) & (token_places_.size() - 1);
  }

  // Where the normal token of these bytes stands in the hash table, or the empty place where it would.
  std::size_t place_of(std::string_view bytes) const {
    const std::size_t mask = token_places_.size() - 1;
    std::size_t place = home_of(bytes);
    while (token_places_[place] != no_token && piece(token_places_[place]) != bytes) place = (place + 1) & mask;
    return place;
  }

  std::string pieces_;                     // all tokens' bytes, one after the other
  std::vector<std::uint32_t> piece_ends_;  // piece_ends_[id] .. piece_ends_[id + 1] in pieces_
  std::vector<TokenType> types_;
  std::vector<std::uint32_t> token_places_;  // hash table of the normal tokens' ids
  std::array<std::uint32_t, 256> byte_tokens_{};
  detail::MergeTable merges_;
  detail::SpecialTokenFinder special_;  // control and user-defined
  std::vector<std::uint32_t> ends_;
  std::optional<std::uint32_t> bos_, eos_;
  PreTokenizer pretokenizer_ = PreTokenizer::qwen2;
  bool add_bos_ = false;
  bool prefers_whole_words_ = false;  // a word that is a token needs no merges (Llama 3's ignore_merges)
};

inline Result<Tokenizer> Tokenizer::create(const Vocabulary& vocabulary) {
  Result<PreTokenizer> pretokenizer = pretokenizer_by_name(vocabulary.pretokenizer);
  if (!pretokenizer) return std::move(pretokenizer).error();
  Tokenizer tokenizer;
  tokenizer.pretokenizer_ = *pretokenizer;
  tokenizer.prefers_whole_words_ = *pretokenizer == PreTokenizer::llama_bpe;
  if (Status status = tokenizer.add_tokens(vocabulary); !status) return std::move(status).error();
  if (Status status = tokenizer.add_merges(vocabulary); !status) return std::move(status).error();
  if (Status status = tokenizer.add_ids(vocabulary); !status) return std::move(status).error();
  return tokenizer;
}

inline Status Tokenizer::add_tokens(const Vocabulary& vocabulary) {
  const std::size_t count = vocabulary.tokens.size();
  const auto refuse = [](const auto&... parts) { return Error{ErrorKind::refused_file, concat(parts...)}; };
  if (count == 0) return refuse("vocabulary has no tokens");
  if (count > INT32_MAX) return refuse("vocabulary has ", count, " tokens, more than ", INT32_MAX);
  if (!vocabulary.types.empty() && vocabulary.types.size() != count) {
    return refuse("vocabulary has ", count, " tokens but ", vocabulary.types.size(), " token types");
  }
  std::size_t bytes = 0;  // spelled bytes bound the bytes they stand for; the strings exist, so no overflow
  for (const std::string& token : vocabulary.tokens) bytes += token.size();
  if (bytes > UINT32_MAX) return refuse("the tokens' text takes ", bytes, " bytes, more than ", UINT32_MAX);

  types_ = vocabulary.types;
  types_.resize(count, TokenType::normal);
  pieces_.reserve(bytes);
  piece_ends_.reserve(count + 1);
  piece_ends_.push_back(0);
  std::size_t places = 4;
  while (places < 2 * count) places *= 2;
  token_places_.assign(places, no_token);
  byte_tokens_.fill(no_token);
  std::vector<detail::SpecialTokenFinder::Entry> special;
  for (std::size_t i = 0; i < count; ++i) {
    const auto id = static_cast<std::uint32_t>(i);
    const std::string& token = vocabulary.tokens[i];
    const TokenType type = types_[i];
    if (type < TokenType::normal || type > TokenType::unused) {
      return refuse("token ", i, " '", printable(token), "' has type ", static_cast<int>(type),
                    "; a byte-level vocabulary has types 1 to 5");
    }
    if (type != TokenType::normal) {
      pieces_.append(token);
      piece_ends_.push_back(static_cast<std::uint32_t>(pieces_.size()));
      const bool is_matched = type == TokenType::control || type == TokenType::user_defined;
      if (!is_matched || token.empty()) continue;
      if (token.size() > max_special_bytes) {
        return refuse("special token ", i, " '", printable(token), "' has ", token.size(), " bytes, more than ",
                      max_special_bytes);
      }
      special.push_back({token, id, type == TokenType::control});
      continue;
    }
    detail::append_spelled_bytes(pieces_, token);
    piece_ends_.push_back(static_cast<std::uint32_t>(pieces_.size()));
    if (token.empty()) continue;
    const std::size_t place = place_of(piece(id));
    if (token_places_[place] != no_token) {
      return refuse("token ", i, " '", printable(token), "' repeats token ", token_places_[place]);
    }
    if (((place - home_of(piece(id))) & (places - 1)) > detail::longest_search) {
      return refuse("token ", i, " '", printable(token), "': too many tokens share its hash");
    }
    token_places_[place] = id;
    if (piece(id).size() == 1) byte_tokens_[static_cast<unsigned char>(piece(id)[0])] = id;
  }
  special_ = detail::SpecialTokenFinder(std::move(special));
  const auto& sorted = special_.entries();
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i].text == sorted[i - 1].text) {
      return refuse("token ", sorted[i].id, " '", printable(sorted[i].text), "' repeats token ", sorted[i - 1].id);
    }
  }
  return success();
}

inline Status Tokenizer::add_merges(const Vocabulary& vocabulary) {
  const auto refuse = [](const auto&... parts) { return Error{ErrorKind::refused_file, concat(parts...)}; };
  if (vocabulary.merges.size() > INT32_MAX) return refuse("vocabulary has ", vocabulary.merges.size(), " merges");
  merges_ = detail::MergeTable(vocabulary.merges.size());
  std::string left;
  std::string right;
  for (std::size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const std::string_view merge = vocabulary.merges[rank];
    const std::size_t space = merge.find(' ');
    if (space == 0 || space >= merge.size() - 1 || merge.find(' ', space + 1) != std::string_view::npos) {
      return refuse("merge ", rank, " '", printable(merge), "' is not two tokens with a space between them");
    }
    left.clear();
    right.clear();
    detail::append_spelled_bytes(left, merge.substr(0, space));
    detail::append_spelled_bytes(right, merge.substr(space + 1));
    const std::uint32_t left_id = token_places_[place_of(left)];
    const std::uint32_t right_id = token_places_[place_of(right)];
    const std::uint32_t merged_id = token_places_[place_of(left.append(right))];
    if (left_id == no_token || right_id == no_token || merged_id == no_token) {
      const std::string_view missing = left_id == no_token    ? "its left part"
                                       : right_id == no_token ? "its right part"
                                                              : "what it makes";
      return refuse("merge ", rank, " '", printable(merge), "': ", missing, " is not a normal token of the vocabulary");
    }
    const auto added = merges_.add({left_id, right_id, static_cast<std::uint32_t>(rank), merged_id});
    if (added == detail::MergeTable::Added::repeats) {
      return refuse("merge ", rank, " '", printable(merge), "' repeats merge ", merges_.find(left_id, right_id)->rank);
    }
    if (added == detail::MergeTable::Added::crowded) {
      return refuse("merge ", rank, " '", printable(merge), "': too many merges share its hash");
    }
  }
  return success();
}

inline Status Tokenizer::add_ids(const Vocabulary& vocabulary) {
  const auto refuse = [](const auto&... parts) { return Error{ErrorKind::refused_file, concat(parts...)}; };
  const std::pair<std::string_view, std::optional<std::uint32_t>> ids[] = {{"bos", vocabulary.bos},
                                                                           {"eos", vocabulary.eos},
                                                                           {"eot", vocabulary.eot},
                                                                           {"padding", vocabulary.padding},
                                                                           {"unknown", vocabulary.unknown}};
  for (const auto& [name, id] : ids) {
    if (id && *id >= size())
      return refuse(name, " token id ", *id, " is outside the vocabulary of ", size(), " tokens");
  }
  if (vocabulary.add_bos && !vocabulary.bos) return refuse("a bos token is to be added but none is named");
  bos_ = vocabulary.bos;
  eos_ = vocabulary.eos;
  add_bos_ = vocabulary.add_bos;
  if (vocabulary.eos) ends_.push_back(*vocabulary.eos);
  if (vocabulary.eot) ends_.push_back(*vocabulary.eot);
  ends_.insert(ends_.end(), vocabulary.ends.begin(), vocabulary.ends.end());
  constexpr std::string_view end_texts[] = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>",           "<|end_of_text|>",
                                            "<|eom_id|>", "<|EOT|>",       "<｜end▁of▁sentence｜>"};
  for (const std::string_view text : end_texts) {
    const auto* entry = special_.find_exactly(text);
    if (entry != nullptr && entry->is_control) ends_.push_back(entry->id);
  }
  return success();
}

inline std::vector<std::uint32_t> Tokenizer::encode(std::span<const TextSegment> segments) const {
  std::string text;
  for (const TextSegment& segment : segments) text.append(segment.text);
  std::vector<std::uint32_t> ids;
  detail::WordMerger merger(merges_);
  std::vector<std::uint32_t> symbols;
  const auto flush = [&](std::size_t from, std::size_t to) {
    encode_plain(std::string_view(text).substr(from, to - from), merger, symbols, ids);
  };
  std::size_t done = 0;   // encoded so far
  std::size_t begin = 0;  // of the segment
  for (const TextSegment& segment : segments) {
    const std::size_t end = begin + segment.text.size();
    if (!segment.ids.empty() && done <= begin && decode(segment.ids) == segment.text) {
      flush(done, begin);
      ids.insert(ids.end(), segment.ids.begin(), segment.ids.end());
      begin = done = end;
      continue;
    }
    std::size_t at = begin > done ? begin : done;  // a user-defined token may have crossed into this segment
    while (at < end) {
      const auto match = special_.find(text, at, end, segment.is_template ? end : 0);
      if (match.length == 0) break;
      flush(done, match.at);
      ids.push_back(match.id);
      done = at = match.at + match.length;
    }
    begin = end;
  }
  flush(done, text.size());
  return ids;
}

}}  // namespace stilla
