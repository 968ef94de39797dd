// SPDX-License-Identifier: Apache-2.0
//
// Defines packed weights and their products for Python.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <stilla/base/aligned.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/format/format_name.hpp>
#include <stilla/matmul.hpp>
#include <stilla/pack.hpp>

#include "arrays.hpp"
#include "errors.hpp"
#include "module.hpp"
#include "pool.hpp"

namespace python {
namespace {

using Extents = std::pair<std::size_t, std::size_t>;

stilla::FormatId format_by_name(std::string_view op, std::string_view name) {
  const stilla::FormatId id = stilla::format_id(name);
  if (!stilla::with_format(id, [](auto) {})) refuse(op, ": the format '", stilla::printable(name), "' is not known; see stilla.formats()");
  return id;
}

stilla::PackedMatrix pack_blocks(stilla::FormatId format, std::span<const std::byte> blocks, Extents shape) {
  const std::size_t expected = value_of(stilla::encoded_bytes(format, shape.first, shape.second));
  if (blocks.size() != expected) {
    refuse("pack: ", shape.first, " x ", shape.second, " weights take ", expected, " bytes in ", stilla::format_name(format), ", found ",
           blocks.size());
  }
  const nb::gil_scoped_release release;
  const auto pool = op_threads();
  return value_of(stilla::PackedMatrix::create(format, blocks.data(), shape.first, shape.second, *pool));
}

stilla::PackedMatrix pack_floats(stilla::FormatId format, stilla::ConstMatrix weights) {
  stilla::AlignedBuffer<std::byte> blocks;
  const std::size_t bytes = value_of(stilla::encoded_bytes(format, weights.rows, weights.cols));
  if (!blocks.resize(bytes)) throw std::bad_alloc();
  const std::span<std::byte> encoded(blocks.data(), bytes);
  {
    const nb::gil_scoped_release release;
    const auto pool = op_threads();
    value_of(stilla::encode_rows(encoded, weights, format, *pool));
  }
  return pack_blocks(format, encoded, {weights.rows, weights.cols});
}

stilla::PackedMatrix pack(const Array& weights, const std::string& format_name, std::optional<Extents> shape) {
  const stilla::FormatId format = format_by_name("pack", format_name);
  if (weights.dtype() == nb::dtype<std::uint8_t>()) {
    if (!shape) refuse("pack: encoded weights need shape=(rows, columns)");
    return pack_blocks(format, bytes_of({"pack", "weights"}, weights), *shape);
  }
  const stilla::ConstMatrix floats = rows_of({"pack", "weights"}, weights, 2, 2);
  if (shape && *shape != Extents{floats.rows, floats.cols}) {
    refuse("pack: weights have the shape ", shape_text(shape_of(weights)), ", expected ", shape->first, " x ", shape->second);
  }
  return pack_floats(format, floats);
}

stilla::ActivationBits activation_bits(std::string_view op, int bits) {
  if (bits != 8 && bits != 16) refuse(op, ": bits is ", bits, ", expected 8 or 16");
  return bits == 8 ? stilla::ActivationBits::eight : stilla::ActivationBits::sixteen;
}

FloatArray matmul(const stilla::PackedMatrix& weights, const Array& x, int bits, const std::optional<Array>& bias) {
  const stilla::PackedView& w = weights.view();
  const stilla::ConstMatrix input = rows_of({"matmul", "x"}, x);
  if (input.cols != w.cols) refuse("matmul: x has the shape ", shape_text(shape_of(x)), ", expected [..., ", w.cols, "]");
  const float* const added = bias ? vector_of({"matmul", "bias"}, *bias, w.rows) : nullptr;
  stilla::ActivationBuffer rounded(activation_bits("matmul", bits));
  Shape shape = shape_of(x);
  shape.back() = w.rows;
  NewArray out(std::move(shape));
  {
    const nb::gil_scoped_release release;
    const auto pool = op_threads();
    if (input.rows != 0) check(stilla::matmul(out.rows(), w, input, rounded, added, *pool));
  }
  return std::move(out).release();
}

// Computes w @ x with numpy's meaning: x is [K] or [K, M], so its columns are the tokens.
nb::object times(const stilla::PackedMatrix& weights, const nb::object& given) {
  Array x;
  if (!nb::try_cast(given, x)) refuse("matmul: x is no array, expected float32");
  if (x.ndim() == 1) return nb::cast(matmul(weights, x, 8, {}));
  if (x.ndim() != 2) refuse("matmul: x has the shape ", shape_text(shape_of(x)), ", expected 1 or 2 dimensions for `weights @ x`");
  const nb::object rows = nb::module_::import_("numpy").attr("ascontiguousarray")(given.attr("T"));
  return nb::cast(matmul(weights, nb::cast<Array>(rows), 8, {})).attr("T");
}

// Returns the packed bytes as an array. Their memory lives as long as `weights`, the Python object.
nb::ndarray<nb::numpy, const std::uint8_t> panels(nb::handle weights) {
  const auto& matrix = *nb::inst_ptr<stilla::PackedMatrix>(weights);
  const std::size_t bytes = matrix.bytes();
  return {matrix.view().data, 1, &bytes, weights};
}

stilla::PackedMatrix borrow(const Array& panels, const std::string& format_name, Extents shape) {
  constexpr std::string_view op = "PackedMatrix.borrow";
  const stilla::FormatId format = format_by_name(op, format_name);
  const std::span<const std::byte> bytes = bytes_of({op, "panels"}, panels);
  const std::size_t expected = value_of(stilla::packed_bytes(format, shape.first, shape.second));
  if (bytes.size() != expected) refuse(op, ": panels have ", bytes.size(), " bytes, expected ", expected);
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % stilla::cache_line_bytes != 0) {
    refuse(op, ": panels at an address that is no multiple of ", stilla::cache_line_bytes);
  }
  return stilla::PackedMatrix::borrow({format, shape.first, shape.second, bytes.data()});
}

FloatArray unpack(const stilla::PackedMatrix& weights) {
  const stilla::PackedView& w = weights.view();
  NewArray out({w.rows, w.cols});
  {
    const nb::gil_scoped_release release;
    const auto pool = op_threads();
    const stilla::Matrix rows = out.rows();
    (*pool)(w.rows, [&](std::size_t n) { stilla::embedding_lookup(rows.row(n), w, n); });
  }
  return std::move(out).release();
}

FloatArray unpack_row(const stilla::PackedMatrix& weights, std::size_t row) {
  const stilla::PackedView& w = weights.view();
  if (row >= w.rows) refuse("row: found ", row, ", the matrix has ", w.rows, " rows");
  NewArray out({w.cols});
  stilla::embedding_lookup(out.data(), w, row);
  return std::move(out).release();
}

}  // namespace

void add_weights(nb::module_& module) {
  nb::class_<stilla::PackedMatrix>(module, "PackedMatrix",
                                   "Weights W[N, K] of a format, in the layout that kernels read. They never change. Made by pack().\n\n"
                                   "`w @ x` is a product with x[K] or x[K, M] whose activations have 8 bits; matmul() is the one with "
                                   "tokens as rows.")
      .def_prop_ro(
          "shape", [](const stilla::PackedMatrix& w) { return Extents{w.view().rows, w.view().cols}; }, "(N, K): outputs, inputs.")
      .def_prop_ro(
          "format", [](const stilla::PackedMatrix& w) { return std::string(stilla::format_name(w.view().format)); },
          "The name of the format.")
      .def_prop_ro("nbytes", &stilla::PackedMatrix::bytes, "Bytes of memory.")
      .def_prop_ro("panels", &panels, nb::sig("def panels(self) -> numpy.typing.NDArray[numpy.uint8]"),
                   "The memory itself, uint8 [nbytes], read-only: what borrow() takes. Another version may have another layout.")
      .def_static("borrow", &borrow, nb::arg("panels"), nb::arg("format"), nb::arg("shape"), nb::keep_alive<0, 1>(),
                  "Weights that were packed before, from their panels: uint8, on a boundary of 64 bytes, which are "
                  "used where they are "
                  "and must not change. shape: (N, K).")
      .def("unpack", &unpack, "All weights as float32 [N, K]: the values that the format holds.")
      .def("row", &unpack_row, nb::arg("row"), "Row `row` as float32 [K]: the lookup of an embedding.")
      .def("__matmul__", &times, nb::arg("x"),
           nb::sig("def __matmul__(self, x: numpy.typing.NDArray[numpy.float32]) -> numpy.typing.NDArray[numpy.float32]"))
      .def("__repr__", [](const stilla::PackedMatrix& w) {
        return stilla::concat("<stilla.PackedMatrix ", w.view().rows, " x ", w.view().cols, " ", stilla::format_name(w.view().format), ">");
      });
  module.def("pack", &pack, nb::arg("weights"), nb::arg("format"), nb::arg("shape") = nb::none(),
             "Packs weights W[N, K].\n\n"
             "weights: float32 [N, K], which is encoded first; or the format's blocks as a file holds them, uint8 in "
             "any shape, and "
             "then `shape` is (N, K). K is a multiple of the format's block, 32 or 256 for most.\n"
             "format: a name of formats(), \"q4_0\".");
  module.def("matmul", &matmul, nb::arg("weights"), nb::arg("x"), nb::arg("bits") = 8, nb::arg("bias") = nb::none(),
             "y = x W^T + bias: x float32 [..., K], bias float32 [N] or None, y float32 [..., N].\n\n"
             "bits: quantised weights take x rounded to 8 or 16 bits in blocks of 32, so K is a multiple of 32. Float "
             "weights take x as "
             "it is.");
}

}  // namespace python
