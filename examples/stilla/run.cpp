// SPDX-License-Identifier: Apache-2.0
//
// stilla run: one prompt, whose answer is streamed.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "answer_printer.hpp"
#include "commands.hpp"
#include "embedded_model.hpp"
#include "generate.hpp"
#include "loading.hpp"
#include "options.hpp"
#include "output.hpp"
#include "platform.hpp"
#include "scope.hpp"
#include "stopwatch.hpp"
#include "text_input.hpp"

namespace program {
namespace {

struct RunOptions {
  ModelOptions model;
  TextOptions text;
  std::optional<std::string> prompt;
  std::string file;
  bool raw = false;
  bool special = false;
  bool bos = false;
};

std::string prompt_text(const RunOptions& options) {
  const std::optional<std::string> text = prompt_input(options.prompt, options.file);
  if (!text) fail(exit_usage, "no prompt; give one with -p, -f or on standard input");
  std::string prompt = *text;
  // A text that was not typed as an argument may end with a newline that an editor or `echo` added. It is not
  // part of the message.
  const bool was_typed = options.prompt && *options.prompt != "-";
  if (!was_typed && !options.raw && prompt.ends_with('\n')) prompt.pop_back();
  if (prompt.empty() && !options.bos) fail(exit_usage, "the prompt is empty");
  return prompt;
}

stilla::ChatPrompt prompt_ids(const RunOptions& options, const OpenedModel& model, const std::string& prompt) {
  if (options.raw) {
    const auto special = options.special ? stilla::SpecialTokens::parse : stilla::SpecialTokens::as_text;
    std::vector<std::uint32_t> ids = model.tokenizer.encode(prompt, special);
    const std::optional<std::uint32_t> bos = model.tokenizer.bos();
    if (options.bos) {
      if (!bos) fail(exit_usage, "--bos: this model's vocabulary names no token for the beginning of a text");
      stilla::begin_with_bos(model.tokenizer, ids);
    } else if (bos && model.tokenizer.add_bos() && (ids.empty() || ids.front() != *bos)) {
      message(fmt::format("this model's texts begin with '{}', and this prompt does not: --bos puts it there",
                          stilla::printable(model.tokenizer.piece(*bos, stilla::ControlText::show))));
    }
    return {std::move(ids), false};
  }
  const stilla::ChatTemplate chat_template =
      chat_template_of(*model.source, model.tokenizer, options.text.chat_template, options.text.think);
  std::vector<stilla::ChatMessage> messages;
  if (options.text.has_system) messages.push_back({stilla::ChatRole::system, options.text.system});
  messages.push_back({stilla::ChatRole::user, prompt});
  return chat_prompt(model.tokenizer, chat_template, messages);
}

int run(RunOptions& options) {
  const std::string prompt = prompt_text(options);
  const Stopwatch watch;
  OpenedModel model = open_model(options.model);
  if (options.model.path.empty()) {
    message(introduction(model));
    message(larger_models_text());
  }
  const Scope scope(*model.source);
  if (const std::string refusal = options.raw ? "" : scope.refusal(prompt); !refusal.empty()) {
    message(refusal);
    return 0;
  }
  const auto [ids, opens_thought] = prompt_ids(options, model, prompt);
  if (ids.empty()) fail(exit_usage, "the prompt has no tokens in this model's vocabulary");
  if (ids.size() > model.context) {
    fail(exit_usage, fmt::format("the prompt is too long: it has {} tokens, and the context holds {} (--ctx; at most {} for "
                                 "this model)",
                                 ids.size(), model.context, model.facts.context));
  }
  const stilla::SamplingOptions sampling = sampling_options(options.text.sampling, model.tokenizer);
  Engine engine = load_engine(model, options.model);
  const double load_seconds = watch.seconds();

  if (options.model.verbose) report_engine(engine, sampling);

  const FinishOnInterrupt finish_on_interrupt;
  AnswerPrinter printer(AnswerPrinter::mode_of_output(options.raw), opens_thought, options.text.think != Think::show,
                        options.text.stop_texts);
  Generator generator(engine, model.tokenizer, options.text, sampling);
  Generation result;
  std::string text;
  std::size_t kept = 0;  // generated tokens that stay in the context when older text is forgotten
  while (true) {
    std::vector<std::uint32_t> held = ids;
    held.insert(held.end(), result.ids.end() - static_cast<std::ptrdiff_t>(kept), result.ids.end());
    try {
      generator.run(held, printer.is_reasoning(), result, [&](std::string_view bytes) {
        text += bytes;
        printer.push(bytes);
        return Generator::Emitted{printer.is_reasoning(), !printer.stops().found().empty()};
      });
    } catch (const OutputFailure&) {
      throw;
    } catch (...) {
      printer.finish();  // what was shown stays, and its line is ended
      throw;
    }
    // When older text is forgotten, half of the tokens that the context has room for are kept, so that text
    // need not be forgotten again at once.
    kept = (engine.context() - ids.size()) / 2;
    const bool has_older = kept != 0 && kept < engine.size() - ids.size();
    if (result.reason != StopReason::context_full || !options.text.shifts || !has_older) break;
    if (stderr_is_terminal()) std::fputs("\n", stderr);
    message(fmt::format("the context is full: forgot all but the prompt and the last {} tokens", kept));
  }
  printer.finish();
  if (result.reason != StopReason::interrupted) engine.finish_verification();
  if (interrupted()) result.reason = StopReason::interrupted;
  result.stop_text = printer.stops().found();

  if (options.raw && stdout_is_terminal()) write_note("\n");
  if (result.reason == StopReason::context_full) message(context_full_text(engine));
  if (const std::string limit = result.limit_text(); !limit.empty()) message(limit);
  if (result.reason == StopReason::end_of_text && !options.raw) {
    if (const std::string doubt = scope.doubt(prompt, text); !doubt.empty()) message(doubt);
  }
  message(fmt::format("load {:.2f} s; {}", load_seconds, result.rates()));
  return result.reason == StopReason::interrupted ? interrupted_status() : 0;
}

}  // namespace

void add_run(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Answer one prompt");
  add_model_options(*command, options->model);
  add_rope_options(*command, options->model.rope);
  add_verify_option(*command, options->model.verifies);
  add_draft_option(*command, options->model);
  CLI::Option* prompt =
      command
          ->add_option_function<std::string>(
              "-p,--prompt", [options](const std::string& text) { options->prompt = text; }, "The prompt; - or none: standard input")
          ->type_name("TEXT");
  takes_path(command->add_option("-f,--file", options->file, "Read the prompt from this file"))->type_name("FILE")->excludes(prompt);
  CLI::Option* raw = command->add_flag("--raw", options->raw,
                                       "Continue the prompt as it is: no chat template, no special token; standard "
                                       "output is the generated bytes and nothing else");
  command->add_flag("--special", options->special, "With --raw: <|special|> text in the prompt is that token")->needs(raw);
  command
      ->add_flag("--bos", options->bos,
                 "With --raw: begin with the token for the beginning of a text, once, whether or not the model's vocabulary asks for it")
      ->needs(raw);
  add_text_options(*command, options->text);
  // CLI11's get_option() is not used, because a part of it allocates memory and is noexcept: without memory it ends the program.
  const auto needs_template = [](const CLI::Option* option) {
    return option->check_lname("system") || option->check_lname("chat-template") || option->check_lname("think") ||
           option->check_lname("think-budget");
  };
  for (CLI::Option* option : command->get_options(needs_template)) raw->excludes(option);
  command->footer(
      "Piped, the answer is printed as generated, thinking between <think> and </think>; on a terminal the thinking is "
      "dim.\n"
      "Example: stilla run -m model.gguf -p \"Why is the sky blue?\" --seed 1");
  command->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace program
