// SPDX-License-Identifier: Apache-2.0
//
// Unicode's normalisation form C: "e" and a combining acute accent become "é", so that a text has only one spelling. The
// tokenizers of Qwen do this first. Bytes that are no UTF-8 stay as they are.
//
// The algorithm is that of Unicode Standard Annex 15. Characters are decomposed completely, the marks behind a character are
// sorted by their combining class, and characters that can be composed again are composed. This is done for one stretch of text
// at a time. A stretch begins with a character that cannot join anything before it, and ends before the next such character. The
// time is linear, except for the sorting of several marks in a row. For Hangul syllables arithmetic takes the place of tables.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/base/config.hpp>
#include <stilla/text/normalisation_tables.hpp>
#include <stilla/text/unicode.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {
namespace detail {

// Whether Unicode's normalisation form C may change this code point or join it to the text before it. All such code points are above
// U+02FF.
inline bool may_join(std::uint32_t c) {
  if (c < joining_ranges[0][0] || c == invalid_byte) return false;
  const auto* end = std::end(joining_ranges);
  const auto* found =
      std::lower_bound(std::begin(joining_ranges), end, c, [](const auto& range, std::uint32_t value) { return range[1] < value; });
  return found != end && (*found)[0] <= c;
}

// The canonical combining class of a character; 0 for characters that are no marks.
inline std::uint32_t combining_class(std::uint32_t c) {
  if (c < combining_ranges[0][0]) return 0;
  const auto* end = std::end(combining_ranges);
  const auto* found =
      std::lower_bound(std::begin(combining_ranges), end, c, [](const auto& range, std::uint32_t value) { return range[1] < value; });
  return found != end && (*found)[0] <= c ? (*found)[2] : 0;
}

// The numbers that Unicode uses to compose and decompose Hangul syllables. The code point of a syllable is first + (L * v_count +
// V) * t_count + T. L, V and T are the numbers of its leading consonant, its vowel and its trailing consonant, whose own code
// points are l + L, v + V and t + T. T is 0 if it has no trailing consonant. `first` is the code point of the first syllable;
// l_count, v_count and t_count say how many values L, V and T have.
struct Hangul {
  static constexpr std::uint32_t first = 0xac00, l = 0x1100, v = 0x1161, t = 0x11a7;
  static constexpr std::uint32_t l_count = 19, v_count = 21, t_count = 28, count = l_count * v_count * t_count;
};

// One stretch of text, while its characters are collected. It begins with a character that cannot join anything before it, and ends
// before the next such character.
class NfcStretch {
 public:
  void add(std::uint32_t c) {
    if (c - Hangul::first < Hangul::count) {
      const std::uint32_t syllable = c - Hangul::first;
      push(Hangul::l + syllable / (Hangul::v_count * Hangul::t_count));
      push(Hangul::v + syllable / Hangul::t_count % Hangul::v_count);
      if (syllable % Hangul::t_count != 0) push(Hangul::t + syllable % Hangul::t_count);
      return;
    }
    const auto* end = std::end(decompositions);
    const auto* found =
        std::lower_bound(std::begin(decompositions), end, c, [](const auto& entry, std::uint32_t value) { return entry[0] < value; });
    if (found == end || (*found)[0] != c) {
      push(c);
      return;
    }
    add((*found)[1]);  // at most four levels deep
    if ((*found)[2] != 0) add((*found)[2]);
  }

  // Appends the stretch of text that was collected to `out`, in Unicode's normalisation form C, and begins the next stretch.
  void flush(std::string& out) {
    sort_marks();
    std::size_t kept = 0;
    // The place in the stretch of the latest character that is no mark; later characters may join it. The place is valid only if
    // has_starter is true.
    std::size_t starter = 0;
    bool has_starter = false;
    for (const Char c : chars_) {
      const std::uint32_t last_class = kept > 0 ? chars_[kept - 1].combining : 0;
      const bool is_adjacent = kept == starter + 1;
      if (has_starter && (is_adjacent || (last_class != 0 && last_class < c.combining))) {
        if (const std::uint32_t joined = composition(chars_[starter].value, c.value); joined != 0) {
          chars_[starter].value = joined;
          continue;
        }
      }
      if (c.combining == 0) {
        starter = kept;
        has_starter = true;
      }
      chars_[kept++] = c;
    }
    for (std::size_t i = 0; i < kept; ++i) append_utf8(out, chars_[i].value);
    chars_.clear();
  }

 private:
  struct Char {
    std::uint32_t value, combining;
    std::size_t place;  // in the stretch as it was written
  };

  void push(std::uint32_t c) { chars_.push_back({c, combining_class(c), chars_.size()}); }

  void sort_marks() {
    for (std::size_t begin = 0; begin < chars_.size();) {
      if (chars_[begin].combining == 0) {
        ++begin;
        continue;
      }
      std::size_t end = begin;
      while (end < chars_.size() && chars_[end].combining != 0) ++end;
      // Marks of the same class keep their order, because their places are compared too. (std::stable_sort is not used, because in the
      // library of GCC 12 it causes a warning from clang 19.)
      std::sort(chars_.begin() + static_cast<std::ptrdiff_t>(begin), chars_.begin() + static_cast<std::ptrdiff_t>(end),
                [](const Char& a, const Char& b) { return a.combining != b.combining ? a.combining < b.combining : a.place < b.place; });
      begin = end;
    }
  }

  // The one character into which form C composes the characters a and b; 0 if there is none.
  static std::uint32_t composition(std::uint32_t a, std::uint32_t b) {
    if (a - Hangul::l < Hangul::l_count && b - Hangul::v < Hangul::v_count) {
      return Hangul::first + ((a - Hangul::l) * Hangul::v_count + (b - Hangul::v)) * Hangul::t_count;
    }
    const bool has_no_t = a - Hangul::first < Hangul::count && (a - Hangul::first) % Hangul::t_count == 0;
    if (has_no_t && b > Hangul::t && b - Hangul::t < Hangul::t_count) return a + (b - Hangul::t);
    const auto is_before = [&](std::uint16_t index, int) {
      const auto& entry = decompositions[index];
      return entry[1] != a ? entry[1] < a : entry[2] < b;
    };
    const auto* end = std::end(compositions);
    const auto* found = std::lower_bound(std::begin(compositions), end, 0, is_before);
    if (found == end || decompositions[*found][1] != a || decompositions[*found][2] != b) return 0;
    return decompositions[*found][0];
  }

  std::vector<Char> chars_;
};

}  // namespace detail

// True only for text in Unicode's normalisation form C. The result may be false for text in form C that has marks.
inline bool is_surely_nfc(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0xcc) {  // a lead byte of a character below U+0300, or no lead byte
      ++at;
      continue;
    }
    const Utf8Char c = decode_utf8(text, at);
    if (detail::may_join(c.value)) return false;
    at += c.length;
  }
  return true;
}

// The text brought into Unicode's normalisation form C.
inline std::string to_nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  detail::NfcStretch stretch;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    if (c.value == invalid_byte) {
      stretch.flush(out);
      out.push_back(text[at]);
    } else {
      if (!detail::may_join(c.value)) stretch.flush(out);
      stretch.add(c.value);
    }
    at += c.length;
  }
  stretch.flush(out);
  return out;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
