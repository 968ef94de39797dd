// SPDX-License-Identifier: Apache-2.0
#include "loading.hpp"

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <map>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <stilla/base/cores.hpp>
#include <stilla/text/reasoning.hpp>
#include <stilla/text/source_tokenizer.hpp>

#include "embedded_model.hpp"
#include "output.hpp"
#include "platform.hpp"
#include "text_input.hpp"

namespace program {

void report_notes(const ModelFacts& facts) {
  for (const std::string& note : facts.notes) message(note);
}

void report_notes(const stilla::ModelSource& source, const stilla::Tokenizer& tokenizer) {
  for (const std::string& note : tokenizer.notes()) message(fmt::format("{}: {}", stilla::printable_path(source.path()), note));
}

OpenedModel open_model(const ModelOptions& options) {
  choose_target(options.target);
  std::unique_ptr<stilla::ModelSource> source = open_source(options.path, options.load_mode);
  ModelFacts facts = value_of(read_model_facts(*source, options.rope));
  report_notes(facts);
  stilla::Tokenizer tokenizer = open_tokenizer(*source, options.pretokenizer);
  std::size_t context = facts.context;
  if (options.context > facts.context) {
    message(fmt::format("--ctx {} is more than the {} positions this model was trained for; using {}", options.context, facts.context,
                        facts.context));
  } else if (options.context != 0) {
    context = options.context;
  }
  return {std::move(source), std::move(facts), std::move(tokenizer), context};
}

stilla::Result<stilla::Tokenizer> try_tokenizer(const stilla::ModelSource& source, const std::string& pretokenizer) {
  stilla::Result<stilla::Tokenizer> tokenizer = stilla::read_tokenizer(source, {pretokenizer});
  if (!tokenizer && tokenizer.error().message.find("choose one by name") != std::string::npos) {
    tokenizer.error().message = fmt::format("{} (--pre NAME)", tokenizer.error().message);
  }
  return tokenizer;
}

stilla::Tokenizer open_tokenizer(const stilla::ModelSource& source, const std::string& pretokenizer) {
  stilla::Tokenizer out = value_of(try_tokenizer(source, pretokenizer));
  report_notes(source, out);
  return out;
}

namespace {

// Returns the chat template that the library has under the name `name_or_file` or, if there is none, the one in the file of this name.
stilla::ChatTemplate chosen_template(const std::string& name_or_file) {
  stilla::Result<stilla::ChatTemplate> known = stilla::chat_template_by_name(name_or_file);
  if (known) return std::move(*known);
  std::error_code error;
  if (!std::filesystem::is_regular_file(file_path(name_or_file), error)) {
    fail(exit_usage, fmt::format("{}; nor is it a file", known.error().message));
  }
  return value_of(stilla::read_chat_template(read_program_text(name_or_file), name_or_file));
}

}  // namespace

stilla::Result<stilla::ChatTemplate> try_file_template(const stilla::ModelSource& source) {
  const stilla::Result<std::string_view> text = source.chat_template();
  if (!text) return text.error();
  stilla::Result<stilla::ChatTemplate> read = stilla::read_chat_template(*text, source.path());
  if (!read) read.error().message += "; give another with --chat-template NAME|FILE, or continue plain text with `stilla run --raw`";
  return read;
}

stilla::ChatTemplate chat_template_of(const stilla::ModelSource& source, const stilla::Tokenizer& tokenizer,
                                      const std::string& name_or_file, Think think) {
  stilla::ChatTemplate out = name_or_file.empty() ? value_of(try_file_template(source)) : chosen_template(name_or_file);
  const std::tm now = local_time();
  out.now = {now.tm_year + 1900, now.tm_mon + 1, now.tm_mday, now.tm_hour, now.tm_min, now.tm_sec};
  set_thinking(out, tokenizer, think);
  if (const std::optional<std::string> note = stilla::unknown_markup_note(tokenizer, out)) message(*note);
  return out;
}

stilla::ChatPrompt chat_prompt(const stilla::Tokenizer& tokenizer, const stilla::ChatTemplate& chat_template,
                               std::span<const stilla::ChatMessage> messages) {
  stilla::Result<stilla::ChatPrompt> prompt = stilla::encode_chat(tokenizer, chat_template, messages);
  if (!prompt) fail(exit_refused, prompt.error().message + "; give another with --chat-template NAME|FILE");
  return std::move(*prompt);
}

void set_thinking(stilla::ChatTemplate& chat_template, const stilla::Tokenizer& tokenizer, Think think) {
  stilla::choose_thinking(chat_template, tokenizer, think == Think::off ? std::optional(false) : std::nullopt);
}

namespace {

// Returns whether the vocabularies of two models have the same token for every id that both have. The larger vocabulary may have up to 1 %
// more ids than the smaller one, because these ids may stand for rows that only pad a matrix.
bool are_alike(const stilla::Tokenizer& a, const stilla::Tokenizer& b) {
  const std::size_t both = std::min(a.size(), b.size());
  for (std::uint32_t id = 0; id < both; ++id) {
    if (a.piece(id) != b.piece(id) || a.is_control(id) != b.is_control(id)) return false;
  }
  return std::max(a.size(), b.size()) - both <= both / 100;
}

void load_draft(Engine& engine, const stilla::Tokenizer& tokenizer, const ModelOptions& options) {
  if (!engine.batches_are_exact()) fail(exit_usage, "--draft: the device's logits depend on the batch, so guesses cannot be checked");
  std::unique_ptr<stilla::ModelSource> source = open_source(options.draft, options.load_mode);
  report_notes(value_of(read_model_facts(*source)));
  if (!are_alike(tokenizer, open_tokenizer(*source, options.pretokenizer))) {
    fail(exit_usage,
         fmt::format("--draft {}: its vocabulary is not the model's, so it cannot guess for it", stilla::printable_path(options.draft)));
  }
  ProgressLine progress("loading the draft model");
  engine.load_draft(std::move(source), [&](std::size_t done, std::size_t total) { progress.show(done, total); });
}

}  // namespace

Engine load_engine(OpenedModel& model, const ModelOptions& options, std::size_t batch) {
  // The warning counts only the memory that is needed in any case, which is that of weights and scratch memory. The key/value cache is not
  // counted, because it grows with the text.
  const MemoryNeeds needs = value_of(memory_needs(*model.source, model.context, options.kv_type, batch, options.weights));
  const std::uint64_t memory = stilla::memory_bytes();
  if (memory != 0 && needs.weights + needs.scratch > memory / 10 * 9) {
    message(fmt::format("this model needs {} and this machine has {}: expect it to be very slow or to be ended",
                        bytes_text(static_cast<double>(needs.weights + needs.scratch)), bytes_text(static_cast<double>(memory))));
  }
  // On a terminal a progress line shows that the program is loading the model. Elsewhere one line says so, but only for models so large
  // that loading takes a noticeable time.
  constexpr std::uint64_t large = std::uint64_t{1} << 28;
  if (!stderr_is_terminal() && model.source->size_bytes() >= large) message(fmt::format("loading {}", introduction(model)));
  ProgressLine progress("loading");
  const EngineOptions engine_options{
      thread_count(options.threads), model.context, options.kv_type, options.activations, batch, options.weights, options.device,
      options.onnxruntime,           options.rope,  options.imatrix, options.verifies};
  Engine engine(std::move(model.source), engine_options, [&](std::size_t done, std::size_t total) { progress.show(done, total); });
  if (!options.draft.empty()) load_draft(engine, model.tokenizer, options);
  return engine;
}

void report_engine(const Engine& engine, const stilla::SamplingOptions& sampling) {
  message(fmt::format("target {}, threads {}, context {}, cache {}, seed {}", target_name(), engine.threads(), engine.context(),
                      kv_type_name(engine.kv_type()), sampling.seed));
  for (const std::string& path : engine.paths()) message(path);
}

std::string context_full_text(const Engine& engine) {
  const bool has_more = engine.context() < engine.facts().context;
  return fmt::format("stopped: the context of {} tokens is full{}", engine.context(),
                     has_more ? fmt::format("; --ctx gives up to {}", engine.facts().context) : "");
}

std::string introduction(const OpenedModel& model) {
  const std::string name = model.facts.name.empty() ? "a model without a name" : model.facts.name;
  return fmt::format("{} ({}, {})", name, model_type_text(*model.source, model.facts),
                     bytes_text(static_cast<double>(model.source->size_bytes())));
}

std::uint64_t parameter_count(const stilla::ModelSource& source) {
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < source.tensor_count(); ++i) count += source.tensor(i).columns() * source.tensor(i).rows();
  return count;
}

std::string model_type_text(const stilla::ModelSource& source, const ModelFacts& facts) {
  std::map<std::string_view, std::uint64_t> weights;
  for (std::size_t i = 0; i < source.tensor_count(); ++i) {
    const stilla::TensorInfo& tensor = source.tensor(i);
    weights[tensor.type_name] += tensor.columns() * tensor.rows();
  }
  const auto most = std::max_element(weights.begin(), weights.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  const double parameters = static_cast<double>(parameter_count(source));
  const std::string size = parameters < 1e9 ? fmt::format("{:.0f}M", parameters / 1e6) : fmt::format("{:.2f}B", parameters / 1e9);
  return fmt::format("{} {} {}", facts.architecture, size, most != weights.end() ? most->first : "");
}

}  // namespace program
