// SPDX-License-Identifier: Apache-2.0
//
// Part of panel_tile-inl.hpp: functions that load the bytes of a packed panel (layout/rows16_k4.hpp) into vectors, and that store
// results.

#include <stilla/base/push_macros-inl.hpp>

// is_signed says whether the codes of format F have a sign. stays_signed says whether they are also signed bytes when the dot product
// takes them. It is true for codes with a sign where the target's dot product cannot take codes up to 255. On other targets a number is
// added to such codes, which makes them unsigned.
template <class F>
inline constexpr bool is_signed = F::code_bits == 8 || (F::is_codebook && !has_small_codebook<F>);
template <class F>
inline constexpr bool stays_signed = is_signed<F> && largest_code < 255;

// The zero point of the dot product's operand. For codes without a sign it is the format's own zero point. For codes with a sign it is
// 0 where the dot product takes signed bytes. Elsewhere it is the number that was added to make them unsigned: 128, or 64 for the
// levels of a small codebook (all of them are -63 .. 63).
inline constexpr int small_codebook_zero = largest_code == 127 ? 0 : 64;
template <class F>
inline constexpr int operand_zero = stays_signed<F>         ? 0
                                    : is_signed<F>          ? 128
                                    : has_small_codebook<F> ? small_codebook_zero
                                                            : F::zero_point;

// A zero point is 0 or a power of two. So a product with it is a shift. This constant says by how many bits; it is 0 if there is no
// zero point.
template <class F>
inline constexpr int zero_bits = [] {
  static_assert((operand_zero<F> & (operand_zero<F> - 1)) == 0);
  return operand_zero<F> == 0 ? 0 : std::countr_zero(static_cast<unsigned>(operand_zero<F>));
}();

inline constexpr std::size_t row_vectors = panel_rows / lanes;
inline constexpr std::size_t vector_bytes = 4 * lanes;

// The first of these two functions loads codes of two bits, the other one codes of three bits. A block has the codes of 32 k. Each call
// loads those of the four neighbouring k = 4g .. 4g + 3 (g = 0 .. 7), for the rows of a vector. layout/rows16_k4.hpp draws where they
// stand.
STILLA_INLINE Int load_two_bits(const std::byte* codes, std::size_t g) {
  const Int line = load(codes + g / 4 * 64);
  switch (g % 4) {
    case 0: return bit_and(line, set_u8(3));
    case 1: return bit_and(shift_right<2>(line), set_u8(3));
    case 2: return bit_and(shift_right<4>(line), set_u8(3));
    default: return bit_and(shift_right<6>(line), set_u8(3));
  }
}
STILLA_INLINE Int load_three_bits(const std::byte* codes, std::size_t g) {
  if (g < 6) {
    const Int line = load(codes + g / 2 * 64);
    return bit_and(g % 2 == 0 ? line : shift_right<4>(line), set_u8(7));
  }
  const Int bits = set_u8(0x88);
  const Int ones = shift_right<3>(bit_and(load(codes), bits)), twos = shift_right<2>(bit_and(load(codes + 64), bits));
  const Int both = bit_or(bit_or(ones, twos), shift_right<1>(bit_and(load(codes + 128), bits)));
  return g == 6 ? bit_and(both, set_u8(7)) : high_nibbles(both);
}

// Returns the codes of four neighbouring k for the rows of vector v, one code in each byte, for codes of less than 8 bits. `codes` has the
// codes of a block of 32 k, and the four k are 4g .. 4g + 3 with g = 2 * line + upper. Where codes have four bits or more, their low four
// bits stand in line `line` of the block (layout/rows16_k4.hpp): in its high nibbles if `upper`, else in its low nibbles.
template <class F>
STILLA_INLINE Int load_codes(const std::byte* codes, std::size_t line, bool upper, std::size_t v) {
  static_assert(F::code_bits < 8);
  const std::size_t g = 2 * line + (upper ? 1 : 0);  // which four k of the block
  if constexpr (F::code_bits == 2) return load_two_bits(codes + v * vector_bytes, g);
  if constexpr (F::code_bits == 3) return load_three_bits(codes + v * vector_bytes, g);
  const std::byte* at = codes + line * 64 + v * vector_bytes;
  const Int code = upper ? high_nibbles(load(at)) : bit_and(load(at), set_u8(15));
  if constexpr (F::code_bits == 5) {
    const Int bits = load(codes + 256 + v * vector_bytes);
    Int moved = bits;  // shifted, so that bit g of each byte becomes bit 4
    switch (g) {
      case 0: moved = shift_left<4>(bits); break;
      case 1: moved = shift_left<3>(bits); break;
      case 2: moved = shift_left<2>(bits); break;
      case 3: moved = shift_left<1>(bits); break;
      case 4: break;
      case 5: moved = shift_right<1>(bits); break;
      case 6: moved = shift_right<2>(bits); break;
      default: moved = shift_right<3>(bits); break;
    }
    return bit_or(code, bit_and(moved, set_u8(16)));
  } else if constexpr (F::code_bits == 6) {
    const Int bits = load(codes + 256 + g / 4 * 64 + v * vector_bytes);
    Int moved = bits;  // shifted, so that bits 2(g % 4) and 2(g % 4) + 1 of each byte become bits 4 and 5
    switch (g % 4) {
      case 0: moved = shift_left<4>(bits); break;
      case 1: moved = shift_left<2>(bits); break;
      case 2: break;
      default: moved = shift_right<2>(bits); break;
    }
    return bit_or(code, bit_and(moved, set_u8(48)));
  } else {
    return code;
  }
}

// Returns a table of the levels of a codebook, as operands of the dot product. For formats without a codebook the table is all zeros.
template <class F>
STILLA_INLINE Int operand_levels(const MatmulArgs<F>& a) {
  alignas(16) std::int8_t levels[16] = {};
  if constexpr (F::is_codebook) {
    for (std::size_t i = 0; i < F::codebook.size(); ++i) levels[i] = static_cast<std::int8_t>(a.codebook[i] + operand_zero<F>);
  }
  return table_of(levels);
}

// Whether the target adds the products of several quads of codes of format F in 16 bits before it widens the sums.
template <class F>
inline constexpr bool has_narrow_sums = NarrowSums<F>::quads > 1;

// Multiplies quad number q of the `n_quads` quads of a group by codes of format F, and adds the product to the narrow sums `narrow`.
// After the group's last quad, and whenever no further product fits the narrow sums, these are added to `dot`. If `starts` is set,
// `dot` has no value before, and the first of these sums becomes its value.
template <class F>
STILLA_INLINE void add_narrow(Int& dot, Int& narrow, Int codes, Int x, std::size_t q, std::size_t n_quads, bool starts) {
  using Sums = NarrowSums<F>;
  narrow = q % Sums::quads == 0 ? Sums::first(codes, x) : Sums::add(narrow, codes, x);
  if ((q + 1) % Sums::quads != 0 && q + 1 != n_quads) return;
  dot = starts && q < Sums::quads ? Sums::widened(narrow) : add_s32(dot, Sums::widened(narrow));
}

// Returns the operand of a dot product for four k of each row of vector v: the levels of the codes if the format has a codebook,
// otherwise the codes. The four k are 4g .. 4g + 3 of a block of 32 k, with g = 2 * line + upper. But codes of 8 bits have a line for
// every four k, so with them g = line. `levels` is the table that operand_levels() returns.
template <class F>
STILLA_INLINE Int load_operand(const std::byte* codes, std::size_t line, bool upper, std::size_t v, [[maybe_unused]] Int levels) {
  if constexpr (F::code_bits == 8) {
    const Int code = load(codes + line * 64 + v * vector_bytes);
    return stays_signed<F> ? code : bit_xor(code, set_u8(-128));
  } else if constexpr (F::is_codebook) {
    return look_up(levels, load_codes<F>(codes, line, upper, v));
  } else {
    return load_codes<F>(codes, line, upper, v);
  }
}

// Returns the scales of group `group` for the rows of vector v, for formats that keep the scale and the sub-scales of a row's block in
// one word (ST4).
template <WordScaledFormat F>
STILLA_INLINE Float load_word_scale(const std::byte* record, std::size_t group, std::size_t v) {
  const Int word = load(record + v * vector_bytes);
  const Int exponent_and_mantissa = bit_and(shift_right_s32<4>(word), set_s32(0x0ff00000));
  const Float scale = as_floats(add_s32(exponent_and_mantissa, set_s32(static_cast<int>(ue5m3::lowest_exponent << 23))));
  return mul(scale, to_floats(shift_right_s32<26>(shift_left_s32(word, 26 - 6 * static_cast<int>(group)))));
}

// Returns the scales in a record for the rows of vector v, for formats whose record holds one scale for 256 weights of a row. They are
// not multiplied by sub-scales yet.
template <class F>
STILLA_INLINE Float load_record_scale(const std::byte* record, std::size_t v) {
  const Float scale = load_f16(record + 2 * v * lanes);
  constexpr float factor = half_factor<decltype(F::scale(record))>;
  return factor == 1.0f ? scale : mul(scale, set(factor));
}
// Returns the scales of a group for the rows of vector v: `scale`, the scales that these rows have for the whole record, times the
// rows' sub-scales of the group. The group is number g (0 or 1) of the 32 k from k0 on.
template <class F>
STILLA_INLINE Float times_sub_scale(Float scale, const std::byte* record, std::size_t k0, std::size_t g, std::size_t v) {
  using Layout = PanelLayout<F>;
  const std::byte* const at = record + Layout::sub_scale_offset(k0 % Layout::super_block / F::group_weights + g) + v * lanes;
  if constexpr (has_nibble_minimums<F>) return mul(scale, to_floats(bit_and(load_u8_as_s32(at), set_s32(15))));
  return mul(scale, load_s8(at));
}

// Returns the scales of a group for the rows of vector v. The group is number g (0 or 1) of the 32 k from k0 on. `record` is the record
// that holds its scales or sub-scales. Where a format has one float scale per row, these scales stand at the beginning of the panel.
template <class F>
STILLA_INLINE Float load_scale(const std::byte* panel, const std::byte* record, std::size_t k0, std::size_t g, std::size_t v) {
  using Layout = PanelLayout<F>;
  if constexpr (RowScaledFormat<F>) {
    const Float scale = load_floats(reinterpret_cast<const float*>(panel) + v * lanes);
    if constexpr (!F::has_sub_scales) return scale;
    const std::size_t group = k0 % Layout::super_block / F::group_weights + g;
    return mul(scale, load_s8(record + Layout::sub_scale_offset(group) + v * lanes));
  } else if constexpr (WordScaledFormat<F>) {
    return load_word_scale<F>(record, k0 % Layout::super_block / F::group_weights + g, v);
  } else if constexpr (F::has_sub_scales) {
    return times_sub_scale<F>(load_record_scale<F>(record, v), record, k0, g, v);
  } else {
    return load_f16(record + 2 * v * lanes);
  }
}
STILLA_INLINE Float load_minimum(const std::byte* record, std::size_t v) { return load_f16(record + 2 * (panel_rows + v * lanes)); }

// Returns the minimum of a group for the rows of vector v. The group is number g (0 or 1) of the 32 k from k0 on. In formats whose
// sub-minimums have 4 bits and belong to groups of 16 weights (Q2_K), it is `minimum` times the sub-minimum; else it is `minimum`.
template <class F>
STILLA_INLINE Float times_group_minimum(Float minimum, const std::byte* record, std::size_t k0, std::size_t g, std::size_t v) {
  if constexpr (!has_nibble_minimums<F>) return minimum;
  using Layout = PanelLayout<F>;
  const std::size_t group = k0 % Layout::super_block / F::group_weights + g;
  const Int pairs = load_u8_as_s32(record + Layout::sub_scale_offset(group) + v * lanes);
  return mul(minimum, to_floats(shift_right_s32<4>(pairs)));
}

// Returns the sub-minimums of the groups 2 * pair and 2 * pair + 1 of a record, for the rows of vector v. Each lane has the two numbers
// of its row, as int16.
template <class F>
STILLA_INLINE Int load_sub_minimums(const std::byte* record, std::size_t pair, std::size_t v) {
  return load_s8_as_s16(record + PanelLayout<F>::sub_minimum_offset(2 * pair) + 2 * v * lanes);
}
inline constexpr std::size_t sum_pairs = RoundedSums::blocks / 2;

template <class F>
inline constexpr std::size_t groups_per_block = code_block / F::group_weights;
// How many k the outer loop of a kernel takes in a step. In formats with sub-minimums it is the 256 k that share a minimum; in the others
// it is a block of 32.
template <class F>
inline constexpr std::size_t minimum_k = has_sub_minimums<F> ? sums_block : code_block;

// Whether the kernels for few tokens convert the scale of a record to float once for its 256 weights, and its minimum too. When they
// converted both for every group, an eighth of all instructions did this where codes have two or three bits (AVX-512-VNNI).
template <class F>
inline constexpr bool keeps_record_scale =
    F::has_sub_scales && !RowScaledFormat<F> && !WordScaledFormat<F> && (F::code_bits <= 3 || has_small_codebook<F>);
template <class F>
inline constexpr std::size_t few_k = keeps_record_scale<F> ? PanelLayout<F>::super_block : minimum_k<F>;

// Writes the results of `panels` panels from p on and `tokens` tokens from m0 on to y, if the matrix ends within the last of these
// panels, so that not all of its 16 rows exist. This case is rare, so the function is not inlined: inlined for each token and panel, it
// made up three quarters of the code of panels_few().
template <class F>
STILLA_NOINLINE void store_end(const MatmulArgs<F>& a, std::size_t p, std::size_t panels, std::size_t m0, std::size_t tokens,
                               const float* results) {
  for (std::size_t m = 0; m < tokens; ++m) {
    for (std::size_t j = 0; j < panels; ++j, results += panel_rows) detail::store_panel_row(a, p + j, m0 + m, results);
  }
}

// Writes the sums of Panels panels from p on and MT tokens from m0 on to y and adds the bias. Only where the matrix ends within a
// panel, the sums are stored to an array first. When all sums went through such an array, the program read 16 floats one by one after
// one wide store, which costs more than computing the sums of a short row: with clang 14 and 19, K = 1536 took 50 % longer.
template <std::size_t Panels, class F, std::size_t MT>
STILLA_INLINE void store_sums(const MatmulArgs<F>& a, std::size_t p, std::size_t m0, const Float (&acc)[MT][Panels * row_vectors]) {
  if ((p + Panels) * panel_rows > a.N) {
    float results[MT][Panels * panel_rows];
    STILLA_UNROLL
    for (std::size_t m = 0; m < MT; ++m) {
      STILLA_UNROLL
      for (std::size_t v = 0; v < Panels * row_vectors; ++v) store_floats(results[m] + v * lanes, acc[m][v]);
    }
    return store_end(a, p, Panels, m0, MT, results[0]);
  }
  const float* bias = a.bias == nullptr ? nullptr : a.bias + p * panel_rows;
  STILLA_UNROLL
  for (std::size_t m = 0; m < MT; ++m) {
    float* y = a.y.row(m0 + m) + p * panel_rows;
    STILLA_UNROLL
    for (std::size_t v = 0; v < Panels * row_vectors; ++v) {
      store_floats(y + v * lanes, bias == nullptr ? acc[m][v] : add(acc[m][v], load_floats(bias + v * lanes)));
    }
  }
}

// Codes are stored with a zero point added. So the sum of their products with the activations of group g is too large by the zero point
// times the sum of these activations. Returns this number in all lanes. sums[0] is the sum of the first 16 activations of a block,
// sums[1] that of all 32. The result is computed in vectors, because a sum that came from an integer register would wait for the dot
// products before it.
template <class F>
STILLA_INLINE Int zero_products(const std::int32_t* sums, std::size_t g) {
  Int sum = keep(set_s32(sums[groups_per_block<F> == 1 || g == 1 ? 1 : 0]));
  if (g == 1) sum = sub_s32(sum, keep(set_s32(sums[0])));
  return shift_left_s32<zero_bits<F>>(sum);
}

#include <stilla/base/pop_macros-inl.hpp>
