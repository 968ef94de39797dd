// SPDX-License-Identifier: Apache-2.0
//
// A view of a matrix that somebody else owns: pointer, extents, stride. It is row-major: element (r, c) is data[r * stride + c].
// The whole project uses these letters for shapes: M tokens (rows of x), N output features, K reduced features, T cached
// positions, H query heads, G key/value heads, D head size.
#pragma once

#include <cstddef>
#include <type_traits>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

template <class T>
struct MatrixView {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t stride = 0;  // elements from one row to the next, at least cols

  constexpr MatrixView() = default;
  constexpr MatrixView(T* data_, std::size_t rows_, std::size_t cols_) : MatrixView(data_, rows_, cols_, cols_) {}
  constexpr MatrixView(T* data_, std::size_t rows_, std::size_t cols_, std::size_t stride_)
      : data(data_), rows(rows_), cols(cols_), stride(stride_) {}

  // A writable view can be passed where a read-only one is expected.
  constexpr operator MatrixView<const T>() const
    requires(!std::is_const_v<T>)
  {
    return {data, rows, cols, stride};
  }

  constexpr T* row(std::size_t r) const { return data + r * stride; }

  // A view of the rows [begin, begin + count).
  constexpr MatrixView rows_from(std::size_t begin, std::size_t count) const { return {row(begin), count, cols, stride}; }
};

using Matrix = MatrixView<float>;
using ConstMatrix = MatrixView<const float>;

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
