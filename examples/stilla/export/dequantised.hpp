// SPDX-License-Identifier: Apache-2.0
//
// Adds weights to a graph in the forms of ONNX's own operators: symmetric int4 or int8. There is one scale for each output
// channel, or one for each group of weights of a channel, or (LPBQ) one for each block. A block's scale of LPBQ is an integer
// times the channel's scale, so one DequantizeLinear makes the blocks' scales, and another one uses them for the weights.
#pragma once

#include <string>

#include "export_model.hpp"
#include "graph.hpp"

namespace program {

// Adds the matrix in the shape that the right operand of MatMul has: float32 [K, N]. Formats with minimums and formats of
// floats are refused.
std::string add_dequantised(onnx::Graph& graph, ExportModel& model, const stilla::GgufTensor& tensor, stilla::FormatId format,
                            Storage storage, const std::string& output);

// Adds the matrix as add_dequantised() does, but with simpler operators, as NPUW, the part of OpenVINO that drives NPUs, wants
// it. The diagram below shows the two sequences of operators that NPUW recognises, with the shapes of their tensors. Only for these
// sequences does NPUW take the int4 weights and the scales out of the graph and hand them to the device as inputs. Then the sums of
// products are multiplied by the scales, and not each weight by its scale. Behind a DequantizeLinear NPUW recognises neither weights
// nor scales, because OpenVINO reads a DequantizeLinear with a Reshape between a constant and its Convert or Multiply.
// (tests/judges/judge_openvino.py checks what NPUW recognises.)
//
//     one scale for each output  int4 [N, K]         - Cast - Mul by float32 [N, 1] -    Transpose - [K, N]
//     groups of `group`          int4 [G, group, N]  - Cast - Mul by float32 [G, 1, N] - Reshape -   [K, N]
//
// The matrix has N outputs and K inputs; the weights of an output are G groups of `group` weights, so K = G * group. int8 weights
// have the shapes of int4. The sequences are those of NPUW's matchers in partitioning/patterns/opt.cpp of openvino's
// src/plugins/intel_npu/src/plugin/npuw: DQMatMulCWi_Transpose and DQMatMulCWi; DQMatMulGQi (1 token) and DQMatMulGQiP (several
// tokens).
std::string add_scaled(onnx::Graph& graph, ExportModel& model, const stilla::GgufTensor& tensor, stilla::FormatId format,
                       const std::string& output);

}  // namespace program
