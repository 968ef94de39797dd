// SPDX-License-Identifier: Apache-2.0
//
// Turns numpy's arrays into the library's matrices, and makes new arrays for results. Arguments of any type and shape are
// accepted first. What does not fit is then refused with a sentence that names the op, the argument, what was found and what was
// expected.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stilla/base/aligned.hpp>
#include <stilla/base/matrix.hpp>

#include "errors.hpp"

namespace python {

using Array = nb::ndarray<nb::ro, nb::device::cpu>;
using FloatArray = nb::ndarray<nb::numpy, float>;
using Shape = std::vector<std::size_t>;

// For example "float32".
std::string dtype_text(const Array& array);
// For example "[3, 64]".
std::string shape_text(std::span<const std::size_t> shape);
Shape shape_of(const Array& array);

// An argument of an op, as messages name it.
struct Argument {
  std::string_view op, name;
};

// A float32 array as a matrix whose rows are the array's last dimension; a vector is one row. Refused: another type, fewer than
// `least` or more than `most` dimensions, elements of a row that do not lie side by side, and rows that are not evenly spaced.
stilla::ConstMatrix rows_of(const Argument& argument, const Array& array, std::size_t least = 1, std::size_t most = 8);
// A contiguous float32 vector of `count` elements.
const float* vector_of(const Argument& argument, const Array& array, std::size_t count);
// The bytes of a contiguous array of uint8.
std::span<const std::byte> bytes_of(const Argument& argument, const Array& array);

// The memory of a result, on a 64-byte boundary. It becomes an array of numpy that owns the memory.
class NewArray {
 public:
  explicit NewArray(Shape shape);

  float* data() { return memory_.data(); }
  // The memory as a matrix: all dimensions but the last one together give the number of rows.
  stilla::Matrix rows();
  FloatArray release() &&;

 private:
  Shape shape_;
  stilla::AlignedBuffer<float> memory_;
};

}  // namespace python
