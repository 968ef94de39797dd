// SPDX-License-Identifier: Apache-2.0
//
// The Qwen2 or Qwen3 decoder as onnxruntime-genai runs it: one graph of any batch, length and past, from token ids to logits, with
// onnxruntime's operators MatMulNBits, GroupQueryAttention (which also turns queries and keys) and
// (Skip)SimplifiedLayerNormalization.
//
//     input_ids int64 [B, S], attention_mask int64 [B, P + S], past_key_values.L.key and .value float32 [B, G, P, D]
//     logits float32 [B, S, V], present.L.key and .value float32 [B, G, P + S, D]
#pragma once

#include <optional>

#include <stilla/format/format_id.hpp>

#include "export_model.hpp"
#include "graph.hpp"

namespace program {

// weights: the format that all matrices of layers take; none: each its own where MatMulNBits has it exactly, else q4_0.
onnx::Graph genai_decoder(ExportModel& model, std::optional<stilla::FormatId> weights);

}  // namespace program
