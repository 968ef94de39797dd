// SPDX-License-Identifier: Apache-2.0
//
// Turns bytes that arrive in pieces into printable text. A token may end in the middle of a character. The beginning of the
// character is then held back until the rest arrives; at most 3 bytes are held.
//
// Bytes that are no UTF-8 become U+FFFD, one for each maximal part of a sequence (the substitution that Unicode recommends and
// that web browsers use). With InvalidBytes::keep they pass unchanged. The joined output does not depend on how the bytes were
// cut into pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <stilla/base/config.hpp>
#include <stilla/text/unicode.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class InvalidBytes : std::uint8_t { replace, keep };

class StreamDecoder {
 public:
  explicit StreamDecoder(InvalidBytes invalid = InvalidBytes::replace) : invalid_(invalid) {}

  // Adds bytes and returns the text that is now certain.
  std::string push(std::string_view bytes) {
    held_.append(bytes);
    std::string text;
    std::size_t at = 0;
    while (at < held_.size()) {
      const std::uint32_t length = utf8_length(static_cast<unsigned char>(held_[at]));
      const std::uint32_t valid = utf8_valid_bytes(held_, at);
      if (valid < length && at + valid == held_.size()) break;  // may still become a character
      append(text, at, valid, valid > 0 && valid == length);
      at += valid > 0 ? valid : 1;
    }
    held_.erase(0, at);
    return text;
  }

  // Must be called when no more bytes will come. Returns the text of what was held back: the beginning of a broken character, or
  // nothing.
  std::string flush() {
    std::string text;
    if (!held_.empty()) append(text, 0, held_.size(), false);
    held_.clear();
    return text;
  }

 private:
  void append(std::string& text, std::size_t at, std::size_t bytes, bool is_valid) const {
    if (is_valid || invalid_ == InvalidBytes::keep) {
      text.append(held_, at, bytes > 0 ? bytes : 1);
    } else {
      text.append("\xef\xbf\xbd");
    }
  }

  std::string held_;
  InvalidBytes invalid_;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
