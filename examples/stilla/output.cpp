// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

#include "platform.hpp"

namespace program {

void write_output(std::string_view text) {
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  if (written) return;
  // Windows reports a closed pipe as EINVAL.
  const bool nobody_reads = errno == EPIPE || errno == EINVAL;
  throw OutputFailure{{exit_failed, nobody_reads ? "" : fmt::format("cannot write to standard output: {}", std::strerror(errno))}};
}

void write_note(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void message(std::string_view text) {
  constexpr std::size_t most = std::size_t{1} << 20;  // most bytes of one write, within the range of printf's number
  std::fprintf(stderr, "stilla: %.*s\n", static_cast<int>(std::min(text.size(), most)), text.data());
  std::fflush(stderr);
}

std::string one_line(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(" \n\\"), text.size());
    out += stilla::printable(text.substr(0, end));
    if (end < text.size()) out += text[end] == '\\' ? '\\' : ' ';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string bytes_text(double bytes) {
  if (bytes < 1e6) return fmt::format("{:.1f} kB", bytes / 1e3);
  if (bytes < 1e9) return fmt::format("{:.1f} MB", bytes / 1e6);
  return fmt::format("{:.2f} GB", bytes / 1e9);
}

ProgressLine::ProgressLine(std::string label) : label_(std::move(label)), is_active_(stderr_is_terminal()) {}

ProgressLine::~ProgressLine() {
  if (shown_percent_ < 0) return;
  write_note("\r\x1b[K");
}

void ProgressLine::show(std::size_t done, std::size_t total) {
  if (!is_active_ || total == 0) return;
  const int percent = static_cast<int>(static_cast<double>(done) / static_cast<double>(total) * 100.0);
  if (percent == shown_percent_) return;
  shown_percent_ = percent;
  write_note(fmt::format("\r{} {:3d} %", label_, percent));
}

}  // namespace program
