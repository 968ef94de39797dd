// SPDX-License-Identifier: Apache-2.0
//
// Writes the files that a folder has for each stack.
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
  // For qnn: texts, divided by lines that are "---". <|special|> text in them is read as that token.
  std::string calibration_text;
  std::size_t layers_of_part = 0;  // of one body graph; 0: as many as its weights leave room for
};

// The format of the layers' matrices; none: it is decided for each matrix.
std::optional<stilla::FormatId> weights_of(const ExportRequest& request);
// Refuses what the stack does not take, and says the reason. To be called first, before anything is written.
void check_request(const ExportModel& model, const ExportRequest& request);

// Which parts and how many calibration tokens the written graphs have.
struct Written {
  std::vector<std::pair<std::size_t, std::size_t>> parts;  // first and last layer, exclusive, of each part of the body
  std::size_t calibration_tokens = 0;
};
// The file name of a graph: "context.onnx", or "context.0.onnx" where the body has several parts.
std::string part_file(const char* stage, std::size_t part, std::size_t parts);

Written write_graphs(OutputFolder& folder, ExportModel& model, const ExportRequest& request, stilla::Parallel parallel);

}  // namespace program
