// SPDX-License-Identifier: Apache-2.0
#include "text_input.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <stilla/io/mapped_file.hpp>
#include <stilla/text/unicode.hpp>

#include "output.hpp"
#include "platform.hpp"

namespace program {
namespace {

std::string read_all(std::FILE* stream, const std::string& name) {
  constexpr std::size_t most = std::size_t{1} << 30;
  std::string text;
  char buffer[1 << 16];
  while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, stream)) {
    text.append(buffer, count);
    if (text.size() > most) fail(exit_failed, fmt::format("{}: is longer than {} bytes, the most that is read as a text", name, most));
  }
  if (std::ferror(stream)) fail(exit_failed, fmt::format("{}: cannot read: {}", name, std::strerror(errno)));
  return text;
}

// Converts UTF-16, without its byte order mark, to UTF-8. A half of a surrogate pair that stands alone becomes U+FFFD.
std::string from_utf16(std::string_view bytes, bool is_big_endian, const std::string& name) {
  if (bytes.size() % 2 != 0) fail(exit_failed, fmt::format("{}: is UTF-16 with an odd number of bytes: the file is cut", name));
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
    stilla::append_utf8(out, point);
  }
  return out;
}

std::string as_meant(const std::string& bytes, const std::string& name) {
  std::string_view text = bytes;
  std::string converted;
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    text = converted = from_utf16(text.substr(2), text.starts_with("\xfe\xff"), name);
  } else if (text.starts_with("\xef\xbb\xbf")) {
    text.remove_prefix(3);
  }
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r' || i + 1 == text.size() || text[i + 1] != '\n') out += text[i];
  }
  return out;
}

}  // namespace

std::string read_file(const std::string& path) {
  const std::string name = stilla::printable_path(path);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(open_file(path, "rb"), std::fclose);
  if (!file) fail(exit_failed, fmt::format("{}: cannot open: {}", name, std::strerror(errno)));
  return read_all(file.get(), name);
}

std::string read_standard_input() { return read_all(stdin, "standard input"); }

std::optional<std::string> text_input(const std::optional<std::string>& argument, const std::string& file) {
  if (argument && *argument != "-") return argument;
  if (!file.empty()) return read_file(file);
  if (!argument && stdin_is_terminal()) return std::nullopt;
  return read_standard_input();
}

std::optional<std::string> prompt_input(const std::optional<std::string>& argument, const std::string& file) {
  if (argument && *argument != "-") return argument;
  const std::optional<std::string> text = text_input(argument, file);
  if (!text) return std::nullopt;
  return as_meant(*text, file.empty() ? std::string("standard input") : stilla::printable_path(file));
}

}  // namespace program
