// SPDX-License-Identifier: Apache-2.0
//
// What a tokenizer is made of, as plain data: a model source fills it (model_source.hpp), Tokenizer::create() checks it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class VocabularyKind : std::uint8_t {
  byte_level,     // byte pairs with a list of merges; GGUF's "gpt2"
  sentencepiece,  // pieces with scores, the best pair first; GGUF's "llama"
};

// The numbers of GGUF's tokenizer.ggml.token_type.
enum class TokenType : std::uint8_t {
  normal = 1,        // made by merges
  unknown = 2,       // plain text, never made but for what has no other token
  control = 3,       // plain text such as <|im_end|>; made only where the caller allows it
  user_defined = 4,  // plain text such as <think>; made wherever it stands
  unused = 5,        // padding of the table, never made
  byte = 6,          // SentencePiece's <0x0A>: what has no other token; has no place in a byte-level vocabulary
};

struct Vocabulary {
  VocabularyKind kind = VocabularyKind::byte_level;
  // By id. Normal ones are spelled in the byte alphabet (text/byte_alphabet.hpp); in a sentencepiece vocabulary U+2581 is a space.
  std::vector<std::string> tokens;
  std::vector<TokenType> types;     // by id; empty: read off the tokens' text. Both are corrected: text/token_types.hpp
  std::vector<std::string> merges;  // byte_level: "left right", the most urgent first
  std::vector<float> scores;        // sentencepiece, by id: the higher, the sooner a pair becomes this token
  std::string pretokenizer;         // byte_level: a name of pretokenizer_names (text/pretokenizer.hpp)
  std::optional<bool> nfc;          // byte_level: text is brought into Unicode's form C first; none: as the pre-tokenizer's models do
  std::optional<std::uint32_t> bos, eos, eot, padding, unknown;
  std::vector<std::uint32_t> ends;  // further tokens after which an answer has ended
  bool add_bos = false;             // whether a prompt that no chat template wraps begins with bos
  bool add_eos = false;             // whether a whole text, which nobody continues, ends with eos
  bool add_space_prefix = true;     // sentencepiece: a text begins as if a space stood before it
  std::string chat_template;        // the Jinja text; tokens that it writes are markup
  std::vector<std::string> notes;   // a line for each thing in the file that was ignored or guessed
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
