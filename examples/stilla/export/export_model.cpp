// SPDX-License-Identifier: Apache-2.0
#include "export_model.hpp"

#include <span>
#include <utility>

#include <fmt/format.h>

#include <stilla/rope.hpp>

#include "../output.hpp"

namespace program {

namespace {
constexpr std::pair<std::string_view, Stack> stacks[] = {{"onnx", Stack::onnx}, {"openvino", Stack::openvino}, {"qnn", Stack::qnn}};
}  // namespace

std::string_view name_of(Stack stack) {
  for (const auto& [name, value] : stacks) {
    if (value == stack) return name;
  }
  return "";
}

std::optional<Stack> stack_by_name(std::string_view name) {
  for (const auto& [known, value] : stacks) {
    if (known == name) return value;
  }
  return std::nullopt;
}

ExportModel::ExportModel(const stilla::GgufFile& source, std::size_t context, const stilla::TensorChange* change,
                         const stilla::Imatrix* imatrix, const stilla::Rotation& rotation, stilla::Parallel parallel)
    : source_(source, change, imatrix, parallel), matrices_(source_, weights_) {
  const std::string path = stilla::printable_path(source.path());
  if (source.is_packed()) {
    fail(exit_usage, fmt::format("{}: is packed for this program's kernels; export the GGUF file that it was made of", path));
  }
  config_ = value_of(stilla::read_model_config(source));
  if (config_.architecture != "qwen2" && config_.architecture != "qwen3") {
    fail(source.key_error("general.architecture", "'", config_.architecture,
                          "' cannot be exported; the graphs that are written are those of Qwen2 and Qwen3"));
  }
  for (const std::string& note : config_.notes) message(note);
  if (config_.rotary_dim != config_.head_dim) {
    fail(source.key_error(config_.architecture + ".rope.dimension_count", "found ", config_.rotary_dim, "; the exported graphs turn all ",
                          config_.head_dim, " dimensions of a head"));
  }
  if (config_.rotation.any()) {
    fail(source.key_error(stilla::packed_rotation_key,
                          "the weights are rotated already; export the file that they were made of, with --rotate"));
  }
  config_.rotation = rotation;
  value_of(source.require_tensor("token_embd.weight"));
  if (context != 0 && context < config_.context) config_.context = context;
}

const stilla::GgufTensor& ExportModel::tensor(std::string_view name, std::size_t rows, std::size_t columns) const {
  value_of(source().require_tensor(name, {columns, rows}));
  return *source().find_tensor(name);
}

const stilla::GgufTensor& ExportModel::head() const {
  const bool is_tied = source().find_tensor("output.weight") == nullptr;
  return is_tied ? embedding() : tensor("output.weight", config_.vocabulary, config_.hidden);
}

std::vector<float> ExportModel::vector(const std::string& name, std::size_t size) const {
  return value_of(source_.vector(*value_of(source().require_tensor(name, {size}))));
}

std::vector<float> ExportModel::optional_vector(const std::string& name, std::size_t size) const {
  return source().find_tensor(name) != nullptr ? vector(name, size) : std::vector<float>();
}

stilla::RopeFrequencies ExportModel::rope_frequencies() const {
  const std::vector<float> factors = optional_vector("rope_freqs.weight", config_.rotary_dim / 2);
  return {static_cast<double>(config_.rope_base), config_.rotary_dim, factors.empty() ? nullptr : factors.data(), config_.rope_scaling};
}

ExportModel::Angles ExportModel::place_angles(std::size_t width) {
  const stilla::RopeFrequencies frequencies = rope_frequencies();
  const std::size_t pairs = frequencies.pairs(), positions = config_.context;
  const std::uint64_t bytes = std::uint64_t{positions} * width * sizeof(float);
  const Angles angles{weights_.reserve(bytes), weights_.reserve(bytes), positions, width};
  weights_.add_job([=](stilla::AtomicFile& file, const WeightFile::Advance& advance) {
    std::vector<float> cos(width), sin(width);
    for (std::size_t position = 0; position < positions; ++position) {
      frequencies.table_row(cos.data(), sin.data(), position);
      for (std::size_t i = pairs; i < width; ++i) {
        cos[i] = cos[i - pairs];
        sin[i] = sin[i - pairs];
      }
      const std::uint64_t at = position * width * sizeof(float);
      if (stilla::Status s = file.write(angles.cos.offset + at, std::as_bytes(std::span(cos))); !s) return s;
      if (stilla::Status s = file.write(angles.sin.offset + at, std::as_bytes(std::span(sin))); !s) return s;
    }
    return advance(2 * bytes);
  });
  return angles;
}

}  // namespace program
