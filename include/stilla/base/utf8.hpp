// SPDX-License-Identifier: Apache-2.0
//
// UTF-8: strict decoding that accepts any bytes, and encoding. A byte that does not begin a valid sequence is decoded as one
// character with the value `invalid_byte`. Every byte string is therefore a string of characters, and nothing is lost. A valid
// sequence has the shortest form, is no surrogate, and is at most U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

inline constexpr std::uint32_t invalid_byte = 0xffffffffu;

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
