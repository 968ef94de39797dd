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

// Returns the name of the array's type, for example "float32".
std::string dtype_text(const Array& array);
// Returns a shape as text, for example "[3, 64]".
std::string shape_text(std::span<const std::size_t> shape);
Shape shape_of(const Array& array);

// The op and the name of an argument, for error messages.
struct Argument {
  std::string_view op, name;
};

// Returns a float32 array as a matrix whose rows are the array's last dimension; a vector is one row. Refuses another type,
// fewer than `least` or more than `most` dimensions, elements of a row that do not lie side by side, and rows that are not
// evenly spaced.
stilla::ConstMatrix rows_of(const Argument& argument, const Array& array, std::size_t least = 1, std::size_t most = 8);
// Returns the floats of a contiguous float32 vector. Refuses other arrays, and vectors that do not have `count` elements.
const float* vector_of(const Argument& argument, const Array& array, std::size_t count);
// Returns the bytes of a contiguous array of uint8.
std::span<const std::byte> bytes_of(const Argument& argument, const Array& array);

// Memory for a result, on a 64-byte boundary. release() makes it an array of numpy that owns the memory.
class NewArray {
 public:
  explicit NewArray(Shape shape);

  float* data() { return memory_.data(); }
  // Returns the memory as a matrix: all dimensions but the last one together give the number of rows.
  stilla::Matrix rows();
  FloatArray release() &&;

 private:
  Shape shape_;
  stilla::AlignedBuffer<float> memory_;
};

}  // namespace python
