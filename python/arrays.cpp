// SPDX-License-Identifier: Apache-2.0
#include "arrays.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <utility>

namespace python {
namespace {

[[noreturn]] void refuse_layout(const Argument& argument) {
  refuse(argument.op, ": ", argument.name, " does not lie row after row in memory; numpy.ascontiguousarray makes a copy that does");
}

void expect_type(const Argument& argument, const Array& array, nb::dlpack::dtype type, std::string_view name) {
  if (array.dtype() == type) return;
  refuse(argument.op, ": ", argument.name, " has the type ", dtype_text(array), ", expected ", name);
}

bool is_empty(const Array& array) { return array.size() == 0; }

// Returns the number of elements from one row to the next. Refuses rows that are not evenly spaced, and rows whose elements do
// not lie side by side.
std::size_t row_stride(const Argument& argument, const Array& array) {
  const std::size_t last = array.ndim() - 1, cols = array.shape(last);
  if (is_empty(array)) return cols;
  if (cols > 1 && array.stride(last) != 1) refuse_layout(argument);
  std::int64_t stride = static_cast<std::int64_t>(cols), next = 0;
  for (std::size_t i = last; i-- > 0;) {
    if (array.shape(i) == 1) continue;
    if (next == 0) {
      stride = array.stride(i);
      if (stride < static_cast<std::int64_t>(cols)) refuse_layout(argument);
      next = stride;
    } else if (array.stride(i) != next) {
      refuse_layout(argument);
    }
    next *= static_cast<std::int64_t>(array.shape(i));
  }
  return static_cast<std::size_t>(stride);
}

}  // namespace

std::string dtype_text(const Array& array) {
  const nb::dlpack::dtype type = array.dtype();
  using Code = nb::dlpack::dtype_code;
  const auto code = static_cast<Code>(type.code);
  const std::string_view name = code == Code::Int       ? "int"
                                : code == Code::UInt    ? "uint"
                                : code == Code::Float   ? "float"
                                : code == Code::Bfloat  ? "bfloat"
                                : code == Code::Complex ? "complex"
                                : code == Code::Bool    ? "bool"
                                                        : "another type of ";
  if (code == Code::Bool) return std::string(name);
  return stilla::concat(name, static_cast<unsigned>(type.bits));
}

std::string shape_text(std::span<const std::size_t> shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) out += stilla::concat(i == 0 ? "" : ", ", shape[i]);
  return out + "]";
}

Shape shape_of(const Array& array) {
  Shape shape(array.ndim());
  for (std::size_t i = 0; i < shape.size(); ++i) shape[i] = array.shape(i);
  return shape;
}

stilla::ConstMatrix rows_of(const Argument& argument, const Array& array, std::size_t least, std::size_t most) {
  expect_type(argument, array, nb::dtype<float>(), "float32");
  if (array.ndim() < least || array.ndim() > most) {
    refuse(argument.op, ": ", argument.name, " has the shape ", shape_text(shape_of(array)), ", expected ", least,
           least == most ? "" : stilla::concat(" to ", most), least == 1 && most == 1 ? " dimension" : " dimensions");
  }
  const std::size_t cols = array.shape(array.ndim() - 1);
  std::size_t rows = 1;
  for (std::size_t i = 0; i + 1 < array.ndim(); ++i) rows *= array.shape(i);
  return {static_cast<const float*>(array.data()), rows, cols, row_stride(argument, array)};
}

const float* vector_of(const Argument& argument, const Array& array, std::size_t count) {
  const stilla::ConstMatrix row = rows_of(argument, array, 1, 1);
  if (row.cols != count) refuse(argument.op, ": ", argument.name, " has ", row.cols, " elements, expected ", count);
  return row.data;
}

std::span<const std::byte> bytes_of(const Argument& argument, const Array& array) {
  expect_type(argument, array, nb::dtype<std::uint8_t>(), "uint8");
  std::int64_t next = 1;
  for (std::size_t i = array.ndim(); i-- > 0 && !is_empty(array);) {
    if (array.shape(i) != 1 && array.stride(i) != next) refuse_layout(argument);
    next *= static_cast<std::int64_t>(array.shape(i));
  }
  return {static_cast<const std::byte*>(array.data()), array.size()};
}

NewArray::NewArray(Shape shape) : shape_(std::move(shape)) {
  std::size_t count = 1;
  for (const std::size_t n : shape_) {
    if (n != 0 && count > std::numeric_limits<std::size_t>::max() / n) throw std::bad_alloc();
    count *= n;
  }
  // A new array gets memory for at least one element, so that an array without elements has an address too.
  if (!memory_.resize(std::max<std::size_t>(count, 1))) throw std::bad_alloc();
}

stilla::Matrix NewArray::rows() {
  std::size_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape_.size(); ++i) rows *= shape_[i];
  return {memory_.data(), rows, shape_.back()};
}

FloatArray NewArray::release() && {
  auto owned = std::make_unique<stilla::AlignedBuffer<float>>(std::move(memory_));
  float* const data = owned->data();
  const nb::capsule owner(owned.get(), [](void* memory) noexcept { delete static_cast<stilla::AlignedBuffer<float>*>(memory); });
  static_cast<void>(owned.release());
  return FloatArray(data, shape_.size(), shape_.data(), owner);
}

}  // namespace python
