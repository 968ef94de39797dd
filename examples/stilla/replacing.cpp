// SPDX-License-Identifier: Apache-2.0
#include "replacing.hpp"

#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>

#include <fmt/format.h>

#include <stilla/io/mapped_file.hpp>

#include "output.hpp"
#include "platform.hpp"

namespace program {

bool may_replace(const std::string& path, std::string_view magic, std::string_view kind) {
  std::error_code ignored;
  // may_replace() does not refuse a folder, or something else that is not a regular file: if it cannot be written to, the code that
  // writes to it reports the error.
  if (!std::filesystem::is_regular_file(file_path(path), ignored)) return true;
  if (std::filesystem::file_size(file_path(path), ignored) == 0) return true;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(open_file(path, "rb"), std::fclose);
  std::string begin(magic.size(), '\0');
  if (file && std::fread(begin.data(), 1, begin.size(), file.get()) == begin.size() && begin == magic) return true;
  if (!stdin_is_terminal() || !stderr_is_terminal()) return false;
  question(fmt::format("{} exists and is not {}; replace it? [y/N]", stilla::printable_path(path), kind));
  std::string answer;
  return read_line(answer) && (answer == "y" || answer == "Y" || answer == "yes");
}

std::string not_replaced_text(const std::string& path, std::string_view kind) {
  return fmt::format("{}: exists and is not {}; it was not touched", stilla::printable_path(path), kind);
}

}  // namespace program
