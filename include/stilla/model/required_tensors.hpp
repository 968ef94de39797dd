// SPDX-License-Identifier: Apache-2.0
//
// The tensors that a forward pass reads, with their shapes, and a check that a model source has all of them. The check needs only the
// header of the file; no weight is read. Tensors that are not needed are not refused by this check, but by read_model_config().
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include <stilla/base/error.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/model/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// A matrix of a layer, "blk.N.PART.weight" [rows, cols], and its bias, "blk.N.PART.bias" [rows]. If needs_bias is not set, the
// bias may be missing.
struct LinearShape {
  std::string_view part;
  std::size_t rows, cols;
  bool needs_bias = false;
};
// The matrices of a layer, in the order of LayerWeights::linears(). c.hidden is the width of the residual stream and c.ffn that of
// the feed-forward network; the shapes in weights.hpp call them E and F.
inline std::array<LinearShape, 7> layer_linears(const ModelConfig& c) {
  const std::size_t query_width = c.n_heads * c.head_dim, kv_width = c.n_kv_heads * c.head_dim;
  return {{{"attn_q", query_width, c.hidden, c.has_qkv_bias},
           {"attn_k", kv_width, c.hidden, c.has_qkv_bias},
           {"attn_v", kv_width, c.hidden, c.has_qkv_bias},
           {"attn_output", c.hidden, query_width},
           {"ffn_gate", c.ffn, c.hidden},
           {"ffn_up", c.ffn, c.hidden},
           {"ffn_down", c.hidden, c.ffn}}};
}

// A vector of a layer, "blk.N.PART" with `size` values.
struct VectorShape {
  std::string_view part;
  std::size_t size;  // 0: the architecture has none
};
// The vectors of a layer, in the order of LayerWeights::vectors().
inline std::array<VectorShape, 4> layer_vectors(const ModelConfig& c) {
  const std::size_t of_a_head = c.has_qk_norm ? c.head_dim : 0;
  return {{{"attn_norm.weight", c.hidden},
           {"ffn_norm.weight", c.hidden},
           {"attn_q_norm.weight", of_a_head},
           {"attn_k_norm.weight", of_a_head}}};
}

// Returns the vector `name` of `size` values, or an error if it is missing, has another shape, or is packed as only matrices are.
inline Result<const TensorInfo*> require_vector(const ModelSource& source, const std::string& name, std::size_t size) {
  Result<const TensorInfo*> tensor = source.require_tensor(name, {size});
  if (tensor && (*tensor)->is_packed) return source.tensor_error(**tensor, "found packed; expected a vector as it is");
  return tensor;
}

// Returns the embedding, token_embd.weight [vocabulary, hidden], or an error if it is missing or has another shape. If the source has
// a head of its own, output.weight, the embedding must not be packed, because its rows are read one by one.
inline Result<const TensorInfo*> require_embedding(const ModelSource& source, const ModelConfig& c) {
  Result<const TensorInfo*> found = source.require_tensor("token_embd.weight", {c.hidden, c.vocabulary});
  if (!found) {
    Error error = found.error();
    const TensorInfo* tensor = source.find_tensor("token_embd.weight");
    if (tensor != nullptr && tensor->format != no_format) {  // so its shape is wrong
      error.message += ", which are the embedding's length (hidden_size) and the number of tokens that the metadata say";
    }
    return error;
  }
  if ((*found)->is_packed && source.find_tensor("output.weight") != nullptr) {
    return source.tensor_error(**found, "found packed; expected rows, because 'output.weight' is the head");
  }
  return found;
}

// Returns an error for the first tensor that is missing, has another shape, or is packed where it must not be. Besides the tensors of
// the layers these are checked, as [rows, cols]: token_embd.weight [vocabulary, hidden] and output_norm.weight [hidden]; and, if the
// source has them, a head of its own, output.weight [vocabulary, hidden], and divisors of the angles of RoPE, rope_freqs.weight
// [rotary_dim / 2].
inline Status check_required_tensors(const ModelSource& source, const ModelConfig& c) {
  Status so_far = success();
  const auto vector = [&](const std::string& name, std::size_t size) {
    if (!so_far) return;
    if (const auto found = require_vector(source, name, size); !found) so_far = found.error();
  };
  const auto matrix = [&](const std::string& name, std::size_t rows, std::size_t cols) {
    if (!so_far) return;
    if (const auto found = source.require_tensor(name, {cols, rows}); !found) so_far = found.error();
  };
  if (const auto embedding = require_embedding(source, c); !embedding) so_far = embedding.error();
  for (std::size_t l = 0; so_far && l < c.n_layers; ++l) {
    const std::string layer = concat("blk.", l, ".");
    for (const VectorShape& v : layer_vectors(c)) {
      if (v.size != 0) vector(concat(layer, v.part), v.size);
    }
    for (const LinearShape& linear : layer_linears(c)) {
      matrix(concat(layer, linear.part, ".weight"), linear.rows, linear.cols);
      const std::string bias = concat(layer, linear.part, ".bias");
      if (linear.needs_bias || source.find_tensor(bias) != nullptr) vector(bias, linear.rows);
    }
  }
  vector("output_norm.weight", c.hidden);
  if (source.find_tensor("output.weight") != nullptr) matrix("output.weight", c.vocabulary, c.hidden);
  if (source.find_tensor("rope_freqs.weight") != nullptr) vector("rope_freqs.weight", c.rotary_dim / 2);
  return so_far;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
