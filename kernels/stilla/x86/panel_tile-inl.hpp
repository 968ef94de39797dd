// SPDX-License-Identifier: Apache-2.0
//
// Matmul over panels of quantised weights (contract/matmul.hpp), written once against the vocabulary of an x86 target's
// vector.hpp: lanes, dot_codes and plain vector operations. Each target includes it inside its region and namespace.
//
// The dot product multiplies unsigned by signed bytes, so codes are the unsigned operand as they are and the zero point
// leaves the loop:  sum (u - z) x = sum u x - z sum x,  and z sum x is taken off at the end. Codes that are
// signed (8 bits, codebooks) become unsigned by adding 128, or stay signed where that overflows (AVX2). One dot instruction
// covers 4 k of every row of a vector; four activations are broadcast from memory. No shuffle, no sum across lanes.
//
// Activations of 16 bits are two planes: dot = 256 * dot(high) + dot(low).
//
// Few tokens (up to 8): codes are unpacked in registers, each panel is read once, forward, and fetched ahead.
// With vectors of 512 bits, two panels share each load of two tokens or more.
// Many tokens: codes of `sweep_panels` panels x up to `most_chunk_k` k are unpacked once to bytes, then all tokens sweep over
// them in tiles; between chunks of k the running sums live in y, so nothing is rounded that would not be otherwise. A token's
// scale is a power of two, so scale_w * scale_x is exact, and an addition of integers, exponent to exponent: on Zen 5 that
// runs beside the dot products, where a multiplication takes one's place (Q4_0, 512 tokens: 0.89 of the time).

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

// How far ahead of use a panel is fetched into L1; into L2 twice as far. On a Zen 5 server, with L1 alone, 6 KB did best for one
// token of 1, 3, 4.5, 6, 9 and 12 KB, and 9 KB for several. On a Granite Rapids server, where memory is too far away for the 16 lines
// that L1 can wait for, that was 67 % of the read bandwidth of one core, 2 KB 96 %, and 3 KB with 6 KB into L2 106 % (the read loop
// leaves it to the hardware); 16 KB farther into L2 98 %. Fetched beyond a task's panels is fetched in vain if another thread has
// the next ones, so not farther than it helps.
constexpr std::size_t prefetch_bytes(std::size_t tokens) { return tokens == 1 ? 3072 : 4608; }

// Codes of less than 8 bits, one a byte, for four k of the rows of vector v: line `line` of the block (pack.hpp), its low or high
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
    return mul(scale, load_s8(record + Layout::sub_offset + group * Layout::group_bytes + v * lanes));
  } else {
    return load_f16(record + 2 * v * lanes);
  }
}
template <class F>
STILLA_INLINE Float load_minimum(const std::byte* record, std::size_t k0, std::size_t g, std::size_t v) {
  using Layout = PanelLayout<F>;
  const Float minimum = load_f16(record + 2 * (panel_rows + v * lanes));
  if constexpr (F::has_sub_scales) {
    const std::size_t group = k0 % Layout::super_block / F::group_weights + g;
    return mul(minimum, load_s8(record + Layout::sub_offset + group * Layout::group_bytes + panel_rows + v * lanes));
  } else {
    return minimum;
  }
}

template <class F>
inline constexpr std::size_t groups_per_block = code_block / F::group_weights;

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

// `Panels` panels, MT tokens, all of K, codes unpacked as they are used.
template <class F, std::size_t MT, std::size_t Planes, std::size_t Panels>
STILLA_NOINLINE void panels_few(const MatmulArgs<F>& a, std::size_t p, std::size_t m0) {
  using Layout = PanelLayout<F>;
  constexpr std::size_t lines = F::code_bits == 8 ? 8 : 4;
  constexpr std::size_t halves = F::code_bits == 8 ? 1 : 2;
  constexpr std::size_t lines_per_group = lines / groups_per_block<F>;
  constexpr std::size_t vectors = Panels * row_vectors;
  const std::size_t panel_bytes = Layout::panel_bytes(a.K);
  const std::byte* const panel = a.panels + p * panel_bytes;
  const std::byte* span = a.K == 0 ? panel : panel + Layout::head_bytes;  // no columns, no panels: the pointer may be null
  Float acc[MT][vectors];
  STILLA_UNROLL
  for (std::size_t m = 0; m < MT; ++m) {
    STILLA_UNROLL
    for (std::size_t v = 0; v < vectors; ++v) acc[m][v] = zero();
  }
  for (std::size_t k0 = 0; k0 < a.K; k0 += code_block) {
    const std::size_t k = k0 % Layout::span_k;
    const std::byte* codes = span + k / code_block * Layout::code_bytes;
    const std::byte* record =
        RowScaledFormat<F> ? panel : span + Layout::span_codes_bytes + k / Layout::super_block * Layout::record_bytes;
    // The stream is this much longer per block; what overlaps the next block is asked for twice.
    constexpr std::size_t block_bytes = Layout::span_bytes * code_block / Layout::span_k;
    std::size_t ahead_by = prefetch_bytes(MT);
    if constexpr (Panels > 1) {  // behind a panel's end lies one that is being read too: go on behind that
      if (k0 / code_block * block_bytes + prefetch_bytes(MT) >= panel_bytes) ahead_by += (Panels - 1) * panel_bytes;
    }
    const char* ahead = reinterpret_cast<const char*>(span) + k / code_block * block_bytes + ahead_by;
    STILLA_UNROLL
    for (std::size_t j = 0; j < Panels; ++j) {
      STILLA_UNROLL
      for (std::size_t line = 0; line < block_bytes; line += 64) {
        _mm_prefetch(ahead + j * panel_bytes + line, _MM_HINT_T0);
        _mm_prefetch(ahead + prefetch_bytes(MT) + j * panel_bytes + line, _MM_HINT_T1);
      }
    }
    if (k + code_block == Layout::span_k) span += Layout::span_bytes;
    // Token m's values are m rows on. A second base in the middle keeps the number of different distances, each of which is
    // a register, small.
    constexpr std::size_t tokens_per_base = MT == 1 ? 1 : MT / 2;
    const std::int8_t* x[2] = {a.x.row_values(m0) + k0, a.x.row_values(m0 + MT / 2) + k0};
    const std::int8_t* low[2] = {nullptr, nullptr};
    if constexpr (Planes == 2) low[0] = a.x.row_low(m0) + k0, low[1] = a.x.row_low(m0 + MT / 2) + k0;
    const std::size_t row = a.K;
    const float* scales = a.x.row_scales(m0) + k0 / activation_block;
    const float* scaled_sums = a.x.row_scaled_sums(m0) + k0 / activation_block;
    const std::size_t scales_row = a.x.blocks();
    const std::int32_t* sums = a.x.row_sums(m0) + k0 / activation_block * 2;
    STILLA_UNROLL
    for (std::size_t g = 0; g < groups_per_block<F>; ++g) {
      Int dot[MT][vectors];
      Int dot_low[Planes == 2 ? MT : 1][vectors];
      STILLA_UNROLL
      for (std::size_t m = 0; m < MT; ++m) {
        STILLA_UNROLL
        for (std::size_t v = 0; v < vectors; ++v) {
          dot[m][v] = set_s32(0);
          if constexpr (Planes == 2) dot_low[m][v] = set_s32(0);
        }
      }
      STILLA_UNROLL
      for (std::size_t l = 0; l < lines_per_group; ++l) {
        STILLA_UNROLL
        for (std::size_t half = 0; half < halves; ++half) {
          const std::size_t line = g * lines_per_group + l;
          const std::size_t four = (line * halves + half) * 4;
          if constexpr (Panels == 1) {  // the activations straight from memory
            STILLA_UNROLL
            for (std::size_t v = 0; v < vectors; ++v) {
              const Int w = load_operand<F>(codes, line, half == 1, v);
              STILLA_UNROLL
              for (std::size_t m = 0; m < MT; ++m) {
                const std::size_t at = m % tokens_per_base * row + four;
                dot[m][v] = dot_codes_at<F>(dot[m][v], w, x[m / tokens_per_base] + at);
                if constexpr (Planes == 2) dot_low[m][v] = dot_codes_at<F>(dot_low[m][v], w, low[m / tokens_per_base] + at);
              }
            }
          } else {  // loaded once for all panels
            Int w[vectors];
            STILLA_UNROLL
            for (std::size_t v = 0; v < vectors; ++v) {
              w[v] = load_operand<F>(codes + v / row_vectors * panel_bytes, line, half == 1, v % row_vectors);
            }
            STILLA_UNROLL
            for (std::size_t m = 0; m < MT; ++m) {
              const Int four_x = broadcast4(x[m / tokens_per_base] + m % tokens_per_base * row + four);
              STILLA_UNROLL
              for (std::size_t v = 0; v < vectors; ++v) dot[m][v] = dot_codes<F>(dot[m][v], w[v], four_x);
            }
          }
        }
      }
      STILLA_UNROLL
      for (std::size_t v = 0; v < vectors; ++v) {
        const std::byte* const panel_record = record + v / row_vectors * panel_bytes;
        const Float scale = load_scale<F>(panel_record, k0, g, v % row_vectors);
        STILLA_UNROLL
        for (std::size_t m = 0; m < MT; ++m) {
          if constexpr (Planes == 2) dot[m][v] = add_s32(shift_left_s32<8>(dot[m][v]), dot_low[m][v]);
          if constexpr (operand_zero<F> != 0) dot[m][v] = sub_s32(dot[m][v], zero_products<F>(sums + 2 * m * scales_row, g));
          acc[m][v] = fused_multiply_add(mul(scale, set(scales[m * scales_row])), to_floats(dot[m][v]), acc[m][v]);
        }
        if constexpr (F::has_minimum) {
          const Float minimum = load_minimum<F>(panel_record, k0, g, v % row_vectors);
          STILLA_UNROLL
          for (std::size_t m = 0; m < MT; ++m) {
            acc[m][v] = fused_multiply_add(minimum, set(scaled_sums[m * scales_row]), acc[m][v]);
          }
        }
      }
    }
  }
  STILLA_UNROLL
  for (std::size_t j = 0; j < Panels; ++j) {
    STILLA_UNROLL
    for (std::size_t m = 0; m < MT; ++m) {
      Float row[row_vectors];  // or GCC would keep all of acc in memory
      STILLA_UNROLL
      for (std::size_t v = 0; v < row_vectors; ++v) row[v] = acc[m][j * row_vectors + v];
      store_row(row, a, p + j, m0 + m);
    }
  }
}

// Up to ChunkK weights of each row of some panels, unpacked as a sweep over many tokens reads them.
template <class F, std::size_t Panels, std::size_t ChunkK>
struct Unpacked {
  static constexpr std::size_t blocks = ChunkK / code_block;
  alignas(64) std::uint8_t operands[blocks][8][Panels][64];  // [block][four k][panel][row * 4 + k]
  alignas(64) std::int32_t scales[blocks][groups_per_block<F>][Panels][panel_rows];  // bits, less those of 1.0f; none is 0
  alignas(64) float minimums[F::has_minimum ? blocks : 1][groups_per_block<F>][Panels][panel_rows];
};

inline constexpr std::int32_t bits_of_one = std::bit_cast<std::int32_t>(1.0f);

// How far ahead of use unpack_panels fetches. Without it 6 % more time (clang 19) or 1 to 2 (GCC 12); 2, 4 and 8 KB are alike.
inline constexpr std::size_t unpack_ahead = 4096;
template <class F>
STILLA_INLINE void fetch_to_unpack(const std::byte* panel, std::size_t k0) {
  constexpr std::size_t block_bytes = PanelLayout<F>::span_bytes * code_block / PanelLayout<F>::span_k;
  const char* ahead = reinterpret_cast<const char*>(panel) + k0 / code_block * block_bytes + unpack_ahead;
  STILLA_UNROLL
  for (std::size_t line = 0; line < block_bytes; line += 64) _mm_prefetch(ahead + line, _MM_HINT_T0);
}

// Whether a row's own scale, a float, times any token's (2^-74 to 2^54) is a normal number: so it is exact.
STILLA_INLINE bool row_scales_are_exact(Float scale) {
  return !any_zero(mul(scale, set(0x1p-98f))) /* 0 up to 2^-52 */ && !any_nan(mul(mul(scale, set(0x1p54f)), zero()));
}

// False where adding exponents would not be multiplying: a scale is no number, or it is a row's own and not exact.
template <class F, std::size_t Panels, std::size_t ChunkK>
STILLA_NOINLINE bool unpack_panels(Unpacked<F, Panels, ChunkK>& out, const MatmulArgs<F>& a, std::size_t p0,
                                   std::size_t k_begin, std::size_t k_end) {
  using Layout = PanelLayout<F>;
  constexpr std::size_t halves = F::code_bits == 8 ? 1 : 2;
  constexpr std::size_t fours_per_group = 8 / groups_per_block<F>;
  Float poison = zero();
  bool is_exact = true;
  for (std::size_t p = 0; p < Panels; ++p) {
    const std::byte* panel = a.panels + (p0 + p) * Layout::panel_bytes(a.K);
    for (std::size_t k0 = k_begin; k0 < k_end; k0 += code_block) {
      const std::byte* codes = panel + Layout::codes_offset(k0);
      const std::byte* record = panel + Layout::record_offset(k0);
      const std::size_t b = (k0 - k_begin) / code_block;
      fetch_to_unpack<F>(panel, k0);
      STILLA_UNROLL
      for (std::size_t q = 0; q < 8; ++q) {
        for (std::size_t v = 0; v < row_vectors; ++v) {
          store(out.operands[b][q][p] + v * vector_bytes, load_operand<F>(codes, q / halves, q % halves == 1, v));
        }
      }
      for (std::size_t g = 0; g < groups_per_block<F>; ++g) {
        for (std::size_t v = 0; v < row_vectors; ++v) {
          Float scale = load_scale<F>(record, k0, g, v);
          if constexpr (RowScaledFormat<F>) {
            is_exact = is_exact && row_scales_are_exact(scale);
          } else {
            poison = fused_multiply_add(scale, zero(), poison);
            if (any_zero(scale)) {  // weights that are 0 are so with any scale
              for (std::size_t q = g * fours_per_group; q < (g + 1) * fours_per_group; ++q) {
                std::uint8_t* operands = out.operands[b][q][p] + v * vector_bytes;
                store(operands, where_zero(scale, set_u8(operand_zero<F>), load(operands)));
              }
              scale = as_floats(where_zero(scale, set_s32(bits_of_one), as_bits(scale)));
            }
          }
          store(out.scales[b][g][p] + v * lanes, sub_s32(as_bits(scale), set_s32(bits_of_one)));
          if constexpr (F::has_minimum) store_floats(out.minimums[b][g][p] + v * lanes, load_minimum<F>(record, k0, g, v));
        }
      }
    }
  }
  return is_exact && !any_nan(poison);
}

// What a sweep takes at once: 64 or 128 KB of operands and an eighth to a half of that in scales, in L2 and on the stack. The more
// k, the fewer tiles begin and end: 128 KB took 5 % less time than 64 KB, and 512 KB only 2 % less than that.
inline constexpr std::size_t sweep_panels = lanes == 16 ? 3 : 1;
inline constexpr std::size_t most_chunk_k = (small_stacks ? 4096 : 8192) / sweep_panels / code_block * code_block;
inline constexpr std::size_t sweep_vectors = sweep_panels * row_vectors;
template <class F>
using SweepOperands = Unpacked<F, sweep_panels, most_chunk_k>;

// Adds one plane's products of group g of a block: MT tokens, whose values are `stride` apart.
template <class F, std::size_t MT>
STILLA_INLINE void sweep_group(Int (&dot)[MT][sweep_vectors], const std::uint8_t* block, std::size_t g, const std::int8_t* x,
                               std::size_t stride) {
  STILLA_UNROLL
  for (std::size_t q = 0; q < 8 / groups_per_block<F>; ++q) {
    const std::size_t four = g * (8 / groups_per_block<F>) + q;
    const std::uint8_t* operands = block + four * sweep_panels * 64;
    Int codes[sweep_vectors];
    STILLA_UNROLL
    for (std::size_t v = 0; v < sweep_vectors; ++v) codes[v] = load(operands + v * vector_bytes);
    STILLA_UNROLL
    for (std::size_t m = 0; m < MT; ++m) {
      const Int four_x = broadcast4(x + m * stride + four * 4);
      STILLA_UNROLL
      for (std::size_t v = 0; v < sweep_vectors; ++v) dot[m][v] = dot_codes<F>(dot[m][v], codes[v], four_x);
    }
  }
}

// Whether `count` scales of a token are numbers.
STILLA_INLINE bool all_numbers(const float* scales, std::size_t count) {
  Float sum = zero();
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) sum = add(sum, load_floats(scales + i));
  float rest = 0.0f;
  for (; i < count; ++i) rest += scales[i];
  return rest == rest && !any_nan(sum);
}

// `sweep_panels` panels x MT tokens over one chunk of k. With 16 bits the planes take turns in the same accumulators: twice as
// many would not fit the registers. The sums come from y and go back to y.
template <class F, std::size_t MT, std::size_t Planes>
STILLA_NOINLINE void sweep_tile(const SweepOperands<F>& w, const MatmulArgs<F>& a, std::size_t p0, std::size_t m0,
                                std::size_t k_begin, std::size_t k_end) {
  constexpr std::size_t vectors = sweep_vectors;
  Float acc[MT][vectors];
  STILLA_UNROLL
  for (std::size_t m = 0; m < MT; ++m) {
    const float* y = a.y.row(m0 + m) + p0 * panel_rows;
    STILLA_UNROLL
    for (std::size_t v = 0; v < vectors; ++v) acc[m][v] = k_begin == 0 ? zero() : load_floats(y + v * lanes);
  }
  if (m0 + 2 * MT <= a.x.rows) {  // what the next tile writes, for y is larger than the caches: 2 to 4 % less time
    for (std::size_t m = 0; m < MT; ++m) {
      const char* y = reinterpret_cast<const char*>(a.y.row(m0 + MT + m) + p0 * panel_rows);
      STILLA_UNROLL
      for (std::size_t v = 0; v < vectors; ++v) _mm_prefetch(y + v * vector_bytes, _MM_HINT_T0);
    }
  }
  // Pointers that move on. With an index into each array GCC ran out of registers for their addresses, and the loads waited.
  const std::size_t row = a.K, scales_row = a.x.blocks(), first_block = k_begin / activation_block;
  const std::int8_t* x = a.x.row_values(m0) + k_begin;
  const std::int8_t* low = Planes == 2 ? a.x.row_low(m0) + k_begin : nullptr;
  const float* scales = a.x.row_scales(m0) + first_block;
  const float* scaled_sums = a.x.row_scaled_sums(m0) + first_block;
  const std::int32_t* sums = a.x.row_sums(m0) + 2 * first_block;
  auto operands = w.operands;
  auto w_scales = w.scales;
  auto minimums = w.minimums;
  for (const auto end = operands + (k_end - k_begin) / code_block; operands != end; ++operands, ++w_scales) {
    STILLA_UNROLL
    for (std::size_t g = 0; g < groups_per_block<F>; ++g) {
      const auto without_zero = [&](Int dots, std::size_t m) {
        if constexpr (operand_zero<F> == 0) return dots;
        return sub_s32(dots, zero_products<F>(sums + 2 * m * scales_row, g));
      };
      Int dot[MT][vectors];
      STILLA_UNROLL
      for (std::size_t m = 0; m < MT; ++m) {
        const Int start = Planes == 2 ? set_s32(0) : without_zero(set_s32(0), m);
        STILLA_UNROLL
        for (std::size_t v = 0; v < vectors; ++v) dot[m][v] = start;
      }
      sweep_group<F, MT>(dot, (*operands)[0][0], g, x, row);
      if constexpr (Planes == 2) {
        STILLA_UNROLL
        for (std::size_t m = 0; m < MT; ++m) {
          STILLA_UNROLL
          for (std::size_t v = 0; v < vectors; ++v) dot[m][v] = without_zero(shift_left_s32<8>(dot[m][v]), m);
        }
        sweep_group<F, MT>(dot, (*operands)[0][0], g, low, row);
      }
      STILLA_UNROLL
      for (std::size_t m = 0; m < MT; ++m) {
        const Int exponent_x = keep(as_bits(set(scales[m * scales_row])));  // GCC would broadcast it for every vector again: 3 % of Q4_0's time
        STILLA_UNROLL
        for (std::size_t v = 0; v < vectors; ++v) {
          const Float scale = as_floats(add_s32(load((*w_scales)[g][v / row_vectors] + v % row_vectors * lanes), exponent_x));
          acc[m][v] = fused_multiply_add(scale, to_floats(dot[m][v]), acc[m][v]);
          if constexpr (F::has_minimum) {
            const Float minimum = load_floats((*minimums)[g][v / row_vectors] + v % row_vectors * lanes);
            acc[m][v] = fused_multiply_add(minimum, set(scaled_sums[m * scales_row]), acc[m][v]);
          }
        }
      }
    }
    x += code_block;
    if constexpr (Planes == 2) low += code_block;
    ++scales;
    ++scaled_sums;
    sums += 2;
    if constexpr (F::has_minimum) ++minimums;
  }
  const bool is_last = k_end == a.K;
  STILLA_UNROLL
  for (std::size_t m = 0; m < MT; ++m) {
    float* y = a.y.row(m0 + m) + p0 * panel_rows;
    const float* of_chunk = a.x.row_scales(m0 + m) + first_block;
    const bool is_number = all_numbers(of_chunk, (k_end - k_begin) / activation_block);
    STILLA_UNROLL
    for (std::size_t v = 0; v < vectors; ++v) {
      Float sum = is_number ? acc[m][v] : set(std::numeric_limits<float>::quiet_NaN());
      if (is_last && a.bias != nullptr) sum = add(sum, load_floats(a.bias + p0 * panel_rows + v * lanes));
      store_floats(y + v * lanes, sum);
    }
  }
}

// Tokens of a sweep tile. 512 bits: 4 x 3 vectors are 12 products and 12 sums, with 3 operands and 1 broadcast 28 of the 32
// registers; 6 x 2 took 1.06 of its time with GCC 12 and 1.2 with clang 19, 4 x 4 with the sums in memory 1.05. 256 bits:
// 6 x 2 vectors, with 2 operands and 1 broadcast 15 of the 16 registers of AVX2; the sums are in memory.
inline constexpr std::size_t sweep_tokens = lanes == 16 ? 4 : 6;
inline constexpr std::size_t fewest_to_sweep = 16;

// False, and the panels are still to do, where a scale is no number.
template <class F, std::size_t Planes>
STILLA_NOINLINE bool panels_many(const MatmulArgs<F>& a, std::size_t p0) {
  SweepOperands<F> unpacked;
  const std::size_t blocks = a.K / code_block, chunks = (a.K + most_chunk_k - 1) / most_chunk_k;
  const std::size_t chunk_k = (blocks + chunks - 1) / chunks * code_block;  // alike, the last a bit less
  for (std::size_t k_begin = 0; k_begin < a.K; k_begin += chunk_k) {
    const std::size_t k_end = a.K - k_begin < chunk_k ? a.K : k_begin + chunk_k;
    if (!unpack_panels<F>(unpacked, a, p0, k_begin, k_end)) return false;
    std::size_t m = 0;
    for (; m + sweep_tokens <= a.x.rows; m += sweep_tokens) {
      sweep_tile<F, sweep_tokens, Planes>(unpacked, a, p0, m, k_begin, k_end);
    }
    for (; m < a.x.rows; ++m) sweep_tile<F, 1, Planes>(unpacked, a, p0, m, k_begin, k_end);
  }
  return true;
}

// One panel, tokens from m on.
template <class F, std::size_t Planes>
STILLA_INLINE void panels_left(const MatmulArgs<F>& a, std::size_t p, std::size_t m) {
  if constexpr (lanes == 16) {
    for (; m + 4 <= a.x.rows; m += 4) panels_few<F, 4, Planes, 1>(a, p, m);
  }
  for (; m + 2 <= a.x.rows; m += 2) panels_few<F, 2, Planes, 1>(a, p, m);
  if (m < a.x.rows) panels_few<F, 1, Planes, 1>(a, p, m);
}

template <class F, std::size_t Planes>
STILLA_NOINLINE void matmul_planes(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
  std::size_t p = first;
  if (a.x.rows >= fewest_to_sweep && a.K != 0) {
    // Only panels with 16 rows: the last one of the matrix may have fewer. If they are no multiple, the last ones go with some
    // that are done already.
    const std::size_t full = a.N / panel_rows < last ? a.N / panel_rows : last;
    while (p < full && full - first >= sweep_panels) {
      const std::size_t at = full - p < sweep_panels ? full - sweep_panels : p;
      if (!panels_many<F, Planes>(a, at)) {
        for (std::size_t i = at; i < at + sweep_panels; ++i) panels_left<F, Planes>(a, i, 0);
      }
      p = at + sweep_panels;
    }
  }
  if constexpr (lanes == 16 && Planes == 1) {
    // Two panels share what is loaded of a token, and memory sends two streams: 4 tokens in 0.77 to 0.91 of the time of one panel
    // after the other (Q4_0, Granite Rapids), 2 in 0.92 to 1.
    for (; a.x.rows >= 2 && p + 2 <= last; p += 2) {
      std::size_t m = 0;
      for (; m + 8 <= a.x.rows; m += 8) panels_few<F, 8, Planes, 2>(a, p, m);
      for (; m + 4 <= a.x.rows; m += 4) panels_few<F, 4, Planes, 2>(a, p, m);
      for (; m + 2 <= a.x.rows; m += 2) panels_few<F, 2, Planes, 2>(a, p, m);
      panels_left<F, Planes>(a, p, m);
      panels_left<F, Planes>(a, p + 1, m);
    }
  }
  for (; p < last; ++p) panels_left<F, Planes>(a, p, 0);
}

template <class F>
STILLA_NOINLINE void matmul_panels(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
  if (a.x.low == nullptr) {
    matmul_planes<F, 1>(a, first, last);
  } else {
    matmul_planes<F, 2>(a, first, last);
  }
}
