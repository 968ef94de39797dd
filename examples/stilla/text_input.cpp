// SPDX-License-Identifier: Apache-2.0
#include "text_input.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include <fmt/format.h>

#include <stilla/io/mapped_file.hpp>

#include "output.hpp"
#include "platform.hpp"

namespace program {
namespace {

std::string read_all(std::FILE* stream, const std::string& name) {
  std::string text;
  char buffer[1 << 16];
  while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, stream)) text.append(buffer, count);
  if (std::ferror(stream)) fail(exit_failed, fmt::format("{}: cannot read: {}", name, std::strerror(errno)));
  return text;
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

}  // namespace program
