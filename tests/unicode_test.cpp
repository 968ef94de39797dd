// SPDX-License-Identifier: Apache-2.0
#include <stilla/text/unicode.hpp>

#include <stilla/text/normalise.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

namespace stilla { namespace {

constexpr std::uint32_t last_code_point = 0x10ffff;

// Compares the number of code points in each class with that of Hugging Face's library tokenizers 0.23.3.
// tests/make_unicode_tables.py --check compares every code point.
TEST(Unicode, ClassesHaveTheSizesOfTheReference) {
  std::array<std::size_t, 4> counts{};
  std::size_t digits = 0;
  for (std::uint32_t c = 0; c <= last_code_point; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    ++counts[static_cast<std::size_t>(char_class(c))];
    digits += is_digit(c);
  }
  EXPECT_EQ(counts[static_cast<std::size_t>(CharClass::letter)], 141028u);
  EXPECT_EQ(counts[static_cast<std::size_t>(CharClass::number)], 1911u);
  EXPECT_EQ(counts[static_cast<std::size_t>(CharClass::space)], 25u);
  EXPECT_EQ(digits, 1924u);
}

TEST(Unicode, ClassesOfKnownCharacters) {
  for (const std::uint32_t c :
       {0x9u, 0xau, 0xbu, 0xcu, 0xdu, 0x20u, 0x85u, 0xa0u, 0x1680u, 0x2000u, 0x200au, 0x2028u, 0x2029u, 0x202fu, 0x205fu, 0x3000u}) {
    EXPECT_EQ(char_class(c), CharClass::space) << c;
  }
  for (const std::uint32_t c : {0x41u, 0x7au, 0xaau, 0xe9u, 0x17fu, 0x4e2du, 0xac00u, 0x1d518u, 0x20000u}) {
    EXPECT_EQ(char_class(c), CharClass::letter) << c;
  }
  for (const std::uint32_t c : {0x30u, 0x39u, 0xb2u, 0xbdu, 0x0663u, 0x2167u, 0x3007u, 0x1d7d8u}) {
    EXPECT_EQ(char_class(c), CharClass::number) << c;
  }
  for (const std::uint32_t c :
       {0x0u, 0x1cu, 0x27u, 0x7fu, 0x300u, 0x200bu, 0x200du, 0xfeffu, 0xfffdu, 0x1f600u, 0xe0001u, last_code_point, invalid_byte}) {
    EXPECT_EQ(char_class(c), CharClass::other) << c;
  }
}

TEST(Unicode, EveryCodePointSurvives) {
  for (std::uint32_t c = 0; c <= last_code_point; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    std::string text;
    append_utf8(text, c);
    const Utf8Char decoded = decode_utf8(text, 0);
    ASSERT_EQ(decoded.value, c);
    ASSERT_EQ(decoded.length, text.size());
    for (std::size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_EQ(decode_utf8(std::string_view(text).substr(0, cut), 0).value, invalid_byte) << c;
      ASSERT_EQ(utf8_valid_bytes(std::string_view(text).substr(0, cut), 0), cut) << c;
    }
  }
}

// Tests sequences of four bytes: every first byte from 0x80 on, every second byte, third bytes around the borders of the valid
// range, and the fourth byte 0x80. A sequence must be valid UTF-8 exactly if it is the encoding of a code point. The bytes of an
// invalid sequence are taken one by one.
TEST(Unicode, InvalidSequencesAreSingleBytes) {
  std::size_t valid = 0;
  for (std::uint32_t first = 0x80; first < 0x100; ++first) {
    for (std::uint32_t second = 0; second < 0x100; ++second) {
      for (const std::uint32_t third : {0x00u, 0x7fu, 0x80u, 0xbfu, 0xc0u}) {
        const std::string text{static_cast<char>(first), static_cast<char>(second), static_cast<char>(third), '\x80'};
        const Utf8Char c = decode_utf8(text, 0);
        if (c.value == invalid_byte) {
          ASSERT_EQ(c.length, 1u);
          continue;
        }
        ++valid;
        std::string again;
        append_utf8(again, c.value);
        ASSERT_EQ(again, text.substr(0, c.length));
        ASSERT_TRUE(c.value <= last_code_point && (c.value < 0xd800 || c.value >= 0xe000)) << c.value;
      }
    }
  }
  // The number of sequences that are valid. Valid sequences of 2 bytes have 30 first and 64 second bytes, with any of the test's
  // 5 third bytes behind them. Those of 3 bytes have 16 * 64 pairs of first and second bytes, minus 32 that are overlong and 32
  // that are surrogates; 2 of the test's third bytes are valid. Those of 4 bytes have 5 * 64 pairs, minus 16 that are overlong
  // and 48 that are too large; 2 of the third bytes are valid.
  EXPECT_EQ(valid, 30u * 64 * 5 + (16u * 64 - 64) * 2 + (5u * 64 - 64) * 2);
}

TEST(Unicode, MarksAreNoLetters) {
  std::size_t marks = 0;
  for (std::uint32_t c = 0; c <= last_code_point; ++c) {
    if (!is_mark(c)) continue;
    ++marks;
    EXPECT_EQ(char_class(c), CharClass::other) << c;
  }
  EXPECT_EQ(marks, 2501u);
  EXPECT_TRUE(is_mark(0x301) && is_mark(0x93f) && !is_mark('a') && !is_mark(invalid_byte));
}

// Texts are brought to Unicode's normalisation form C. The cases are examples of Unicode Standard Annex 15 and hard cases of its
// tests: singletons, exclusions, the order of marks, blocked marks, Hangul.
TEST(Normalise, FormC) {
  const std::pair<std::u8string_view, std::u8string_view> cases[] = {
      {u8"", u8""},
      {u8"plain caf\u00e9", u8"plain caf\u00e9"},
      {u8"e\u0301", u8"\u00e9"},
      {u8"\u212b \u2126 \u2000", u8"\u00c5 \u03a9 \u2002"},
      {u8"\u0958", u8"\u0915\u093c"},
      {u8"\U0001d15e", u8"\U0001d157\U0001d165"},
      {u8"d\u0307\u0323", u8"\u1e0d\u0307"},
      {u8"\u1e0b\u0323", u8"\u1e0d\u0307"},
      {u8"\u00e9\u0323", u8"\u1eb9\u0301"},
      {u8"q\u0323\u0307\u0307", u8"q\u0323\u0307\u0307"},
      {u8"a\u0305\u0301", u8"a\u0305\u0301"},
      {u8"\u0301\u0327x", u8"\u0327\u0301x"},
      {u8"\u1e9b\u0323", u8"\u1e9b\u0323"},
      {u8"\u1100\u1161\u11a8", u8"\uac01"},
      {u8"\uac00\u11a8\u11a8", u8"\uac01\u11a8"},
      {u8"\u1100\u1161\u0301", u8"\uac00\u0301"},
      {u8"\u0344", u8"\u0308\u0301"},
      {u8"\ufb2c", u8"\u05e9\u05bc\u05c1"},
  };
  const auto bytes = [](std::u8string_view text) { return std::string(reinterpret_cast<const char*>(text.data()), text.size()); };
  for (const auto& [from, to] : cases) {
    EXPECT_EQ(to_nfc(bytes(from)), bytes(to));
    EXPECT_EQ(to_nfc(bytes(to)), bytes(to));
    if (from != to) {
      EXPECT_FALSE(is_surely_nfc(bytes(from)));
    }
  }
  EXPECT_TRUE(is_surely_nfc("plain"));
  EXPECT_EQ(to_nfc("e\xcc e\xcc\x81\xff\xcc\x81"), "e\xcc \xc3\xa9\xff\xcc\x81");
}

}  // namespace
}  // namespace stilla
