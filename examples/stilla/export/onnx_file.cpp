// SPDX-License-Identifier: Apache-2.0
#include "onnx_file.hpp"

#include <algorithm>
#include <cstdint>
#include <string>

#include <protozero/pbf_builder.hpp>

#include <stilla/base/version.hpp>

#include <fmt/format.h>

namespace program::onnx {
namespace {

// The numbers of the fields that are written, as onnx.proto gives them.
enum class ModelField : protozero::pbf_tag_type { ir_version = 1, producer_name = 2, producer_version = 3, graph = 7, opset_import = 8 };
enum class OpsetField : protozero::pbf_tag_type { domain = 1, version = 2 };
enum class GraphField : protozero::pbf_tag_type { node = 1, name = 2, initializer = 5, input = 11, output = 12 };
enum class NodeField : protozero::pbf_tag_type { input = 1, output = 2, name = 3, op_type = 4, attribute = 5, domain = 7 };
enum class AttributeField : protozero::pbf_tag_type { name = 1, f = 2, i = 3, s = 4, ints = 8, type = 20 };
enum class TensorField : protozero::pbf_tag_type {
  dims = 1,
  data_type = 2,
  name = 8,
  raw_data = 9,
  external_data = 13,
  data_location = 14
};
enum class EntryField : protozero::pbf_tag_type { key = 1, value = 2 };
enum class ValueField : protozero::pbf_tag_type { name = 1, type = 2 };
enum class TypeField : protozero::pbf_tag_type { tensor_type = 1 };
enum class TensorTypeField : protozero::pbf_tag_type { elem_type = 1, shape = 2 };
enum class ShapeField : protozero::pbf_tag_type { dim = 1 };
enum class DimensionField : protozero::pbf_tag_type { dim_value = 1, dim_param = 2 };

// Numbers that onnx.proto gives to the types of attributes and to the place of a tensor's data (AttributeProto.AttributeType
// and TensorProto.DataLocation).
constexpr std::int32_t type_float = 1, type_int = 2, type_string = 3, type_ints = 7;
constexpr std::int32_t location_external = 1;

template <class Field>
using Builder = protozero::pbf_builder<Field>;

void write(Builder<AttributeField> out, const NamedAttribute& attribute) {
  out.add_string(AttributeField::name, attribute.name);
  if (const auto* number = std::get_if<std::int64_t>(&attribute.value)) {
    out.add_int64(AttributeField::i, *number);
    out.add_enum(AttributeField::type, type_int);
  } else if (const auto* real = std::get_if<float>(&attribute.value)) {
    out.add_float(AttributeField::f, *real);
    out.add_enum(AttributeField::type, type_float);
  } else if (const auto* text = std::get_if<std::string>(&attribute.value)) {
    out.add_bytes(AttributeField::s, *text);
    out.add_enum(AttributeField::type, type_string);
  } else {
    for (const std::int64_t number_of_list : std::get<std::vector<std::int64_t>>(attribute.value)) {
      out.add_int64(AttributeField::ints, number_of_list);
    }
    out.add_enum(AttributeField::type, type_ints);
  }
}

void write(Builder<NodeField> out, const Node& node, std::size_t index) {
  for (const std::string& name : node.inputs) out.add_string(NodeField::input, name);
  for (const std::string& name : node.outputs) out.add_string(NodeField::output, name);
  out.add_string(NodeField::name, fmt::format("{}_{}", node.op, index));
  out.add_string(NodeField::op_type, node.op);
  for (const NamedAttribute& attribute : node.attributes) write({out, NodeField::attribute}, attribute);
  if (node.domain != standard_domain) out.add_string(NodeField::domain, node.domain.data(), node.domain.size());
}

void add_entry(Builder<TensorField>& out, const std::string& key, const std::string& value) {
  Builder<EntryField> entry(out, TensorField::external_data);
  entry.add_string(EntryField::key, key);
  entry.add_string(EntryField::value, value);
}

void write(Builder<TensorField> out, const Constant& tensor, std::string_view weight_file) {
  for (const std::int64_t dim : tensor.shape) out.add_int64(TensorField::dims, dim);
  out.add_int32(TensorField::data_type, static_cast<std::int32_t>(tensor.type));
  out.add_string(TensorField::name, tensor.name);
  if (const auto* bytes = std::get_if<std::string>(&tensor.data)) {
    out.add_bytes(TensorField::raw_data, *bytes);
    return;
  }
  const FilePlace& place = std::get<FilePlace>(tensor.data);
  add_entry(out, "location", std::string(weight_file));
  add_entry(out, "offset", std::to_string(place.offset));
  add_entry(out, "length", std::to_string(place.bytes));
  out.add_enum(TensorField::data_location, location_external);
}

void write(Builder<ValueField> out, const TensorType& value) {
  out.add_string(ValueField::name, value.name);
  Builder<TypeField> type(out, ValueField::type);
  Builder<TensorTypeField> tensor(type, TypeField::tensor_type);
  tensor.add_int32(TensorTypeField::elem_type, static_cast<std::int32_t>(value.type));
  Builder<ShapeField> shape(tensor, TensorTypeField::shape);
  for (const Dimension& dimension : value.shape) {
    Builder<DimensionField> dim(shape, ShapeField::dim);
    if (const auto* number = std::get_if<std::int64_t>(&dimension)) {
      dim.add_int64(DimensionField::dim_value, *number);
    } else {
      dim.add_string(DimensionField::dim_param, std::get<std::string>(dimension));
    }
  }
}

void write(Builder<GraphField> out, const Graph& graph, std::string_view weight_file) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) write({out, GraphField::node}, graph.nodes[i], i);
  out.add_string(GraphField::name, graph.name);
  for (const Constant& tensor : graph.constants) write({out, GraphField::initializer}, tensor, weight_file);
  for (const TensorType& value : graph.inputs) write({out, GraphField::input}, value);
  for (const TensorType& value : graph.outputs) write({out, GraphField::output}, value);
}

// Returns the version of the ONNX file format that was introduced together with an operator set: readers refuse a newer
// operator set in an older file format.
constexpr std::int64_t ir_version(std::int64_t opset) { return opset >= 23 ? 11 : 10; }

}  // namespace

std::string serialised(const Graph& graph, std::string_view weight_file) {
  std::string bytes;
  Builder<ModelField> out(bytes);
  out.add_int64(ModelField::ir_version, ir_version(graph.opset));
  out.add_string(ModelField::producer_name, "stilla");
  out.add_string(ModelField::producer_version, fmt::format("{}.{}.{}", STILLA_VERSION_MAJOR, STILLA_VERSION_MINOR, STILLA_VERSION_PATCH));
  write({out, ModelField::graph}, graph, weight_file);
  const auto add_opset = [&](std::string_view domain, std::int64_t version) {
    Builder<OpsetField> opset(out, ModelField::opset_import);
    opset.add_string(OpsetField::domain, domain.data(), domain.size());
    opset.add_int64(OpsetField::version, version);
  };
  add_opset(standard_domain, graph.opset);
  const auto is_contrib = [](const Node& node) { return node.domain == contrib_domain; };
  if (std::any_of(graph.nodes.begin(), graph.nodes.end(), is_contrib)) add_opset(contrib_domain, 1);
  return bytes;
}

}  // namespace program::onnx
