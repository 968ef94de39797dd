// SPDX-License-Identifier: Apache-2.0
#include "folder_writers.hpp"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include <fmt/format.h>

#include <stilla/model/npu_check.hpp>
#include <stilla/text/chat_template.hpp>
#include <stilla/text/source_tokenizer.hpp>

#include "../output.hpp"
#include "calibration.hpp"
#include "genai_decoder.hpp"
#include "genai_files.hpp"
#include "onnx_file.hpp"
#include "qdq.hpp"
#include "static_decoder.hpp"

namespace program {

std::string part_file(const char* stage, std::size_t part, std::size_t parts) {
  return parts == 1 ? fmt::format("{}.onnx", stage) : fmt::format("{}.{}.onnx", stage, part);
}

namespace {

void write_graph(OutputFolder& folder, const std::string& name, const onnx::Graph& graph) {
  folder.write(name, onnx::serialised(graph, WeightFile::name));
}

void write_onnx(OutputFolder& folder, ExportModel& model, const ExportRequest& request) {
  write_graph(folder, "model.onnx", genai_decoder(model, request.weights));
  folder.write("genai_config.json", genai_config(model, "model.onnx"));
}

stilla::FormatId static_weights(const ExportRequest& request) { return request.weights.value_or(stilla::format_id("int4_channel")); }

// Returns the NPU that `stack` is for, or the first of several. The list npu_descriptors has at least one NPU for OpenVINO and one for QNN.
const stilla::NpuDescriptor& npu_of(Stack stack) {
  const std::string_view name = stack == Stack::qnn ? "QNN HTP" : "OpenVINO";
  const auto is_for_it = [&](const stilla::NpuDescriptor& npu) { return npu.stack == name; };
  return *std::find_if(stilla::npu_descriptors.begin(), stilla::npu_descriptors.end(), is_for_it);
}

// Returns the layers of each part of the body. A part has as many layers as the request says or, if the request does not say it, as many
// as `stilla npu check` gives to a part on this stack's NPU. In the second case there are no parts if a single layer is too large for
// the NPU.
std::vector<LayerRange> parts_of(const ExportModel& model, const ExportRequest& request) {
  const stilla::ModelConfig& c = model.config();
  std::vector<LayerRange> parts;
  if (const std::size_t step = request.layers_of_part; step != 0) {
    for (std::size_t begin = 0; begin < c.n_layers; begin += step) parts.push_back({begin, std::min(begin + step, c.n_layers)});
    return parts;
  }
  const stilla::NpuDescriptor& npu = npu_of(request.stack);
  for (const stilla::NpuPart& part : value_of(stilla::npu_parts(npu, static_weights(request), model.source(), c, c.context))) {
    parts.push_back({part.first_layer, part.first_layer + part.layers});
  }
  return parts;
}

// Writes the graphs of embeddings, body and head. Each graph of the body is passed to `finish`, and the graph that `finish` returns
// is written.
template <class Finish>
void write_stages(OutputFolder& folder, ExportModel& model, const ExportRequest& request, const StaticDialect& dialect, Written& written,
                  const Finish& finish) {
  write_graph(folder, "embeddings.onnx", embeddings_stage(model, dialect));
  const std::vector<LayerRange> parts = parts_of(model, request);
  for (std::size_t part = 0; part < parts.size(); ++part) {
    written.parts.emplace_back(parts[part].begin, parts[part].end);
    for (const auto& [stage, tokens] : {std::pair("context", window), std::pair("iterator", std::size_t{1})}) {
      write_graph(folder, part_file(stage, part, parts.size()),
                  finish(body_stage(model, dialect, static_weights(request), tokens, parts[part]), parts[part]));
    }
  }
  write_graph(folder, "head.onnx", head_stage(model, dialect, request.stack == Stack::qnn));
}

void write_openvino(OutputFolder& folder, ExportModel& model, const ExportRequest& request, Written& written) {
  write_stages(folder, model, request, StaticDialect(), written, [](onnx::Graph graph, const LayerRange&) { return graph; });
}

// Returns the token ids of the texts in `text`. A line "---" divides two texts.
std::vector<std::vector<std::uint32_t>> calibration_ids(const ExportModel& model, std::string_view text) {
  const stilla::Tokenizer tokenizer = value_of(stilla::read_tokenizer(model.source()));
  constexpr std::string_view divider = "\n---\n";
  std::vector<std::vector<std::uint32_t>> ids;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(divider), text.size());
    if (end != 0) ids.push_back(stilla::encode_prompt(tokenizer, text.substr(0, end), stilla::SpecialTokens::parse));
    text.remove_prefix(std::min(end + divider.size(), text.size()));
  }
  return ids;
}

void write_qnn(OutputFolder& folder, ExportModel& model, const ExportRequest& request, Written& written, stilla::Parallel parallel) {
  ProgressLine progress("calibrating");
  const Calibration calibration = calibrate(model, static_weights(request), calibration_ids(model, request.calibration_text), parallel,
                                            [&](std::size_t done, std::size_t total) { progress.show(done, total); });
  written.calibration_tokens = calibration.tokens;
  StaticDialect dialect;
  dialect.opset = 23;
  dialect.has_rms_norm = true;
  dialect.has_dequantize_linear = true;
  dialect.mask_value = calibration.mask_value;
  write_stages(folder, model, request, dialect, written, [&](const onnx::Graph& graph, const LayerRange& layers) {
    // A tensor between two parts of the body has one range of values: the input of a part has the range that the output of the part
    // before it had in calibration.
    Ranges ranges = calibration.ranges;
    if (layers.begin != 0) ranges["hidden"] = *ranges.find(fmt::format("blk.{}.output", layers.begin - 1));
    ranges["hidden_out"] = *ranges.find(fmt::format("blk.{}.output", layers.end - 1));
    return with_16_bit_activations(graph, ranges);
  });
}

void refuse_weights(stilla::FormatId format, const std::string& reason) {
  fail(exit_usage, fmt::format("--weights {}: {}", stilla::format_name(format), reason));
}

// Refuses weight formats that the chosen stack for NPUs (openvino or qnn) does not take.
void check_static_weights(const ExportRequest& request) {
  const stilla::FormatId format = static_weights(request);
  const std::optional<IntegerForm> form = integer_form(format);
  const bool is_openvino = request.stack == Stack::openvino;
  const char* demands = is_openvino ? "OpenVINO's NPU stack takes symmetric int4 or int8, per channel or in groups of 128"
                                    : "Qualcomm's QNN takes symmetric int4 or int8 per channel, or LPBQ";
  if (!form) refuse_weights(format, fmt::format("these are floats; {}", demands));
  if (form->has_minimums) refuse_weights(format, fmt::format("these are asymmetric; {}", demands));
  const bool fits = form->group == 0 || (is_openvino ? form->group == 128 && !form->has_block_scales : form->has_block_scales);
  if (!fits) refuse_weights(format, fmt::format("{} weights share a scale; {}", form->group, demands));
}

}  // namespace

std::optional<stilla::FormatId> weights_of(const ExportRequest& request) {
  return request.stack == Stack::onnx ? request.weights : static_weights(request);
}

void check_request(const ExportModel& model, const ExportRequest& request) {
  if (request.stack == Stack::onnx) {
    const std::optional<IntegerForm> form = request.weights ? integer_form(*request.weights) : IntegerForm{4, 32, false};
    constexpr const char* demands = "onnxruntime's MatMulNBits takes integers with a scale for 16 to 256 weights";
    if (!form) refuse_weights(*request.weights, fmt::format("these are floats; {}", demands));
    if (form->has_minimums && !form->has_zero_points) {
      refuse_weights(*request.weights,
                     "its minimums are no integer zero points, which onnxruntime's MatMulNBits wants; without "
                     "--weights a file's own are kept where they are");
    }
    if (form->group == 0) refuse_weights(*request.weights, fmt::format("a whole row has one scale; {}", demands));
    return;
  }
  check_static_weights(request);
  if (request.stack == Stack::qnn && request.calibration_text.empty()) {
    fail(exit_usage,
         "--to qnn needs --calibration FILE: Qualcomm's QNN takes 16-bit activations of fixed ranges, which are those "
         "that the model's values have in a text");
  }
  if (model.config().context <= window) {
    fail(exit_usage, fmt::format("--ctx {}: the graphs for prompts take {} tokens at once, so the context must be longer",
                                 model.config().context, window));
  }
  if (parts_of(model, request).empty()) {
    fail(exit_usage,
         fmt::format("--ctx {}: a layer and its keys and values have more than the {} bytes that a process can map for an NPU by {}",
                     model.config().context, npu_of(request.stack).mapping_bytes.value, npu_of(request.stack).stack));
  }
}

Written write_graphs(OutputFolder& folder, ExportModel& model, const ExportRequest& request, stilla::Parallel parallel) {
  Written written;
  switch (request.stack) {
    case Stack::onnx: write_onnx(folder, model, request); break;
    case Stack::openvino: write_openvino(folder, model, request, written); break;
    case Stack::qnn: write_qnn(folder, model, request, written, parallel); break;
  }
  folder.write("tokenizer.json", tokenizer_json(model));
  folder.write("tokenizer_config.json", tokenizer_config_json(model));
  return written;
}

}  // namespace program
