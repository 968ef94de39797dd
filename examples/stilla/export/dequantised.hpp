// SPDX-License-Identifier: Apache-2.0
//
// Weights as ONNX's own DequantizeLinear has them: int4 or int8, symmetric, with a scale for each output channel, for each
// group of weights of one, or for each block as an integer times the channel's scale (LPBQ: a DequantizeLinear makes the scales
// of another one).
#pragma once

#include <string>

#include "export_model.hpp"
#include "graph.hpp"

namespace program {

// The matrix for MatMul's right side: float32 [K, N]. Refused: a format with minimums or of floats.
std::string add_dequantised(onnx::Graph& graph, ExportModel& model, const stilla::GgufTensor& tensor, stilla::FormatId format,
                            Storage storage, const std::string& output);

}  // namespace program
