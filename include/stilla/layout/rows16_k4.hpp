// SPDX-License-Identifier: Apache-2.0
//
// Rows16K4, the layout that all targets of today read: 16 output rows side by side in a panel, four neighbouring k of a row in
// neighbouring bytes. So one vector load is an operand, each lane owns one output row, and no kernel ever sums across lanes. A
// packed matrix can be stored (io/packed_file.hpp) and read on any CPU.
//
// A panel holds rows 16p .. 16p+15 of W[N, K]; rows past N are zero weights. Quantised formats, per panel, in spans:
//
//     | codes of k 0..31 | codes of k 32..63 | ... | scale records |   next span of k: codes, records | ...
//
//   A span is as few scale records as make a multiple of 64 bytes, with the codes they belong to: 64 k of Q4_0 (576 bytes),
//   256 of Q4_K (2368). So a kernel reads one stream forward, and every line of codes is aligned. A last span that K does not
//   fill is as long as the others. (All scales at the end of a panel were two streams: 20 to 30 % slower from memory.)
//
//   codes of one block of 32 k (r = row in panel, j = 0..3; each line is one 64-byte vector, byte r*4 + j):
//     2 bits, 128 bytes:  v = 0, 1   bits 2g, 2g+1 (g = 0..3): code(r, 16v + 4g + j)
//     3 bits, 192 bytes:  v = 0..2   bits 0-2 code(r, 8v + j), bits 4-6 code(r, 8v + 4 + j); the last eight k have no line of
//                         their own: bit 3 of line v is bit v of code(r, 24 + j), bit 7 that of code(r, 28 + j)
//
//                           bit        7        6   5   4        3        2   1   0
//                           line 0   c(28)/1  | c(r, 4 + j)  | c(24)/1  | c(r, 0 + j)  |       c(24) = code(r, 24 + j),
//                           line 1   c(28)/2  | c(r, 12 + j) | c(24)/2  | c(r, 8 + j)  |       c(28) = code(r, 28 + j):
//                           line 2   c(28)/4  | c(r, 20 + j) | c(24)/4  | c(r, 16 + j) |       a bit in each line
//
//                         (Two planes, of two bits and of one, take 4.6 operations for four k of each row; this takes 2.5.)
//     4 bits, 256 bytes:  v = 0..3   low nibble code(r, 8v + j), high nibble code(r, 8v + 4 + j)
//     5 bits, 320 bytes:  the four lines above for the low 4 bits, then one line:
//                         bit g (0..7) of byte r*4 + j is the fifth bit of code(r, 4g + j)
//     6 bits, 384 bytes:  the four lines for the low 4 bits, then h = 0, 1:
//                         bits 2g, 2g+1 (g = 0..3) of byte r*4 + j are the upper bits of code(r, 16h + 4g + j)
//     8 bits, 512 bytes:  v = 0..7   signed byte code(r, 4v + j)
//   So four consecutive k of one row are four neighbouring bytes: an operand of vpdpbusd, sdot or an AMX tile row.
//
//   scale record, per block (formats without sub-scales):           scale f16[16] | minimum f16[16] if any
//   scale record, per super-block of 256 (formats with sub-scales): scale f16[16] | minimum f16[16] if any |
//                         sub-scales int8[groups][16] | sub-minimums int8[groups / 2][16][2] if any: of neighbouring groups side by
//                         side, as instructions that multiply pairs take them
//   the same with groups of 16 and minimums:                        scale f16[16] | minimum f16[16] |
//                         pairs u8[16 groups][16]: low nibble sub-scale, high nibble sub-minimum
//
//   So a packed weight takes, in bits: Q2_K 2 + 0.5 + 0.125 = 2.625; Q3_K and the IQ2 formats 3 + 0.5 + 0.0625 = 3.5625; the IQ3
//   formats and IQ4_XS 4 + 0.25 + 0.0625 = 4.3125; Q4_K 4 + 0.5 + 0.125 = 4.625.
//
//   scale record, per block of 128 (formats with scale words):      word u32[16]
//   formats with a scale per row: scale f32[16] once, before the panel's codes, and no records; with sub-scales, per block:
//                         sub-scales int8[groups][16]
//
// Float formats (F32, F16, BF16), per panel: value(r, k) at index k*16 + r. Others that are not quantised are decoded into the
// panels of one of these (PanelFormat in format/format.hpp): BFP16EBS8 into BF16's.
//
// What this layout cannot hold is a compile error (Rows16K4::holds): a format's traits are not believed but checked.
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

// Names a layout of packed weights in a PackedView and in packed files. Another one for every change to the bytes of a packed
// matrix, so that stored ones are refused and not misread; tests/pack_test.cpp knows the checksums of packed panels and fails
// when this is forgotten.
enum class LayoutId : std::uint32_t {};

inline constexpr std::size_t panel_rows = 16;
inline constexpr std::size_t code_block = 32;  // k that stand together

namespace detail {

// Whether all codes of a block stand in F::code_bits bits: tried on blocks of all zeros, all ones and both alternating bits,
// by the compiler. Codes that are some bits of the block each are proved so.
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

// Whether sub-scales and sub-minimums stand in four bits each, tried likewise.
template <QuantisedFormat F>
constexpr bool nibbles_fit() {
  for (const unsigned pattern : {0x00u, 0xffu, 0x55u, 0xaau}) {
    std::array<std::byte, F::block_bytes> block{};
    for (std::byte& b : block) b = static_cast<std::byte>(pattern);
    for (std::size_t g = 0; g < F::block_weights / F::group_weights; ++g) {
      const int scale = F::sub_scale(block.data(), g), minimum = F::sub_minimum(block.data(), g);
      if (scale < 0 || scale > 15 || minimum < 0 || minimum > 15) return false;
    }
  }
  return true;
}

// Whether a scale word is what the kernels take it for: bits 6g .. 6g + 5 the sub-scale of group g with its sign, the upper 8
// bits a ue5m3.
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

  // Whether a format fits this layout and the kernels that read it: each condition with its reason.
  template <QuantisedFormat F>
  static constexpr bool holds() {
    constexpr std::size_t groups = F::block_weights / F::group_weights;
    bool holds = (F::code_bits >= 2 && F::code_bits <= 6) || F::code_bits == 8;  // what the lines below store
    holds = holds && (F::group_weights == 16 || F::group_weights == code_block);  // sums of activations are of 16 and of 32
    holds = holds && F::block_weights % code_block == 0;
    // The zero point is taken off as a shifted sum of activations; signed codes have none.
    constexpr bool is_power = F::zero_point >= 0 && (F::zero_point & (F::zero_point - 1)) == 0;
    holds = holds && is_power && F::zero_point < (1 << F::code_bits) && (F::code_bits != 8 || F::zero_point == 0);
    if constexpr (F::is_codebook) {  // a table of up to 16 signed bytes
      holds = holds && F::code_bits <= 4 && F::zero_point == 0 && F::codebook.size() == std::size_t{1} << F::code_bits;
    }
    if constexpr (has_sub_minimums<F>) {  // RoundedSums are of eight groups of 32
      holds = holds && groups == 8 && F::group_weights == code_block;
    } else if constexpr (has_nibble_minimums<F>) {  // one record for 256
      holds = holds && groups == 16 && !F::is_codebook && F::code_bits < 8 && detail::nibbles_fit<F>();
    } else if constexpr (F::has_minimum) {  // its factor is the sum of 32 activations
      holds = holds && F::group_weights == code_block;
    }
    if constexpr (RowScaledFormat<F>) holds = holds && !F::has_minimum;
    if constexpr (WordScaledFormat<F>) {
      holds = holds && F::block_weights == 128 && groups == 4 && F::has_sub_scales && !F::has_minimum;
      holds = holds && detail::words_are_known<F>();
    }
    return holds;
  }

  // The panels of one format.
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

  // In a scale record, of group g: the sub-scale of row 0, and the sub-minimum, whose rows are two bytes apart. With
  // has_nibble_minimums a sub-scale's byte has both.
  static constexpr std::size_t sub_scale_offset(std::size_t g) { return sub_offset + g * panel_rows; }
  static constexpr std::size_t sub_minimum_offset(std::size_t g) { return sub_minimums_offset + g / 2 * 2 * panel_rows + g % 2; }

  // Codes of the block of 32 that k belongs to, and k's scale record, which is empty where a row has but one scale.
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

// What the kernels of today's targets read.
template <class F>
using PanelLayout = Rows16K4::Panels<F>;

// Its number in packed files.
inline constexpr std::uint32_t packed_layout_version = static_cast<std::uint32_t>(Rows16K4::id);

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
