// SPDX-License-Identifier: Apache-2.0
//
// stilla chat: a conversation. Each turn renders the whole conversation with the model's template, but evaluates only what the
// cache does not hold yet. That is the new message and, if the last answer had a thought, this last answer again, because its
// thought is dropped.
#include <algorithm>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <stilla/model/session_file.hpp>

#include "answer_printer.hpp"
#include "commands.hpp"
#include "conversation.hpp"
#include "embedded_model.hpp"
#include "generate.hpp"
#include "line_editor.hpp"
#include "loading.hpp"
#include "options.hpp"
#include "output.hpp"
#include "platform.hpp"
#include "replacing.hpp"
#include "scope.hpp"

namespace program {
namespace {

struct ChatOptions {
  ModelOptions model;
  TextOptions text;
  bool obeys_pipes = false;  // commands are obeyed in a pipe too
};

constexpr std::string_view help_text =
    "/help             this list\n"
    "/think MODE       the model's thoughts: show, hide, or off, so that it answers at once\n"
    "/retry            another answer to the last message\n"
    "/reset            forget the conversation and begin a new one\n"
    "/save FILE        the conversation, and all that was computed for it\n"
    "/load FILE        go on with a saved conversation\n"
    "/stats            tokens, memory and times so far\n"
    "/exit             leave (so does the end of input, Ctrl-D)\n"
    "Ctrl-C stops an answer; at the prompt it leaves. A line that ends with \\ goes on in the next.\n";

class Chat {
 public:
  explicit Chat(const ChatOptions& options)
      : options_(options), think_(options.text.think), model_(open_model(options.model)),
        template_(chat_template_of(*model_.source, model_.tokenizer, options.text.chat_template, options.text.think)),
        introduction_(introduction(model_)), scope_(*model_.source), sampling_(sampling_options(options.text.sampling, model_.tokenizer)),
        engine_(load_engine(model_, options.model)), generator_(engine_, model_.tokenizer, options_.text, sampling_),
        conversation_(model_.tokenizer) {
    reset();
  }

  int run() {
    introduce();
    LineEditor editor;
    while (!told_to_end()) {
      const std::optional<std::string> line = editor.read();
      if (!line) {
        if (stdin_is_terminal() && !told_to_end()) write_note("\n");
        break;
      }
      if (line->find_first_not_of(" \t") == std::string::npos) continue;
      engine_.check_files();
      if (obeys() && leaves(*line)) break;
      if (is_command(*line)) continue;
      if (const std::string refusal = scope_.refusal(*line); !refusal.empty()) {
        message(refusal);
        continue;
      }
      if (scope_.is_limited()) reset();
      conversation_.add_user(*line);
      answer();
    }
    if (told_to_end()) return interrupted_status();
    engine_.finish_verification();
    return status_;
  }

 private:
  void introduce() const {
    message(fmt::format("{}, target {}, {} thread{}, context {}", introduction_, target_name(), engine_.threads(),
                        engine_.threads() == 1 ? "" : "s", engine_.context()));
    if (options_.model.verbose) report_engine(engine_, sampling_);
    if (scope_.is_limited()) message(scope_.introduction());
    if (options_.model.path.empty()) message(larger_models_text());
    if (stdin_is_terminal()) message("/help lists commands; Ctrl-C stops an answer; Ctrl-D leaves");
  }

  void reset() { conversation_.reset(options_.text.has_system ? std::optional(options_.text.system) : std::nullopt); }

  // Whether lines that begin with a slash are obeyed as commands. In a pipe they are not, unless --commands is given: a program
  // that writes into the pipe may pass on the words of somebody else, who must not save files.
  bool obeys() const { return stdin_is_terminal() || options_.obeys_pipes; }

  static bool leaves(std::string_view line) { return line == "/exit" || line == "/quit"; }

  // If the line is a command, obeys it and returns true. In a pipe without --commands, a line that looks like a command is said
  // to the model.
  bool is_command(const std::string& line) {
    if (line[0] != '/') return false;
    struct Action {
      std::string_view command;
      void (*run)(Chat& chat, const std::string& argument);
    };
    static constexpr Action actions[] = {{"/help", [](Chat&, const std::string&) { write_note(help_text); }},
                                         {"/reset", [](Chat& chat, const std::string&) { chat.begin_anew(); }},
                                         {"/think", [](Chat& chat, const std::string& name) { chat.set_think(name); }},
                                         {"/retry", [](Chat& chat, const std::string&) { chat.retry(); }},
                                         {"/save", [](Chat& chat, const std::string& path) { chat.save(path); }},
                                         {"/load", [](Chat& chat, const std::string& path) { chat.load(path); }},
                                         {"/stats", [](Chat& chat, const std::string&) { chat.tell_stats(); }}};
    const std::size_t end = std::min(line.find_first_of(" \t"), line.size());
    const std::string command = line.substr(0, end);
    const auto action = std::find_if(std::begin(actions), std::end(actions), [&](const Action& a) { return a.command == command; });
    const bool is_known = action != std::end(actions);
    if (!obeys()) {
      if (!told_of_commands_ && (is_known || leaves(command))) {
        message(fmt::format("'{}' is said to the model: in a pipe commands are obeyed only with --commands", command));
        told_of_commands_ = true;
      }
      return false;
    }
    const std::size_t begin = std::min(line.find_first_not_of(" \t", end), line.size());
    const std::string argument = line.substr(begin, line.find_last_not_of(" \t") + 1 - begin);
    if (is_known) {
      action->run(*this, argument);
    } else {
      if (command.find('/', 1) != std::string::npos || !stdin_is_terminal()) return false;
      message(fmt::format("no such command: {} (/help lists them)", stilla::printable(command)));
    }
    return true;
  }

  void begin_anew() {
    reset();
    message("new conversation");
  }

  void set_think(const std::string& name) {
    const std::optional<Think> mode = think_mode(name);
    if (!mode) return message("say /think show, /think hide or /think off");
    think_ = *mode;
    set_thinking(template_, model_.tokenizer, think_);
    message(fmt::format("thoughts: {}", name));
  }

  void retry() {
    if (!conversation_.ends_with(stilla::ChatRole::assistant)) return message("there is no answer to try again");
    conversation_.remove_last();
    answer();
  }

  void save(const std::string& path) {
    if (path.empty()) return message("say /save FILE");
    constexpr std::string_view kind = "a saved session";
    if (!may_replace(path, stilla::session_magic, kind)) return command_failed(not_replaced_text(path, kind));
    // While a session is saved, Ctrl-C must not leave a partial file behind.
    const FinishOnInterrupt finish_on_interrupt;
    const stilla::Status saved = engine_.save(path, conversation_.to_json());
    if (!saved) return command_failed(saved.error().message);
    message(fmt::format("saved {} messages, {} tokens: {}", conversation_.size(), engine_.size(), stilla::printable_path(path)));
  }

  // Says why a command failed. A script that sent the command sees it by the exit status too.
  void command_failed(const std::string& why) {
    if (!stdin_is_terminal()) status_ = exit_failed;
    message(why);
  }

  void load(const std::string& path) {
    if (path.empty()) return message("say /load FILE");
    std::vector<stilla::ChatMessage> messages;
    const auto accept = [&](std::span<const std::uint32_t> ids, std::string_view note) -> stilla::Status {
      const std::size_t vocabulary = model_.tokenizer.size();
      const auto outside = std::find_if(ids.begin(), ids.end(), [&](std::uint32_t id) { return id >= vocabulary; });
      if (outside != ids.end()) {
        return stilla::Error{stilla::ErrorKind::refused_file,
                             fmt::format("token id {} is outside the vocabulary of {} tokens", *outside, vocabulary)};
      }
      stilla::Result<std::vector<stilla::ChatMessage>> read = conversation_.from_json(note);
      if (!read) return read.error();
      // A saved conversation may have as many messages as the context has tokens, because nearly every template writes at least one
      // token for a message. It may have 4096 messages even if the context is smaller.
      const std::size_t most = std::max<std::size_t>(engine_.context(), 4096);
      if (read->size() > most) {
        return stilla::Error{stilla::ErrorKind::refused_file,
                             fmt::format("its conversation has {} messages; expected at most {}", read->size(), most)};
      }
      messages = std::move(*read);
      return stilla::success();
    };
    const stilla::Result<std::string> note = engine_.restore(path, accept);
    if (!note) return command_failed(note.error().message);
    conversation_.replace(std::move(messages));
    message(fmt::format("loaded {} messages, {} tokens", conversation_.size(), engine_.size()));
  }

  void tell_stats() const {
    message(fmt::format("{} messages; {} of {} tokens of context, {} of cache", conversation_.size(), engine_.size(), engine_.context(),
                        bytes_text(static_cast<double>(engine_.cache_bytes()))));
    message(total_.rates());
  }

  // Forgets the oldest turns until the conversation, with `more` tokens behind it, takes at most half of the context. It takes
  // only half, so that turns need not be forgotten again at once. Returns the prompt, or nothing if it still does not fit.
  std::optional<std::vector<std::uint32_t>> make_room(std::size_t more) {
    std::vector<std::uint32_t> ids = value_of(conversation_.prompt(template_)).ids;
    const std::size_t before = ids.size();
    std::size_t turns = 0;
    while (ids.size() + more > engine_.context() / 2 && conversation_.forget_oldest_turn()) {
      ids = value_of(conversation_.prompt(template_)).ids;
      ++turns;
    }
    if (turns > 0) {
      if (more > 0 && stderr_is_terminal()) write_note("\n");
      message(fmt::format("the context is full: forgot the {} ({} tokens)",
                          turns == 1 ? "oldest turn" : fmt::format("{} oldest turns", turns), before - ids.size()));
    }
    if (ids.size() + more >= engine_.context()) return std::nullopt;
    return ids;
  }

  // Returns the prompt for the messages so far, or nothing if the prompt does not fit or the template refuses the messages.
  std::optional<std::vector<std::uint32_t>> prompt() {
    stilla::Result<stilla::ChatPrompt> whole = conversation_.prompt(template_);
    if (!whole) {
      message(whole.error().message + "; --chat-template gives another");
      return std::nullopt;
    }
    opens_thought_ = whole->opens_thought;
    std::vector<std::uint32_t> ids = std::move(whole->ids);
    if (ids.size() < engine_.context() || (ids.size() == engine_.context() && !options_.text.shifts)) return ids;
    if (options_.text.shifts) {
      if (std::optional<std::vector<std::uint32_t>> shorter = make_room(0)) return shorter;
      ids = value_of(conversation_.prompt(template_)).ids;
    }
    message(
        fmt::format("the conversation is too long: with this message it has {} tokens, and the context holds {}; "
                    "/reset begins a new one",
                    ids.size(), engine_.context()));
    return std::nullopt;
  }

  // Answers the last message of the user. An error of the model, or of a saved text that was loaded into this chat, ends the turn and not
  // the chat: the message is removed from the conversation, and nothing of what was computed is kept.
  void answer() {
    std::string trouble;
    try {
      return try_answer();
    } catch (const OutputFailure&) {
      throw;
    } catch (const ModelFailure&) {
      throw;
    } catch (const Failure& failure) {
      trouble = failure.message;
    } catch (const std::bad_alloc&) {
      trouble = "not enough memory";
    }
    status_ = exit_failed;
    engine_.truncate(0);
    conversation_.remove_last();
    message(fmt::format("{}; the turn is forgotten", trouble));
  }

  // Continues the prompt until the model ends the answer, and returns the answer. If the context is full and older turns may be
  // forgotten, it forgets some and continues behind the turns that are left.
  std::string generate(std::optional<std::vector<std::uint32_t>> ids, AnswerPrinter& printer, Generation& result) {
    std::string text;
    while (ids) {
      generator_.run(*ids, printer.is_reasoning(), result, [&](std::string_view bytes) {
        text += bytes;
        printer.push(bytes);
        return Generator::Emitted{printer.is_reasoning(), !printer.stops().found().empty()};
      });
      if (result.reason != StopReason::context_full || !options_.text.shifts) break;
      ids = make_room(result.ids.size());
      if (ids) ids->insert(ids->end(), result.ids.begin(), result.ids.end());
    }
    return text;
  }

  void try_answer() {
    std::optional<std::vector<std::uint32_t>> ids = prompt();
    if (!ids) return conversation_.remove_last();
    const FinishOnInterrupt finish_on_interrupt;
    AnswerPrinter printer(AnswerPrinter::mode_of_output(false), opens_thought_, think_ != Think::show, options_.text.stop_texts);
    Generation result;
    const std::string question(conversation_.last_text());
    std::string text;
    try {
      text = generate(std::move(ids), printer, result);
    } catch (const OutputFailure&) {
      throw;
    } catch (...) {
      printer.finish();  // what was shown stays, and its line is ended
      throw;
    }
    result.stop_text = printer.stops().found();
    result.bytes_not_shown = printer.stops().bytes_not_shown();
    conversation_.add_answer(result, printer.is_reasoning(), template_);
    printer.finish();

    if (result.reason == StopReason::context_full) message(context_full_text(engine_) + "; /reset begins a new conversation");
    if (const std::string limit = result.limit_text(); !limit.empty()) message(limit);
    if (result.reason == StopReason::interrupted) message("stopped");
    if (result.reason == StopReason::end_of_text) {
      if (const std::string doubt = scope_.doubt(question, text); !doubt.empty()) message(doubt);
    }
    if (stderr_is_terminal() || options_.model.verbose) message(result.rates());
    total_.add(result);
  }

  const ChatOptions& options_;
  Think think_;
  OpenedModel model_;
  stilla::ChatTemplate template_;
  bool opens_thought_ = false;  // whether the last prompt opens a thought
  std::string introduction_;
  Scope scope_;
  stilla::SamplingOptions sampling_;
  Engine engine_;
  Generator generator_;
  Conversation conversation_;
  Generation total_;
  bool told_of_commands_ = false;
  int status_ = 0;  // the exit status: 1 if a turn failed, or a command in a pipe
};

}  // namespace

void add_chat(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<ChatOptions>();
  CLI::App* command = app.add_subcommand("chat", "Talk to a model");
  add_model_options(*command, options->model);
  add_rope_options(*command, options->model.rope);
  add_verify_option(*command, options->model.verifies);
  add_draft_option(*command, options->model);
  add_text_options(*command, options->text);
  command->add_flag("--commands", options->obeys_pipes,
                    "Obey /save and the other commands in a pipe too; without it they are said to the model there");
  command->footer(
      "Without -m: the tiny model in this program. /help in the chat lists its commands. When standard input is no "
      "terminal, "
      "each line is a turn.");
  command->callback([options, &chosen] { chosen = [options] { return Chat(*options).run(); }; });
}

}  // namespace program
