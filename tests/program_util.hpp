// SPDX-License-Identifier: Apache-2.0
//
// What tests of the program `stilla` share: they run it with pipes or on a terminal, and make small models that say what a test
// wants. Such a model is a table: after token `a` comes token `next[a]`. Its layers add nothing, because all their weights are 0.
// The embedding of token `a` is 1 in column `a` and 0 elsewhere, and row `next[a]` of the head is 1 in the same column.
#pragma once

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/text/byte_alphabet.hpp>

#include "gguf_builder.hpp"
#include "test_paths.hpp"

namespace stilla_test {

// The ids of tokens 256 and later in the small models. Tokens 0 to 255 are the bytes.
inline constexpr std::uint32_t im_start = 256, im_end = 257, think_open = 258, think_close = 259, first_piece = 260;

// Returns the letters with which byte-level vocabularies write these bytes.
inline std::string spelled(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    std::uint32_t letter = 0;
    while (stilla::detail::byte_of_letter[letter] != static_cast<unsigned char>(c)) ++letter;
    if (letter < 0x80) {
      out += static_cast<char>(letter);
    } else {
      out += static_cast<char>(0xc0 | letter >> 6);
      out += static_cast<char>(0x80 | (letter & 0x3f));
    }
  }
  return out;
}

inline const std::string opens_answer = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

// Builds a GGUF file of a model that is a table: it says for each token which token follows. `pieces` are the texts of the tokens from
// first_piece on. A token that is no key of `next` is followed by <|im_end|>. `markup_type` is the type that the file gives <|im_start|>
// and <|im_end|>. If it is not 3 (control), the file also names no token that ends a text.
inline GgufBuilder table_model(const std::vector<std::string>& pieces, const std::map<std::uint32_t, std::uint32_t>& next,
                               bool with_tensors = true, std::uint32_t context = 256, const std::string& template_end = opens_answer,
                               std::int32_t markup_type = 3) {
  constexpr std::uint32_t hidden = 288, heads = 18, ffn = 32;
  GgufBuilder file;
  file.string("general.architecture", "qwen2").string("general.name", "Table");
  file.number<std::uint32_t>("qwen2.block_count", 1).number<std::uint32_t>("qwen2.embedding_length", hidden);
  file.number<std::uint32_t>("qwen2.feed_forward_length", ffn).number<std::uint32_t>("qwen2.attention.head_count", heads);
  file.number<std::uint32_t>("qwen2.attention.head_count_kv", 1).number<std::uint32_t>("qwen2.context_length", context);
  file.number<float>("qwen2.attention.layer_norm_rms_epsilon", 1e-6f);
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types(256, 1);
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(spelled(std::string(1, static_cast<char>(byte))));
  for (const char* control : {"<|im_start|>", "<|im_end|>"}) tokens.push_back(control), types.push_back(markup_type);
  for (const char* user_defined : {"<think>", "</think>"}) tokens.push_back(user_defined), types.push_back(4);
  for (const std::string& piece : pieces) tokens.push_back(spelled(piece)), types.push_back(1);
  file.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "qwen2");
  file.strings("tokenizer.ggml.tokens", tokens).array("tokenizer.ggml.token_type", types);
  file.strings("tokenizer.ggml.merges", {});
  if (markup_type == 3) file.number<std::uint32_t>("tokenizer.ggml.eos_token_id", im_end);
  file.string("tokenizer.chat_template",
              "{% for m in messages %}<|im_start|>{{m.role}}\n{{m.content}}<|im_end|>\n{% endfor %}" + template_end);
  if (!with_tensors) return file;

  const auto zeros = [&](std::string_view name, std::uint32_t cols, std::uint32_t rows) {
    file.floats(name, {cols, rows}, std::vector<float>(std::size_t{cols} * rows));
  };
  const std::vector<float> ones(hidden, 1.0f);
  std::vector<float> embedding(hidden * hidden), head(hidden * hidden);
  for (std::uint32_t token = 0; token < hidden; ++token) {
    const auto found = next.find(token);
    embedding[token * hidden + token] = 1.0f;
    head[(found != next.end() ? found->second : im_end) * hidden + token] = 1.0f;
  }
  file.floats("token_embd.weight", {hidden, hidden}, embedding).floats("blk.0.attn_norm.weight", {hidden}, ones);
  zeros("blk.0.attn_q.weight", hidden, hidden);
  zeros("blk.0.attn_k.weight", hidden, hidden / heads);
  zeros("blk.0.attn_v.weight", hidden, hidden / heads);
  file.floats("blk.0.attn_q.bias", {hidden}, std::vector<float>(hidden));
  file.floats("blk.0.attn_k.bias", {hidden / heads}, std::vector<float>(hidden / heads));
  file.floats("blk.0.attn_v.bias", {hidden / heads}, std::vector<float>(hidden / heads));
  zeros("blk.0.attn_output.weight", hidden, hidden);
  file.floats("blk.0.ffn_norm.weight", {hidden}, ones);
  zeros("blk.0.ffn_gate.weight", hidden, ffn);
  zeros("blk.0.ffn_up.weight", hidden, ffn);
  zeros("blk.0.ffn_down.weight", ffn, hidden);
  file.floats("output_norm.weight", {hidden}, ones).floats("output.weight", {hidden, hidden}, head);
  return file;
}

// A running program whose output is read piece by piece.
class Process {
 public:
  enum class Streams { pipes, terminal };

  // `columns` is the width of the terminal. If it is 0, the terminal does not tell its width.
  explicit Process(const std::vector<std::string>& arguments, Streams streams = Streams::pipes, const char* path = program,
                   unsigned short columns = 0) {
    int to[2] = {-1, -1}, from[2] = {-1, -1}, errors[2] = {-1, -1};
    if (streams == Streams::terminal) {
      const winsize size{24, columns, 0, 0};
      process_ = forkpty(&out_, nullptr, nullptr, &size);
      in_ = out_;
    } else {
      if (pipe(to) != 0 || pipe(from) != 0 || pipe(errors) != 0) return;
      process_ = fork();
    }
    if (process_ == 0) {
      if (streams == Streams::pipes) {
        dup2(to[0], 0), dup2(from[1], 1), dup2(errors[1], 2);
        for (const int fd : {to[0], to[1], from[0], from[1], errors[0], errors[1]}) close(fd);
      } else {
        setenv("TERM", "xterm", 1);
        unsetenv("NO_COLOR");
      }
      std::vector<char*> argv{const_cast<char*>(path)};
      for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
      argv.push_back(nullptr);
      execv(path, argv.data());
      _exit(127);
    }
    if (streams == Streams::pipes) {
      close(to[0]), close(from[1]), close(errors[1]);
      in_ = to[1], out_ = from[0], err_ = errors[0];
    }
  }
  ~Process() {
    if (!waited_ && process_ > 0) kill(process_, SIGKILL), wait();
    close_input();
    close_output();
    if (err_ >= 0) close(err_);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void write_input(std::string_view text) {
    while (!text.empty()) {
      const ssize_t count = ::write(in_, text.data(), text.size());
      if (count <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(count));
    }
  }
  void close_input() {
    if (in_ >= 0 && in_ != out_) close(in_);
    in_ = -1;
  }
  void close_output() {
    if (out_ >= 0) close(out_);
    out_ = -1;
  }
  void interrupt() { signal(SIGINT); }
  void signal(int number) { kill(process_, number); }

  // Reads until standard output holds `text` (on a terminal, standard output and standard error are one). Returns false if the
  // program ends or stalls before.
  bool wait_for(std::string_view text) {
    while (out.find(text, seen_) == std::string::npos) {
      if (!read_some()) return false;
    }
    seen_ = out.find(text, seen_) + text.size();
    return true;
  }

  // Reads the rest of the program's output and returns the exit status, or -1 if a signal killed the program.
  int finish() {
    if (in_ != out_) close_input();
    while (read_some()) {
    }
    return wait();
  }

  std::string out;
  std::string err;

 private:
  static constexpr int patience_ms = 60000;

  // Waits for a piece of standard output or standard error. Returns false when both are closed or nothing came in time.
  bool read_some() {
    pollfd streams[2] = {{out_open_ ? out_ : -1, POLLIN, 0}, {err_open_ ? err_ : -1, POLLIN, 0}};
    if (streams[0].fd < 0 && streams[1].fd < 0) return false;
    if (poll(streams, 2, patience_ms) <= 0) return false;
    char buffer[4096];
    for (int i = 0; i < 2; ++i) {
      if (streams[i].fd < 0 || streams[i].revents == 0) continue;
      const ssize_t count = read(streams[i].fd, buffer, sizeof buffer);
      if (count > 0) (i == 0 ? out : err).append(buffer, static_cast<std::size_t>(count));
      if (count <= 0) (i == 0 ? out_open_ : err_open_) = false;  // reading a terminal that was closed is an error
    }
    return true;
  }

  int wait() {
    int status = 0;
    waitpid(process_, &status, 0);
    waited_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  pid_t process_ = -1;
  int in_ = -1, out_ = -1, err_ = -1;
  bool out_open_ = true, err_open_ = true, waited_ = false;
  std::size_t seen_ = 0;
};

struct Finished {
  int status = -1;
  std::string out;
  std::string err;
};

// Runs the program to its end with `input` as standard input.
inline Finished run_program(const std::vector<std::string>& arguments, std::string_view input = {}) {
  Process process(arguments);
  process.write_input(input);
  const int status = process.finish();
  return {status, process.out, process.err};
}

}  // namespace stilla_test
