// SPDX-License-Identifier: Apache-2.0
#include "dequantised.hpp"

#include <vector>

#include <fmt/format.h>

#include "../output.hpp"

namespace program {
namespace {

using onnx::ElementType;
using onnx::Shape;

template <class T>
std::int64_t integer(T value) {
  return static_cast<std::int64_t>(value);
}

}  // namespace

std::string add_dequantised(onnx::Graph& graph, ExportModel& model, const stilla::GgufTensor& tensor, stilla::FormatId format,
                            Storage storage, const std::string& output) {
  const PlacedMatrix m = value_of(model.matrices().place(tensor, format, storage));
  const auto N = integer(m.rows), K = integer(m.columns), G = integer(m.groups());
  const ElementType type = m.form.bits == 4 ? ElementType::int4 : ElementType::int8;
  const bool is_transposed = storage == Storage::signed_columns;
  const bool is_channel = m.form.group == 0;
  const auto shape_of = [&](std::int64_t depth) { return is_transposed ? Shape{depth, N} : Shape{N, depth}; };
  const std::string levels = graph.constant({output + ".levels", type, shape_of(K), m.levels});
  const std::string scales = graph.constant({output + ".scales", ElementType::float32, is_channel ? Shape{N} : shape_of(G), m.scales});
  const std::int64_t channel_axis = is_transposed ? 1 : 0;
  std::vector<onnx::NamedAttribute> attributes{{"axis", is_channel ? channel_axis : 1 - channel_axis}};
  if (!is_channel) attributes.push_back({"block_size", K / G});
  if (is_transposed) return graph.add("DequantizeLinear", {levels, scales}, output, attributes);
  const std::string rows = graph.add("DequantizeLinear", {levels, scales}, output + ".rows", attributes);
  return graph.add("Transpose", {rows}, output, {{"perm", std::vector<std::int64_t>{1, 0}}});
}

}  // namespace program
