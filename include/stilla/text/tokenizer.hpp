// SPDX-License-Identifier: Apache-2.0
//
// Tokenizer: text to token ids and back, with the same ids as the tokenizer that the model was trained with.
//
//   text -> special tokens are cut out (special_tokens.hpp) -> the text between them is encoded by the kind of the vocabulary:
//           byte_level (byte_level.hpp) or sentencepiece (sentencepiece.hpp)
//
// The type that a file gives a token is corrected by the token's text (token_types.hpp). A file with wrong types therefore cannot cause
// answers that never end, and cannot turn a user's text into markup.
//
// decode(encode(text)) == text for every byte string, if the vocabulary has a token for every byte and does not normalise.
// SmolLM2's vocabulary lacks 21 bytes that hardly ever occur in text; such a byte is left out, as in transformers.
//
// encode() never adds a token. chat_template.hpp is the one place that adds BOS.
#pragma once

#include <algorithm>
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
#include <stilla/text/byte_level.hpp>
#include <stilla/text/byte_pair.hpp>
#include <stilla/text/pretokenizer.hpp>
#include <stilla/text/sentencepiece.hpp>
#include <stilla/text/special_tokens.hpp>
#include <stilla/text/token_table.hpp>
#include <stilla/text/token_types.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class SpecialTokens : std::uint8_t {
  as_text,  // <|im_end|> in the text is ordinary characters; user-defined tokens such as <think> are found
  parse,    // <|im_end|> in the text is that token, as in Hugging Face by default
};

enum class ControlText : std::uint8_t { hide, show };

// A part of a prompt. Control tokens are found only in the parts that a template wrote, so that the text of a user cannot forge
// them.
struct TextSegment {
  std::string text;
  bool is_template = false;
  std::vector<std::uint32_t> ids{};  // if these ids decode to `text`, they are used and `text` is not encoded
};

class Tokenizer {
 public:
  // Makes a tokenizer from a vocabulary and checks all of it. The message of an error names the token or merge.
  static Result<Tokenizer> create(const Vocabulary& vocabulary);

  std::vector<std::uint32_t> encode(std::string_view text, SpecialTokens special = SpecialTokens::as_text) const {
    Encoding out(*this);
    const std::size_t control_end = special == SpecialTokens::parse ? text.size() : 0;
    std::size_t done = 0;
    while (done < text.size()) {
      const auto match = special_.find(text, done, text.size(), control_end);
      const std::size_t end = match.length != 0 ? match.at : text.size();
      out.add_plain(text.substr(done, end - done));
      if (match.length != 0) out.add_special(match.id);
      done = end + match.length;
    }
    return std::move(out.ids);
  }

  // Encodes the joined text of the segments. Words may cross from one segment into the next, control tokens may not.
  std::vector<std::uint32_t> encode(std::span<const TextSegment> segments) const;

  // The joined bytes of the tokens. Ids outside the vocabulary give nothing. Where encoding adds a space, which is at the
  // beginning and behind a control token, a space is removed.
  std::string decode(std::span<const std::uint32_t> ids, ControlText control = ControlText::hide) const {
    std::string text;
    bool begins = true;
    for (const std::uint32_t id : ids) {
      if (id >= size()) continue;
      std::string_view next = piece(id, control);
      if (begins && adds_space_prefix() && !is_control(id) && next.starts_with(' ')) next.remove_prefix(1);
      text.append(next);
      begins = is_control(id);
    }
    return text;
  }

  // The bytes of one token. Often these are not whole characters (see stream_decoder.hpp).
  std::string_view piece(std::uint32_t id, ControlText control = ControlText::hide) const {
    if (id >= size() || (control == ControlText::hide && is_control(id))) return {};
    return table_.text(id);
  }

  std::size_t size() const { return types_.size(); }

  // The token with exactly this text: a special token, or otherwise the normal token with these bytes.
  std::optional<std::uint32_t> find(std::string_view text) const {
    if (const auto* entry = special_.find_exactly(text)) return entry->id;
    if (const auto* entry = sentencepiece_.user_defined().find_exactly(text)) return entry->id;
    const std::uint32_t id = table_.find(text);
    return id != detail::TokenTable::none ? std::optional(id) : std::nullopt;
  }

  bool is_control(std::uint32_t id) const { return id < size() && (types_[id] == TokenType::control || types_[id] == TokenType::unknown); }

  // The type of the token, corrected by its text (token_types.hpp). `unused` for ids outside the vocabulary.
  TokenType type(std::uint32_t id) const { return id < size() ? types_[id] : TokenType::unused; }

  // Whether the token ends an answer. These are the tokens that the file names as ends, and control tokens that are known to end
  // a turn.
  bool is_end_of_generation(std::uint32_t id) const {
    for (const std::uint32_t end : ends_) {
      if (end == id) return true;
    }
    return false;
  }

  std::optional<std::uint32_t> bos() const { return bos_; }
  std::optional<std::uint32_t> eos() const { return eos_; }
  bool add_bos() const { return add_bos_; }
  // Whether a complete text, which no model is to continue, ends with eos. The tokenizer itself does not add eos.
  bool add_eos() const { return add_eos_; }
  VocabularyKind kind() const { return kind_; }
  PreTokenizer pretokenizer() const { return byte_level_.pretokenizer(); }  // for a byte-level vocabulary
  bool nfc() const { return byte_level_.nfc(); }  // whether text is first brought into Unicode's form C (normalise.hpp)

  // Lines for the user: what in the vocabulary was ignored, corrected or guessed.
  std::span<const std::string> notes() const { return notes_; }

 private:
  static constexpr std::size_t max_special_bytes = 1024;  // limits the work for each character

  // The state of one encode(): the ids that were made so far, and what is needed to make the next ones.
  struct Encoding {
    explicit Encoding(const Tokenizer& whose) : tokenizer(whose), merger(whose.merges_) {}

    void add_plain(std::string_view text) {
      if (text.empty()) return;
      if (tokenizer.kind_ == VocabularyKind::sentencepiece) {
        tokenizer.sentencepiece_.encode(text, begins, tokenizer.table_, merger, symbols, ids);
      } else {
        tokenizer.byte_level_.encode(text, tokenizer.table_, merger, symbols, ids);
      }
      begins = false;
    }
    void add_special(std::uint32_t id) {
      ids.push_back(id);
      begins = tokenizer.is_control(id);
    }

    const Tokenizer& tokenizer;
    detail::WordMerger merger;
    std::vector<std::uint32_t> symbols;
    std::vector<std::uint32_t> ids;
    bool begins = true;  // nothing was added yet, or the last id is a control token
  };

  Tokenizer() = default;

  Status add_tokens(const Vocabulary& vocabulary);
  Status add_special_tokens(const Vocabulary& vocabulary);
  Status add_ids(const Vocabulary& vocabulary);
  // Appends the text of a token: the bytes that a normal token stands for, and the name of any other token.
  void append_text(std::string& out, std::string_view token, TokenType type) const {
    if (kind_ == VocabularyKind::sentencepiece) {
      detail::SentencePieceEncoder::append_text(out, token, type);
    } else if (type == TokenType::normal) {
      detail::append_spelled_bytes(out, token);
    } else {
      out.append(token);
    }
  }
  bool adds_space_prefix() const { return kind_ == VocabularyKind::sentencepiece && sentencepiece_.adds_space_prefix(); }

  VocabularyKind kind_ = VocabularyKind::byte_level;
  detail::TokenTable table_;  // finds normal tokens
  std::vector<TokenType> types_;
  detail::MergeTable merges_;
  detail::ByteLevelEncoder byte_level_;
  detail::SentencePieceEncoder sentencepiece_;
  detail::SpecialTokenFinder special_;  // control tokens; in a byte-level vocabulary user-defined tokens too
  std::vector<std::uint32_t> ends_;
  std::optional<std::uint32_t> bos_, eos_;
  std::vector<std::string> notes_;
  bool add_bos_ = false;
  bool add_eos_ = false;
};

inline Result<Tokenizer> Tokenizer::create(const Vocabulary& vocabulary) {
  Tokenizer tokenizer;
  tokenizer.kind_ = vocabulary.kind;
  tokenizer.notes_ = vocabulary.notes;
  if (vocabulary.kind == VocabularyKind::byte_level) {
    Result<PreTokenizerName> pretokenizer = pretokenizer_by_name(vocabulary.pretokenizer);
    if (!pretokenizer) return std::move(pretokenizer).error();
    if (pretokenizer->name != vocabulary.pretokenizer) {
      tokenizer.notes_.push_back(concat("pre-tokenizer '", vocabulary.pretokenizer, "' is taken for '", pretokenizer->name, "'"));
    }
    tokenizer.byte_level_ = detail::ByteLevelEncoder(pretokenizer->value, vocabulary.nfc.value_or(pretokenizer->nfc));
  }
  if (Status status = tokenizer.add_tokens(vocabulary); !status) return std::move(status).error();
  if (Status status = tokenizer.add_special_tokens(vocabulary); !status) return std::move(status).error();
  Result<detail::MergeTable> merges = vocabulary.kind == VocabularyKind::byte_level
                                          ? tokenizer.byte_level_.read(vocabulary, tokenizer.types_, tokenizer.table_)
                                          : tokenizer.sentencepiece_.read(vocabulary, tokenizer.types_, tokenizer.table_);
  if (!merges) return std::move(merges).error();
  tokenizer.merges_ = std::move(*merges);
  if (Status status = tokenizer.add_ids(vocabulary); !status) return std::move(status).error();
  if (const std::size_t missing = vocabulary.kind == VocabularyKind::byte_level ? tokenizer.byte_level_.missing_bytes() : 0) {
    tokenizer.notes_.push_back(concat("no token for ", missing, " of the 256 bytes: what needs them in a text is left out"));
  }
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
  // The bytes of the tokens as the vocabulary spells them are summed, because no token's text has more bytes than its spelling. All
  // spellings are in memory at once, so that the sum cannot overflow.
  std::size_t bytes = 0;
  for (const std::string& token : vocabulary.tokens) bytes += token.size();
  if (bytes > UINT32_MAX) return refuse("the tokens' text takes ", bytes, " bytes, more than ", UINT32_MAX);

  types_ = token_types(vocabulary, notes_);
  const TokenType last = kind_ == VocabularyKind::sentencepiece ? TokenType::byte : TokenType::unused;
  table_ = detail::TokenTable(count, bytes);
  std::string text;
  std::size_t repeats = 0, first_repeat = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto id = static_cast<std::uint32_t>(i);
    const std::string& token = vocabulary.tokens[i];
    if (types_[i] < TokenType::normal || types_[i] > last) {
      return refuse("token ", i, " '", printable(token), "' has type ", static_cast<int>(types_[i]),
                    "; a vocabulary of this kind has types 1 to ", static_cast<int>(last));
    }
    text.clear();
    // A token that the file gives as normal is spelled in the byte alphabet like a normal token, even if its type was corrected.
    const bool was_normal = vocabulary.types.empty() || vocabulary.types[i] == TokenType::normal;
    append_text(text, token, was_normal && kind_ == VocabularyKind::byte_level ? TokenType::normal : types_[i]);
    table_.add(text);
    // SentencePiece writes every space as U+2581, so that it never makes a token that is spelled with a plain space. Such a token is
    // left out of those that TokenTable::find() finds.
    const bool has_plain_space = kind_ == VocabularyKind::sentencepiece && token.find(' ') != std::string::npos;
    if (types_[i] != TokenType::normal || token.empty() || has_plain_space) continue;
    const auto added = table_.make_findable(id);
    if (added == detail::TokenTable::Added::crowded) {
      return refuse("token ", i, " '", printable(token), "': too many tokens share its hash");
    }
    if (added == detail::TokenTable::Added::repeats && repeats++ == 0) first_repeat = i;
  }
  if (repeats != 0) {
    notes_.push_back(concat("token ", first_repeat, " '", printable(vocabulary.tokens[first_repeat]), "' repeats token ",
                            table_.find(table_.text(static_cast<std::uint32_t>(first_repeat))), ", which is the one that text becomes",
                            repeats > 1 ? concat(" (the first of ", repeats, " such tokens)") : ""));
  }
  return success();
}

inline Status Tokenizer::add_special_tokens(const Vocabulary& vocabulary) {
  std::vector<detail::SpecialTokenFinder::Entry> special;
  for (std::uint32_t id = 0; id < size(); ++id) {
    const bool is_control = types_[id] == TokenType::control;
    if ((!is_control && types_[id] != TokenType::user_defined) || table_.text(id).empty()) continue;
    if (table_.text(id).size() > max_special_bytes) {
      return Error{ErrorKind::refused_file, concat("special token ", id, " '", printable(vocabulary.tokens[id]), "' has ",
                                                   table_.text(id).size(), " bytes, more than ", max_special_bytes)};
    }
    if (is_control || kind_ == VocabularyKind::byte_level) special.push_back({std::string(table_.text(id)), id, is_control});
  }
  special_ = detail::SpecialTokenFinder(std::move(special));
  return success();
}

inline Status Tokenizer::add_ids(const Vocabulary& vocabulary) {
  const auto refuse = [](const auto&... parts) { return Error{ErrorKind::refused_file, concat(parts...)}; };
  // An id of a special token that is outside the vocabulary is ignored, with a note. A bos or eos that must be added but is missing
  // is an error.
  const auto checked = [&](std::string_view name, std::optional<std::uint32_t> id) {
    if (!id || *id < size()) return id;
    notes_.push_back(concat(name, " token id ", *id, " is outside the vocabulary of ", size(), " tokens and is ignored"));
    return std::optional<std::uint32_t>();
  };
  bos_ = checked("bos", vocabulary.bos);
  eos_ = checked("eos", vocabulary.eos);
  checked("padding", vocabulary.padding);
  checked("unknown", vocabulary.unknown);
  add_bos_ = vocabulary.add_bos;
  add_eos_ = vocabulary.add_eos;
  if (add_bos_ && !bos_) return refuse("a bos token is to be added but none is named");
  if (add_eos_ && !eos_) return refuse("an eos token is to be added but none is named");
  const auto add_end = [&](std::string_view name, std::optional<std::uint32_t> id) {
    id = checked(name, id);
    if (id && !is_end_of_generation(*id)) ends_.push_back(*id);
  };
  if (eos_) ends_.push_back(*eos_);
  add_end("eot", vocabulary.eot);
  for (const std::uint32_t id : vocabulary.ends) add_end("end", id);
  for (std::uint32_t id = 0; id < size(); ++id) {
    if (types_[id] == TokenType::control && is_end_markup(table_.text(id))) add_end("end", id);
  }
  if (ends_.empty()) notes_.push_back("no token ends an answer; it goes on until a limit");
  return success();
}

inline std::vector<std::uint32_t> Tokenizer::encode(std::span<const TextSegment> segments) const {
  std::string text;
  for (const TextSegment& segment : segments) text.append(segment.text);
  Encoding out(*this);
  const auto flush = [&](std::size_t from, std::size_t to) { out.add_plain(std::string_view(text).substr(from, to - from)); };
  std::size_t done = 0;   // bytes encoded so far
  std::size_t begin = 0;  // where the segment begins
  for (const TextSegment& segment : segments) {
    const std::size_t end = begin + segment.text.size();
    // The ids of a segment are used if they decode to its text. If control tokens are among the ids, the decoded text contains
    // their names and differs from the text of the segment, so that the ids are not used.
    if (!segment.ids.empty() && done <= begin && decode(segment.ids, ControlText::show) == segment.text) {
      flush(done, begin);
      out.ids.insert(out.ids.end(), segment.ids.begin(), segment.ids.end());
      out.begins = false;
      begin = done = end;
      continue;
    }
    std::size_t at = begin > done ? begin : done;  // a user-defined token may have crossed into this segment
    while (at < end) {
      const auto match = special_.find(text, at, end, segment.is_template ? end : 0);
      if (match.length == 0) break;
      flush(done, match.at);
      out.add_special(match.id);
      done = at = match.at + match.length;
    }
    begin = end;
  }
  flush(done, text.size());
  return std::move(out.ids);
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
