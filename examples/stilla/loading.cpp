// SPDX-License-Identifier: Apache-2.0
#include "loading.hpp"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <stilla/text/reasoning.hpp>
#include <stilla/text/source_tokenizer.hpp>

#include "embedded_model.hpp"
#include "output.hpp"
#include "platform.hpp"

namespace program {

OpenedModel open_model(const ModelOptions& options) {
  choose_target(options.target);
  std::unique_ptr<stilla::ModelSource> source = open_model_source(options.path);
  ModelFacts facts = value_of(read_model_facts(*source));
  stilla::Tokenizer tokenizer = value_of(stilla::read_tokenizer(*source));
  std::size_t context = facts.context;
  if (options.context > facts.context) {
    message(fmt::format("--ctx {} is more than the {} positions this model was trained for; using {}", options.context,
                        facts.context, facts.context));
  } else if (options.context != 0) {
    context = options.context;
  }
  return {std::move(source), std::move(facts), std::move(tokenizer), context};
}

stilla::ChatTemplate chat_template_of(const OpenedModel& model, const TextOptions& options) {
  stilla::ChatTemplate out;
  if (!options.chat_template.empty()) {
    out = value_of(stilla::chat_template_by_name(options.chat_template));
  } else {
    const std::string_view program = value_of(model.source->chat_template());
    stilla::Result<stilla::ChatTemplate> recognised = stilla::recognise_chat_template(program);
    if (!recognised) {
      fail(exit_refused, fmt::format("{}: {} (--chat-template), or continue plain text with `stilla run --raw`",
                                     stilla::printable_path(model.source->path()), recognised.error().message));
    }
    out = std::move(*recognised);
  }
  set_thinking(out, model.tokenizer, options.think);
  return out;
}

void set_thinking(stilla::ChatTemplate& chat_template, const stilla::Tokenizer& tokenizer, Think think) {
  const bool can_think = tokenizer.find(stilla::ReasoningSplitter::close_tag).has_value();
  chat_template.closes_reasoning = can_think && think == Think::off;
  // DeepSeek advises to begin every answer with a thought; older files leave that to the caller.
  if (can_think && chat_template.format == stilla::ChatFormat::deepseek_r1) chat_template.opens_reasoning = true;
}

Engine load_engine(OpenedModel& model, const ModelOptions& options, std::size_t batch) {
  // The cache grows with the text; weights and scratch memory are certain.
  const MemoryNeeds needs = value_of(memory_needs(*model.source, model.context, options.kv_type, batch, options.weights));
  const std::uint64_t memory = physical_memory_bytes();
  if (memory != 0 && needs.weights + needs.scratch > memory / 10 * 9) {
    message(fmt::format("this model needs {} and this machine has {}: expect it to be very slow or to be ended",
                        bytes_text(static_cast<double>(needs.weights + needs.scratch)),
                        bytes_text(static_cast<double>(memory))));
  }
  ProgressLine progress("loading");
  const EngineOptions engine_options{thread_count(options), model.context, options.kv_type, options.activations, batch,
                                     options.weights, options.device, options.onnxruntime};
  return Engine(std::move(model.source), engine_options,
                [&](std::size_t done, std::size_t total) { progress.show(done, total); });
}

void report_engine(const Engine& engine, const stilla::SamplingOptions& sampling, const ModelOptions& options) {
  message(fmt::format("target {}, threads {}, context {}, cache {}, seed {}", target_name(), engine.threads(),
                      engine.context(), kv_type_name(options.kv_type), sampling.seed));
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
  const auto most = std::max_element(weights.begin(), weights.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  const double parameters = static_cast<double>(parameter_count(source));
  const std::string size =
      parameters < 1e9 ? fmt::format("{:.0f}M", parameters / 1e6) : fmt::format("{:.2f}B", parameters / 1e9);
  return fmt::format("{} {} {}", facts.architecture, size, most != weights.end() ? most->first : "");
}

}  // namespace program
