// SPDX-License-Identifier: Apache-2.0
//
// A graph of operators in memory, as ONNX defines it: nodes that name the tensors they read and write, constant tensors
// (initialisers), inputs and outputs. ONNX demands that every tensor is made before it is read, so nodes have to be added in such
// an order. Large constants are not stored here: they are places in the weight file (weight_file.hpp).
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace program::onnx {

// Types of a tensor's elements, with the numbers of ONNX's TensorProto.DataType.
enum class ElementType : std::int32_t {
  float32 = 1,
  uint8 = 2,
  int8 = 3,
  uint16 = 4,
  int32 = 6,
  int64 = 7,
  float16 = 10,
  uint4 = 21,  // two in a byte, the first in the low bits
  int4 = 22,
};

// Returns the number of bits of one element.
constexpr unsigned bits_of(ElementType type) {
  switch (type) {
    case ElementType::uint4:
    case ElementType::int4: return 4;
    case ElementType::uint8:
    case ElementType::int8: return 8;
    case ElementType::uint16:
    case ElementType::float16: return 16;
    case ElementType::float32:
    case ElementType::int32: return 32;
    case ElementType::int64: return 64;
  }
  return 0;
}

using Shape = std::vector<std::int64_t>;

// Converts a size to int64, the type that ONNX has for sizes.
template <std::integral T>
constexpr std::int64_t integer(T value) {
  return static_cast<std::int64_t>(value);
}

// Returns the number of bytes of a tensor. A last byte of which only half is used counts as a whole byte.
constexpr std::uint64_t tensor_bytes(ElementType type, const Shape& shape) {
  std::uint64_t bits = bits_of(type);
  for (const std::int64_t dim : shape) bits *= static_cast<std::uint64_t>(dim);
  return (bits + 7) / 8;
}

// The place of a constant's bytes in the weight file.
struct FilePlace {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

struct Constant {
  std::string name;
  ElementType type = ElementType::float32;
  Shape shape;                                // empty: a scalar
  std::variant<std::string, FilePlace> data;  // raw little-endian bytes, or their place in the weight file
};

using Attribute = std::variant<std::int64_t, float, std::string, std::vector<std::int64_t>>;
struct NamedAttribute {
  std::string name;
  Attribute value;
};

// The names of the operator sets that nodes can belong to: ONNX's own has an empty name, and onnxruntime's is com.microsoft.
inline constexpr std::string_view standard_domain = "";
inline constexpr std::string_view contrib_domain = "com.microsoft";

struct Node {
  std::string op;
  std::vector<std::string> inputs;  // an empty name: this input is not given
  std::vector<std::string> outputs;
  std::vector<NamedAttribute> attributes;
  std::string_view domain = standard_domain;
};

// A dimension of a tensor: a number, or a name if its size is known only when the graph runs.
using Dimension = std::variant<std::int64_t, std::string>;
struct TensorType {
  std::string name;
  ElementType type = ElementType::float32;
  std::vector<Dimension> shape;
};

struct Graph {
  std::string name;
  std::int64_t opset = 21;
  std::vector<Node> nodes;
  std::vector<Constant> constants;
  std::vector<TensorType> inputs;
  std::vector<TensorType> outputs;

  // Adds a node with one output, named `output`, and returns the name of this output.
  std::string add(std::string op, std::vector<std::string> from, std::string output, std::vector<NamedAttribute> attributes = {},
                  std::string_view domain = standard_domain) {
    nodes.push_back({std::move(op), std::move(from), {output}, std::move(attributes), domain});
    return output;
  }

  // Adds a constant unless there is already one with this name, and returns its name.
  template <class T>
  std::string constant(std::string constant_name, ElementType type, Shape shape, std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T> && std::endian::native == std::endian::little);
    std::string bytes(values.size_bytes(), '\0');
    if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return constant({std::move(constant_name), type, std::move(shape), std::move(bytes)});
  }
  std::string constant(Constant tensor) {
    if (find_constant(tensor.name) == nullptr) constants.push_back(tensor);
    return std::move(tensor.name);
  }
  std::string scalar(std::string constant_name, float value) {
    return constant<float>(std::move(constant_name), ElementType::float32, {}, std::span(&value, 1));
  }
  // Adds a constant list of int64, which is the form of shapes and axes.
  std::string integers(std::string constant_name, const std::vector<std::int64_t>& values) {
    return constant<std::int64_t>(std::move(constant_name), ElementType::int64, {static_cast<std::int64_t>(values.size())}, values);
  }
  const Constant* find_constant(std::string_view wanted) const {
    for (const Constant& tensor : constants) {
      if (tensor.name == wanted) return &tensor;
    }
    return nullptr;
  }
};

}  // namespace program::onnx
