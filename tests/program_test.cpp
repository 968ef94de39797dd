// SPDX-License-Identifier: Apache-2.0
//
// Tests that start the program `stilla`: what it says about mistakes and files, the numbers that it prints, and to which stream
// it writes.
#include <gtest/gtest.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <stilla/base/cores.hpp>
#include <stilla/io/gguf.hpp>

#include "program_fixture.hpp"

namespace {

using namespace stilla_test;

// This function has more than 80 lines because it is a table of cases, whose paths exist only while the test runs.
TEST_F(ProgramTest, EveryMistakeIsOneLineAndAStatus) {
  const std::string model = path("speaker.gguf");
  struct Case {
    int status;
    const char* says;
    std::vector<std::string> arguments;
  };
  const Case cases[] = {
      {2, "unknown command 'frob'", {"frob"}},
      {2, "the prompt is empty", {"run", "-p", ""}},
      {2, "--bogus", {"run", "-m", model, "-p", "hi", "--bogus"}},
      {2, "the prompt is empty", {"run", "-m", model, "-p", ""}},
      {2, "the prompt is empty", {"run", "-m", model}},
      {2, "the prompt is empty", {"run", "-m", model, "-f", path("empty.txt")}},
      {1, "nothing.txt: cannot open", {"run", "-m", model, "-f", path("nothing.txt")}},
      {2, "excludes", {"run", "-m", model, "-p", "hi", "-f", path("text.txt")}},
      {2, "-t: found '0'; expected a whole number from 1 to 1024", {"run", "-m", model, "-p", "hi", "-t", "0"}},
      {2, "-t: found '-3'", {"run", "-m", model, "-p", "hi", "-t", "-3"}},
      {2, "-t: found '2x'", {"run", "-m", model, "-p", "hi", "-t", "2x"}},
      {2, "-t: found '010'", {"run", "-m", model, "-p", "hi", "-t", "010"}},
      {2, "-t: found '\\x1b[2J'", {"run", "-m", model, "-p", "hi", "-t", "\x1b[2J"}},
      {2, "-n: found '1.5'", {"run", "-m", model, "-p", "hi", "-n", "1.5"}},
      {2, "--temp: found 'nan'", {"run", "-m", model, "-p", "hi", "--temp", "nan"}},
      {2, "--temp: found '-0.1'", {"run", "-m", model, "-p", "hi", "--temp", "-0.1"}},
      {2, "--top-p: found '1.5'", {"run", "-m", model, "-p", "hi", "--top-p", "1.5"}},
      {2, "--min-p: found '2'", {"run", "-m", model, "-p", "hi", "--min-p", "2"}},
      {2, "--seed: found '-2'", {"run", "-m", model, "-p", "hi", "--seed", "-2"}},
      {2,
       "--samplers: sampling step 'frob' is not known; known: penalties;dry",
       {"run", "-m", model, "-p", "hi", "--samplers", "top_k;frob"}},
      {2, "--logit-bias: found '12'; expected a token id", {"run", "-m", model, "-p", "hi", "--logit-bias", "12"}},
      {2, "--logit-bias: found '-5+1'", {"run", "-m", model, "-p", "hi", "--logit-bias", "-5+1"}},
      {2, "--think: found 'loud'; supported: show, hide, off", {"run", "-m", model, "-p", "hi", "--think", "loud"}},
      {2, "--on-full: found 'burst'; supported: stop, shift", {"chat", "-m", model, "--on-full", "burst"}},
      {2, "--lookup: found 'maybe'; supported: on, off", {"run", "-m", model, "-p", "hi", "--lookup", "maybe"}},
      {2, "--mirostat: found '1'; supported: 0 (off), 2", {"run", "-m", model, "-p", "hi", "--mirostat", "1"}},
      {2, "--ctx: found '0'", {"run", "-m", model, "-p", "hi", "--ctx", "0"}},
      {2, "--rope-scaling: found 'ntk'; supported: none, linear, yarn", {"run", "-m", model, "-p", "hi", "--rope-scaling", "ntk"}},
      {2, "--rope-scale: found '0.5'", {"chat", "-m", model, "--rope-scale", "0.5"}},
      {2, "--rope-scale: found 'inf'", {"run", "-m", model, "-p", "hi", "--rope-scale", "inf"}},
      {2, "--rope-orig-ctx: found '0'", {"bench", "-m", model, "--rope-orig-ctx", "0"}},
      {2, "--rope-freq-base: found '-1'", {"run", "-m", model, "-p", "hi", "--rope-freq-base", "-1"}},
      {2, "needs a factor", {"run", "-m", model, "-p", "hi", "--rope-scaling", "yarn"}},
      {2, "contradict", {"logits", "-m", model, "--ids", "1", "-o", path("x.npy"), "--rope-scaling", "none", "--rope-scale", "2"}},
      {2,
       "pp2000 needs 2000 positions, and the context holds 1024",
       {"bench", "-m", model, "-p", "2000", "-n", "0", "--rope-scaling", "yarn", "--rope-scale", "4"}},
      {2, "supported: f16", {"run", "-m", model, "-p", "hi", "--kv", "int9"}},
      {2, "iq4_xs, st4", {"run", "-m", model, "-p", "hi", "--weights", "q9"}},
      {2,
       "--weights: Stilla reads files with iq2_xs and has no encoder for it; supported: file (default), f32",
       {"pack", "-m", model, "-o", path("none.gguf"), "--weights", "iq2_xs"}},
      {2, "unknown target 'frob'", {"run", "-m", model, "-p", "hi", "--target", "frob"}},
      {2, "known: chatml", {"run", "-m", model, "-p", "hi", "--chat-template", "frob"}},
      {2, "the prompt is too long: it has 21 tokens, and the context holds 20", {"run", "-m", model, "-p", "hi", "--ctx", "20"}},
      {1, "nothing.gguf: cannot open", {"run", "-m", path("nothing.gguf"), "-p", "hi"}},
      {3, "is not a GGUF file", {"run", "-m", path("text.txt"), "-p", "hi"}},
      {3, "truncated", {"run", "-m", path("cut.gguf"), "-p", "hi"}},
      {3, "tensor 'token_embd.weight' is missing", {"run", "-m", path("vocabulary.gguf"), "-p", "hi"}},
      {3, "is not a GGUF file", {"inspect", path("text.txt")}},
      {3, "is not a GGUF file", {"tokenize", "-m", path("text.txt"), "hi"}},
      {2, "--output is required", {"logits", "-m", model, "--ids", "1"}},
      {2, "--ids: found 'x'", {"logits", "-m", model, "--ids", "1,x", "-o", path("x.npy")}},
      {2, "such as 1,2,3", {"logits", "-m", model, "--ids", "1,2,", "-o", path("x.npy")}},
      {2, "such as 1,2,3", {"logits", "-m", model, "--ids", "", "-o", path("x.npy")}},
      {2, "token id 288 is outside", {"logits", "-m", model, "--ids", "1,288", "-o", path("x.npy")}},
      {1, "cannot write", {"logits", "-m", model, "--ids", "1,2", "-o", path("no-folder/x.npy")}},
      {1, "cannot write", {"logits", "-m", model, "--ids", "1,2", "-o", folder_.string()}},
      {1, "/dev/null: cannot write: it is no regular file", {"logits", "-m", model, "--ids", "1,2", "-o", "/dev/null"}},
      {2, "--model: the path is empty", {"run", "-m", "", "-p", "hi"}},
      {2, "--model: the path is empty", {"tokenize", "-m", "", "hi"}},
      {2, "--model: the path is empty", {"inspect", ""}},
      {2, "--model: the path is empty", {"pack", "-m", ""}},
      {2, "--model: the path is empty", {"npu", "check", ""}},
      {2, "--model: the path is empty", {"export", "--to", "onnx", "-m", "", "-o", path("x.npy")}},
      {2, "--output: the path is empty", {"export", "--to", "onnx", "-m", model, "-o", ""}},
      {2, "--output: the path is empty", {"pack", "-m", model, "-o", ""}},
      {2, "--output: the path is empty", {"logits", "-m", model, "--ids", "1,2", "-o", ""}},
      {2, "--file: the path is empty", {"run", "-m", model, "-f", ""}},
      {2, "--file: the path is empty", {"tokenize", "-m", model, "-f", ""}},
      {2, "--chat-template: the path is empty", {"run", "-m", model, "-p", "hi", "--chat-template", ""}},
      {2, "--draft: the path is empty", {"chat", "-m", model, "--draft", ""}},
      {2, "--imatrix: the path is empty", {"pack", "-m", model, "--imatrix", ""}},
      {2, "--calibrate: the path is empty", {"pack", "-m", model, "--calibrate", ""}},
      {2, "--report: the path is empty", {"bench", "-m", model, "--report", ""}},
      {2, "--device-folder: the path is empty", {"run", "-m", model, "-p", "hi", "--device", "onnxruntime", "--device-folder", ""}},
      {2, "--device-folder requires --device", {"run", "-m", model, "-p", "hi", "--device-folder", "f"}},
      {2, "--device-library requires --device", {"run", "-m", model, "-p", "hi", "--device-library", "l"}},
      {2, "--device-provider requires --device", {"run", "-m", model, "-p", "hi", "--device-provider", "l"}},
      {2, "--device-option requires --device", {"run", "-m", model, "-p", "hi", "--device-option", "a=b"}},
      {2,
       "--device-folder, --device-library, --device-provider and --device-option are for --device onnxruntime",
       {"logits", "-m", model, "--ids", "1,2", "-o", path("x.npy"), "--device", "hexagon-emulated", "--device-folder", "f"}},
      {2, "--raw excludes --think", {"run", "-m", model, "-p", "hi", "--raw", "--think", "hide"}},
      {2, "--raw excludes --think-budget", {"run", "-m", model, "-p", "hi", "--raw", "--think-budget", "4"}},
      {2, "--raw excludes --system", {"run", "-m", model, "-p", "hi", "--raw", "--system", "be brief"}},
      {2, "--raw excludes --chat-template", {"run", "-m", model, "-p", "hi", "--raw", "--chat-template", "chatml"}},
      {2, "an original context of 64 is used only with scaling", {"run", "-m", model, "-p", "hi", "--rope-orig-ctx", "64"}},
      {2, "xml", {"bench", "-m", model, "-o", "xml"}},
      {2, "-t: found '0'", {"bench", "-m", model, "-t", "1,0"}},
      {2, "nothing to measure", {"bench", "-m", model, "-p", "0", "-n", "0"}},
      {2, "pp512 needs 512 positions, and the context holds 256", {"bench", "-m", model}},
      {2, "subcommand is required", {"npu"}},
      {1, "nothing.gguf: cannot open", {"npu", "check", path("nothing.gguf")}},
      {3, "is not a GGUF file", {"npu", "check", path("text.txt")}},
      {3, "'token_embd.weight' is missing", {"npu", "check", path("vocabulary.gguf")}},
      {2, "a context of 257 tokens; this model was trained for 256", {"npu", "check", model, "--ctx", "257"}},
      {2, "--memory: found '0'", {"npu", "check", model, "--memory", "0"}},
      {2, "which device?", {"npu", "test"}},
      {2, "device 'abacus' is unknown; known: hexagon-emulated", {"logits", "--ids", "1,2", "-o", path("x.npy"), "--device", "abacus"}},
      {2, "device 'abacus' is unknown; known: hexagon-emulated", {"npu", "test", "--device", "abacus"}},
      {3,
       "device hexagon-emulated: expected 4-bit weights",
       {"logits", "--ids", "1,2", "-o", path("x.npy"), "--device", "hexagon-emulated"}},
      {2, "--device onnxruntime needs --device-folder", {"logits", "--ids", "1,2", "-o", path("x.npy"), "--device", "onnxruntime"}},
      {3,
       "there is no stilla_export.json of `stilla export` in it",
       {"logits", "--ids", "1,2", "-o", path("x.npy"), "--device", "onnxruntime:QNN", "--device-folder", folder_.string()}},
      {2,
       "--device-option: found 'fast'; expected KEY=VALUE",
       {"logits", "--ids", "1,2", "-o", path("x.npy"), "--device", "onnxruntime", "--device-option", "fast"}},
      {2,
       "--weights: the layers' weights are those of --device-folder",
       {"logits", "--ids", "1,2", "-o", path("x.npy"), "--device", "onnxruntime", "--device-folder", "f", "--weights", "st4"}},
      {2, "bench compares with the limits of this CPU", {"bench", "--device", "onnxruntime"}},
      {2, "--rotate: expected all, or some of", {"pack", "-m", model, "--rotate", "sideways"}},
      {2,
       "--calibrate: needs --weights with a format whose codes can be chosen: q4_0, iq4_nl, iq4_xs, st4, int4_g128, int4_channel",
       {"pack", "-m", model, "--calibrate", path("text.txt")}},
      {2, "--calibrate", {"pack", "-m", model, "--weights", "int4_channel", "--calibrate", path("empty.txt")}},
      {2,
       "--imatrix: needs --weights with a format whose scales are searched for: q4_0",
       {"pack", "-m", model, "--imatrix", path("text.txt")}},
      {2, "--imatrix: needs --weights", {"run", "-m", model, "-p", "a", "--weights", "q8_0", "--imatrix", path("text.txt")}},
      {2, "--rotate excludes --imatrix", {"pack", "-m", model, "--weights", "st4", "--imatrix", path("text.txt"), "--rotate", "all"}},
      {3,
       "text.txt: is no importance matrix of llama.cpp, but text",
       {"pack", "-m", model, "--weights", "st4", "--imatrix", path("text.txt")}},
      {1, "nothing.txt: cannot open", {"pack", "-m", model, "--weights", "int4_channel", "--calibrate", path("nothing.txt")}},
  };
  for (const Case& c : cases) {
    const Finished ended = run_program(c.arguments);
    SCOPED_TRACE(ended.err);
    EXPECT_EQ(ended.status, c.status);
    EXPECT_TRUE(is_message(ended.err));
    EXPECT_TRUE(contains(ended.err, c.says)) << "expected: " << c.says;
    EXPECT_EQ(ended.out, "");
  }
  EXPECT_FALSE(fs::exists(path("x.npy")));
}

#if !defined(_WIN32)

// The option --chat-template replaces the model's own template, by the name of a known template or by a file. If a template uses
// what the program cannot do, the message says where, and how to go on.
TEST_F(ProgramTest, ChatTemplates) {
  const std::string model = path("speaker.gguf");
  const auto ids = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"tokenize", "-m", model};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  };
  const Finished own = ids({"--chat", "hi"}), named = ids({"--chat-template", "chatml", "hi"});
  EXPECT_EQ(own.status, 0) << own.err;
  EXPECT_TRUE(own.out.starts_with("256 ")) << own.out;  // <|im_start|>
  EXPECT_EQ(own.out, named.out);
  write_file("own.jinja", "{{ messages[0].content|upper }}!\n");
  EXPECT_EQ(ids({"--chat-template", path("own.jinja"), "hi<|im_end|>"}).out, ids({"HI<|IM_END|>!"}).out);
  // The template's file may be written as Windows does it. Text that is not UTF-8 is refused. If a template writes markup that is
  // no token, the program says so.
  using namespace std::string_view_literals;
  const std::string prompt = ids({"hi!"}).out;
  for (const std::string_view bytes : {"\xef\xbb\xbf{{ messages[0].content }}!"sv, "\xff\xfeh\0i\0!\0"sv, "\xfe\xff\0h\0i\0!"sv}) {
    write_file("windows.jinja", bytes);
    EXPECT_EQ(ids({"--chat-template", path("windows.jinja"), "hi"}).out, prompt);
  }
  const std::pair<std::string_view, std::string_view> no_text[] = {
      {"\xff\xfe\0\0a\0\0\0"sv, "windows.jinja: is UTF-32; expected UTF-8 or UTF-16"},
      {"ab\xe9 c"sv, "windows.jinja: is not UTF-8: found byte 233 at byte 2 of the text"},
      {"h\0i\0"sv, "windows.jinja: found byte 0 at byte 1 of the text, which is no character of a text"},
      {"\xff\xfeh"sv, "is UTF-16 with an odd number of bytes"}};
  for (const auto& [bytes, says] : no_text) {
    write_file("windows.jinja", bytes);
    const Finished refused = ids({"--chat-template", path("windows.jinja"), "hi"});
    EXPECT_EQ(refused.status, 3);
    EXPECT_TRUE(is_message(refused.err) && contains(refused.err, says)) << refused.err;
  }
  const Finished foreign = ids({"--chat-template", "llama3", "hi"});
  EXPECT_EQ(foreign.status, 0);
  EXPECT_TRUE(is_message(foreign.err) && contains(foreign.err, "the chat template writes '<|start_header_id|>', ")) << foreign.err;
  write_file("bad.jinja", "a\n{{ messages|shuffle }}");
  const Finished bad = ids({"--chat-template", path("bad.jinja"), "hi"});
  EXPECT_EQ(bad.status, 3);
  EXPECT_TRUE(is_message(bad.err) && contains(bad.err, "bad.jinja: chat template, line 2: the filter 'shuffle' is not supported"));
  write_file("refuses.jinja", "{{ raise_exception('only questions') }}");
  const Finished refused = run_program({"run", "-m", model, "-p", "hi", "--chat-template", path("refuses.jinja")});
  EXPECT_EQ(refused.status, 3);
  EXPECT_TRUE(is_message(refused.err) && contains(refused.err,
                                                  "refuses.jinja: chat template, line 1: the template says: only questions; "
                                                  "give another with --chat-template NAME|FILE"))
      << refused.err;
  const Finished chat = run_program({"chat", "-m", model, "--chat-template", path("refuses.jinja")}, "hi\n");
  EXPECT_EQ(chat.status, 0);
  EXPECT_TRUE(contains(chat.err, "refuses.jinja: chat template, line 1: the template says: only questions")) << chat.err;
  ASSERT_TRUE(table_model({}, {}, true, 256, "{% include 'x' %}").write(path("include.gguf")));
  const Finished unknown = run_program({"run", "-m", path("include.gguf"), "-p", "hi"});
  EXPECT_EQ(unknown.status, 3);
  EXPECT_TRUE(is_message(unknown.err) && contains(unknown.err, "the statement 'include' is not supported") &&
              contains(unknown.err, "--chat-template NAME|FILE"))
      << unknown.err;
}

TEST_F(ProgramTest, TheEnvironmentNamesATargetWhereNoOptionDoes) {
  setenv("STILLA_TARGET", "frob", 1);
  const Finished refused = run_program(speaker("run", {"-p", "hi"}));
  const Finished overridden = run_program(speaker("run", {"-p", "hi", "-n", "1", "--target", "scalar"}));
  unsetenv("STILLA_TARGET");
  EXPECT_EQ(refused.status, 2);
  EXPECT_TRUE(contains(refused.err, "unknown target 'frob'")) << refused.err;
  EXPECT_EQ(overridden.status, 0) << overridden.err;
}
#endif

TEST_F(ProgramTest, MoreThreadsThanCpusAreToldOnce) {
  if (stilla::read_cores().max_threads() >= 64) GTEST_SKIP() << "64 threads are not too many for this machine";
  const Finished many = run_program({"run", "-m", path("speaker.gguf"), "-p", "hi", "-n", "2", "-t", "64"});
  const std::size_t first = many.err.find("64 threads on ");
  ASSERT_NE(first, std::string::npos) << many.err;
  EXPECT_EQ(many.err.find("threads on ", first + 10), std::string::npos) << many.err;
  EXPECT_FALSE(contains(run_program(speaker("run", {"-p", "hi", "-n", "2"})).err, "threads on "));
}

TEST_F(ProgramTest, HelpAndVersion) {
  const Finished nothing = run_program({});
  EXPECT_EQ(nothing.status, 2);
  EXPECT_EQ(nothing.out, "");
  EXPECT_TRUE(contains(nothing.err, "Examples:"));
  EXPECT_TRUE(contains(nothing.err, "\n   8 GB  DeepSeek-R1-Distill-Qwen-7B-Q4_K_M.gguf (4.7 GB)\n")) << nothing.err;
  const Finished help = run_program({"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_EQ(help.out, nothing.err);
  const Finished run_help = run_program({"run", "--help"});
  EXPECT_EQ(run_help.status, 0);
  EXPECT_TRUE(contains(run_help.out, "--repeat-penalty"));
  const Finished version = run_program({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_TRUE(version.out.starts_with("stilla 0.")) << version.out;
}

TEST_F(ProgramTest, LogitsAreANumpyFile) {
  std::vector<std::uint32_t> ids;
  std::string list;
  for (std::uint32_t i = 0; i < 70; ++i) list += std::to_string(i) + (i < 69 ? "," : "");
  ASSERT_EQ(run_program(speaker("logits", {"--ids", list, "-o", path("a.npy")})).status, 0);
  const std::string npy = read_file("a.npy");
  ASSERT_TRUE(npy.starts_with(std::string_view("\x93NUMPY\x01\x00", 8)));
  const std::size_t header = 10 + static_cast<unsigned char>(npy[8]) + 256u * static_cast<unsigned char>(npy[9]);
  EXPECT_EQ(header % 64, 0u);
  EXPECT_TRUE(npy.substr(10, header - 10).starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (70, 288), }"));
  EXPECT_EQ(npy[header - 1], '\n');
  ASSERT_EQ(npy.size(), header + 70 * 288 * sizeof(float));
  std::vector<float> values(70 * 288);
  std::memcpy(values.data(), npy.data() + header, values.size() * sizeof(float));
  for (std::size_t i = 0; i < 70; ++i) {
    const auto row = values.begin() + static_cast<std::ptrdiff_t>(i * 288);
    EXPECT_EQ(std::max_element(row, row + 288) - row, i == '\n' ? think_open : im_end);
  }
  // `stilla logits` writes the same bytes when it is run with another target and more threads. In this second run the ids of the
  // tokens come from standard input, in the form that `stilla tokenize` prints.
  std::replace(list.begin(), list.end(), ',', ' ');
  ASSERT_EQ(
      run_program({"logits", "-m", path("speaker.gguf"), "-t", "3", "--target", "scalar", "--kv", "f32", "--ids", "-", "-o", path("b.npy")},
                  list + "\n")
          .status,
      0);
  EXPECT_EQ(read_file("b.npy"), npy);
  for (const auto& entry : fs::directory_iterator(folder_)) EXPECT_FALSE(contains(entry.path().string(), "partial"));
}

TEST_F(ProgramTest, TokenizePrintsIdsAndAddsNone) {
  const std::string model = path("vocabulary.gguf");
  const auto ids = [&](const std::vector<std::string>& more, std::string_view input = {}) {
    std::vector<std::string> arguments{"tokenize", "-m", model};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished ended = run_program(arguments, input);
    EXPECT_EQ(ended.status, 0) << ended.err;
    return ended.out;
  };
  EXPECT_EQ(ids({"ab"}), "97 98\n");
  EXPECT_EQ(ids({"ab\n"}), "97 98 10\n");
  EXPECT_EQ(ids({"[a,b]"}), "91 97 44 98 93\n");
  EXPECT_EQ(ids({"--", "-5"}), "45 53\n");
  EXPECT_EQ(ids({""}), "\n");
  EXPECT_EQ(ids({"\xff"}), "255\n");
  EXPECT_EQ(ids({"--special", "a<|im_end|>"}), "97 257\n");
  EXPECT_EQ(ids({"a<|i"}), "97 60 124 105\n");
  EXPECT_EQ(ids({}, "ab\n"), "97 98 10\n");
  write_file("tokens.txt", std::string_view("a\0\n", 3));
  EXPECT_EQ(ids({"-f", path("tokens.txt")}), "97 0 10\n");
}

TEST_F(ProgramTest, MarkupOfAnyTypeEndsAnAnswer) {
  std::string expected;
  for (const std::int32_t type : {3, 1, 4}) {
    ASSERT_TRUE(table_model({"done"}, {{'\n', first_piece}}, true, 256, {}, type).write(path("typed.gguf")));
    const Finished ended = run_program({"run", "-m", path("typed.gguf"), "-p", "a<|im_end|>", "-n", "50", "--temp", "0"});
    EXPECT_EQ(ended.status, 0);
    EXPECT_TRUE(contains(ended.err, "generated 2 tokens")) << ended.err;
    EXPECT_EQ(contains(ended.err, "typed.gguf: token 256 '<|im_start|>' is taken for a control token"), type != 3) << ended.err;
    if (type == 3) expected = ended.out;
    EXPECT_EQ(ended.out, expected);
    EXPECT_EQ(run_program({"tokenize", "-m", path("typed.gguf"), "<|im_end|>"}).out, "60 124 105 109 95 101 110 100 124 62\n");
  }
}

TEST_F(ProgramTest, PreTokenizersAreChosenAndTold) {
  const auto file = [&](const char* pre, const char* architecture) {
    GgufBuilder builder;
    builder.string("general.architecture", architecture).string("tokenizer.ggml.model", "gpt2");
    if (pre != nullptr) builder.string("tokenizer.ggml.pre", pre);
    builder.strings("tokenizer.ggml.tokens", {"1", "2", "12", "<|im_end|>"}).strings("tokenizer.ggml.merges", {"1 2"});
    EXPECT_TRUE(builder.write(path("pre.gguf")));
    return path("pre.gguf");
  };
  Finished ended = run_program({"tokenize", "-m", file("tekken", "llama"), "12"});
  EXPECT_EQ(ended.status, 3);
  EXPECT_TRUE(contains(ended.err, "pre-tokenizer 'tekken' is not supported; choose one by name: qwen2, ") &&
              contains(ended.err, "(--pre NAME)\n"))
      << ended.err;
  EXPECT_EQ(run_program({"tokenize", "-m", path("pre.gguf"), "--pre", "qwen2", "12"}).out, "0 1\n");
  EXPECT_EQ(run_program({"tokenize", "-m", path("pre.gguf"), "--pre", "gpt-2", "12"}).out, "2\n");
  EXPECT_EQ(run_program({"tokenize", "-m", path("pre.gguf"), "--pre", "frob", "12"}).status, 2);
  ended = run_program({"tokenize", "-m", file("llama3", "llama"), "12"});
  EXPECT_EQ(ended.out, "2\n");
  EXPECT_EQ(ended.err, "stilla: " + path("pre.gguf") + ": pre-tokenizer 'llama3' is taken for 'llama-bpe'\nstilla: " + path("pre.gguf") +
                           ": no token for 254 of the 256 bytes: what needs them in a text is left out\n");
  ended = run_program({"tokenize", "-m", file(nullptr, "qwen3"), "12"});
  EXPECT_EQ(ended.out, "0 1\n");
  EXPECT_TRUE(contains(ended.err, "by its architecture and tokens the model has 'qwen2'")) << ended.err;
}

TEST_F(ProgramTest, InspectShowsKeysTensorsAndMemory) {
  const Finished model = run_program({"inspect", path("speaker.gguf")});
  EXPECT_EQ(model.status, 0);
  for (const char* part : {"general.name", "'Table'", "blk.0.attn_q.weight", "[288, 288]", "bits/weight", "context", "256"}) {
    EXPECT_TRUE(contains(model.out, part)) << part << "\n" << model.out;
  }
  const Finished vocabulary = run_program({"inspect", path("vocabulary.gguf")});
  EXPECT_EQ(vocabulary.status, 0);
  EXPECT_TRUE(contains(vocabulary.out, "no tensors"));
  GgufBuilder hostile;
  hostile.string("general.architecture", "\x1b[2J").string("a\nb", "c\rd");
  ASSERT_TRUE(hostile.floats("t\x1b]0;x\x07", {1}, {1.0f}).write(path("hostile.gguf")));
  const Finished escaped = run_program({"inspect", path("hostile.gguf")});
  EXPECT_EQ(escaped.status, 0);
  EXPECT_TRUE(std::none_of(escaped.out.begin(), escaped.out.end(), [](char c) { return c > 0 && c < 32 && c != '\n'; }));
  EXPECT_TRUE(contains(escaped.out, "a\\x0ab")) << escaped.out;
}

// If a file has tensors or keys that its architecture does not know, every command that would use them refuses the file or
// reports them.
TEST_F(ProgramTest, AFileThatHasMoreThanItsArchitecture) {
  const auto commands = [](const std::string& model) {
    return std::vector<std::vector<std::string>>{{"run", "-m", model, "-p", "hi", "-n", "1", "-t", "1"},
                                                 {"chat", "-m", model, "-n", "1", "-t", "1"},
                                                 {"logits", "-m", model, "--ids", "1", "-o", path("more.npy"), "-t", "1"},
                                                 {"bench", "-m", model, "-p", "1", "-n", "0", "-r", "1", "-t", "1"},
                                                 {"pack", "-m", model, "-o", path("more.stilla")},
                                                 {"npu", "check", model},
                                                 {"export", "--to", "onnx", "-m", model, "-o", path("more-onnx")}};
  };
  struct Refused {
    const char* name;
    const char* says;
    std::function<void(GgufBuilder&)> add;
  };
  const std::vector<float> bias(288, 1.0f);
  const Refused cases[] = {
      {"bias.gguf", "tensor 'output.bias'", [&](GgufBuilder& file) { file.floats("output.bias", {288}, bias); }},
      {"layer.gguf", "tensor 'blk.1.attn_q.bias'", [&](GgufBuilder& file) { file.floats("blk.1.attn_q.bias", {288}, bias); }},
      {"scale.gguf", "key 'qwen2.logit_scale'", [](GgufBuilder& file) { file.number<float>("qwen2.logit_scale", 0.5f); }},
      {"experts.gguf", "mixture of experts", [](GgufBuilder& file) { file.number<std::uint32_t>("qwen2.expert_count", 8); }},
  };
  for (const Refused& c : cases) {
    GgufBuilder file = table_model({}, {});
    c.add(file);
    ASSERT_TRUE(file.write(path(c.name)));
    for (const std::vector<std::string>& command : commands(path(c.name))) {
      const Finished ended = run_program(command);
      SCOPED_TRACE(command[0] + " " + c.name + ": " + ended.err);
      EXPECT_EQ(ended.status, 3);
      EXPECT_TRUE(is_message(ended.err));
      EXPECT_TRUE(contains(ended.err, c.says));
    }
    const Finished inspected = run_program({"inspect", path(c.name)});
    EXPECT_EQ(inspected.status, 0);
    EXPECT_TRUE(contains(inspected.out, "not a model that can be run: ") && contains(inspected.out, c.says)) << inspected.out;
  }

  GgufBuilder strange = table_model({}, {});
  ASSERT_TRUE(strange.number<float>("qwen2.new_thing", 0.5f).raw_data(std::string(100, 'x')).write(path("strange.gguf")));
  auto all = commands(path("strange.gguf"));
  all.back() = {"inspect", path("strange.gguf")};
  for (const std::vector<std::string>& command : all) {
    const Finished ended = run_program(command);
    SCOPED_TRACE(command[0] + ": " + ended.err);
    EXPECT_EQ(ended.status, 0);
    EXPECT_TRUE(contains(ended.err, "strange.gguf: a key that is not known here and not used: 'qwen2.new_thing'\n"));
    EXPECT_TRUE(contains(ended.err, "strange.gguf: 100 bytes from byte "));
  }

  // The vocabulary of the model `words` has more tokens than its embedding has rows. Every command refuses this model.
  ASSERT_TRUE(table_model(std::vector<std::string>(29, "x"), {}).write(path("words.gguf")));
  for (const std::vector<std::string>& command : commands(path("words.gguf"))) {
    const Finished ended = run_program(command);
    EXPECT_EQ(ended.status, 3) << command[0];
    EXPECT_TRUE(is_message(ended.err) && contains(ended.err, "found 288 rows for the 289 tokens")) << command[0] << ": " << ended.err;
  }
}

// The options --rope-*, which scale the positions, give the same logits as a file that has the corresponding keys.
TEST_F(ProgramTest, RopeFromTheCommandLine) {
  const auto logits = [](const std::string& model, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"logits", "-m", model, "-t", "1", "--ids", "5,200,17,99,3,250,41", "-o", path("rope.npy")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished ended = run_program(arguments);
    EXPECT_EQ(ended.status, 0) << ended.err;
    return read_file("rope.npy");
  };
  // Puts four keys in front of the other keys of a GGUF file. The value of the fourth key is a filler. It is so long that the four
  // keys together take a multiple of 32 bytes, which is the alignment of the tensors' data. So this data stays aligned.
  const std::string tiny = std::string(test_data) + "/tiny-qwen3.gguf";
  std::string bytes = stilla_test::read_file(tiny);
  const std::string scaling = "qwen3.rope.scaling.";
  std::string keys = GgufBuilder::raw_string(scaling + "type") + GgufBuilder::raw<std::uint32_t>(8) + GgufBuilder::raw_string("yarn") +
                     GgufBuilder::raw_string(scaling + "factor") + GgufBuilder::raw<std::uint32_t>(6) + GgufBuilder::raw(4.0f) +
                     GgufBuilder::raw_string(scaling + "original_context_length") + GgufBuilder::raw<std::uint32_t>(4) +
                     GgufBuilder::raw<std::uint32_t>(128) + GgufBuilder::raw_string("test.filler") + GgufBuilder::raw<std::uint32_t>(8);
  keys += GgufBuilder::raw_string(std::string((32 - (keys.size() + 8) % 32) % 32, 'x'));
  std::uint64_t count = 0;
  std::memcpy(&count, bytes.data() + 16, sizeof count);
  bytes.replace(16, sizeof count, GgufBuilder::raw(count + 4));
  write_file("yarn.gguf", bytes.insert(24, keys));
  const std::string plain = logits(tiny, {}), yarn = logits(path("yarn.gguf"), {});
  EXPECT_NE(plain, yarn);
  EXPECT_EQ(logits(tiny, {"--rope-scaling", "yarn", "--rope-scale", "4", "--rope-orig-ctx", "128"}), yarn);
  EXPECT_EQ(logits(path("yarn.gguf"), {"--rope-scaling", "none"}), plain);
  EXPECT_NE(logits(tiny, {"--rope-scale", "4"}), plain);
  EXPECT_NE(logits(tiny, {"--rope-freq-base", "1000"}), plain);
  EXPECT_EQ(logits(tiny, {"--rope-freq-base", "1000000"}), plain);
}

TEST_F(ProgramTest, BenchSpeaksTablesAndJson) {
  const std::vector<std::string> small{"-p", "32", "-n", "8", "-r", "2"};
  std::vector<std::string> arguments{"bench", "-m", path("speaker.gguf"), "-t", "1,2", "-o", "json"};
  arguments.insert(arguments.end(), small.begin(), small.end());
  const Finished json = run_program(arguments);
  ASSERT_EQ(json.status, 0) << json.err;
  const auto rows = nlohmann::json::parse(json.out);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0]["n_prompt"], 32);
  EXPECT_EQ(rows[0]["n_gen"], 0);
  EXPECT_EQ(rows[3]["n_prompt"], 0);
  EXPECT_EQ(rows[3]["n_gen"], 8);
  EXPECT_EQ(rows[3]["n_threads"], 2);
  for (const auto& row : rows) {
    EXPECT_GT(row["avg_ts"].get<double>(), 0.0);
    EXPECT_GE(row["stddev_ts"].get<double>(), 0.0);
    EXPECT_EQ(row["samples_ts"].size(), 2u);
    EXPECT_EQ(row["checksum"].get<std::string>().size(), 16u);
    if (row["limit_ts"].is_null()) continue;  // there is no limit for a CPU whose multiply-add instruction is not known
    EXPECT_GT(row["limit_ts"].get<double>(), 0.0);
    EXPECT_NEAR(row["limit_percent"].get<double>(), 100 * row["avg_ts"].get<double>() / row["limit_ts"].get<double>(), 1e-6);
    EXPECT_EQ(row["limit_samples_ts"].size(), 2u);
    // The limit that `stilla bench` prints is computed from how often weights are used. The model of this test has one layer. Its
    // matrices of queries, keys and values are used once for each token, because every token's key and value must be stored in the
    // cache. The other matrices of the layer and the head are used once for each row of logits.
    const double layer = 288.0 * (288 + 16 + 16), head = 288.0 * (288 + 3 * 32 + 288);
    const bool is_prompt = row["n_prompt"] == 32;
    EXPECT_EQ(row["limit_macs"].get<double>(), is_prompt ? 32 * layer + head : 8 * (layer + head));
    const double weights = 4 * (is_prompt ? layer + head : 8 * (layer + head));
    const double kv = 2.0 * 16 * 2 * (is_prompt ? 32 : 8 * 9 / 2);
    EXPECT_EQ(row["limit_bytes"].get<double>(), weights + kv);
  }
  const Finished table = run_program(speaker("bench", small));
  EXPECT_EQ(table.status, 0);
  for (const char* part : {"| model ", "| limit t/s ", "| checksum ", "| pp32 ", "| tg8 ", " ± "}) {
    std::string line = table.out;
    line.erase(std::unique(line.begin(), line.end(), [](char a, char b) { return a == ' ' && b == ' '; }), line.end());
    EXPECT_TRUE(contains(line, part)) << part << "\n" << table.out;
  }
}

TEST_F(ProgramTest, BenchReportsTheMachineAndNoPath) {
  const std::string report = path("report.json");
  const std::vector<std::string> arguments{"bench", "-m", path("speaker.gguf"), "-t",  "1", "-p", "4", "-n", "2",
                                           "-r",    "1",  "--report",           report};
  const Finished done = run_program(arguments);
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_TRUE(contains(done.out, "pp4")) << "the table is printed as well: " << done.out;
  const std::string text = read_file("report.json");
  const auto facts = nlohmann::json::parse(text);
  EXPECT_FALSE(facts["cpu"].get<std::string>().empty());
  EXPECT_GE(facts["cores"].get<int>(), 1);
  EXPECT_TRUE(std::ranges::count(facts["targets"], "scalar") == 1) << facts["targets"];
  ASSERT_EQ(facts["tests"].size(), 2u);
  EXPECT_EQ(facts["tests"][0]["checksum"].get<std::string>().size(), 16u);
  EXPECT_FALSE(contains(text, "speaker.gguf")) << "a path may name a person";
  char host[256] = "";
  ASSERT_EQ(::gethostname(host, sizeof host - 1), 0);
  std::vector<std::string> names{host};
  if (const passwd* user = ::getpwuid(::getuid())) names.emplace_back(user->pw_name);
  for (const char* variable : {"USER", "LOGNAME", "HOSTNAME", "HOME"}) {
    if (const char* found = std::getenv(variable)) names.emplace_back(found);
  }
  const nlohmann::json values = facts.flatten();  // items() refers to it, so it has to live as long as the loop
  for (const auto& [place, value] : values.items()) {
    for (const std::string& name : names) {
      if (!value.is_string() || name.size() < 2) continue;
      EXPECT_FALSE(contains(value.get<std::string>(), name)) << place << ": " << name;
    }
  }
  const Finished again = run_program(arguments);
  EXPECT_EQ(again.status, 1);
  EXPECT_TRUE(contains(again.err, "report.json: is there already")) << again.err;
  EXPECT_EQ(read_file("report.json"), text);
}

TEST_F(ProgramTest, BenchChecksumsAreTheSameEverywhere) {
  const auto checksums = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"bench", "-m", path("speaker.gguf"), "-p", "9", "-n", "9", "-r", "1", "-o", "json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished ended = run_program(arguments);
    EXPECT_EQ(ended.status, 0) << ended.err;
    std::vector<std::string> out;
    for (const auto& row : nlohmann::json::parse(ended.out)) out.push_back(row["checksum"]);
    return out;
  };
  const std::vector<std::string> best = checksums({"-t", "1"});
  ASSERT_EQ(best.size(), 2u);
  EXPECT_EQ(best[0], best[1]);  // the same tokens, evaluated as a prompt and one by one
  EXPECT_EQ(checksums({"-t", "3", "--target", "scalar", "--check", best[0]}), best);

  const Finished wrong = run_program(speaker("bench", {"-p", "9", "-n", "0", "-r", "1", "--check", "0123456789abcdef"}));
  EXPECT_EQ(wrong.status, 1);
  EXPECT_TRUE(is_message(wrong.err));
  EXPECT_TRUE(contains(wrong.err, "pp9 has " + best[0])) << wrong.err;
}

TEST_F(ProgramTest, RealModelsAnswer) {
  const char* models = std::getenv("STILLA_MODELS");
  if (models == nullptr) GTEST_SKIP() << "STILLA_MODELS names no folder";
  struct Question {
    const char* model;
    const char* prompt;
    const char* expected;
  };
  for (const Question& q : {Question{"qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "What is the capital of France?", "Paris"},
                            Question{"smollm2-135m-instruct-q4_1.gguf", "Name three animals.", "dog"}}) {
    const std::string model = (fs::path(models) / q.model).string();
    const Finished ended = run_program({"run", "-m", model, "-p", q.prompt, "--temp", "0", "-n", "24"});
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_TRUE(contains(ended.out, q.expected)) << q.model << ": " << ended.out;
  }
  const std::string head = (fs::path(models) / "r1-distill-qwen-7b-q4_k_m.head.bin").string();
  const auto begin = std::chrono::steady_clock::now();
  const Finished refused = run_program({"run", "-m", head, "-p", "hi"});
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  EXPECT_EQ(refused.status, 3);
  EXPECT_TRUE(is_message(refused.err));
  EXPECT_TRUE(contains(refused.err, "tensor 'output.weight'") && contains(refused.err, "needs 447068160 bytes"));
}

}  // namespace
