// SPDX-License-Identifier: Apache-2.0
//
// A graph of floats becomes one of 16-bit activations as ONNX spells them: behind every tensor a QuantizeLinear and a
// DequantizeLinear to uint16, whose scale and zero point come from the tensor's range. A stack that has integer operators finds
// them between the pairs; one that has none computes what the others approximate. Weights keep their own DequantizeLinear.
#pragma once

#include "graph.hpp"
#include "ranges.hpp"

namespace program {

// Every float tensor of the graph must have a range, its own or that of what it is a rearrangement of; one that has none ends the
// command with its name.
onnx::Graph with_16_bit_activations(const onnx::Graph& graph, const Ranges& ranges);

}  // namespace program
