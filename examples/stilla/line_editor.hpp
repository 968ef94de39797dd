// SPDX-License-Identifier: Apache-2.0
//
// Reads lines that a user types. With libedit (BSD licence) lines can be edited, and the arrow keys bring earlier lines back.
// Without libedit, or when standard input is no terminal, lines are read as they come. The history lives only as long as the
// program: nothing is written to disk unless the user asks for it.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace program {

class LineEditor {
 public:
  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // Returns the next line without its end, or nothing at the end of input. On a terminal a prompt is shown before the line, and
  // a line that ends with a backslash continues in the next one.
  std::optional<std::string> read();

 private:
  std::optional<std::string> read_line(bool goes_on);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace program
