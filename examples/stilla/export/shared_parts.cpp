// SPDX-License-Identifier: Apache-2.0
#include "shared_parts.hpp"

#include <bit>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "../output.hpp"
#include "dequantised.hpp"

namespace program {
namespace {

using onnx::Constant;
using onnx::ElementType;
using onnx::Graph;
using onnx::integer;
using onnx::Shape;
using stilla::FormatId;
using stilla::GgufTensor;

bool is_float(const GgufTensor& tensor) { return !integer_form(tensor.format); }

// Returns the format of the head. It is the file's own format if MatMulNBits holds it exactly, and otherwise q8_0. The 8 bits of q8_0
// change a weight by at most a few thousandths of the largest weight of its block.
FormatId head_format(const ExportModel& model, const GgufTensor& tensor) { return nbits_format(model, tensor, stilla::format_id("q8_0")); }

std::string add_half_matrix(Graph& graph, ExportModel& model, const GgufTensor& tensor) {
  const std::string name(tensor.name);
  return graph.constant(
      {name, ElementType::float16, {integer(tensor.rows()), integer(tensor.columns())}, model.matrices().place_halves(tensor)});
}

// Adds the product x * W^T with a head W that is stored as float16.
std::string add_half_head(Graph& graph, ExportModel& model, const std::string& x, const GgufTensor& tensor, const std::string& output) {
  const std::string halves = add_half_matrix(graph, model, tensor);
  const std::string transposed = graph.add("Transpose", {halves}, "head.transposed", {{"perm", std::vector<std::int64_t>{1, 0}}});
  const std::string floats = graph.add("Cast", {transposed}, "head.floats", {{"to", static_cast<std::int64_t>(ElementType::float32)}});
  return graph.add("MatMul", {x, floats}, output);
}

}  // namespace

std::string add_embedding(Graph& graph, ExportModel& model, const std::string& ids, const std::string& output) {
  const GgufTensor& tensor = model.embedding();
  const auto V = integer(tensor.rows()), E = integer(tensor.columns());
  const std::vector<onnx::NamedAttribute> to_float{{"to", static_cast<std::int64_t>(ElementType::float32)}};
  if (is_float(tensor)) {
    const std::string rows = graph.add("Gather", {add_half_matrix(graph, model, tensor), ids}, "embedding.halves");
    return graph.add("Cast", {rows}, output, to_float);
  }
  const bool has_minimums = integer_form(tensor.format)->has_minimums;
  const PlacedMatrix m =
      value_of(model.matrices().place(tensor, tensor.format, Storage::byte_rows, has_minimums ? Offsets::minimums : Offsets::none));
  const auto G = integer(m.groups());
  const std::string levels = graph.constant({"embedding.levels", ElementType::int8, {V, E}, m.levels});
  const std::string scales = graph.constant({"embedding.scales", ElementType::float32, {V, G, 1}, m.scales});
  const std::string row = graph.add("Gather", {levels, ids}, "embedding.row");
  const std::string floats = graph.add("Cast", {row}, "embedding.floats", to_float);
  const std::string shape = graph.integers("embedding.group_shape", {0, 0, G, E / G});
  std::string groups = graph.add("Reshape", {floats, shape}, "embedding.groups");
  groups = graph.add("Mul", {groups, graph.add("Gather", {scales, ids}, "embedding.row_scales")}, "embedding.scaled");
  if (has_minimums) {
    const std::string minimums = graph.constant({"embedding.minimums", ElementType::float32, {V, G, 1}, m.offsets});
    groups = graph.add("Add", {groups, graph.add("Gather", {minimums, ids}, "embedding.row_minimums")}, "embedding.shifted");
  }
  return graph.add("Reshape", {groups, graph.integers("embedding.shape", {0, 0, E})}, output);
}

FormatId nbits_format(const ExportModel& model, const GgufTensor& tensor, FormatId otherwise) {
  const std::optional<IntegerForm> form = integer_form(tensor.format);
  if (!form || model.source_weights().changes(tensor)) return otherwise;
  // MatMulNBits has no minimums, only zero points that are integers. So a matrix whose minimums are not all -scale times an integer gets
  // the format `otherwise`.
  if (form->has_minimums && !model.matrices().has_exact_zero_points(tensor)) return otherwise;
  return tensor.format;
}

std::string add_matmul_nbits(Graph& graph, ExportModel& model, const std::string& x, const GgufTensor& tensor, FormatId format,
                             const std::string& output) {
  const IntegerForm form = *integer_form(format);
  const auto K = static_cast<std::size_t>(tensor.columns());
  if (!std::has_single_bit(form.group) || form.group < 16 || form.group > 256) {
    fail(exit_usage,
         fmt::format("--weights {}: {} a scale, and onnxruntime's MatMulNBits takes blocks of 16, 32, 64, 128 or 256",
                     stilla::format_name(format), form.group == 0 ? "a whole row has" : fmt::format("{} weights have", form.group)));
  }
  const PlacedMatrix m =
      value_of(model.matrices().place(tensor, format, Storage::biased_rows, form.has_minimums ? Offsets::zero_points : Offsets::none));
  const std::string name(tensor.name);
  const auto N = integer(m.rows), G = integer(m.groups()), group = integer(form.group), bits = integer(form.bits);
  std::vector<std::string> inputs{x, graph.constant({name + ".levels", ElementType::uint8, {N, G, group * bits / 8}, m.levels}),
                                  graph.constant({name + ".scales", ElementType::float32, {N, G}, m.scales})};
  if (form.has_minimums) {
    inputs.push_back(graph.constant({name + ".zero_points", ElementType::uint8, {N, (G * bits + 7) / 8}, m.offsets}));
  }
  return graph.add("MatMulNBits", std::move(inputs), output, {{"K", integer(K)}, {"N", N}, {"bits", bits}, {"block_size", group}},
                   onnx::contrib_domain);
}

std::string add_nbits_head(Graph& graph, ExportModel& model, const std::string& x, const std::string& output) {
  const GgufTensor& tensor = model.head();
  if (is_float(tensor)) return add_half_head(graph, model, x, tensor, output);
  return add_matmul_nbits(graph, model, x, tensor, head_format(model, tensor), output);
}

std::string add_dequantised_head(Graph& graph, ExportModel& model, const std::string& x, const std::string& output) {
  const GgufTensor& tensor = model.head();
  if (is_float(tensor)) return add_half_head(graph, model, x, tensor, output);
  const bool has_minimums = integer_form(tensor.format)->has_minimums;
  const FormatId format = has_minimums ? stilla::format_id("q8_0") : tensor.format;
  const std::string transposed = add_dequantised(graph, model, tensor, format, Storage::signed_rows, "head.transposed");
  return graph.add("MatMul", {x, transposed}, output);
}

}  // namespace program
