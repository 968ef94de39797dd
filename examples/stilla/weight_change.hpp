// SPDX-License-Identifier: Apache-2.0
//
// What pack and export can do to a model's weights, in addition to requantising them: rotate them, and choose their codes by a
// text.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include <stilla/base/parallel.hpp>
#include <stilla/format/format_id.hpp>
#include <stilla/io/mapped_file.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/io/packed_file.hpp>
#include <stilla/model/config.hpp>

#include "output.hpp"

namespace program {

struct WeightChangeOptions {
  std::optional<stilla::Rotation> rotation = std::nullopt;
  std::string calibration;  // a text file; empty: none
};

// Adds --rotate and --calibrate.
void add_weight_change_options(CLI::App& app, WeightChangeOptions& options);
// For example ", rotated (residual,down), calibrated"; empty if nothing changes.
std::string change_text(const WeightChangeOptions& options);

class WeightChange {
 public:
  // weights: the format that the layers' matrices take; none: the file's. Ends the command if --calibrate has no use, or if a
  // file that cannot be rotated is to be rotated. The source must outlive this object. To read the text, the source is opened a
  // second time.
  WeightChange(const WeightChangeOptions& options, const stilla::ModelSource& source, stilla::LoadMode load_mode,
               std::optional<stilla::FormatId> weights, stilla::Parallel parallel);
  WeightChange(const WeightChange&) = delete;
  WeightChange& operator=(const WeightChange&) = delete;

  // The change, or null if nothing changes.
  const stilla::TensorChange* get() const { return change_.get(); }

 private:
  std::optional<ProgressLine> progress_;
  std::unique_ptr<stilla::TensorChange> change_;
};

}  // namespace program
