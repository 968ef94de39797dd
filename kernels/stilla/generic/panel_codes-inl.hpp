// SPDX-License-Identifier: Apache-2.0
//
// Part of panel_tile-inl.hpp: it loads the bytes of a packed panel (layout/pack.hpp) into vectors and stores results.

// Signed codes that stay signed: with 128 added they would overflow the target's dot product of unsigned codes.
template <class F>
inline constexpr bool is_signed = F::code_bits == 8 || F::is_codebook;
template <class F>
inline constexpr bool stays_signed = is_signed<F> && largest_code < 255;

// The operand's zero point.
template <class F>
inline constexpr int operand_zero = stays_signed<F> ? 0 : is_signed<F> ? 128 : F::zero_point;

inline constexpr std::size_t row_vectors = panel_rows / lanes;
inline constexpr std::size_t vector_bytes = 4 * lanes;

// Codes of less than 8 bits, one a byte, for four k of the rows of vector v: line `line` of the block (layout/pack.hpp), its low or high
// nibbles.
template <class F>
STILLA_INLINE Int load_codes(const std::byte* codes, std::size_t line, bool upper, std::size_t v) {
  static_assert(F::code_bits < 8);
  const std::byte* at = codes + line * 64 + v * vector_bytes;
  const Int low_mask = set_u8(15);
  const Int code = upper ? bit_and(shift_right<4>(load(at)), low_mask) : bit_and(load(at), low_mask);
  const std::size_t g = 2 * line + (upper ? 1 : 0);  // which four k of the block
  if constexpr (F::code_bits == 5) {
    const Int bits = load(codes + 256 + v * vector_bytes);
    Int moved = bits;  // bit g to bit 4
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
    Int moved = bits;  // bits 2(g % 4) and 2(g % 4) + 1 to bits 4 and 5
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

// The operand of the dot product for the same four k.
template <class F>
STILLA_INLINE Int load_operand(const std::byte* codes, std::size_t line, bool upper, std::size_t v) {
  if constexpr (F::code_bits == 8) {
    const Int code = load(codes + line * 64 + v * vector_bytes);
    return stays_signed<F> ? code : bit_xor(code, set_u8(-128));
  } else if constexpr (F::is_codebook) {
    alignas(16) static constexpr auto codebook = F::codebook;
    const Int table = table_of(codebook.data());
    return look_up(stays_signed<F> ? table : bit_xor(table, set_u8(-128)), load_codes<F>(codes, line, upper, v));
  } else {
    return load_codes<F>(codes, line, upper, v);
  }
}

// The same where scale and sub-scales of a row are one word (ST4).
template <WordScaledFormat F>
STILLA_INLINE Float load_word_scale(const std::byte* record, std::size_t group, std::size_t v) {
  const Int word = load(record + v * vector_bytes);
  const Int exponent_and_mantissa = bit_and(shift_right_s32<4>(word), set_s32(0x0ff00000));
  const Float scale = as_floats(add_s32(exponent_and_mantissa, set_s32(static_cast<int>(ue5m3::lowest_exponent << 23))));
  return mul(scale, to_floats(shift_right_s32<26>(shift_left_s32(word, 26 - 6 * static_cast<int>(group)))));
}

// Scale and minimum of the rows of vector v for group g (0 or 1) of the block of 32 at k0, whose scale record is `record`.
template <class F>
STILLA_INLINE Float load_scale(const std::byte* record, std::size_t k0, std::size_t g, std::size_t v) {
  using Layout = PanelLayout<F>;
  if constexpr (RowScaledFormat<F>) {
    return load_floats(reinterpret_cast<const float*>(record) + v * lanes);
  } else if constexpr (WordScaledFormat<F>) {
    return load_word_scale<F>(record, k0 % Layout::super_block / F::group_weights + g, v);
  } else if constexpr (F::has_sub_scales) {
    const Float scale = load_f16(record + 2 * v * lanes);
    const std::size_t group = k0 % Layout::super_block / F::group_weights + g;
    return mul(scale, load_s8(record + Layout::sub_scale_offset(group) + v * lanes));
  } else {
    return load_f16(record + 2 * v * lanes);
  }
}
STILLA_INLINE Float load_minimum(const std::byte* record, std::size_t v) { return load_f16(record + 2 * (panel_rows + v * lanes)); }

// Sub-minimums of groups 2 * pair and 2 * pair + 1 of the rows of vector v: int16 pairs.
template <class F>
STILLA_INLINE Int load_sub_minimums(const std::byte* record, std::size_t pair, std::size_t v) {
  return load_s8_as_s16(record + PanelLayout<F>::sub_minimum_offset(2 * pair) + 2 * v * lanes);
}
inline constexpr std::size_t sum_pairs = RoundedSums::blocks / 2;

template <class F>
inline constexpr std::size_t groups_per_block = code_block / F::group_weights;
// Weights of a row with one minimum: so many k are a step of a kernel's outer loop. A block where there are no sub-minimums.
template <class F>
inline constexpr std::size_t minimum_k = has_sub_minimums<F> ? sums_block : code_block;

// Writes a panel's results for token m. Through memory only where the matrix ends within the panel: reading 16 floats one by
// one after one wide store costs more than a short row's sums (clang 14 and 19 do just that, 1.5 times the time for K = 1536).
template <class F>
STILLA_INLINE void store_row(const Float* acc, const MatmulArgs<F>& a, std::size_t p, std::size_t m) {
  if ((p + 1) * panel_rows > a.N) {
    float results[panel_rows];
    for (std::size_t v = 0; v < row_vectors; ++v) store_floats(results + v * lanes, acc[v]);
    return detail::store_panel_row(a, p, m, results);
  }
  const float* bias = a.bias == nullptr ? nullptr : a.bias + p * panel_rows;
  float* y = a.y.row(m) + p * panel_rows;
  for (std::size_t v = 0; v < row_vectors; ++v) {
    store_floats(y + v * lanes, bias == nullptr ? acc[v] : add(acc[v], load_floats(bias + v * lanes)));
  }
}

// What the unsigned operand's zero point adds to the products of group g of a block: the zero point, a power of two, times the
// sum of the group's activations. sums: the block's. All in vectors: a sum that comes from an integer register waits for the
// dot products before it.
template <class F>
STILLA_INLINE Int zero_products(const std::int32_t* sums, std::size_t g) {
  static_assert((operand_zero<F> & (operand_zero<F> - 1)) == 0);
  Int sum = keep(set_s32(sums[groups_per_block<F> == 1 || g == 1 ? 1 : 0]));
  if (g == 1) sum = sub_s32(sum, keep(set_s32(sums[0])));
  return shift_left_s32<std::countr_zero(static_cast<unsigned>(operand_zero<F>))>(sum);
}
