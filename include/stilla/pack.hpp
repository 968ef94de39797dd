// SPDX-License-Identifier: Apache-2.0
//
// Packs weights: turns rows of blocks, as files hold them, into the panels that kernels read (layout/rows16_k4.hpp draws them).
//
//   stilla::PackedMatrix w = *stilla::PackedMatrix::create<stilla::Q4_0>(rows, N, K);      // allocates memory for the panels
//   stilla::pack<stilla::Q4_0>(panels, rows, N, K);                                        // you allocate packed_bytes<Q4_0>(N, K)
//
// The bytes are the same on every target and for every number of threads. Only PackedMatrix allocates memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>

#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/contract/pack.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/format/format.hpp>
#include <stilla/layout/pack.hpp>
#if STILLA_COMPILE_KERNELS
#include <stilla/all_targets/pack.hpp>
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

// The packing kernel of a target. pack_function_of() is for a format that is known when the program is compiled, pack_function()
// for a format that is known only when the program runs; pack_function() returns null if the format is unknown.
#if STILLA_COMPILE_KERNELS
template <WeightFormat F>
PackPanelFunction pack_function_of(TargetId target) {
  PackPanelFunction function = nullptr;
  with_target(target, [&](auto tag) { function = PackPanel<decltype(tag), F>::run; });
  return function;
}
#endif
#if STILLA_SEPARATE_KERNELS
PackPanelFunction pack_function(TargetId target, FormatId format);
#if STILLA_COMPILE_KERNELS
FormatFacts facts_of(FormatId format) { return collect_facts<>(format); }
PackPanelFunction pack_function(TargetId target, FormatId format) {
  PackPanelFunction function = nullptr;
  stilla::with_format(format, [&](auto tag) { function = pack_function_of<decltype(tag)>(target); });
  return function;
}
#endif
#endif

}  // namespace detail

// Packs W[N, K], rows of F's blocks one after the other (as in a GGUF file), into `packed`: packed_bytes<F>(N, K) bytes, 64-byte
// aligned. K is a multiple of F::block_weights. `rows` may have any alignment; N * row_bytes<F>(K) bytes of it are read.
template <WeightFormat F>
void pack(std::byte* packed, const std::byte* rows, std::size_t N, std::size_t K, Parallel parallel = {}) {
  const std::size_t stride = row_bytes<F>(K);
  const std::size_t bytes = PanelLayout<F>::panel_bytes(K);
#if STILLA_SEPARATE_KERNELS
  const PackPanelFunction pack_panel = detail::pack_function(active_target(), id_of<F>);
#else
  const PackPanelFunction pack_panel = detail::pack_function_of<F>(active_target());
#endif
  parallel((N + panel_rows - 1) / panel_rows, [&](std::size_t p) {
    const std::size_t first = p * panel_rows;
    pack_panel(packed + p * bytes, {rows + first * stride, std::min(N - first, panel_rows), stride}, K);
  });
}

// If the memory of weights is to be released as soon as it has been used, the weights are read or packed in pieces of piece_bytes
// bytes, one after the other.
inline constexpr std::size_t piece_bytes = std::size_t{1} << 24;

// How many rows of K weights of format F are packed at a time. Their panels take at most piece_bytes bytes, unless one panel is larger.
template <WeightFormat F>
constexpr std::size_t rows_per_piece(std::size_t K) {
  const std::size_t panel = PanelLayout<F>::panel_bytes(K);
  return panel == 0 || panel >= piece_bytes ? panel_rows : piece_bytes / panel * panel_rows;
}

namespace detail {

// Packs W[N, K] into `memory` in pieces. After each piece it calls packed(n), which means that rows [0, n) will not be read again.
STILLA_KERNEL_LINKAGE void pack_pieces(FormatId format, std::byte* memory, const std::byte* rows, std::size_t N, std::size_t K,
                                       Parallel parallel, IndexFunction packed);
#if STILLA_COMPILE_KERNELS
STILLA_KERNEL_LINKAGE void pack_pieces(FormatId format, std::byte* memory, const std::byte* rows, std::size_t N, std::size_t K,
                                       Parallel parallel, IndexFunction packed) {
  stilla::with_format(format, [&](auto tag) {
    using F = decltype(tag);
    const std::size_t step = rows_per_piece<F>(K);
    for (std::size_t n = 0; n < N; n += step) {
      const std::size_t count = N - n < step ? N - n : step;
      pack<F>(memory + n / panel_rows * PanelLayout<F>::panel_bytes(K), rows + n * row_bytes<F>(K), count, K, parallel);
      packed(n + count);
    }
  });
}
#endif

}  // namespace detail

// A packed matrix, in memory of its own or in memory that must outlive it.
class PackedMatrix {
 public:
  // Packs W[N, K] of this format; `rows` are as a file holds them. The matrix is packed in pieces of some megabytes. After each
  // piece, `packed(n)`, if given, is called and says that rows [0, n) will not be read again. The result goes to `memory`, if
  // given: packed_bytes(format, N, K) bytes on a 64-byte boundary, which must outlive the matrix.
  static Result<PackedMatrix> create(FormatId format, const std::byte* rows, std::size_t N, std::size_t K, Parallel parallel = {},
                                     IndexFunction packed = {}, std::byte* memory = nullptr) {
    const Result<std::size_t> bytes = packed_bytes(format, N, K);
    if (!bytes) return bytes.error();
    PackedMatrix matrix;
    if (memory == nullptr) {
      if (!matrix.data_.resize(*bytes)) return out_of_memory("packed weights", *bytes);
      memory = matrix.data_.data();
    }
    matrix.view_ = {format, N, K, memory};
    detail::pack_pieces(format, memory, rows, N, K, parallel, packed);
    return matrix;
  }

  // Does what create(format, rows, N, K) does for a format that is known at compile time: PackedMatrix::create<Q4_0>(rows, N, K).
  template <WeightFormat F>
  static Result<PackedMatrix> create(const std::byte* rows, std::size_t N, std::size_t K, Parallel parallel = {}, IndexFunction packed = {},
                                     std::byte* memory = nullptr) {
    return create(id_of<F>, rows, N, K, parallel, packed, memory);
  }

  // Makes a PackedMatrix that refers to a matrix which was packed before, and does not own its bytes.
  static PackedMatrix borrow(const PackedView& view) {
    PackedMatrix matrix;
    matrix.view_ = view;
    return matrix;
  }

  const PackedView& view() const { return view_; }
  operator const PackedView&() const { return view_; }
  std::size_t bytes() const { return *packed_bytes(view_.format, view_.rows, view_.cols); }

 private:
  PackedView view_;
  AlignedBuffer<std::byte> data_;
};

// Writes row n of packed weights to `out` as floats, for embedding lookup. The values are the same as those in the file. A table of
// another layout than Rows16K4 gives NaN.
STILLA_KERNEL_LINKAGE void embedding_lookup(float* out, const PackedView& table, std::size_t n);
#if STILLA_COMPILE_KERNELS
STILLA_KERNEL_LINKAGE void embedding_lookup(float* out, const PackedView& table, std::size_t n) {
  if (table.layout != Rows16K4::id) {
    std::fill_n(out, table.cols, std::numeric_limits<float>::quiet_NaN());
    return;
  }
  stilla::with_format(table.format, [&](auto tag) { unpack_row<decltype(tag)>(table, n, out); });
}
#endif

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
