// SPDX-License-Identifier: Apache-2.0
#include "weight_change.hpp"

#include <cstdint>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <stilla/model/calibration.hpp>

#include "embedded_model.hpp"
#include "imatrix_option.hpp"
#include "loading.hpp"
#include "needed_format.hpp"
#include "text_input.hpp"

namespace program {
namespace {

constexpr std::size_t max_tokens = 16384;

std::vector<std::uint32_t> calibration_ids(const stilla::ModelSource& source, const std::string& path) {
  std::vector<std::uint32_t> ids = open_tokenizer(source).encode(read_file(path), stilla::SpecialTokens::as_text);
  if (ids.size() > max_tokens) {
    message(fmt::format("calibrating by the first {} of {} tokens of {}", max_tokens, ids.size(), stilla::printable_path(path)));
    ids.resize(max_tokens);
  }
  if (ids.empty()) fail(exit_usage, fmt::format("--calibrate {}: the file has no text", stilla::printable_path(path)));
  return ids;
}

}  // namespace

void add_weight_change_options(CLI::App& app, WeightChangeOptions& options) {
  CLI::Option* const rotate =
      app.add_option_function<std::string>(
             "--rotate",
             [&options](const std::string& text) {
               options.rotation = stilla::parse_rotation(text == "all" ? "residual,heads,down" : text);
               if (!options.rotation) throw CLI::ValidationError("--rotate", "expected all, or some of residual,heads,down");
             },
             "Rotate the network, so that weights with one scale for each row (--weights int4_channel) lose less: all, or some of "
             "residual,heads,down")
          ->type_name("PARTS");
  CLI::Option* const calibrate =
      takes_path(
          app.add_option("--calibrate", options.calibration,
                         "Choose the weights' codes so that their errors cancel in products with what the network gets while it reads this "
                         "text; takes minutes"))
          ->type_name("FILE");
  add_imatrix_option(app, options.imatrix)->excludes(rotate)->excludes(calibrate);
}

std::string change_text(const WeightChangeOptions& options) {
  std::string text = options.rotation ? fmt::format(", rotated ({})", stilla::rotation_text(*options.rotation)) : "";
  if (!options.calibration.empty()) text += ", calibrated";
  if (!options.imatrix.empty()) text += ", by importance";
  return text;
}

WeightChange::WeightChange(const WeightChangeOptions& options, const stilla::ModelSource& source, stilla::LoadMode load_mode,
                           std::optional<stilla::FormatId> weights, stilla::Parallel parallel) {
  if (!options.rotation && options.calibration.empty()) return;
  stilla::RotatedWeights rotated = value_of(stilla::RotatedWeights::create(source, options.rotation.value_or(stilla::Rotation{})));
  if (options.calibration.empty()) {
    change_ = std::make_unique<stilla::RotatedWeights>(std::move(rotated));
    return;
  }
  check_needed_format(weights, "--calibrate", "codes can be chosen", []<class F>(F) { return stilla::ChosenCodesFormat<F>; });
  const auto load = [path = std::string(source.path()), load_mode, parallel]() -> stilla::Result<stilla::Model> {
    stilla::Result<std::unique_ptr<stilla::ModelSource>> model = try_open_source(path, load_mode);
    if (!model) return model.error();
    return stilla::Model::load(std::move(*model), parallel);
  };
  stilla::CalibrationOptions calibration;
  calibration.progress = [this](std::size_t done, std::size_t total) {
    if (!progress_) progress_.emplace("calibrating");
    progress_->show(done, total);
    if (done == total) progress_.reset();
  };
  change_ = std::make_unique<stilla::CalibratedWeights>(value_of(
      stilla::CalibratedWeights::create(load, std::move(rotated), calibration_ids(source, options.calibration), parallel, calibration)));
}

}  // namespace program
