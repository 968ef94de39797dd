// SPDX-License-Identifier: Apache-2.0
//
// stilla logits: writes the logits of every position of a text, float32 [tokens, vocabulary], as a NumPy file.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <stilla/io/damaged_weights.hpp>

#include "commands.hpp"
#include "loading.hpp"
#include "npy_writer.hpp"
#include "options.hpp"
#include "output.hpp"
#include "platform.hpp"
#include "text_input.hpp"

namespace program {
namespace {

struct LogitsOptions {
  ModelOptions model;
  std::string ids;
  std::string out;
};

// The number of positions evaluated at once. A row of logits is 600 KB for Qwen's vocabulary, so 512 rows would take 311 MB.
constexpr std::size_t positions = 32;

int logits(const LogitsOptions& options) {
  const std::string text = options.ids == "-" ? read_standard_input() : options.ids;
  const std::vector<std::uint32_t> ids = parse_list<std::uint32_t>("--ids", text, 0, 0xffffffffu);
  OpenedModel model = open_model(options.model);
  if (ids.size() > model.context) {
    fail(exit_usage, fmt::format("--ids has {} tokens, and the context holds {} (--ctx; at most {} for this model)", ids.size(),
                                 model.context, model.facts.context));
  }
  const std::size_t vocabulary = model.facts.vocabulary;
  const auto outside = std::find_if(ids.begin(), ids.end(), [&](std::uint32_t id) { return id >= vocabulary; });
  if (outside != ids.end()) {
    fail(exit_usage, fmt::format("--ids: token id {} is outside the model's vocabulary of {}", *outside, vocabulary));
  }
  const FinishOnInterrupt finish_on_interrupt;  // so that Ctrl-C leaves nothing behind
  // The output file is opened before the long work, so that an error shows early.
  NpyWriter writer(options.out, ids.size(), vocabulary);
  Engine engine = load_engine(model, options.model, positions);
  if (options.model.verbose) report_engine(engine, {});

  ProgressLine progress("evaluating");
  for (std::size_t at = 0; at < ids.size(); at += positions) {
    if (interrupted()) return interrupted_status();
    engine.evaluate_all(std::span(ids).subspan(at, std::min(positions, ids.size() - at)), [&](std::span<const float> row) {
      if (!stilla::all_finite(row)) engine.blame_weights();
      writer.add_row(row);
    });
    engine.begin_verification();
    progress.show(at, ids.size());
  }
  engine.check_files();
  engine.finish_verification();
  if (interrupted()) return interrupted_status();
  writer.finish();
  return 0;
}

}  // namespace

void add_logits(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<LogitsOptions>();
  CLI::App* command = app.add_subcommand("logits", "Write the logits of every position to a NumPy file");
  add_model_options(*command, options->model);
  add_rope_options(*command, options->model.rope);
  add_verify_option(*command, options->model.verifies);
  command->add_option("--ids", options->ids, "Token ids as given, none added: 1,2,3; - for standard input")->type_name("IDS")->required();
  takes_path(command->add_option("-o,--output", options->out, "The file, float32 [tokens, vocabulary]"))->type_name("OUT.npy")->required();
  command->footer("Example: stilla tokenize -m model.gguf \"Hello\" | stilla logits -m model.gguf --ids - -o hello.npy");
  command->callback([options, &chosen] { chosen = [options] { return logits(*options); }; });
}

}  // namespace program
