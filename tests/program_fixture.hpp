// SPDX-License-Identifier: Apache-2.0
//
// The fixture for tests of the program `stilla`: it makes a folder of small models and files, good and bad.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "program_util.hpp"
#include "read_file.hpp"

namespace stilla_test {

namespace fs = std::filesystem;

inline const std::string again = " again";

class ProgramTest : public ::testing::Test {
 protected:
  // Writes the models. `speaker` answers every chat with thinking and an answer. The answer holds a euro sign in two pieces and
  // a command for a terminal. After the letter L the model repeats itself for ever, and after X it says a byte that is no UTF-8.
  // The model `babbler` never ends its answer in a chat.
  static void SetUpTestSuite() {
    signal(SIGPIPE, SIG_IGN);  // some tests write to a program that has already ended
    folder_ = fs::temp_directory_path() / ("stilla-program-test-" + std::to_string(getpid()));
    fs::create_directories(folder_);
    const std::vector<std::string> pieces{"Let me see.", "It is 5 \xe2\x82", "\xac.\x1b[2J", again};
    enum : std::uint32_t { thinking = first_piece, answer, euro, loop };
    const auto speaker = table_model(pieces, {{'\n', think_open},
                                              {think_open, thinking},
                                              {thinking, think_close},
                                              {think_close, answer},
                                              {answer, euro},
                                              {'L', loop},
                                              {loop, loop},
                                              {'X', 0xff}});
    ASSERT_TRUE(speaker.write(path("speaker.gguf")));
    ASSERT_TRUE(table_model(pieces, {{'\n', loop}, {loop, loop}}, true, 1000000).write(path("babbler.gguf")));
    ASSERT_TRUE(table_model(pieces, {}, false).write(path("vocabulary.gguf")));
    std::vector<std::byte> bytes = speaker.build();
    write_file("cut.gguf", {reinterpret_cast<const char*>(bytes.data()), bytes.size() / 2});
    write_file("text.txt", "just text\n");
    write_file("empty.txt", "");
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  static std::string path(const std::string& name) { return (folder_ / name).string(); }
  static void write_file(const std::string& name, std::string_view text) { stilla_test::write_file(path(name), std::string(text)); }
  static std::string read_file(const std::string& name) { return stilla_test::read_file(path(name)); }
  // Returns the arguments `COMMAND -m speaker ... -t 1` and those in `more`.
  static std::vector<std::string> speaker(const std::string& command, const std::vector<std::string>& more) {
    std::vector<std::string> out{command, "-m", path("speaker.gguf"), "-t", "1"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }

  static inline fs::path folder_;
};

// Succeeds if the text is one line that begins with the program's name.
inline ::testing::AssertionResult is_message(const std::string& text) {
  const bool one_line = std::count(text.begin(), text.end(), '\n') == 1 && text.ends_with('\n');
  if (one_line && text.starts_with("stilla: ")) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "not one line that begins with 'stilla: ': " << text;
}

inline bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace stilla_test
