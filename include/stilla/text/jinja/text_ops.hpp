// SPDX-License-Identifier: Apache-2.0
//
// Python's operations on a str, for bytes: counting characters, white space, splitting, replacing, changing case. Characters are
// code points; a byte that is no UTF-8 is a character by itself. Parts of a text are ranges of bytes, so that the origin of each byte can
// be kept (marked_text.hpp).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/text/case_tables.hpp>
#include <stilla/text/jinja/marked_text.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/unicode.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

struct ByteRange {
  std::size_t begin = 0, end = 0;
};

inline constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

// Whether Python calls this character white space: the \s of pre-tokenizers, and four separators of ASCII.
inline bool is_space(std::uint32_t c) { return char_class(c) == CharClass::space || (c >= 0x1c && c <= 0x1f); }

inline std::size_t char_count(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count) at += decode_utf8(text, at).length;
  return count;
}

// The byte at which character number `index` of the text begins. The end of the text if it has fewer characters.
inline std::size_t byte_of_char(std::string_view text, std::size_t index) {
  std::size_t at = 0;
  while (index-- > 0 && at < text.size()) at += decode_utf8(text, at).length;
  return at;
}

// The byte at which the last character before `end` begins; end > 0.
inline std::size_t previous_char(std::string_view text, std::size_t end) {
  for (std::size_t back = 1; back <= 4 && back <= end; ++back) {
    if ((static_cast<unsigned char>(text[end - back]) & 0xc0) == 0x80) continue;
    return decode_utf8(text.substr(0, end), end - back).length == back ? end - back : end - 1;
  }
  return end - 1;
}

// Returns the range that is left when the characters of `chars` are removed from the beginning of the text (if `left`) and from its end
// (if `right`). If `chars` is null, white space is removed.
inline ByteRange stripped(std::string_view text, const std::string_view* chars, bool left, bool right) {
  const auto goes = [&](std::size_t at) {
    const Utf8Char c = decode_utf8(text, at);
    if (chars == nullptr) return is_space(c.value);
    for (std::size_t i = 0; i < chars->size();) {
      const Utf8Char other = decode_utf8(*chars, i);
      if (chars->substr(i, other.length) == text.substr(at, c.length)) return true;
      i += other.length;
    }
    return false;
  };
  ByteRange range{0, text.size()};
  while (left && range.begin < range.end && goes(range.begin)) range.begin += decode_utf8(text, range.begin).length;
  while (right && range.begin < range.end) {
    const std::size_t at = previous_char(text, range.end);
    if (!goes(at)) break;
    range.end = at;
  }
  return range;
}

// Does what Python's split(separator, most) does, or rsplit() if `from_right` is set. The separator is not empty.
inline std::vector<ByteRange> split(std::string_view text, std::string_view separator, std::size_t most, bool from_right) {
  std::vector<ByteRange> out;
  std::size_t begin = 0, end = text.size();
  while (out.size() < most) {
    const std::string_view rest = text.substr(begin, end - begin);
    const std::size_t at = from_right ? rest.rfind(separator) : rest.find(separator);
    if (at == std::string_view::npos) break;
    if (from_right) {
      out.push_back({at + separator.size(), end});
      end = at;
    } else {
      out.push_back({begin, begin + at});
      begin += at + separator.size();
    }
  }
  out.push_back({begin, end});
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

// Does what Python's split() does at white space, or rsplit() if `from_right` is set. The result has no empty parts.
inline std::vector<ByteRange> split_at_space(std::string_view text, std::size_t most, bool from_right) {
  std::vector<ByteRange> out;
  for (ByteRange rest{0, text.size()};;) {
    const ByteRange inner = stripped(text.substr(rest.begin, rest.end - rest.begin), nullptr, !from_right, from_right);
    rest = {rest.begin + inner.begin, rest.begin + inner.end};
    if (rest.begin == rest.end) break;
    if (out.size() == most) {
      out.push_back(rest);
      break;
    }
    std::size_t at = from_right ? rest.end : rest.begin;
    if (from_right) {
      while (at > rest.begin && !is_space(decode_utf8(text, previous_char(text, at)).value)) at = previous_char(text, at);
      out.push_back({at, rest.end});
      rest.end = at;
    } else {
      while (at < rest.end && !is_space(decode_utf8(text, at).value)) at += decode_utf8(text, at).length;
      out.push_back({rest.begin, at});
      rest.begin = at;
    }
  }
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

inline std::vector<ByteRange> split_lines(std::string_view text, bool keep_ends) {
  std::vector<ByteRange> out;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    std::size_t next = at + c.length;
    const bool is_end = (c.value >= 0x0a && c.value <= 0x0d) || (c.value >= 0x1c && c.value <= 0x1e) || c.value == 0x85 ||
                        c.value == 0x2028 || c.value == 0x2029;
    if (c.value == '\r' && next < text.size() && text[next] == '\n') ++next;
    if (is_end) {
      out.push_back({begin, keep_ends ? next : at});
      begin = next;
    }
    at = next;
  }
  if (begin < text.size()) out.push_back({begin, text.size()});
  return out;
}

// Does what Python's replace() does. An empty `old` is found before each character and at the end. What takes the place of a message's
// bytes counts as text of a message, as every changed byte does. Otherwise a template that replaces single characters could spell out a
// control token that a message names. (A template that means to can still do so: it can split a message and join the parts with text of
// its own, or choose by a message which of its own texts it writes.)
inline MarkedText replaced(Rendering& run, const MarkedText& text, std::string_view old, const MarkedText& by, std::size_t most) {
  MarkedText out;
  if (!run.search(text.size(), old.size())) return out;
  std::size_t done = 0;
  for (std::size_t at = 0; most > 0 && run.room(out.memory()); --most) {
    if (!old.empty()) at = text.bytes().find(old, at);
    if (at > text.size()) break;
    out.append(text, done, at);
    if (text.has_message(at, at + old.size())) {
      by.for_each_run(0, by.size(), [&](std::string_view bytes, Origin origin) { out.append(bytes, std::max(origin, from_message)); });
    } else {
      out.append(by);
    }
    done = at + old.size();
    if (!old.empty()) {
      at = done;
    } else {
      if (at == text.size()) break;
      at += decode_utf8(text.bytes(), at).length;
    }
  }
  out.append(text, done, text.size());
  return out;
}

namespace detail {

// Appends the characters into which `map`, a case mapping of case_tables.hpp, turns the character c.
inline void append_mapped(std::string& out, std::uint32_t c, const stilla::detail::CaseMap& map) {
  for (std::size_t i = 0; i < map.special_count; ++i) {
    if (map.special[i].from == c) return void(out.append(map.special[i].to));
  }
  for (std::size_t i = 0; i < map.range_count; ++i) {
    const stilla::detail::CaseRange& range = map.ranges[i];
    if (c < range.first) break;
    if (c > range.last || (c - range.first) % range.stride != 0) continue;
    c = static_cast<std::uint32_t>(static_cast<std::int32_t>(c) + range.delta);
    break;
  }
  append_utf8(out, c);
}

inline bool is_in_ranges(std::uint32_t c, const std::uint32_t (*ranges)[2], std::size_t count) {
  std::size_t low = 0;
  while (low < count) {
    const std::size_t middle = low + (count - low) / 2;
    if (c < ranges[middle][0]) {
      count = middle;
    } else if (c > ranges[middle][1]) {
      low = middle + 1;
    } else {
      return true;
    }
  }
  return false;
}

}  // namespace detail

enum class Case : std::uint8_t { lower, upper, title };

inline bool is_cased(std::uint32_t c) {
  return detail::is_in_ranges(c, stilla::detail::cased_ranges, std::size(stilla::detail::cased_ranges));
}
inline bool is_python_digit(std::uint32_t c) {
  return detail::is_in_ranges(c, stilla::detail::digit_ranges, std::size(stilla::detail::digit_ranges));
}
inline bool is_printable(std::uint32_t c) {
  return !detail::is_in_ranges(c, stilla::detail::unprintable_ranges, std::size(stilla::detail::unprintable_ranges));
}

// Appends the characters of `text` in `range`, each in the case that choose(code point, whether the character before is cased)
// returns. A capital sigma at the end of a word becomes the final form; a word ends where no letter follows.
template <class Choose>
void append_in_case(MarkedText& out, const MarkedText& text, ByteRange range, Choose&& choose) {
  const std::string_view bytes = text.bytes();
  std::string mapped;
  bool is_behind_cased = false;
  for (std::size_t at = range.begin; at < range.end;) {
    const Utf8Char c = decode_utf8(bytes, at);
    const std::size_t next = at + c.length;
    mapped.clear();
    if (c.value == invalid_byte) {
      mapped.push_back(bytes[at]);
    } else {
      const Case chosen = choose(c.value, is_behind_cased);
      const bool ends_word = next >= range.end || char_class(decode_utf8(bytes, next).value) != CharClass::letter;
      if (c.value == 0x3a3 && chosen == Case::lower && is_behind_cased && ends_word) {
        append_utf8(mapped, 0x3c2);
      } else {
        detail::append_mapped(mapped, c.value, stilla::detail::case_maps[static_cast<std::size_t>(chosen)]);
      }
    }
    if (mapped == bytes.substr(at, c.length)) {
      out.append(text, at, next);
    } else {
      out.append(mapped, text.changed_origin(at));
    }
    is_behind_cased = is_cased(c.value);
    at = next;
  }
}

inline MarkedText in_case(const MarkedText& text, Case wanted) {
  MarkedText out;
  append_in_case(out, text, {0, text.size()}, [&](std::uint32_t, bool) { return wanted; });
  return out;
}
inline MarkedText lower(const MarkedText& text) { return in_case(text, Case::lower); }
inline MarkedText upper(const MarkedText& text) { return in_case(text, Case::upper); }

// Does what Python's str.capitalize() does: the first character has title case, the others lower case.
inline MarkedText capitalized(const MarkedText& text) {
  MarkedText out;
  bool is_first = true;
  append_in_case(out, text, {0, text.size()},
                 [&](std::uint32_t, bool) { return std::exchange(is_first, false) ? Case::title : Case::lower; });
  return out;
}

// Does what Python's str.title() does: the first of several cased characters in a row has title case, the others lower case.
inline MarkedText titled(const MarkedText& text) {
  MarkedText out;
  append_in_case(out, text, {0, text.size()},
                 [](std::uint32_t, bool is_behind_cased) { return is_behind_cased ? Case::lower : Case::title; });
  return out;
}

// Appends the character `fill`, by default a space, `count` times. `origin` says who wrote this character, the template or a message
// (marked_text.hpp).
inline void append_fill(Rendering& run, MarkedText& out, std::size_t count, char fill = ' ', Origin origin = from_template) {
  if (run.room(out.size() + count)) out.append(std::string(count, fill), origin);
}

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
