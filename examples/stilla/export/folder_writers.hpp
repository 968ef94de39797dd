// SPDX-License-Identifier: Apache-2.0
//
// Which files a folder has for each stack.
#pragma once

#include <optional>
#include <string>

#include <stilla/format/format_id.hpp>

#include "export_model.hpp"
#include "output_folder.hpp"

namespace program {

struct ExportRequest {
  Stack stack = Stack::onnx;
  std::optional<stilla::FormatId> weights = std::nullopt;
};

// Refuses what the stack does not take, with the reason. First of all, before anything is written.
void check_request(const ExportModel& model, const ExportRequest& request);

// Everything but the weight file and the manifest.
void write_graphs(OutputFolder& folder, ExportModel& model, const ExportRequest& request);

}  // namespace program
