// SPDX-License-Identifier: Apache-2.0
//
// Decides the type of a token by its text. Files give each token a type, and many types are wrong or missing. If <|im_end|> is
// user-defined or normal, answers never end, and a user's message can end the user's own turn. Text that only a chat template
// writes is therefore a control token, whatever the file says:
//
//   always      <|NAME|>, <｜NAME｜> (full-width bars, DeepSeek) and [|NAME|], also with white space around them. No word of an
//               ordinary text has this form. A merge that would make such a token is left out.
//   if no merge makes it
//               the names in `control_names`, such as </s> and [INST]. Byte-level vocabularies also have words of this
//               form: Qwen2's has a </s> that its merges make.
//               Tokens that the file names as bos, eos or another end, if they have brackets around them.
//   if the file calls it user-defined
//               any other <NAME> or [NAME] that the chat template writes, and tokens that the file names as bos, eos or an end.
//
// In the other direction, the tags of thoughts and tools (<think>, </tool_call>, ...) are text that people read, so that they are
// user-defined. If a file gives no types at all, the other types are derived from the texts too.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/base/config.hpp>
#include <stilla/base/error.hpp>
#include <stilla/io/vocabulary.hpp>
#include <stilla/text/byte_alphabet.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {
namespace detail {

// Control tokens of chat templates and vocabularies whose form is not <|NAME|>.
// clang-format off
inline constexpr std::string_view control_names[] = {
    "<s>", "</s>", "<pad>", "<bos>", "<eos>", "<mask>", "<sep>", "<cls>", "<EOT>", "[PAD]", "[BOS]", "[EOS]", "[EOT]", "[gMASK]",
    "<start_of_turn>", "<end_of_turn>", "<end_of_utterance>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
    "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CONTENT]",
    "<extra_id_0>", "<extra_id_1>",
};

// The texts of control tokens that end an answer.
inline constexpr std::string_view end_names[] = {
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<|EOT|>", "<|end|>", "<|end_of_turn|>",
    "<|eot|>", "<|eom|>", "<|eos|>", "<|return|>", "<|END_OF_TURN_TOKEN|>", "<|end_of_role|>", "[|endofturn|]",
    "<｜end▁of▁sentence｜>", "<end_of_turn>", "<end_of_utterance>", "</s>", "<eos>", "<EOT>", "[EOT]", "[EOS]",
};

// Tags around thoughts, answers and uses of tools. People and programs read them, so they are never control tokens.
inline constexpr std::string_view tag_names[] = {
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>",
    "<answer>", "</answer>",
};
// clang-format on

template <std::size_t N>
constexpr bool is_one_of(const std::string_view (&names)[N], std::string_view text) {
  return std::find(std::begin(names), std::end(names), text) != std::end(names);
}

inline std::string_view without_space_around(std::string_view text) {
  constexpr std::string_view space = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(space);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(space) - begin + 1);
}

// Whether the text has the form <NAME> or [NAME]: one pair of brackets around the whole text.
constexpr bool has_brackets_around(std::string_view text) {
  return text.size() > 2 && ((text.front() == '<' && text.back() == '>') || (text.front() == '[' && text.back() == ']'));
}

// Whether the text has the form <|NAME|>, <｜NAME｜> or [|NAME|]. NAME contains a letter or digit, and no white space, bar or bracket.
constexpr bool is_barred(std::string_view text) {
  constexpr std::string_view bars[][2] = {{"<|", "|>"}, {"<｜", "｜>"}, {"[|", "|]"}};
  for (const auto& [begin, end] : bars) {
    if (text.size() <= begin.size() + end.size() || !text.starts_with(begin) || !text.ends_with(end)) continue;
    const std::string_view name = text.substr(begin.size(), text.size() - begin.size() - end.size());
    const auto is_word = [](char c) {
      const auto byte = static_cast<unsigned char>(c);
      return byte >= 0x80 || (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
    };
    if (name.find_first_of("|<> \t\r\n") == std::string_view::npos && std::any_of(name.begin(), name.end(), is_word)) return true;
  }
  return false;
}

// The byte of a SentencePiece token such as <0x41>; -1 if the token is no byte.
constexpr int byte_of_name(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text.back() != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

// The text of a normal token as people read it: without the byte alphabet, in which a byte-level vocabulary spells it.
inline std::string plain_text(const Vocabulary& vocabulary, std::string_view spelled) {
  std::string out;
  if (vocabulary.kind == VocabularyKind::byte_level) {
    append_spelled_bytes(out, spelled);
  } else {
    out = spelled;
  }
  return out;
}

// Sorts the values and keeps only one of several equal ones.
template <class T>
void sort_once(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}
template <class T>
bool is_among(const std::vector<T>& sorted, const T& value) {
  return std::binary_search(sorted.begin(), sorted.end(), value);
}

// Returns those of `names`, which are sorted, that a merge of the vocabulary makes, sorted too. (Names are searched and not hashed, because
// a file could be made of names with the same hash.)
inline std::vector<std::string> made_by_merges(const Vocabulary& vocabulary, const std::vector<std::string>& names) {
  std::vector<std::string> out;
  if (names.empty()) return out;
  std::string joined;
  for (const std::string& merge : vocabulary.merges) {
    if (merge.empty() || (merge.back() != '>' && merge.back() != ']')) continue;
    joined = merge;
    std::erase(joined, ' ');
    if (is_among(names, joined)) out.push_back(joined);
  }
  sort_once(out);
  return out;
}

// Decides the type of each token of a vocabulary.
class TokenTyper {
 public:
  explicit TokenTyper(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
    for (const auto& id : {vocabulary.bos, vocabulary.eos, vocabulary.eot}) {
      if (id) named_.push_back(*id);
    }
    named_.insert(named_.end(), vocabulary.ends.begin(), vocabulary.ends.end());
    sort_once(named_);
    std::vector<std::string> doubtful;
    for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
      const std::string& token = vocabulary.tokens[i];
      if (given(i) != TokenType::normal || token.find_first_of(">]") == std::string::npos) continue;
      if (is_one_of(control_names, token) || is_one_of(tag_names, token) || is_named(i)) doubtful.push_back(token);
    }
    sort_once(doubtful);
    made_ = made_by_merges(vocabulary, doubtful);
  }

  TokenType type_of(std::size_t i) const {
    const TokenType type = given(i);
    const std::string& token = vocabulary_.tokens[i];
    if (token.empty() || type == TokenType::byte || type == TokenType::unknown) return type;
    if (token.find_first_of(">]") == std::string::npos) return type;  // nearly all tokens
    if (vocabulary_.types.empty() && vocabulary_.kind == VocabularyKind::sentencepiece) {
      if (byte_of_name(token) >= 0) return TokenType::byte;
      if (token == "<unk>") return TokenType::unknown;
    }
    const std::string text = type == TokenType::normal ? plain_text(vocabulary_, token) : token;
    const std::string_view name = without_space_around(text);
    if (is_barred(name)) return TokenType::control;
    const bool is_made = type == TokenType::normal && is_among(made_, token);
    if (is_one_of(control_names, text) && !is_made && type != TokenType::unused) return TokenType::control;
    if (is_one_of(tag_names, text) && !is_made && type != TokenType::unused) return TokenType::user_defined;
    const bool is_user_defined = type == TokenType::user_defined;
    const bool is_written = is_user_defined && vocabulary_.chat_template.find(name) != std::string::npos;
    const bool can_be_named = is_user_defined || (type == TokenType::normal && !is_made);
    if (has_brackets_around(name) && (is_written || (can_be_named && is_named(i)))) return TokenType::control;
    return vocabulary_.types.empty() && text.starts_with("[PAD") ? TokenType::unused : type;
  }

 private:
  TokenType given(std::size_t i) const { return vocabulary_.types.empty() ? TokenType::normal : vocabulary_.types[i]; }

  bool is_named(std::size_t i) const { return is_among(named_, i); }

  const Vocabulary& vocabulary_;
  std::vector<std::size_t> named_;  // the ids that the file gives for bos, eos and the other ends; sorted
  // Normal tokens whose texts could be those of control tokens or tags, but which a merge makes; sorted.
  std::vector<std::string> made_;
};

}  // namespace detail

// The type of each token, by id. If the file gives some tokens another type than this function, a line is added to `notes`.
// `vocabulary` has a type for each token, or no types at all.
inline std::vector<TokenType> token_types(const Vocabulary& vocabulary, std::vector<std::string>& notes) {
  const detail::TokenTyper typer(vocabulary);
  std::vector<TokenType> out(vocabulary.tokens.size());
  std::size_t changed = 0, first = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = typer.type_of(i);
    if (vocabulary.types.empty() || out[i] == vocabulary.types[i] || changed++ != 0) continue;
    first = i;
  }
  if (changed != 0) {
    notes.push_back(concat("token ", first, " '", printable(vocabulary.tokens[first]), "' is taken for a ",
                           out[first] == TokenType::control ? "control" : "user-defined", " token, though the file gives it type ",
                           static_cast<int>(vocabulary.types[first]),
                           changed > 1 ? concat(" (the first of ", changed, " such tokens)") : ""));
  }
  return out;
}

// True if this is the text of a token that ends an answer.
inline bool is_end_markup(std::string_view text) { return detail::is_one_of(detail::end_names, detail::without_space_around(text)); }

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
