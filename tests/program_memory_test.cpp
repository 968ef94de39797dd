// SPDX-License-Identifier: Apache-2.0
//
// Tests the program `stilla` when memory runs out: from the n-th allocation on, all allocations fail. Each command is tested
// with some n, or with every n if STILLA_SWEEP=all is in the environment. The program must end with one line and a status of
// 1 to 3, or succeed without that memory. It leaves no unfinished files behind.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "program_fixture.hpp"

namespace {

using namespace stilla_test;

class ProgramMemory : public ProgramTest {
 protected:
  static void SetUpTestSuite() {
    ProgramTest::SetUpTestSuite();
    ASSERT_TRUE(table_model({}, {{'\n', 'Y'}}).write(path("yes.gguf")));
    write_file("turns.txt", "hi\n/save " + path("memory.session") + "\n/load " + path("memory.session") + "\nhi\n");
  }

  // Runs the program so that all allocations from the n-th on fail, or none if n is 0.
  static Finished run(const std::vector<std::string>& arguments, long n, const std::string& input) {
    setenv("STILLA_FAIL_NEW", std::to_string(n).c_str(), 1);
    setenv("STILLA_COUNT_NEW", path("count").c_str(), 1);
    Process process(arguments, Process::Streams::pipes, STILLA_FAILING_PROGRAM);
    process.write_input(input);
    const int status = process.finish();
    return {status, process.out, process.err};
  }

  // Returns whether the last line of the text is one of the program's messages. Notes about the model may stand before it.
  static bool ends_in_a_message(const std::string& text) {
    if (!text.ends_with('\n')) return false;
    const std::size_t last = text.rfind('\n', text.size() - 2);  // npos if there is only one line; npos + 1 is 0
    return text.compare(last + 1, 8, "stilla: ") == 0;
  }

  static void sweep(const std::vector<std::string>& arguments, const std::vector<std::string>& outputs = {},
                    const std::string& input = {}) {
    const Finished whole = run(arguments, 0, input);
    ASSERT_EQ(whole.status, 0) << whole.err;
    const long count = std::atol(read_file("count").c_str());
    ASSERT_GT(count, 50);
    const char* const wanted = std::getenv("STILLA_SWEEP");
    const long steps = wanted != nullptr && std::string(wanted) == "all" ? count : 40;
    int failed = 0;
    for (long i = 0; i < steps && failed < 5; ++i) {
      const long n = 1 + i * count / steps;
      for (const std::string& output : outputs) fs::remove(path(output));
      const Finished ended = run(arguments, n, input);
      const bool is_fine = ended.status == 0 || (ended.status == 1 && ends_in_a_message(ended.err));
      if (!is_fine) ++failed;
      EXPECT_TRUE(is_fine) << arguments[0] << ": without memory from allocation " << n << " of " << count << " on: status " << ended.status
                           << ", " << ended.err;
      for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
        EXPECT_NE(entry.path().extension(), ".partial") << arguments[0] << ", allocation " << n << ": " << entry.path();
      }
    }
  }
};

TEST_F(ProgramMemory, RunEndsInALine) { sweep({"run", "-m", path("yes.gguf"), "-t", "2", "-p", "hi", "--temp", "0"}); }
TEST_F(ProgramMemory, ChatEndsInALine) {
  sweep({"chat", "-m", path("yes.gguf"), "-t", "1", "--commands"}, {"memory.session"}, read_file("turns.txt"));
}
TEST_F(ProgramMemory, LogitsEndInALine) {
  sweep({"logits", "-m", path("yes.gguf"), "-t", "1", "--ids", "1,2,3", "-o", path("memory.npy")}, {"memory.npy"});
}
TEST_F(ProgramMemory, PackEndsInALine) {
  sweep({"pack", "-m", path("yes.gguf"), "-t", "1", "-o", path("memory.stilla")}, {"memory.stilla"});
}
TEST_F(ProgramMemory, InspectEndsInALine) { sweep({"inspect", path("yes.gguf")}); }
TEST_F(ProgramMemory, TokenizeEndsInALine) { sweep({"tokenize", "-m", path("yes.gguf"), "some text"}); }

// The program allocates memory only as it uses it. The test has an input file without an end, and a window of penalties that is as
// long as its option allows.
TEST_F(ProgramMemory, NothingIsAskedForAtOnceThatIsNotUsed) {
  const std::string limited = "sh -c \"ulimit -v 4000000; '" + std::string(program) + "' ";
  const auto status = [](const std::string& command) {
    const int ended = std::system(command.c_str());
    return WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
  };
  EXPECT_EQ(status(limited + "run -m '" + path("yes.gguf") +
                   "' -t 1 -p hi --repeat-penalty 1.1 --repeat-last-n 2147483647 2> /dev/null > /dev/null\""),
            0);
  EXPECT_EQ(status(limited + "run -m '" + path("yes.gguf") + "' -t 1 -f /dev/zero 2> '" + path("zero.err") + "'\""), 1);
  EXPECT_TRUE(is_message(read_file("zero.err")) && contains(read_file("zero.err"), "/dev/zero: is longer than ")) << read_file("zero.err");
}

}  // namespace
