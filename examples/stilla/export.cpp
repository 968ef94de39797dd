// SPDX-License-Identifier: Apache-2.0
//
// stilla export: writes a model as a folder that other software for inference (a stack) can run. The code that writes the files
// for each stack is in the folder export/.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <stilla/base/thread_pool.hpp>
#include <stilla/base/version.hpp>
#include <stilla/io/damaged_weights.hpp>
#include <stilla/io/gguf.hpp>

#include "commands.hpp"
#include "export/export_model.hpp"
#include "export/folder_writers.hpp"
#include "export/output_folder.hpp"
#include "imatrix_option.hpp"
#include "options.hpp"
#include "output.hpp"
#include "platform.hpp"
#include "requantised.hpp"
#include "stopwatch.hpp"
#include "text_input.hpp"
#include "weight_change.hpp"

namespace program {
namespace {

struct ExportOptions {
  std::string model;
  std::string output;
  ExportRequest request;
  std::size_t context = 0;  // 0: the model's, but with static shapes at most default_static_context
  std::size_t threads = 0;
  std::string calibration;  // a file's path; empty: no calibration
  WeightChangeOptions change;
};

// Returns the manifest of the exported folder, which says what became of the weights. It lists each requantised matrix with its
// error.
nlohmann::ordered_json manifest_of(const ExportModel& model, const ExportOptions& options, const stilla::TensorChange* change,
                                   const stilla::Imatrix* imatrix, const OutputFolder& folder, const Written& written) {
  using Keys = std::vector<std::pair<std::string_view, std::string>>;
  nlohmann::ordered_json json;
  json["producer"] = fmt::format("stilla {}.{}.{}", STILLA_VERSION_MAJOR, STILLA_VERSION_MINOR, STILLA_VERSION_PATCH);
  json["stack"] = name_of(options.request.stack);
  json["model"] = model.config().name;
  const stilla::ModelConfig& c = model.config();
  json["context"] = c.context;
  json["layers"] = c.n_layers;
  json["hidden"] = c.hidden;
  json["heads"] = c.n_heads;
  json["kv_heads"] = c.n_kv_heads;
  json["head_dim"] = c.head_dim;
  json["vocabulary"] = c.vocabulary;
  if (!written.parts.empty()) json["parts"] = written.parts;
  if (written.calibration_tokens != 0) json["calibration_tokens"] = written.calibration_tokens;
  for (const auto& [key, text] : change != nullptr ? change->keys() : Keys()) {
    json[key == stilla::packed_rotation_key ? "rotation" : "error_feedback"] = text;
  }
  if (imatrix != nullptr) json["importance"] = imatrix->identity();
  json["files"] = folder.files();
  json["requantised"] = nlohmann::ordered_json::array();
  for (const Requantised& r : model.matrices().requantised()) {
    json["requantised"].push_back({{"tensor", r.tensor},
                                   {"from", stilla::format_name(r.from)},
                                   {"to", stilla::format_name(r.to)},
                                   {"relative_rmse", r.relative_rmse}});
  }
  return json;
}

void report_requantised(const ExportModel& model) {
  const std::vector<Requantised>& all = model.matrices().requantised();
  if (all.empty()) return message("all weights are the file's, exactly");
  message(fmt::format("{}; {} lists all", requantised_summary(all), OutputFolder::manifest));
}

// The context that a folder for openvino or qnn has if the user gives none. Their graphs have static shapes: every step reads the whole
// context, so a step would be slow with the model's own context.
constexpr std::size_t default_static_context = 1024;

std::size_t context_of(const ExportOptions& options) {
  return options.context == 0 && options.request.stack != Stack::onnx ? default_static_context : options.context;
}

int run_export(ExportOptions options) {
  const Stopwatch watch;
  if (!options.calibration.empty()) options.request.calibration_text = read_file(options.calibration);
  const stilla::GgufFile source = value_of(stilla::GgufFile::open(options.model));
  stilla::ThreadPool pool(thread_count(options.threads));
  const WeightChange change(options.change, source, stilla::LoadMode::map, weights_of(options.request), pool);
  const std::optional<stilla::Imatrix> opened = open_imatrix(options.change.imatrix, weights_of(options.request), source);
  const stilla::Imatrix* const imatrix = opened ? &*opened : nullptr;
  ExportModel model(source, context_of(options), change.get(), imatrix, options.change.rotation.value_or(stilla::Rotation{}), pool);
  check_request(model, options.request);
  check(stilla::check_weights_are_numbers(source, pool));
  const FinishOnInterrupt finish_on_interrupt;  // so that Ctrl-C leaves nothing behind
  OutputFolder folder(options.output);
  const Written written = write_graphs(folder, model, options.request, pool);
  {
    ProgressLine progress("exporting");
    const stilla::Status status = model.weights().write(folder.file(WeightFile::name), [&](std::uint64_t done, std::uint64_t total) {
      progress.show(static_cast<std::size_t>(done), static_cast<std::size_t>(total));
      return !interrupted();
    });
    if (!status && interrupted()) return interrupted_status();
    check(status);
  }
  check(source.check_lengths());
  folder.write(OutputFolder::manifest, manifest_of(model, options, change.get(), imatrix, folder, written).dump(2) + "\n");
  folder.commit();
  report_requantised(model);
  message(fmt::format("wrote {} for {}, {} of weights{}, in {:.1f} s", stilla::printable_path(options.output),
                      name_of(options.request.stack), bytes_text(static_cast<double>(model.weights().size())), change_text(options.change),
                      watch.seconds()));
  return 0;
}

}  // namespace

void add_export(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<ExportOptions>();
  CLI::App* command = app.add_subcommand("export", "Write a Qwen2 or Qwen3 model as ONNX graphs for another stack");
  command
      ->add_option_function<std::string>(
          "--to",
          [options](const std::string& name) {
            const std::optional<Stack> stack = stack_by_name(name);
            if (!stack) {
              throw CLI::ValidationError("--to", fmt::format("found '{}'; supported: onnx, openvino, qnn", stilla::printable(name)));
            }
            options->request.stack = *stack;
          },
          "onnx: for onnxruntime-genai; openvino: static shapes, for OpenVINO and Intel's NPU; qnn: static shapes, 16-bit "
          "activations, for Qualcomm's NPUs")
      ->type_name("STACK")
      ->required();
  takes_path(command->add_option("model,-m,--model", options->model, "The model, a GGUF file"))->type_name("FILE")->required();
  takes_path(command->add_option("-o,--output", options->output, "The folder to write"))->type_name("FOLDER")->required();
  // The help of --weights says which format to choose for which stack. The measurements behind this advice are in examples/stilla/npu.md.
  add_weights_option(*command, options->request.weights,
                     "Requantise the layers' matrices.\n"
                     "openvino, qnn: int4_channel (default), best with --rotate and --calibrate; qnn: lpbq64 loses less without these;\n"
                     "onnx: q8_0 for the least loss, at 8.5 bits per weight (default: as the file has them, or else q4_0)");
  add_weight_change_options(*command, options->change);
  takes_path(command->add_option_function<std::string>(
                 "--calibration", [options](const std::string& path) { options->calibration = path; },
                 "qnn: a file with text of the kind that the model will see, from which the ranges of activations come; a line --- "
                 "begins "
                 "another text, <|special|> text is that token"))
      ->type_name("FILE");
  add_number<std::size_t>(*command, "--part-layers", options->request.layers_of_part, 1, std::size_t{1} << 12,
                          "Layers in one graph of the body (default: all; qnn: as many as an NPU can map, as `stilla npu check` says)");
  constexpr std::size_t max_context = std::size_t{1} << 20;
  add_number<std::size_t>(
      *command, "--ctx,-c", options->context, 1, max_context,
      "Positions that the graphs have room for (default: what the model was trained for, with static shapes at most 1024)");
  add_threads_option(*command, options->threads);
  command->callback([options, &chosen] { chosen = [options] { return run_export(*options); }; });
}

}  // namespace program
