// SPDX-License-Identifier: Apache-2.0
//
// Writes a graph as the bytes of an ONNX file: a ModelProto in the encoding of protocol buffers (onnx/onnx.proto has the field
// numbers). The same graph always gives the same bytes.
#pragma once

#include <string>
#include <string_view>

#include "graph.hpp"

namespace program::onnx {

// Returns the bytes of the ONNX file. `weight_file` is the name of the file beside it that holds the large constants.
std::string serialised(const Graph& graph, std::string_view weight_file);

}  // namespace program::onnx
