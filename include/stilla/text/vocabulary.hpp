// SPDX-License-Identifier: Apache-2.0
//
// What a byte-level BPE tokenizer is made of, as plain data: a file reader fills it, Tokenizer::create() checks it.
//
// Byte-level vocabularies spell bytes as letters (GPT-2's alphabet): a printable Latin-1 byte is its own character, the
// other 68, in order, are U+0100 to U+0143. So " é" is spelled "ĠÃ©".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/text/unicode.hpp>

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
  std::vector<std::string> tokens;  // by id, spelled as in the file
  std::vector<TokenType> types;     // by id; empty: all normal
  std::vector<std::string> merges;  // "left right", the most urgent first
  std::string pretokenizer;         // a name of pretokenizer_names
  std::optional<std::uint32_t> bos, eos, eot, padding, unknown;
  bool add_bos = false;  // whether a prompt that no chat template wraps begins with bos
};

namespace detail {

inline constexpr std::uint32_t byte_alphabet_end = 0x144;

// The byte that a character of the alphabet stands for, -1 if none.
inline constexpr std::array<std::int16_t, byte_alphabet_end> byte_of_letter = [] {
  std::array<std::int16_t, byte_alphabet_end> bytes{};
  for (auto& byte : bytes) byte = -1;
  std::uint32_t next_letter = 0x100;
  for (std::uint32_t b = 0; b < 256; ++b) {
    const bool is_printable = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
    bytes[is_printable ? b : next_letter++] = static_cast<std::int16_t>(b);
  }
  return bytes;
}();

// Appends the bytes that `spelled` stands for. Text that leaves the alphabet stands for itself, as transformers reads
// it.
inline void append_spelled_bytes(std::string& out, std::string_view spelled) {
  const std::size_t begin = out.size();
  for (std::size_t at = 0; at < spelled.size();) {
    const Utf8Char c = decode_utf8(spelled, at);
    if (c.value >= byte_alphabet_end || byte_of_letter[c.value] < 0) {
      out.resize(begin);
      out.append(spelled);
      return;
    }
    out.push_back(static_cast<char>(byte_of_letter[c.value]));
    at += c.length;
  }
}

}  // namespace detail
}}  // namespace stilla
