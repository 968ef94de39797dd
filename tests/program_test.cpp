// SPDX-License-Identifier: Apache-2.0
//
// The program `stilla` from outside: words, exit status, what goes to which stream, Ctrl-C, closed pipes, terminals.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "program_util.hpp"

namespace {

using namespace stilla_test;
namespace fs = std::filesystem;
using ::testing::TestWithParam;

const std::string again = " again";

class ProgramTest : public ::testing::Test {
 protected:
  // `speaker` answers every chat with thinking and an answer: a euro sign in two pieces and a command for a terminal.
  // After L it repeats itself for ever, after X it says a byte that is no UTF-8. `babbler` never ends a chat's answer.
  static void SetUpTestSuite() {
    signal(SIGPIPE, SIG_IGN);  // of tests that write to a program which has ended
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
  static void write_file(const std::string& name, std::string_view text) {
    std::ofstream(path(name), std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
  }
  static std::string read_file(const std::string& name) {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // `stilla COMMAND -m speaker ...` with greedy choice.
  static std::vector<std::string> speaker(const std::string& command, const std::vector<std::string>& more) {
    std::vector<std::string> out{command, "-m", path("speaker.gguf"), "-t", "1"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }

  static inline fs::path folder_;
};

// One line, with the program's name before it.
::testing::AssertionResult is_message(const std::string& text) {
  const bool one_line = std::count(text.begin(), text.end(), '\n') == 1 && text.ends_with('\n');
  if (one_line && text.starts_with("stilla: ")) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "not one line that begins with 'stilla: ': " << text;
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

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
      {2, "--samplers: sampling step 'frob' is not known; known: penalties;dry", {"run", "-m", model, "-p", "hi", "--samplers", "top_k;frob"}},
      {2, "--logit-bias: found '12'; expected a token id", {"run", "-m", model, "-p", "hi", "--logit-bias", "12"}},
      {2, "--logit-bias: found '-5+1'", {"run", "-m", model, "-p", "hi", "--logit-bias", "-5+1"}},
      {2, "--think: found 'loud'; supported: show, hide, off", {"run", "-m", model, "-p", "hi", "--think", "loud"}},
      {2, "--on-full: found 'burst'; supported: stop, shift", {"chat", "-m", model, "--on-full", "burst"}},
      {2, "--lookup: found 'maybe'; supported: on, off", {"run", "-m", model, "-p", "hi", "--lookup", "maybe"}},
      {2, "--mirostat: found '1'; supported: 0 (off), 2", {"run", "-m", model, "-p", "hi", "--mirostat", "1"}},
      {2, "--ctx: found '0'", {"run", "-m", model, "-p", "hi", "--ctx", "0"}},
      {2, "supported: f16", {"run", "-m", model, "-p", "hi", "--kv", "int9"}},
      {2, "iq4_xs, st4", {"run", "-m", model, "-p", "hi", "--weights", "q9"}},
      {2, "unknown target 'frob'", {"run", "-m", model, "-p", "hi", "--target", "frob"}},
      {2, "known: chatml", {"run", "-m", model, "-p", "hi", "--chat-template", "frob"}},
      {2,
       "the prompt is too long: it has 21 tokens, and the context holds 20",
       {"run", "-m", model, "-p", "hi", "--ctx", "20"}},
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
      {2, "xml", {"bench", "-m", model, "-o", "xml"}},
      {2, "-t: found '0'", {"bench", "-m", model, "-t", "1,0"}},
      {2, "nothing to measure", {"bench", "-m", model, "-p", "0", "-n", "0"}},
      {2, "pp512 needs 512 positions, and the context holds 256", {"bench", "-m", model}},
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

TEST_F(ProgramTest, HelpAndVersion) {
  const Finished nothing = run_program({});
  EXPECT_EQ(nothing.status, 2);
  EXPECT_EQ(nothing.out, "");
  EXPECT_TRUE(contains(nothing.err, "Examples:"));
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

TEST_F(ProgramTest, RunPipesThinkingBetweenTags) {
  const Finished ended = run_program(speaker("run", {"-p", "hi"}));
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, "<think>Let me see.</think>It is 5 €.\x1b[2J\n");
  EXPECT_TRUE(is_message(ended.err));
  EXPECT_TRUE(contains(ended.err, "load ") && contains(ended.err, "prompt 21 tokens") &&
              contains(ended.err, "generated 6 tokens"));
  EXPECT_EQ(run_program(speaker("run", {"-p", "hi", "--think", "hide"})).out, "It is 5 €.\x1b[2J\n");
  EXPECT_TRUE(contains(ended.err, "; thought 3 tokens in ") && contains(ended.err, " s, answer 3 in ")) << ended.err;
}

// `thinker`: the prompt opens a thought, as with R1; in it and behind it the model says abab... for ever.
TEST_F(ProgramTest, AThoughtCanBeCutOrLeftOut) {
  const std::string opens = "{% if add_generation_prompt %}<|im_start|>assistant\\n<think>\\n{% endif %}";
  ASSERT_TRUE(table_model({}, {{'\n', 'a'}, {'a', 'b'}, {'b', 'a'}}, true, 256, opens).write(path("thinker.gguf")));
  const auto run = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"run", "-m", path("thinker.gguf"), "-p", "hi", "--temp", "0", "-n"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  };
  const Finished open = run({"6"});
  EXPECT_EQ(open.out, "<think>\nababab\n");  // the prompt opened it: the tag is shown all the same
  EXPECT_TRUE(contains(open.err, "prompt 23 tokens") && contains(open.err, "thought 6 tokens")) << open.err;
  EXPECT_EQ(run({"6", "--think", "hide"}).out, "");

  const Finished cut = run({"70", "--think-budget", "5"});
  const std::string closing = "\n\nI have thought long enough, so here is my answer.\n</think>\n\n";
  EXPECT_TRUE(cut.out.starts_with("<think>\nababa" + closing + "abab")) << cut.out;
  EXPECT_TRUE(contains(cut.err, " s (cut), answer ")) << cut.err;
  EXPECT_EQ(run({"70", "--think-budget", "5", "--lookup", "off"}).out, cut.out);
  EXPECT_TRUE(run({"70", "--think-budget", "5", "--think", "hide"}).out.starts_with("abab"));
  const Finished full = run({"70", "--think-budget", "5", "--ctx", "40"});
  EXPECT_EQ(full.out, "<think>\nababa\n") << "no room for the closing";
  EXPECT_TRUE(contains(full.err, "the context of 40 tokens is full"));

  const Finished off = run({"6", "--think", "off"});
  EXPECT_EQ(off.out, "ababab\n");
  EXPECT_TRUE(contains(off.err, "prompt 27 tokens")) << off.err;  // <think>\n\n</think>\n\n
  EXPECT_FALSE(contains(off.err, "thought")) << off.err;
}

TEST_F(ProgramTest, ALoopIsTold) {
  const Finished loop = run_program({"run", "-m", path("babbler.gguf"), "-p", "hi", "-n", "100"});
  EXPECT_TRUE(contains(loop.err, "goes round in circles: its last 64 tokens are 64 times the same 1;")) << loop.err;
  EXPECT_EQ(loop.err.find("circles"), loop.err.rfind("circles")) << "once";
  EXPECT_FALSE(contains(run_program({"run", "-m", path("babbler.gguf"), "-p", "hi", "-n", "63"}).err, "circles"));
}

TEST_F(ProgramTest, RunTakesPromptsFromEverywhere) {
  const Finished direct = run_program(speaker("run", {"-p", "hi"}));
  write_file("hi.txt", "hi\n");
  EXPECT_EQ(run_program(speaker("run", {"-f", path("hi.txt")})).out, direct.out);
  const Finished piped = run_program(speaker("run", {}), "hi\n");
  EXPECT_EQ(piped.out, direct.out);
  EXPECT_TRUE(contains(piped.err, "prompt 21 tokens")) << "the newline at the end belongs to `echo`: " << piped.err;
  EXPECT_EQ(run_program(speaker("run", {"-p", "-"}), "hi").out, direct.out);
  const Finished odd = run_program(speaker("run", {"-p", "--[a,\xff]\xe2"}));
  EXPECT_EQ(odd.status, 0);
  EXPECT_TRUE(contains(odd.err, "prompt 27 tokens")) << odd.err;  // 8 bytes and not 2
  EXPECT_TRUE(contains(run_program(speaker("run", {"-p", "hi", "--system", "be brief"})).err, "prompt 39 tokens"));
}

TEST_F(ProgramTest, RawIsTheGeneratedBytesAndNothingElse) {
  const Finished endless = run_program(speaker("run", {"--raw", "-p", "L", "-n", "3"}));
  EXPECT_EQ(endless.out, again + again + again);
  EXPECT_TRUE(contains(endless.err, "prompt 1 tokens"));
  EXPECT_EQ(run_program(speaker("run", {"--raw", "-p", "X"})).out, "\xff");
  EXPECT_EQ(run_program(speaker("run", {"--raw", "-p", "q"})).out, "");
  EXPECT_EQ(run_program(speaker("run", {"--raw", "-p", "L", "-n", "0"})).out, "");
  // Text is text unless asked otherwise.
  EXPECT_TRUE(contains(run_program(speaker("run", {"--raw", "-p", "<|im_end|>"})).err, "prompt 10 tokens"));
  EXPECT_TRUE(contains(run_program(speaker("run", {"--raw", "--special", "-p", "<|im_end|>"})).err, "prompt 1 tokens"));
}

TEST_F(ProgramTest, ASeedRepeatsAText) {
  const std::vector<std::string> wild{"--raw", "-p", "L", "-n", "40", "--temp", "100", "--top-p", "1"};
  const auto text = [&](const std::string& seed) {
    std::vector<std::string> arguments = speaker("run", wild);
    if (!seed.empty()) arguments.insert(arguments.end(), {"--seed", seed});
    return run_program(arguments).out;
  };
  EXPECT_EQ(text("7"), text("7"));
  EXPECT_NE(text("7"), text("8"));
  EXPECT_NE(text(""), text("-1"));
  const Finished told = run_program(speaker("run", {"-p", "hi", "-v", "--seed", "18446744073709551615"}));
  EXPECT_TRUE(contains(told.err, "seed 18446744073709551615")) << told.err;
  EXPECT_TRUE(contains(told.err, "matrices of f32: kernel of ")) << told.err;
}

TEST_F(ProgramTest, SamplingOptionsReachTheSampler) {
  const auto text = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = speaker("run", {"--raw", "-p", "L", "-n", "6", "--seed", "1"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished ended = run_program(arguments);
    EXPECT_EQ(ended.status, 0) << ended.err;
    return ended.out;
  };
  const std::string six = again + again + again + again + again + again;
  EXPECT_EQ(text({"--temp", "0"}), six);
  const std::string loop = std::to_string(first_piece + 3);
  EXPECT_FALSE(contains(text({"--temp", "0", "--logit-bias", loop + "-inf"}), again));
  EXPECT_EQ(text({"--temp", "0", "-l", "65+1e5"}), "AAAAAA");
  EXPECT_EQ(text({"--temp", "0", "-l", "300+1e5"}), six) << "a padding row";
  EXPECT_NE(text({"--temp", "0", "--dry-multiplier", "50"}), six);
  EXPECT_EQ(text({"--temp", "0", "--dry-multiplier", "50", "--dry-sequence-breaker", "gain"}), six);
  EXPECT_NE(text({"--temp", "0", "--presence-penalty", "100"}), six);
  EXPECT_EQ(text({"--temp", "0", "--presence-penalty", "100", "--samplers", "temperature"}), six);
  EXPECT_EQ(text({"--temp", "100", "--top-k", "1"}), six);
  EXPECT_NE(text({"--temp", "100", "--top-k", "1", "--mirostat", "2"}), six);
}

// Guesses change the time and nothing else: greedy, sampled, with penalties that look back, at limits and the context's end.
TEST_F(ProgramTest, LookupDecodingWritesTheSameText) {
  std::size_t right = 0;
  const auto same = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"run", "-m", path("cycle.gguf"), "-t", "1", "--raw", "--lookup"});
    arguments.insert(arguments.begin() + 7, "off");
    const Finished plain = run_program(arguments);
    arguments[7] = "on";
    const Finished guessed = run_program(arguments);
    EXPECT_EQ(plain.status, 0) << plain.err;
    EXPECT_EQ(guessed.out, plain.out);
    EXPECT_FALSE(contains(plain.err, "guesses"));
    EXPECT_EQ(contains(guessed.err, "the context of"), contains(plain.err, "the context of"));
    const std::size_t at = guessed.err.find(" guesses right");
    if (at != std::string::npos) right += std::stoul(guessed.err.substr(guessed.err.rfind(", ", at) + 2));
  };
  std::map<std::uint32_t, std::uint32_t> next;
  for (std::uint32_t letter = 'a'; letter < 'k'; ++letter) next[letter] = letter + 1 == 'k' ? 'a' : letter + 1;
  ASSERT_TRUE(table_model({}, next).write(path("cycle.gguf")));
  same({"-p", "abc", "--temp", "0"});
  same({"-p", "abc", "--temp", "0", "-n", "50"});
  same({"-p", "abc", "--temp", "0", "-n", "1"});
  for (const char* limit : {"25", "26", "27", "33"}) same({"-p", "abcdefghijabc", "--temp", "0", "--ctx", limit});
  for (const char* seed : {"1", "2", "3"}) {
    same({"-p", "abc", "--temp", "3", "--top-p", "1", "--seed", seed});
    same({"-p", "abc", "--temp", "2", "--top-k", "3", "--seed", seed, "--dry-multiplier", "0.3", "--presence-penalty", "1"});
    same({"-p", "abc", "--temp", "1", "--mirostat", "2", "--mirostat-ent", "1", "--seed", seed, "-n", "100"});
  }
  EXPECT_GT(right, 0u);  // how many depends on the clock
}

TEST_F(ProgramTest, RunStopsWhenTheContextIsFull) {
  const Finished ended = run_program(speaker("run", {"--raw", "-p", "aL", "--ctx", "5"}));
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, again + again + again + again);  // the last one needs no place
  EXPECT_TRUE(contains(ended.err, "the context of 5 tokens is full; --ctx gives up to 256")) << ended.err;
  const Finished clipped = run_program(speaker("run", {"--raw", "-p", "L", "--ctx", "1000"}));
  EXPECT_TRUE(contains(clipped.err, "--ctx 1000 is more than the 256 positions")) << clipped.err;
}

TEST_F(ProgramTest, AReaderThatLeavesEndsItQuietly) {
  Process process({"run", "-m", path("speaker.gguf"), "--raw", "-p", "L"});
  ASSERT_TRUE(process.wait_for(again));
  process.close_output();
  EXPECT_EQ(process.finish(), 1);
  // Nothing but what it may have said before: that the text repeats itself.
  const bool is_one_line = process.err.find('\n') == process.err.size() - 1;
  EXPECT_TRUE(process.err.empty() || (contains(process.err, "circles") && is_one_line)) << process.err;
}

TEST_F(ProgramTest, AFullDiskIsTold) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const std::string command =
      std::string(STILLA_PROGRAM) + " run -m " + path("speaker.gguf") + " -p hi > /dev/full 2> " + path("err.txt");
  const int status = std::system(command.c_str());
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1);
  EXPECT_TRUE(contains(read_file("err.txt"), "cannot write to standard output: No space left"));
}

TEST_F(ProgramTest, CtrlCEndsRunInGoodOrder) {
  Process process({"run", "-m", path("babbler.gguf"), "-p", "hi"});
  ASSERT_TRUE(process.wait_for(again));
  process.interrupt();
  EXPECT_EQ(process.finish(), 130);
  EXPECT_TRUE(process.out.ends_with(again + "\n"));
  EXPECT_TRUE(contains(process.err, "generated ")) << process.err;
}

TEST_F(ProgramTest, ATerminalShowsThinkingDimAndObeysNoModel) {
  Process process(speaker("run", {"-p", "hi"}), Process::Streams::terminal);
  EXPECT_EQ(process.finish(), 0);
  EXPECT_TRUE(contains(process.out, "\x1b[2mLet me see.\x1b[0m\r\n\r\nIt is 5 €.\xef\xbf\xbd[2J\r\n")) << process.out;
  EXPECT_FALSE(contains(process.out, "think>"));
  EXPECT_TRUE(contains(process.out, "loading"));
}

TEST_F(ProgramTest, ChatReadsAPipeLineByLine) {
  const Finished ended = run_program(speaker("chat", {"-v", "--think", "hide"}), "hi\n\n  \nthere\r\n/reset\nhi");
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, "It is 5 €.\x1b[2J\nIt is 5 €.\x1b[2J\nIt is 5 €.\x1b[2J\n");
  EXPECT_TRUE(contains(ended.err, "stilla: Table (qwen2 ")) << ended.err;
  EXPECT_FALSE(contains(ended.err, "> "));
  EXPECT_TRUE(contains(ended.err, "prompt 21 tokens")) << ended.err;
  EXPECT_EQ(run_program(speaker("chat", {}), "/exit\nhi\n").out, "");
  EXPECT_EQ(run_program(speaker("chat", {}), "").status, 0);
  const Finished too_long = run_program(speaker("chat", {}), std::string(300, 'a') + "\nhi\n");
  EXPECT_TRUE(contains(too_long.err, "the conversation is too long: with this message it has 319 tokens"))
      << too_long.err;
  EXPECT_TRUE(too_long.out.starts_with("<think>"));
}

TEST_F(ProgramTest, ChatEvaluatesOnlyWhatIsNew) {
  // An answer of one byte token is encoded as it was generated, so the second turn continues the cache.
  ASSERT_TRUE(table_model({}, {{'\n', 'Y'}}).write(path("yes.gguf")));
  const Finished ended = run_program({"chat", "-v", "-m", path("yes.gguf")}, "hi\nhi\n");
  EXPECT_EQ(ended.out, "Y\nY\n");
  // Turn two adds <|im_end|>\n <|im_start|>user\nhi<|im_end|>\n <|im_start|>assistant\n.
  EXPECT_TRUE(contains(ended.err, "prompt 21 tokens")) << ended.err;
  EXPECT_TRUE(contains(ended.err, "prompt 23 tokens")) << ended.err;
}

TEST_F(ProgramTest, ChatDropsPastThoughts) {
  const Finished ended = run_program(speaker("chat", {"-v", "--temp", "0"}), "hi\nhi\n");
  EXPECT_TRUE(contains(ended.err, "prompt 21 tokens")) << ended.err;
  EXPECT_TRUE(contains(ended.err, "prompt 25 tokens")) << ended.err;  // the answer's two tokens and the 23 of a new turn
}

TEST_F(ProgramTest, ChatSavesAndLoads) {
  ASSERT_TRUE(table_model({}, {{'\n', 'Y'}}).write(path("yes.gguf")));
  const std::string file = path("talk.session");
  const auto chat = [](const std::string& model, const std::string& input, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"chat", "-v", "-m", path(model), "--temp", "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments, input);
  };
  const Finished saved = chat("yes.gguf", "hi\n/save " + file + "\n");
  EXPECT_TRUE(contains(saved.err, "saved 2 messages, 22 tokens: " + file)) << saved.err;
  const Finished loaded = chat("yes.gguf", "/load " + file + "\nhi\n/stats\n");
  EXPECT_EQ(loaded.out, "Y\n");
  EXPECT_TRUE(contains(loaded.err, "loaded 2 messages, 22 tokens")) << loaded.err;
  EXPECT_TRUE(contains(loaded.err, "prompt 23 tokens")) << loaded.err;  // nothing of the first turn again
  EXPECT_TRUE(contains(loaded.err, "4 messages; 46 of 256 tokens of context")) << loaded.err;

  for (const char* option : {"--weights=q8_0", "--kv=bf16", "--activations=int8"}) {
    const Finished other = chat("yes.gguf", "/load " + file + "\nhi\n", {option});
    EXPECT_TRUE(contains(other.err, "was saved with ")) << other.err;
    EXPECT_EQ(other.out, "Y\n") << "the chat goes on";
  }
  for (const char* name : {"text.txt", "empty.txt", "nothing.session", "yes.gguf"}) {
    const Finished refused = chat("yes.gguf", "/load " + path(name) + "\nhi\n");
    EXPECT_EQ(refused.out, "Y\n") << name;
    EXPECT_TRUE(contains(refused.err, name)) << refused.err;
    EXPECT_TRUE(contains(refused.err, "prompt 21 tokens")) << refused.err;
  }
  EXPECT_TRUE(contains(chat("yes.gguf", "hi\n/save " + path("no-folder/x") + "\n").err, "cannot write"));
  EXPECT_TRUE(contains(chat("yes.gguf", "/save\n/load\n").err, "say /load FILE"));
}

TEST_F(ProgramTest, ChatCommands) {
  const Finished ended = run_program(speaker("chat", {"--temp", "0"}),
                                     "/help\n/retry\nhi\n/think hide\n/retry\n/think frob\n/reset\n/stats\n/think show\nhi\n");
  EXPECT_EQ(ended.status, 0);
  const std::string thought = "<think>Let me see.</think>", answer = "It is 5 €.\x1b[2J\n";
  EXPECT_EQ(ended.out, thought + answer + answer + thought + answer);
  for (const char* part : {"/think MODE", "there is no answer to try again", "thoughts: hide", "say /think show",
                           "new conversation", "0 messages; ", "generated 12 tokens"}) {
    EXPECT_TRUE(contains(ended.err, part)) << part << "\n" << ended.err;
  }
}

TEST_F(ProgramTest, AFullContextStopsOrShifts) {
  ASSERT_TRUE(table_model({}, {{'\n', 'Y'}}).write(path("yes.gguf")));
  const auto chat = [](const std::string& model, const std::vector<std::string>& more, const std::string& input) {
    std::vector<std::string> arguments{"chat", "-v", "-m", path(model), "--temp", "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments, input);
  };
  const std::string four = "hi\nhi\nhi\nhi\n";
  const Finished stop = chat("yes.gguf", {"--ctx", "75"}, four);
  EXPECT_EQ(stop.out, "Y\nY\nY\n");
  EXPECT_TRUE(contains(stop.err, "too long: with this message it has 93 tokens, and the context holds 75")) << stop.err;
  const Finished shift = chat("yes.gguf", {"--ctx", "75", "--on-full", "shift", "--system", "s"}, four);
  EXPECT_EQ(shift.out, "Y\nY\nY\nY\n");
  EXPECT_FALSE(contains(shift.err, "too long"));
  EXPECT_TRUE(contains(shift.err, "the context is full: forgot the 2 oldest turns (48 tokens)")) << shift.err;

  // Within an answer: the second one's end needs the place of the first.
  const Finished within = chat("babbler.gguf", {"--ctx", "80", "-n", "20", "--on-full", "shift"}, "hi\nhi\n");
  std::string twenty;
  for (int i = 0; i < 20; ++i) twenty += again;
  EXPECT_EQ(within.out, twenty + "\n" + twenty + "\n");
  EXPECT_TRUE(contains(within.err, "forgot the oldest turn (43 tokens)")) << within.err;
  // One turn alone: nothing to forget.
  const Finished alone = chat("babbler.gguf", {"--ctx", "40", "--on-full", "shift"}, "hi\n" + std::string(60, 'a') + "\n");
  EXPECT_TRUE(contains(alone.err, "the context of 40 tokens is full")) << alone.err;
  EXPECT_TRUE(contains(alone.err, "too long: with this message it has ")) << alone.err;
}

TEST_F(ProgramTest, LinesCanBeEdited) {
  ASSERT_TRUE(table_model({}, {{'\n', 'Y'}}).write(path("yes.gguf")));
  Process process({"chat", "-m", path("yes.gguf"), "--temp", "0"}, Process::Streams::terminal);
  ASSERT_TRUE(process.wait_for("> ")) << process.out;
  process.write_input("h\xc3\xa9\x7fix\x7f\r");  // two bytes, one character, one backspace
  ASSERT_TRUE(process.wait_for("prompt 21 tokens")) << process.out;
  ASSERT_TRUE(process.wait_for("> ")) << process.out;
#if STILLA_LIBEDIT
  process.write_input("\x1b[A\x1b[D\x1b[D" "wide \xe4\xbd\xa0\xe5\xa5\xbd \r");  // the last line again, more before it
  ASSERT_TRUE(process.wait_for("prompt 35 tokens")) << process.out;  // 23 and 12 bytes
  ASSERT_TRUE(process.wait_for("> ")) << process.out;
#endif
  process.write_input("a\\\rb\r");  // one message of two lines
  ASSERT_TRUE(process.wait_for("prompt 24 tokens")) << process.out;
  ASSERT_TRUE(process.wait_for("> ")) << process.out;
  process.write_input("/exit\r");  // Ctrl-D would be lost if it came before the editor had the terminal
  EXPECT_EQ(process.finish(), 0) << process.out;
}

TEST_F(ProgramTest, CtrlCStopsAnAnswerAndThenTheChat) {
  for (const bool by_command : {true, false}) {
    Process process({"chat", "-m", path("babbler.gguf")}, Process::Streams::terminal);
    ASSERT_TRUE(process.wait_for("Table (qwen2")) << process.out;
    ASSERT_TRUE(process.wait_for("> ")) << process.out;
    process.write_input("hi\n");
    ASSERT_TRUE(process.wait_for(again)) << process.out;
    process.write_input("\x03");
    ASSERT_TRUE(process.wait_for("stilla: stopped")) << process.out;
    ASSERT_TRUE(process.wait_for("> ")) << process.out;
    process.write_input("/help\n");
    ASSERT_TRUE(process.wait_for("/reset")) << process.out;
    ASSERT_TRUE(process.wait_for("> ")) << process.out;
    process.write_input(by_command ? "/exit\n" : "\x03");
    EXPECT_EQ(process.finish(), by_command ? 0 : 130);
  }
}

// The model in the program, which is committed with it: these texts are its own.
TEST_F(ProgramTest, WithoutAModelTheEmbeddedOneThinks) {
  const Finished ended = run_program({"run", "--temp", "0", "-p", "What is 347 + 589?"});
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out,
            "<think>\n347+589\nOnes: 7+9=16, carry 1.\nTens: 4+8+1=13, carry 1.\nHundreds: 3+5+1=9.\nSo 936.\n</think>\n\n"
            "The answer is \\boxed{936}.\n");
  EXPECT_TRUE(contains(ended.err, "Stilla Drop") && contains(ended.err, "DeepSeek-R1-Distill-Qwen-7B-Q4_K_M.gguf (4.7 GB"));

  EXPECT_TRUE(contains(run_program({"inspect"}).out, "the embedded model: GGUF version 3"));
  EXPECT_EQ(run_program({"tokenize", "<"}).out, "27\n");
  EXPECT_EQ(run_program({"bench", "-p", "8", "-n", "2", "-r", "1"}).status, 0);
}

TEST_F(ProgramTest, EachQuestionToTheEmbeddedModelStandsAlone) {
  const Finished ended = run_program({"chat", "--temp", "0", "--think", "hide"}, "Compute 48 * 7.\nWhich is larger, 812 or 821?\n");
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, "The answer is \\boxed{336}.\nThe answer is \\boxed{821}.\n");
  EXPECT_TRUE(contains(ended.err, "Stilla Drop") && contains(ended.err, "each question stands alone"));
}

TEST_F(ProgramTest, QuestionsOutsideTheModelsWorldGetAnHonestLine) {
  const Finished no_numbers = run_program({"run", "-p", "What is the capital of France?"});
  EXPECT_EQ(no_numbers.status, 0);
  EXPECT_EQ(no_numbers.out, "");
  EXPECT_TRUE(contains(no_numbers.err, "outside what this model was trained for: arithmetic"));
  const Finished in_chat = run_program({"chat"}, "Hello!\n");
  EXPECT_EQ(in_chat.out, "");
  EXPECT_TRUE(contains(in_chat.err, "outside what this model was trained for"));
  const Finished numbers = run_program({"run", "--temp", "0", "-p", "What is the average of 20 and 40?"});
  EXPECT_FALSE(contains(numbers.out, "boxed"));
  EXPECT_TRUE(contains(numbers.err, "this model was trained only for arithmetic"));
  // A model without the key has no such limits.
  EXPECT_FALSE(contains(run_program(speaker("run", {"-p", "hi"})).err, "trained"));
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
  EXPECT_TRUE(
      npy.substr(10, header - 10).starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (70, 288), }"));
  EXPECT_EQ(npy[header - 1], '\n');
  ASSERT_EQ(npy.size(), header + 70 * 288 * sizeof(float));
  std::vector<float> values(70 * 288);
  std::memcpy(values.data(), npy.data() + header, values.size() * sizeof(float));
  for (std::size_t i = 0; i < 70; ++i) {
    const auto row = values.begin() + static_cast<std::ptrdiff_t>(i * 288);
    EXPECT_EQ(std::max_element(row, row + 288) - row, i == '\n' ? think_open : im_end);
  }
  // Another target, more threads: the same bytes. Ids from standard input, as `tokenize` prints them.
  std::replace(list.begin(), list.end(), ',', ' ');
  ASSERT_EQ(run_program({"logits", "-m", path("speaker.gguf"), "-t", "3", "--target", "scalar", "--kv", "f32", "--ids",
                         "-", "-o", path("b.npy")},
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

TEST_F(ProgramTest, InspectShowsKeysTensorsAndMemory) {
  const Finished model = run_program({"inspect", path("speaker.gguf")});
  EXPECT_EQ(model.status, 0);
  for (const char* part :
       {"general.name", "'Table'", "blk.0.attn_q.weight", "[288, 288]", "bits/weight", "context", "256"}) {
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
  EXPECT_TRUE(
      std::none_of(escaped.out.begin(), escaped.out.end(), [](char c) { return c > 0 && c < 32 && c != '\n'; }));
  EXPECT_TRUE(contains(escaped.out, "a\\x0ab")) << escaped.out;
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
    if (row["limit_ts"].is_null()) continue;  // a CPU whose multiply-add instruction is not known
    EXPECT_GT(row["limit_ts"].get<double>(), 0.0);
    EXPECT_NEAR(row["limit_percent"].get<double>(),
                100 * row["avg_ts"].get<double>() / row["limit_ts"].get<double>(), 1e-6);
    EXPECT_EQ(row["limit_samples_ts"].size(), 2u);
    // All weights but the embedding's, once per token; the head's once per logits.
    const double layer = 288.0 * (288 + 16 + 16 + 288 + 3 * 32), head = 288.0 * 288.0;
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
  EXPECT_EQ(best[0], best[1]);  // the same tokens as a prompt and one by one
  EXPECT_EQ(checksums({"-t", "3", "--target", "scalar", "--check", best[0]}), best);

  const Finished wrong = run_program(speaker("bench", {"-p", "9", "-n", "0", "-r", "1", "--check", "0123456789abcdef"}));
  EXPECT_EQ(wrong.status, 1);
  EXPECT_TRUE(is_message(wrong.err));
  EXPECT_TRUE(contains(wrong.err, "pp9 has " + best[0])) << wrong.err;
}

// A packed file stands for its model, and packing touches nothing that it should not.
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
  bytes[200] ^= 1;  // in the header
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
      {2, "is no packed file", {"pack", "-m", path("speaker.gguf"), "-o", path("babbler.gguf")}},
      {2, "is no packed file", {"pack", "-m", path("speaker.gguf"), "-o", path("text.txt")}},
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

TEST_F(ProgramTest, RealModelsAnswer) {
  const char* models = std::getenv("STILLA_MODELS");
  if (models == nullptr) GTEST_SKIP() << "STILLA_MODELS names no folder";
  struct Question {
    const char* model;
    const char* prompt;
    const char* expected;
  };
  for (const Question& q :
       {Question{"qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "What is the capital of France?", "Paris"},
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
