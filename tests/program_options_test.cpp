// SPDX-License-Identifier: Apache-2.0
//
// Tests that start the program `stilla`: options that it does not know, and options that limit what a model says.
#include <cstdint>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "program_fixture.hpp"

namespace {

using namespace stilla_test;

class ProgramOptions : public ProgramTest {
 protected:
  // Makes a model that says "one", " two", " three", " four" and ends.
  static void SetUpTestSuite() {
    ProgramTest::SetUpTestSuite();
    const std::vector<std::string> words{"one", " two", " thr", "ee", " four"};
    std::map<std::uint32_t, std::uint32_t> next{{'\n', first_piece}};
    for (std::uint32_t i = 0; i + 1 < words.size(); ++i) next[first_piece + i] = first_piece + i + 1;
    ASSERT_TRUE(table_model(words, next).write(path("counter.gguf")));
  }
  static Finished count(const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"run", "-m", path("counter.gguf"), "-t", "1", "-p", "go", "--temp", "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }
};

TEST_F(ProgramOptions, UnknownOptionsNameThemselves) {
  const std::string model = path("speaker.gguf");
  struct Case {
    const char* says;
    std::vector<std::string> arguments;
  };
  const Case cases[] = {
      {"unknown option '-ngl': the layers run on this CPU", {"run", "-m", model, "-p", "hi", "-ngl", "0"}},
      {"(stilla bench --help)", {"bench", "-m", model, "-ngl", "99"}},
      {"unknown option '-fa': ", {"chat", "-m", model, "-fa"}},
      {"unknown option '-fa': ", {"chat", "-m", model, "-fa", "on"}},
      {"unknown option '--ctx-size': here it is -c or --ctx", {"run", "--ctx-size", "100", "-p", "hi"}},
      {"unknown option '--n-predict': here it is -n", {"run", "--n-predict=5", "-p", "hi"}},
      {"unknown option '-r': --stop TEXT", {"run", "-r", "User:", "-p", "hi"}},
      {"unknown option '--tmep'; did you mean --temp?", {"run", "--tmep", "1"}},
      {"unknown option '-predict'; did you mean --predict?", {"run", "-predict", "5"}},
      {"unknown option '--ids'; it is one of `stilla logits`", {"run", "--ids", "1"}},
      {"unknown option '--jsno'; did you mean --json? (stilla npu check --help)", {"npu", "check", "--jsno"}},
      {"unknown option '-pHello'; the value of -p stands apart from it: -p Hello", {"run", "-pHello"}},
      {"unknown option '-5'; a text that begins with - goes behind --", {"tokenize", "-5"}},
      {"unknown option '--\\x1b[2J' (stilla run --help)", {"run", "--\x1b[2J"}},
      {"unknown option '-zz' (stilla --help)", {"-zz", "run"}},
  };
  for (const Case& c : cases) {
    const Finished ended = run_program(c.arguments);
    EXPECT_EQ(ended.status, 2) << c.says;
    EXPECT_TRUE(is_message(ended.err) && contains(ended.err, c.says)) << ended.err << "expected: " << c.says;
    EXPECT_EQ(ended.out, "");
  }
  // What stands behind an option that takes a value is this value, even if it looks like an option.
  EXPECT_EQ(run_program({"tokenize", "-m", model, "--", "-ngl"}).out, "45 110 103 108\n");
  EXPECT_EQ(run_program(speaker("run", {"-p", "-ngl", "-n", "1"})).status, 0);
  EXPECT_EQ(run_program({"logits", "-m", model, "--ids", "-", "-o", path("one.npy")}, "1").status, 0);
  // A number may stand directly behind its option's letter, and if an option is given twice, its last value counts.
  EXPECT_TRUE(contains(count({"-n5", "-n2"}).err, "generated 2 tokens"));
}

TEST_F(ProgramOptions, StopTextsEndAnAnswerAndAreNotShown) {
  struct Case {
    std::vector<std::string> stops;
    const char* shown;
    const char* told;  // what the statistics tell; empty if the answer ended by itself
  };
  const Case cases[] = {
      {{" two"}, "one\n", "generated 2 tokens"},
      {{"e t"}, "on\n", "; ended before 'e t'\n"},  // the stop text spans two tokens
      {{"two three"}, "one \n", "; ended before 'two three'"},  // the stop text spans three tokens
      {{"one"}, "", "ended before 'one'"},
      {{"three!"}, "one two three four\n", ""},  // " three" is held back, and shown when another text follows
      {{"four!"}, "one two three four\n", ""},  // " four" is held back at the end
      {{"reef", "ree "}, "one two th\n", "ended before 'ree '"},
      {{"three", "two"}, "one \n", "ended before 'two'"},
      {{"wo t", " two thr"}, "one t\n", "ended before 'wo t'"},
      {{"[END]"}, "one two three four\n", ""},
  };
  for (const Case& c : cases) {
    std::vector<std::string> arguments;
    for (const std::string& stop : c.stops) arguments.insert(arguments.end(), {"--stop", stop});
    for (const char* lookup : {"on", "off"}) {
      arguments.insert(arguments.end(), {"--lookup", lookup});
      const Finished ended = count(arguments);
      SCOPED_TRACE(c.stops[0] + ": " + ended.err);
      EXPECT_EQ(ended.status, 0);
      EXPECT_EQ(ended.out, c.shown);
      EXPECT_EQ(contains(ended.err, "ended before"), *c.told != '\0');
      EXPECT_TRUE(contains(ended.err, c.told));
    }
  }
  const Finished empty = count({"--stop", ""});
  EXPECT_EQ(empty.status, 2);
  EXPECT_TRUE(is_message(empty.err) && contains(empty.err, "--stop: found ''")) << empty.err;
}

// A stop text in brackets is taken as one text, although CLI11, which reads the options, takes brackets for a list.
TEST_F(ProgramOptions, AStopTextMayHaveBrackets) {
  ASSERT_TRUE(table_model({"a[EN", "D]b"}, {{'\n', first_piece}, {first_piece, first_piece + 1}}).write(path("brackets.gguf")));
  const Finished ended = run_program({"run", "-m", path("brackets.gguf"), "-p", "go", "--temp", "0", "--stop", "[END]"});
  EXPECT_EQ(ended.out, "a\n") << ended.err;
  const Finished inner = run_program({"run", "-m", path("brackets.gguf"), "-p", "go", "--temp", "0", "--stop", "[N]"});
  EXPECT_EQ(inner.out, "a[END]b\n") << inner.err;
}

TEST_F(ProgramOptions, StopTextsInThoughtsRawTextAndTurns) {
  const Finished thought = run_program(speaker("run", {"-p", "hi", "--temp", "0", "--stop", "me see"}));
  EXPECT_EQ(thought.out, "<think>Let \n") << thought.err;
  // The tags <think> and </think> are part of the text in which stop texts are searched. The stop text of this test begins with
  // </think>, but the model's text goes on differently, so the tag is held back for a while. This does not change how many
  // tokens are counted as thought.
  const Finished tag = run_program(speaker("run", {"-p", "hi", "--temp", "0", "--stop", "</think>It was"}));
  EXPECT_EQ(tag.out, run_program(speaker("run", {"-p", "hi", "--temp", "0"})).out);
  EXPECT_TRUE(contains(tag.err, "thought 3 tokens")) << tag.err;
  const Finished raw = run_program({"run", "-m", path("babbler.gguf"), "--raw", "-p", "\n", "--temp", "0", "--stop", "again again"});
  EXPECT_EQ(raw.out, " ") << raw.err;
  // The next turn of a chat contains the answer as far as it was shown, and nothing behind the stop text.
  write_file("roles.jinja", "{% for m in messages %}{{ m.content }}|{% endfor %}{{ '\\n' }}");
  const std::vector<std::string> chat{
      "chat", "-m", path("counter.gguf"), "-t", "1", "-v", "--commands", "--temp", "0", "--chat-template", path("roles.jinja")};
  std::vector<std::string> stopped = chat;
  stopped.insert(stopped.end(), {"--stop", "wo"});
  const Finished turns = run_program(stopped, "a\nb\n/save " + path("stopped.session") + "\n");
  EXPECT_EQ(turns.out, "one t\none t\n") << turns.err;
  const Finished whole =
      run_program({"chat", "-m", path("counter.gguf"), "-t", "1", "-v", "--temp", "0", "--chat-template", path("roles.jinja")}, "a\nb\n");
  EXPECT_EQ(whole.out, "one two three four\none two three four\n") << whole.err;
  EXPECT_TRUE(contains(turns.err, "ended before 'wo'")) << turns.err;
  EXPECT_TRUE(contains(read_file("stopped.session"), R"("text":"one t")")) << turns.err;
}

TEST_F(ProgramOptions, RawPromptsBeginWithBosOnRequest) {
  const auto model = [](const char* name, bool has_bos, bool adds) {
    GgufBuilder file = table_model({}, {});
    if (has_bos) file.number<std::uint32_t>("tokenizer.ggml.bos_token_id", im_start);
    if (has_bos) file.boolean("tokenizer.ggml.add_bos_token", adds);
    EXPECT_TRUE(file.write(path(name)));
    return path(name);
  };
  const auto prompt_tokens = [](const std::string& name, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"run", "-m", name, "-t", "1", "--raw", "-n", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished ended = run_program(arguments);
    EXPECT_EQ(ended.status, 0) << ended.err;
    const std::size_t at = ended.err.find("; prompt ");
    const std::string notice =
        contains(ended.err, "this model's texts begin with '<|im_start|>', and this prompt does not: --bos") ? "!" : "";
    return ended.err.substr(at + 9, ended.err.find(" tokens", at) - at - 9) + notice;
  };
  const std::string without = model("no-bos.gguf", false, false), has = model("bos.gguf", true, false),
                    adds = model("adds-bos.gguf", true, true);
  EXPECT_EQ(prompt_tokens(has, {"-p", "ab"}), "2");
  EXPECT_EQ(prompt_tokens(adds, {"-p", "ab"}), "2!");
  // With --bos, <|im_start|> stands in front of the prompt exactly once. It is not doubled if the vocabulary says that it should
  // be added, or if the text already begins with it.
  for (const std::string& name : {has, adds}) {
    EXPECT_EQ(prompt_tokens(name, {"--bos", "-p", "ab"}), "3");
    EXPECT_EQ(prompt_tokens(name, {"--bos", "--special", "-p", "<|im_start|>ab"}), "3");
    EXPECT_EQ(prompt_tokens(name, {"--bos", "-p", ""}), "1");
    EXPECT_EQ(prompt_tokens(name, {"--special", "-p", "<|im_start|>ab"}), "3");
    EXPECT_EQ(run_program({"tokenize", "-m", name, "--bos", "ab"}).out, "256 97 98\n");
    EXPECT_EQ(run_program({"tokenize", "-m", name, "ab"}).out, "97 98\n");
  }
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"run", "-m", without, "--raw", "--bos", "-p", "ab"}, {"tokenize", "-m", without, "--bos", "ab"}}) {
    const Finished refused = run_program(arguments);
    EXPECT_EQ(refused.status, 2);
    EXPECT_TRUE(is_message(refused.err) && contains(refused.err, "--bos: this ")) << refused.err;
  }
  EXPECT_EQ(run_program({"run", "-m", has, "--bos", "-p", "ab"}).status, 2) << "a template writes its own";
}

TEST_F(ProgramOptions, ABiasForATokenThatDoesNotExistIsAnError) {
  for (const char* command : {"run", "chat"}) {
    for (const char* bias : {"264+1", "264-inf", "4294967295-2"}) {
      const Finished refused = run_program({command, "-m", path("speaker.gguf"), "-l", bias}, "hi\n");
      EXPECT_EQ(refused.status, 2) << bias;
      const std::string id(bias, std::string_view(bias).find_first_of("+-"));
      EXPECT_TRUE(is_message(refused.err) &&
                  contains(refused.err, "--logit-bias: token id " + id + " is outside the vocabulary of 264 tokens"))
          << refused.err;
    }
  }
  EXPECT_EQ(run_program(speaker("run", {"-p", "hi", "-n", "2", "-l", "263+1"})).status, 0);
}

// If a command would refuse a file, `inspect` reports the reason beside what it shows of the file.
TEST_F(ProgramOptions, InspectSaysWhyAFileCannotRun) {
  struct Case {
    const char* says;
    GgufBuilder file;
  };
  Case cases[] = {
      {"not a model that can be run: ", table_model({}, {}, false)},
      {"not a model that can be run with text: ", table_model({}, {})},
      {"not a model to chat with: ", table_model({}, {}, true, 256, "{% include 'x' %}")},
  };
  cases[0].file.floats("token_embd.weight", {288, 288}, std::vector<float>(288 * 288, 1.0f));
  const std::string missing = path("missing.gguf"), words = path("words.gguf"), include = path("include.gguf");
  ASSERT_TRUE(cases[0].file.write(missing));
  ASSERT_TRUE(cases[2].file.write(include));
  std::vector<std::byte> bytes = cases[1].file.build();
  std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  text.replace(text.find("tokenizer.ggml.pre") + 18 + 4 + 8, 5, "wrong");  // replaces the pre-tokenizer's name
  write_file("words.gguf", text);
  const std::pair<std::string, std::string> expected[] = {
      {missing, "tensor 'blk.0.attn_norm.weight' is missing"},
      {words, "pre-tokenizer 'wrong' is not supported; choose one by name: "},
      {include, "the statement 'include' is not supported"},
  };
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    const auto& [name, reason] = expected[i];
    const Finished shown = run_program({"inspect", name});
    EXPECT_EQ(shown.status, 0) << shown.err;
    EXPECT_TRUE(contains(shown.out, "\n" + std::string(cases[i].says)) && contains(shown.out, reason)) << shown.out;
    EXPECT_TRUE(contains(shown.out, "token_embd.weight")) << "what it has is shown nevertheless";
    const Finished run = run_program({"run", "-m", name, "-p", "hi"});
    EXPECT_EQ(run.status, 3);
    EXPECT_TRUE(contains(run.err, reason)) << run.err;
  }
  EXPECT_FALSE(contains(run_program({"inspect", path("speaker.gguf")}).out, "not a model"));
  // When `pack` gets a file with a missing tensor, it finds this before it packs anything.
  EXPECT_EQ(run_program({"pack", "-m", missing}).status, 3);
  EXPECT_FALSE(fs::exists(path("missing.stilla")));
}

}  // namespace
