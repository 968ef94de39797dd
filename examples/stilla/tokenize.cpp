// SPDX-License-Identifier: Apache-2.0
//
// stilla tokenize: a text's token ids, none added.
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>

#include <stilla/io/model_source.hpp>
#include <stilla/text/tokenizer.hpp>

#include "commands.hpp"
#include "embedded_model.hpp"
#include "loading.hpp"
#include "options.hpp"
#include "output.hpp"
#include "text_input.hpp"

namespace program {
namespace {

struct TokenizeOptions {
  std::string model;
  std::optional<std::string> text;
  std::string file;
  std::string pretokenizer;
  bool special = false;
};

int tokenize(const TokenizeOptions& options) {
  const std::optional<std::string> text = text_input(options.text, options.file);
  if (!text) fail(exit_usage, "no text; give it as an argument, with -f or on standard input");
  const std::unique_ptr<stilla::ModelSource> source = open_model_source(options.model);
  const stilla::Tokenizer tokenizer = open_tokenizer(*source, options.pretokenizer);
  const auto special = options.special ? stilla::SpecialTokens::parse : stilla::SpecialTokens::as_text;
  write_output(fmt::format("{}\n", fmt::join(tokenizer.encode(*text, special), " ")));
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Token ids of a text");
  command
      ->add_option("-m,--model", options->model,
                   "A GGUF file; one without tensors will do (default: the model in this program)")
      ->type_name("FILE");
  add_pretokenizer_option(*command, options->pretokenizer);
  command->add_flag("--special", options->special, "<|special|> text is that token");
  CLI::Option* file =
      command->add_option("-f,--file", options->file, "Read the text from this file")->type_name("FILE");
  command
      ->add_option_function<std::string>(
          "text", [options](const std::string& text) { options->text = text; },
          "The text, byte for byte; - or none: standard input")
      ->type_name("TEXT")
      ->excludes(file);
  command->footer("Text that begins with - goes after --: stilla tokenize -m model.gguf -- -5");
  command->callback([options, &chosen] { chosen = [options] { return tokenize(*options); }; });
}

}  // namespace program
