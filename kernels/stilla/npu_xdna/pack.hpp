// SPDX-License-Identifier: Apache-2.0
//
// Cuts the operands of a product into the tiles that tiles.hpp draws, and puts them together again. Nothing is rounded here. An
// operand consists of rows of units, which operand.hpp makes from weights and activations. A unit is one number, or with bfp16 8
// numbers along K.
//
//   rows      A[M][K] or W[N][K]: the units of a row stand side by side, the last one padded with zeros; no gaps between rows
//   tiles     as many bytes as ProductLayout says; bytes that stand for no number of the matrix are 0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <stilla/base/matrix.hpp>
#include <stilla/npu_xdna/tiles.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace xdna {

// The bytes of a row of K numbers in a form (int8, bf16 or bfp16). With bfp16 the row is padded to whole units of 8 numbers.
constexpr std::size_t row_bytes(Form form, std::size_t K) { return detail::quotient_up(K, unit_weights(form)) * unit_bytes(form); }

namespace detail {

// These two functions call f(in_rows, in_tiles) for every unit of the weights W or of the activations A. `in_rows` is the place of
// the unit in the matrix as rows, and `in_tiles` is its place in the tiles, both in bytes.
template <class F>
void for_each_unit_of_weights(const ProductLayout& p, F&& f) {
  for (std::size_t n = 0; n < p.N; ++n) {
    for (std::size_t k = 0; k < p.K; k += unit_weights(p.form)) {
      f(n * row_bytes(p.form, p.K) + row_bytes(p.form, k),
        p.weights_tile(n / p.tile.n, k / p.tile.k) + b_offset(p.form, p.tile, k % p.tile.k, n % p.tile.n));
    }
  }
}
template <class F>
void for_each_unit_of_activations(const ProductLayout& p, F&& f) {
  for (std::size_t m = 0; m < p.M; ++m) {
    for (std::size_t k = 0; k < p.K; k += unit_weights(p.form)) {
      f(m * row_bytes(p.form, p.K) + row_bytes(p.form, k),
        p.activations_tile(m / p.tile.m, k / p.tile.k) + a_offset(p.form, p.tile, m % p.tile.m, k % p.tile.k));
    }
  }
}
// Calls f(m, n, i) for every number y[m, n] of the results, where i is the number's index among those of the packed tiles.
template <class F>
void for_each_result(const ProductLayout& p, F&& f) {
  for (std::size_t m = 0; m < p.M; ++m) {
    for (std::size_t n = 0; n < p.N; ++n) {
      f(m, n, p.results_tile(m / p.tile.m, n / p.tile.n) + c_index(p.form, p.tile, m % p.tile.m, n % p.tile.n));
    }
  }
}

}  // namespace detail

inline void pack_weights(const ProductLayout& layout, std::byte* tiles, const std::byte* rows) {
  std::fill_n(tiles, layout.weights_bytes(), std::byte{});
  detail::for_each_unit_of_weights(
      layout, [&](std::size_t in_rows, std::size_t in_tiles) { std::memcpy(tiles + in_tiles, rows + in_rows, unit_bytes(layout.form)); });
}
inline void unpack_weights(const ProductLayout& layout, std::byte* rows, const std::byte* tiles) {
  detail::for_each_unit_of_weights(
      layout, [&](std::size_t in_rows, std::size_t in_tiles) { std::memcpy(rows + in_rows, tiles + in_tiles, unit_bytes(layout.form)); });
}

inline void pack_activations(const ProductLayout& layout, std::byte* tiles, const std::byte* rows) {
  std::fill_n(tiles, layout.activations_bytes(), std::byte{});
  detail::for_each_unit_of_activations(
      layout, [&](std::size_t in_rows, std::size_t in_tiles) { std::memcpy(tiles + in_tiles, rows + in_rows, unit_bytes(layout.form)); });
}
inline void unpack_activations(const ProductLayout& layout, std::byte* rows, const std::byte* tiles) {
  detail::for_each_unit_of_activations(
      layout, [&](std::size_t in_rows, std::size_t in_tiles) { std::memcpy(rows + in_rows, tiles + in_tiles, unit_bytes(layout.form)); });
}

// The first of these two functions cuts y, the results of a product, into tiles. The second one puts y together again. All tiles together
// are ProductLayout::results() floats.
inline void pack_results(const ProductLayout& layout, float* tiles, ConstMatrix y) {
  std::fill_n(tiles, layout.results(), 0.0f);
  detail::for_each_result(layout, [&](std::size_t m, std::size_t n, std::size_t i) { tiles[i] = y.row(m)[n]; });
}
inline void unpack_results(const ProductLayout& layout, Matrix y, const float* tiles) {
  detail::for_each_result(layout, [&](std::size_t m, std::size_t n, std::size_t i) { y.row(m)[n] = tiles[i]; });
}

}}}  // namespace stilla::xdna

#include <stilla/base/pop_macros-inl.hpp>
