// SPDX-License-Identifier: Apache-2.0
//
// Packed weights in the layout that kernels read (rows16_k4.hpp describes it): their size, and functions that read them back.
// stilla/pack.hpp packs them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>

#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>
#include <stilla/format/format.hpp>
#include <stilla/format/format_name.hpp>
#include <stilla/layout/rows16_k4.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// A view of a packed matrix that somebody else owns: W[N, K] as panels, 64-byte aligned. Kernels read its panels to their end,
// padding included, and nothing after the last one; they may prefetch addresses after it.
struct PackedView {
  FormatId format = no_format;
  std::size_t rows = 0;      // N
  std::size_t cols = 0;      // K
  const std::byte* data = nullptr;
  LayoutId layout = Rows16K4::id;

  std::size_t panels() const { return (rows + panel_rows - 1) / panel_rows; }
};

// Bytes that W[N, K] of format F takes when packed.
template <class F>
constexpr std::size_t packed_bytes(std::size_t N, std::size_t K) {
  return (N + panel_rows - 1) / panel_rows * PanelLayout<F>::panel_bytes(K);
}

namespace detail {

// The facts about a format that a function needs if it gets the format only at run time. They are collected in one pass over the
// formats, because each such pass takes a part of a second of compile time in every file that includes this header.
struct FormatFacts {
  std::string_view name;
  std::size_t block_weights = 0;  // 0: the format is not compiled
  std::size_t (*panel_bytes)(std::size_t K) = nullptr;
  bool is_quantised = false;
  bool has_sub_minimums = false;
};
// Collects the facts about the format whose id is `format`. It is a template, so that only a file that calls it takes the time to
// compile it.
template <class = void>
FormatFacts collect_facts(FormatId format) {
  FormatFacts facts;
  stilla::with_format(format, [&]<class F>(F) {
    facts = {F::name, F::block_weights, PanelLayout<F>::panel_bytes, QuantisedFormat<F>, stilla::has_sub_minimums<F>};
  });
  return facts;
}
#if STILLA_SEPARATE_KERNELS
FormatFacts facts_of(FormatId format);  // compiled with the kernels of stilla/pack.hpp
#else
inline FormatFacts facts_of(FormatId format) { return collect_facts<>(format); }
#endif

}  // namespace detail

// Bytes that W[N, K] takes when packed, for a format known at run time. If the matrix cannot be packed, the error is one line that
// says why.
inline Result<std::size_t> packed_bytes(FormatId format, std::uint64_t N, std::uint64_t K) {
  const detail::FormatFacts facts = detail::facts_of(format);
  if (facts.block_weights == 0) return detail::unknown_format(format);
  if (K % facts.block_weights != 0) {
    return Error{ErrorKind::bad_argument, concat(K, " columns are not a multiple of the ", facts.name, " block of ", facts.block_weights)};
  }
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  // The limit for K keeps the size of a panel within a size_t. A column takes at most 64 bytes of a panel. The limit assumes 128 bytes,
  // to leave room for a last span that K does not fill.
  const bool countable = N <= most - panel_rows && K <= most / (2 * panel_rows * sizeof(float));
  const std::size_t panel = countable ? facts.panel_bytes(static_cast<std::size_t>(K)) : 0;
  const std::size_t panels = countable ? (static_cast<std::size_t>(N) + panel_rows - 1) / panel_rows : 0;
  if (!countable || (panel != 0 && panels > most / panel)) {
    return Error{ErrorKind::bad_argument, concat(N, " x ", K, " weights do not fit the address space")};
  }
  return panels * panel;
}

// A view of the panels [first, first + count), which must exist, as a matrix of their own. For an unknown format it is an empty
// matrix.
inline PackedView panels_from(const PackedView& w, std::size_t first, std::size_t count) {
  const detail::FormatFacts facts = detail::facts_of(w.format);
  if (facts.block_weights == 0) return {w.format, 0, w.cols, nullptr, w.layout};
  const std::size_t rows = std::min(count * panel_rows, w.rows - first * panel_rows);
  return {w.format, rows, w.cols, w.data + first * facts.panel_bytes(w.cols), w.layout};
}

// The code of row r and position k in the packed codes of 32 neighbouring k. This is the inverse of packing; the scalar kernels
// read codes with this function.
template <QuantisedFormat F>
int packed_code(const std::byte* codes, std::size_t r, std::size_t k) {
  const std::size_t lane = r * 4 + k % 4;
  const auto byte = [&](std::size_t line) { return std::to_integer<unsigned>(codes[line * 64 + lane]); };
  if constexpr (F::code_bits == 8) {
    return static_cast<std::int8_t>(byte(k / 4));
  } else if constexpr (F::code_bits == 2) {
    return static_cast<int>(byte(k / 16) >> (k % 16 / 4 * 2) & 3u);
  } else if constexpr (F::code_bits == 3) {
    if (k < 24) return static_cast<int>(byte(k / 8) >> (k % 8 / 4 * 4) & 7u);
    unsigned code = 0;
    for (std::size_t line = 0; line < 3; ++line) code |= (byte(line) >> (k < 28 ? 3 : 7) & 1u) << line;
    return static_cast<int>(code);
  } else {
    const unsigned low = byte(k / 8) >> (k % 8 / 4 * 4) & 15u;
    unsigned high = 0;
    if constexpr (F::code_bits == 5) high = byte(4) >> (k / 4) & 1u;
    if constexpr (F::code_bits == 6) high = byte(4 + k / 16) >> (k % 16 / 4 * 2) & 3u;
    return static_cast<int>(low | high << 4);
  }
}

// The sub-scale and the sub-minimum of weight k of row r, from the record at `record`. They multiply the scale and the minimum of
// the block (format/format.hpp).
template <QuantisedFormat F>
int packed_sub_scale(const std::byte* record, std::size_t r, std::size_t k) {
  using Layout = PanelLayout<F>;
  const std::byte byte = record[Layout::sub_scale_offset(k % Layout::super_block / F::group_weights) + r];
  return has_nibble_minimums<F> ? std::to_integer<int>(byte) & 15 : static_cast<std::int8_t>(byte);
}
template <QuantisedFormat F>
int packed_sub_minimum(const std::byte* record, std::size_t r, std::size_t k) {
  using Layout = PanelLayout<F>;
  const std::size_t g = k % Layout::super_block / F::group_weights;
  if constexpr (has_nibble_minimums<F>) return std::to_integer<int>(record[Layout::sub_scale_offset(g) + r]) >> 4;
  return static_cast<std::int8_t>(record[Layout::sub_minimum_offset(g) + 2 * r]);
}

// The scale and the minimum of weight k of row r in a packed panel, sub-scale and sub-minimum included.
struct GroupScale {
  float scale;
  float minimum;
};
template <QuantisedFormat F>
GroupScale packed_scale(const std::byte* panel, std::size_t r, std::size_t k) {
  using Layout = PanelLayout<F>;
  const std::byte* record = panel + Layout::record_offset(k);
  if constexpr (RowScaledFormat<F>) {
    GroupScale s{load_as<float>(panel + 4 * r), 0.0f};
    if constexpr (F::has_sub_scales) s.scale *= static_cast<float>(packed_sub_scale<F>(record, r, k));
    return s;
  } else if constexpr (WordScaledFormat<F>) {
    const auto word = load_as<std::uint32_t>(record + 4 * r);
    const int sub_scale = F::sub_scale_of(word, k % Layout::super_block / F::group_weights);
    return {to_float(F::scale_of(word)) * static_cast<float>(sub_scale), 0.0f};
  } else {
    GroupScale s{to_float(load_as<decltype(F::scale(record))>(record + 2 * r)), 0.0f};
    if constexpr (F::has_minimum) s.minimum = to_float(load_as<f16>(record + 2 * (panel_rows + r)));
    if constexpr (F::has_sub_scales) {
      s.scale *= static_cast<float>(packed_sub_scale<F>(record, r, k));
      if constexpr (F::has_minimum) s.minimum *= static_cast<float>(packed_sub_minimum<F>(record, r, k));
    }
    return s;
  }
}

namespace detail {

// Copies 32 codes of a block of weights, from code 32 * part on, to one byte each.
template <QuantisedFormat F>
void take_codes(const std::byte* block, std::size_t part, std::byte* codes) {
  for (std::size_t k = 0; k < code_block; ++k) codes[k] = static_cast<std::byte>(F::code(block, part * code_block + k));
}

// Writes the scale of row r, and its minimum if the format has one, into the scale record at `record`. They are those of `block`, a
// block of the unpacked row that begins at `row`. If a row has only one scale, it is written to the head of the panel instead. This
// function is the inverse of packed_scale(), except that put_sub_scales() writes the sub-scales and sub-minimums.
template <QuantisedFormat F>
void put_scales(std::byte* panel, std::byte* record, std::size_t r, const std::byte* row, const std::byte* block) {
  if constexpr (RowScaledFormat<F>) {
    store_as(panel + 4 * r, F::scale(row));
  } else if constexpr (WordScaledFormat<F>) {
    store_as(record + 4 * r, F::scale_word(block));
  } else {
    store_as(record + 2 * r, F::scale(block));
    if constexpr (F::has_minimum) store_as(record + 2 * (panel_rows + r), F::minimum(block));
  }
}

// Writes the sub-scales and sub-minimums of `block`, a block of row r, into the record. This is for formats whose records have
// bytes for them. (A scale word already holds its sub-scales.)
template <QuantisedFormat F>
void put_sub_scales(std::byte* record, std::size_t r, const std::byte* block) {
  using Layout = PanelLayout<F>;
  if constexpr (F::has_sub_scales && !WordScaledFormat<F>) {
    for (std::size_t g = 0; g < Layout::groups; ++g) {
      record[Layout::sub_scale_offset(g) + r] = static_cast<std::byte>(F::sub_scale(block, g));
      if constexpr (has_nibble_minimums<F>) {
        record[Layout::sub_scale_offset(g) + r] |= static_cast<std::byte>(F::sub_minimum(block, g) << 4);
      } else if constexpr (F::has_minimum) {
        record[Layout::sub_minimum_offset(g) + 2 * r] = static_cast<std::byte>(F::sub_minimum(block, g));
      }
    }
  }
}

}  // namespace detail

// Decodes row n of a packed matrix to K floats. They are, bit for bit, what F::decode gives for the unpacked row.
template <WeightFormat F>
void unpack_row(const PackedView& w, std::size_t n, float* weights) {
  const std::size_t r = n % panel_rows;
  const std::byte* panel = w.data + n / panel_rows * PanelLayout<F>::panel_bytes(w.cols);
  for (std::size_t k = 0; k < w.cols; ++k) {
    if constexpr (QuantisedFormat<F>) {
      const int code = packed_code<F>(panel + PanelLayout<F>::codes_offset(k), r, k % code_block);
      const GroupScale s = packed_scale<F>(panel, r, k);
      if constexpr (F::is_codebook) {
        weights[k] = s.scale * static_cast<float>(F::codebook[static_cast<std::size_t>(code)]);
      } else {
        weights[k] = s.scale * static_cast<float>(code - F::zero_point);
      }
      // scale * code is exact wherever there is a minimum (11 bits of the scale, 6 of the sub-scale, 5 of the code). So the result
      // is the same whether a compiler fuses this product with the addition of the minimum or not.
      if constexpr (F::has_minimum) weights[k] += s.minimum;
    } else {
      using Storage = typename PanelFormat<F>::Storage;
      weights[k] = to_float(load_as<Storage>(panel + (k * panel_rows + r) * sizeof(Storage)));
    }
  }
}

// Writes row n of a packed matrix to `row`, with its blocks as they were before packing. This is only for formats that have a scale
// for each row and whose codes can be set.
template <WeightFormat F>
  requires RowScaledFormat<F> && ChosenCodesFormat<F>
void unpack_blocks(const PackedView& w, std::size_t n, std::byte* row) {
  using Layout = PanelLayout<F>;
  const std::size_t r = n % panel_rows;
  const std::byte* panel = w.data + n / panel_rows * Layout::panel_bytes(w.cols);
  std::fill_n(row, row_bytes<F>(w.cols), std::byte{});
  if (w.cols == 0) return;
  std::memcpy(row, panel + 4 * r, 4);
  for (std::size_t k = 0; k < w.cols; ++k) {
    std::byte* block = row + row_head_bytes<F> + k / F::block_weights * F::block_bytes;
    F::set_code(block, k % F::block_weights, packed_code<F>(panel + Layout::codes_offset(k), r, k % code_block));
    if constexpr (F::has_sub_scales) {
      const std::size_t g = k % F::block_weights / F::group_weights;
      F::set_sub_scale(block, g, packed_sub_scale<F>(panel + Layout::record_offset(k), r, k));
    }
  }
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
