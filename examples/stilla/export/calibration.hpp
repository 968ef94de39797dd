// SPDX-License-Identifier: Apache-2.0
//
// Finds the range of values that each tensor of a model takes while it evaluates some text. Integer activations are scaled by
// these ranges. The forward pass is computed operator by operator with the library's ops, with the operators and the tensor
// names of the graph of static_decoder.hpp. The library's own forward pass cannot be used, because it fuses operators and never
// has most of these tensors in memory.
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
  // The number that is added to the score of a key that must not be seen. It hides the key whatever the score is: it is below zero by
  // the greatest difference between two scores plus 24.
  float mask_value = 0.0f;
  std::size_t tokens = 0;
};

// Finds the ranges that the activations have when the model reads `texts`, which are lists of token ids. Tokens of a text beyond the
// model's context are left out, and so are tokens beyond max_calibration_tokens of all texts together. The layers' matrices are read in
// the format `weights`, one after the other, and all texts pass through one matrix before the next is read. So the memory needed is that
// of one matrix and of some 100 000 floats for each token.
inline constexpr std::size_t max_calibration_tokens = 4096;
Calibration calibrate(const ExportModel& model, stilla::FormatId weights, const std::vector<std::vector<std::uint32_t>>& texts,
                      stilla::Parallel parallel, const std::function<void(std::size_t, std::size_t)>& progress);

}  // namespace program
