// SPDX-License-Identifier: Apache-2.0
//
// Defines which arguments ops check and how they report a bad one. An argument that breaks an op's contract gives an Error that
// names the op, the argument, what was found and what was expected. Nothing is computed then.
//
//     always                    checks that cost a few comparisons: shapes, multiples, null pointers, alignment of weights, heads,
//                               layers, positions. A bad value of these would cause a wild memory access or an endless loop
//     with STILLA_CHECK=1       also checks that cost more, for example whether outputs overlap inputs, and whether the sums of rounded
//                               activations are the sums of their values. This is meant for programs under development
//
// STILLA_CHECK is an environment variable that is read once, so a program need not be compiled again for it. A call of
// check_everything() overrides the variable.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include <stilla/base/error.hpp>
#include <stilla/base/matrix.hpp>

#include <stilla/base/push_macros-inl.hpp>

// The choice that check_everything() makes: 1 turns on the checks that are otherwise made only with STILLA_CHECK=1, 0 turns them
// off, and a number below 0 leaves the decision to the environment variable STILLA_CHECK. There is one choice for the whole
// program, so this number is not in the inline namespace whose name holds the compiler's flags (config.hpp).
namespace stilla::program_state {
inline std::atomic<int> checks_everything{-1};
}  // namespace stilla::program_state

namespace stilla { inline namespace STILLA_ABI {

inline void check_everything(bool on) { program_state::checks_everything.store(on ? 1 : 0, std::memory_order_relaxed); }

inline bool checks_everything() {
  static const bool by_environment = [] {
    const char* value = std::getenv("STILLA_CHECK");
    return value != nullptr && *value != 0 && std::string_view(value) != "0";
  }();
  const int chosen = program_state::checks_everything.load(std::memory_order_relaxed);
  return chosen < 0 ? by_environment : chosen != 0;
}

namespace detail {

inline Error bad_argument(std::string message) { return {ErrorKind::bad_argument, std::move(message)}; }

template <class T>
std::string shape_of(const MatrixView<T>& m) {
  return concat(m.rows, " x ", m.cols);
}

// Whether the rows of a matrix follow each other without overlapping, and its data is not null. An empty matrix needs neither.
template <class T>
bool has_rows(const MatrixView<T>& m) {
  return m.rows == 0 || m.cols == 0 || (m.data != nullptr && (m.rows == 1 || m.stride >= m.cols));
}

// Checks that the matrix `found` has the shape rows x cols and memory for its rows. The error names `op` and the argument `what`.
template <class T>
Status check_shape(std::string_view op, std::string_view what, const MatrixView<T>& found, std::size_t rows, std::size_t cols) {
  if (found.rows != rows || found.cols != cols) {
    return bad_argument(concat(op, ": ", what, " is ", shape_of(found), ", expected ", rows, " x ", cols));
  }
  if (!has_rows(found)) {
    return bad_argument(concat(op, ": ", what, " has ", found.data == nullptr ? "no data" : "a stride below its columns"));
  }
  return success();
}

// Whether two views share an element. Different columns of one wider matrix (the same stride) do not count as shared. Two views
// of different strides count as sharing an element if their ranges of memory overlap.
template <class S, class T>
bool share_memory(const MatrixView<S>& a, const MatrixView<T>& b) {
  static_assert(sizeof(S) == sizeof(T));
  if (a.rows == 0 || a.cols == 0 || b.rows == 0 || b.cols == 0) return false;
  const auto begin_a = reinterpret_cast<std::uintptr_t>(a.data) / sizeof(T), begin_b = reinterpret_cast<std::uintptr_t>(b.data) / sizeof(T);
  if (begin_b >= begin_a + (a.rows - 1) * a.stride + a.cols || begin_a >= begin_b + (b.rows - 1) * b.stride + b.cols) return false;
  const std::size_t stride = a.rows == 1 ? b.stride : a.stride;
  if ((b.rows != 1 && b.stride != stride) || stride < a.cols || stride < b.cols || a.rows + b.rows == 2) return true;
  const std::size_t distance = begin_b >= begin_a ? (begin_b - begin_a) % stride : (stride - (begin_a - begin_b) % stride) % stride;
  return distance < a.cols || distance + b.cols > stride;
}

// For ops that may work in place: it is an error if the output y shares memory with the input x, unless y is the same matrix as x.
template <class T>
Status check_same_or_apart(std::string_view op, std::string_view y_name, const Matrix& y, std::string_view x_name, const MatrixView<T>& x) {
  const bool same = y.data == x.data && (y.rows <= 1 || y.stride == x.stride);
  if (same || !share_memory(y, x)) return success();
  return bad_argument(concat(op, ": ", y_name, " overlaps ", x_name, " in part; it may be the same matrix or lie apart"));
}

// For ops that cannot work in place: it is an error if the output y shares memory with the input x.
template <class T>
Status check_apart(std::string_view op, std::string_view y_name, const Matrix& y, std::string_view x_name, const MatrixView<T>& x) {
  if (!share_memory(y, x)) return success();
  return bad_argument(concat(op, ": ", y_name, " overlaps ", x_name));
}

}  // namespace detail

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
