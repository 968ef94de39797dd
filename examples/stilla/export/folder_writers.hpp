// SPDX-License-Identifier: Apache-2.0
//
// Writes the files that an exported folder has for each stack.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <stilla/base/parallel.hpp>
#include <stilla/format/format_id.hpp>

#include "export_model.hpp"
#include "output_folder.hpp"

namespace program {

struct ExportRequest {
  Stack stack = Stack::onnx;
  std::optional<stilla::FormatId> weights = std::nullopt;
  // For qnn: the calibration texts, divided by lines that are "---". If the name of a control token, such as <|im_end|>, stands in a text,
  // it becomes the control token and not plain text.
  std::string calibration_text;
  std::size_t layers_of_part = 0;  // layers in one graph of the body; 0: as many as the NPU can map with their KV cache
};

// Returns the format that all matrices of the layers have in the folder, or nothing if the format is decided for each matrix by itself.
std::optional<stilla::FormatId> weights_of(const ExportRequest& request);
// Refuses a request that the stack cannot fulfil, and says the reason. Call this function before anything is written.
void check_request(const ExportModel& model, const ExportRequest& request);

// What write_graphs() reports: the parts into which it divided the body, and the number of tokens that it used for calibration.
struct Written {
  std::vector<std::pair<std::size_t, std::size_t>> parts;  // for each part of the body its first layer and the layer after its last
  std::size_t calibration_tokens = 0;
};
// Returns the file name of a graph: "context.onnx", or "context.0.onnx" if the body has several parts.
std::string part_file(const char* stage, std::size_t part, std::size_t parts);

Written write_graphs(OutputFolder& folder, ExportModel& model, const ExportRequest& request, stilla::Parallel parallel);

}  // namespace program
