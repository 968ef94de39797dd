// SPDX-License-Identifier: Apache-2.0
#include <stilla/text/stream_decoder.hpp>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace stilla { namespace {

bool is_valid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    if (c.value == invalid_byte) return false;
    at += c.length;
  }
  return true;
}

std::string decode_whole(std::string_view bytes, InvalidBytes invalid) {
  StreamDecoder decoder(invalid);
  std::string text = decoder.push(bytes);
  return text + decoder.flush();
}

TEST(StreamDecoder, HoldsHalfACharacterBack) {
  StreamDecoder decoder;
  EXPECT_EQ(decoder.push("a\xe4"), "a");
  EXPECT_EQ(decoder.push("\xb8"), "");
  EXPECT_EQ(decoder.push("\xad!"), "中!");
  EXPECT_EQ(decoder.push("\xf0\x9f\x98"), "");
  EXPECT_EQ(decoder.push("\x80"), "😀");
  EXPECT_EQ(decoder.push(""), "");
  EXPECT_EQ(decoder.flush(), "");
}

TEST(StreamDecoder, BrokenTailIsOneReplacement) {
  StreamDecoder decoder;
  EXPECT_EQ(decoder.push("x\xf0\x9f\x98"), "x");
  EXPECT_EQ(decoder.flush(), "\xef\xbf\xbd");
  EXPECT_EQ(decoder.flush(), "");
  EXPECT_EQ(decoder.push("y"), "y");
  StreamDecoder keeping(InvalidBytes::keep);
  EXPECT_EQ(keeping.push("x\xf0\x9f\x98"), "x");
  EXPECT_EQ(keeping.flush(), "\xf0\x9f\x98");
}

// Invalid bytes become replacement characters as in the examples of section 3.9 of the Unicode standard,
// "U+FFFD Substitution of Maximal Subparts".
TEST(StreamDecoder, OneReplacementForEachMaximalPart) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(decode_whole("\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64", InvalidBytes::replace),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
  EXPECT_EQ(decode_whole("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", InvalidBytes::replace), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(decode_whole("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", InvalidBytes::replace), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(decode_whole("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", InvalidBytes::replace), r + r + r + r + r + "A" + r + r + "B");
}

TEST(StreamDecoder, CutsMakeNoDifference) {
  std::mt19937 random(1);
  const std::string pool[] = {"a", " ", "é", "中", "😀", "\xf0\x9f", "\xe4", "\x80", "\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90"};
  for (int round = 0; round < 3000; ++round) {
    std::string bytes;
    for (std::size_t n = random() % 12; n > 0; --n) bytes += pool[random() % std::size(pool)];
    for (const InvalidBytes invalid : {InvalidBytes::replace, InvalidBytes::keep}) {
      StreamDecoder decoder(invalid);
      std::string text;
      for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t length = 1 + random() % 4;
        const std::string part = decoder.push(std::string_view(bytes).substr(at, length));
        if (invalid == InvalidBytes::replace) {
          ASSERT_TRUE(is_valid_utf8(part));
        }
        text += part;
        at += length;
      }
      text += decoder.flush();
      ASSERT_EQ(text, decode_whole(bytes, invalid));
      if (invalid == InvalidBytes::keep) {
        ASSERT_EQ(text, bytes);
      }
    }
  }
}

}  // namespace
}  // namespace stilla
