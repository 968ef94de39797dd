// SPDX-License-Identifier: Apache-2.0
//
// The alphabet of GPT-2, in which byte-level vocabularies spell bytes as letters. A printable Latin-1 byte is its own character.
// The other 68 bytes, in order, are U+0100 to U+0143. For example, " é" is spelled "ĠÃ©".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <stilla/text/unicode.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

inline constexpr std::uint32_t byte_alphabet_end = 0x144;

// The byte that a character of the alphabet stands for; -1 if the character is not in the alphabet.
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

// Appends the bytes that `spelled`, a text in the byte alphabet, stands for. A text with a character that is not in the alphabet
// stands for itself, as in the library transformers.
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

#include <stilla/base/pop_macros-inl.hpp>
