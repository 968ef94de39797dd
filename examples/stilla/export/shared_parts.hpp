// SPDX-License-Identifier: Apache-2.0
//
// Parts of graphs that all stacks have: the embedding's rows and products with the weights of MatMulNBits.
#pragma once

#include <string>

#include "export_model.hpp"
#include "graph.hpp"

namespace program {

// The embedding's rows of `ids` ([1, S] or [B, S]), float32 [B, S, E], as the file has them: integers of 8 bits with scales
// and, where the format has them, minimums; float16 where the file has floats. Operators of ONNX's own set only.
std::string add_embedding(onnx::Graph& graph, ExportModel& model, const std::string& ids, const std::string& output);

// onnxruntime's MatMulNBits. `x` is float32 [..., K], `output` becomes [..., N]. Refused: a format whose groups it cannot have.
std::string add_matmul_nbits(onnx::Graph& graph, ExportModel& model, const std::string& x, const stilla::GgufTensor& tensor,
                             stilla::FormatId format, const std::string& output);
// The format that MatMulNBits multiplies this tensor in: the file's own where that is exact, else `otherwise`.
stilla::FormatId nbits_format(const ExportModel& model, const stilla::GgufTensor& tensor, stilla::FormatId otherwise);

// The head, logits [..., V]: MatMulNBits of the file's format where that is exact, of q8_0 where it is not; float16 where the
// file has floats.
std::string add_nbits_head(onnx::Graph& graph, ExportModel& model, const std::string& x, const std::string& output);
// The same of ONNX's own operators: DequantizeLinear of 8 or 4 bits.
std::string add_dequantised_head(onnx::Graph& graph, ExportModel& model, const std::string& x, const std::string& output);

}  // namespace program
