// SPDX-License-Identifier: Apache-2.0
//
// The ranges of values that a model's tensors take in some text: what integer activations are scaled by. The forward pass is
// gone through operator by operator with the library's ops, as the graph of static_decoder.hpp has them and under its names,
// because the library's own pass fuses them and never has most of these tensors in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <stilla/base/parallel.hpp>
#include <stilla/format/format_id.hpp>

#include "export_model.hpp"
#include "ranges.hpp"

namespace program {

struct Calibration {
  Ranges ranges;
  float mask_value = 0.0f;  // hides a key whatever its score: as far below zero as scores differ, and 24 more
  std::size_t tokens = 0;
};

// `texts`: token ids; what a text has more than the model's context, and all have more than most_calibration_tokens together, is
// left out. The layers' matrices are read as `weights` one after the other, all texts go through one before the next is read: it
// takes the memory of one matrix and of some 100 000 floats for each token.
inline constexpr std::size_t most_calibration_tokens = 4096;
Calibration calibrate(const ExportModel& model, stilla::FormatId weights, const std::vector<std::vector<std::uint32_t>>& texts,
                      stilla::Parallel parallel, const std::function<void(std::size_t, std::size_t)>& progress);

}  // namespace program
