// SPDX-License-Identifier: Apache-2.0
//
// Errors are values. A function that can fail returns Result<T>: either a T or an Error. The message of an Error is one line that
// names the file, the key or tensor, the byte offset, what was found and what was expected. Errors are never thrown, so the
// library works under -fno-exceptions. Bad input never aborts the program.
//
//   Result<Model> model = load(path);
//   if (!model) return report(model.error());
//   use(*model);
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <stilla/base/config.hpp>
#include <stilla/base/utf8.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// What kind of thing went wrong. Programs map the kind to an exit status.
enum class ErrorKind : std::uint8_t {
  bad_argument,   // the caller asked for something impossible
  refused_file,   // a file is damaged, hostile or of a kind that is not supported
  system,         // the operating system refused: file not found, no memory, disk full
};

struct [[nodiscard]] Error {
  ErrorKind kind = ErrorKind::bad_argument;
  std::string message;  // one line, no newline, control bytes and invalid UTF-8 escaped
};

struct Success {};  // the value of a Result that says no more than "it worked"

// A T or an Error. Test it before use; `*result` on an error is undefined, as with std::optional.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::in_place, std::move(value)) {}
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return value_.has_value(); }
  bool has_value() const { return value_.has_value(); }

  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

  Error& error() & { return error_; }
  const Error& error() const& { return error_; }
  Error&& error() && { return std::move(error_); }

 private:
  std::optional<T> value_;  // a std::variant of T and Error would take longer to compile in every file
  Error error_;             // has no message if there is a value
};

using Status = Result<Success>;
inline Status success() { return Success{}; }

namespace detail {

inline void append(std::string& out, std::string_view text) { out.append(text); }
inline void append(std::string& out, char c) { out.push_back(c); }
template <class Number>
  requires std::is_arithmetic_v<Number>
STILLA_COLD void append(std::string& out, Number number) {
  char digits[64];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, number);
  out.append(digits, static_cast<std::size_t>(end.ptr - digits));
}

}  // namespace detail

// Joins texts and numbers into one string: concat("row ", 3, " of ", 10). Numbers ignore the locale. Most calls make the message of
// an error, so concat is never inlined. Inlined calls made a file that only checks the arguments of an op compile 16 % slower.
template <class... Parts>
STILLA_COLD std::string concat(const Parts&... parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

// A name from a foreign file, made safe to print: control bytes, backslashes, invalid UTF-8 and bidirectional marks become \xNN.
// At most 128 bytes of the name are kept.
inline std::string printable(std::string_view foreign) {
  constexpr std::size_t kept_bytes = 128;
  constexpr char hex[] = "0123456789abcdef";
  std::string out;
  const auto escape = [&](unsigned char byte) { out.append({'\\', 'x', hex[byte >> 4], hex[byte & 15]}); };
  std::size_t i = 0;
  const std::size_t end = foreign.size() < kept_bytes ? foreign.size() : kept_bytes;
  while (i < end) {
    const auto lead = static_cast<unsigned char>(foreign[i]);
    if (lead < 0x80) {
      if (lead < 0x20 || lead == 0x7f || lead == '\\') {
        escape(lead);
      } else {
        out.push_back(static_cast<char>(lead));
      }
      ++i;
      continue;
    }
    const Utf8Char c = decode_utf8(foreign.substr(0, end), i);
    const bool control = c.value < 0xa0;
    const bool bidi = (c.value >= 0x200e && c.value <= 0x200f) || (c.value >= 0x2028 && c.value <= 0x202e) ||
                      (c.value >= 0x2066 && c.value <= 0x2069) || c.value == 0x061c;
    if (c.value == invalid_byte || control || bidi) {
      escape(lead);
      ++i;
    } else {
      out.append(foreign.substr(i, c.length));
      i += c.length;
    }
  }
  if (foreign.size() > end) out.append("...");
  return out;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
