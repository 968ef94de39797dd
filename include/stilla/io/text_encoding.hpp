// SPDX-License-Identifier: Apache-2.0
//
// Reads text files as their writers mean them. Editors and shells of Windows begin files with a byte order mark, which is not part of the
// text, and some write UTF-16.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <stilla/base/error.hpp>
#include <stilla/base/utf8.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

// Converts UTF-16, without its byte order mark, to UTF-8. A half of a surrogate pair that stands alone becomes U+FFFD. `bytes` must have an
// even number of bytes.
inline std::string from_utf16(std::string_view bytes, bool is_big_endian) {
  const auto unit = [&](std::size_t i) {
    const auto first = static_cast<std::uint8_t>(bytes[i]), second = static_cast<std::uint8_t>(bytes[i + 1]);
    return static_cast<std::uint32_t>(is_big_endian ? first << 8 | second : second << 8 | first);
  };
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    std::uint32_t point = unit(i);
    const bool is_high = point >= 0xd800 && point < 0xdc00;
    if (is_high && i + 2 < bytes.size() && unit(i + 2) >= 0xdc00 && unit(i + 2) < 0xe000) {
      point = 0x10000 + ((point - 0xd800) << 10) + (unit(i + 2) - 0xdc00);
      i += 2;
    } else if (point >= 0xd800 && point < 0xe000) {
      point = 0xfffd;
    }
    append_utf8(out, point);
  }
  return out;
}

}  // namespace detail

// Returns the text of a file without its byte order mark: UTF-16 with such a mark becomes UTF-8, and all other bytes stay as they are.
// UTF-32 is refused. `place` is how messages call the file.
inline Result<std::string> text_without_mark(std::string_view bytes, std::string_view place) {
  using namespace std::string_view_literals;
  const auto refuse = [&](std::string_view what) { return Error{ErrorKind::refused_file, concat(place, ": is ", what)}; };
  if (bytes.starts_with("\xff\xfe\0\0"sv) || bytes.starts_with("\0\0\xfe\xff"sv)) return refuse("UTF-32; expected UTF-8 or UTF-16");
  if (bytes.starts_with("\xff\xfe") || bytes.starts_with("\xfe\xff")) {
    if (bytes.size() % 2 != 0) return refuse("UTF-16 with an odd number of bytes: the file is cut");
    return detail::from_utf16(bytes.substr(2), bytes.starts_with("\xfe\xff"));
  }
  return std::string(bytes.substr(bytes.starts_with("\xef\xbb\xbf") ? 3 : 0));
}

// Returns the text of a file as text_without_mark() does, but refuses text that is not UTF-8 and text with a zero byte, which UTF-16 and
// UTF-32 without a mark have. It is for files whose text a program must understand.
inline Result<std::string> utf8_text(std::string_view bytes, std::string_view place) {
  Result<std::string> text = text_without_mark(bytes, place);
  if (!text) return text;
  for (std::size_t at = 0; at < text->size();) {
    const Utf8Char c = decode_utf8(*text, at);
    if (c.value == 0) {
      return Error{ErrorKind::refused_file, concat(place, ": found byte 0 at byte ", at, " of the text, which is no character of a text; ",
                                                   "expected UTF-8, or UTF-16 with a byte order mark")};
    }
    if (c.value == invalid_byte) {
      return Error{ErrorKind::refused_file,
                   concat(place, ": is not UTF-8: found byte ", static_cast<int>(static_cast<unsigned char>((*text)[at])), " at byte ", at,
                          " of the text")};
    }
    at += c.length;
  }
  return text;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
