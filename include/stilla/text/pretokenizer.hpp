// SPDX-License-Identifier: Apache-2.0
//
// Pre-tokenizers cut text into words; byte pairs are merged only inside a word. In the tokenizer of a model, a pre-tokenizer is
// one regular expression. Here it is written as code that decides by the next two characters, reads every character at most three
// times, and needs neither a regex engine nor a stack.
//
//   qwen2, deepseek-r1-qwen
//       (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\n\p{L}\p{N}]?\p{L}+ | \p{N} | ?[^\s\p{L}\p{N}]+[\r\n]* | \s*[\r\n]+
//       | \s+(?!\S) | \s+                         (the fourth alternative begins with an optional space)
//   llama-bpe
//       the pattern of qwen2 with \p{N}{1,3} for \p{N}
//   qwen35
//       the pattern of qwen2, with [\p{L}\p{M}] for \p{L} behind the optional first character and [^\s\p{L}\p{M}\p{N}] for
//       [^\s\p{L}\p{N}]: marks are letters. (If a mark is itself the optional first character, this makes no difference.)
//   gpt-2
//       's|'t|'re|'ve|'m|'ll|'d | ?\p{L}+ | ?\p{N}+ | ?[^\s\p{L}\p{N}]+ | \s+(?!\S) | \s+
//   smollm
//       first every digit becomes a word; then the pattern of gpt-2 cuts each piece between digits as if it were a text
//
// (?i:'s) also matches U+017F, the long s, whose upper case is S. \s+(?!\S) means: a run of white space, but its last character
// belongs to the next word unless the text ends there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <stilla/base/error.hpp>
#include <stilla/text/unicode.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class PreTokenizer : std::uint8_t { qwen2, llama_bpe, smollm, gpt2, qwen35 };

struct PreTokenizerName {
  std::string_view name;  // as in the GGUF key tokenizer.ggml.pre
  PreTokenizer value;
  bool nfc;  // tokenizers with this name first bring text into Unicode's form C
};

inline constexpr PreTokenizerName pretokenizer_names[] = {
    {"qwen2", PreTokenizer::qwen2, true},          {"deepseek-r1-qwen", PreTokenizer::qwen2, false},
    {"llama-bpe", PreTokenizer::llama_bpe, false}, {"smollm", PreTokenizer::smollm, false},
    {"gpt-2", PreTokenizer::gpt2, false},          {"qwen35", PreTokenizer::qwen35, true},
};

// Other names that GGUF files use for the patterns of pretokenizer_names: each alias and the name that it stands for.
struct PreTokenizerAlias {
  std::string_view name, meaning;
};
inline constexpr PreTokenizerAlias pretokenizer_aliases[] = {
    {"llama3", "llama-bpe"},  {"llama-v3", "llama-bpe"}, {"smaug-bpe", "llama-bpe"}, {"dbrx", "llama-bpe"},
    {"falcon3", "llama-bpe"}, {"lfm2", "llama-bpe"},     {"glm4", "llama-bpe"},      {"chatglm-bpe", "llama-bpe"},
    {"megrez", "qwen2"},      {"kormo", "qwen2"},        {"starcoder", "smollm"},    {"refact", "smollm"},
    {"command-r", "smollm"},  {"codeshell", "smollm"},   {"exaone", "smollm"},       {"minerva-7b", "smollm"},
    {"phi-2", "gpt-2"},       {"mpt", "gpt-2"},          {"olmo", "gpt-2"},          {"jais", "gpt-2"},
    {"trillion", "gpt-2"},    {"gigachat", "gpt-2"},     {"mellum", "gpt-2"},        {"exaone4", "gpt-2"},
    {"roberta-bpe", "gpt-2"}, {"midm-2.0", "llama-bpe"}, {"pixtral", "llama-bpe"},   {"f2llmv2", "qwen2"},
};

// The name in pretokenizer_names that an alias stands for. Any other name stands for itself.
constexpr std::string_view pretokenizer_meaning(std::string_view name) {
  for (const PreTokenizerAlias& alias : pretokenizer_aliases) {
    if (alias.name == name) return alias.meaning;
  }
  return name;
}

// All of pretokenizer_names, for messages: "qwen2, deepseek-r1-qwen, ...".
inline std::string pretokenizers_text() {
  std::string names;
  for (const PreTokenizerName& entry : pretokenizer_names) names.append(names.empty() ? "" : ", ").append(entry.name);
  return names;
}

inline Result<PreTokenizerName> pretokenizer_by_name(std::string_view name) {
  for (const PreTokenizerName& entry : pretokenizer_names) {
    if (entry.name == pretokenizer_meaning(name)) return entry;
  }
  return Error{ErrorKind::refused_file,
               concat(name.empty() ? "no pre-tokenizer is named" : concat("pre-tokenizer '", printable(name), "' is not supported"),
                      "; choose one by name: ", pretokenizers_text())};
}

namespace detail {

// A character and its class. At the end of the text the length is 0, and the class is `end_of_text`, which differs from all
// others.
inline constexpr auto end_of_text = static_cast<CharClass>(4);
struct ClassifiedChar {
  std::uint32_t value = 0;
  std::uint32_t length = 0;
  CharClass char_class = end_of_text;
};

inline constexpr std::array<CharClass, 128> ascii_classes = [] {
  std::array<CharClass, 128> classes{};
  for (std::uint32_t c = 0; c < 128; ++c) classes[c] = stilla::char_class(c);
  return classes;
}();

enum class Marks : std::uint8_t { other, letters };  // what combining marks count as

template <Marks marks = Marks::other>
ClassifiedChar classified_char(std::string_view text, std::size_t at) {
  if (at >= text.size()) return {};
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) return {byte, 1, ascii_classes[byte]};
  const Utf8Char c = decode_utf8(text, at);
  const CharClass found = char_class(c.value);
  const bool is_letter = marks == Marks::letters && found == CharClass::other && is_mark(c.value);
  return {c.value, c.length, is_letter ? CharClass::letter : found};
}

template <Marks marks = Marks::other>
std::size_t end_of_run(std::string_view text, std::size_t at, CharClass run_class) {
  while (true) {
    const ClassifiedChar c = classified_char<marks>(text, at);
    if (c.char_class != run_class) return at;
    at += c.length;
  }
}

// The length of the contraction ('s 't 're 've 'm 'll 'd) that begins with the apostrophe text[at]. 0 if it begins none of these.
inline std::size_t contraction_length(std::string_view text, std::size_t at, bool ignore_case) {
  const auto letter = [&](std::size_t i) {
    if (i >= text.size()) return '\0';
    const char c = text[i];
    return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  };
  switch (letter(at + 1)) {
    case 's':
    case 't':
    case 'm':
    case 'd': return 2;
    case 'r':
    case 'v': return letter(at + 2) == 'e' ? 3 : 0;
    case 'l': return letter(at + 2) == 'l' ? 3 : 0;
    default: return ignore_case && text.substr(at + 1, 2) == "\xc5\xbf" ? 3 : 0;
  }
}

// Returns where the match of \s+(?!\S) | \s+ ends in the run of white space [at, end). The match is the whole run if the run is at the
// end of the text or has only one character. Otherwise it is the run without its last character.
inline std::size_t end_of_space(std::string_view text, std::size_t at, std::size_t end) {
  if (end == text.size()) return end;
  std::size_t last = end - 1;
  while (last > at && (static_cast<unsigned char>(text[last]) & 0xc0) == 0x80) --last;
  return last > at ? last : end;
}

inline bool is_newline(std::uint32_t c) { return c == '\n' || c == '\r'; }

template <Marks marks = Marks::other>
std::size_t next_word_qwen2(std::string_view text, std::size_t at, unsigned max_digits) {
  const ClassifiedChar first = classified_char<marks>(text, at);
  std::size_t next = at + first.length;
  if (first.char_class == CharClass::letter) return end_of_run<marks>(text, next, CharClass::letter);
  if (first.char_class == CharClass::number) {
    for (unsigned digits = 1; digits < max_digits; ++digits) {
      const ClassifiedChar c = classified_char<marks>(text, next);
      if (c.char_class != CharClass::number) break;
      next += c.length;
    }
    return next;
  }
  if (first.value == '\'') {
    if (const std::size_t length = contraction_length(text, at, true)) return at + length;
  }
  const ClassifiedChar second = classified_char<marks>(text, next);
  if (second.char_class == CharClass::letter && !is_newline(first.value)) {
    return end_of_run<marks>(text, next + second.length, CharClass::letter);
  }
  if (first.char_class == CharClass::other || (first.value == ' ' && second.char_class == CharClass::other)) {
    std::size_t end = end_of_run<marks>(text, next, CharClass::other);
    while (end < text.size() && is_newline(static_cast<unsigned char>(text[end]))) ++end;
    return end;
  }
  // If a run of white space has a newline, the word is the run up to and with its last newline.
  const std::size_t end = end_of_run<marks>(text, next, CharClass::space);
  std::size_t after_newline = end;
  while (after_newline > at && !is_newline(static_cast<unsigned char>(text[after_newline - 1]))) --after_newline;
  return after_newline > at ? after_newline : end_of_space(text, at, end);
}

inline std::size_t next_word_gpt2(std::string_view text, std::size_t at) {
  const ClassifiedChar first = classified_char(text, at);
  const std::size_t next = at + first.length;
  if (first.value == '\'') {
    if (const std::size_t length = contraction_length(text, at, false)) return at + length;
  }
  if (first.char_class != CharClass::space) return end_of_run(text, next, first.char_class);
  if (first.value == ' ') {
    const ClassifiedChar second = classified_char(text, next);
    if (second.char_class != CharClass::space && second.length != 0) {
      return end_of_run(text, next + second.length, second.char_class);
    }
  }
  return end_of_space(text, at, end_of_run(text, next, CharClass::space));
}

template <class Emit>
void split_smollm(std::string_view text, Emit&& emit) {
  std::size_t begin = 0;  // where the piece without digits begins
  std::size_t at = 0;
  while (at <= text.size()) {
    const bool at_end = at == text.size();
    const Utf8Char c = at_end ? Utf8Char{0, 1} : decode_utf8(text, at);
    const bool cut = at_end || (c.value != invalid_byte && is_digit(c.value));
    if (cut) {
      const std::string_view piece = text.substr(begin, at - begin);
      for (std::size_t i = 0; i < piece.size();) {
        const std::size_t end = next_word_gpt2(piece, i);
        emit(piece.substr(i, end - i));
        i = end;
      }
      if (!at_end) emit(text.substr(at, c.length));
      begin = at + c.length;
    }
    at += c.length;
  }
}

}  // namespace detail

// Calls emit(word) for every word, in order. The joined words are the text.
template <class Emit>
void split_words(PreTokenizer pretokenizer, std::string_view text, Emit&& emit) {
  if (pretokenizer == PreTokenizer::smollm) {
    detail::split_smollm(text, emit);
    return;
  }
  const auto split = [&](const auto& next_word) {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = next_word(at);
      emit(text.substr(at, end - at));
      at = end;
    }
  };
  if (pretokenizer == PreTokenizer::gpt2) {
    split([&](std::size_t at) { return detail::next_word_gpt2(text, at); });
  } else if (pretokenizer == PreTokenizer::qwen35) {
    split([&](std::size_t at) { return detail::next_word_qwen2<detail::Marks::letters>(text, at, 1); });
  } else {
    const unsigned max_digits = pretokenizer == PreTokenizer::llama_bpe ? 3 : 1;
    split([&](std::size_t at) { return detail::next_word_qwen2(text, at, max_digits); });
  }
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
