// SPDX-License-Identifier: Apache-2.0
//
// The program `stilla`: talk to a model, run a prompt, measure, look inside a file. Exit status: 0 success, 1 failed, 2 used
// wrongly, 3 the file was refused, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <stilla/base/version.hpp>

#include "commands.hpp"
#include "embedded_model.hpp"
#include "help_formatter.hpp"
#include "output.hpp"
#include "platform.hpp"
#include "unknown_options.hpp"

namespace {

constexpr const char* examples = R"(Examples:
  stilla run -p "What is 347 + 589?"                  the model in this program
  stilla chat -m model.gguf                           talk to a model
  stilla run -m model.gguf -p "Why is the sky blue?"  one prompt
  stilla run -m model.gguf -f task.txt > answer.txt   a prompt from a file
  git diff | stilla run -m model.gguf --temp 0 --think hide
  stilla bench -m model.gguf -t 1,2,4                 tokens per second
  stilla inspect model.gguf                           what it holds and needs
  stilla pack -m model.gguf                           makes it start at once
  stilla export --to onnx -m model.gguf -o folder     for onnxruntime-genai
  stilla npu check model.gguf                         whether it suits NPUs

)";
constexpr const char* last_words = R"(

`stilla COMMAND --help` lists a command's options.
Exit status: 0 fine, 1 failed, 2 used wrongly, 3 the file was refused, 130 Ctrl-C.)";

// Returns the command that prints the help that the user should read, for example "stilla run --help".
std::string help_command(const CLI::App& app) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  return chosen.empty() ? "stilla --help" : fmt::format("stilla {} --help", chosen.front()->get_name());
}

int run_program(const std::vector<std::string>& arguments) {
  CLI::App app("Runs Qwen2, Qwen3 and Llama models, such as the DeepSeek-R1 distills, on this machine's CPU.", "stilla");
  program::Command chosen;
  app.set_version_flag("--version", fmt::format("stilla {}.{}.{}", STILLA_VERSION_MAJOR, STILLA_VERSION_MINOR, STILLA_VERSION_PATCH));
  app.formatter(std::make_shared<program::HelpFormatter>(
      program::help_columns(arguments.empty() ? program::stderr_columns() : program::stdout_columns())));
  app.footer(examples + program::models_by_memory_text() + last_words);
  app.require_subcommand(1);
  // If an option is given several times, the last one counts, so that an option that is part of a shell alias can be
  // overridden.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  program::add_chat(app, chosen);
  program::add_run(app, chosen);
  program::add_bench(app, chosen);
  program::add_logits(app, chosen);
  program::add_tokenize(app, chosen);
  program::add_inspect(app, chosen);
  program::add_pack(app, chosen);
  program::add_export(app, chosen);
  program::add_npu(app, chosen);
  if (arguments.empty()) {
    program::write_note(app.help());
    return program::exit_usage;
  }
  if (const std::optional<std::string> refusal = program::unknown_option(app, arguments)) {
    program::message(*refusal);
    return program::exit_usage;
  }
  try {
    // The arguments are passed in reverse order, because parse() of CLI11 expects the last argument first.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    return chosen();
  } catch (const CLI::CallForVersion& version) {
    program::write_output(fmt::format("{}\n", version.what()));
  } catch (const CLI::Success&) {  // --help
    const std::vector<CLI::App*> commands = app.get_subcommands();
    program::write_output(commands.empty() ? app.help() : commands.front()->help());
  } catch (const CLI::ParseError& error) {
    if (app.get_subcommands().empty() && !arguments.front().starts_with('-')) {
      program::message(fmt::format("unknown command '{}'; commands: chat, run, bench, logits, tokenize, inspect, pack, export, npu",
                                   stilla::printable(arguments.front())));
      return program::exit_usage;
    }
    program::message(fmt::format("{} ({})", program::one_line(error.what()), help_command(app)));
    return program::exit_usage;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    program::prepare_process();
    return run_program(program::arguments(argc, argv));
  } catch (const program::Failure& failure) {
    if (!failure.message.empty()) program::message(failure.message);
    return failure.status;
  } catch (const std::bad_alloc&) {
    program::message("not enough memory");
  } catch (const std::exception& error) {
    try {
      program::message(program::one_line(error.what()));
    } catch (...) {
      program::message("not enough memory");
    }
  }
  return program::exit_failed;
}
