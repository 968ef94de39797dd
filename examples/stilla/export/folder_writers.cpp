// SPDX-License-Identifier: Apache-2.0
#include "folder_writers.hpp"

#include <fmt/format.h>

#include "../output.hpp"
#include "genai_decoder.hpp"
#include "genai_files.hpp"
#include "onnx_file.hpp"
#include "static_decoder.hpp"

namespace program {
namespace {

void write_graph(OutputFolder& folder, const std::string& name, const onnx::Graph& graph) {
  folder.write(name, onnx::serialised(graph, WeightFile::name));
}

void write_onnx(OutputFolder& folder, ExportModel& model, const ExportRequest& request) {
  write_graph(folder, "model.onnx", genai_decoder(model, request.weights));
  folder.write("genai_config.json", genai_config(model, "model.onnx"));
}

stilla::FormatId static_weights(const ExportRequest& request) {
  return request.weights.value_or(stilla::format_id("int4_channel"));
}

void write_openvino(OutputFolder& folder, ExportModel& model, const ExportRequest& request) {
  const StaticDialect dialect;
  const LayerRange all{0, model.config().n_layers};
  write_graph(folder, "embeddings.onnx", embeddings_stage(model, dialect));
  write_graph(folder, "context.onnx", body_stage(model, dialect, static_weights(request), window, all));
  write_graph(folder, "iterator.onnx", body_stage(model, dialect, static_weights(request), 1, all));
  write_graph(folder, "head.onnx", head_stage(model, dialect, false));
}

void refuse_weights(stilla::FormatId format, const std::string& reason) {
  fail(exit_usage, fmt::format("--weights {}: {}", stilla::format_name(format), reason));
}

// What NPUs say to a format.
void check_static_weights(const ExportRequest& request) {
  const stilla::FormatId format = static_weights(request);
  const std::optional<IntegerForm> form = integer_form(format);
  const bool is_openvino = request.stack == Stack::openvino;
  const char* demands = is_openvino ? "OpenVINO's NPU stack takes symmetric int4 or int8, per channel or in groups of 128"
                                    : "Qualcomm's QNN takes symmetric int4 or int8 per channel, or LPBQ";
  if (!form) refuse_weights(format, fmt::format("these are floats; {}", demands));
  if (form->has_minimums) refuse_weights(format, fmt::format("these are asymmetric; {}", demands));
  const bool fits = form->group == 0 || (is_openvino && form->group == 128);
  if (!fits) refuse_weights(format, fmt::format("{} weights share a scale; {}", form->group, demands));
}

}  // namespace

void check_request(const ExportModel& model, const ExportRequest& request) {
  if (request.stack == Stack::onnx) {
    const std::optional<IntegerForm> form = request.weights ? integer_form(*request.weights) : IntegerForm{4, 32, false};
    constexpr const char* demands = "onnxruntime's MatMulNBits takes integers with a scale for 16 to 256 weights";
    if (!form) refuse_weights(*request.weights, fmt::format("these are floats; {}", demands));
    if (form->has_minimums) {
      refuse_weights(*request.weights, "its minimums are no integer zero points, which onnxruntime's MatMulNBits wants; without "
                                       "--weights a file's own are kept where they are");
    }
    if (form->group == 0) refuse_weights(*request.weights, fmt::format("a whole row has one scale; {}", demands));
    return;
  }
  check_static_weights(request);
  if (model.config().context <= window) {
    fail(exit_usage, fmt::format("--ctx {}: the graphs for prompts take {} tokens at once, so the context must be longer",
                                 model.config().context, window));
  }
}

void write_graphs(OutputFolder& folder, ExportModel& model, const ExportRequest& request) {
  switch (request.stack) {
    case Stack::onnx: write_onnx(folder, model, request); break;
    case Stack::openvino: write_openvino(folder, model, request); break;
    case Stack::qnn: fail(exit_usage, "--to qnn is not there yet");
  }
  folder.write("tokenizer.json", tokenizer_json(model));
  folder.write("tokenizer_config.json", tokenizer_config_json(model));
}

}  // namespace program
