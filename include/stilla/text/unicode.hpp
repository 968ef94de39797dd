// SPDX-License-Identifier: Apache-2.0
//
// The small part of Unicode that tokenizers need: strict UTF-8 decoding that accepts any bytes, and the four classes that the
// patterns of pre-tokenizers distinguish (\p{L}, \p{N}, \s, the rest), as in the reference, Hugging Face's tokenizers library.
//
// A byte that does not begin a valid sequence is one `invalid_byte` of class `other`. Every byte string is therefore a string of
// characters, and nothing is lost. A valid sequence has the shortest form, is no surrogate, and is at most U+10FFFF.
//
// Finding the class of a character takes two loads from a table with 2 bits for each code point. The part of the table for any one
// script fits into the L1 cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include <stilla/base/config.hpp>
#include <stilla/text/unicode_tables.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class CharClass : std::uint8_t { other = 0, letter = 1, number = 2, space = 3 };

inline constexpr std::uint32_t invalid_byte = 0xffffffffu;

constexpr CharClass char_class(std::uint32_t code_point) {
  if (code_point >= detail::class_table_end) return CharClass::other;
  const std::size_t word = detail::class_block_index[code_point / 256] * std::size_t{8} + code_point % 256 / 32;
  return static_cast<CharClass>(detail::class_blocks[word] >> 2 * (code_point % 32) & 3u);
}

// Whether the pre-tokenizer Digits of Hugging Face makes this character a word: numbers, and a few characters that are numbers only
// in newer versions of Unicode.
constexpr bool is_digit(std::uint32_t code_point) {
  if (char_class(code_point) == CharClass::number) return true;
  for (const auto& range : detail::extra_digits) {
    if (code_point >= range[0] && code_point <= range[1]) return true;
  }
  return false;
}

// Whether this character is a combining mark, \p{M}. Marks belong to the class `other`.
constexpr bool is_mark(std::uint32_t code_point) {
  std::size_t low = 0, high = std::size(detail::mark_ranges);
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (code_point < detail::mark_ranges[middle][0]) {
      high = middle;
    } else if (code_point > detail::mark_ranges[middle][1]) {
      low = middle + 1;
    } else {
      return true;
    }
  }
  return false;
}

struct Utf8Char {
  std::uint32_t value;   // code point or invalid_byte
  std::uint32_t length;  // number of bytes, 1 to 4
};

// The number of bytes of a UTF-8 sequence with this lead byte. 0 for a byte that cannot lead.
constexpr std::uint32_t utf8_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

// How many bytes of the text from `at` on are the beginning of one valid UTF-8 sequence: all of its bytes, or fewer if it is broken
// or the text ends. 0 for a byte that cannot lead. These bytes are the "maximal subpart" of Unicode that one U+FFFD replaces.
constexpr std::uint32_t utf8_valid_bytes(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  const std::uint32_t length = utf8_length(lead);
  if (length <= 1) return length;
  // The range of the second byte excludes overlong forms, surrogates and everything above U+10FFFF.
  const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (text.size() - at < 2 || byte(at + 1) < low || byte(at + 1) > high) return 1;
  std::uint32_t valid = 2;
  while (valid < length && text.size() - at > valid && (byte(at + valid) & 0xc0) == 0x80) ++valid;
  return valid;
}

// The character at text[at]; at < text.size().
constexpr Utf8Char decode_utf8(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return {lead, 1};
  const std::uint32_t length = utf8_length(lead);
  if (length == 0 || utf8_valid_bytes(text, at) != length) return {invalid_byte, 1};
  std::uint32_t value = lead & (0x7fu >> length);
  for (std::uint32_t i = 1; i < length; ++i) value = value << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3fu);
  return {value, length};
}

// Appends a code point up to U+10FFFF in UTF-8.
inline void append_utf8(std::string& out, std::uint32_t code_point) {
  const auto put = [&](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
    return;
  }
  if (code_point < 0x800) {
    put(0xc0 | code_point >> 6);
  } else {
    if (code_point < 0x10000) {
      put(0xe0 | code_point >> 12);
    } else {
      put(0xf0 | code_point >> 18);
      put(0x80 | (code_point >> 12 & 0x3f));
    }
    put(0x80 | (code_point >> 6 & 0x3f));
  }
  put(0x80 | (code_point & 0x3f));
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
