// SPDX-License-Identifier: Apache-2.0
//
// Turns a graph of floats into one with 16-bit activations, in the way that ONNX expresses them: behind every tensor stand a
// QuantizeLinear to uint16 and a DequantizeLinear, whose scale and zero point come from the tensor's range. A stack (software for
// inference, export_model.hpp) that has integer operators replaces an operator between such pairs by an integer operator. A stack without
// them computes the graph in floats, and an integer operator's results are close to these. Weights keep their own DequantizeLinear. A
// product of two activations becomes two products of 16 by 8 bits, one for each of two planes of its right side.
#pragma once

#include "graph.hpp"
#include "ranges.hpp"

namespace program {

// Every float tensor of the graph needs a range. It is taken from `ranges`, or from the inputs of an operator that only moves,
// negates or joins values. A tensor without a range ends the command with an error that names the tensor. A product of two
// activations becomes the sum of two products: one with the upper plane of its right side, and one with the lower plane. The
// product with the lower plane also needs a range. If the output of the whole product is NAME, this range has the name "NAME.low".
onnx::Graph with_16_bit_activations(const onnx::Graph& graph, const Ranges& ranges);

}  // namespace program
