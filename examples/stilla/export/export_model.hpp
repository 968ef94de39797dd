// SPDX-License-Identifier: Apache-2.0
//
// What the code that builds graphs needs of a model: its dimensions, its vectors as floats, its matrices as they go into the weight
// file, and the formats of these matrices. Errors end the command (output.hpp), as everywhere in the program.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/base/parallel.hpp>
#include <stilla/format/format_id.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/model/config.hpp>

#include "matrices.hpp"
#include "source_weights.hpp"
#include "weight_file.hpp"

namespace program {

// The stacks (software for inference) that a folder can be written for.
enum class Stack : unsigned char {
  onnx,      // onnxruntime and onnxruntime-genai
  openvino,  // OpenVINO: CPU, and Intel's NPU
  qnn,       // onnxruntime with Qualcomm's QNN: Hexagon NPUs
};
std::string_view name_of(Stack stack);
std::optional<Stack> stack_by_name(std::string_view name);

class ExportModel {
 public:
  // Refuses a model that is not Qwen2 or Qwen3, a packed or rotated one, and one whose position embeddings turn only part of a
  // head's dimensions. `change` is what changes the weights before they are written, or null. `imatrix` is the importance of inputs
  // for weights that are requantised, or null. `rotation` says which rotations `change` makes. The graph then has the matching
  // transforms of activations.
  ExportModel(const stilla::GgufFile& source, std::size_t context, const stilla::TensorChange* change, const stilla::Imatrix* imatrix,
              const stilla::Rotation& rotation, stilla::Parallel parallel);

  const stilla::GgufFile& source() const { return source_.file(); }
  const SourceWeights& source_weights() const { return source_; }
  // The configuration of the model. Its member `rotation` says which rotations have been applied to the exported weights.
  const stilla::ModelConfig& config() const { return config_; }
  WeightFile& weights() { return weights_; }
  Matrices& matrices() { return matrices_; }
  const Matrices& matrices() const { return matrices_; }

  const stilla::GgufTensor& tensor(std::string_view name, std::size_t rows, std::size_t columns) const;
  const stilla::GgufTensor& embedding() const { return tensor("token_embd.weight", config_.vocabulary, config_.hidden); }
  // Returns the matrix of the head. If the file has no separate head, it is the embedding.
  const stilla::GgufTensor& head() const;
  std::vector<float> vector(const std::string& name, std::size_t size) const;
  // Returns the `size` values of the tensor called `name` as floats, as vector() does. If the model has no such tensor, vector() ends the
  // command with an error, and optional_vector() returns an empty vector.
  std::vector<float> optional_vector(const std::string& name, std::size_t size) const;

  stilla::RopeFrequencies rope_frequencies() const;
  // Places the cosines and sines of every position, [context, width], in the weight file. `width` is head_dim / 2 or head_dim. If it
  // is head_dim, every angle comes twice, for graphs that compute x * cos + rotate_half(x) * sin.
  struct Angles {
    onnx::FilePlace cos, sin;
    std::size_t positions = 0, width = 0;
  };
  Angles place_angles(std::size_t width);

 private:
  SourceWeights source_;
  stilla::ModelConfig config_;
  WeightFile weights_;
  Matrices matrices_;
};

}  // namespace program
