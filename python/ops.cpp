// SPDX-License-Identifier: Apache-2.0
//
// Defines ops on rows for Python: norms, RoPE, SwiGLU, softmax. Each one makes a new array.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/variant.h>

#include <stilla/norm.hpp>
#include <stilla/rope.hpp>
#include <stilla/silu_mul.hpp>
#include <stilla/softmax.hpp>

#include "arrays.hpp"
#include "errors.hpp"
#include "module.hpp"
#include "pool.hpp"

namespace python {
namespace {

// Makes a new array with the shape `shape` and lets run(y, parallel) fill its rows, y, without holding Python's global lock (GIL).
template <class Run>
FloatArray new_rows(Shape shape, Run&& run) {
  NewArray out(std::move(shape));
  {
    const nb::gil_scoped_release release;
    const auto pool = op_threads();
    check(run(out.rows(), stilla::Parallel(*pool)));
  }
  return std::move(out).release();
}

FloatArray rms_norm(const Array& x, const Array& weight, double epsilon) {
  const stilla::ConstMatrix rows = rows_of({"rms_norm", "x"}, x);
  const float* const factors = vector_of({"rms_norm", "weight"}, weight, rows.cols);
  return new_rows(shape_of(x), [&](stilla::Matrix y, stilla::Parallel parallel) {
    return stilla::rms_norm(y, rows, factors, static_cast<float>(epsilon), parallel);
  });
}

FloatArray softmax(const Array& x) {
  const stilla::ConstMatrix rows = rows_of({"softmax", "x"}, x);
  return new_rows(shape_of(x), [&](stilla::Matrix y, stilla::Parallel parallel) { return stilla::softmax(y, rows, parallel); });
}

FloatArray silu_mul(const Array& gate, const Array& up) {
  const stilla::ConstMatrix gates = rows_of({"silu_mul", "gate"}, gate), ups = rows_of({"silu_mul", "up"}, up);
  if (shape_of(gate) != shape_of(up)) {
    refuse("silu_mul: up has the shape ", shape_text(shape_of(up)), ", expected that of gate, ", shape_text(shape_of(gate)));
  }
  return new_rows(shape_of(gate), [&](stilla::Matrix y, stilla::Parallel parallel) { return stilla::silu_mul(y, gates, ups, parallel); });
}

constexpr std::int64_t max_positions = std::int64_t{1} << 20;  // below this RopeFrequencies::table_row is exact

// Returns the position of each row: the one that the caller gave for it, or one more than the
// position of the row before.
std::vector<std::size_t> positions_of(const std::variant<std::int64_t, Array>& given, std::size_t rows) {
  std::vector<std::size_t> out(rows);
  const auto put = [&](std::size_t m, std::int64_t position) {
    if (position < 0 || position >= max_positions) refuse("rope: position ", position, ", expected 0 to ", max_positions - 1);
    out[m] = static_cast<std::size_t>(position);
  };
  if (const auto* first = std::get_if<std::int64_t>(&given)) {
    if (rows != 0) put(0, *first);
    for (std::size_t m = 1; m < rows; ++m) put(m, static_cast<std::int64_t>(out[m - 1]) + 1);
    return out;
  }
  const Array& array = std::get<Array>(given);
  if (array.dtype() != nb::dtype<std::int64_t>() || array.ndim() != 1 || array.shape(0) != rows) {
    refuse("rope: positions are ", dtype_text(array), " ", shape_text(shape_of(array)), ", expected a number or int64 [", rows, "]");
  }
  const auto* values = static_cast<const std::int64_t*>(array.data());
  const std::int64_t stride = array.stride(0);
  for (std::size_t m = 0; m < rows; ++m) put(m, values[static_cast<std::int64_t>(m) * stride]);
  return out;
}

FloatArray rope(const Array& x, const std::variant<std::int64_t, Array>& positions, double base, std::optional<std::size_t> rotary_dim,
                bool interleaved) {
  const stilla::ConstMatrix heads = rows_of({"rope", "x"}, x, 3, 3);
  const std::size_t M = x.shape(0), H = x.shape(1), D = x.shape(2), rotated = rotary_dim.value_or(D);
  if (!(base >= 1.0 && base <= 1e30)) refuse("rope: base ", base, ", expected 1 to 1e30");
  if (rotated % 2 != 0 || rotated > D) refuse("rope: rotary_dim ", rotated, ", expected an even number up to ", D);
  const std::vector<std::size_t> at = positions_of(positions, M);
  return new_rows(shape_of(x), [&](stilla::Matrix y, stilla::Parallel parallel) -> stilla::Status {
    for (std::size_t row = 0; row < heads.rows; ++row) std::copy_n(heads.row(row), D, y.row(row));
    const stilla::RopeFrequencies frequencies(base, rotated);
    const std::size_t pairs = rotated / 2;
    std::vector<float> cos(M * pairs), sin(M * pairs);
    for (std::size_t m = 0; m < M; ++m) frequencies.table_row(cos.data() + m * pairs, sin.data() + m * pairs, at[m]);
    if (M == 0 || H == 0 || pairs == 0) return stilla::success();
    return stilla::rope({y.data, M, H * D}, D, {cos.data(), M, pairs}, {sin.data(), M, pairs},
                        interleaved ? stilla::RopeLayout::interleaved : stilla::RopeLayout::half_split, parallel);
  });
}

}  // namespace

void add_ops(nb::module_& module) {
  module.def("rms_norm", &rms_norm, nb::arg("x"), nb::arg("weight"), nb::arg("epsilon") = 1e-6,
             "x / sqrt(mean(x^2) + epsilon) * weight of each row: x float32 [..., K], weight float32 [K].");
  module.def("softmax", &softmax, nb::arg("x"), "e^x over its sum, of each row: x float32 [..., K].");
  module.def("silu_mul", &silu_mul, nb::arg("gate"), nb::arg("up"),
             "gate / (1 + e^-gate) * up, the inside of SwiGLU: both float32 [..., K], of the same shape.");
  module.def("rope", &rope, nb::arg("x"), nb::arg("positions"), nb::kw_only(), nb::arg("base") = 10000.0,
             nb::arg("rotary_dim") = nb::none(), nb::arg("interleaved") = false,
             "Rotary position embedding: x float32 [M, heads, D], turned by the angles position * base^(-2i / rotary_dim).\n\n"
             "positions: int64 [M], or a number, the position of the first row, and the rows follow each other.\n"
             "rotary_dim: an even number up to D; what of a head lies behind it stays. None: D.\n"
             "interleaved: pairs are (x[2i], x[2i + 1]) instead of (x[i], x[i + rotary_dim / 2]).");
}

}  // namespace python
