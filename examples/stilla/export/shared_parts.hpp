// SPDX-License-Identifier: Apache-2.0
//
// Parts that the graphs of all stacks have: the rows of the embedding, and products with the weights of MatMulNBits.
#pragma once

#include <string>

#include "export_model.hpp"
#include "graph.hpp"

namespace program {

// Adds the embedding's rows of `ids` ([1, S] or [B, S]), float32 [B, S, E]. The embedding is stored with the file's values: as
// integers of 8 bits with scales and, where the format has them, minimums, or as float16 where the file has floats. All operators
// are of ONNX's own set.
std::string add_embedding(onnx::Graph& graph, ExportModel& model, const std::string& ids, const std::string& output);

// Adds onnxruntime's MatMulNBits. `x` is float32 [..., K], and `output` becomes [..., N]. A format whose groups have a size that
// MatMulNBits does not take is refused.
std::string add_matmul_nbits(onnx::Graph& graph, ExportModel& model, const std::string& x, const stilla::GgufTensor& tensor,
                             stilla::FormatId format, const std::string& output);
// The format in which MatMulNBits multiplies this tensor: the file's own if MatMulNBits holds it exactly, otherwise `otherwise`.
stilla::FormatId nbits_format(const ExportModel& model, const stilla::GgufTensor& tensor, stilla::FormatId otherwise);

// Adds the head, logits [..., V]: by MatMulNBits in the file's format where that is exact, and in q8_0 where it is not; as
// float16 where the file has floats.
std::string add_nbits_head(onnx::Graph& graph, ExportModel& model, const std::string& x, const std::string& output);
// The same with ONNX's own operators: DequantizeLinear of 8 or 4 bits.
std::string add_dequantised_head(onnx::Graph& graph, ExportModel& model, const std::string& x, const std::string& output);

}  // namespace program
