// SPDX-License-Identifier: Apache-2.0
//
// The data that a tokenizer is made from. A model source fills it (model_source.hpp), and Tokenizer::create() checks it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class VocabularyKind : std::uint8_t {
  byte_level,     // byte pairs with a list of merges; "gpt2" in GGUF
  sentencepiece,  // tokens with scores; the pair with the highest score is merged first; "llama" in GGUF
};

// The values are the numbers of GGUF's tokenizer.ggml.token_type. The comment beside each value says when encoding a text makes
// tokens of this type; "plain text" means that these tokens are not spelled in the byte alphabet (text/byte_alphabet.hpp).
enum class TokenType : std::uint8_t {
  normal = 1,        // made by merges
  unknown = 2,       // plain text; made only for text that has no other token
  control = 3,       // plain text such as <|im_end|>; made only if the caller allows it
  user_defined = 4,  // plain text such as <think>; made wherever it occurs
  unused = 5,        // padding of the table; never made
  byte = 6,          // SentencePiece's <0x0A>: for bytes that have no other token; does not occur in a byte-level vocabulary
};

// The most tokens that may end an answer. Files have a few; the limit keeps a file from strangers from asking for much work.
inline constexpr std::size_t max_end_tokens = 64;

struct Vocabulary {
  VocabularyKind kind = VocabularyKind::byte_level;
  // The text of each token, by id. In a byte_level vocabulary, normal tokens are spelled in the byte alphabet
  // (text/byte_alphabet.hpp). In a sentencepiece vocabulary, U+2581 stands for a space.
  std::vector<std::string> tokens;
  // The type of each token, by id. If there are no types, they are derived from the texts of the tokens. Types that the file
  // gives are corrected by the texts (text/token_types.hpp).
  std::vector<TokenType> types;
  std::vector<std::string> merges;  // byte_level: "left right", the most urgent first
  std::vector<float> scores;        // sentencepiece, by id: a pair with a higher score is merged sooner
  std::string pretokenizer;         // byte_level: a name of pretokenizer_names (text/pretokenizer.hpp)
  std::string unknown_pretokenizer;  // why the file's pre-tokenizer has no such name, for the message; `pretokenizer` is empty then
  // For a byte_level vocabulary: whether text is first brought into Unicode's normalisation form C (NFC). If nothing is given, the
  // pre-tokenizer decides.
  std::optional<bool> nfc;
  std::optional<std::uint32_t> bos, eos, eot, padding, unknown;
  std::vector<std::uint32_t> ends;  // further tokens that end an answer; sources give at most max_end_tokens
  bool add_bos = false;             // whether a prompt without a chat template begins with bos
  bool add_eos = false;             // whether a complete text, which is not continued, ends with eos
  bool add_space_prefix = true;     // sentencepiece: a text begins as if a space were before it
  std::string chat_template;        // the Jinja text; tokens that it writes are markup
  std::vector<std::string> notes;   // a line for each thing in the file that was ignored or guessed
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
