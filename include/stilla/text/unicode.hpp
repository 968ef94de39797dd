// SPDX-License-Identifier: Apache-2.0
//
// The small part of Unicode that tokenizers need: decoding of UTF-8 (base/utf8.hpp), and the four classes that the patterns of
// pre-tokenizers distinguish (\p{L}, \p{N}, \s, the rest), as in the reference, Hugging Face's tokenizers library. A byte that is no
// UTF-8 belongs to the class `other`.
//
// Finding the class of a character takes two loads from a table with 2 bits for each code point. The part of the table for any one
// script fits into the L1 cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

#include <stilla/base/config.hpp>
#include <stilla/base/utf8.hpp>
#include <stilla/text/unicode_tables.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class CharClass : std::uint8_t { other = 0, letter = 1, number = 2, space = 3 };

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

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
