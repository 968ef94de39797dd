// SPDX-License-Identifier: Apache-2.0
//
// How the program reports results and errors. Results go to standard output, messages to standard error behind `stilla: `. A Failure
// may be thrown anywhere; main() prints its line and ends the program with its status.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <stilla/base/error.hpp>

namespace program {

inline constexpr int exit_failed = 1;
inline constexpr int exit_usage = 2;
inline constexpr int exit_refused = 3;
inline constexpr int exit_interrupted = 130;

struct Failure {
  int status = exit_failed;
  std::string message;  // one line; empty: end without a message
};

// Thrown if standard output takes no more bytes. This ends the program, and not only one turn of a chat.
struct OutputFailure : Failure {};
// Thrown if the model's file is damaged or lost. This ends the program, and not only one turn of a chat.
struct ModelFailure : Failure {};

[[noreturn]] inline void fail(int status, std::string message) { throw Failure{status, std::move(message)}; }
[[noreturn]] inline void fail(const stilla::Error& error) {
  using stilla::ErrorKind;
  fail(error.kind == ErrorKind::bad_argument   ? exit_usage
       : error.kind == ErrorKind::refused_file ? exit_refused
                                               : exit_failed,
       error.message);
}

// Returns the value of a result. If the result is an error, throws the Failure for this error.
template <class T>
T value_of(stilla::Result<T> result) {
  if (!result) fail(result.error());
  return std::move(*result);
}
inline void check(const stilla::Status& status) {
  if (!status) fail(status.error());
}

// Writes text to standard output and flushes it. If nobody reads any more (`stilla run | head`), the program ends with status 1 and
// no message. Any other error is reported.
void write_output(std::string_view text);

// Writes text to standard error, without delay.
void write_note(std::string_view text);

// Writes "stilla: TEXT\n" to standard error. On a terminal, long lines are broken between words. Everywhere, the lines after the
// first one are indented, so that they begin below the first word of the text; this includes lines that begin behind a line break in
// the text. The function needs no memory, so it can also report that there is none.
void message(std::string_view text);

// Writes a question as message() writes a message, but with a space behind it instead of a line break, where the answer is typed.
void question(std::string_view text);

// Returns the number of characters that a line of a help text has at most, for a terminal of this width: one less than the width,
// because some terminals wrap when a line is full, or 80 if the width is 0 (unknown, or no terminal) or less than 40.
std::size_t help_columns(std::size_t terminal_columns);

// Returns the text with lines of at most `columns` characters, which are broken between words. A word that is longer than a line
// is not divided. A line that begins with spaces goes on with four more spaces.
std::string wrapped(std::string_view text, std::size_t columns);

// Turns text from outside into one line that is safe to print. Its words go through stilla::printable(), except that backslashes
// stay as they are, because they may come from an earlier printable().
std::string one_line(std::string_view text);

// Returns a number of bytes as text, for example "1.12 GB", in decimal units as on file lists.
std::string bytes_text(double bytes);

// A line on standard error that shows the progress of some work. It is overwritten as the work proceeds and erased at the end. It
// shows nothing if standard error is no terminal.
class ProgressLine {
 public:
  explicit ProgressLine(std::string label);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void show(std::size_t done, std::size_t total);

 private:
  std::string label_;
  bool is_active_;
  int shown_percent_ = -1;
};

}  // namespace program
