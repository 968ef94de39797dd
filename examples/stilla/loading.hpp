// SPDX-License-Identifier: Apache-2.0
//
// From a model file to an engine, in two steps. The first step is cheap and can refuse a prompt; only the second one reads the
// weights.
#pragma once

#include <memory>
#include <span>
#include <string>

#include <stilla/io/model_source.hpp>
#include <stilla/text/chat_template.hpp>
#include <stilla/text/tokenizer.hpp>

#include "engine.hpp"
#include "options.hpp"

namespace program {

// Tells the user what the file says that this program does not understand.
void report_notes(const ModelFacts& facts);

// Step one: header, dimensions, tokenizer.
struct OpenedModel {
  std::unique_ptr<stilla::ModelSource> source;
  ModelFacts facts;
  stilla::Tokenizer tokenizer;
  std::size_t context = 0;  // positions a text may have: --ctx or the model's, whichever is less
};
OpenedModel open_model(const ModelOptions& options);

// The tokenizer of a source. If `pretokenizer` is not empty it replaces the source's own. Notes on it go to standard error.
stilla::Tokenizer open_tokenizer(const stilla::ModelSource& source, const std::string& pretokenizer = {});
// The same without messages. An error says how to get around the problem.
stilla::Result<stilla::Tokenizer> try_tokenizer(const stilla::ModelSource& source, const std::string& pretokenizer = {});

// The chat template: the source's own, or the one with this name or in this file. It is set to have thoughts or not to have them.
stilla::ChatTemplate chat_template_of(const stilla::ModelSource& source, const stilla::Tokenizer& tokenizer,
                                      const std::string& name_or_file, Think think);
// The source's own chat template. An error says how to get around the problem.
stilla::Result<stilla::ChatTemplate> try_file_template(const stilla::ModelSource& source);
// The prompt of a conversation by this template. Ends the program if the template refuses the conversation.
stilla::ChatPrompt chat_prompt(const stilla::Tokenizer& tokenizer, const stilla::ChatTemplate& chat_template,
                               std::span<const stilla::ChatMessage> messages);
// Makes the template ask for thoughts or not, if the vocabulary has tokens for them.
void set_thinking(stilla::ChatTemplate& chat_template, const stilla::Tokenizer& tokenizer, Think think);

// Step two: loads the weights. Shows progress on a terminal, and warns if memory will be short. Takes over `model.source`.
Engine load_engine(OpenedModel& model, const ModelOptions& options, std::size_t batch = 512);

// For --verbose: target, threads, cache, seed, and whose kernels multiply which weights.
void report_engine(const Engine& engine, const stilla::SamplingOptions& sampling);
// The message for a text that reached the end of its context.
std::string context_full_text(const Engine& engine);

// "Stilla Drop (qwen2 3M q4_0, 1.7 MB)": name, type, size.
std::string introduction(const OpenedModel& model);
// "qwen2 494M q5_0": architecture, parameters, the format that most weights have.
std::string model_type_text(const stilla::ModelSource& source, const ModelFacts& facts);
std::uint64_t parameter_count(const stilla::ModelSource& source);

}  // namespace program
