// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "platform.hpp"

namespace program {

void write_output(std::string_view text) {
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  if (written) return;
  // The error EPIPE means that nobody reads the output any more. Windows reports a closed pipe as EINVAL.
  const bool nobody_reads = errno == EPIPE || errno == EINVAL;
  throw OutputFailure{{exit_failed, nobody_reads ? "" : fmt::format("cannot write to standard output: {}", std::strerror(errno))}};
}

void write_note(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

namespace {

// Returns the number of bytes of `text` that are written in the next line of the terminal, which has room for `columns`
// characters. The line ends before a space or a line break. A first word that is longer than the line is not divided.
std::size_t line_length(std::string_view text, std::size_t columns) {
  std::size_t characters = 0, fits = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || text[i] == ' ' || text[i] == '\n') {
      if (characters > columns && fits != 0) return fits;
      fits = i;
      if (i == text.size() || text[i] == '\n') return i;
    }
    if ((text[i] & 0xc0) != 0x80) ++characters;  // only the first byte of a UTF-8 character counts
  }
  return text.size();
}

constexpr std::size_t fewest_columns = 40;  // a narrower terminal breaks lines itself

// Writes "stilla: ", the text and `end` to standard error, with lines broken and indented as message() does it.
void write_text(std::string_view text, std::string_view end) {
  constexpr std::string_view name = "stilla: ", indent = "        ";
  const std::size_t found = stderr_columns();
  const std::size_t columns = found < fewest_columns ? text.size() : found - 1 - name.size();  // some terminals wrap when a line is full
  // The message is collected in a buffer and written at once as far as it fits, so that messages of several threads do not mix.
  char buffer[4096];
  std::size_t used = 0;
  const auto put = [&](std::string_view piece) {
    while (!piece.empty()) {
      if (used == sizeof buffer) std::fwrite(buffer, 1, std::exchange(used, 0), stderr);
      const std::size_t count = std::min(piece.size(), sizeof buffer - used);
      std::memcpy(buffer + used, piece.data(), count);
      used += count;
      piece.remove_prefix(count);
    }
  };
  put(name);
  for (;;) {
    const std::size_t length = line_length(text, columns);
    put(text.substr(0, length));
    if (length >= text.size()) break;
    text.remove_prefix(length + 1);
    put("\n");
    put(indent);
  }
  put(end);
  std::fwrite(buffer, 1, used, stderr);
  std::fflush(stderr);
}

}  // namespace

void message(std::string_view text) { write_text(text, "\n"); }
void question(std::string_view text) { write_text(text, " "); }

std::size_t help_columns(std::size_t terminal_columns) {
  constexpr std::size_t columns_without_terminal = 80;
  return terminal_columns < fewest_columns ? columns_without_terminal : terminal_columns - 1;
}

std::string wrapped(std::string_view text, std::size_t columns) {
  constexpr std::size_t deeper = 4;
  std::string out;
  for (;;) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    std::size_t indent = std::min(line.find_first_not_of(' '), line.size());
    for (bool is_first = true;; is_first = false) {
      line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
      std::string_view piece = line.substr(0, line_length(line, columns - std::min(indent, columns)));
      line.remove_prefix(piece.size());
      // If a line is broken at several spaces, all but one of them may be at the end of `piece`. These are removed.
      piece = piece.substr(0, piece.find_last_not_of(' ') + 1);
      if (!piece.empty()) out.append(indent, ' ');
      out += piece;
      if (line.find_first_not_of(' ') == std::string_view::npos) break;
      out += '\n';
      if (is_first && indent != 0) indent += deeper;
    }
    if (end == text.size()) return out;
    out += '\n';
    text.remove_prefix(end + 1);
  }
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
