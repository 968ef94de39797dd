// SPDX-License-Identifier: Apache-2.0
//
// Lines that a user types: with libedit (BSD licence) they can be edited and earlier ones come back with the arrow keys;
// without it, or when standard input is no terminal, they are read as they come. The history lives as long as the program:
// nothing is written to disk unasked.
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

  // The next line without its end; nothing at the end of input. On a terminal a prompt stands before it, and a line that
  // ends with a backslash goes on in the next.
  std::optional<std::string> read();

 private:
  std::optional<std::string> read_line(bool goes_on);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace program
