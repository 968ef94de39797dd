// SPDX-License-Identifier: Apache-2.0
//
// The Qwen2 or Qwen3 decoder in stages with static shapes, which is what NPUs take. C is the context, S the number of tokens of a
// step, P = C - S; E is the width of the model, D the size of a head, G the number of key/value heads, V the vocabulary.
//
//     embeddings   ids [1, S], past_length [1]  ->  hidden [1, S, E], cos and sin [1, 1, S, D], mask [1, 1, S, C]
//     body         hidden, cos, sin, mask, past_key.L and past_value.L [1, G, P, D] for each layer L
//                  ->  hidden_out [1, S, E], key.L and value.L [1, G, S, D]
//     head         hidden_out  ->  logits [1, S, V]
//
// Embeddings and head run on a CPU, with any S. If the residual stream is rotated (hadamard.hpp), the embeddings stage rotates it
// and the head stage undoes the rotation. The body comes twice: with S = 64 for prompts, the context graph, and with S = 1 for
// one token, the iterator. Both graphs read the same weights. The caller that runs them keeps the cache: the first past_length of
// the P places hold keys and values, and the other places hold any finite values. After a step the caller adds the keys and
// values of the step's real tokens to the cache; they come first in the outputs. A window with fewer tokens than S is filled up
// at its end with any tokens: no real token sees these, because attention is causal.
#pragma once

#include <cstddef>

#include "export_model.hpp"
#include "graph.hpp"

namespace program {

// How a stack wants the operators of the body (the layers) to be written.
struct StaticDialect {
  std::int64_t opset = 21;
  bool has_rms_norm = false;               // RMSNormalization (opset 23); without it simpler operators compute the norm
  bool has_dequantize_linear = false;      // for the weights; without it simpler operators compute them (dequantised.hpp)
  float mask_value = -1e4f;                // what is added to the score of a key that may not be seen
};

struct LayerRange {
  std::size_t begin = 0, end = 0;
};

onnx::Graph embeddings_stage(ExportModel& model, const StaticDialect& dialect);
// Returns the graph of some layers of the body, from layers.begin to layers.end, for S tokens. `weights` is the format of all their
// matrices.
onnx::Graph body_stage(ExportModel& model, const StaticDialect& dialect, stilla::FormatId weights, std::size_t S, LayerRange layers);
// Returns the graph of the head. If has_contrib is true, the head uses onnxruntime's MatMulNBits instead of DequantizeLinear.
onnx::Graph head_stage(ExportModel& model, const StaticDialect& dialect, bool has_contrib);

// The number of tokens that the context graph, which is used for prompts, computes in a step.
inline constexpr std::size_t window = 64;

}  // namespace program
