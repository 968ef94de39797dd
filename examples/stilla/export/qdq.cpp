// SPDX-License-Identifier: Apache-2.0
#include "qdq.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "../output.hpp"

namespace program {
namespace {

using onnx::Constant;
using onnx::ElementType;
using onnx::Graph;
using onnx::Node;

struct Quantisation {
  float scale = 1.0f;
  std::uint16_t zero_point = 0;
};

constexpr float highest_level(ElementType type) { return type == ElementType::uint8 ? 255.0f : 65535.0f; }

Quantisation quantisation_of(const ValueRange& range, ElementType type = ElementType::uint16) {
  const float span = range.most - range.least;
  if (span == 0.0f) return {};
  const float scale = span / highest_level(type);
  return {scale, static_cast<std::uint16_t>(std::lround(-range.least / scale))};
}

// Returns whether the operator `op` only moves the values of a tensor to other places.
bool is_rearrangement(const std::string& op) {
  constexpr std::array<std::string_view, 3> all{"Reshape", "Transpose", "Slice"};
  return std::find(all.begin(), all.end(), op) != all.end();
}

class Quantiser {
 public:
  Quantiser(const Graph& graph, const Ranges& ranges) : from_(graph), ranges_(ranges) {}

  Graph run() {
    to_.name = from_.name;
    to_.opset = from_.opset;
    to_.inputs = from_.inputs;
    to_.outputs = from_.outputs;
    for (const onnx::TensorType& input : from_.inputs) {
      add_pair(input.name, input.name + ".rounded", own_range(input.name));
      renamed_[input.name] = input.name + ".rounded";
    }
    for (const Node& node : from_.nodes) add(node);
    for (const Constant& tensor : from_.constants) {
      if (kept_.contains(tensor.name)) to_.constant(tensor);
    }
    return std::move(to_);
  }

 private:
  void add(Node node) {
    const std::string output = node.outputs.front();
    if (node.op == "DequantizeLinear" || is_weight(node)) {
      for (const std::string& name : node.inputs) kept_.insert(name);
      weights_.insert(output);
      to_.nodes.push_back(std::move(node));
      return;
    }
    const ValueRange range = range_of(node);
    for (std::string& name : node.inputs) name = quantised_input(name);
    if (node.op == "MatMul" && !weights_.contains(node.inputs[1])) {
      add_product_of_planes(node, range);
    } else {
      node.outputs.front() = output + ".exact";
      to_.nodes.push_back(std::move(node));
    }
    add_pair(output + ".exact", output, range);
  }

  // Adds a product of two activations. Qualcomm's HTP multiplies 16 by 8 bits: if the right side has 16 bits, its emulator uses
  // only the upper 8 (with random values the signal-to-noise ratio is 35 dB on the emulator, and 76 dB with onnxruntime on the CPU).
  // So the right side is written as the sum of two planes of 8 bits: its upper bits, and what these lack. The product becomes the sum of
  // two products, with a signal-to-noise ratio of 70 dB.
  void add_product_of_planes(const Node& node, const ValueRange& range) {
    const std::string &left = node.inputs[0], &right = node.inputs[1], &output = node.outputs.front();
    const ValueRange whole = found_.at(right), low_product = own_range(output + ".low");
    const float step = (whole.most - whole.least) / highest_level(ElementType::uint8);
    const ValueRange rest{-0.52f * step, 0.52f * step};  // a little more than half a step, for roundings
    const std::string high = add_pair(right, right + ".high", whole, ElementType::uint8);
    const std::string wide = add_pair(high, right + ".high.wide", whole);
    const std::string missing = add_pair(to_.add("Sub", {right, wide}, right + ".missing"), right + ".low.wide", rest);
    const std::string low = add_pair(missing, right + ".low", rest, ElementType::uint8);
    ValueRange high_product = range;
    high_product.include(ValueRange{range.least + low_product.least, range.most + low_product.most});
    const std::string first = add_pair(to_.add("MatMul", {left, high}, output + ".high.exact"), output + ".high", high_product);
    const std::string second = add_pair(to_.add("MatMul", {left, low}, output + ".low.exact"), output + ".low", low_product);
    to_.add("Add", {first, second}, output + ".exact");
  }

  // Returns whether the node only moves weights to other places.
  bool is_weight(const Node& node) const { return is_rearrangement(node.op) && weights_.contains(node.inputs.front()); }

  std::string quantised_input(const std::string& name) {
    if (const auto found = renamed_.find(name); found != renamed_.end()) return found->second;
    const Constant* constant = from_.find_constant(name);
    if (constant == nullptr) return name;
    if (constant->type == ElementType::float32) return quantised_constant(*constant);
    kept_.insert(name);
    return name;
  }

  std::string quantised_constant(const Constant& tensor) {
    const std::string output = tensor.name + ".rounded";
    if (to_.find_constant(tensor.name + ".integers") != nullptr) return output;
    const std::string& bytes = std::get<std::string>(tensor.data);
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    ValueRange range;
    for (const float value : values) range.include(value);
    const Quantisation q = quantisation_of(range);
    std::vector<std::uint16_t> integers;
    for (const float value : values) {
      const float level = std::round(value / q.scale) + static_cast<float>(q.zero_point);
      integers.push_back(static_cast<std::uint16_t>(std::clamp(level, 0.0f, highest_level(ElementType::uint16))));
    }
    const std::string name = to_.constant<std::uint16_t>(tensor.name + ".integers", ElementType::uint16, tensor.shape, integers);
    const auto [scale, zero_point] = parameters(tensor.name, q, ElementType::uint16);
    return to_.add("DequantizeLinear", {name, scale, zero_point}, output);
  }

  std::pair<std::string, std::string> parameters(const std::string& name, const Quantisation& q, ElementType type) {
    const std::string scale = to_.scalar(name + ".scale", q.scale);
    const auto byte = static_cast<std::uint8_t>(q.zero_point);
    const std::string zero_point = name + ".zero_point";
    return {scale, type == ElementType::uint8 ? to_.constant<std::uint8_t>(zero_point, type, {}, std::span(&byte, 1))
                                              : to_.constant<std::uint16_t>(zero_point, type, {}, std::span(&q.zero_point, 1))};
  }

  // Adds a QuantizeLinear and a DequantizeLinear that make tensor `to`, which is tensor `from` rounded. Returns the name of
  // `to`.
  std::string add_pair(const std::string& from, const std::string& to, const ValueRange& range, ElementType type = ElementType::uint16) {
    const auto [scale, zero_point] = parameters(to, quantisation_of(range, type), type);
    const std::string integers = to_.add("QuantizeLinear", {from, scale, zero_point}, to + ".integers");
    found_[to] = range;
    return to_.add("DequantizeLinear", {integers, scale, zero_point}, to);
  }

  ValueRange own_range(const std::string& tensor) const {
    if (const ValueRange* range = ranges_.find(tensor)) return *range;
    fail(exit_failed, fmt::format("the range of tensor '{}' is not known", tensor));
  }

  ValueRange range_of(const Node& node) const {
    const std::string& output = node.outputs.front();
    if (const ValueRange* range = ranges_.find(output)) return *range;
    const auto of_input = [&](const std::string& name) {
      const auto found = found_.find(name);
      return found != found_.end() ? found->second : own_range(name);
    };
    if (is_rearrangement(node.op)) return of_input(node.inputs.front());
    if (node.op == "Neg") {
      const ValueRange range = of_input(node.inputs.front());
      return {-range.most, -range.least};
    }
    if (node.op != "Concat") return own_range(output);
    ValueRange all;
    for (const std::string& input : node.inputs) all.include(of_input(input));
    return all;
  }

  const Graph& from_;
  const Ranges& ranges_;
  Graph to_;
  std::map<std::string, std::string> renamed_;  // by the name of an input of the graph: the tensor behind its pair
  std::map<std::string, ValueRange> found_;
  std::set<std::string> weights_, kept_;
};

}  // namespace

Graph with_16_bit_activations(const Graph& graph, const Ranges& ranges) { return Quantiser(graph, ranges).run(); }

}  // namespace program
