// SPDX-License-Identifier: Apache-2.0
//
// The Qwen2 or Qwen3 decoder in the form that onnxruntime-genai runs. It is one graph for any batch, length and past, from token
// ids to logits. It uses onnxruntime's operators MatMulNBits, GroupQueryAttention (which also rotates queries and keys by
// position) and (Skip)SimplifiedLayerNormalization. B is the number of texts, S the number of new tokens, P the number of past
// tokens, L the layer, G the number of key/value heads, D the size of a head, V the vocabulary.
//
//     input_ids int64 [B, S], attention_mask int64 [B, P + S], past_key_values.L.key and .value float32 [B, G, P, D]
//     logits float32 [B, S, V], present.L.key and .value float32 [B, G, P + S, D]
#pragma once

#include <optional>

#include <stilla/format/format_id.hpp>

#include "export_model.hpp"
#include "graph.hpp"

namespace program {

// `weights` is the format of all matrices of the layers. If it is not given, a matrix keeps its own format if MatMulNBits holds it
// exactly, and otherwise becomes q4_0.
onnx::Graph genai_decoder(ExportModel& model, std::optional<stilla::FormatId> weights);

}  // namespace program
