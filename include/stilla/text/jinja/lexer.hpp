// SPDX-License-Identifier: Apache-2.0
//
// Turns the text of a template into tokens: the text between tags, and the words inside tags. White space around tags is removed
// with the settings that transformers uses for Jinja: a line end directly behind a statement or comment is removed (trim_blocks);
// blanks before a statement or comment at the beginning of a line are removed (lstrip_blocks); all white space next to a - is
// removed, and none next to a +.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/text/jinja/text_ops.hpp>
#include <stilla/text/unicode.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

enum class TokenKind : std::uint8_t {
  data,  // text between tags
  block_begin,
  block_end,
  variable_begin,
  variable_end,
  name,
  string,
  integer,
  real,
  sign,  // an operator or bracket
  end
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::uint32_t line = 1;
  std::string text;  // for a string: its value, without quotes and escapes
  std::int64_t integer = 0;
  double real = 0;
};

class Lexer {
 public:
  // Reads the whole template. The message of an error names the line.
  static Result<std::vector<Token>> read(std::string_view source) {
    Lexer lexer(source);
    while (lexer.error_.empty() && lexer.at_ < lexer.source_.size()) lexer.read_to_tag();
    lexer.push(TokenKind::end);
    if (!lexer.error_.empty()) return Error{ErrorKind::refused_file, concat("line ", lexer.line_, ": ", lexer.error_)};
    return std::move(lexer.tokens_);
  }

 private:
  // Replaces all line ends by \n, and removes one at the end of the template.
  explicit Lexer(std::string_view source) {
    for (std::size_t i = 0; i < source.size(); ++i) {
      if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
      source_.push_back(source[i] == '\r' ? '\n' : source[i]);
    }
    if (source_.ends_with('\n')) source_.pop_back();
  }

  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool sees(std::string_view text) const { return rest().starts_with(text); }
  void fail(std::string text) { error_ = std::move(text); }
  Token& push(TokenKind kind, std::string_view text = {}) {
    tokens_.push_back({kind, line_, std::string(text)});
    return tokens_.back();
  }
  void advance(std::size_t count) {
    for (const char c : rest().substr(0, count)) line_ += c == '\n' ? 1 : 0;
    at_ += count;
    begins_line_ = at_ > 0 && source_[at_ - 1] == '\n';
  }
  // Skips all white space that follows if `all` is true, otherwise at most one line end.
  void skip_space(bool all) {
    if (!all) return advance(sees("\n") ? 1 : 0);
    advance(stripped(rest(), nullptr, true, false).begin);
  }

  // Adds a token for the text up to `end`, where a tag begins. White space that Jinja removes before this tag is left out. `sign` is
  // the - or + at the beginning of the tag, or '\0'. `is_variable` is true if the tag is {{.
  void push_data(std::size_t end, char sign, bool is_variable) {
    std::string_view text = std::string_view(source_).substr(at_, end - at_);
    if (sign == '-') {
      text = text.substr(0, stripped(text, nullptr, false, true).end);
    } else if (sign != '+' && !is_variable) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
      const bool is_line = newline != std::string_view::npos || begins_line_;
      const std::string_view before = text.substr(begin);
      if (is_line && stripped(before, nullptr, true, false).begin == before.size()) text = text.substr(0, begin);
    }
    if (!text.empty()) push(TokenKind::data, text);
    advance(end - at_);
  }

  static char sign_of(std::string_view tag) { return tag.size() > 2 && (tag[2] == '-' || tag[2] == '+') ? tag[2] : '\0'; }

  void read_to_tag() {
    std::size_t tag = source_.find('{', at_);
    const auto begins_tag = [&] {
      return tag + 1 < source_.size() && std::string_view("{%#").find(source_[tag + 1]) != std::string_view::npos;
    };
    while (tag != std::string::npos && !begins_tag()) tag = source_.find('{', tag + 1);
    if (tag == std::string::npos) {
      push(TokenKind::data, rest());
      return advance(source_.size() - at_);
    }
    const char sign = sign_of(std::string_view(source_).substr(tag));
    const char kind = source_[tag + 1];
    push_data(tag, sign, kind == '{');
    const std::size_t begin = sign != 0 ? 3 : 2;
    if (kind == '#') {
      advance(begin);
      return skip_comment();
    }
    if (kind == '%' && read_raw()) return;
    advance(begin);
    push(kind == '%' ? TokenKind::block_begin : TokenKind::variable_begin);
    read_tag(kind == '%');
  }

  void skip_comment() {
    const std::size_t end = rest().find("#}");
    if (end == std::string_view::npos) return fail("a comment has no end");
    const char sign = end > 0 ? source_[at_ + end - 1] : '\0';
    advance(end + 2);
    if (sign != '+') skip_space(sign == '-');
  }

  // The number of bytes of the tag at the beginning of `text`, if the tag has only the word `word`: for example "{%- endraw +%}". 0 if
  // `text` does not begin with such a tag. As in Jinja, only endraw may have a + behind it.
  static std::size_t word_tag(std::string_view text, std::string_view word) {
    std::size_t at = sign_of(text) != 0 ? 3 : 2;
    const auto skip = [&] { at += stripped(text.substr(at), nullptr, true, false).begin; };
    skip();
    if (!text.substr(at).starts_with(word)) return 0;
    at += word.size();
    skip();
    if (at < text.size() && (text[at] == '-' || (text[at] == '+' && word == "endraw"))) ++at;
    return text.substr(at).starts_with("%}") ? at + 2 : 0;
  }

  // Reads a raw block ({% raw %}), whose whole content is text. Returns false if there is none at this place.
  bool read_raw() {
    const std::size_t size = word_tag(rest(), "raw");
    if (size == 0) return false;
    const bool strips = source_[at_ + size - 3] == '-';
    advance(size);
    if (strips) skip_space(true);
    std::size_t end = source_.find("{%", at_);
    while (end != std::string::npos && word_tag(std::string_view(source_).substr(end), "endraw") == 0) {
      end = source_.find("{%", end + 2);
    }
    if (end == std::string::npos) return fail("a raw block has no end"), true;
    push_data(end, sign_of(std::string_view(source_).substr(end)), false);
    const std::size_t end_size = word_tag(rest(), "endraw");
    const char sign = source_[at_ + end_size - 3];
    advance(end_size);
    if (sign != '+') skip_space(sign == '-');
    return true;
  }

  // Reads the tokens inside a tag, and the end of the tag.
  void read_tag(bool is_block) {
    std::string brackets;
    while (error_.empty()) {
      advance(stripped(rest(), nullptr, true, false).begin);
      if (at_ == source_.size()) return fail("a tag has no end");
      if (brackets.empty() && read_tag_end(is_block)) return;
      const char c = source_[at_];
      if (c == '\'' || c == '"') {
        read_string(c);
      } else if (c >= '0' && c <= '9') {
        read_number();
      } else if (is_name_char(c)) {
        std::size_t size = 1;
        while (at_ + size < source_.size() && (is_name_char(source_[at_ + size]) || is_digit_char(source_[at_ + size]))) ++size;
        push(TokenKind::name, rest().substr(0, size));
        advance(size);
      } else {
        read_sign(brackets);
      }
    }
  }

  bool read_tag_end(bool is_block) {
    const std::string_view mark = is_block ? "%}" : "}}";
    const char sign = source_[at_];
    const bool has_sign = (sign == '-' || (sign == '+' && is_block)) && rest().substr(1).starts_with(mark);
    if (!has_sign && !sees(mark)) return false;
    push(is_block ? TokenKind::block_end : TokenKind::variable_end);
    advance(has_sign ? 3 : 2);
    if (has_sign && sign == '-') skip_space(true);
    if (!has_sign && is_block) skip_space(false);
    return true;
  }

  void read_sign(std::string& brackets) {
    constexpr std::string_view signs[] = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                          "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (const std::string_view sign : signs) {
      if (!sees(sign)) continue;
      const std::size_t opened = std::string_view("([{").find(sign), closed = std::string_view(")]}").find(sign);
      if (opened != std::string_view::npos) brackets.push_back(")]}"[opened]);
      if (closed != std::string_view::npos) {
        if (brackets.empty() || brackets.back() != sign[0]) return fail(concat("unexpected '", sign, "'"));
        brackets.pop_back();
      }
      push(TokenKind::sign, sign);
      return advance(sign.size());
    }
    fail(concat("unexpected '", printable(rest().substr(0, decode_utf8(source_, at_).length)), "'"));
  }

  static bool is_digit_char(char c) { return c >= '0' && c <= '9'; }
  static bool is_name_char(char c) { return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

  // Returns where the digits that begin at `at` end. There may be single underscores between them.
  std::size_t digits_end(std::size_t at) const {
    const auto is_digit_at = [&](std::size_t i) { return i < source_.size() && is_digit_char(source_[i]); };
    while (is_digit_at(at) || (at < source_.size() && source_[at] == '_' && is_digit_at(at + 1))) ++at;
    return at;
  }

  void read_number() {
    const char kind = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 32) : '\0';
    if (source_[at_] == '0' && (kind == 'x' || kind == 'o' || kind == 'b')) {
      return fail("numbers that are not decimal are not supported");
    }
    std::size_t end = digits_end(at_);
    const bool is_member = source_[at_ - 1] == '.';  // in x.0.1, 0 and 1 are two indices
    bool is_real = false;
    if (!is_member && end + 1 < source_.size() && source_[end] == '.' && is_digit_char(source_[end + 1])) {
      is_real = true;
      end = digits_end(end + 1);
    }
    if (!is_member && end < source_.size() && (source_[end] | 32) == 'e') {
      const bool has_sign = end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-');
      const std::size_t begin = end + (has_sign ? 2 : 1);
      if (begin < source_.size() && is_digit_char(source_[begin])) {
        is_real = true;
        end = digits_end(begin);
      }
    }
    std::string text;
    for (const char c : rest().substr(0, end - at_)) {
      if (c != '_') text.push_back(c);
    }
    Token& token = push(is_real ? TokenKind::real : TokenKind::integer, text);
    const std::from_chars_result read = is_real ? std::from_chars(text.data(), text.data() + text.size(), token.real)
                                                : std::from_chars(text.data(), text.data() + text.size(), token.integer);
    if (read.ec != std::errc()) return fail(concat("the number ", text.substr(0, 40), " is too large"));
    if (!is_real && text.size() > 1 && text[0] == '0' && text.find_first_not_of('0') != std::string::npos) {
      return fail(concat("the number ", text.substr(0, 40), " begins with 0"));
    }
    advance(end - at_);
  }

  void read_string(char quote) {
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? std::size_t{2} : std::size_t{1};
    if (end >= source_.size()) return fail("a text has no closing quote");
    std::string text;
    const std::string_view inside = std::string_view(source_).substr(at_ + 1, end - at_ - 1);
    for (std::size_t i = 0; i < inside.size();) {
      if (inside[i] != '\\') {
        text.push_back(inside[i++]);
      } else {
        i += read_escape(inside.substr(i), text);
      }
    }
    push(TokenKind::string, text);
    advance(end + 1 - at_);
  }

  // Appends the characters that the backslash escape at the beginning of `text` stands for. Returns the number of bytes of the
  // escape.
  std::size_t read_escape(std::string_view text, std::string& out) {
    constexpr std::string_view letters = "\\'\"abfnrtv\n", meanings = "\\'\"\a\b\f\n\r\t\v";
    const char letter = text[1];
    if (const std::size_t at = letters.find(letter); at != std::string_view::npos) {
      if (letter != '\n') out.push_back(meanings[at]);
      return 2;
    }
    std::size_t size = letter == 'x' ? 4 : letter == 'u' ? 6 : letter == 'U' ? 10 : 0;
    int base = 16;
    if (letter >= '0' && letter <= '7') {
      base = 8;
      size = 2;
      while (size < 4 && size < text.size() && text[size] >= '0' && text[size] <= '7') ++size;
    }
    if (letter == 'N') return fail("the escape \\N is not supported"), text.size();
    if (size == 0) {  // this is no escape: both characters stay
      // Jinja replaces a character outside ASCII by an escape before it reads escapes. So "\é" becomes "\\xe9", which is the text \xe9.
      if (static_cast<unsigned char>(letter) >= 0x80) return fail("a \\ before a character outside ASCII is not supported"), text.size();
      out.append(text.substr(0, 2));
      return 2;
    }
    const std::string_view digits = text.substr(base == 8 ? 1 : 2, size - (base == 8 ? 1 : 2));
    std::uint32_t code_point = 0;
    const std::from_chars_result read = std::from_chars(digits.data(), digits.data() + digits.size(), code_point, base);
    const bool is_whole = text.size() >= size && read.ec == std::errc() && read.ptr == digits.data() + digits.size();
    if (!is_whole || code_point > 0x10ffff || (code_point >= 0xd800 && code_point < 0xe000)) {
      return fail(concat("the escape ", printable(text.substr(0, size)), " is no character")), text.size();
    }
    append_utf8(out, code_point);
    return size;
  }

  std::string source_;
  std::size_t at_ = 0;
  std::uint32_t line_ = 1;
  bool begins_line_ = true;  // the text read so far ends with a line end
  std::vector<Token> tokens_;
  std::string error_;
};

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
