// SPDX-License-Identifier: Apache-2.0
//
// What an exported graph computes if weights were rotated (model/rotation.hpp of the library): Hadamard's transform, as a product
// with a constant matrix of 1 and -1, divided by the square root of its width. Runtimes have no operator for the transform, but
// all have MatMul. Let p be the largest power of two that divides the number of values of a row. Then a row of m * p values is
// treated as m rows of p values. For the matrix down of a 7B model, whose rows have 37 * 512 values, the product costs 4 % of the
// other products of the layer. B is the number of texts and S the number of tokens.
//
//     x [B, S, m * p]  -- Reshape -->  [B, S * m, p]  -- MatMul with H_p [p, p] -->  [B, S * m, p]  -- Reshape -->  [B, S, m * p]
#pragma once

#include <cstddef>
#include <string>

#include "export_model.hpp"
#include "graph.hpp"

namespace program {

// Multiplies the rows of x by Hadamard's matrix in floats. If the largest power of two that divides the width is above 4096, the
// width is refused.
std::string add_hadamard(onnx::Graph& graph, ExportModel& model, const std::string& x, std::size_t width, const std::string& output);
// Multiplies as add_hadamard() does, but with a matrix of int8 levels behind a DequantizeLinear of its own, which is the form of
// QNN's weights. The product's tensor is called `output` if the row is one run, otherwise output + ".runs". The levels are 127
// and -127, because Qualcomm's HTP emulator is less exact with small levels. Its signal-to-noise ratio against onnxruntime on the CPU
// was measured for Stilla Drop's first layer with --rotate down, with 64 tokens and with 1. It was 39.5 and 35.8 dB with levels 1 and
// -1 in int8 or int4, 54.0 and 51.6 dB with 7 and -7 in int4, and 57.7 and 57.0 dB with 127 and -127 in int8.
std::string add_dequantised_hadamard(onnx::Graph& graph, ExportModel& model, const std::string& x, std::size_t width,
                                     const std::string& output);

// Rotate the residual stream x in floats. Q is the rotation's matrix. add_residual_rotation() computes x Q, and
// add_residual_rotation_back() computes x Q^T, which undoes it. If the residual stream is not rotated, both add nothing to the graph
// and return the name `x`.
std::string add_residual_rotation(onnx::Graph& graph, ExportModel& model, const std::string& x, const std::string& output);
std::string add_residual_rotation_back(onnx::Graph& graph, ExportModel& model, const std::string& x, const std::string& output);

}  // namespace program
