// SPDX-License-Identifier: Apache-2.0
//
// Matrix products on HVX by the NPU contract (contract/npu.hpp). Weights of 4 bits (panel.hpp), per channel or LPBQ, are
// multiplied by columns of signed bytes (columns.hpp). A column is an int8 token, or one plane of an int16 token. The kernels are
// written against the vocabulary of hvx.hpp.
//
// A sweep multiplies 64 or 128 rows by one, two or four columns over all K. 256 weights take a load, an `and`, and two vrmpy (dot
// products of four bytes) for each column: one for whole bytes and one for low nibbles (panel.hpp says why). With LPBQ, the sums of
// two blocks of 32 k are narrowed to 16 bits every 64 k and put side by side into the halves of a word. One vdmpy (two products of
// 16 bits) then multiplies both sums by their scales and adds them to the running sum y. L0 and L1 are the sums of the low nibbles
// of the two blocks, and P0 and P1 are the sums of the whole bytes:
//
//     low  = L1 | L0                            vshuffe: halves of the words L0, L1 of two blocks
//     high = (P1 - L1) / 16 | (P0 - L0) / 16    vsub of a pair, vasr that narrows
//     y   += (low + correction) . scales        vadd, vdmpy; the same for high, with the same `correction`
//
// `correction` has a number for each of the two blocks, c0 and c1 of columns.hpp. It is needed because the code for 0 is not stored as 0.
// The sums in `low` and `high` may overflow their 16 bits and wrap. The addition of `correction` wraps too, and a corrected sum fits 16
// bits, so it is right all the same.
//
// The table says how many packets each sweep's loop takes for 256 weights, compiled by clang 19 with -O3. A packet is a group of up
// to four instructions that the DSP issues at once. tests/npu_hexagon/packets.py reads this table, counts the packets in programs
// for v68 and v73, and fails where a loop takes more than the table says:
//
//     sweep                columns                       packets for 256 weights and all columns
//     sweep_lpbq           1   (a token of int8)         1.25
//     sweep_lpbq           2   (a token of int16)        2.47
//     sweep_lpbq           4   (1.22 a column)           4.88
//     sweep_per_channel    1                             1.16
//     sweep_per_channel    2                             2.07
//     sweep_per_channel    4   (1.04 a column)           4.13
//
// Two vrmpy fill a packet's multipliers, so 1 packet for each column is the least possible. LPBQ also has a vdmpy for every 32 rows
// x 64 k, which occupies both multipliers, so its least number is 1.13. With one column all 40 packets of a chunk (128 rows x 64 k)
// are full. Other ways were slower. These are the packets that they take for 256 weights and one column of LPBQ, instead of 1.25:
//   - 1.41 to 1.44 if the compiler chooses the order of a chunk's instructions.
//   - 1.44 if the loop computes two chunks in each iteration and the compiler chooses the order of the instructions of both.
//   - 1.58 if the loop computes two chunks in each iteration and alternates between them.
//   - 1.56 if all codes are loaded at offsets from one pointer. A load reaches only 8 vectors back and 7 on from its pointer, so the
//     pointer has to move on, and every second load needs an addition.
//
// A product of words and scales by vmpyie needs no vshuffe, but twice as many multiplications as vdmpy. The sums of 128 rows and four
// columns do not fit the registers, so with four columns a sweep takes 64 rows.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <stilla/contract/npu.hpp>
#include <stilla/npu_hexagon/columns.hpp>
#include <stilla/npu_hexagon/hvx.hpp>
#include <stilla/npu_hexagon/panel.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace hexagon {

static_assert(npu::largest_sum(16 * npu::largest_code, 128, 1, npu::largest_k) <= INT32_MAX,
              "per channel 16 times the high nibbles' sum is a word, up to K = 69905");
static_assert(npu::largest_sum(16 * npu::largest_code, 128, 1, scale_k) <= INT32_MAX);

// A byte of a panel holds the codes of two rows. `low` has the sums of activations times the low nibbles. `both` has the sums of
// activations times whole bytes: 16 times the sums of the high nibbles plus those of the low ones. A group of 64 rows shares 32
// bytes for each k, so a vector has 32 such sums, for one group and one column.
template <class V, size_t Columns, size_t Groups>
struct Sums {
  typename V::Vector low[Groups][Columns];
  typename V::Vector both[Groups][Columns];
};

// Defines the order in which a sweep loads and multiplies the vectors of codes of a chunk (64 k of a panel). A vector has the codes
// of 4 k of 64 rows. It is called a unit here, the 64 rows a group, and the 4 k a step. A sweep takes one or both of the panel's
// two groups, from group `first` on. It multiplies their units of one step, then those of the next step. Units are pipelined by
// hand: a vector is loaded two units before its products, and its low nibbles are computed one unit before. So with one column a
// unit fills a packet: vrmpy, vrmpy, vand, vmem.
template <class V, WeightForm form, size_t Columns, size_t Groups, size_t first>
struct Pipeline {
  using Vector = typename V::Vector;
  static constexpr ptrdiff_t stride = groups / Groups;  // vectors from unit to unit
  static constexpr size_t units = chunk_k / step_k * Groups, units_of_words = 2 * Groups;
  // A word is the four activations of a column that one step (4 k) multiplies. This constant tells whether the words of all steps of a
  // chunk are loaded before its first unit (a vector of codes). With one column this is so, because the four vector instructions of a
  // unit fill its packet and leave no slot for a load of words. With more columns the words of two steps are loaded at a time, between
  // units.
  static constexpr bool all_words_first = Columns == 1;

  const uint8_t* next;
  Vector codes[2];  // the codes of this unit and of the next one
  Vector low;       // the low nibbles of this unit's codes
  TwoWords words[units / units_of_words][Columns];
  Vector low_nibbles = V::splat_word(0x0f0f0f0f);

  explicit STILLA_HVX_INLINE Pipeline(const uint8_t* chunk) : next(chunk + (first + 2 * stride) * vector_bytes) {}

  STILLA_HVX_INLINE void load_word(const uint8_t* x, size_t i, size_t c) { words[i][c] = V::two_words(x + (i * Columns + c) * 8); }
  STILLA_HVX_INLINE void load_words(const uint8_t* x, size_t i) {
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) load_word(x, i, c);
  }
  STILLA_HVX_INLINE void load_words(const uint8_t* x, size_t begin, size_t end) {
    STILLA_HVX_UNROLL
    for (size_t i = begin; i < end && all_words_first; ++i) load_words(x, i);
  }

  // Multiplies a unit (a vector of codes: 4 k of 64 rows) by all columns. With LPBQ, the first products of each 32 k start new sums,
  // because every 32 k have a scale of their own; per channel, the sums go on over all K.
  STILLA_HVX_INLINE void multiply(Sums<V, Columns, Groups>& sums, size_t unit) {
    const size_t step = unit / Groups, g = unit % Groups;
    const bool begins = form == WeightForm::lpbq && step % (scale_k / step_k) == 0;
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) {
      const TwoWords& two = words[unit / units_of_words][c];
      const int32_t word = step % 2 == 0 ? two.first : two.second;
      sums.both[g][c] = begins ? V::dot4(codes[0], word) : V::dot4(sums.both[g][c], codes[0], word);
      sums.low[g][c] = begins ? V::dot4(low, word) : V::dot4(sums.low[g][c], low, word);
    }
  }
  // Does what comes between the products of a unit (a vector of codes) and those of the next unit. It makes the next unit the current
  // one and extracts the low nibbles of its codes. It loads the codes of the unit behind that one, and activations that are not loaded
  // yet.
  STILLA_HVX_INLINE void advance(const uint8_t* x, size_t unit) {
    if (!all_words_first && unit / units_of_words + 1 < units / units_of_words) {
      const size_t i = unit / units_of_words + 1;
      STILLA_HVX_UNROLL
      for (size_t c = unit % units_of_words; c < Columns; c += units_of_words) load_word(x, i, c);
    }
    codes[0] = codes[1];
    low = V::bit_and(codes[0], low_nibbles);
    codes[1] = V::template load_next<stride>(next);
    V::in_order(low);
  }
};

// The sweep for weights per channel: multiplies one panel, over all of its chunks (64 k each), by the columns at x. Writes the sums
// to out [Columns][128], each at the place that its row has in the panel. Computes only `Groups` of the panel's two groups of 64
// rows, from group `first` on. The sums are negated, because the panel stores 15 - code.
template <class V, size_t Columns, size_t Groups, size_t first>
STILLA_HVX_NOINLINE void sweep_per_channel(int32_t* out, const uint8_t* chunk, const uint8_t* x, size_t chunks) {
  using Vector = typename V::Vector;
  using Way = Pipeline<V, WeightForm::per_channel, Columns, Groups, first>;
  Sums<V, Columns, Groups> sums;
  STILLA_HVX_UNROLL
  for (size_t g = 0; g < Groups; ++g) {
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) sums.low[g][c] = sums.both[g][c] = V::zero();
  }
  Way way(chunk);
  way.codes[0] = V::load(way.next - 2 * Way::stride * ptrdiff_t{vector_bytes});
  way.codes[1] = V::load(way.next - Way::stride * ptrdiff_t{vector_bytes});
  way.low = V::bit_and(way.codes[0], way.low_nibbles);
  for (; chunks > 0; --chunks) {
    way.load_words(x, 0, 8);
    if (!Way::all_words_first) way.load_words(x, 0);
    STILLA_HVX_UNROLL
    for (size_t unit = 0; unit < Way::units; ++unit) {
      way.multiply(sums, unit);
      way.advance(x, unit);
    }
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

// The sums of LPBQ: y has the running sums of all chunks so far, and `blocks` the sums of the two blocks of 32 k in a chunk, without
// their scales. A block's sums are words of 32 bits. They are narrowed to halves of 16 bits, so that the sums of a row's two blocks
// stand side by side in a word. Then they are multiplied by the blocks' scales and added to y.
template <class V, size_t Columns, size_t Groups, size_t first>
struct LpbqSums {
  using Vector = typename V::Vector;
  using Pair = typename V::Pair;
  Vector y[Groups][2][Columns];  // second index: 0 for the rows in low nibbles, 1 for those in high nibbles
  Sums<V, Columns, Groups> blocks[2];
  Vector scales;          // the block scales of the chunk, as the panel has them: four nibbles in each half
  Vector shifted_scales;  // `scales`, shifted right by one nibble if `first` is 0 and by two nibbles if it is 1
  int32_t corrections[Columns];

  STILLA_HVX_INLINE LpbqSums() {
    scales = shifted_scales = V::zero();
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) {
      corrections[c] = 0;
      STILLA_HVX_UNROLL
      for (size_t g = 0; g < Groups; ++g) {
        y[g][0][c] = y[g][1][c] = V::zero();
        for (auto& block : blocks) block.low[g][c] = block.both[g][c] = V::zero();
      }
    }
  }
  STILLA_HVX_INLINE void load_correction(const uint8_t* x, size_t c) { corrections[c] = V::two_words(x + chunk_k * Columns + 8 * c).first; }
  STILLA_HVX_INLINE Vector shift_scales() const { return V::shift_halves_right(scales, first == 0 ? 4 : 8); }

  // Is called after the products of a chunk (64 k). Multiplies the sums of its two blocks of 32 k by the blocks' scales and adds
  // the results to the running sums y. Meanwhile it loads the first codes and activations of the next chunk. The activations of that
  // next chunk are at x.
  template <class Way>
  STILLA_HVX_INLINE void add_blocks(Way& way, const uint8_t* x) {
    if constexpr (Groups == 2) {
      add_two_groups(way, x);
    } else {
      add_one_group(way);
    }
    STILLA_HVX_UNROLL
    for (size_t g = 0; g < Groups && Columns > 1; ++g) {
      STILLA_HVX_UNROLL
      for (size_t c = 0; c < Columns; ++c) V::in_order(y[g][0][c], y[g][1][c]);
    }
  }

 private:
  static constexpr ptrdiff_t ahead = static_cast<ptrdiff_t>(groups / Groups * vector_bytes);

  // Does the work of add_blocks() for both groups of a panel, 128 rows. With one column, the order of the statements below is the order
  // of the packets in the compiled program: eight packets for each chunk, all full.
  template <class Way>
  STILLA_HVX_INLINE void add_two_groups(Way& way, const uint8_t* x) {
    const Vector mask = V::splat_half(15);
    Pair words[2][Columns];
    Vector low[2][Columns], high[2][Columns], correction[Columns];
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) {
      words[0][c] = high_words(0, c);
      words[1][c] = high_words(1, c);
    }
    way.load_words(x, 0, 2);
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) {
      correction[c] = V::splat_word(corrections[c]);
      low[0][c] = V::even_halves(blocks[1].low[0][c], blocks[0].low[0][c]);
      low[1][c] = V::even_halves(blocks[1].low[1][c], blocks[0].low[1][c]);
    }
    way.codes[0] = V::load(way.next - 2 * ahead);
    keep(correction[0], low[0][0], low[1][0]);

    Vector scales_0 = V::bit_and(scales, mask);
    narrow(high[0], words[0]);
    add(low[0], correction);
    way.load_words(x, 2, 3);
    keep(high[0][0], low[0][0], scales_0);

    Vector scales_1 = V::bit_and(shifted_scales, mask), scales_2 = V::shift_halves_right(scales, 8);
    add_products(y[0][0], low[0], scales_0);
    way.load_words(x, 3, 4);
    keep(y[0][0][0], scales_1, scales_2);

    narrow(high[1], words[1]);
    add(high[0], correction);
    way.load_words(x, 4, 5);
    way.codes[1] = V::load(way.next - ahead);
    keep(high[1][0], high[0][0]);

    add_products(y[0][1], high[0], scales_1);
    scales_2 = V::bit_and(scales_2, mask);
    add(low[1], correction);
    way.load_words(x, 5, 6);
    keep(y[0][1][0], low[1][0], scales_2);

    Vector scales_3 = V::shift_halves_right(scales, 12);
    add_products(y[1][0], low[1], scales_2);
    add(high[1], correction);
    way.load_words(x, 6, 7);
    keep(y[1][0][0], high[1][0], scales_3);

    add_products(y[1][1], high[1], scales_3);
    way.load_words(x, 7, 8);
    if constexpr (Columns == 1) load_correction(x, 0);
    way.low = V::bit_and(way.codes[0], way.low_nibbles);
    V::in_order(y[1][1][0], way.low, way.next);
  }

  template <class Way>
  STILLA_HVX_INLINE void add_one_group(Way& way) {
    const Vector mask = V::splat_half(15);
    const Vector low_scales = V::bit_and(first == 0 ? scales : shifted_scales, mask);
    const Vector high_scales = first == 0 ? V::bit_and(shifted_scales, mask) : V::shift_halves_right(scales, 12);
    Pair words[Columns];
    Vector low[Columns], high[Columns], correction[Columns];
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) {
      words[c] = high_words(0, c);
      low[c] = V::even_halves(blocks[1].low[0][c], blocks[0].low[0][c]);
      correction[c] = V::splat_word(corrections[c]);
    }
    narrow(high, words);
    add(low, correction);
    add_products(y[0][0], low, low_scales);
    add(high, correction);
    add_products(y[0][1], high, high_scales);
    way.codes[0] = V::load(way.next - 2 * ahead);
    way.codes[1] = V::load(way.next - ahead);
    way.low = V::bit_and(way.codes[0], way.low_nibbles);
    V::in_order(y[0][1][Columns - 1], way.low, way.next);
  }

  template <class... Vectors>
  static STILLA_HVX_INLINE void keep(Vectors&... vectors) {
    if constexpr (Columns == 1) V::in_order(vectors...);
  }
  // Returns 16 times the sums of the high nibbles of both blocks (32 k each) of a chunk, for 32 rows and column c. A sum of whole bytes
  // contains 16 times that of the high nibbles and once that of the low nibbles, which is subtracted.
  STILLA_HVX_INLINE Pair high_words(size_t g, size_t c) const {
    return V::sub_words(Pair{blocks[0].both[g][c], blocks[1].both[g][c]}, Pair{blocks[0].low[g][c], blocks[1].low[g][c]});
  }
  static STILLA_HVX_INLINE void narrow(Vector (&high)[Columns], const Pair (&words)[Columns]) {
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) high[c] = V::narrow(words[c].upper, words[c].lower, 4);
  }
  static STILLA_HVX_INLINE void add(Vector (&halves)[Columns], const Vector (&correction)[Columns]) {
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) halves[c] = V::add_halves(halves[c], correction[c]);
  }
  static STILLA_HVX_INLINE void add_products(Vector (&sums)[Columns], const Vector (&halves)[Columns], const Vector& by) {
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) sums[c] = V::dot2(sums[c], halves[c], by);
  }
};

// The sweep for LPBQ weights. Its arguments and results are those of sweep_per_channel(). The sums of a chunk's two blocks of 32 k are
// multiplied by their scales and added to the running sums when the next chunk begins. When the first chunk begins, zeros are added.
template <class V, size_t Columns, size_t Groups, size_t first>
STILLA_HVX_NOINLINE void sweep_lpbq(int32_t* out, const uint8_t* chunk, const uint8_t* x, size_t chunks) {
  using Way = Pipeline<V, WeightForm::lpbq, Columns, Groups, first>;
  constexpr size_t block_units = Way::units / 2;
  Way way(chunk);
  LpbqSums<V, Columns, Groups, first> sums;
  if (!Way::all_words_first) way.load_words(x, 0);
  for (; chunks > 0; --chunks) {
    const uint8_t* const next_x = Way::all_words_first || chunks > 1 ? x + column_chunk_bytes * Columns : x;
    sums.add_blocks(way, x);
    STILLA_HVX_UNROLL
    for (size_t unit = 0; unit + 2 < Way::units; ++unit) {
      way.multiply(sums.blocks[unit / block_units], unit);
      if (Columns > 1 && unit < Columns) sums.load_correction(x, unit);
      way.advance(x, unit);
    }
    way.multiply(sums.blocks[1], Way::units - 2);
    way.codes[0] = way.codes[1];
    way.low = V::bit_and(way.codes[0], way.low_nibbles);
    sums.scales = V::template load_next<1 + 2 * Way::stride, -static_cast<ptrdiff_t>(first)>(way.next);
    way.multiply(sums.blocks[1], Way::units - 1);
    sums.shifted_scales = sums.shift_scales();
    if (!Way::all_words_first) way.load_words(next_x, 0);
    x = next_x;
  }
  // Adds the sums of the last chunk's blocks to the running sums. add_blocks() also loads the first operands of a next chunk, although
  // none follows: codes from the panel's tail, and activations from the address that is passed to it here, which lies in the columns.
  // Both addresses are valid, and the loaded operands are not used.
  sums.add_blocks(way, Way::all_words_first ? x - column_chunk_bytes * Columns : x);
  STILLA_HVX_UNROLL
  for (size_t g = 0; g < Groups; ++g) {
    STILLA_HVX_UNROLL
    for (size_t c = 0; c < Columns; ++c) {
      int32_t* const rows = out + c * panel_rows + (first + g) * group_rows;
      V::store(rows, sums.y[g][0][c]);
      V::store(rows + vector_words, sums.y[g][1][c]);
    }
  }
}

// Multiplies a panel by 1, 2 or 4 columns: chooses the sweeps and runs them. With one column or two, a sweep takes 128 rows at once.
// With four columns it takes 64 rows, whose sums fill the registers.
template <class V>
STILLA_HVX_INLINE void sweep(int32_t* out, const uint8_t* panel, WeightForm form, const uint8_t* x, size_t columns, size_t chunks) {
  if (form == WeightForm::lpbq) {
    if (columns == 1) return sweep_lpbq<V, 1, 2, 0>(out, panel, x, chunks);
    if (columns == 2) return sweep_lpbq<V, 2, 2, 0>(out, panel, x, chunks);
    sweep_lpbq<V, 4, 1, 0>(out, panel, x, chunks);
    return sweep_lpbq<V, 4, 1, 1>(out, panel, x, chunks);
  }
  if (columns == 1) return sweep_per_channel<V, 1, 2, 0>(out, panel, x, chunks);
  if (columns == 2) return sweep_per_channel<V, 2, 2, 0>(out, panel, x, chunks);
  sweep_per_channel<V, 4, 1, 0>(out, panel, x, chunks);
  sweep_per_channel<V, 4, 1, 1>(out, panel, x, chunks);
}

// The arguments of a product: y[M, N] becomes the products of activations and weights, times their scales, plus the bias. The kernel
// reads panels as vectors of 128 bytes, columns as pieces of eight bytes, and scales and bias as single floats. y must not overlap the
// other arrays.
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

// A sweep leaves the negated sums of 128 rows for each column. This function turns them, in place, into the sums that
// contract/npu.hpp defines for a token. For int8 this is one sum for each row, and for int16 one sum of the high plane and one of
// the low plane. The activations of the low plane are stored minus 128. To make up for this, the function adds 128 times the row's
// weight_sum (panel.hpp).
template <class V>
STILLA_HVX_INLINE void make_plane_sums(int32_t* sums, npu::Activations activations, const uint8_t* weight_sums) {
  STILLA_HVX_UNROLL
  for (size_t row = 0; row < panel_rows; row += vector_words) {
    V::store(sums + row, V::sub_words(V::zero(), V::load(sums + row)));
    if (activations == npu::Activations::int8) continue;
    int32_t* const low = sums + panel_rows + row;
    V::store(low, V::sub_words(V::shift_left(V::load(weight_sums + 4 * row), 7), V::load(low)));
  }
}

// Does the float step of contract/npu.hpp on the scalar core, for one token and the first `count` rows of a panel: sums times scales,
// plus the bias. y, bias and scales point to the numbers of the panel's first row.
template <npu::Activations activations, bool has_bias>
STILLA_HVX_INLINE void scale_rows(float* __restrict y, const int32_t* __restrict sums, const uint8_t* __restrict scales, float token_scale,
                                  const float* __restrict bias, size_t count) {
  for (size_t row = 0; row < count; ++row) {
    const float b = has_bias ? bias[row] : 0.0f, scale = read_four<float>(scales + 4 * row);
    if constexpr (activations == npu::Activations::int8) {
      y[row] = npu::scaled(sums[row], scale, token_scale, b);
    } else {
      y[row] = npu::scaled(256 * int64_t{sums[row]} + sums[panel_rows + row], scale, token_scale, b);
    }
  }
}

template <class V>
STILLA_HVX_INLINE void finish_token(const MatmulArgs& a, const uint8_t* panel, size_t n0, size_t count, size_t m, int32_t* sums) {
  const uint8_t* const scales = panel + scale_at(a.form, a.K, 0);
  float* const y = a.y + m * a.y_stride + n0;
  const float* const bias = a.bias == nullptr ? nullptr : a.bias + n0;
  make_plane_sums<V>(sums, a.activations, panel + weight_sum_at(a.form, a.K, 0));
  if (a.activations == npu::Activations::int8) {
    if (bias != nullptr) return scale_rows<npu::Activations::int8, true>(y, sums, scales, a.token_scales[m], bias, count);
    return scale_rows<npu::Activations::int8, false>(y, sums, scales, a.token_scales[m], bias, count);
  }
  if (bias != nullptr) return scale_rows<npu::Activations::int16, true>(y, sums, scales, a.token_scales[m], bias, count);
  scale_rows<npu::Activations::int16, false>(y, sums, scales, a.token_scales[m], bias, count);
}

// Multiplies the panels [first, last) by all tokens. A panel's weights are read once for every four columns of activations (a column is
// an int8 token, or one plane of an int16 token).
template <class V>
void matmul(const MatmulArgs& a, size_t first, size_t last) {
  typename V::template Local<int32_t, max_columns * panel_rows> sums;
  const size_t chunks = a.K / chunk_k, planes = static_cast<size_t>(a.activations), columns = columns_of(a.activations, a.M);
  for (size_t p = first; p < last; ++p) {
    const uint8_t* const panel = a.panels + p * panel_bytes(a.form, a.K);
    const size_t n0 = p * panel_rows, count = a.N - n0 < panel_rows ? a.N - n0 : panel_rows;
    for (size_t begin = 0, size = 0; begin < columns; begin += size) {
      size = set_size(columns - begin);
      sweep<V>(sums.values, panel, a.form, a.columns + begin * chunks * column_chunk_bytes, size, chunks);
      for (size_t c = 0; c < size; c += planes) {
        finish_token<V>(a, panel, n0, count, (begin + c) / planes, sums.values + c * panel_rows);
      }
    }
  }
}

}}}  // namespace stilla::hexagon

#include <stilla/base/pop_macros-inl.hpp>
