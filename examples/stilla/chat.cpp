// SPDX-License-Identifier: Apache-2.0
//
// stilla chat: a conversation. Each turn renders the whole conversation with the model's template and evaluates only
// what the cache does not hold yet: the new message, and for R1 the last answer without its thinking, which the
// template drops.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "answer_printer.hpp"
#include "commands.hpp"
#include "generate.hpp"
#include "loading.hpp"
#include "options.hpp"
#include "output.hpp"
#include "platform.hpp"

namespace program {
namespace {

struct ChatOptions {
  ModelOptions model;
  TextOptions text;
};

constexpr std::string_view help_text =
    "/help   this list\n"
    "/reset  forget the conversation and begin a new one\n"
    "/exit   leave (so does the end of input, Ctrl-D)\n"
    "Ctrl-C  stops an answer; at the prompt it leaves\n";

// The model that scripts/fetch_models.sh brings; ends the program with advice if it is not there.
std::string default_model() {
  const char* models = std::getenv("STILLA_MODELS");
  const char* home = std::getenv("HOME");
  const std::filesystem::path folder =
      models != nullptr && *models != '\0'
          ? std::filesystem::path(models)
          : std::filesystem::path(home != nullptr ? home : ".") / ".cache/stilla-models";
  const std::string path = (folder / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf").string();
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) return path;

  // Q4_K_M files as published, and the memory they need with a context of a few thousand tokens.
  struct Advice {
    std::string_view name;
    double file_gb;
    double memory_gb;
  };
  constexpr Advice advice[] = {{"1.5B", 1.12, 3}, {"7B", 4.68, 8}, {"14B", 8.99, 14}};
  const double memory_gb = static_cast<double>(physical_memory_bytes()) / 1e9;
  std::string fitting;
  for (const Advice& a : advice) {
    if (memory_gb != 0 && a.memory_gb > memory_gb) continue;
    fitting += fmt::format("{}DeepSeek-R1-Distill-Qwen-{}-Q4_K_M.gguf ({:.2f} GB)", fitting.empty() ? "" : ", ", a.name,
                           a.file_gb);
  }
  fail(exit_usage,
       fmt::format("no model: {} is not there. Run scripts/fetch_models.sh to get it, or name a GGUF file with "
                   "-m{}{}",
                   stilla::printable_path(path), fitting.empty() ? "" : "; these fit this machine: ", fitting));
}

class Chat {
 public:
  explicit Chat(const ChatOptions& options)
      : options_(options),
        model_(open_model(options.model)),
        template_(chat_template_of(model_.file, options.text)),
        type_(model_type_text(model_.file, model_.facts)),
        file_bytes_(static_cast<double>(model_.file.file().bytes().size())),
        engine_(load_engine(model_, options.model)),
        sampling_(sampling_options(options.text.sampling, model_.tokenizer)),
        generator_(engine_, model_.tokenizer, sampling_, options.text.use_lookup) {
    reset();
  }

  int run() {
    introduce();
    std::string line;
    while (true) {
      if (stdin_is_terminal()) show_prompt();
      if (!std::getline(std::cin, line)) break;
      if (line.ends_with('\r')) line.pop_back();
      if (line.find_first_not_of(" \t") == std::string::npos) continue;
      if (line == "/exit" || line == "/quit") return 0;
      if (line == "/help") {
        std::fputs(std::string(help_text).c_str(), stderr);
      } else if (line == "/reset") {
        reset();
        message("new conversation");
      } else if (line[0] == '/' && line.find_first_of(" /", 1) == std::string::npos && stdin_is_terminal()) {
        message(fmt::format("no such command: {} (/help lists them)", stilla::printable(line)));
      } else {
        answer(line);
      }
    }
    if (stdin_is_terminal()) std::fputs("\n", stderr);
    return 0;
  }

 private:
  void introduce() const {
    const std::string name = model_.facts.name.empty() ? "a model without a name" : model_.facts.name;
    message(fmt::format("{} ({}, {}), target {}, {} thread{}, context {}", name, type_, bytes_text(file_bytes_),
                        target_name(), engine_.threads(), engine_.threads() == 1 ? "" : "s", engine_.context()));
    if (options_.model.verbose) report_engine(engine_, sampling_, options_.model);
    if (stdin_is_terminal()) message("/help lists commands; Ctrl-C stops an answer; Ctrl-D leaves");
  }

  static void show_prompt() {
    std::fputs(stderr_is_terminal() ? "\n> " : "> ", stderr);
    std::fflush(stderr);
  }

  void reset() {
    messages_.clear();
    if (options_.text.has_system) messages_.push_back({stilla::ChatRole::system, options_.text.system});
  }

  void answer(const std::string& line) {
    messages_.push_back({stilla::ChatRole::user, line});
    const std::vector<std::uint32_t> ids = stilla::encode_chat(model_.tokenizer, template_, messages_);
    if (ids.size() > engine_.context()) {
      message(
          fmt::format("the conversation is too long: with this message it has {} tokens, and the context holds {}; "
                      "/reset begins a new one",
                      ids.size(), engine_.context()));
      messages_.pop_back();
      return;
    }
    const FinishOnInterrupt finish_on_interrupt;
    AnswerPrinter printer(AnswerPrinter::mode_of_output(false), template_.opens_reasoning, options_.text.hide_thinking);
    std::string text;
    const Generation result = generator_.run(ids, options_.text.limit, [&](std::string_view bytes) {
      text += bytes;
      printer.push(bytes);
    });
    const bool is_thinking = printer.is_reasoning();
    printer.finish();
    // Thinking that was cut off must not pass for an answer in the turns to come.
    if (is_thinking) text += stilla::ReasoningSplitter::close_tag;
    messages_.push_back({stilla::ChatRole::assistant, text});

    if (result.reason == StopReason::context_full)
      message(context_full_text(engine_) + "; /reset begins a new conversation");
    if (result.reason == StopReason::interrupted) message("stopped");
    if (stderr_is_terminal() || options_.model.verbose) message(result.rates());
  }

  const ChatOptions& options_;
  OpenedModel model_;
  stilla::ChatTemplate template_;
  std::string type_;
  double file_bytes_;
  Engine engine_;
  stilla::SamplingOptions sampling_;
  Generator generator_;
  std::vector<stilla::ChatMessage> messages_;
};

int chat(ChatOptions& options) {
  if (options.model.path.empty()) options.model.path = default_model();
  return Chat(options).run();
}

}  // namespace

void add_chat(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<ChatOptions>();
  CLI::App* command = app.add_subcommand("chat", "Talk to a model");
  add_model_options(*command, options->model);
  add_text_options(*command, options->text);
  command->footer(
      "Without -m: the model that scripts/fetch_models.sh brings. /help in the chat lists its commands. When standard "
      "input\n"
      "is no terminal, each line is a turn.");
  command->callback([options, &chosen] { chosen = [options] { return chat(*options); }; });
}

}  // namespace program
