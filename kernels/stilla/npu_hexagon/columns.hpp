// SPDX-License-Identifier: Apache-2.0
//
// Activations as the HVX kernels read them, for both host and DSP. A column is one plane of one token, in signed bytes: a token
// of int8 is one column, a token of int16 is two. A kernel takes one, two or four columns at once, no matter to which tokens they
// belong. The bytes of an activation a are:
//
//     int8:   a                          int16:  a = 256 * high + low + 128,  low = (a & 255) - 128, so that it is signed, as high is
//
// Because `low` is 128 too small, the kernels add 128 times weight_sum (panel.hpp), a row's sum of block_scale * (code - 8).
// Columns are grouped into sets of four, then of two, then of one (3 tokens of int8: 2 + 1). Each set is one stream, in the order
// in which it is read:
//
//     set of C columns:    [K / 64 chunks] { int8 [8][C][8]   [i][column][j] has the value of k = 64 chunk + 8 i + j
//                                            [C] { int16 c0, c1 | int32 c }              72 C bytes
// c0 and c1 are -7 times the sum of the first and of the last 32 activations of the chunk. c is -7 times the sum of all activations
// up to the chunk's end. The kernels add these numbers to the sums of products, because the code 8, which stands for the weight 0,
// is stored as 7 (stored_zero of panel.hpp). So each product contains 7 times its activation in addition.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <stilla/npu_hexagon/panel.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace hexagon {

inline constexpr size_t column_chunk_bytes = chunk_k + 8;  // bytes of one column in a chunk
static_assert(32 * 128 * stored_zero <= INT16_MAX, "the corrections fit 16 bits");
inline constexpr size_t max_columns = 4;  // the most columns that a kernel takes at once

constexpr size_t columns_of(npu::Activations form, size_t tokens) { return tokens * static_cast<size_t>(form); }
constexpr size_t columns_bytes(npu::Activations form, size_t tokens, size_t K) {
  return columns_of(form, tokens) * (K / chunk_k) * column_chunk_bytes;
}
// Returns how many columns the next set has (four, two or one) when `left` columns are still to be grouped into sets.
constexpr size_t set_size(size_t left) { return left >= 4 ? 4 : left >= 2 ? 2 : 1; }

constexpr int8_t column_value(int8_t a, size_t) { return a; }
constexpr int8_t column_value(int16_t a, size_t plane) { return static_cast<int8_t>(plane == 0 ? a >> 8 : (a & 255) - 128); }

// Writes the activations a [tokens][K], which are int8_t or int16_t, as columns to `columns`, which has columns_bytes() bytes and begins at
// a multiple of 8.
template <class A>
void pack_columns(uint8_t* columns, const A* a, size_t tokens, size_t K) {
  constexpr size_t planes = sizeof(A);
  const size_t chunks = K / chunk_k, count = tokens * planes;
  for (size_t first = 0, size = 0; first < count; first += size) {
    size = set_size(count - first);
    uint8_t* set = columns + first * chunks * column_chunk_bytes;
    for (size_t c = 0; c < size; ++c) {
      const A* from = a + (first + c) / planes * K;
      int32_t all = 0;
      for (size_t chunk = 0; chunk < chunks; ++chunk) {
        uint8_t* const to = set + chunk * size * column_chunk_bytes;
        int32_t sums[2] = {};
        for (size_t k = 0; k < chunk_k; ++k) {
          const int8_t value = column_value(from[chunk * chunk_k + k], (first + c) % planes);
          to[k / 8 * size * 8 + c * 8 + k % 8] = static_cast<uint8_t>(value);
          sums[k / scale_k] -= stored_zero * value;
        }
        uint8_t* const corrections = to + size * chunk_k + c * 8;
        write_four(corrections, (sums[0] & 0xffff) | static_cast<int32_t>(static_cast<uint32_t>(sums[1]) << 16));
        all += sums[0] + sums[1];
        write_four(corrections + 4, all);
      }
    }
  }
}

}}}  // namespace stilla::hexagon

#include <stilla/base/pop_macros-inl.hpp>
