// SPDX-License-Identifier: Apache-2.0
//
// Makes an engine from a model file, in two steps. The first step reads what the file says of the model and its tokenizer, which is cheap.
// The second step reads the weights. Between the two, the program can refuse a prompt without having read the weights.
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

// Prints the notes, which name what the model file says and this program does not understand.
void report_notes(const ModelFacts& facts);
void report_notes(const stilla::ModelSource& source, const stilla::Tokenizer& tokenizer);

// What the first step of loading gives: the model file's metadata, the model's dimensions and the tokenizer. The weights are not
// loaded yet.
struct OpenedModel {
  std::unique_ptr<stilla::ModelSource> source;
  ModelFacts facts;
  stilla::Tokenizer tokenizer;
  std::size_t context = 0;  // positions a text may have: --ctx or the model's, whichever is less
};
OpenedModel open_model(const ModelOptions& options);

// Returns the tokenizer of a model file or folder. If `pretokenizer` is not empty, it names the way in which text is split into
// words, and what the file says of that is ignored. Notes on the tokenizer go to standard error.
stilla::Tokenizer open_tokenizer(const stilla::ModelSource& source, const std::string& pretokenizer = {});
// Returns the tokenizer as open_tokenizer() does, but prints no notes. If the tokenizer is refused and the option --pre can help, the error
// says so.
stilla::Result<stilla::Tokenizer> try_tokenizer(const stilla::ModelSource& source, const std::string& pretokenizer = {});

// Returns a chat template. If `name_or_file` is empty, it is the source's own template. Otherwise it is the library's template with that
// name or, if there is none, the template in the file with that path. `think` says whether its answers begin with a thought.
stilla::ChatTemplate chat_template_of(const stilla::ModelSource& source, const stilla::Tokenizer& tokenizer,
                                      const std::string& name_or_file, Think think);
// Returns the source's own chat template. If it cannot be used, the error says how to do without it.
stilla::Result<stilla::ChatTemplate> try_file_template(const stilla::ModelSource& source);
// Returns the prompt that the template makes of a conversation. Ends the program if the template refuses the conversation.
stilla::ChatPrompt chat_prompt(const stilla::Tokenizer& tokenizer, const stilla::ChatTemplate& chat_template,
                               std::span<const stilla::ChatMessage> messages);
// Makes the template ask for thoughts or not, if the vocabulary has tokens for them.
void set_thinking(stilla::ChatTemplate& chat_template, const stilla::Tokenizer& tokenizer, Think think);

// Does the second step of loading: loads the weights of an opened model. Shows progress on a terminal, and warns if memory will be
// short. Takes over `model.source`.
Engine load_engine(OpenedModel& model, const ModelOptions& options, std::size_t batch = 512);

// Prints for --verbose: target, threads, cache, seed, and which target's kernels multiply which weights.
void report_engine(const Engine& engine, const stilla::SamplingOptions& sampling);
// Returns the message for a text that reached the end of its context.
std::string context_full_text(const Engine& engine);

// Returns the name, type and size of a model, for example "Stilla Drop (qwen2 3M q4_0, 1.7 MB)".
std::string introduction(const OpenedModel& model);
// Returns the architecture, the number of parameters and the format that most weights have, for example "qwen2 494M q5_0".
std::string model_type_text(const stilla::ModelSource& source, const ModelFacts& facts);
std::uint64_t parameter_count(const stilla::ModelSource& source);

}  // namespace program
