// SPDX-License-Identifier: Apache-2.0
//
// Tests of what the program `stilla` must not do, even if an attacker made its files and its input. It does not replace a file of
// another kind than the one that it writes. It refuses a saved session with tokens that the model's vocabulary does not have. If
// weights are damaged, its message says which tensor. No model can send commands to the terminal. A program that is ended early leaves
// no files behind.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <stilla/io/checksum.hpp>

#include "program_fixture.hpp"

namespace {

using namespace stilla_test;

class ProgramTrust : public ProgramTest {
 protected:
  // Makes a model that says Y and nothing more. Its vocabulary has 260 tokens, and its embedding and head have 288 rows.
  static void SetUpTestSuite() {
    ProgramTest::SetUpTestSuite();
    ASSERT_TRUE(table_model({}, {{'\n', 'Y'}}).write(path("yes.gguf")));
  }
  static Finished chat(const std::string& input, const std::vector<std::string>& more = {"--commands"}) {
    std::vector<std::string> arguments{"chat", "-v", "-m", path("yes.gguf"), "--temp", "0", "-t", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments, input);
  }
  static Finished logits(const std::string& out) {
    return run_program({"logits", "-m", path("yes.gguf"), "-t", "1", "--ids", "1,2", "-o", path(out)});
  }
  static unsigned mode_of(const std::string& name) {
    struct stat status{};
    return stat(path(name).c_str(), &status) == 0 ? status.st_mode & 0777u : 0u;
  }
  // Returns whether an unfinished file, which the program writes beside its output and renames at the end, was left behind for the
  // output of this name.
  static bool has_partial(const std::string& name) {
    return std::any_of(fs::directory_iterator(folder_), fs::directory_iterator(), [&](const fs::directory_entry& entry) {
      const std::string file = entry.path().filename().string();
      return file.starts_with(name + ".") && file.ends_with(".partial");
    });
  }
};

TEST_F(ProgramTrust, NothingReplacesAFileOfAnotherKind) {
  const std::string model = read_file("yes.gguf");
  for (const std::string name : {"text.txt", "yes.gguf"}) {
    const std::string before = read_file(name);
    const Finished saved = chat("hi\n/save " + path(name) + "\n");
    EXPECT_TRUE(contains(saved.err, name + ": exists and is not a saved session; it was not touched")) << saved.err;
    const Finished written = logits(name);
    EXPECT_EQ(written.status, 2);
    EXPECT_TRUE(is_message(written.err) && contains(written.err, name + ": exists and is not a NumPy file; it was not touched"))
        << written.err;
    EXPECT_EQ(read_file(name), before);
  }
  // The program replaces a file if it is empty, or if it is of the kind that the program writes there.
  write_file("empty.session", "");
  for (const char* input : {"hi\n", "hi\nhi\n"}) {
    const Finished saved = chat(input + ("/save " + path("empty.session")) + "\n");
    EXPECT_TRUE(contains(saved.err, "saved ")) << saved.err;
  }
  EXPECT_TRUE(read_file("empty.session").starts_with("stillaKV"));
  EXPECT_EQ(logits("twice.npy").status, 0);
  EXPECT_EQ(logits("twice.npy").status, 0);
}

// A program that opens a pipe for writing waits until somebody reads from it, and a signal does not end this wait. So the program
// refuses a pipe as its output file.
TEST_F(ProgramTrust, PipesAreNoOutputFiles) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  const Finished written = logits("pipe");
  EXPECT_EQ(written.status, 1);
  EXPECT_TRUE(is_message(written.err) && contains(written.err, "pipe: cannot write: it is no regular file")) << written.err;
  const Finished packed = run_program({"pack", "-m", path("yes.gguf"), "-o", path("pipe")});
  EXPECT_EQ(packed.status, 1);
  EXPECT_TRUE(is_message(packed.err) && contains(packed.err, "pipe: is a pipe or a device")) << packed.err;
  const Finished saved = chat("hi\n/save " + path("pipe") + "\n");
  EXPECT_TRUE(contains(saved.err, "pipe: cannot write: it is no regular file")) << saved.err;
  fs::remove(path("pipe"));
}

TEST_F(ProgramTrust, ATerminalIsAskedBeforeAFileIsReplaced) {
  write_file("asked.txt", "mine");
  Process chat({"chat", "-m", path("yes.gguf"), "-t", "1"}, Process::Streams::terminal);
  ASSERT_TRUE(chat.wait_for("> "));
  chat.write_input("/save " + path("asked.txt") + "\r");
  ASSERT_TRUE(chat.wait_for("replace it? [y/N] ")) << chat.out;
  chat.write_input("\r");
  ASSERT_TRUE(chat.wait_for("it was not touched")) << chat.out;
  ASSERT_TRUE(chat.wait_for("> "));
  EXPECT_EQ(read_file("asked.txt"), "mine");
  chat.write_input("/save " + path("asked.txt") + "\r");
  ASSERT_TRUE(chat.wait_for("replace it? [y/N] ")) << chat.out;
  chat.write_input("y\r");
  ASSERT_TRUE(chat.wait_for("saved 0 messages")) << chat.out;
  EXPECT_TRUE(read_file("asked.txt").starts_with("stillaKV"));
}

TEST_F(ProgramTrust, CommandsInAPipeNeedAnOption) {
  const Finished said = chat("/save " + path("piped.session") + "\n/exit\n/tmp/x is a path\n", {});
  EXPECT_EQ(said.out, "Y\nY\nY\n") << said.err;
  EXPECT_FALSE(fs::exists(path("piped.session")));
  EXPECT_TRUE(contains(said.err, "'/save' is said to the model: in a pipe commands are obeyed only with --commands")) << said.err;
  EXPECT_FALSE(contains(said.err, "'/exit' is said")) << "once";
}

TEST_F(ProgramTrust, ReplacedFilesKeepTheirModeAndLinksTheirPlace) {
  EXPECT_TRUE(contains(chat("hi\n/save " + path("mode.session") + "\n").err, "saved "));
  EXPECT_EQ(mode_of("mode.session"), 0600u) << "a new session is its owner's alone";
  for (const unsigned mode : {0640u, 0600u}) {
    ASSERT_EQ(chmod(path("mode.session").c_str(), mode), 0);
    EXPECT_TRUE(contains(chat("hi\n/save " + path("mode.session") + "\n").err, "saved "));
    EXPECT_EQ(mode_of("mode.session"), mode);
    EXPECT_EQ(logits("mode.npy").status, 0);
    ASSERT_EQ(chmod(path("mode.npy").c_str(), mode), 0);
    EXPECT_EQ(logits("mode.npy").status, 0);
    EXPECT_EQ(mode_of("mode.npy"), mode);
  }
  fs::create_directory(path("elsewhere"));
  fs::copy_file(path("mode.session"), path("elsewhere/real.session"));
  fs::create_symlink("elsewhere/real.session", path("link.session"));
  const std::string before = read_file("elsewhere/real.session");
  EXPECT_TRUE(contains(chat("hi\nhi\n/save " + path("link.session") + "\n").err, "saved "));
  EXPECT_TRUE(fs::is_symlink(path("link.session")));
  EXPECT_NE(read_file("elsewhere/real.session"), before);
  fs::create_symlink("nowhere", path("dangling.npy"));
  const Finished dangling = logits("dangling.npy");
  EXPECT_EQ(dangling.status, 1);
  EXPECT_TRUE(is_message(dangling.err) && contains(dangling.err, "dangling.npy: cannot write where this link leads")) << dangling.err;
}

// A saved session as an attacker may change it. Its checksums are correct, since anybody can compute them.
class Session {
 public:
  explicit Session(std::string bytes) : bytes_(std::move(bytes)) {}
  std::uint64_t tokens() const { return number(40); }
  std::uint64_t note_begin() const { return 72 + 4 * tokens(); }
  std::string note() const { return bytes_.substr(note_begin(), number(48)); }
  Session& set_note(std::string_view text) {
    bytes_.replace(note_begin(), number(48), text);
    return set(48, text.size());
  }
  Session& set_token(std::size_t i, std::uint32_t id) {
    std::memcpy(bytes_.data() + 72 + 4 * i, &id, sizeof id);
    return *this;
  }
  Session& fill_cache(char byte) {
    std::fill(bytes_.begin() + static_cast<std::ptrdiff_t>(note_begin() + number(48)), bytes_.end(), byte);
    return *this;
  }
  std::string sealed() {
    const auto checksum = [&](std::size_t from, std::size_t to) {
      return stilla::checksum(std::as_bytes(std::span(bytes_).subspan(from, to - from)));
    };
    set(56, checksum(72, bytes_.size()));
    set(64, checksum(0, 64));
    return bytes_;
  }

 private:
  std::uint64_t number(std::size_t at) const {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes_.data() + at, sizeof value);
    return value;
  }
  Session& set(std::size_t at, std::uint64_t value) {
    std::memcpy(bytes_.data() + at, &value, sizeof value);
    return *this;
  }
  std::string bytes_;
};

TEST_F(ProgramTrust, ForeignSessionsAreRefusedBeforeAnythingChanges) {
  ASSERT_TRUE(contains(chat("hi\n/save " + path("own.session") + "\n").err, "saved 2 messages"));
  const std::string own = read_file("own.session");
  const std::string note = Session(own).note();
  const std::string list = R"({"messages":[)";
  struct Case {
    std::string says;
    Session session;
  };
  const auto with_note = [&](const std::string& text) { return Session(own).set_note(text); };
  const std::string no_conversation = "the note in it is no conversation", unreadable = "message 1 of its conversation cannot be read";
  std::string many;
  for (int i = 0; i < 4096; ++i) many += std::string(i == 0 ? "" : ",") + R"({"ids":[],"role":"user","text":""})";
  const Case cases[] = {
      {"token id 260 is outside the vocabulary of 260 tokens", Session(own).set_token(3, 260)},
      {"token id 288 is outside the model's vocabulary of 288", Session(own).set_token(3, 288)},
      {"keys or values of tokens 0 to 21 are not numbers (NaN or infinity)", Session(own).fill_cache('\x7f')},
      {"its conversation has 4097 messages; expected at most 4096", with_note(list + many + R"(,{"ids":[],"role":"user","text":""}]})")},
      {"message 1 of its conversation: token id 257 is a control token",
       with_note(list + R"({"ids":[257],"role":"user","text":"<|im_end|>"}]})")},
      {"message 2 of its conversation: token id 4294967295 is outside",
       with_note(list + R"({"ids":[],"role":"user","text":""},{"ids":[4294967295],"role":"assistant","text":""}]})")},
      {"the note in it is empty; expected a conversation", with_note("")},
      {no_conversation + ": its JSON is not complete: it ends after 12 bytes", with_note(R"({"messages":)")},
      {no_conversation + ": key 'messages' is missing", with_note("{}")},
      {no_conversation + ": found an array; expected an object", with_note("[]")},
      {no_conversation + ": found a string; expected an object", with_note("\"\"")},
      {no_conversation + ": key 'talk' is unknown; expected 'messages'", with_note(R"({"talk":[]})")},
      {no_conversation + ": key 'messages' stands twice", with_note(R"({"messages":[],"messages":[]})")},
      {no_conversation + ": key 'messages': found null; expected an array", with_note(R"({"messages":null})")},
      {no_conversation + ": found 1 behind message 0; expected a message", with_note(list + "1]}")},
      {no_conversation, with_note(note + " ") /* fine */},
      {no_conversation + ": byte " + std::to_string(note.size()) + " of it is no JSON", with_note(note + "x")},
      {no_conversation + ": byte " + std::to_string(note.size()) + " of it is no JSON", with_note(note + std::string("\0x", 2))},
      {no_conversation + ": found an array; expected an object", with_note(std::string(100000, '['))},
      {unreadable + ": key 'text' is missing", with_note(list + R"({"ids":[1],"role":"user"}]})")},
      {unreadable + ": key 'name' is unknown; expected ids, role, and text or bytes", with_note(list + R"({"name":"a"}]})")},
      {unreadable + ": key 'role': found 'tool'; expected system, user, assistant",
       with_note(list + R"({"ids":[1],"role":"tool","text":""}]})")},
      {unreadable + ": key 'role': found a boolean; expected a string", with_note(list + R"({"ids":[1],"role":true,"text":""}]})")},
      {unreadable + ": key 'ids': id 1 is -1; expected ids of tokens", with_note(list + R"({"ids":[-1],"role":"user","text":""}]})")},
      {unreadable + ": key 'ids': id 1 is 0.1111111111",
       with_note(list + R"({"ids":[0.)" + std::string(200, '1') + R"(],"role":"user","text":""}]})")},
      {unreadable + ": key 'ids': found a string; expected an array of ids", with_note(list + R"({"ids":"1","role":"user","text":""}]})")},
      {unreadable + ": key 'ids': id 1 is 4294967296; expected ids of tokens",
       with_note(list + R"({"ids":[4294967296],"role":"user","text":""}]})")},
      {unreadable + ": keys 'text' and 'bytes' are both there; expected one of them",
       with_note(list + R"({"ids":[1],"role":"user","text":"","bytes":""}]})")},
      {unreadable + ": key 'bytes': found a character above U+00FF at byte 1",
       with_note(list + R"({"ids":[1],"role":"user","bytes":"aĀ"}]})")},
      {unreadable + ": key 'bytes': found 1; expected a string", with_note(list + R"({"ids":[1],"role":"user","bytes":1}]})")},
      {unreadable + ": key 'text' stands twice", with_note(list + R"({"ids":[1],"role":"user","text":"","text":""}]})")},
      {unreadable + ": key 'ids': id 1 is an array; expected ids of tokens",
       with_note(list + R"({"ids":[[1]],"role":"user","text":""}]})")},
      {unreadable + ": byte ", with_note(list + "{\"ids\":[1],\"role\":\"user\",\"text\":\"\xff\"}]}")},
  };
  for (const Case& c : cases) {
    Session session = c.session;
    write_file("foreign.session", session.sealed());
    const Finished ended = chat("hi\n/load " + path("foreign.session") + "\nhi\n/stats\n");
    SCOPED_TRACE(session.note().substr(0, 100) + "\n" + ended.err);
    if (session.note() == note + " ") {
      EXPECT_TRUE(contains(ended.err, "loaded 2 messages"));
      continue;
    }
    EXPECT_EQ(ended.status, 1);
    EXPECT_TRUE(contains(ended.err, "foreign.session: " + c.says));
    EXPECT_EQ(ended.out, "Y\nY\n");
    EXPECT_TRUE(contains(ended.err, "prompt 23 tokens")) << "what was computed for the first turn is still there";
    EXPECT_TRUE(contains(ended.err, "4 messages; "));
  }
}

// The keys and values in a session file may be any finite numbers. If they are so large that they make the model's logits NaN or
// infinite, the turn of the chat fails, and the next turn evaluates the whole chat again.
TEST_F(ProgramTrust, OneBadTurnEndsTheTurnAndNotTheChat) {
  ASSERT_TRUE(contains(chat("hi\n/save " + path("huge.session") + "\n", {"--commands", "--kv", "f32"}).err, "saved 2 messages"));
  write_file("huge.session", Session(read_file("huge.session")).fill_cache('\x7f').sealed());  // 0x7f7f7f7f is 3.39e38
  const Finished ended = chat("/load " + path("huge.session") + "\nhi\nhi\n/stats\n", {"--commands", "--kv", "f32"});
  EXPECT_EQ(ended.status, 1) << ended.err;
  EXPECT_TRUE(contains(
      ended.err,
      "the model's logits are not numbers, though its weights are: values of the weights, of a loaded session or of RoPE's settings are "
      "too large or too small to compute with; the turn is forgotten\n"))
      << ended.err;
  EXPECT_TRUE(contains(ended.err, "4 messages; ")) << ended.err;
  EXPECT_TRUE(ended.out.ends_with("Y\n")) << ended.out;
}

TEST_F(ProgramTrust, DamagedWeightsAreNamedByEveryCommand) {
  const auto damage = [](const std::string& from, const std::string& to) {
    std::string bytes = read_file(from);
    const std::vector<float> ones(288, 1.0f);
    const std::size_t at = bytes.find({reinterpret_cast<const char*>(ones.data()), ones.size() * sizeof(float)});
    ASSERT_NE(at, std::string::npos);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(bytes.data() + at + 20, &nan, sizeof nan);
    write_file(to, bytes);
  };
  damage("yes.gguf", "nan.gguf");
  ASSERT_EQ(run_program({"pack", "-m", path("yes.gguf"), "-t", "1"}).status, 0);
  damage("yes.stilla", "nan.stilla");
  const std::string says = "tensor 'blk.0.attn_norm.weight' at byte ", reason = ": holds weights that are not numbers";
  for (const std::string name : {"nan.gguf", "nan.stilla"}) {
    const std::string model = path(name);
    std::vector<std::vector<std::string>> commands{{"run", "-m", model, "-p", "hi"},
                                                   {"run", "-m", model, "-p", "hi", "--temp", "0"},
                                                   {"logits", "-m", model, "--ids", "1,2", "-o", path("nan.npy")},
                                                   {"bench", "-m", model, "-p", "2", "-n", "0", "-r", "1", "-o", "json"}};
    if (name == "nan.gguf") commands.push_back({"pack", "-m", model, "-o", path("none.stilla")});
    for (const std::vector<std::string>& command : commands) {
      const Finished ended = run_program(command);
      EXPECT_EQ(ended.status, 3) << command[0] << ": " << ended.err;
      EXPECT_TRUE(is_message(ended.err) && contains(ended.err, name + ": " + says) && contains(ended.err, reason))
          << command[0] << ": " << ended.err;
    }
    const Finished chat = run_program({"chat", "-m", model, "-t", "1"}, "hi\nhi\n");
    EXPECT_EQ(chat.status, 1);
    EXPECT_EQ(chat.err.find(reason) != std::string::npos, true) << chat.err;
    EXPECT_NE(chat.err.find(reason), chat.err.rfind(reason)) << "each turn says so: " << chat.err;
  }
  EXPECT_FALSE(fs::exists(path("nan.npy")) || fs::exists(path("none.stilla")));
}

TEST_F(ProgramTrust, ADraftModelThatIsDamagedIsRefused) {
  const Finished good = run_program({"run", "-m", path("yes.gguf"), "--draft", path("yes.gguf"), "-p", "hi", "-t", "1"});
  EXPECT_EQ(good.status, 0) << good.err;
  std::string bytes = read_file("yes.gguf");
  const std::vector<float> ones(288, 1.0f);
  const std::size_t at = bytes.find({reinterpret_cast<const char*>(ones.data()), ones.size() * sizeof(float)});
  ASSERT_NE(at, std::string::npos);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(bytes.data() + at + 20, &nan, sizeof nan);
  write_file("draft.gguf", bytes);
  for (const char* command : {"run", "chat"}) {
    std::vector<std::string> arguments{command, "-m", path("yes.gguf"), "--draft", path("draft.gguf"), "-t", "1"};
    if (arguments[0] == "run") arguments.insert(arguments.end(), {"-p", "hi"});
    const Finished refused = run_program(arguments, "hi\n");
    EXPECT_EQ(refused.status, 3) << refused.err;
    EXPECT_TRUE(is_message(refused.err) && contains(refused.err, "draft.gguf: tensor 'blk.0.attn_norm.weight' at byte ") &&
                contains(refused.err, ": holds weights that are not numbers"))
        << refused.err;
    EXPECT_EQ(refused.out, "");
  }
}

// One bit of a packed file is wrong, but the model can still generate text. The tensor's checksum shows the damage, and the
// program reports it before it ends.
TEST_F(ProgramTrust, APackedFileThatIsDamagedIsToldByItsChecksum) {
  ASSERT_EQ(run_program({"pack", "-m", path("yes.gguf"), "-t", "1", "-o", path("bit.stilla")}).status, 0);
  std::string bytes = read_file("bit.stilla");
  const std::vector<float> ones(288, 1.0f);
  const std::size_t at = bytes.rfind({reinterpret_cast<const char*>(ones.data()), ones.size() * sizeof(float)});
  ASSERT_NE(at, std::string::npos);
  bytes[at + 40] ^= 1;
  write_file("bit.stilla", bytes);
  const std::string model = path("bit.stilla"), says = "bit.stilla: tensor 'output_norm.weight' at byte ", reason = "; the file is damaged";
  const std::vector<std::vector<std::string>> commands{{"run", "-m", model, "-p", "hi", "-t", "1"},
                                                       {"run", "-m", path("yes.gguf"), "--draft", model, "-p", "hi", "-t", "1"},
                                                       {"logits", "-m", model, "--ids", "1,2", "-t", "1", "-o", path("bit.npy")},
                                                       {"chat", "-m", model, "-t", "1"}};
  for (std::vector<std::string> command : commands) {
    const Finished ended = run_program(command, "hi\n");
    EXPECT_EQ(ended.status, 1) << command[0] << ": " << ended.err;
    const std::size_t message = ended.err.find(says);
    ASSERT_NE(message, std::string::npos) << command[0] << ": " << ended.err;
    EXPECT_TRUE(contains(std::string_view(ended.err).substr(message), reason)) << ended.err;
    EXPECT_FALSE(fs::exists(path("bit.npy")));
    command.insert(command.end(), {"--verify", "off"});
    EXPECT_EQ(run_program(command, "hi\n").status, 0) << command[0];
    fs::remove(path("bit.npy"));
  }
  const Finished piped = run_program({"chat", "-m", model, "-t", "1"}, "hi\nhi\nhi\n");
  EXPECT_EQ(piped.status, 1);
  EXPECT_EQ(piped.err.find(reason), piped.err.rfind(reason)) << "it is said once, and the chat ends: " << piped.err;
}

TEST_F(ProgramTrust, NoModelCommandsATerminal) {
  for (const bool raw : {false, true}) {
    std::vector<std::string> arguments = speaker("run", {"-p", "\n", "--temp", "0"});
    if (raw) arguments.push_back("--raw");
    Process shown(arguments, Process::Streams::terminal);
    EXPECT_EQ(shown.finish(), 0);
    EXPECT_TRUE(contains(shown.out, "It is 5 €.\xef\xbf\xbd[2J")) << shown.out;
    EXPECT_FALSE(contains(shown.out, "\x1b[2J"));
    EXPECT_TRUE(contains(run_program(arguments).out, "\x1b[2J")) << "a pipe gets the bytes";
  }
}

TEST_F(ProgramTrust, WhatKilledRunsLeftIsRemoved) {
  const std::string outputs[] = {"left.npy", "left.stilla"};
  for (const std::string& name : outputs) {
    write_file(name + ".99999999.partial", "half of it");
    write_file(name + ".1.partial.txt", "somebody's");
    write_file(name + ".7.partial", "being written");
    const int writer = open(path(name + ".7.partial").c_str(), O_WRONLY);
    ASSERT_EQ(flock(writer, LOCK_EX), 0);
    const Finished done = name == "left.npy" ? logits(name) : run_program({"pack", "-m", path("yes.gguf"), "-o", path(name), "-t", "1"});
    EXPECT_EQ(done.status, 0) << done.err;
    EXPECT_FALSE(fs::exists(path(name + ".99999999.partial")));
    EXPECT_TRUE(fs::exists(path(name + ".7.partial"))) << "another writes it";
    EXPECT_TRUE(fs::exists(path(name + ".1.partial.txt")));
    close(writer);
  }
  fs::create_directory(path("left-export.99999999.partial"));
  write_file("left-export.99999999.partial/model.onnx", "half of it");
  const std::string drop = std::string(test_data) + "/../../examples/models/stilla-drop-q4_0.gguf";
  const Finished exported = run_program({"export", "--to", "onnx", "-m", drop, "-o", path("left-export")});
  EXPECT_EQ(exported.status, 0) << exported.err;
  EXPECT_FALSE(has_partial("left-export"));
}

TEST_F(ProgramTrust, BeingToldToEndLeavesNothingBehind) {
  std::string ids;
  for (int i = 0; i < 20000; ++i) ids += "10,";
  for (const auto& [signal, status] : {std::pair(SIGTERM, 143), std::pair(SIGHUP, 129), std::pair(SIGINT, 130)}) {
    Process writer({"logits", "-m", path("babbler.gguf"), "-t", "1", "--ids", ids + "10", "-o", path("ended.npy")});
    for (int i = 0; i < 600 && !has_partial("ended.npy"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(has_partial("ended.npy"));
    writer.signal(signal);
    EXPECT_EQ(writer.finish(), status) << writer.err;
    EXPECT_FALSE(has_partial("ended.npy"));
    EXPECT_FALSE(fs::exists(path("ended.npy")));

    Process talker({"run", "-m", path("babbler.gguf"), "-t", "1", "-p", "hi"});
    ASSERT_TRUE(talker.wait_for("again again"));
    talker.signal(signal);
    EXPECT_EQ(talker.finish(), status);
    EXPECT_TRUE(contains(talker.err, "generated ")) << talker.err;
  }
  Process chat({"chat", "-m", path("babbler.gguf"), "-t", "1"});
  chat.write_input("hi\n");
  ASSERT_TRUE(chat.wait_for("again again"));
  chat.signal(SIGTERM);
  EXPECT_EQ(chat.finish(), 143) << "it does not wait for another line";
}

TEST_F(ProgramTrust, AFileThatMayNotGrowIsAnError) {
  const std::string command = "ulimit -f 8; '" + std::string(program) + "' logits -m '" + path("yes.gguf") +
                              "' -t 1 --ids 1,2,3,4,5,6,7,8,9,10 -o '" + path("limit.npy") + "' 2> '" + path("limit.err") + "'";
  const int status = std::system(("sh -c \"" + command + "\"").c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_TRUE(is_message(read_file("limit.err")) && contains(read_file("limit.err"), "limit.npy: cannot write: File too large"))
      << read_file("limit.err");
  EXPECT_FALSE(fs::exists(path("limit.npy")) || has_partial("limit.npy"));
}

TEST_F(ProgramTrust, NumbersThatAreRefusedSayWhatIsNot) {
  struct Case {
    const char* says;
    std::vector<std::string> arguments;
  };
  const Case cases[] = {
      {"-n: found '-2'; expected a whole number from 0 to 9223372036854775807, or -1 for no limit", {"-n", "-2"}},
      {"-n: found '9223372036854775808'; expected a whole number from 0 to 9223372036854775807, or", {"-n", "9223372036854775808"}},
      {"--seed: found '18446744073709551616'; expected a whole number from 0 to 18446744073709551615", {"--seed", "18446744073709551616"}},
      {"--ctx: found '16777217'; expected a whole number from 1 to 16777216", {"--ctx", "16777217"}},
      {"--temp: found '1e3'; expected a number from 0 to 100", {"--temp", "1e3"}},
  };
  for (const Case& c : cases) {
    std::vector<std::string> arguments{"run", "-p", "hi"};
    arguments.insert(arguments.end(), c.arguments.begin(), c.arguments.end());
    const Finished refused = run_program(arguments);
    EXPECT_EQ(refused.status, 2);
    EXPECT_TRUE(is_message(refused.err) && contains(refused.err, c.says)) << refused.err;
  }
}

}  // namespace
