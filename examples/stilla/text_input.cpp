// SPDX-License-Identifier: Apache-2.0
#include "text_input.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <stilla/io/mapped_file.hpp>
#include <stilla/io/text_encoding.hpp>

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

std::string as_meant(const std::string& bytes, const std::string& name) {
  const stilla::Result<std::string> decoded = stilla::text_without_mark(bytes, name);
  if (!decoded) fail(exit_failed, decoded.error().message);
  const std::string& text = *decoded;
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

std::string read_program_text(const std::string& path) {
  return value_of(stilla::utf8_text(read_file(path), stilla::printable_path(path)));
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
