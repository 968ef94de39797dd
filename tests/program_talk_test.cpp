// SPDX-License-Identifier: Apache-2.0
//
// Tests that start `stilla run` and `stilla chat`: thoughts and answers, sampling, long texts, terminals, Ctrl-C, closed pipes,
// and the model that is embedded in the program.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "program_fixture.hpp"

namespace {

using namespace stilla_test;
using ProgramTalk = ProgramTest;

TEST_F(ProgramTalk, RunPipesThinkingBetweenTags) {
  const Finished ended = run_program(speaker("run", {"-p", "hi"}));
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, "<think>Let me see.</think>It is 5 €.\x1b[2J\n");
  EXPECT_TRUE(is_message(ended.err));
  EXPECT_TRUE(contains(ended.err, "load ") && contains(ended.err, "prompt 21 tokens") && contains(ended.err, "generated 6 tokens"));
  EXPECT_EQ(run_program(speaker("run", {"-p", "hi", "--think", "hide"})).out, "It is 5 €.\x1b[2J\n");
  EXPECT_TRUE(contains(ended.err, "; thought 3 tokens in ") && contains(ended.err, " s, answer 3 in ")) << ended.err;
}

// The chat template of the model `thinker` ends a prompt with the beginning of a thought, as R1's template does. Inside the
// thought and behind it, the model says abab... for ever.
TEST_F(ProgramTalk, AThoughtCanBeCutOrLeftOut) {
  const std::string opens = "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";
  ASSERT_TRUE(table_model({}, {{'\n', 'a'}, {'a', 'b'}, {'b', 'a'}}, true, 256, opens).write(path("thinker.gguf")));
  const auto run = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"run", "-m", path("thinker.gguf"), "-p", "hi", "--temp", "0", "-n"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  };
  const Finished open = run({"6"});
  EXPECT_EQ(open.out, "<think>\nababab\n");  // the prompt opened the thought; its tag is shown nevertheless
  EXPECT_TRUE(contains(open.err, "prompt 23 tokens") && contains(open.err, "thought 6 tokens")) << open.err;
  EXPECT_EQ(run({"6", "--think", "hide"}).out, "");

  const Finished cut = run({"70", "--think-budget", "5"});
  const std::string closing = "\n\nI have thought long enough, so here is my answer.\n</think>\n\n";
  EXPECT_TRUE(cut.out.starts_with("<think>\nababa" + closing + "abab")) << cut.out;
  EXPECT_TRUE(contains(cut.err, " s (cut), answer ")) << cut.err;
  EXPECT_EQ(run({"70", "--think-budget", "5", "--lookup", "off"}).out, cut.out);
  EXPECT_TRUE(run({"70", "--think-budget", "5", "--think", "hide"}).out.starts_with("abab"));
  const Finished limited = run({"7", "--think-budget", "5"});
  EXPECT_TRUE(contains(limited.err, "generated 5 tokens")) << "-n is a limit: the closing would be more; " << limited.err;
  EXPECT_TRUE(contains(limited.err, "the limit of -n ended the thought after 5 tokens")) << limited.err;
  const Finished full = run({"70", "--think-budget", "5", "--ctx", "40"});
  EXPECT_EQ(full.out, "<think>\nababa\n") << "no room for the closing";
  EXPECT_TRUE(contains(full.err, "the context of 40 tokens is full"));
  EXPECT_EQ(run({"70", "--think-budget", "5", "--ctx", "40", "--on-full", "shift"}).out, full.out) << "nothing to forget";

  const Finished off = run({"6", "--think", "off"});
  EXPECT_EQ(off.out, "ababab\n");
  EXPECT_TRUE(contains(off.err, "prompt 27 tokens")) << off.err;  // the prompt ends with <think>\n\n</think>\n\n
  EXPECT_FALSE(contains(off.err, "thought")) << off.err;
}

TEST_F(ProgramTalk, ALoopIsTold) {
  const Finished loop = run_program({"run", "-m", path("babbler.gguf"), "-p", "hi", "-n", "100"});
  EXPECT_TRUE(contains(loop.err, "goes round in circles: its last 64 tokens are 64 times the same 1;")) << loop.err;
  EXPECT_EQ(loop.err.find("circles"), loop.err.rfind("circles")) << "once";
  EXPECT_FALSE(contains(run_program({"run", "-m", path("babbler.gguf"), "-p", "hi", "-n", "63"}).err, "circles"));
}

// Prompts are read from files as Notepad and PowerShell write them, with their byte order marks and line ends.
TEST_F(ProgramTalk, FilesMeanWhatTheirEditorMeant) {
  const auto prompt_tokens = [](const std::vector<std::string>& how) {
    const Finished done = run_program(speaker("run", how));
    EXPECT_EQ(done.status, 0) << done.err;
    const std::size_t at = done.err.find("prompt ");
    return at == std::string::npos ? done.err : done.err.substr(at, done.err.find(" tokens", at) - at);
  };
  const std::string plain = prompt_tokens({"-p", "h\xc3\xa9\nyo"});
  const auto written = [&](std::string_view bytes) {
    write_file("windows.txt", bytes);
    return prompt_tokens({"-f", path("windows.txt")});
  };
  using namespace std::string_view_literals;
  EXPECT_EQ(written("h\xc3\xa9\r\nyo\r\n"sv), plain);
  EXPECT_EQ(written("\xef\xbb\xbfh\xc3\xa9\nyo\n"sv), plain);
  EXPECT_EQ(written("\xff\xfeh\0\xe9\0\r\0\n\0y\0o\0"sv), plain);
  EXPECT_EQ(written("\xfe\xff\0h\0\xe9\0\n\0y\0o"sv), plain);
  EXPECT_EQ(written("\xff\xfe\x3d\xd8\x00\xde"sv), prompt_tokens({"-p", "\xf0\x9f\x98\x80"})) << "a surrogate pair";
  write_file("cut16.txt", "\xff\xfeh\0i"sv);
  const Finished cut = run_program(speaker("run", {"-f", path("cut16.txt")}));
  EXPECT_EQ(cut.status, 1);
  EXPECT_TRUE(contains(cut.err, "cut16.txt: is UTF-16 with an odd number of bytes")) << cut.err;
}

TEST_F(ProgramTalk, RunTakesPromptsFromEverywhere) {
  const Finished direct = run_program(speaker("run", {"-p", "hi"}));
  write_file("hi.txt", "hi\n");
  EXPECT_EQ(run_program(speaker("run", {"-f", path("hi.txt")})).out, direct.out);
  const Finished piped = run_program(speaker("run", {}), "hi\n");
  EXPECT_EQ(piped.out, direct.out);
  EXPECT_TRUE(contains(piped.err, "prompt 21 tokens")) << "the newline at the end belongs to `echo`: " << piped.err;
  EXPECT_EQ(run_program(speaker("run", {"-p", "-"}), "hi").out, direct.out);
  const Finished odd = run_program(speaker("run", {"-p", "--[a,\xff]\xe2"}));
  EXPECT_EQ(odd.status, 0);
  EXPECT_TRUE(contains(odd.err, "prompt 27 tokens")) << odd.err;  // the text is 8 bytes and not 2
  EXPECT_TRUE(contains(run_program(speaker("run", {"-p", "hi", "--system", "be brief"})).err, "prompt 39 tokens"));
}

TEST_F(ProgramTalk, RawIsTheGeneratedBytesAndNothingElse) {
  const Finished endless = run_program(speaker("run", {"--raw", "-p", "L", "-n", "3"}));
  EXPECT_EQ(endless.out, again + again + again);
  EXPECT_TRUE(contains(endless.err, "prompt 1 tokens"));
  EXPECT_EQ(run_program(speaker("run", {"--raw", "-p", "X"})).out, "\xff");
  EXPECT_EQ(run_program(speaker("run", {"--raw", "-p", "q"})).out, "");
  EXPECT_EQ(run_program(speaker("run", {"--raw", "-p", "L", "-n", "0"})).out, "");
  // The name of a control token in the prompt is plain text, unless --special is given.
  EXPECT_TRUE(contains(run_program(speaker("run", {"--raw", "-p", "<|im_end|>"})).err, "prompt 10 tokens"));
  EXPECT_TRUE(contains(run_program(speaker("run", {"--raw", "--special", "-p", "<|im_end|>"})).err, "prompt 1 tokens"));
}

TEST_F(ProgramTalk, ASeedRepeatsAText) {
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

TEST_F(ProgramTalk, SamplingOptionsReachTheSampler) {
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
  EXPECT_NE(text({"--temp", "0", "--dry-multiplier", "50"}), six);
  EXPECT_EQ(text({"--temp", "0", "--dry-multiplier", "50", "--dry-sequence-breaker", "gain"}), six);
  EXPECT_NE(text({"--temp", "0", "--presence-penalty", "100"}), six);
  EXPECT_EQ(text({"--temp", "0", "--presence-penalty", "100", "--samplers", "temperature"}), six);
  EXPECT_EQ(text({"--temp", "100", "--top-k", "1"}), six);
  EXPECT_NE(text({"--temp", "100", "--top-k", "1", "--mirostat", "2"}), six);
}

// A draft model guesses tokens for the model, and the text stays the same. The draft model is the model's own file, the same model
// in another format, or one that cannot guess for this model.
TEST_F(ProgramTalk, ADraftModelWritesTheSameText) {
  const std::string models = std::string(test_data) + "/../../examples/models/";
  const auto text = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"run", "-m", models + "stilla-drop-f16.gguf", "-t", "1", "-p", "What is 347 + 589?"});
    return run_program(more);
  };
  for (const std::vector<std::string>& sampling :
       {std::vector<std::string>{"--temp", "0"}, {"--temp", "1.5", "--seed", "4"}, {"--temp", "1", "--top-k", "5", "--seed", "2"}}) {
    std::vector<std::string> drafted = sampling;
    drafted.insert(drafted.end(), {"--draft", models + "stilla-drop-q4_0.gguf"});
    const Finished plain = text(sampling), guessed = text(drafted);
    EXPECT_EQ(guessed.status, 0) << guessed.err;
    EXPECT_EQ(guessed.out, plain.out);
  }
  const Finished other = text({"--draft", path("speaker.gguf")});
  EXPECT_EQ(other.status, 2);
  EXPECT_TRUE(contains(other.err, "speaker.gguf: its vocabulary is not the model's")) << other.err;
  EXPECT_EQ(text({"--draft", path("cut.gguf")}).status, 3);
  EXPECT_EQ(text({"--draft", path("missing.gguf")}).status, 1);

  const Finished chat = run_program({"chat", "-m", path("speaker.gguf"), "--draft", path("speaker.gguf")}, "hi\nhi\n");
  EXPECT_EQ(chat.out, run_program({"chat", "-m", path("speaker.gguf")}, "hi\nhi\n").out);
}

// Guessing (--lookup) changes the time and nothing else. The test compares greedy and sampled texts, penalties that depend on
// earlier tokens, limits of the length, and the end of the context.
TEST_F(ProgramTalk, LookupDecodingWritesTheSameText) {
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
  EXPECT_GT(right, 0u);  // how many guesses are right depends on the clock
}

TEST_F(ProgramTalk, RunStopsWhenTheContextIsFull) {
  const Finished ended = run_program(speaker("run", {"--raw", "-p", "aL", "--ctx", "5"}));
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, again + again + again + again);  // the last token needs no position in the context
  EXPECT_TRUE(contains(ended.err, "the context of 5 tokens is full; --ctx gives up to 256")) << ended.err;
  const Finished clipped = run_program(speaker("run", {"--raw", "-p", "L", "--ctx", "1000"}));
  EXPECT_TRUE(contains(clipped.err, "--ctx 1000 is more than the 256 positions")) << clipped.err;
}

TEST_F(ProgramTalk, AReaderThatLeavesEndsItQuietly) {
  Process process({"run", "-m", path("babbler.gguf"), "-p", "hi"});  // the model says more than a pipe holds
  ASSERT_TRUE(process.wait_for(again));
  process.close_output();
  EXPECT_EQ(process.finish(), 1);
  // The reader of standard output has closed the pipe. This must not cause a message on standard error. But standard error may hold
  // one earlier line, which says that the text repeats itself.
  const bool is_one_line = process.err.find('\n') == process.err.size() - 1;
  EXPECT_TRUE(process.err.empty() || (contains(process.err, "circles") && is_one_line)) << process.err;
}

TEST_F(ProgramTalk, AFullDiskIsTold) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const std::string command = std::string(program) + " run -m " + path("speaker.gguf") + " -p hi > /dev/full 2> " + path("err.txt");
  const int status = std::system(command.c_str());
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1);
  EXPECT_TRUE(contains(read_file("err.txt"), "cannot write to standard output: No space left"));
}

TEST_F(ProgramTalk, CtrlCEndsRunInGoodOrder) {
  Process process({"run", "-m", path("babbler.gguf"), "-p", "hi"});
  ASSERT_TRUE(process.wait_for(again));
  process.interrupt();
  EXPECT_EQ(process.finish(), 130);
  EXPECT_TRUE(process.out.ends_with(again + "\n"));
  EXPECT_TRUE(contains(process.err, "generated ")) << process.err;
}

TEST_F(ProgramTalk, ATerminalShowsThinkingDimAndObeysNoModel) {
  Process process(speaker("run", {"-p", "hi"}), Process::Streams::terminal);
  EXPECT_EQ(process.finish(), 0);
  EXPECT_TRUE(contains(process.out, "\x1b[2mLet me see.\x1b[0m\r\n\r\nIt is 5 €.\xef\xbf\xbd[2J\r\n")) << process.out;
  EXPECT_FALSE(contains(process.out, "think>"));
  EXPECT_TRUE(contains(process.out, "loading"));
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream in(text);
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// In a terminal of 50 columns, no line of the program's own messages is longer, none ends within a word, and no word is lost.
TEST_F(ProgramTalk, MessagesWrapBetweenWords) {
  const std::vector<std::string> refused = {"run", "-m", path("babbler.gguf"), "-p", "hi", "--kv", "no such type of cache"};
  const Finished piped = run_program(refused);
  ASSERT_GT(piped.err.size(), 70u) << "a message that one line of the terminal holds proves nothing";
  Process process(refused, Process::Streams::terminal, program, 50);
  EXPECT_EQ(process.finish(), piped.status);
  std::istringstream lines(process.out);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    EXPECT_LE(line.size(), 50u + 1) << line;  // 50 columns and a carriage return
    EXPECT_TRUE(line.starts_with(count == 0 ? "stilla: " : "        ")) << line;
  }
  EXPECT_GT(count, 1);
  EXPECT_EQ(words_of(process.out), words_of(piped.err));
}

// The help has lines of at most 49 characters in a terminal of 50 columns, and of at most 80 in a pipe. Only a single word may be
// longer. The words are the same in both.
TEST_F(ProgramTalk, HelpWrapsBetweenWords) {
  const auto expect_narrow = [](const std::string& text, std::size_t columns) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.ends_with('\r')) line.pop_back();
      EXPECT_TRUE(line.size() <= columns || words_of(line).size() == 1) << line;
    }
  };
  const std::vector<std::string> helps[] = {
      {"--help"},         {"run", "--help"},          {"chat", "--help"},        {"bench", "--help"},
      {"pack", "--help"}, {"inspect", "--help"},      {"export", "--help"},      {"logits", "--help"},
      {"npu", "--help"},  {"npu", "check", "--help"}, {"npu", "test", "--help"}, {"tokenize", "--help"}};
  for (const std::vector<std::string>& arguments : helps) {
    const Finished piped = run_program(arguments);
    EXPECT_EQ(piped.status, 0);
    expect_narrow(piped.out, 80);
    Process process(arguments, Process::Streams::terminal, program, 50);
    EXPECT_EQ(process.finish(), 0);
    expect_narrow(process.out, 49);
    EXPECT_GT(std::count(process.out.begin(), process.out.end(), '\n'), std::count(piped.out.begin(), piped.out.end(), '\n'));
    EXPECT_EQ(words_of(process.out), words_of(piped.out));
  }
  EXPECT_TRUE(contains(run_program({"run", "--help"}).out, "\n  --temp N                    Temperature (default 0.6,")) << "two columns";
}

// A question of the program wraps between words, as its messages do. The user types the answer behind the question, in the same
// line.
TEST_F(ProgramTalk, AQuestionWrapsBetweenWords) {
  write_file("asked.txt", "mine");
  Process process(speaker("logits", {"--ids", "65", "-o", path("asked.txt")}), Process::Streams::terminal, program, 50);
  ASSERT_TRUE(process.wait_for("[y/N] ")) << process.out;
  const std::string asked = process.out.substr(process.out.find("stilla: " + path("asked.txt").substr(0, 1)));
  EXPECT_TRUE(contains(asked, "\r\n        ")) << asked;
  EXPECT_EQ(words_of(asked), words_of("stilla: " + path("asked.txt") + " exists and is not a NumPy file; replace it? [y/N] "));
  EXPECT_TRUE(asked.ends_with("[y/N] ")) << asked;
  process.write_input("n\n");
  EXPECT_EQ(process.finish(), 2);
  EXPECT_EQ(read_file("asked.txt"), "mine");
}

TEST_F(ProgramTalk, ChatReadsAPipeLineByLine) {
  const Finished ended = run_program(speaker("chat", {"-v", "--think", "hide", "--commands"}), "hi\n\n  \nthere\r\n/reset\nhi");
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, "It is 5 €.\x1b[2J\nIt is 5 €.\x1b[2J\nIt is 5 €.\x1b[2J\n");
  EXPECT_TRUE(contains(ended.err, "stilla: Table (qwen2 ")) << ended.err;
  EXPECT_FALSE(contains(ended.err, "> "));
  EXPECT_TRUE(contains(ended.err, "prompt 21 tokens")) << ended.err;
  EXPECT_EQ(run_program(speaker("chat", {"--commands"}), "/exit\nhi\n").out, "");
  EXPECT_EQ(run_program(speaker("chat", {}), "").status, 0);
  const Finished too_long = run_program(speaker("chat", {}), std::string(300, 'a') + "\nhi\n");
  EXPECT_TRUE(contains(too_long.err, "the conversation is too long: with this message it has 319 tokens")) << too_long.err;
  EXPECT_TRUE(too_long.out.starts_with("<think>"));
}

TEST_F(ProgramTalk, ChatEvaluatesOnlyWhatIsNew) {
  // The answer is one token of one byte, which is encoded again as the same token. So the second turn continues what the cache
  // holds.
  ASSERT_TRUE(table_model({}, {{'\n', 'Y'}}).write(path("yes.gguf")));
  const Finished ended = run_program({"chat", "-v", "-m", path("yes.gguf")}, "hi\nhi\n");
  EXPECT_EQ(ended.out, "Y\nY\n");
  // For the second turn, the program evaluates <|im_end|>\n <|im_start|>user\nhi<|im_end|>\n <|im_start|>assistant\n.
  EXPECT_TRUE(contains(ended.err, "prompt 21 tokens")) << ended.err;
  EXPECT_TRUE(contains(ended.err, "prompt 23 tokens")) << ended.err;
}

TEST_F(ProgramTalk, ChatDropsPastThoughts) {
  const Finished ended = run_program(speaker("chat", {"-v", "--temp", "0"}), "hi\nhi\n");
  EXPECT_TRUE(contains(ended.err, "prompt 21 tokens")) << ended.err;
  EXPECT_TRUE(contains(ended.err, "prompt 25 tokens")) << ended.err;  // the two tokens of the answer, and the 23 of a new turn
}

TEST_F(ProgramTalk, ChatSavesAndLoads) {
  ASSERT_TRUE(table_model({}, {{'\n', 'Y'}}).write(path("yes.gguf")));
  const std::string file = path("talk.session");
  const auto chat = [](const std::string& model, const std::string& input, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"chat", "-v", "--commands", "-m", path(model), "--temp", "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments, input);
  };
  const Finished saved = chat("yes.gguf", "hi\n/save " + file + "\n");
  EXPECT_TRUE(contains(saved.err, "saved 2 messages, 22 tokens: " + file)) << saved.err;
  const Finished loaded = chat("yes.gguf", "/load " + file + "\nhi\n/stats\n");
  EXPECT_EQ(loaded.out, "Y\n");
  EXPECT_TRUE(contains(loaded.err, "loaded 2 messages, 22 tokens")) << loaded.err;
  EXPECT_TRUE(contains(loaded.err, "prompt 23 tokens")) << loaded.err;  // nothing of the first turn is evaluated again
  EXPECT_TRUE(contains(loaded.err, "4 messages; 46 of 256 tokens of context")) << loaded.err;

  for (const char* option : {"--weights=q8_0", "--kv=bf16", "--activations=int8"}) {
    const Finished other = chat("yes.gguf", "/load " + file + "\nhi\n", {option});
    EXPECT_TRUE(contains(other.err, "was saved with ")) << other.err;
    EXPECT_EQ(other.out, "Y\n") << "the chat goes on";
    EXPECT_EQ(other.status, 1) << "and a script sees that the command failed";
  }
  for (const char* name : {"text.txt", "empty.txt", "nothing.session", "yes.gguf"}) {
    const Finished refused = chat("yes.gguf", "/load " + path(name) + "\nhi\n");
    EXPECT_EQ(refused.out, "Y\n") << name;
    EXPECT_TRUE(contains(refused.err, name)) << refused.err;
    EXPECT_TRUE(contains(refused.err, "prompt 21 tokens")) << refused.err;
  }
  const Finished unsaved = chat("yes.gguf", "hi\n/save " + path("no-folder/x") + "\n");
  EXPECT_TRUE(contains(unsaved.err, "cannot write"));
  EXPECT_EQ(unsaved.status, 1);
  EXPECT_TRUE(contains(chat("yes.gguf", "/save\n/load\n").err, "say /load FILE"));
}

// An answer that ends within a character, as -n may cut it, is no UTF-8. A saved conversation keeps its bytes all the same.
TEST_F(ProgramTalk, ASavedAnswerMayEndWithinACharacter) {
  const std::string model = std::string(test_data) + "/tiny-qwen2.gguf", file = path("bytes.session");
  const std::vector<std::string> chat{"chat", "--commands", "-m", model, "--temp", "0", "-n", "4", "-t", "1"};
  const std::string first = run_program(chat, "hello\n/save " + file + "\n").out;
  EXPECT_TRUE(contains(read_file(file), R"("role":"assistant","bytes":")"));
  const Finished whole = run_program(chat, "hello\nnext\n"), resumed = run_program(chat, "/load " + file + "\nnext\n");
  EXPECT_EQ(whole.out, first + resumed.out);
  EXPECT_TRUE(contains(resumed.err, "loaded 2 messages")) << resumed.err;
}

TEST_F(ProgramTalk, ChatCommands) {
  const Finished ended = run_program(speaker("chat", {"--temp", "0", "--commands"}),
                                     "/help\n/retry\nhi\n/think hide\n/retry\n/think frob\n/reset\n/stats\n/think show\nhi\n");
  EXPECT_EQ(ended.status, 0);
  const std::string thought = "<think>Let me see.</think>", answer = "It is 5 €.\x1b[2J\n";
  EXPECT_EQ(ended.out, thought + answer + answer + thought + answer);
  for (const char* part : {"/think MODE", "there is no answer to try again", "thoughts: hide", "say /think show", "new conversation",
                           "0 messages; ", "generated 12 tokens"}) {
    EXPECT_TRUE(contains(ended.err, part)) << part << "\n" << ended.err;
  }
}

TEST_F(ProgramTalk, AFullContextStopsOrShifts) {
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

  // The context gets full within an answer: the chat's second answer is so long that its end needs the positions of the first turn,
  // which is then forgotten.
  const Finished within = chat("babbler.gguf", {"--ctx", "80", "-n", "20", "--on-full", "shift"}, "hi\nhi\n");
  std::string twenty;
  for (int i = 0; i < 20; ++i) twenty += again;
  EXPECT_EQ(within.out, twenty + "\n" + twenty + "\n");
  EXPECT_TRUE(contains(within.err, "forgot the oldest turn (43 tokens)")) << within.err;
  // The chat has only one turn, so there is no older one to forget, and the program says that the context is full.
  const Finished alone = chat("babbler.gguf", {"--ctx", "40", "--on-full", "shift"}, "hi\n" + std::string(60, 'a') + "\n");
  EXPECT_TRUE(contains(alone.err, "the context of 40 tokens is full")) << alone.err;
  EXPECT_TRUE(contains(alone.err, "too long: with this message it has ")) << alone.err;
}

// What the model `babbler` says depends only on the token before. So the text shows whether the program kept all that was
// needed when it forgot a part of the context.
TEST_F(ProgramTalk, RunGoesOnBehindAFullContext) {
  const auto run = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"run", "-m", path("babbler.gguf"), "-p", "hi", "--temp", "0", "-n", "60"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  };
  const Finished whole = run({});
  const Finished shift = run({"--ctx", "40", "--on-full", "shift"});
  EXPECT_EQ(shift.status, 0);
  EXPECT_EQ(shift.out, whole.out);
  EXPECT_TRUE(contains(shift.err, "the context is full: forgot all but the prompt and the last 9 tokens")) << shift.err;
  EXPECT_TRUE(contains(shift.err, "generated 60 tokens")) << shift.err;
  EXPECT_FALSE(contains(shift.err, "stopped")) << shift.err;
  // The prompt fills a context of 21 tokens. In a context of 22 it leaves no room for a text that could be kept.
  for (const char* context : {"21", "22"}) {
    const Finished stop = run({"--ctx", context, "--on-full", "shift"});
    EXPECT_TRUE(contains(stop.err, "tokens is full") && !contains(stop.err, "forgot")) << stop.err;
  }
}

TEST_F(ProgramTalk, LinesCanBeEdited) {
  ASSERT_TRUE(table_model({}, {{'\n', 'Y'}}).write(path("yes.gguf")));
  Process process({"chat", "-m", path("yes.gguf"), "--temp", "0"}, Process::Streams::terminal);
  ASSERT_TRUE(process.wait_for("> ")) << process.out;
  process.write_input("h\xc3\xa9\x7fix\x7f\r");  // two bytes are one character, which one backspace removes
  ASSERT_TRUE(process.wait_for("prompt 21 tokens")) << process.out;
  ASSERT_TRUE(process.wait_for("> ")) << process.out;
#if STILLA_LIBEDIT
  process.write_input(
      "\x1b[A\x1b[D\x1b[D"
      "wide \xe4\xbd\xa0\xe5\xa5\xbd \r");  // recalls the last line, and inserts text in front of it
  ASSERT_TRUE(process.wait_for("prompt 35 tokens")) << process.out;  // 23 tokens as for `hi`, and 12 for the inserted bytes
  ASSERT_TRUE(process.wait_for("> ")) << process.out;
#endif
  process.write_input("a\\\rb\r");  // one message of two lines
  ASSERT_TRUE(process.wait_for("prompt 24 tokens")) << process.out;
  ASSERT_TRUE(process.wait_for("> ")) << process.out;
  process.write_input("/exit\r");
  EXPECT_EQ(process.finish(), 0) << process.out;

  // Ctrl-D also ends the chat if it is typed before the line editor controls the terminal, or directly behind a message.
  Process early({"chat", "-m", path("yes.gguf"), "--temp", "0"}, Process::Streams::terminal);
  early.write_input("\x04");
  EXPECT_EQ(early.finish(), 0) << early.out;
  Process behind({"chat", "-m", path("yes.gguf"), "--temp", "0"}, Process::Streams::terminal);
  behind.write_input("hi\r\x04");
  EXPECT_EQ(behind.finish(), 0) << behind.out;
  EXPECT_TRUE(contains(behind.out, "prompt 21 tokens")) << behind.out;
}

TEST_F(ProgramTalk, CtrlCStopsAnAnswerAndThenTheChat) {
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

// Without -m, the program runs the model that is embedded in it. This model is committed together with the program, so the test
// can expect exactly the texts that it writes.
TEST_F(ProgramTalk, WithoutAModelTheEmbeddedOneThinks) {
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

TEST_F(ProgramTalk, EachQuestionToTheEmbeddedModelStandsAlone) {
  const Finished ended = run_program({"chat", "--temp", "0", "--think", "hide"}, "Compute 48 * 7.\nWhich is larger, 812 or 821?\n");
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, "The answer is \\boxed{336}.\nThe answer is \\boxed{821}.\n");
  EXPECT_TRUE(contains(ended.err, "Stilla Drop") && contains(ended.err, "each question stands alone"));
}

TEST_F(ProgramTalk, QuestionsOutsideTheModelsWorldGetAnHonestLine) {
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
  // The file of the model `speaker` does not have the key stilla.scope, which says what a model was trained for. So the program
  // says nothing about it.
  EXPECT_FALSE(contains(run_program(speaker("run", {"-p", "hi"})).err, "trained"));
}

}  // namespace
