// SPDX-License-Identifier: Apache-2.0
//
// Contract of the packing kernels. A kernel turns up to 16 rows of W[N, K], whose blocks are as in a file, into one panel of the
// layout that layout/rows16_k4.hpp describes. Every byte of the panel is written. Rows that do not exist (in the last panel), and
// the end of a last span that K does not fill, become zeros. Numbers are computed as floats only for a format that is decoded into
// the panels of another one (PanelFormat in format/format.hpp). So the bytes of a panel are the same on every target, whatever
// bytes the file holds.
#pragma once

#include <cstddef>

#include <stilla/base/target.hpp>
#include <stilla/format/format.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The rows of one panel. Row r begins at first + r * stride_bytes, at any address.
struct PanelRows {
  const std::byte* first = nullptr;
  std::size_t count = 0;         // 1 .. 16
  std::size_t stride_bytes = 0;  // row_bytes<F>(K)
};

// Packs rows of K weights; K is a multiple of F::block_weights. Reads row_bytes<F>(K) bytes of each row and nothing else. Writes
// PanelLayout<F>::panel_bytes(K) bytes, which are 64-byte aligned and overlap no row. The kernel is called as run(panel, rows, K).
template <class Target, WeightFormat F>
struct PackPanel : PackPanel<typename Target::Fallback, F> {};
using PackPanelFunction = void (*)(std::byte* panel, const PanelRows& rows, std::size_t K);

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
