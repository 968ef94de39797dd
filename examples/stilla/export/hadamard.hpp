// SPDX-License-Identifier: Apache-2.0
//
// What a graph computes where weights were rotated (model/rotation.hpp of the library): Hadamard's transform, as a product with a
// constant matrix of 1 and -1, divided by its width's root. Runtimes have no operator for it, and all have MatMul. A row of m * p
// values, with p the largest power of two in their number, is m rows of p on the way: for a 7B's down, 37 * 512 values, the
// product costs 4 % of the layer's others.
//
//     x [B, S, m * p]  -- Reshape -->  [B, S * m, p]  -- MatMul with H_p [p, p] -->  [B, S * m, p]  -- Reshape -->  [B, S, m * p]
#pragma once

#include <cstddef>
#include <string>

#include "export_model.hpp"
#include "graph.hpp"

namespace program {

// x H of floats. Refused: a width whose p is above 4096.
std::string add_hadamard(onnx::Graph& graph, ExportModel& model, const std::string& x, std::size_t width, const std::string& output);
// The same with a matrix of int8 levels behind a DequantizeLinear of its own, as QNN has its weights. The product's tensor is
// called `output` where the row is one run of p, else output + ".runs". Levels are 127 and -127: Qualcomm's HTP emulator loses
// with small ones (Stilla Drop's first block with --rotate down, SNR against onnxruntime on the CPU for 64 tokens and for 1: levels
// 1 and -1 in int8 or int4 39.5 and 35.8 dB, 7 and -7 in int4 54.0 and 51.6 dB, these 57.7 and 57.0 dB).
std::string add_dequantised_hadamard(onnx::Graph& graph, ExportModel& model, const std::string& x, std::size_t width,
                                     const std::string& output);

// x Q and x Q^T of the residual stream, in floats; `x` itself, under its own name, where the model is not rotated.
std::string add_residual_rotation(onnx::Graph& graph, ExportModel& model, const std::string& x, const std::string& output);
std::string add_residual_rotation_back(onnx::Graph& graph, ExportModel& model, const std::string& x, const std::string& output);

}  // namespace program
