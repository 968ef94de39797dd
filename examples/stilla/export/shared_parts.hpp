// SPDX-License-Identifier: Apache-2.0
//
// Parts that the graphs of all stacks have: the rows of the embedding, and products with the weights of MatMulNBits.
#pragma once

#include <string>

#include "export_model.hpp"
#include "graph.hpp"

namespace program {

// Adds the rows of the embedding for `ids` ([1, S] or [B, S]), float32 [B, S, E]; B is the number of texts, S the number of tokens, E
// the width of the model. The embedding is stored with the file's values: as integers of 8 bits with scales and, if the format has
// them, minimums, or as float16 if the file has floats. All operators are of ONNX's own set.
std::string add_embedding(onnx::Graph& graph, ExportModel& model, const std::string& ids, const std::string& output);

// Adds onnxruntime's operator MatMulNBits, which multiplies `x`, float32 [..., K], by a matrix of N rows and K columns; `output`
// becomes [..., N]. A format whose groups have a size that MatMulNBits does not take is refused.
std::string add_matmul_nbits(onnx::Graph& graph, ExportModel& model, const std::string& x, const stilla::GgufTensor& tensor,
                             stilla::FormatId format, const std::string& output);
// Returns the format in which a matrix is stored for MatMulNBits. It is the file's own if MatMulNBits holds it exactly, and otherwise
// the format `otherwise`.
stilla::FormatId nbits_format(const ExportModel& model, const stilla::GgufTensor& tensor, stilla::FormatId otherwise);

// Adds the head, which gives logits [..., V] (V is the vocabulary). It uses MatMulNBits in the file's format if that is exact,
// and otherwise in q8_0; if the file has floats, the head is stored as float16.
std::string add_nbits_head(onnx::Graph& graph, ExportModel& model, const std::string& x, const std::string& output);
// Adds the head with ONNX's own operators: a DequantizeLinear of integers of 8 or 4 bits and a MatMul; if the file has floats, the head is
// stored as float16.
std::string add_dequantised_head(onnx::Graph& graph, ExportModel& model, const std::string& x, const std::string& output);

}  // namespace program
