// SPDX-License-Identifier: Apache-2.0
//
// stilla tokenize: prints a text's token ids. Only --bos adds an id. With --chat the ids are those of the prompt that the
// template makes of a user's message.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <stilla/io/model_source.hpp>
#include <stilla/text/chat_template.hpp>
#include <stilla/text/source_tokenizer.hpp>
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
  bool bos = false;
  bool is_chat = false;
  std::string chat_template;  // a name or a file; empty: the model's
};

std::vector<std::uint32_t> ids_of(const TokenizeOptions& options, const stilla::ModelSource& source, const std::string& text) {
  const stilla::Tokenizer tokenizer = open_tokenizer(source, options.pretokenizer);
  if (options.is_chat || !options.chat_template.empty()) {
    const stilla::ChatMessage message{stilla::ChatRole::user, text};
    const stilla::ChatTemplate chat_template = chat_template_of(source, tokenizer, options.chat_template, Think::show);
    return chat_prompt(tokenizer, chat_template, {&message, 1}).ids;
  }
  std::vector<std::uint32_t> ids = tokenizer.encode(text, options.special ? stilla::SpecialTokens::parse : stilla::SpecialTokens::as_text);
  if (options.bos) {
    if (!tokenizer.bos()) fail(exit_usage, "--bos: this vocabulary names no token for the beginning of a text");
    stilla::begin_with_bos(tokenizer, ids);
  }
  return ids;
}

int tokenize(const TokenizeOptions& options) {
  const std::optional<std::string> text = text_input(options.text, options.file);
  if (!text) fail(exit_usage, "no text; give it as an argument, with -f or on standard input");
  const std::unique_ptr<stilla::ModelSource> source = open_source(options.model);
  write_output(fmt::format("{}\n", fmt::join(ids_of(options, *source, *text), " ")));
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Token ids of a text");
  takes_path(
      command->add_option("-m,--model", options->model, "A GGUF file; one without tensors will do (default: the model in this program)"))
      ->type_name("FILE");
  add_pretokenizer_option(*command, options->pretokenizer);
  CLI::Option* special = command->add_flag("--special", options->special, "<|special|> text is that token");
  CLI::Option* bos = command->add_flag("--bos", options->bos, "Begin with the token for the beginning of a text, once");
  command->add_flag("--chat", options->is_chat, "The text is a user's first message: the prompt by the model's chat template")
      ->excludes(special)
      ->excludes(bos);
  takes_path(
      command->add_option("--chat-template", options->chat_template, "The same by this template, a name or a file (see `stilla run`)"))
      ->type_name("NAME|FILE")
      ->excludes(special)
      ->excludes(bos);
  CLI::Option* file = takes_path(command->add_option("-f,--file", options->file, "Read the text from this file"))->type_name("FILE");
  command
      ->add_option_function<std::string>(
          "text", [options](const std::string& text) { options->text = text; }, "The text, byte for byte; - or none: standard input")
      ->type_name("TEXT")
      ->excludes(file);
  command->footer("Text that begins with - goes after --: stilla tokenize -m model.gguf -- -5");
  command->callback([options, &chosen] { chosen = [options] { return tokenize(*options); }; });
}

}  // namespace program
