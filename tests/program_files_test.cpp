// SPDX-License-Identifier: Apache-2.0
//
// Tests of the program `stilla` with models that are not one whole GGUF file, and with files that are removed or cut while it
// runs.
#include <unistd.h>

#include "program_fixture.hpp"

namespace {

using namespace stilla_test;

class ProgramFilesTest : public ProgramTest {};

const std::string golden = test_data;

TEST_F(ProgramFilesTest, PartsAreOneModel) {
  const auto logits = [](const std::string& model, const std::string& out) {
    const Finished done = run_program({"logits", "-m", model, "-t", "1", "--ids", "1,2,3,100", "-o", path(out)});
    EXPECT_EQ(done.status, 0) << done.err;
    return read_file(out);
  };
  for (int i = 1; i <= 3; ++i) {
    const std::string name = "tiny-0000" + std::to_string(i) + "-of-00003.gguf";
    fs::copy_file(golden + "/parts/" + name, path(name), fs::copy_options::overwrite_existing);
  }
  const std::string expected = logits(golden + "/parts/whole.gguf", "whole.npy");
  EXPECT_EQ(logits(path("tiny-00001-of-00003.gguf"), "parts.npy"), expected);
  EXPECT_EQ(logits(path("tiny-00003-of-00003.gguf"), "parts.npy"), expected);
  const Finished packed = run_program({"pack", "-m", path("tiny-00002-of-00003.gguf"), "-t", "1"});
  EXPECT_EQ(packed.status, 0) << packed.err;
  EXPECT_TRUE(contains(packed.err, "wrote " + path("tiny.stilla"))) << packed.err;
  EXPECT_EQ(logits(path("tiny.stilla"), "packed.npy"), expected);
  const Finished shown = run_program({"inspect", path("tiny-00001-of-00003.gguf")});
  EXPECT_EQ(shown.status, 0) << shown.err;
  EXPECT_TRUE(contains(shown.out, "parts, 3\n  tiny-00001-of-00003.gguf    12.0 kB  0 tensors\n")) << shown.out;
  fs::remove(path("tiny-00002-of-00003.gguf"));
  const Finished missing = run_program({"run", "-m", path("tiny-00001-of-00003.gguf"), "-p", "hi"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_TRUE(is_message(missing.err) && contains(missing.err, path("tiny-00002-of-00003.gguf") + ": cannot open: ")) << missing.err;
}

TEST_F(ProgramFilesTest, AFolderIsAModel) {
  const std::string folder = path("a-llama");
  fs::copy(golden + "/hugging_face/llama", folder, fs::copy_options::overwrite_existing | fs::copy_options::recursive);
  const auto logits = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"logits", "-t", "1", "--ids", "1,2,3,100", "-o", path("l.npy")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished done = run_program(arguments);
    EXPECT_EQ(done.status, 0) << done.err;
    return read_file("l.npy");
  };
  for (const std::string weights : {"file", "q8_0"}) {
    const std::string expected = logits({"-m", folder, "--weights", weights});
    EXPECT_EQ(logits({"-m", folder, "--weights", weights, "--no-mmap"}), expected);
    const Finished packed = run_program({"pack", "-m", folder + "/", "--weights", weights, "-t", "1"});
    EXPECT_EQ(packed.status, 0) << packed.err;
    const std::string name = path(weights == "file" ? "a-llama.stilla" : "a-llama-q8_0.stilla");
    EXPECT_EQ(logits({"-m", name}), expected);
    EXPECT_TRUE(contains(run_program({"pack", "-m", folder, "--weights", weights, "-t", "1"}).err, "is up to date"));
  }
  const Finished said = run_program({"run", "-m", folder, "-t", "1", "-p", "hi", "--temp", "0", "-n", "5"});
  EXPECT_EQ(said.status, 0) << said.err;
  const Finished shown = run_program({"inspect", folder});
  EXPECT_EQ(shown.status, 0) << shown.err;
  for (const char* part :
       {": Hugging Face folder, ", "llama.block_count", "stilla.rope.half_split", "blk.1.ffn_down.weight", "F16", "memory; scratch"}) {
    EXPECT_TRUE(contains(shown.out, part)) << part << "\n" << shown.out;
  }
  fs::remove(fs::path(folder) / "config.json");
  const Finished refused = run_program({"run", "-m", folder, "-p", "hi"});
  EXPECT_EQ(refused.status, 3);
  EXPECT_TRUE(is_message(refused.err) && contains(refused.err, folder + ": is a folder without a config.json")) << refused.err;
}

// If a file is cut while the program reads it, the program ends with an error message of one line. The cut may hit the
// embedding of a GGUF file or the matrices of a packed file.
TEST_F(ProgramFilesTest, AFileThatBecomesShorterEndsInASentence) {
  ASSERT_EQ(run_program({"pack", "-m", path("babbler.gguf"), "-t", "1"}).status, 0);
  for (const std::string model : {"babbler.gguf", "babbler.stilla"}) {
    const std::string whole = read_file(model);
    for (const int more : {0, 1, 40}) {
      write_file(model, whole);
      Process process({"run", "-m", path(model), "-t", "2", "-p", "hi", "--lookup", "off"});
      ASSERT_TRUE(process.wait_for(again));
      usleep(static_cast<useconds_t>(more) * 1000);
      ASSERT_EQ(truncate(path(model).c_str(), 1), 0);
      EXPECT_EQ(process.finish(), 1);
      EXPECT_TRUE(contains(process.err, "stilla: " + path(model) + ": the file became shorter while it was in use")) << process.err;
    }
    write_file(model, whole);
    Process process({"run", "-m", path(model), "-t", "2", "-p", "hi", "--lookup", "off", "--no-mmap", "-n", "3000"});
    ASSERT_TRUE(process.wait_for(again));
    ASSERT_EQ(truncate(path(model).c_str(), 1), 0);
    EXPECT_EQ(process.finish(), 0) << process.err;
    write_file(model, whole);
  }
}

}  // namespace
