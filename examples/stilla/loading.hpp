// SPDX-License-Identifier: Apache-2.0
//
// From a model file to an engine, in two steps: what is cheap and can refuse a prompt comes before the weights.
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

// Tells what a file says and this program does not understand.
void report_notes(const ModelFacts& facts);

// Step one: header, dimensions, tokenizer.
struct OpenedModel {
  std::unique_ptr<stilla::ModelSource> source;
  ModelFacts facts;
  stilla::Tokenizer tokenizer;
  std::size_t context = 0;  // positions a text may have: --ctx or the model's, whichever is less
};
OpenedModel open_model(const ModelOptions& options);

// The tokenizer of a source, with `pretokenizer` instead of the source's if it is not empty; notes on it go to standard error.
stilla::Tokenizer open_tokenizer(const stilla::ModelSource& source, const std::string& pretokenizer = {});
// The same without a word; an error says the way out.
stilla::Result<stilla::Tokenizer> try_tokenizer(const stilla::ModelSource& source, const std::string& pretokenizer = {});

// The source's chat template, or the one of this name or in this file, with thoughts or without.
stilla::ChatTemplate chat_template_of(const stilla::ModelSource& source, const stilla::Tokenizer& tokenizer,
                                      const std::string& name_or_file, Think think);
// The source's own; an error says the way out.
stilla::Result<stilla::ChatTemplate> try_file_template(const stilla::ModelSource& source);
// The prompt of a conversation by that template; ends the program if the template refuses it.
stilla::ChatPrompt chat_prompt(const stilla::Tokenizer& tokenizer, const stilla::ChatTemplate& chat_template,
                               std::span<const stilla::ChatMessage> messages);
// The same template with thoughts or without, if the vocabulary has tokens for them.
void set_thinking(stilla::ChatTemplate& chat_template, const stilla::Tokenizer& tokenizer, Think think);

// Step two: weights, with progress on a terminal and a word of warning if memory will be short. Takes `model.source`.
Engine load_engine(OpenedModel& model, const ModelOptions& options, std::size_t batch = 512);

// For --verbose: target, threads, cache, seed, and whose kernels multiply which weights.
void report_engine(const Engine& engine, const stilla::SamplingOptions& sampling);
// The line for a text that reached the end of its context.
std::string context_full_text(const Engine& engine);

// "Stilla Drop (qwen2 3M q4_0, 1.7 MB)": name, type, size.
std::string introduction(const OpenedModel& model);
// "qwen2 494M q5_0": architecture, parameters, the format that most weights have.
std::string model_type_text(const stilla::ModelSource& source, const ModelFacts& facts);
std::uint64_t parameter_count(const stilla::ModelSource& source);

}  // namespace program
