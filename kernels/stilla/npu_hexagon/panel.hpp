// SPDX-License-Identifier: Apache-2.0
//
// Weights as the HVX kernels read them, for both host and DSP. A panel has 128 rows, which stand in the lanes of vectors, and all K
// weights of each row. K is a multiple of 64. One DMA transfer loads a panel, or some of its chunks. Weights are either per
// channel, with one scale for each row, or LPBQ, where the blocks of a row have integer scales too (contract/npu.hpp).
//
//     panel     chunk 0 | chunk 1 | ... | chunk K / 64 - 1 | tail       a vector is 128 bytes; every part begins at a multiple of 128
//
//     chunk    32 vectors   codes of 64 k, [16 steps of 4 k][2 groups of 64 rows][128 bytes]
//             + 1 vector    block scales, LPBQ only
//     tail      8 vectors   float channel_scale[128] | int32 weight_sum[128]: sum over k of block_scale * (code - 8)
//
//     codes     group g, step t, byte 4 r + j, r < 32, j < 4:      low nibble   15 - code of row 64 g      + r, k = 4 t + j
//                                                                  high nibble  15 - code of row 64 g + 32 + r
//     scales    half b of word r, the scales of block b (32 k) of four rows:   r | 32 + r << 4 | 64 + r << 8 | 96 + r << 12
//
// Both nibbles of a byte have the same k, so they are multiplied by the same activations a. With P = sum of byte * a and L = sum of
// low nibble * a, the high nibble's sum is (P - L) / 16. So one `and` unpacks 256 weights. (If the nibbles had different k, a
// shift would be needed too: 5 instructions for 256 weights instead of 4.) Kernels load a vector of codes two vectors before they
// use it. So after the last chunk they load two vectors of the tail.
//
// The codes are stored as 15 - code, so that a block's sum is a sum of -(code - 8) * a. Its range is -32768 to 32512, which fits 16
// bits. The sum is -32768 if all 32 codes are 0 and all 32 activations are -128. For the same codes and activations a sum of
// (code - 8) * a is 32768, which does not fit. The kernels negate the sums at the end.
//
// A block scale always stands for 32 k. LPBQ with blocks of 64 or 128 k repeats its scales. So LPBQ takes 4.125 bits for a weight
// with each of its three sizes of blocks. Without repetition, blocks of 64 and 128 take 4.0625 and 4.03 bits, but each size then needs
// a kernel of its own. With repetition one kernel serves all three.
#pragma once

#include <stddef.h>
#include <stdint.h>
#if !defined(__GNUC__)
#include <string.h>
#endif

#include <stilla/contract/npu.hpp>
#include <stilla/npu_hexagon/hvx.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace hexagon {

inline constexpr size_t panel_rows = 128;
inline constexpr size_t group_rows = 64;  // a group: the rows of one vector of codes
inline constexpr size_t chunk_k = 64;
inline constexpr size_t step_k = 4;
inline constexpr size_t scale_k = 32;  // k that a block scale stands for
inline constexpr size_t tail_bytes = 8 * vector_bytes;
inline constexpr size_t groups = 2;
inline constexpr size_t codes_bytes = chunk_k / step_k * groups * vector_bytes;
inline constexpr int stored_zero = npu::largest_code - npu::zero_point;  // what code 8 is stored as
static_assert(scale_k * 8 * 128 == 32768 && scale_k * 8 * 127 < 32768, "a block's sum fits 16 bits with its sign reversed only");

enum class WeightForm : uint8_t { per_channel, lpbq };

constexpr size_t chunk_bytes(WeightForm form) { return codes_bytes + (form == WeightForm::lpbq ? vector_bytes : 0); }
constexpr size_t tail_at(WeightForm form, size_t K) { return K / chunk_k * chunk_bytes(form); }
constexpr size_t panel_bytes(WeightForm form, size_t K) { return tail_at(form, K) + tail_bytes; }
constexpr size_t panel_count(size_t N) { return (N + panel_rows - 1) / panel_rows; }

// The places of channel scales, weight sums and codes in a panel, in bytes. `row` is the row in the panel, 0 to 127.
constexpr size_t scale_at(WeightForm form, size_t K, size_t row) { return tail_at(form, K) + 4 * row; }
constexpr size_t weight_sum_at(WeightForm form, size_t K, size_t row) { return tail_at(form, K) + 4 * (panel_rows + row); }
constexpr size_t code_at(WeightForm form, size_t row, size_t k) {
  return k / chunk_k * chunk_bytes(form) + (k % chunk_k / step_k * groups + row / group_rows) * vector_bytes + row % 32 * step_k +
         k % step_k;
}
constexpr unsigned code_shift(size_t row) { return row % group_rows < 32 ? 0 : 4; }
// Block scales have 4 bits, and two of them share a byte. The first function returns the place of the byte that has the block scale
// of a row of the panel at k. The second function returns the number of the scale's lowest bit in this byte.
constexpr size_t block_scale_at(size_t row, size_t k) {
  return k / chunk_k * chunk_bytes(WeightForm::lpbq) + codes_bytes + row % 32 * 4 + k % chunk_k / scale_k * 2 + row / 64;
}
constexpr unsigned block_scale_shift(size_t row) { return row % 64 < 32 ? 0 : 4; }

// Copies four bytes. Both addresses are multiples of 4.
STILLA_HVX_INLINE void copy_four(void* to, const void* from) {
#if defined(__GNUC__)
  __builtin_memcpy(__builtin_assume_aligned(to, 4), __builtin_assume_aligned(from, 4), 4);
#else
  memcpy(to, from, 4);
#endif
}
// Reads a four-byte number from an address that is a multiple of 4. The host and the DSP are both little-endian.
template <class T>
STILLA_HVX_INLINE T read_four(const uint8_t* from) {
  T value;
  copy_four(&value, from);
  return value;
}
template <class T>
STILLA_HVX_INLINE void write_four(uint8_t* to, T value) {
  copy_four(to, &value);
}

// Writes the rows n0 to n0 + 127 of a matrix of N rows as a panel. Rows that the matrix does not have become zeros (code 8, block scale
// 1, channel scale 0).
template <npu::Weights W>
void pack_panel(uint8_t* panel, WeightForm form, const W& w, size_t n0, size_t N, size_t K) {
  const size_t rows = N - n0 < panel_rows ? N - n0 : panel_rows;
  for (size_t row = 0; row < panel_rows; ++row) {
    write_four(panel + scale_at(form, K, row), row < rows ? w.channel_scale(n0 + row) : 0.0f);
  }
  for (size_t chunk = 0; chunk < tail_at(form, K); chunk += chunk_bytes(form)) {
    for (size_t i = 0; i < codes_bytes; ++i) panel[chunk + i] = stored_zero * 0x11;
    for (size_t i = codes_bytes; i < chunk_bytes(form); ++i) panel[chunk + i] = 0x11;
  }
  for (size_t row = 0; row < panel_rows; ++row) {
    int32_t weight_sum = 0;
    for (size_t k = 0; k < K && row < rows; ++k) {
      const int code = w.code(n0 + row, k), scale = w.block_scale(n0 + row, k);
      panel[code_at(form, row, k)] ^= static_cast<uint8_t>(((npu::largest_code - code) ^ stored_zero) << code_shift(row));
      if (form == WeightForm::lpbq && k % scale_k == 0) {
        panel[block_scale_at(row, k)] ^= static_cast<uint8_t>((scale ^ 1) << block_scale_shift(row));
      }
      weight_sum += scale * (code - npu::zero_point);
    }
    write_four(panel + weight_sum_at(form, K, row), weight_sum);
  }
}

// Packs all rows, as panel_count(N) panels one after the other.
template <npu::Weights W>
void pack(uint8_t* panels, WeightForm form, const W& w, size_t N, size_t K) {
  for (size_t n0 = 0; n0 < N; n0 += panel_rows) pack_panel(panels + n0 / panel_rows * panel_bytes(form, K), form, w, n0, N, K);
}

// Reads weights from packed panels, which is the inverse of pack().
struct PanelWeights {
  const uint8_t* panels = nullptr;
  WeightForm form = WeightForm::per_channel;
  size_t K = 0;

  const uint8_t* panel(size_t n) const { return panels + n / panel_rows * panel_bytes(form, K); }
  int code(size_t n, size_t k) const {
    const size_t row = n % panel_rows;
    return npu::largest_code - (panel(n)[code_at(form, row, k)] >> code_shift(row) & 15);
  }
  int block_scale(size_t n, size_t k) const {
    const size_t row = n % panel_rows;
    return form == WeightForm::per_channel ? 1 : panel(n)[block_scale_at(row, k)] >> block_scale_shift(row) & 15;
  }
  float channel_scale(size_t n) const { return read_four<float>(panel(n) + scale_at(form, K, n % panel_rows)); }
};

}}}  // namespace stilla::hexagon

#include <stilla/base/pop_macros-inl.hpp>
