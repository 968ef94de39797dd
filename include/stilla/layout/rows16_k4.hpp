// SPDX-License-Identifier: Apache-2.0
//
// Defines Rows16K4, the layout of packed weights that all targets read today. 16 output rows stand side by side in a panel, and
// four neighbouring k of a row are neighbouring bytes. So one vector load gives an operand, each lane owns one output row, and no
// kernel ever sums across lanes. A packed matrix can be stored (io/packed_file.hpp) and read on any CPU.
//
// A panel holds rows 16p .. 16p+15 of W[N, K]. Rows past N are stored as zero weights. A panel of a quantised format consists of
// spans:
//
//     | codes of k 0..31 | codes of k 32..63 | ... | scale records |   next span of k: codes, records | ...
//
//   A span has the smallest number of scale records whose bytes are a multiple of 64, and the codes that belong to these records:
//   64 k of Q4_0 (576 bytes), 256 k of Q4_K (2368 bytes). So a kernel reads one stream forward, and every line of codes is aligned.
//   The last span is as long as the others even if K does not fill it. (With all scales at the end of a panel, kernels had to read
//   two streams, and products from memory were 20 to 30 % slower.)
//
//   The codes of one block of 32 k (r = row in the panel, j = 0..3; each line is one 64-byte vector, v is its number, and the text
//   describes its byte r*4 + j):
//     2 bits, 128 bytes:  v = 0, 1   bits 2g, 2g+1 (g = 0..3): code(r, 16v + 4g + j)
//     3 bits, 192 bytes:  v = 0..2   bits 0-2 are code(r, 8v + j), bits 4-6 are code(r, 8v + 4 + j). The last eight k have no line
//                         of their own: bit 3 of line v is bit v of code(r, 24 + j), and bit 7 of line v is bit v of
//                         code(r, 28 + j).
//
//                           bit        7        6   5   4        3        2   1   0
//                           line 0   c(28)/1  | c(r, 4 + j)  | c(24)/1  | c(r, 0 + j)  |       c(24) = code(r, 24 + j),
//                           line 1   c(28)/2  | c(r, 12 + j) | c(24)/2  | c(r, 8 + j)  |       c(28) = code(r, 28 + j);
//                           line 2   c(28)/4  | c(r, 20 + j) | c(24)/4  | c(r, 16 + j) |       /1, /2, /4: bits 0, 1, 2
//
//                         (To unpack four k of each row takes 2.5 operations in this arrangement. It would take 4.6 if the lower two
//                         bits and the upper bit of the codes were stored apart.)
//     4 bits, 256 bytes:  v = 0..3   low nibble code(r, 8v + j), high nibble code(r, 8v + 4 + j)
//     5 bits, 320 bytes:  four lines as for 4 bits, with the low 4 bits, then one line:
//                         bit g (0..7) of byte r*4 + j is the fifth bit of code(r, 4g + j)
//     6 bits, 384 bytes:  four lines as for 4 bits, with the low 4 bits, then lines h = 0, 1:
//                         bits 2g, 2g+1 (g = 0..3) of byte r*4 + j are the upper bits of code(r, 16h + 4g + j)
//     8 bits, 512 bytes:  v = 0..7   signed byte code(r, 4v + j)
//   So four consecutive k of one row are four neighbouring bytes: an operand of vpdpbusd, of sdot or of a row of an AMX tile.
//
//   The scale record, in the order of its bytes:
//     formats without sub-scales, one record per block:
//                         scale f16[16] | minimum f16[16] if any
//     formats with sub-scales, one record per super-block (a block of 256):
//                         scale f16[16] | minimum f16[16] if any |
//                         sub-scales int8[groups][16] | sub-minimums int8[groups / 2][16][2] if any. The sub-minimums of two
//                         neighbouring groups are side by side, because instructions that multiply pairs take them so.
//     formats with sub-scales, groups of 16 and minimums, one record per super-block:
//                         scale f16[16] | minimum f16[16] |
//                         pairs u8[16 groups][16]: low nibble sub-scale, high nibble sub-minimum
//     formats with scale words, one record per block of 128:
//                         word u32[16]
//     formats with a scale per row have scale f32[16] once, before the panel's codes. Those without sub-scales have no records. Those
//     with sub-scales have one record per block:
//                         sub-scales int8[groups][16]
//
//   So a packed weight takes these bits, for its code, its share of the sub-scales and its share of the scales: Q2_K
//   2 + 0.5 + 0.125 = 2.625; Q3_K and the IQ2 formats 3 + 0.5 + 0.0625 = 3.5625; the IQ3 formats and IQ4_XS
//   4 + 0.25 + 0.0625 = 4.3125; Q4_K 4 + 0.5 + 0.125 = 4.625.
//
// A panel of a float format (F32, F16, BF16) has value(r, k) at index k*16 + r. Other formats that are not quantised are decoded
// into panels of one of these three (PanelFormat in format/format.hpp): BFP16EBS8 into panels of BF16.
//
// A format that this layout cannot hold is a compile error. Rows16K4::holds checks the members of the format and does not trust
// them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string_view>

#include <stilla/base/aligned.hpp>
#include <stilla/format/format.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Names a layout of packed weights in a PackedView and in packed files. Every change to the bytes of a packed matrix needs a new
// id, so that stored matrices of the old layout are refused and not misread. tests/pack_test.cpp knows the checksums of packed
// panels and fails when the bytes change and the id does not.
enum class LayoutId : std::uint32_t {};

inline constexpr std::size_t panel_rows = 16;
inline constexpr std::size_t code_block = 32;  // k whose codes are stored together

namespace detail {

// Whether all codes of a block fit into F::code_bits bits. The compiler tries blocks of all zeros, all ones and both patterns of
// alternating bits. For formats in which a code is some bits of the block, this is a proof.
template <QuantisedFormat F>
constexpr bool codes_fit() {
  for (const unsigned pattern : {0x00u, 0xffu, 0x55u, 0xaau}) {
    std::array<std::byte, F::block_bytes> block{};
    for (std::byte& b : block) b = static_cast<std::byte>(pattern);
    for (std::size_t k = 0; k < F::block_weights; ++k) {
      const int code = F::code(block.data(), k);
      const int least = F::code_bits == 8 ? -128 : 0, most = F::code_bits == 8 ? 127 : (1 << F::code_bits) - 1;
      if (code < least || code > most) return false;
    }
  }
  return true;
}

// Whether the sub-scales of a format are least_scale to highest_scale, and its sub-minimums least_minimum to highest_minimum. The compiler
// tries blocks of all zeros, all ones and both patterns of alternating bits.
template <QuantisedFormat F>
constexpr bool sub_numbers_fit(int least_scale, int highest_scale, int least_minimum, int highest_minimum) {
  for (const unsigned pattern : {0x00u, 0xffu, 0x55u, 0xaau}) {
    std::array<std::byte, F::block_bytes> block{};
    for (std::byte& b : block) b = static_cast<std::byte>(pattern);
    for (std::size_t g = 0; g < F::block_weights / F::group_weights; ++g) {
      const int scale = F::sub_scale(block.data(), g), minimum = F::sub_minimum(block.data(), g);
      if (scale < least_scale || scale > highest_scale || minimum < least_minimum || minimum > highest_minimum) return false;
    }
  }
  return true;
}

// Whether a scale word has the form that the kernels expect: bits 6g .. 6g + 5 are the sub-scale of group g with its sign, the
// upper 8 bits are a ue5m3 (an unsigned float with 5 bits of exponent and 3 of mantissa).
template <WordScaledFormat F>
constexpr bool words_are_known() {
  for (unsigned bit = 0; bit < 32; ++bit) {
    const std::uint32_t word = std::uint32_t{1} << bit;
    if (F::scale_of(word).bits != word >> 24) return false;
    for (unsigned g = 0; g < 4; ++g) {
      const std::uint32_t six = word >> (6 * g) & 63u;
      if (F::sub_scale_of(word, g) != static_cast<int>(six) - (six >= 32 ? 64 : 0)) return false;
    }
  }
  return true;
}

}  // namespace detail

struct Rows16K4 {
  static constexpr std::string_view name = "rows16_k4";
  static constexpr LayoutId id{2};

  // Whether a format fits this layout and the kernels that read it. The comments beside the conditions give the reasons.
  template <QuantisedFormat F>
  static constexpr bool holds() {
    constexpr std::size_t groups = F::block_weights / F::group_weights;
    bool holds = (F::code_bits >= 2 && F::code_bits <= 6) || F::code_bits == 8;  // the widths that the drawing of this file has
    // Kernels need the sum of the activations of a group, and there are such sums only for 16 and for 32 values.
    holds = holds && (F::group_weights == 16 || F::group_weights == code_block);
    holds = holds && F::block_weights % code_block == 0;
    // Kernels subtract the zero point as a shifted sum of activations, so it is a power of two or 0. Signed codes have no zero
    // point.
    constexpr bool is_power = F::zero_point >= 0 && (F::zero_point & (F::zero_point - 1)) == 0;
    holds = holds && is_power && F::zero_point < (1 << F::code_bits) && (F::code_bits != 8 || F::zero_point == 0);
    if constexpr (F::is_codebook) {  // kernels look levels up in at most 16 signed bytes
      holds = holds && F::code_bits <= 4 && F::zero_point == 0 && F::codebook.size() == std::size_t{1} << F::code_bits;
    }
    if constexpr (has_sub_minimums<F>) {  // RoundedSums hold sums for eight groups of 32; within these limits no integer sum overflows
      holds = holds && groups == 8 && F::group_weights == code_block && detail::sub_numbers_fit<F>(-128, 127, -63, 63);
    } else if constexpr (has_nibble_minimums<F>) {  // one record serves 256 weights
      holds = holds && groups == 16 && !F::is_codebook && F::code_bits < 8 && detail::sub_numbers_fit<F>(0, 15, 0, 15);
    } else if constexpr (F::has_minimum) {  // the minimum is multiplied by the sum of 32 activations
      holds = holds && F::group_weights == code_block;
    }
    if constexpr (RowScaledFormat<F>) holds = holds && !F::has_minimum;
    if constexpr (WordScaledFormat<F>) {
      holds = holds && F::block_weights == 128 && groups == 4 && F::has_sub_scales && !F::has_minimum;
      holds = holds && detail::words_are_known<F>();
    }
    return holds;
  }

  // Sizes and offsets in the panels of one format.
  template <class F>
  struct Panels;
};

template <QuantisedFormat F>
struct Rows16K4::Panels<F> {
  static_assert(Rows16K4::holds<F>(), "rows16_k4 cannot hold this format: see Rows16K4::holds");
  static_assert(detail::codes_fit<F>(), "the format has codes that do not fit its code_bits");

  static constexpr std::size_t head_bytes = RowScaledFormat<F> ? panel_rows * sizeof(float) : 0;  // before the first span
  static constexpr std::size_t super_block = F::block_weights;
  static constexpr std::size_t groups = super_block / F::group_weights;
  static constexpr std::size_t code_bytes = code_block * panel_rows * F::code_bits / 8;  // of one block of 32 k
  static constexpr std::size_t sub_offset = RowScaledFormat<F> ? 0 : panel_rows * 2 * (F::has_minimum ? 2 : 1);  // in a scale record
  static constexpr std::size_t sub_minimums_offset = sub_offset + (F::has_sub_scales ? groups * panel_rows : 0);
  static constexpr std::size_t sub_minimums_bytes = has_sub_minimums<F> ? groups * panel_rows : 0;
  static constexpr std::size_t record_bytes =
      WordScaledFormat<F> ? panel_rows * 4 : sub_minimums_offset + sub_minimums_bytes;  // 0: there are none

  static constexpr std::size_t span_records = cache_line_bytes / std::gcd(cache_line_bytes, record_bytes);
  static constexpr std::size_t span_k = span_records * super_block;
  static constexpr std::size_t span_codes_bytes = span_k / code_block * code_bytes;
  static constexpr std::size_t span_bytes = span_codes_bytes + span_records * record_bytes;

  static constexpr std::size_t panel_bytes(std::size_t K) {
    return K == 0 ? 0 : head_bytes + (K / span_k + (K % span_k != 0)) * span_bytes;
  }

  // Offsets in a scale record for group g: the sub-scale of row 0 (that of row r is r bytes further), and the sub-minimum of row 0
  // (that of row r is 2r bytes further). With has_nibble_minimums one byte holds both, at the offset of the sub-scale.
  static constexpr std::size_t sub_scale_offset(std::size_t g) { return sub_offset + g * panel_rows; }
  static constexpr std::size_t sub_minimum_offset(std::size_t g) { return sub_minimums_offset + g / 2 * 2 * panel_rows + g % 2; }

  // Offsets in a panel: the codes of the block of 32 that k belongs to, and the scale record of k. The record is empty for formats
  // with one scale for each row and no sub-scales.
  static constexpr std::size_t codes_offset(std::size_t k) {
    return head_bytes + k / span_k * span_bytes + k % span_k / code_block * code_bytes;
  }
  static constexpr std::size_t record_offset(std::size_t k) {
    return head_bytes + k / span_k * span_bytes + span_codes_bytes + k % span_k / super_block * record_bytes;
  }
};

template <class F>
  requires(!QuantisedFormat<F>)
struct Rows16K4::Panels<F> {
  static constexpr std::size_t panel_bytes(std::size_t K) {
    const std::size_t bytes = K * panel_rows * sizeof(typename PanelFormat<F>::Storage);
    return (bytes + cache_line_bytes - 1) / cache_line_bytes * cache_line_bytes;
  }
};

// The layout of the panels that the kernels of today's targets read.
template <class F>
using PanelLayout = Rows16K4::Panels<F>;

// The number of the layout in packed files.
inline constexpr std::uint32_t packed_layout_version = static_cast<std::uint32_t>(Rows16K4::id);

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
