// SPDX-License-Identifier: Apache-2.0
//
// Packs a panel (contract/pack.hpp) with a target's vocabulary (vocabulary-inl.hpp). A target includes this file inside its region and
// namespace; its vector.hpp and <stilla/layout/pack.hpp> must be included before.
//
// Each lane of a vector belongs to a row. load_columns reads 16 bytes of each of `lanes` rows and transposes them, so that one vector
// has the same four bytes of each row. Everything else moves bits within the bytes of a lane, for all rows at once. CodesOf<F> knows
// how a block of format F holds its codes. store_codes knows how a panel holds codes of each width. Both follow the drawings in the
// format's header and in layout/rows16_k4.hpp. Formats without a CodesOf of their own are read code by code.
//
// This file packs only panels that have all rows. A matrix has at most one other panel, and the scalar target's code packs it.

#include <stilla/base/push_macros-inl.hpp>

// The number of vectors that hold 32 codes of each lane's row, one code in a byte: the i-th vector holds the codes of k = 4i ..
// 4i + 3. For codes of five or six bits, these vectors hold the lowest four bits. The lines of the layout that hold the other
// bits, one line or two, are called `high` below.
inline constexpr std::size_t quads = code_block / 4;

// Permutes the 32 bits of each lane. The position of a bit, 0 to 31, is a number of five binary digits. Every bit moves to the position
// whose number has the digits a and b exchanged, a > b. So a bit at position ..1..0.. (digit a is 1, digit b is 0) changes places with
// the bit at ..0..1..
template <int a, int b>
STILLA_INLINE Int swap_position_digits(Int x) {
  constexpr int distance = (1 << a) - (1 << b);
  std::uint32_t mask = 0;
  for (unsigned p = 0; p < 32; ++p) mask |= std::uint32_t{(p >> a & 1u) == 0 && (p >> b & 1u) == 1} << p;
  const Int moved = bit_and(bit_xor(x, shift_right_s32<distance>(x)), set_s32(static_cast<std::int32_t>(mask)));
  return bit_xor(x, bit_or(moved, shift_left_s32<distance>(moved)));
}

// Shifts each byte to the right, so that its bit number `bit` becomes bit 0, and keeps only the bits that are set in `mask`.
template <std::size_t bit, int mask>
STILLA_INLINE Int bits_of(Int x) {
  if constexpr (bit == 0) return bit_and(x, set_u8(mask));
  else return bit_and(shift_right<static_cast<int>(bit)>(x), set_u8(mask));
}
// Shifts each byte to the left by `bit` bits. No bit that is set may leave the byte.
template <std::size_t bit>
STILLA_INLINE Int bits_to(Int x) {
  if constexpr (bit == 0) return x;
  else return shift_left<static_cast<int>(bit)>(x);
}

// ---- How the blocks of each format hold their codes ----

// Loads 32 bytes of each lane's row. The rows are `stride` bytes apart.
STILLA_INLINE void load_bytes(const std::byte* at, std::size_t stride, Int (&byte)[quads]) {
  Int half[4];
  load_columns(at, stride, half);
  for (std::size_t i = 0; i < 4; ++i) byte[i] = half[i];
  load_columns(at + 16, stride, half);
  for (std::size_t i = 0; i < 4; ++i) byte[i + 4] = half[i];
}

// Loads, for each lane's row, 16 bytes whose low nibbles are codes 0 .. 15 and whose high nibbles are codes 16 .. 31.
STILLA_INLINE void load_split_nibbles(const std::byte* at, std::size_t stride, Int (&code)[quads]) {
  Int pair[4];
  load_columns(at, stride, pair);
  for (std::size_t i = 0; i < 4; ++i) {
    code[i] = bits_of<0, 15>(pair[i]);
    code[i + 4] = high_nibbles(pair[i]);
  }
}

// Loads, for each lane's row, 16 bytes of which byte j has codes 2j and 2j + 1. The nibbles n0 .. n7 of a lane are reordered to n0 n4
// n1 n5 n2 n6 n3 n7. So the low nibbles of the lane are four neighbouring codes, and the high nibbles the next four.
STILLA_INLINE void load_paired_nibbles(const std::byte* at, std::size_t stride, Int (&code)[quads]) {
  Int pair[4];
  load_columns(at, stride, pair);
  for (std::size_t i = 0; i < 4; ++i) {
    const Int mixed = swap_position_digits<3, 2>(swap_position_digits<4, 3>(pair[i]));
    code[2 * i] = bits_of<0, 15>(mixed);
    code[2 * i + 1] = high_nibbles(mixed);
  }
}

// `byte` has one byte for each of 32 codes of each lane's row: byte[i] has those of k = 4i .. 4i + 3. Bit `bit` of such a byte is the
// fifth bit of the code. Returns the panel's line of fifth bits, as layout/rows16_k4.hpp describes it: bit i of each of the line's
// bytes is the fifth bit from byte[i].
template <std::size_t bit, std::size_t i = 0>
STILLA_INLINE Int fifth_bits(const Int (&byte)[quads]) {
  const Int own = bits_to<i>(bits_of<bit, 1>(byte[i]));
  if constexpr (i + 1 == quads) return own;
  else return bit_or(own, fifth_bits<bit, i + 1>(byte));
}

// CodesOf<F>::load<part> loads 32 codes of each lane's row: those with the numbers 32 * part to 32 * part + 31 in a block of format F.
// The first row's block is at `at`; those of the next rows are `stride` bytes apart.
template <class F>
struct CodesOf {
  template <std::size_t part>
  STILLA_INLINE static void load(const std::byte* at, std::size_t stride, Int (&code)[quads], Int (&high)[2]) {
    static_assert(F::code_bits != 6, "no format has codes of six bits that are read one by one");
    alignas(64) std::byte bytes[lanes * code_block];
    for (std::size_t r = 0; r < lanes; ++r) stilla::detail::take_codes<F>(at + r * stride, part, bytes + r * code_block);
    load_bytes(bytes, code_block, code);
    if constexpr (F::code_bits == 5) {
      high[0] = fifth_bits<4>(code);
      for (Int& c : code) c = bits_of<0, 15>(c);
    }
  }
};

template <std::size_t offset>
struct SplitNibbles {
  template <std::size_t part>
  STILLA_INLINE static void load(const std::byte* at, std::size_t stride, Int (&code)[quads], Int (&)[2]) {
    load_split_nibbles(at + offset + 16 * part, stride, code);
  }
};
template <std::size_t offset>
struct PairedNibbles {
  template <std::size_t part>
  STILLA_INLINE static void load(const std::byte* at, std::size_t stride, Int (&code)[quads], Int (&)[2]) {
    load_paired_nibbles(at + offset + 16 * part, stride, code);
  }
};
template <std::size_t offset>
struct WholeBytes {
  template <std::size_t part>
  STILLA_INLINE static void load(const std::byte* at, std::size_t stride, Int (&code)[quads], Int (&)[2]) {
    load_bytes(at + offset, stride, code);
  }
};
// The codes of Q5_0 and Q5_1. At word_offset a block has a word of 32 bits, whose bit k is the fifth bit of code k. Behind the
// word are 16 bytes with the low four bits of all codes, as in SplitNibbles. In the panel, the fifth bits have a line of their
// own: bit 4g + j of the word becomes bit g of the row's byte j in this line (j = 0 .. 3, g = 0 .. 7).
template <std::size_t word_offset>
struct SplitFives {
  template <std::size_t part>
  STILLA_INLINE static void load(const std::byte* at, std::size_t stride, Int (&code)[quads], Int (&high)[2]) {
    load_split_nibbles(at + word_offset + 4, stride, code);
    Int word[4];
    load_columns(at + word_offset, stride, word);
    high[0] = swap_position_digits<1, 0>(swap_position_digits<2, 1>(swap_position_digits<3, 0>(swap_position_digits<4, 1>(word[0]))));
  }
};

template <>
struct CodesOf<Q4_0> : SplitNibbles<2> {};
template <>
struct CodesOf<Q4_1> : SplitNibbles<4> {};
template <>
struct CodesOf<IQ4_NL> : SplitNibbles<2> {};
template <>
struct CodesOf<IQ4_XS> : SplitNibbles<8> {};
template <>
struct CodesOf<ST4> : SplitNibbles<4> {};
template <>
struct CodesOf<INT4_G128> : PairedNibbles<2> {};
template <>
struct CodesOf<INT4_G128_MIN> : PairedNibbles<4> {};
template <>
struct CodesOf<INT4_CHANNEL> : PairedNibbles<0> {};
template <>
struct CodesOf<LPBQ32> : PairedNibbles<1> {};
template <>
struct CodesOf<LPBQ64> : PairedNibbles<1> {};
template <>
struct CodesOf<LPBQ128> : PairedNibbles<1> {};
template <>
struct CodesOf<Q8_0> : WholeBytes<2> {};
template <>
struct CodesOf<INT8_CHANNEL> : WholeBytes<0> {};
template <>
struct CodesOf<Q5_0> : SplitFives<2> {};
template <>
struct CodesOf<Q5_1> : SplitFives<4> {};

// Loads 32 codes of 4 bits of a K format, which stores them in runs of 32 bytes. Each run holds 64 codes: 32 in the low nibbles, 32
// in the high nibbles.
template <std::size_t offset, std::size_t part>
STILLA_INLINE void load_nibbles_of_64(const std::byte* at, std::size_t stride, Int (&code)[quads]) {
  load_bytes(at + offset + part / 2 * 32, stride, code);
  for (Int& c : code) c = part % 2 == 0 ? bits_of<0, 15>(c) : high_nibbles(c);
}
template <>
struct CodesOf<Q4_K> {
  template <std::size_t part>
  STILLA_INLINE static void load(const std::byte* at, std::size_t stride, Int (&code)[quads], Int (&)[2]) {
    load_nibbles_of_64<16, part>(at, stride, code);
  }
};

template <>
struct CodesOf<Q5_K> {
  template <std::size_t part>
  STILLA_INLINE static void load(const std::byte* at, std::size_t stride, Int (&code)[quads], Int (&high)[2]) {
    load_bytes(at + 16, stride, code);
    high[0] = fifth_bits<part>(code);
    load_nibbles_of_64<48, part>(at, stride, code);
  }
};

// Of each byte in the vectors byte[0] .. byte[3], takes the two bits from `bit` on. The two bits from byte[i] come to bits 2i and 2i + 1
// of the result's byte.
template <std::size_t bit>
STILLA_INLINE Int pairs_of_four(const Int* byte) {
  const Int first = bit_or(bits_of<bit, 3>(byte[0]), bits_to<2>(bits_of<bit, 3>(byte[1])));
  return bit_or(first, bit_or(bits_to<4>(bits_of<bit, 3>(byte[2])), bits_to<6>(bits_of<bit, 3>(byte[3]))));
}
template <>
struct CodesOf<Q6_K> {
  template <std::size_t part>
  STILLA_INLINE static void load(const std::byte* at, std::size_t stride, Int (&code)[quads], Int (&high)[2]) {
    constexpr std::size_t half = part / 4, quarter = part % 4;
    load_bytes(at + 128 + half * 32, stride, code);
    high[0] = pairs_of_four<2 * quarter>(code);
    high[1] = pairs_of_four<2 * quarter>(code + 4);
    load_bytes(at + half * 64 + quarter % 2 * 32, stride, code);
    for (Int& c : code) c = quarter / 2 == 0 ? bits_of<0, 15>(c) : high_nibbles(c);
  }
};
template <>
struct CodesOf<Q2_K> {
  template <std::size_t part>
  STILLA_INLINE static void load(const std::byte* at, std::size_t stride, Int (&code)[quads], Int (&)[2]) {
    load_bytes(at + 16 + part / 4 * 32, stride, code);
    for (Int& c : code) c = bits_of<part % 4 * 2, 3>(c);
  }
};
template <>
struct CodesOf<Q3_K> {
  template <std::size_t part>
  STILLA_INLINE static void load(const std::byte* at, std::size_t stride, Int (&code)[quads], Int (&)[2]) {
    Int upper[quads];
    load_bytes(at, stride, upper);
    load_bytes(at + 32 + part / 4 * 32, stride, code);
    for (std::size_t i = 0; i < quads; ++i) code[i] = bit_or(bits_of<part % 4 * 2, 3>(code[i]), bits_to<2>(bits_of<part, 1>(upper[i])));
  }
};

// ---- How a panel holds codes ----

// Stores 32 codes of each lane's row in the panel, as the lines that the layout has for them. `to` is where the bytes of these rows
// begin in the first line. Codes of five or six bits have only their lowest four bits in `code`. The bits above these come in `high`,
// already arranged as the one or two lines that the panel has for them.
template <class F>
STILLA_INLINE void store_codes(std::byte* to, const Int (&code)[quads], const Int (&high)[2]) {
  constexpr std::size_t line = panel_rows * 4;
  if constexpr (F::code_bits == 8) {
    for (std::size_t i = 0; i < quads; ++i) store(to + i * line, code[i]);
  } else if constexpr (F::code_bits == 2) {
    store(to, pairs_of_four<0>(code));
    store(to + line, pairs_of_four<0>(code + 4));
  } else if constexpr (F::code_bits == 3) {
    const auto eighths = bit_or(code[6], bits_to<4>(code[7]));  // codes in bits 0 .. 2 and 4 .. 6
    const Int own = set_u8(0x88);
    store(to, bit_or(bit_or(code[0], bits_to<4>(code[1])), bit_and(bits_to<3>(eighths), own)));
    store(to + line, bit_or(bit_or(code[2], bits_to<4>(code[3])), bit_and(bits_to<2>(eighths), own)));
    store(to + 2 * line, bit_or(bit_or(code[4], bits_to<4>(code[5])), bit_and(bits_to<1>(eighths), own)));
  } else {
    for (std::size_t v = 0; v < 4; ++v) store(to + v * line, bit_or(code[2 * v], bits_to<4>(code[2 * v + 1])));
    for (std::size_t v = 4; v < F::code_bits; ++v) store(to + v * line, high[v - 4]);
  }
}

// ---- Packing sub-scales and sub-minimums ----

// Stores the four bytes of each lane: sub-scales of four neighbouring groups of the lane's row. The record has 16 bytes for each group,
// one for each row of the panel, so neighbouring groups are 16 bytes apart.
STILLA_INLINE void store_bytes_of(std::byte* to, Int x) {
  store_low_bytes(to, x);
  store_low_bytes(to + panel_rows, shift_right_s32<8>(x));
  store_low_bytes(to + 2 * panel_rows, shift_right_s32<16>(x));
  store_low_bytes(to + 3 * panel_rows, shift_right_s32<24>(x));
}

// SubScalesOf<F>::put stores the sub-scales and sub-minimums of `lanes` rows of the panel, from row `row` on, in the panel's record. They
// are read from the rows' blocks; the first of these is at `at`, and they are `stride` bytes apart.
template <class F>
struct SubScalesOf {
  STILLA_INLINE static void put(std::byte* record, std::size_t row, const std::byte* at, std::size_t stride) {
    for (std::size_t r = 0; r < lanes; ++r) stilla::detail::put_sub_scales<F>(record, row + r, at + r * stride);
  }
};

// Packs the sub-scales of formats whose block holds its 16 sub-scales as 16 bytes, from byte `offset` on. These bytes are copied to the
// panel's record unchanged.
template <class F, std::size_t offset>
struct SubScaleBytes {
  STILLA_INLINE static void put(std::byte* record, std::size_t row, const std::byte* at, std::size_t stride) {
    Int four[4];
    load_columns(at + offset, stride, four);
    for (std::size_t i = 0; i < 4; ++i) store_bytes_of(record + PanelLayout<F>::sub_scale_offset(4 * i) + row, four[i]);
  }
};
template <>
struct SubScalesOf<Q6_K> : SubScaleBytes<Q6_K, 192> {};
template <>
struct SubScalesOf<Q2_K> : SubScaleBytes<Q2_K, 0> {};

// Packs the sub-scales and sub-minimums of a block of Q4_K or Q5_K. In the block they stand behind a scale and a minimum, in the form
// that format/k_scales.hpp describes. In the panel's record, sub-minimums m are stored negated. A byte -m is computed in two steps: a
// subtraction, 128 - m, which borrows nothing from the neighbouring byte, and then a flip of the byte's sign bit.
template <class F>
struct KSubScales {
  STILLA_INLINE static void put(std::byte* record, std::size_t row, const std::byte* at, std::size_t stride) {
    using Layout = PanelLayout<F>;
    Int word[4];
    load_columns(at, stride, word);
    const Int upper_scales = bit_and(shift_right<2>(word[1]), set_u8(0x30)),
              upper_minimums = bit_and(shift_right<2>(word[2]), set_u8(0x30));
    store_bytes_of(record + Layout::sub_scale_offset(0) + row, bits_of<0, 63>(word[1]));
    store_bytes_of(record + Layout::sub_scale_offset(4) + row, bit_or(bits_of<0, 15>(word[3]), upper_scales));
    store_minimums(record + Layout::sub_minimum_offset(0) + 2 * row, bits_of<0, 63>(word[2]));
    store_minimums(record + Layout::sub_minimum_offset(4) + 2 * row, bit_or(high_nibbles(word[3]), upper_minimums));
  }

 private:
  // Stores the sub-minimums m of four groups, negated. In the record, a row's sub-minimums of two neighbouring groups stand side by
  // side.
  STILLA_INLINE static void store_minimums(std::byte* to, Int m) {
    const Int sign = set_u8(0x80), negated = bit_xor(sub_s32(sign, m), sign);
    store_low_halves(to, negated);
    store_low_halves(to + 2 * panel_rows, shift_right_s32<16>(negated));
  }
};
template <>
struct SubScalesOf<Q4_K> : KSubScales<Q4_K> {};
template <>
struct SubScalesOf<Q5_K> : KSubScales<Q5_K> {};

// A sub-scale of Q3_K is a number of six bits minus 32. The lower four bits of group g are in nibble g / 8 of byte 96 + g % 8 of the
// block, the upper two bits in bit pair g / 4 of byte 104 + g % 4.
template <>
struct SubScalesOf<Q3_K> {
  STILLA_INLINE static void put(std::byte* record, std::size_t row, const std::byte* at, std::size_t stride) {
    Int word[4];
    load_columns(at + 92, stride, word);
    put_four<0>(record + row, bits_of<0, 15>(word[1]), word[3]);
    put_four<1>(record + row, bits_of<0, 15>(word[2]), word[3]);
    put_four<2>(record + row, high_nibbles(word[1]), word[3]);
    put_four<3>(record + row, high_nibbles(word[2]), word[3]);
  }

 private:
  template <std::size_t four>
  STILLA_INLINE static void put_four(std::byte* record, Int low, Int upper) {
    const Int sign = set_u8(0x80), stored = bit_or(low, bits_to<4>(bits_of<2 * four, 3>(upper)));
    store_bytes_of(record + PanelLayout<Q3_K>::sub_scale_offset(4 * four), bit_xor(sub_s32(bit_or(stored, sign), set_u8(32)), sign));
  }
};

// ---- Packing whole panels ----

template <class F, std::size_t part = 0>
STILLA_INLINE void pack_codes(std::byte* codes, const std::byte* at, std::size_t stride) {
  Int code[quads], high[2];
  CodesOf<F>::template load<part>(at, stride, code, high);
  store_codes<F>(codes, code, high);
  if constexpr ((part + 1) * code_block < F::block_weights) pack_codes<F, part + 1>(codes + PanelLayout<F>::code_bytes, at, stride);
}

template <class F>
STILLA_NOINLINE void pack_panel(std::byte* panel, const PanelRows& rows, std::size_t K) {
  using Layout = PanelLayout<F>;
  if (K % Layout::span_k != 0) std::memset(panel + Layout::codes_offset(K / Layout::span_k * Layout::span_k), 0, Layout::span_bytes);
  for (std::size_t k = 0; k < K; k += F::block_weights) {
    std::byte* codes = panel + Layout::codes_offset(k);
    std::byte* record = panel + Layout::record_offset(k);
    for (std::size_t r = 0; r < panel_rows; r += lanes) {
      const std::byte* row = rows.first + r * rows.stride_bytes;
      const std::byte* block = row + row_head_bytes<F> + k / F::block_weights * F::block_bytes;
      pack_codes<F>(codes + 4 * r, block, rows.stride_bytes);
      SubScalesOf<F>::put(record, r, block, rows.stride_bytes);
      for (std::size_t i = 0; i < lanes; ++i) {
        stilla::detail::put_scales<F>(panel, record, r + i, row + i * rows.stride_bytes, block + i * rows.stride_bytes);
      }
    }
  }
}

// Packs a panel of float weights of 4 or 2 bytes, whose bits do not change.
template <class F>
  requires(!QuantisedFormat<F>)
STILLA_NOINLINE void pack_panel(std::byte* panel, const PanelRows& rows, std::size_t K) {
  constexpr std::size_t element = F::block_bytes, step = 16 / element, row_of_k = panel_rows * element;
  const std::size_t whole = K / step * step;
  for (std::size_t r = 0; r < panel_rows; r += lanes) {
    const std::byte* row = rows.first + r * rows.stride_bytes;
    for (std::size_t k = 0; k < whole; k += step) {
      Int word[4];
      load_columns(row + k * element, rows.stride_bytes, word);
      std::byte* to = panel + k * row_of_k + r * element;
      for (std::size_t i = 0; i < 4; ++i) {
        if constexpr (element == 4) {
          store(to + i * row_of_k, word[i]);
        } else {
          store_low_halves(to + 2 * i * row_of_k, word[i]);
          store_low_halves(to + (2 * i + 1) * row_of_k, shift_right_s32<16>(word[i]));
        }
      }
    }
    for (std::size_t i = 0; i < lanes; ++i) {
      for (std::size_t k = whole; k < K; ++k) {
        std::memcpy(panel + k * row_of_k + (r + i) * element, row + i * rows.stride_bytes + k * element, element);
      }
    }
  }
  std::memset(panel + K * row_of_k, 0, PanelLayout<F>::panel_bytes(K) - K * row_of_k);
}

#include <stilla/base/pop_macros-inl.hpp>
