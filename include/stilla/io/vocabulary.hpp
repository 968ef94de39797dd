// SPDX-License-Identifier: Apache-2.0
//
// What a byte-level BPE tokenizer is made of, as plain data: a model source fills it (model_source.hpp), Tokenizer::create()
// checks it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <stilla/base/config.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The numbers of GGUF's tokenizer.ggml.token_type.
enum class TokenType : std::uint8_t {
  normal = 1,        // spelled in the byte alphabet, made by merges
  unknown = 2,       // plain text, never made
  control = 3,       // plain text such as <|im_end|>; made only where the caller allows it
  user_defined = 4,  // plain text such as <think>; made wherever it stands
  unused = 5,        // padding of the table, never made
  byte = 6,          // SentencePiece's; has no place in a byte-level vocabulary
};

struct Vocabulary {
  std::vector<std::string> tokens;  // by id, spelled in the byte alphabet (text/byte_alphabet.hpp)
  std::vector<TokenType> types;     // by id; empty: all normal
  std::vector<std::string> merges;  // "left right", the most urgent first
  std::string pretokenizer;         // a name of pretokenizer_names (text/pretokenizer.hpp)
  std::optional<std::uint32_t> bos, eos, eot, padding, unknown;
  std::vector<std::uint32_t> ends;  // further tokens after which an answer has ended
  std::optional<bool> nfc;          // text is brought into Unicode's form C first; none: as the pre-tokenizer's models do
  bool add_bos = false;  // whether a prompt that no chat template wraps begins with bos
};

}}  // namespace stilla
