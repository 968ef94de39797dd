// SPDX-License-Identifier: Apache-2.0
//
// Weights of ONNX's own operators: int4 or int8, symmetric, with a scale for each output channel, for each
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

// The same of simpler operators, as NPUW, the part of OpenVINO that drives NPUs, wants it: only in these shapes it takes int4
// weights and scales out of a graph, hands them to the device as inputs and multiplies the sums by the scales instead of the
// weights. Behind a DequantizeLinear it knows neither of them, because OpenVINO reads that with a Reshape between a constant and
// its Convert or Multiply (judge_openvino.py asks NPUW).
//
//     one scale for each output  int4 [N, K]         - Cast - Mul by float32 [N, 1] -    Transpose - [K, N]
//     groups of `group`          int4 [G, group, N]  - Cast - Mul by float32 [G, 1, N] - Reshape -   [K, N]
//
// Names of its matchers, in partitioning/patterns/opt.cpp of openvino's src/plugins/intel_npu/src/plugin/npuw:
// DQMatMulCWi_Transpose and DQMatMulCWi; DQMatMulGQi (1 token) and DQMatMulGQiP (several).
std::string add_scaled(onnx::Graph& graph, ExportModel& model, const stilla::GgufTensor& tensor, stilla::FormatId format,
                       const std::string& output);

}  // namespace program
