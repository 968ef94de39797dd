// SPDX-License-Identifier: Apache-2.0
//
// Tests of `stilla pack` from outside: which file it writes, that every command takes it, and how it requantises weights.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <stilla/io/gguf.hpp>

#include "program_fixture.hpp"

namespace {

using namespace stilla_test;

TEST_F(ProgramTest, PackSaysHowFarRequantisedWeightsAre) {
  fs::copy_file(std::string(test_data) + "/../../examples/models/stilla-drop-f16.gguf", path("to-round.gguf"));
  const std::vector<std::string> pack{"pack", "-m", path("to-round.gguf"), "--weights", "int4_channel"};
  const Finished packed = run_program(pack);
  ASSERT_EQ(packed.status, 0) << packed.err;
  EXPECT_TRUE(contains(packed.err, "29 matrices were requantised; relative error ")) << packed.err;
  EXPECT_TRUE(contains(packed.err, "28 of 30 matrices as int4_channel, the head as q8_0, in ")) << packed.err;
  EXPECT_FALSE(contains(packed.err, "blk.0.attn_q.weight from f16 to int4_channel\n")) << packed.err;
  fs::remove(path("to-round-int4_channel.stilla"));
  std::vector<std::string> verbose = pack;
  verbose.push_back("-v");
  const Finished listed = run_program(verbose);
  ASSERT_EQ(listed.status, 0) << listed.err;
  EXPECT_TRUE(contains(listed.err, " %  blk.0.attn_q.weight from f16 to int4_channel\n")) << listed.err;
}

TEST_F(ProgramTest, PacksRotatedAndCalibratedWeights) {
  fs::copy_file(std::string(test_data) + "/../../examples/models/stilla-drop-f16.gguf", path("drop.gguf"));
  const std::string text = path("calibration.txt");
  std::ofstream(text) << "What is 347 + 589?\nWhat is 12 * 31?\nHow many apples are 3 apples and 4 apples?\n";
  const std::vector<std::string> pack{"pack",        "-m", path("drop.gguf"), "--weights", "lpbq32", "--rotate", "residual,down",
                                      "--calibrate", text};
  const Finished packed = run_program(pack);
  ASSERT_EQ(packed.status, 0) << packed.err;
  EXPECT_TRUE(contains(packed.err, "drop-lpbq32-rotated-calibrated.stilla")) << packed.err;
  EXPECT_TRUE(contains(packed.err, "rotated (residual,down), calibrated")) << packed.err;
  EXPECT_TRUE(contains(run_program(pack).err, "is up to date"));
  const Finished inspected = run_program({"inspect", path("drop-lpbq32-rotated-calibrated.stilla")});
  EXPECT_TRUE(contains(inspected.out, "residual,down")) << inspected.out;
  const Finished answer =
      run_program({"run", "-m", path("drop-lpbq32-rotated-calibrated.stilla"), "-p", "What is 347 + 589?", "--temp", "0"});
  EXPECT_EQ(answer.status, 0) << answer.err;
  EXPECT_TRUE(contains(answer.out, "936")) << answer.out;
}

// A packed file has no place for settings of a folder's vocabulary that Stilla does not use. So when a folder is packed, a note
// must name these settings.
TEST_F(ProgramTest, PackAndInspectTellWhatIsNotUsedOfAFolder) {
  const std::string folder = path("folder");
  fs::copy(std::string(test_data) + "/hugging_face/qwen3", folder);
  std::ofstream(folder + "/tokenizer_config.json") << R"({"add_eos_token": true})";
  const std::string note = "folder: tokenizer_config.json: a key that is not known here and not used: 'add_eos_token'\n";
  for (const std::vector<std::string>& command : {std::vector<std::string>{"pack", "-m", folder, "-o", path("folder.stilla")},
                                                  {"inspect", folder},
                                                  {"run", "-m", folder, "-p", "hi", "-n", "1"}}) {
    const Finished ended = run_program(command);
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_TRUE(contains(ended.err, note)) << command[0] << ": " << ended.err;
  }
}

TEST_F(ProgramTest, PacksByImportance) {
  fs::copy_file(std::string(test_data) + "/../../examples/models/stilla-drop-f16.gguf", path("important.gguf"));
  const stilla::Result<stilla::GgufFile> model = stilla::GgufFile::open(path("important.gguf"));
  ASSERT_TRUE(model) << model.error().message;
  stilla_test::GgufBuilder builder = stilla_test::GgufBuilder().string("general.type", "imatrix");
  for (const stilla::GgufTensor& tensor : model->tensors()) {
    if (!tensor.is_matrix() || tensor.name == "blk.1.attn_k.weight") continue;
    std::vector<float> sums(static_cast<std::size_t>(tensor.columns()));
    for (std::size_t k = 0; k < sums.size(); ++k) sums[k] = static_cast<float>(k % 7 + 1);
    builder.floats(std::string(tensor.name) + ".in_sum2", {tensor.columns(), 1}, sums);
    builder.floats(std::string(tensor.name) + ".counts", {1, 1}, {3});
  }
  ASSERT_TRUE(builder.write(path("i.gguf")));
  const std::vector<std::string> pack{"pack", "-m", path("important.gguf"), "--weights", "q4_0", "--imatrix", path("i.gguf")};
  const Finished packed = run_program(pack);
  ASSERT_EQ(packed.status, 0) << packed.err;
  EXPECT_TRUE(contains(packed.err, "1 tensor ('blk.1.attn_k.weight') is of the model not in ")) << packed.err;
  EXPECT_TRUE(contains(packed.err, "important-q4_0-imatrix.stilla")) << packed.err;
  EXPECT_TRUE(contains(packed.err, ", by importance")) << packed.err;
  EXPECT_TRUE(contains(run_program(pack).err, "is up to date"));
  const auto answer = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"run", "-p", "What is 347 + 589?", "--temp", "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished ended = run_program(arguments);
    EXPECT_EQ(ended.status, 0) << ended.err;
    return ended.out;
  };
  const std::string from_packed = answer({"-m", path("important-q4_0-imatrix.stilla")});
  EXPECT_TRUE(contains(from_packed, "936")) << from_packed;
  EXPECT_EQ(answer({"-m", path("important.gguf"), "--weights", "q4_0", "--imatrix", path("i.gguf")}), from_packed);

  // With an importance matrix, `export` also chooses the weights that it writes by importance. So they differ from those without
  // it.
  std::vector<std::string> exported{
      "export", "--to", "onnx", "-m", path("important.gguf"), "--weights", "q4_0", "-o", path("exported-plain")};
  ASSERT_EQ(run_program(exported).status, 0);
  exported.back() = path("by-importance");
  exported.insert(exported.end(), {"--imatrix", path("i.gguf")});
  const Finished important = run_program(exported);
  ASSERT_EQ(important.status, 0) << important.err;
  EXPECT_NE(read_file("by-importance/model.onnx.data"), read_file("exported-plain/model.onnx.data"));
  EXPECT_EQ(read_file("by-importance/model.onnx.data").size(), read_file("exported-plain/model.onnx.data").size());
}

// A packed file can be used instead of its model, and every command gives the same results with it.
TEST_F(ProgramTest, PackWritesAFileForEveryCommand) {
  const std::vector<std::string> ask{"-p", "hi", "--temp", "0", "-t", "1"};
  const auto run = [&](const std::string& model) {
    std::vector<std::string> arguments{"run", "-m", path(model)};
    arguments.insert(arguments.end(), ask.begin(), ask.end());
    return run_program(arguments);
  };
  fs::copy_file(path("speaker.gguf"), path("to-pack.gguf"), fs::copy_options::overwrite_existing);
  const Finished packed = run_program({"pack", "-m", path("to-pack.gguf")});
  ASSERT_EQ(packed.status, 0) << packed.err;
  EXPECT_EQ(packed.out, "");
  EXPECT_TRUE(is_message(packed.err) && contains(packed.err, "wrote ") && contains(packed.err, "to-pack.stilla"));
  fs::remove(path("to-pack.gguf"));
  const Finished answer = run("to-pack.stilla");
  EXPECT_EQ(answer.status, 0) << answer.err;
  EXPECT_EQ(answer.out, run("speaker.gguf").out);

  const Finished repeated = run_program({"pack", "-m", path("speaker.gguf"), "-o", path("to-pack.stilla")});
  EXPECT_EQ(repeated.status, 0);
  EXPECT_TRUE(contains(repeated.err, "is up to date")) << repeated.err;
  const Finished other = run_program({"pack", "-m", path("babbler.gguf"), "-o", path("to-pack.stilla"), "-t", "2"});
  EXPECT_EQ(other.status, 0);
  EXPECT_TRUE(contains(other.err, "wrote ")) << other.err;

  const Finished inspected = run_program({"inspect", path("to-pack.stilla")});
  EXPECT_EQ(inspected.status, 0);
  EXPECT_TRUE(contains(inspected.out, "packed in layout ")) << inspected.out;
  EXPECT_TRUE(contains(inspected.out, "stilla.packed.checksum")) << inspected.out;
  const Finished verified = run_program({"inspect", "--verify", path("to-pack.stilla")});
  EXPECT_EQ(verified.status, 0) << verified.err;
  std::string bytes = read_file("to-pack.stilla");
  bytes.back() ^= 1;
  write_file("damaged.stilla", bytes);
  const Finished damaged = run_program({"inspect", "--verify", path("damaged.stilla")});
  EXPECT_EQ(damaged.status, 3);
  EXPECT_TRUE(is_message(damaged.err) && contains(damaged.err, "the file is damaged")) << damaged.err;
  bytes[200] ^= 1;  // a byte of the header
  write_file("damaged.stilla", bytes);
  EXPECT_EQ(run("damaged.stilla").status, 3);

  struct Case {
    int status;
    const char* says;
    std::vector<std::string> arguments;
  };
  const Case cases[] = {
      {2, "is packed already", {"pack", "-m", path("to-pack.stilla")}},
      {2, "is the model itself", {"pack", "-m", path("speaker.gguf"), "-o", path("speaker.gguf")}},
      {2, "is not a packed file", {"pack", "-m", path("speaker.gguf"), "-o", path("babbler.gguf")}},
      {2, "is not a packed file", {"pack", "-m", path("speaker.gguf"), "-o", path("text.txt")}},
      {3, "'token_embd.weight' is missing", {"pack", "-m", path("vocabulary.gguf")}},
      {1, "cannot write", {"pack", "-m", path("speaker.gguf"), "-o", path("no-folder/x.stilla")}},
      {1, "is a directory", {"pack", "-m", path("speaker.gguf"), "-o", folder_.string()}},
      {2, "only packed files", {"inspect", "--verify", path("speaker.gguf")}},
      {2, "--model is required", {"pack"}},
  };
  for (const Case& c : cases) {
    const Finished ended = run_program(c.arguments);
    EXPECT_EQ(ended.status, c.status) << ended.err;
    EXPECT_TRUE(is_message(ended.err) && contains(ended.err, c.says)) << ended.err << "expected: " << c.says;
  }
  EXPECT_EQ(read_file("text.txt"), "just text\n");
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    EXPECT_NE(entry.path().extension(), ".partial") << entry.path();
  }
}

// A model can be requantised while it is packed or while it is loaded. Both ways give the same logits, and the program states
// the same amount of memory.
TEST_F(ProgramTest, PackRequantises) {
  const auto logits = [&](const std::string& model, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"logits", "-m", path(model), "--ids", "1,2,3", "-o", path("w.npy")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished ended = run_program(arguments);
    EXPECT_EQ(ended.status, 0) << ended.err;
    return read_file("w.npy");
  };
  fs::copy_file(path("babbler.gguf"), path("talker.gguf"));
  const std::vector<std::string> pack{"pack", "-m", path("talker.gguf"), "--weights", "q4_0"};
  const Finished packed = run_program(pack);
  ASSERT_EQ(packed.status, 0) << packed.err;
  EXPECT_TRUE(contains(packed.err, "talker-q4_0.stilla") && contains(packed.err, " as q4_0")) << packed.err;
  EXPECT_EQ(logits("talker-q4_0.stilla", {}), logits("talker.gguf", {"--weights", "q4_0"}));
  EXPECT_EQ(logits("talker-q4_0.stilla", {"--weights", "q4_0"}), logits("talker-q4_0.stilla", {}));
  EXPECT_TRUE(contains(run_program(pack).err, "is up to date"));
  std::vector<std::string> other = pack;
  other.insert(other.end(), {"-o", path("talker-q4_0.stilla")});
  other[4] = "q8_0";
  const Finished replaced = run_program(other);
  EXPECT_TRUE(contains(replaced.err, "wrote ") && contains(replaced.err, " as q8_0")) << replaced.err;
  EXPECT_EQ(logits("talker-q4_0.stilla", {}), logits("talker.gguf", {"--weights", "q8_0"}));

  const auto memory = [&](const std::vector<std::string>& arguments) {
    const std::string out = run_program(arguments).out;
    const std::size_t at = out.find("\nmemory; ");
    EXPECT_NE(at, std::string::npos) << out;
    return out.substr(at, out.find("  The ", at) - at);
  };
  const std::string at_load = memory({"inspect", path("talker.gguf"), "--weights", "q8_0"});
  EXPECT_EQ(at_load, memory({"inspect", path("talker-q4_0.stilla")}));
  EXPECT_NE(at_load, memory({"inspect", path("talker.gguf")}));

  struct Case {
    int status;
    const char* says;
    std::vector<std::string> arguments;
  };
  const Case cases[] = {
      {2, "found 'q9'; supported: file (default), f32", {"pack", "-m", path("talker.gguf"), "--weights", "q9"}},
      {2, "is packed already", {"pack", "-m", path("talker-q4_0.stilla"), "--weights", "q4_0"}},
      {3, "is packed; only the file", {"run", "-m", path("talker-q4_0.stilla"), "-p", "hi", "--weights", "q4_1"}},
      {2, "is packed; only the file", {"inspect", path("talker-q4_0.stilla"), "--weights", "q4_1"}},
  };
  for (const Case& c : cases) {
    const Finished ended = run_program(c.arguments);
    EXPECT_EQ(ended.status, c.status) << ended.err;
    EXPECT_TRUE(is_message(ended.err) && contains(ended.err, c.says)) << ended.err << "expected: " << c.says;
  }
}

}  // namespace
