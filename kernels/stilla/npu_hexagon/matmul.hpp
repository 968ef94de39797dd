// SPDX-License-Identifier: Apache-2.0
//
// Matrix products by the NPU contract (contract/npu.hpp) on HVX: weights of 4 bits (panel.hpp), per channel or LPBQ, times
// columns of signed bytes (columns.hpp), which are int8 tokens or the planes of int16 ones. Written against the vocabulary of hvx.hpp.
//
// A sweep multiplies 64 or 128 rows by one, two or four columns over all K. 256 weights take a load, an `and`, and two vrmpy
// for each column, one of whole bytes and one of low nibbles (panel.hpp says why). With LPBQ the sums of two blocks of 32, 16 bits
// each, stand side by side in a word's halves every 64 k, and one vdmpy adds both times their scales:
//
//     low  = L1 | L0                 vshuffe: halves of the words L0, L1 of two blocks
//     high = (P1 - L1) / 16 | (P0 - L0) / 16        vsub of a pair, vasr that narrows
//     y   += (low + correction) . scales,  (high + correction) . scales         vadd, vdmpy; wrapped sums come out right
//
// Packets of the loops for 256 weights (clang 19, -O3, the worse of v68 and v73; tests/npu_hexagon/packets.py counts them and
// holds them to this table):
//
//     sweep                columns                       packets for 256 weights and all columns
//     sweep_lpbq           1   (a token of int8)         1.5
//     sweep_lpbq           2   (a token of int16)        2.6
//     sweep_lpbq           4   (four of int8)            5.2
//     sweep_per_channel    1                             1.3
//     sweep_per_channel    2                             2.1
//     sweep_per_channel    4                             4.2
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <stilla/contract/npu.hpp>
#include <stilla/npu_hexagon/columns.hpp>
#include <stilla/npu_hexagon/hvx.hpp>
#include <stilla/npu_hexagon/panel.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace hexagon {

static_assert(npu::largest_sum(16 * npu::largest_code, 128, 1, npu::largest_k) <= INT32_MAX,
              "per channel 16 times the high nibbles' sum is a word, up to K = 69905");
static_assert(npu::largest_sum(16 * npu::largest_code, 128, 1, scale_k) <= INT32_MAX);

// Sums of the low nibbles and of whole bytes.
template <class V, size_t Columns, size_t Groups>
struct Sums {
  typename V::Vector low[Groups][Columns];
  typename V::Vector both[Groups][Columns];
};

// Where a sweep of `Groups` groups from `first` on finds a chunk's codes. Two pointers: an instruction reaches 8 vectors back and 7 on.
template <size_t Groups, size_t first>
struct Codes {
  const uint8_t* half[2];
  explicit Codes(const uint8_t* chunk) : half{chunk + 8 * vector_bytes, chunk + 24 * vector_bytes} {
#if defined(__HVX__)
    asm("" : "+r"(half[0]), "+r"(half[1]));  // else they become one pointer, and an addition for every second load
#endif
  }
  const uint8_t* at(size_t step, size_t g) const {
    return half[step / 8] + (static_cast<ptrdiff_t>(step % 8 * groups + first + g) - 8) * static_cast<ptrdiff_t>(vector_bytes);
  }
  void next(size_t bytes) {
    half[0] += bytes;
    half[1] += bytes;
  }
};

// Adds steps [begin, begin + 2) of a chunk; the first ones begin the sums.
template <class V, bool is_first, size_t Columns, size_t Groups, size_t first>
STILLA_HVX_INLINE void multiply_two_steps(Sums<V, Columns, Groups>& sums, const Codes<Groups, first>& codes, size_t begin,
                                          const uint8_t* x, const typename V::Vector& low_nibbles) {
  TwoWords words[Columns];
  STILLA_HVX_UNROLL
  for (size_t c = 0; c < Columns; ++c) words[c] = V::two_words(x + 8 * c);
  STILLA_HVX_UNROLL
  for (size_t step = 0; step < 2; ++step) {
    STILLA_HVX_UNROLL
    for (size_t g = 0; g < Groups; ++g) {
      const typename V::Vector both = V::load(codes.at(begin + step, g));
      const typename V::Vector low = V::bit_and(both, low_nibbles);
      STILLA_HVX_UNROLL
      for (size_t c = 0; c < Columns; ++c) {
        const int32_t word = step == 0 ? words[c].first : words[c].second;
        if (is_first && step == 0) {
          sums.both[g][c] = V::dot4(both, word);
          sums.low[g][c] = V::dot4(low, word);
        } else {
          sums.both[g][c] = V::dot4(sums.both[g][c], both, word);
          sums.low[g][c] = V::dot4(sums.low[g][c], low, word);
        }
      }
    }
  }
}

// Steps [begin, begin + 8): 32 k.
template <class V, bool is_first, size_t Columns, size_t Groups, size_t first>
STILLA_HVX_INLINE void multiply_block(Sums<V, Columns, Groups>& sums, const Codes<Groups, first>& codes, size_t begin,
                                      const uint8_t* x, const typename V::Vector& low_nibbles) {
  multiply_two_steps<V, is_first>(sums, codes, begin, x, low_nibbles);
  STILLA_HVX_UNROLL
  for (size_t two = 1; two < 4; ++two) {
    multiply_two_steps<V, false>(sums, codes, begin + 2 * two, x + two * 8 * Columns, low_nibbles);
  }
}

// Negated sums [Columns][128] of the rows of groups [first, first + Groups), of Columns columns at x, over all chunks.
template <class V, size_t Columns, size_t Groups, size_t first>
STILLA_HVX_NOINLINE void sweep_lpbq(int32_t* out, const uint8_t* chunk, const uint8_t* x, size_t chunks) {
  using Vector = typename V::Vector;
  constexpr size_t bytes = chunk_bytes(WeightForm::lpbq);
  const Vector low_nibbles = V::splat_word(0x0f0f0f0f), low_of_halves = V::splat_half(15);
  Vector y[Groups][2][Columns];  // of low and of high nibbles
  for (auto& group : y) {
    for (auto& nibbles : group) {
      for (Vector& column : nibbles) column = V::zero();
    }
  }
  Codes<Groups, first> codes(chunk);
  const uint8_t* scales = chunk + codes_bytes;
  for (; chunks > 0; --chunks) {
    Sums<V, Columns, Groups> block[2];
    multiply_block<V, true>(block[0], codes, 0, x, low_nibbles);
    multiply_block<V, true>(block[1], codes, 8, x + scale_k * Columns, low_nibbles);
    const Vector packed = V::load(scales);
    Vector corrections[Columns];
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) corrections[c] = V::splat_word(V::two_words(x + chunk_k * Columns + 8 * c).first);
    STILLA_HVX_UNROLL
    for (size_t g = 0; g < Groups; ++g) {
      constexpr int low_shift = 8, high_shift = 4;
      const bool is_last = first + g == 1;
      const Vector low_scales = V::bit_and(is_last ? V::shift_halves_right(packed, low_shift) : packed, low_of_halves);
      const Vector high_scales = is_last ? V::shift_halves_right(packed, low_shift + high_shift)
                                         : V::bit_and(V::shift_halves_right(packed, high_shift), low_of_halves);
      STILLA_HVX_UNROLL
      for (size_t c = 0; c < Columns; ++c) {
        using Pair = typename V::Pair;
        const Pair low_words{block[0].low[g][c], block[1].low[g][c]};
        const Pair high_words = V::sub_words(Pair{block[0].both[g][c], block[1].both[g][c]}, low_words);
        const Vector low = V::even_halves(low_words.upper, low_words.lower);
        const Vector high = V::narrow(high_words.upper, high_words.lower, 4);
        y[g][0][c] = V::dot2(y[g][0][c], V::add_halves(low, corrections[c]), low_scales);
        y[g][1][c] = V::dot2(y[g][1][c], V::add_halves(high, corrections[c]), high_scales);
      }
    }
    codes.next(bytes);
    scales += bytes;
    x += column_chunk_bytes * Columns;
  }
  STILLA_HVX_UNROLL
  for (size_t g = 0; g < Groups; ++g) {
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) {
      int32_t* const rows = out + c * panel_rows + (first + g) * group_rows;
      V::store(rows, y[g][0][c]);
      V::store(rows + vector_words, y[g][1][c]);
    }
  }
}

template <class V, size_t Columns, size_t Groups, size_t first>
STILLA_HVX_NOINLINE void sweep_per_channel(int32_t* out, const uint8_t* chunk, const uint8_t* x, size_t chunks) {
  using Vector = typename V::Vector;
  constexpr size_t bytes = chunk_bytes(WeightForm::per_channel);
  const Vector low_nibbles = V::splat_word(0x0f0f0f0f);
  Sums<V, Columns, Groups> sums;
  STILLA_HVX_UNROLL
  for (size_t g = 0; g < Groups; ++g) {
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) sums.low[g][c] = sums.both[g][c] = V::zero();
  }
  Codes<Groups, first> codes(chunk);
  for (; chunks > 0; --chunks) {
    multiply_block<V, false>(sums, codes, 0, x, low_nibbles);
    multiply_block<V, false>(sums, codes, 8, x + scale_k * Columns, low_nibbles);
    codes.next(bytes);
    x += column_chunk_bytes * Columns;
  }
  STILLA_HVX_UNROLL
  for (size_t c = 0; c < Columns; ++c) {
    const Vector correction = V::splat_word(V::two_words(x - 8 * Columns + 8 * c).second);  // of the last chunk
    STILLA_HVX_UNROLL
    for (size_t g = 0; g < Groups; ++g) {
      int32_t* const rows = out + c * panel_rows + (first + g) * group_rows;
      const Vector high = V::shift_right(V::sub_words(sums.both[g][c], sums.low[g][c]), 4);
      V::store(rows, V::add_words(sums.low[g][c], correction));
      V::store(rows + vector_words, V::add_words(high, correction));
    }
  }
}

// The sweeps: of one column and of two 128 rows at once. Four columns' sums fill the registers with 64 rows.
template <class V>
STILLA_HVX_INLINE void sweep(int32_t* out, const uint8_t* panel, WeightForm form, const uint8_t* x, size_t columns, size_t chunks) {
  const uint8_t* const chunk = panel + head_bytes;
  if (form == WeightForm::lpbq) {
    if (columns == 1) return sweep_lpbq<V, 1, 2, 0>(out, chunk, x, chunks);
    if (columns == 2) return sweep_lpbq<V, 2, 2, 0>(out, chunk, x, chunks);
    sweep_lpbq<V, 4, 1, 0>(out, chunk, x, chunks);
    return sweep_lpbq<V, 4, 1, 1>(out, chunk, x, chunks);
  }
  if (columns == 1) return sweep_per_channel<V, 1, 2, 0>(out, chunk, x, chunks);
  if (columns == 2) return sweep_per_channel<V, 2, 2, 0>(out, chunk, x, chunks);
  sweep_per_channel<V, 4, 1, 0>(out, chunk, x, chunks);
  sweep_per_channel<V, 4, 1, 1>(out, chunk, x, chunks);
}

// y[M, N] = scaled products. Panels, columns and nothing else are read as vectors; y has any alignment.
struct MatmulArgs {
  const uint8_t* panels = nullptr;    // panel.hpp, at a multiple of 128
  WeightForm form = WeightForm::per_channel;
  size_t N = 0;
  size_t K = 0;                       // a multiple of 64, from 64 to npu::largest_k
  const uint8_t* columns = nullptr;   // columns.hpp, at a multiple of 8
  npu::Activations activations = npu::Activations::int8;
  const float* token_scales = nullptr;  // [M]
  size_t M = 0;
  const float* bias = nullptr;        // [N], or none
  float* y = nullptr;                 // row m at y + m * y_stride
  size_t y_stride = 0;
};

// The float step of rows [n0, n0 + count) of a panel for one token. sums: negated, of its planes, [planes][128].
inline void finish_token(const MatmulArgs& a, const uint8_t* panel, size_t n0, size_t count, size_t m, const int32_t* sums) {
  for (size_t row = 0; row < count; ++row) {
    int64_t total = -int64_t{sums[row]};
    if (a.activations == npu::Activations::int16) {
      total = 256 * total - sums[panel_rows + row] + 128 * int64_t{read_four<int32_t>(panel + weight_sum_at(row))};
    }
    const float scale = read_four<float>(panel + scale_at(row));
    a.y[m * a.y_stride + n0 + row] = npu::scaled(total, scale, a.token_scales[m], a.bias == nullptr ? 0.0f : a.bias[n0 + row]);
  }
}

// Panels [first, last), all tokens: a panel's weights are read once for every set of four columns.
template <class V>
void matmul(const MatmulArgs& a, size_t first, size_t last) {
  typename V::template Local<int32_t, most_columns * panel_rows> sums;
  const size_t chunks = a.K / chunk_k, planes = static_cast<size_t>(a.activations), columns = columns_of(a.activations, a.M);
  for (size_t p = first; p < last; ++p) {
    const uint8_t* const panel = a.panels + p * panel_bytes(a.form, a.K);
    const size_t n0 = p * panel_rows, count = a.N - n0 < panel_rows ? a.N - n0 : panel_rows;
    for (size_t begin = 0, size = 0; begin < columns; begin += size) {
      size = set_size(columns - begin);
      sweep<V>(sums.values, panel, a.form, a.columns + begin * chunks * column_chunk_bytes, size, chunks);
      for (size_t c = 0; c < size; c += planes) {
        finish_token(a, panel, n0, count, (begin + c) / planes, sums.values + c * panel_rows);
      }
    }
  }
}

}}}  // namespace stilla::hexagon
