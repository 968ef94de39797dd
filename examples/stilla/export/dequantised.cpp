// SPDX-License-Identifier: Apache-2.0
#include "dequantised.hpp"

#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "../output.hpp"

namespace program {
namespace {

using onnx::ElementType;
using onnx::integer;
using onnx::Shape;

}  // namespace

std::string add_dequantised(onnx::Graph& graph, ExportModel& model, const stilla::GgufTensor& tensor, stilla::FormatId format,
                            Storage storage, const std::string& output) {
  const std::optional<IntegerForm> form = integer_form(format);
  const bool has_block_scales = form && form->has_block_scales;
  const PlacedMatrix m =
      value_of(model.matrices().place(tensor, format, storage, has_block_scales ? Offsets::block_scales : Offsets::none));
  const auto N = integer(m.rows), K = integer(m.columns), G = integer(m.groups());
  const ElementType type = m.form.bits == 4 ? ElementType::int4 : ElementType::int8;
  const bool is_transposed = storage == Storage::signed_columns;
  const bool is_channel = m.form.group == 0;
  const auto shape_of = [&](std::int64_t depth) { return is_transposed ? Shape{depth, N} : Shape{N, depth}; };
  const Shape scale_shape = is_channel ? Shape{N} : shape_of(G);
  const std::int64_t channel_axis = is_transposed ? 1 : 0;

  std::vector<std::string> inputs{graph.constant({output + ".levels", type, shape_of(K), m.levels})};
  if (has_block_scales) {
    const std::string rows = graph.constant({output + ".row_scales", ElementType::float32, {N}, m.scales});
    const std::string blocks = graph.constant({output + ".block_scales", ElementType::uint8, scale_shape, m.offsets});
    inputs.push_back(graph.add("DequantizeLinear", {blocks, rows}, output + ".scales", {{"axis", channel_axis}}));
  } else {
    inputs.push_back(graph.constant({output + ".scales", ElementType::float32, scale_shape, m.scales}));
  }
  // QNN learns from the type of the zero points that the weights have 4 bits, so zero points are
  // added although they are all 0.
  if (is_transposed) {
    const onnx::FilePlace zeros = model.matrices().place_zeros(onnx::tensor_bytes(type, scale_shape));
    inputs.push_back(graph.constant({output + ".zero_points", type, scale_shape, zeros}));
  }
  std::vector<onnx::NamedAttribute> attributes{{"axis", is_channel ? channel_axis : 1 - channel_axis}};
  if (!is_channel) attributes.push_back({"block_size", K / G});
  if (is_transposed) return graph.add("DequantizeLinear", std::move(inputs), output, std::move(attributes));
  const std::string rows = graph.add("DequantizeLinear", std::move(inputs), output + ".rows", std::move(attributes));
  return graph.add("Transpose", {rows}, output, {{"perm", std::vector<std::int64_t>{1, 0}}});
}

std::string add_scaled(onnx::Graph& graph, ExportModel& model, const stilla::GgufTensor& tensor, stilla::FormatId format,
                       const std::string& output) {
  const std::optional<IntegerForm> form = integer_form(format);
  const bool is_channel = form && form->group == 0;
  const PlacedMatrix m =
      value_of(model.matrices().place(tensor, format, is_channel ? Storage::signed_rows : Storage::signed_columns, Offsets::none));
  const auto N = integer(m.rows), K = integer(m.columns), G = integer(m.groups());
  const ElementType type = m.form.bits == 4 ? ElementType::int4 : ElementType::int8;
  const std::string levels = graph.constant({output + ".levels", type, is_channel ? Shape{N, K} : Shape{G, K / G, N}, m.levels});
  const std::string scales =
      graph.constant({output + ".scales", ElementType::float32, is_channel ? Shape{N, 1} : Shape{G, 1, N}, m.scales});
  const std::string floats = graph.add("Cast", {levels}, output + ".floats", {{"to", static_cast<std::int64_t>(ElementType::float32)}});
  const std::string scaled = graph.add("Mul", {floats, scales}, output + ".scaled");
  if (is_channel) return graph.add("Transpose", {scaled}, output, {{"perm", std::vector<std::int64_t>{1, 0}}});
  return graph.add("Reshape", {scaled, graph.integers(fmt::format("shape.{}x{}", K, N), {K, N})}, output);
}

}  // namespace program
