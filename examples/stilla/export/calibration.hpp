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

#include "ranges.hpp"

namespace program {

struct Calibration {
  Ranges ranges;
  float mask_value = 0.0f;  // hides a key whatever its score: as far below zero as scores differ, and 24 more
  std::size_t tokens = 0;
};

// Loads the model, its layers in `weights`, so this takes the memory of running it. `texts`: token ids; what a text has more than
// `context` tokens is left out.
Calibration calibrate(const std::string& model_path, stilla::FormatId weights, const std::vector<std::vector<std::uint32_t>>& texts,
                      std::size_t context, stilla::Parallel parallel, const std::function<void(std::size_t, std::size_t)>& progress);

}  // namespace program
