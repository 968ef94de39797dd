// SPDX-License-Identifier: Apache-2.0
//
// A graph of floats becomes one of 16-bit activations as ONNX spells them: behind every tensor a QuantizeLinear and a
// DequantizeLinear to uint16, whose scale and zero point come from the tensor's range. A stack that has integer operators finds
// them between the pairs; one that has none computes what the others approximate. Weights keep their own DequantizeLinear.
// A product of two activations becomes one of 16 by 8 bits with each of two planes of its right side.
#pragma once

#include "graph.hpp"
#include "ranges.hpp"

namespace program {

// Every float tensor of the graph must have a range, its own or that of what it is a rearrangement of; one that has none ends the
// command with its name. So must the product of two activations with the lower plane: "NAME.low".
onnx::Graph with_16_bit_activations(const onnx::Graph& graph, const Ranges& ranges);

}  // namespace program
