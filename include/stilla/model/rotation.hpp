// SPDX-License-Identifier: Apache-2.0
//
// Rotates the weights of a network, so that int4 with one scale for each row, which NPUs multiply fastest, loses less. An
// orthogonal matrix between two linear layers can be multiplied into both of them and then cancels. Outliers, which were in a few
// columns, are then spread over all columns. The method is that of Ashkboos et al., "QuaRot" (2024); changes to it are marked *.
//
//   residual   The residual stream x becomes x Q. Norms do not subtract a mean, so rms(x Q) = rms(x). Their gains g move into the
//              matrices behind them:  W -> W diag(g) Q  for query, key, value, gate and up;  W -> Q^T W  for the attention's
//              output and for down. * Embedding and head stay as the file has them: x is rotated after the embedding and
//              back before the last norm. This costs a token two transforms and leaves the most sensitive matrices unchanged.
//   heads      Each value head v becomes v R. The attention's output matrix rotates each query head's part of its input back:
//              W_v -> R^T W_v, W_o -> W_o R, head by head. * The bias of the values is rotated too: the weights of a softmax
//              sum to one, so that a bias of the values is a bias of the output.
//   down       The input `a` of down becomes a H, and W -> W H. Its outliers come from silu(gate) * up. No matrix lies between this
//              product and down, so H cannot be multiplied into weights there, and each forward pass must transform `a`. This
//              rotation helps most. For each token and layer it costs a transform of as many values as the feed-forward network
//              is wide.
//
// These are the orthogonal matrices, for a width n = m * p, where p is the largest power of two that divides n, I_m the unit matrix
// of width m and (x) the Kronecker product:
//
//     H = I_m (x) Hadamard_p / sqrt(p)            the transform of contract/elementwise.hpp
//     R = diag(+-1) H                             for one head
//     Q = diag(+-1) H                             of the residual stream
//
// H transforms each of the m parts of a row by itself, and nothing mixes the parts. Mixing was tried with a reflection and with
// Hartley's transform. The KL divergence was 0.252 with the reflection, 0.307 with Hartley's transform, and 0.237 without mixing
// (Qwen2.5 0.5B, m = 7, int4_channel, residual alone). Both also cost more operations.
//
// The sign of a position is the highest bit of splitmix64 of the position. All these matrices are orthogonal and need O(n log n)
// operations. With exact weights the network computes the same as before, except for the rounding of floats
// (tests/rotation_test.cpp).
//
// The key stilla.packed.rotation of a packed file says which rotations its weights contain: "residual,heads,down", or some of
// these.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/base/random.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/io/packed_file.hpp>
#include <stilla/model/config.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The inputs of the matrices of a layer, in this order: the input of query, key and value; that of the attention's output matrix;
// that of gate and up; that of down.
enum class LinearInput : std::uint8_t { attention, attention_output, ffn, down };

// An orthogonal matrix Q of n rows and columns, a Hadamard transform with or without signs; n is a multiple of 16.
class FastRotation {
 public:
  FastRotation() = default;
  FastRotation(std::size_t width, bool has_signs)
      : width_(width), factor_(1.0 / std::sqrt(static_cast<double>(hadamard_run(width)))), signs_(has_signs ? width : 0) {
    for (std::size_t i = 0; i < signs_.size(); ++i) signs_[i] = splitmix64(0, i) >> 63 != 0 ? -1.0f : 1.0f;
  }

  std::size_t width() const { return width_; }
  // The signs of the matrix, 1 or -1 for each position; empty if all are 1.
  const std::vector<float>& signs() const { return signs_; }

  // rotate() turns the row x into x Q, rotate_back() into x Q^T. Rows of floats are computed by the kernel of the active target, with
  // the same bits on all targets. Rows of doubles are used for weights only.
  void rotate(float* x) const {
    scale(x);
    detail::row_kernel<Hadamard>(active_target())(x, width_);
  }
  void rotate_back(float* x) const {
    detail::row_kernel<Hadamard>(active_target())(x, width_);
    scale(x);
  }
  void rotate(double* x) const {
    scale(x);
    hadamard_butterflies(x, width_);
  }

 private:
  template <class T>
  void scale(T* x) const {
    const T factor = static_cast<T>(factor_);
    for (std::size_t i = 0; i < width_; ++i) x[i] *= factor;
    for (std::size_t i = 0; i < signs_.size(); ++i) x[i] *= static_cast<T>(signs_[i]);
  }

  std::size_t width_ = 0;
  double factor_ = 1.0;
  std::vector<float> signs_;
};

// Returns which input of a layer a matrix multiplies. `part` is the matrix's name without its layer, for example "attn_q.weight".
// Returns nothing if the tensor is not one of the seven matrices of a layer.
inline std::optional<LinearInput> input_of_part(std::string_view part) {
  constexpr std::pair<std::string_view, LinearInput> known[] = {
      {"attn_q.weight", LinearInput::attention}, {"attn_k.weight", LinearInput::attention},
      {"attn_v.weight", LinearInput::attention}, {"attn_output.weight", LinearInput::attention_output},
      {"ffn_gate.weight", LinearInput::ffn},     {"ffn_up.weight", LinearInput::ffn},
      {"ffn_down.weight", LinearInput::down}};
  for (const auto& [name, input] : known) {
    if (part == name) return input;
  }
  return std::nullopt;
}

inline FastRotation residual_rotation(const ModelConfig& c) { return {c.hidden, true}; }
inline FastRotation head_rotation(const ModelConfig& c) { return {c.head_dim, true}; }
inline FastRotation down_rotation(const ModelConfig& c) { return {c.ffn, false}; }

// The weights of a model with rotations multiplied in, for write_packed_file. The source must outlive this object.
class RotatedWeights : public TensorChange {
 public:
  // Refuses a model whose dimensions cannot be read or rotated, or that is already rotated.
  static Result<RotatedWeights> create(const ModelSource& source, const Rotation& rotation) {
    Result<ModelConfig> config = read_model_config(source);
    if (!config) return config.error();
    if (config->rotation.any()) return source.key_error(packed_rotation_key, "the weights are rotated already");
    if (Status s = check_rotation(source, *config, rotation); !s) return s.error();
    return RotatedWeights(source, std::move(*config), rotation);
  }

  const ModelConfig& config() const { return config_; }

  std::vector<std::pair<std::string_view, std::string>> keys() const override {
    if (!rotation_.any()) return {};
    return {{packed_rotation_key, rotation_text(rotation_)}};
  }

  bool changes(const TensorInfo& tensor) const override {
    const std::optional<LayerTensor> of_layer = layer_tensor(tensor.name);
    if (!of_layer) return false;
    const std::string_view part = of_layer->part;
    const bool is_of_heads = detail::is_one_of(part, {"attn_v.weight", "attn_v.bias", "attn_output.weight"});
    return (rotation_.residual && (is_norm(part) || reads_residual(part) || writes_residual(part))) || (rotation_.heads && is_of_heads) ||
           (rotation_.down && part == "ffn_down.weight");
  }

  // Changes x, a row of inputs of a matrix of the original network, into the row of inputs that this matrix has in the rotated
  // network. `input` says which of a layer's inputs x is. For query, key and value, and for gate and up, `gain` is the gain of the norm
  // before these matrices. If the residual stream is rotated, x is divided by this gain, because the rotated weights contain it.
  void rotate_input(float* x, LinearInput input, const std::vector<float>& gain) const {
    const auto rotate = [&](const FastRotation& rotation, std::size_t width) {
      for (std::size_t first = 0; first < width; first += rotation.width()) rotation.rotate(x + first);
    };
    if (input == LinearInput::attention || input == LinearInput::ffn) {
      if (!rotation_.residual) return;
      for (std::size_t i = 0; i < config_.hidden; ++i) x[i] = gain[i] == 0.0f ? 0.0f : x[i] / gain[i];
      rotate(residual_, config_.hidden);
    } else if (input == LinearInput::attention_output && rotation_.heads) {
      rotate(heads_, config_.n_heads * config_.head_dim);
    } else if (input == LinearInput::down && rotation_.down) {
      rotate(down_, config_.ffn);
    }
  }

  // Multiplies the rotations into a tensor, whose rows are `values`. Each thread needs memory for a few vectors of doubles.
  Status apply(const TensorInfo& tensor, Matrix values, Parallel parallel) const override {
    const std::optional<LayerTensor> of_layer = layer_tensor(tensor.name);
    if (!of_layer) return success();
    const std::string_view part = of_layer->part;
    if (is_norm(part)) {
      for (std::size_t i = 0; i < values.cols; ++i) values.row(0)[i] = 1.0f;  // the norm's gain is now in the matrices behind the norm
      return success();
    }
    const bool is_vector = values.rows == 1;
    const auto expect = [&](std::size_t found, std::size_t width) -> Status {
      if (found == width) return success();
      return source_->tensor_error(tensor, "found ", found, " values to rotate; expected ", width);
    };
    std::vector<float> gain;
    if (rotation_.residual && reads_residual(part)) {
      if (Status s = expect(values.cols, config_.hidden); !s) return s;
      if (Status s = read_gain(tensor.name, part, gain); !s) return s;
      rotate_rows(values, residual_, gain, parallel);
    }
    if (rotation_.residual && writes_residual(part)) {
      if (is_vector) {
        if (Status s = expect(values.cols, config_.hidden); !s) return s;
        rotate_rows(values, residual_, {}, parallel);
      } else {
        if (Status s = expect(values.rows, config_.hidden); !s) return s;
        rotate_columns(values, residual_, parallel);
      }
    }
    if (rotation_.heads && part == "attn_output.weight") {
      if (Status s = expect(values.cols, config_.n_heads * config_.head_dim); !s) return s;
      rotate_rows(values, heads_, {}, parallel);
    }
    if (rotation_.heads && part == "attn_v.weight") {
      if (Status s = expect(values.rows, config_.n_kv_heads * config_.head_dim); !s) return s;
      rotate_columns(values, heads_, parallel);
    }
    if (rotation_.heads && part == "attn_v.bias") {
      if (Status s = expect(values.cols, config_.n_kv_heads * config_.head_dim); !s) return s;
      rotate_rows(values, heads_, {}, parallel);
    }
    if (rotation_.down && part == "ffn_down.weight") {
      if (Status s = expect(values.cols, config_.ffn); !s) return s;
      rotate_rows(values, down_, {}, parallel);
    }
    return success();
  }

 private:
  RotatedWeights(const ModelSource& source, ModelConfig config, const Rotation& rotation)
      : source_(&source), config_(std::move(config)), rotation_(rotation), residual_(residual_rotation(config_)),
        heads_(head_rotation(config_)), down_(down_rotation(config_)) {}

  static bool is_norm(std::string_view part) { return detail::is_one_of(part, {"attn_norm.weight", "ffn_norm.weight"}); }
  static bool reads_residual(std::string_view part) {
    const std::optional<LinearInput> input = input_of_part(part);
    return input == LinearInput::attention || input == LinearInput::ffn;
  }
  static bool writes_residual(std::string_view part) {
    return detail::is_one_of(part, {"attn_output.weight", "ffn_down.weight", "attn_output.bias", "ffn_down.bias"});
  }

  // Reads the gain of the norm before a matrix of a layer.
  Status read_gain(std::string_view name, std::string_view part, std::vector<float>& gain) const {
    const std::string_view norm = part.starts_with("attn_") ? "attn_norm.weight" : "ffn_norm.weight";
    const std::string norm_name = concat(name.substr(0, name.size() - part.size()), norm);
    const Result<const TensorInfo*> tensor = source_->require_tensor(norm_name, {config_.hidden});
    if (!tensor) return tensor.error();
    gain.resize(config_.hidden);
    const std::byte* bytes = source_->tensor_bytes(**tensor).data();
    with_format((*tensor)->format, [&](auto tag) { decode_row<decltype(tag)>(bytes, gain.data(), gain.size()); });
    return success();
  }

  // Multiplies each row by the gain, if there is one, and rotates it, part by part: each part w becomes (w * gain) Q, where Q is the
  // rotation. The length of a row is a multiple of the rotation's width.
  static void rotate_rows(Matrix values, const FastRotation& rotation, const std::vector<float>& gain, Parallel parallel) {
    parallel(values.rows, [&](std::size_t n) {
      std::vector<double> x(rotation.width());
      for (std::size_t first = 0; first < values.cols; first += x.size()) {
        float* const row = values.row(n) + first;
        for (std::size_t i = 0; i < x.size(); ++i) {
          x[i] = static_cast<double>(row[i]) * (gain.empty() ? 1.0 : static_cast<double>(gain[first + i]));
        }
        rotation.rotate(x.data());
        for (std::size_t i = 0; i < x.size(); ++i) row[i] = static_cast<float>(x[i]);
      }
    });
  }

  // Rotates each column, part by part: each part w, as a row, becomes w Q, where Q is the rotation. Sixteen columns are rotated at a
  // time because they share cache lines.
  static void rotate_columns(Matrix values, const FastRotation& rotation, Parallel parallel) {
    constexpr std::size_t together = 16;
    const std::size_t width = rotation.width();
    parallel((values.cols + together - 1) / together, [&](std::size_t task) {
      const std::size_t k0 = task * together, count = values.cols - k0 < together ? values.cols - k0 : together;
      std::vector<double> x(count * width);
      for (std::size_t first = 0; first < values.rows; first += width) {
        for (std::size_t i = 0; i < width; ++i) {
          for (std::size_t k = 0; k < count; ++k) x[k * width + i] = static_cast<double>(values.row(first + i)[k0 + k]);
        }
        for (std::size_t k = 0; k < count; ++k) rotation.rotate(x.data() + k * width);
        for (std::size_t i = 0; i < width; ++i) {
          for (std::size_t k = 0; k < count; ++k) values.row(first + i)[k0 + k] = static_cast<float>(x[k * width + i]);
        }
      }
    });
  }

  const ModelSource* source_;
  ModelConfig config_;
  Rotation rotation_;
  FastRotation residual_, heads_, down_;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
