// SPDX-License-Identifier: Apache-2.0
//
// What pack and export can do to a model's weights, in addition to requantising them: rotate them (model/rotation.hpp), and choose
// the codes of the requantised weights with the help of a text, so that each matrix's products with its inputs in this text change as
// little as possible (model/calibration.hpp). In place of both, the scales can be chosen by an importance matrix (imatrix_option.hpp).
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
  std::string imatrix;      // an importance matrix; empty: none. WeightChange does not use it
};

// Adds the options --rotate, --calibrate and --imatrix.
void add_weight_change_options(CLI::App& app, WeightChangeOptions& options);
// Describes the changes, for example ", rotated (residual,down), calibrated" or ", by importance". Returns nothing if nothing changes.
std::string change_text(const WeightChangeOptions& options);

class WeightChange {
 public:
  // Prepares the changes that `options` asks for. `weights` is the format to which the layers' matrices are requantised. If it is not
  // given, they keep the file's format. Ends the command with an error in these cases: a rotation is asked for and the model cannot
  // be rotated; or --calibrate is given, and `weights` is not a format whose codes can be chosen, or its file has no text. The source
  // must outlive this object. For --calibrate the model is opened and loaded a second time, because the text is evaluated with it.
  WeightChange(const WeightChangeOptions& options, const stilla::ModelSource& source, stilla::LoadMode load_mode,
               std::optional<stilla::FormatId> weights, stilla::Parallel parallel);
  WeightChange(const WeightChange&) = delete;
  WeightChange& operator=(const WeightChange&) = delete;

  // Returns the object that changes the weights, or null if nothing changes.
  const stilla::TensorChange* get() const { return change_.get(); }

 private:
  std::optional<ProgressLine> progress_;
  std::unique_ptr<stilla::TensorChange> change_;
};

}  // namespace program
