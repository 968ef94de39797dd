// SPDX-License-Identifier: Apache-2.0
//
// Part of panel_tile-inl.hpp: the kernel for many tokens, a sweep.
//
// The codes of a set of panels are unpacked to bytes once, for up to Budget::chunk_k of their k. Then all tokens sweep over these
// bytes in tiles of some rows and some tokens. A tile's sums are in registers. Between chunks of k the running sums are stored in
// y as floats, so the chunks cause no additional rounding.
//
//     Budget::set_panels      panels that are unpacked together: a set
//     Budget::sweep_rows      rows of the set in a tile: a divisor of 16 * set_panels and a multiple of the vector's lanes. The
//                             rows of a set lie side by side, so a tile need not end where a panel does
//     Budget::sweep_tokens(planes)    tokens in a tile, for activations of one plane (8 bits) or two (16 bits). Some tiles have one
//                             token less (TokenTiles)
//
// A token's scale is a power of two, 2^-74 to 2^54. With activations of 8 bits, the sum of a group's products therefore does not
// start from 0 but from the bit pattern of the float 1.5 * 2^23 * scale. One unit in the last place of that float is `scale`, and
// a sum of products is below 2^22, so:
//
//     as_float(bits(1.5 * 2^23 * scale_x) + dot) - 1.5 * 2^23 * scale_x  =  scale_x * dot         exact
//     acc  =  fma(scale_w * scale_x, dot, acc)  =  fma(scale_w, scale_x * dot, acc)               both products are exact
//
// (scale_x is the token's scale, scale_w the group's, dot the sum of their products, acc the running sum.) So the float step of a group
// takes two operations, without a conversion to float and without a product of two scales. The integer that a sum starts from also makes
// up for the zero point that is added to the codes. When the float step added the scales' exponents, converted the sum and added the
// product up, a prompt of 512 tokens in Q4_0 took 13 % (AVX-512-VNNI) to 16 % (AVX-VNNI) longer (Granite Rapids).

#include <stilla/base/push_macros-inl.hpp>

// How many bytes of packed codes a tile prefetches into L2 while it multiplies a block of 32 k. They are codes of the set that is unpacked
// after the tiles of this set are done. Unpacking reads codes faster than memory delivers them: without this prefetching, products with 8
// to 32 tokens took 6 to 20 % longer (AVX2, Q4_0, Q4_K, Q6_K and Q8_0, one thread, Zen 3; not measured on other targets). On AVX2 a set is
// one panel, and 8 tokens are two tiles of 4, which together prefetch 71 % (Q5_K) to all (Q3_K, Q6_K) of the next set's codes.
template <class F>
inline constexpr std::size_t ahead_bytes = PanelLayout<F>::span_bytes * code_block / PanelLayout<F>::span_k < 384 ? 128 : 256;

// The number of bits of an operand for which a tile's functions are compiled. Without narrow sums only the operands' sign matters: 8 stands
// for signed bytes, 7 for unsigned ones. With narrow sums it is the number of bits of the format's codes, which decides how many products
// fit 16 bits. Codes of 2 and 3 bits then count as 4 bits: with 4 bits, all products of a block fit 16 bits already.
template <class F>
inline constexpr int operand_bits = !has_narrow_sums<F> ? (stays_signed<F> ? 8 : 7)
                                    : F::code_bits < 4  ? 4
                                                        : F::code_bits;

// The form of unpacked weights is all that a tile has to know about them. Tiles are compiled for a form and not for a format, so formats
// of one form share their tiles: for example Q4_0, Q5_0, IQ4_XS, IQ3_S and ST4 with AVX-512-VNNI. This struct has those members of a
// format that unpacked weights still have.
template <std::size_t GroupWeights, bool HasMinimum, bool HasSubMinimums, bool HasZero, int Bits, std::size_t AheadBytes>
struct SweepForm {
  static constexpr std::size_t group_weights = GroupWeights;
  static constexpr bool has_minimum = HasMinimum, has_sub_scales = HasSubMinimums;
  static constexpr bool has_zero = HasZero;  // whether the operands have a zero point
  static constexpr bool is_codebook = false;
  static constexpr int code_bits = Bits;
  static constexpr std::size_t ahead = AheadBytes;
};
template <class F>
using SweepFormOf =
    SweepForm<F::group_weights, F::has_minimum, F::has_minimum && F::has_sub_scales, operand_zero<F> != 0, operand_bits<F>, ahead_bytes<F>>;

// Room for a set of panels, unpacked as a sweep reads them: up to ChunkK weights of each row, with their scales and minimums. F is the
// form of the weights.
template <class F, std::size_t Panels, std::size_t ChunkK>
struct Unpacked {
  static constexpr std::size_t blocks = ChunkK / code_block;
  static constexpr std::size_t eights = has_sub_minimums<F> ? blocks / RoundedSums::blocks : 1;
  alignas(64) std::uint8_t operands[blocks][8][Panels][64];  // [block][four k][panel][row * 4 + k]
  alignas(64) float scales[blocks][groups_per_block<F>][Panels][panel_rows];
  // The minimums of each row. They are stored in one of three ways:
  //   - In formats without sub-minimums there is one minimum for each 32 k.
  //   - In formats with sub-minimums for groups of 16 (has_nibble_minimums) there is one number for each group: the block's minimum
  //     times the group's sub-minimum.
  //   - In formats with sub-minimums for groups of 32 (has_sub_minimums) there is one minimum for each 256 k. It is stored as its bit
  //     pattern minus the bit pattern of 1.0f. If this integer is added to the bit pattern of a power of two, the result is the bit
  //     pattern of the minimum times this power. This does not work for a minimum of 0. So a minimum of 0 is stored as if it were 1,
  //     and its sub-minimums are stored as 0.
  static constexpr std::size_t minimums_per_block = has_nibble_minimums<F> ? groups_per_block<F> : 1;
  alignas(64) float minimums[!F::has_minimum ? 1 : has_sub_minimums<F> ? eights : blocks * minimums_per_block][Panels][panel_rows];
  alignas(64) std::int16_t sub_minimums[eights][sum_pairs][Panels][2 * panel_rows];  // [256 k][pair][panel][row * 2 + group of the pair]
};

inline constexpr std::int32_t bits_of_one = std::bit_cast<std::int32_t>(1.0f);

// unpack_panels prefetches codes so many bytes ahead of their use. Without prefetching, unpacking takes 6 % (clang 19) or 1 to 2 % (GCC
// 12) longer. Distances of 2, 4 and 8 KB are equally good.
inline constexpr std::size_t unpack_ahead = 4096;
template <class F>
STILLA_INLINE void fetch_to_unpack(const std::byte* panel, std::size_t k0) {
  constexpr std::size_t block_bytes = PanelLayout<F>::span_bytes * code_block / PanelLayout<F>::span_k;
  const char* ahead = reinterpret_cast<const char*>(panel) + k0 / code_block * block_bytes + unpack_ahead;
  STILLA_UNROLL
  for (std::size_t line = 0; line < block_bytes; line += 64) prefetch_near(ahead + line);
}

// Whether each lane of `scale`, the float scale of a row, times the scale of any token (2^-74 to 2^54) is a normal number. If so, the
// product is exact, because a token's scale is a power of two.
STILLA_INLINE bool row_scales_are_exact(Float scale) {
  return !any_zero(mul(scale, set(0x1p-98f))) /* 0 for scales up to 2^-52 */ && !any_nan(mul(mul(scale, set(0x1p54f)), zero()));
}

// exponents_of() returns the bit pattern of a factor minus the bit pattern of 1.0f. Adding this difference to the bit pattern of a power
// of two multiplies the power by the factor. This does not work for a factor of 0, so ones_for_zeros() replaces such a factor by 1. The
// caller does this only where the other factor of the product is 0 too, so that the product is still 0.
STILLA_INLINE Float ones_for_zeros(Float factor) { return as_floats(where_zero(factor, set_s32(bits_of_one), as_bits(factor))); }
STILLA_INLINE Int exponents_of(Float factor) { return sub_s32(as_bits(factor), set_s32(bits_of_one)); }

// Unpacks a set of panels for the k from k_begin to k_end - 1. Returns false if the sweep's results would not be those that the contract
// fixes: if the product of a row's scale and a token's scale would be rounded, or if a minimum that the sweep multiplies by adding bit
// patterns (exponents_of) is infinite or NaN, because the addition does not multiply then. The caller then uses kernels for few tokens.
template <class F, std::size_t Panels, std::size_t ChunkK>
STILLA_NOINLINE bool unpack_panels(Unpacked<SweepFormOf<F>, Panels, ChunkK>& out, const MatmulArgs<F>& a, std::size_t p0,
                                   std::size_t k_begin, std::size_t k_end) {
  using Layout = PanelLayout<F>;
  constexpr std::size_t halves = F::code_bits == 8 ? 1 : 2;
  const Int levels = operand_levels(a);
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
          store(out.operands[b][q][p] + v * vector_bytes, load_operand<F>(codes, q / halves, q % halves == 1, v, levels));
        }
      }
      for (std::size_t g = 0; g < groups_per_block<F>; ++g) {
        for (std::size_t v = 0; v < row_vectors; ++v) {
          const Float scale = load_scale<F>(panel, record, k0, g, v);
          if constexpr (RowScaledFormat<F>) is_exact = is_exact && row_scales_are_exact(scale);
          store_floats(out.scales[b][g][p] + v * lanes, scale);
        }
      }
      if constexpr (has_sub_minimums<F>) {
        if (k0 % sums_block != 0) continue;
        const std::size_t s = b / RoundedSums::blocks;
        for (std::size_t v = 0; v < row_vectors; ++v) {
          Float minimum = load_minimum(record, v);
          for (std::size_t i = 0; i < sum_pairs; ++i) {
            const Int pairs = load_sub_minimums<F>(record, i, v);
            store(out.sub_minimums[s][i][p] + 2 * v * lanes, where_zero(minimum, set_s32(0), pairs));
          }
          poison = fused_multiply_add(minimum, zero(), poison);
          minimum = ones_for_zeros(minimum);
          store_floats(out.minimums[s][p] + v * lanes, as_floats(exponents_of(minimum)));
        }
      } else if constexpr (F::has_minimum) {
        constexpr std::size_t count = Unpacked<SweepFormOf<F>, Panels, ChunkK>::minimums_per_block;
        for (std::size_t g = 0; g < count; ++g) {
          for (std::size_t v = 0; v < row_vectors; ++v) {
            store_floats(out.minimums[b * count + g][p] + v * lanes, times_group_minimum<F>(load_minimum(record, v), record, k0, g, v));
          }
        }
      }
    }
  }
  return is_exact && !any_nan(poison);
}

inline constexpr std::size_t set_rows = Budget::set_panels * panel_rows;
inline constexpr std::size_t sweep_rows = Budget::sweep_rows, sweep_vectors = sweep_rows / lanes;
template <std::size_t Planes>
inline constexpr std::size_t sweep_tokens = Budget::sweep_tokens(Planes);
static_assert(set_rows % sweep_rows == 0 && sweep_rows % lanes == 0, "a tile takes whole vectors, and a set has whole tiles");
template <class F>
using SweepOperands = Unpacked<F, Budget::set_panels, Budget::chunk_k>;

// What a tile reads and writes beside weights. The members have the meaning that they have in MatmulArgs. Tiles do not take a MatmulArgs,
// because its type depends on the format, and tiles depend only on the form of the weights.
struct SweepArgs {
  std::size_t K;
  const ActivationQ8& x;
  Matrix y;
  const float* bias;
};

// Multiplies the rows and tokens of a tile over the k of one group, and adds the products to `dot`, the sums of the tile. The group is
// number g of a block, and `block` points to the block's operands. x points to the values of the first of MT tokens, in one plane; those
// of the next token are `stride` bytes further. With narrow sums, if `Starts` is set, the products become the first values of `dot`.
template <class F, std::size_t MT, bool Starts>
STILLA_INLINE void sweep_group(Int (&dot)[MT][sweep_vectors], const std::uint8_t* block, std::size_t g, const std::int8_t* x,
                               std::size_t stride) {
  constexpr std::size_t n_quads = 8 / groups_per_block<F>;
  Quads held[MT];
  [[maybe_unused]] Int narrow[MT][sweep_vectors];
  STILLA_UNROLL
  for (std::size_t q = 0; q < n_quads; ++q) {
    const std::size_t four = g * n_quads + q;
    const std::uint8_t* operands = block + four * set_rows * 4;
    Int codes[sweep_vectors];
    STILLA_UNROLL
    for (std::size_t v = 0; v < sweep_vectors; ++v) codes[v] = load(operands + v * vector_bytes);
    STILLA_UNROLL
    for (std::size_t m = 0; m < MT; ++m) {
      loads_stay();
      const auto four_x = quad(held[m], x + m * stride + four * 4, q % 4);
      STILLA_UNROLL
      for (std::size_t v = 0; v < sweep_vectors; ++v) {
        if constexpr (has_narrow_sums<F>) {
          add_narrow<F>(dot[m][v], narrow[m][v], codes[v], four_x, q, n_quads, Starts);
        } else {
          dot[m][v] = dot_codes<F>(dot[m][v], codes[v], four_x);
        }
      }
    }
    STILLA_UNROLL
    for (std::size_t m = 0; m < MT; ++m) sums_stay(dot[m]);
  }
}

// Adds to the sums of a tile what minimums and sub-minimums contribute over 256 k, which are eight groups. `rounded` points to the
// rounded sums of the first of MT tokens; those of the next token are `stride` elements behind.
template <class F, std::size_t MT>
STILLA_INLINE void add_minimums(Float (&acc)[MT][sweep_vectors], const float* minimums, const std::int16_t* sub_minimums,
                                const RoundedSums* rounded, std::size_t stride) {
  constexpr std::size_t at_once = Budget::minimum_vectors < sweep_vectors ? Budget::minimum_vectors : sweep_vectors;
  static_assert(sweep_vectors % at_once == 0);
  STILLA_UNROLL
  for (std::size_t first = 0; first < sweep_vectors; first += at_once) {
    PairSums dot[MT][at_once];
    STILLA_UNROLL
    for (std::size_t m = 0; m < MT; ++m) {
      STILLA_UNROLL
      for (std::size_t v = 0; v < at_once; ++v) dot[m][v] = no_pairs();
    }
    STILLA_UNROLL
    for (std::size_t i = 0; i < sum_pairs; ++i) {
      STILLA_UNROLL
      for (std::size_t m = 0; m < MT; ++m) {
        const Int pair = broadcast4(rounded[m * stride].sums + 2 * i);
        STILLA_UNROLL
        for (std::size_t v = 0; v < at_once; ++v) {
          dot[m][v] = dot_pairs(dot[m][v], load(sub_minimums + i * 2 * set_rows + (first + v) * 2 * lanes), pair);
        }
      }
    }
    STILLA_UNROLL
    for (std::size_t m = 0; m < MT; ++m) {
      const Int exponent = keep(as_bits(set(rounded[m * stride].scale)));
      STILLA_UNROLL
      for (std::size_t v = 0; v < at_once; ++v) {
        const Float minimum = as_floats(add_s32(load(minimums + (first + v) * lanes), exponent));
        acc[m][first + v] = fused_multiply_add(minimum, to_floats(added(dot[m][v])), acc[m][first + v]);
      }
    }
  }
}

// Holds the numbers that a tile needs of its tokens (at most MT) beside their values, for one chunk of k. They are computed from the
// scales of the tokens' blocks of activations and from the sums of these blocks, before the tile's products and for a vector of blocks at
// a time. When they were computed block by block, between the dot products, this computation took 8 % of the time of the products (Q4_0,
// AVX-VNNI, Granite Rapids).
template <class F, std::size_t MT>
struct TokenBlocks {
  static constexpr std::size_t most = Budget::chunk_k / code_block;
  // The indices are [group][token][block]. Each number is stored as `copies` copies (vocabulary-inl.hpp). With activations of 8 bits,
  // `scales` are the origins: 1.5 * 2^23 times the scale of a token's block. If the scale is NaN, the origin is NaN too, and so is every
  // result from which it is subtracted. `starts` are the integers from which the sums of the groups' products start: the bit pattern of the
  // origin, less the number by which the sum is too large because a zero point is added to the codes. With 16 bits `scales` are the scales
  // themselves, and `starts` are the numbers by which the sums are too large; they are subtracted from the sums. Equal numbers have a place
  // each: the scales of two groups of one block, and a start that is the bit pattern of its origin. When two equal numbers had one place,
  // GCC kept the number in a register and spilled products instead (AVX-VNNI: Q4_K took 40 % longer, Q6_K 30 %).
  float scales[groups_per_block<F>][MT][most * copies];
  std::int32_t starts[groups_per_block<F>][MT][most * copies];
  // The numbers by which minimums are multiplied, in formats in which groups of 16 weights have minimums. Each is the sum of a group's
  // activations (integers) times the scale of these activations, exact.
  static constexpr std::size_t max_sums = has_nibble_minimums<F> ? most : 1;
  float group_sums[groups_per_block<F>][MT][max_sums];
};

// Computes the numbers of TokenBlocks for the `tokens` tokens from m0 on and for the `blocks` blocks from `first_block` on. If the form
// has a zero point, it is 2^zero_shift.
template <class F, std::size_t Planes>
STILLA_NOINLINE void read_blocks(TokenBlocks<F, sweep_tokens<Planes>>& out, const ActivationQ8& x, std::size_t m0, std::size_t tokens,
                                 std::size_t first_block, std::size_t blocks, int zero_shift) {
  constexpr float factor = Planes == 1 ? 0x1.8p23f : 1.0f;
  constexpr bool one_group = groups_per_block<F> == 1;
  const float* scales = x.row_scales(m0) + first_block;
  const std::int32_t* sums = x.row_sums(m0) + 2 * first_block;
  for (std::size_t m = 0; m < tokens; ++m, scales += x.blocks(), sums += 2 * x.blocks()) {
    std::size_t b = 0;
    for (; b + lanes <= blocks; b += lanes) {
      const Float scale = mul(load_floats(scales + b), set(factor));
      const Int first = first_of_pairs(sums + 2 * b), all = second_of_pairs(sums + 2 * b);
      const Int of_groups[] = {one_group ? all : first, sub_s32(all, first)};
      for (std::size_t g = 0; g < groups_per_block<F>; ++g) {
        const Int zeros = F::has_zero ? shift_left_s32(of_groups[g], zero_shift) : set_s32(0);
        store_copies(out.scales[g][m] + b * copies, scale);
        store_copies(out.starts[g][m] + b * copies, Planes == 1 ? sub_s32(as_bits(scale), zeros) : zeros);
        if constexpr (has_nibble_minimums<F>) {
          store_floats(out.group_sums[g][m] + b, mul(load_floats(scales + b), to_floats(of_groups[g])));
        }
      }
    }
    for (; b < blocks; ++b) {
      const float scale = scales[b] * factor;
      // The sums and the starts are computed as unsigned integers, because the scale may be NaN: subtracting from the bit pattern of a NaN
      // could overflow a signed integer.
      const auto first = static_cast<std::uint32_t>(sums[2 * b]), all = static_cast<std::uint32_t>(sums[2 * b + 1]);
      const std::uint32_t of_groups[] = {one_group ? all : first, all - first};
      for (std::size_t g = 0; g < groups_per_block<F>; ++g) {
        const std::uint32_t zeros = F::has_zero ? of_groups[g] << zero_shift : 0;
        const auto start = static_cast<std::int32_t>(Planes == 1 ? std::bit_cast<std::uint32_t>(scale) - zeros : zeros);
        if constexpr (has_nibble_minimums<F>) {
          out.group_sums[g][m][b] = scales[b] * static_cast<float>(static_cast<std::int32_t>(of_groups[g]));
        }
        if constexpr (copies == 1) {
          out.scales[g][m][b] = scale;
          out.starts[g][m][b] = start;
        } else {
          store_floats(out.scales[g][m] + b * copies, set(scale));
          store(out.starts[g][m] + b * copies, set_s32(start));
        }
      }
    }
  }
}

// Loads the running sums of a tile from y: of MT tokens from m0 on, and of `sweep_rows` rows from n0 on. Before the first chunk of k
// they are zero.
template <std::size_t MT>
STILLA_INLINE void load_tile(Float (&acc)[MT][sweep_vectors], const SweepArgs& a, std::size_t m0, std::size_t n0, std::size_t k_begin) {
  STILLA_UNROLL
  for (std::size_t m = 0; m < MT; ++m) {
    const float* y = a.y.row(m0 + m) + n0;
    STILLA_UNROLL
    for (std::size_t v = 0; v < sweep_vectors; ++v) acc[m][v] = k_begin == 0 ? zero() : load_floats(y + v * lanes);
  }
}

// Prefetches the results in y that the next tile will read and write. The next tile has the same rows and up to MT tokens. Prefetching
// saves 2 to 4 % of the time, because y is larger than the caches.
template <std::size_t MT>
STILLA_INLINE void prefetch_next_tile(const SweepArgs& a, std::size_t m0, std::size_t n0) {
  for (std::size_t m = m0 + MT; m < m0 + 2 * MT && m < a.x.rows; ++m) {
    const char* y = reinterpret_cast<const char*>(a.y.row(m) + n0);
    STILLA_UNROLL
    for (std::size_t v = 0; v < sweep_vectors; ++v) prefetch_near(y + v * vector_bytes);
  }
}

// Stores the running sums of a tile to y. After the last chunk of k they are the results, to which the bias is added.
template <std::size_t MT>
STILLA_INLINE void store_tile(const Float (&acc)[MT][sweep_vectors], const SweepArgs& a, std::size_t m0, std::size_t n0,
                              std::size_t k_end) {
  const bool is_last = k_end == a.K;
  STILLA_UNROLL
  for (std::size_t m = 0; m < MT; ++m) {
    float* y = a.y.row(m0 + m) + n0;
    STILLA_UNROLL
    for (std::size_t v = 0; v < sweep_vectors; ++v) {
      const Float sum = acc[m][v];
      const bool has_bias = is_last && a.bias != nullptr;
      store_floats(y + v * lanes, has_bias ? add(sum, load_floats(a.bias + n0 + v * lanes)) : sum);
    }
  }
}

// Tells what a tile prefetches into L2 while it multiplies a block of 32 k: the `ahead_bytes` bytes at `at`. From block to block `at`
// moves on by `step` bytes. With a step of 0 the same cache lines are asked for again and again, which costs little.
struct Ahead {
  const char* at;
  std::size_t step;
};
// Returns a pointer to the first number of an array of arrays. A tile may have rows of several panels, so it moves this pointer from one
// inner array to the next. A compiler could assume that a pointer made from an inner array stays in it; this one is made from the whole
// array.
template <class Array>
STILLA_INLINE const std::remove_all_extents_t<Array>* flat(const Array& array) {
  return reinterpret_cast<const std::remove_all_extents_t<Array>*>(&array);
}

// Computes a tile over one chunk of k: `sweep_rows` rows of the set of panels from p0 on, times MT tokens from m0 on. `set_row` is the
// tile's first row in the set. The running sums are loaded from y and stored to y. With activations of 16 bits the two planes use the same
// accumulators one after the other, because twice as many would not fit the registers. `tokens` has the numbers that were computed from
// the tokens' scales and sums, with room for the tokens of a whole tile. `ahead` says what to prefetch. F is the form of the weights. This
// function has more than 80 lines because a function for one block would have the accumulators and all moving pointers as arguments.
template <class F, std::size_t MT, std::size_t Planes>
STILLA_NOINLINE void sweep_tile(const SweepOperands<F>& w, const TokenBlocks<F, sweep_tokens<Planes>>& tokens, const SweepArgs& a,
                                std::size_t p0, std::size_t m0, std::size_t k_begin, std::size_t k_end,
                                [[maybe_unused]] std::size_t set_row, Ahead ahead) {
  using Blocks = TokenBlocks<F, sweep_tokens<Planes>>;
  const std::size_t r0 = set_rows == sweep_rows ? 0 : set_row, n0 = p0 * panel_rows + r0;
  constexpr std::size_t vectors = sweep_vectors;
  Float acc[MT][vectors];
  load_tile<MT>(acc, a, m0, n0, k_begin);
  prefetch_next_tile<MT>(a, m0, n0);
  // Each of these pointers (to activations, scales, sums and unpacked weights) moves on from block to block. With an index into each
  // array instead, GCC ran out of registers for the arrays' addresses, and the loads waited.
  const std::size_t row = a.K, scales_row = a.x.blocks(), first_block = k_begin / activation_block;
  const float* scales = tokens.scales[0][0];
  const std::int32_t* starts = tokens.starts[0][0];
  const float* group_sums = tokens.group_sums[0][0];
  constexpr std::size_t most = Blocks::most * copies;
  const std::int8_t* x = a.x.row_values(m0) + k_begin;
  const std::int8_t* low = Planes == 2 ? a.x.row_low(m0) + k_begin : nullptr;
  const float* scaled_sums = a.x.row_scaled_sums(m0) + first_block;
  auto operands = w.operands;
  auto w_scales = w.scales;
  auto minimums = w.minimums;
  const auto end = operands + (k_end - k_begin) / code_block;
  const RoundedSums* rounded = has_sub_minimums<F> ? a.x.row_rounded_sums(m0) + k_begin / sums_block : nullptr;
  auto sub_minimums = w.sub_minimums;
  while (operands != end) {
    const auto last = has_sub_minimums<F> ? operands + RoundedSums::blocks : end;
    for (; operands != last; ++operands, ++w_scales) {
      STILLA_UNROLL
      for (std::size_t line = 0; line < F::ahead; line += 64) prefetch_far(ahead.at + line);
      ahead.at += ahead.step;
      STILLA_UNROLL
      for (std::size_t g = 0; g < groups_per_block<F>; ++g) {
        loads_stay();
        Int dot[MT][vectors];
        if constexpr (!has_narrow_sums<F>) {
          STILLA_UNROLL
          for (std::size_t m = 0; m < MT; ++m) {
            Int start = set_s32(0);
            if constexpr (Planes == 1) start = keep(load_copies(starts + (g * sweep_tokens<Planes> + m) * most));
            STILLA_UNROLL
            for (std::size_t v = 0; v < vectors; ++v) {
              dot[m][v] = v == 0 || Planes == 2 || copies == 1 ? start : load_copies(starts + (g * sweep_tokens<Planes> + m) * most);
            }
          }
        }
        sweep_group<F, MT, true>(dot, flat(*operands) + 4 * r0, g, x, row);
        if constexpr (has_narrow_sums<F> && Planes == 1) {  // the starts are added here, when the narrow sums need no registers any more
          STILLA_UNROLL
          for (std::size_t m = 0; m < MT; ++m) {
            STILLA_UNROLL
            for (std::size_t v = 0; v < vectors; ++v)
              dot[m][v] = add_s32(dot[m][v], load_copies(starts + (g * sweep_tokens<Planes> + m) * most));
          }
        }
        if constexpr (Planes == 2) {
          STILLA_UNROLL
          for (std::size_t m = 0; m < MT; ++m) {
            loads_stay();
            Int zeros = set_s32(0);
            if constexpr (F::has_zero) zeros = load_copies(starts + (g * sweep_tokens<Planes> + m) * most);
            STILLA_UNROLL
            for (std::size_t v = 0; v < vectors; ++v) {
              dot[m][v] = shift_left_s32<8>(dot[m][v]);
              if constexpr (F::has_zero) dot[m][v] = sub_s32(dot[m][v], zeros);
            }
          }
          sweep_group<F, MT, false>(dot, flat(*operands) + 4 * r0, g, low, row);
        }
        STILLA_UNROLL
        for (std::size_t m = 0; m < MT; ++m) {
          // With activations of 16 bits, scale_x is the scale of the token's block. With 8 bits it is the origin of the block, which is
          // 1.5 * 2^23 times this scale (TokenBlocks). Without keep(), GCC would broadcast scale_x again for every vector of rows, which
          // took 3 % of Q4_0's time.
          const Float scale_x = as_floats(keep(load_copies(scales + (g * sweep_tokens<Planes> + m) * most)));
          STILLA_UNROLL
          for (std::size_t v = 0; v < vectors; ++v) {
            const Float scale = load_floats(flat((*w_scales)[g]) + r0 + v * lanes);
            const Float scaled = Planes == 2 ? mul(to_floats(dot[m][v]), scale_x) : sub(as_floats(dot[m][v]), scale_x);
            acc[m][v] = fused_multiply_add(scale, scaled, acc[m][v]);
            if constexpr (F::has_minimum && !has_sub_minimums<F>) {
              const Float minimum = load_floats(flat(minimums[has_nibble_minimums<F> ? g : 0]) + r0 + v * lanes);
              const float* sum =
                  has_nibble_minimums<F> ? group_sums + (g * sweep_tokens<Planes> + m) * Blocks::max_sums : scaled_sums + m * scales_row;
              acc[m][v] = fused_multiply_add(minimum, set(*sum), acc[m][v]);
            }
          }
          sums_stay(acc[m]);
        }
      }
      x += code_block;
      if constexpr (Planes == 2) low += code_block;
      scales += copies;
      starts += copies;
      ++scaled_sums;
      if constexpr (has_nibble_minimums<F>) ++group_sums;
      if constexpr (F::has_minimum && !has_sub_minimums<F>) minimums += SweepOperands<F>::minimums_per_block;
    }
    if constexpr (has_sub_minimums<F>) {
      add_minimums<F, MT>(acc, flat(*minimums++) + r0, flat(*sub_minimums++) + 2 * r0, rounded++, a.K / sums_block);
    }
  }
  store_tile<MT>(acc, a, m0, n0, k_end);
}

inline constexpr std::size_t fewest_to_sweep = Budget::fewest_to_sweep;

// Divides tokens into tiles: as few as possible, and none with less than MT - 1 tokens. The tiles with MT tokens come first. For example,
// with MT = 4, 14 tokens are tiles of 4, 4, 3 and 3. Every number of tokens from (MT - 1) * (MT - 2) on can be divided in this way. Before
// AVX2 had such tiles, it had tiles of 6 tokens, and the tokens that were left over were multiplied one at a time: 13 to 16 tokens took 10
// to 22 % longer than they take now (Q4_0, Zen 3).
template <std::size_t MT>
struct TokenTiles {
  std::size_t count, whole;  // of all tiles, and of those with MT tokens
  explicit TokenTiles(std::size_t tokens) {
    const std::size_t smaller = (MT - tokens % MT) % MT;
    count = (tokens + smaller) / MT;
    whole = count - smaller;
  }
  // The first token of a tile. The tile behind the last one begins behind the last token.
  std::size_t begin(std::size_t tile) const { return tile * MT - (tile < whole ? 0 : tile - whole); }
};

// How many tokens sweep over all unpacked sets before the next tokens begin, if all their tiles have the full number of tokens. Meanwhile
// the activations of these tokens stay in L2, and the numbers that tiles need of their scales and sums (TokenBlocks) are computed once for
// all sets. With 48 or 96 tokens instead of 24, products took the same time.
inline constexpr std::size_t tokens_at_once = 24;

template <std::size_t MT>
inline constexpr bool is_tile = MT >= 2 && MT <= tokens_at_once && fewest_to_sweep >= (MT - 1) * (MT - 2);
static_assert(is_tile<sweep_tokens<1>> && is_tile<sweep_tokens<2>>, "a sweep's tokens are divided into tiles (TokenTiles)");

// Says which codes are unpacked next, into the place of the set of panels that is multiplied now. If this set begins at panel p, they are
// the codes of the set that begins at panel p + `panels`, in `n_blocks` blocks of 32 k from k on.
struct NextCodes {
  std::size_t panels, k, n_blocks;
};

// Returns what one tile prefetches while it goes through `n_blocks` blocks: its share of the next codes, those of the set of panels from p
// on. The tiles of a set divide this work among themselves. `part` is the tile's number, counted from the last tile: codes that an early
// tile fetched might have left the caches before they are needed. If the tiles with low numbers fetch all codes already, a tile fetches
// nothing. Nothing is fetched behind the last panel of the matrix. The codes may be those of the next task: workers of a thread pool
// mostly go from task to task.
template <class F>
STILLA_INLINE Ahead part_to_prefetch(const MatmulArgs<F>& a, std::size_t p, const NextCodes& next, std::size_t n_blocks, std::size_t part) {
  using Layout = PanelLayout<F>;
  p += part % Budget::set_panels;
  const std::size_t offset = part / Budget::set_panels * n_blocks * ahead_bytes<F>;
  const bool is_any = p * panel_rows < a.N && offset < next.n_blocks * code_block * Layout::span_bytes / Layout::span_k;
  if (!is_any) return {reinterpret_cast<const char*>(a.panels), 0};
  return {reinterpret_cast<const char*>(a.panels) + p * Layout::panel_bytes(a.K) + Layout::codes_offset(next.k) + offset, ahead_bytes<F>};
}

// Multiplies the set of panels from p on, which is unpacked in `w`, by the tokens of the tiles from `first` to `last` - 1. `blocks` has
// the numbers of these tokens (TokenBlocks), for one tile after the other.
template <class F, std::size_t Planes>
STILLA_INLINE void sweep_set(const SweepOperands<SweepFormOf<F>>& w, const TokenBlocks<SweepFormOf<F>, sweep_tokens<Planes>>* blocks,
                             const MatmulArgs<F>& a, std::size_t p, TokenTiles<sweep_tokens<Planes>> tiles, std::size_t first,
                             std::size_t last, std::size_t k_begin, std::size_t k_end, const NextCodes& next) {
  constexpr std::size_t MT = sweep_tokens<Planes>;
  const SweepArgs args{a.K, a.x, a.y, a.bias};
  std::size_t part = (tiles.count - first) * (set_rows / sweep_rows);
  for (std::size_t r = 0; r < set_rows; r += sweep_rows) {
    for (std::size_t t = first; t < last; ++t) {
      const Ahead ahead = part_to_prefetch(a, p + next.panels, next, (k_end - k_begin) / code_block, --part);
      if (t < tiles.whole) {
        sweep_tile<SweepFormOf<F>, MT, Planes>(w, blocks[t - first], args, p, tiles.begin(t), k_begin, k_end, r, ahead);
      } else {
        sweep_tile<SweepFormOf<F>, MT - 1, Planes>(w, blocks[t - first], args, p, tiles.begin(t), k_begin, k_end, r, ahead);
      }
    }
  }
}

// Multiplies `sets` sets of panels, from panel p0 on, by all tokens. Returns false if unpack_panels finds that a sweep cannot give the
// contract's bits with the scales or minimums of a set. The caller then computes all these sets with the kernels for few tokens.
template <class F, std::size_t Planes>
STILLA_NOINLINE bool panels_many(const MatmulArgs<F>& a, std::size_t p0, std::size_t sets) {
  using Form = SweepFormOf<F>;
  SweepOperands<Form> unpacked[Budget::sets];
  constexpr std::size_t unit = has_sub_minimums<F> ? sums_block : code_block, max_k = Budget::chunk_k / unit * unit;
  const std::size_t units = a.K / unit, chunks = (a.K + max_k - 1) / max_k;
  const std::size_t chunk_k = (units + chunks - 1) / chunks * unit;  // equal chunks; the last one may be a bit smaller
  constexpr std::size_t MT = sweep_tokens<Planes>, tiles_at_once = tokens_at_once / MT;
  const TokenTiles<MT> tiles(a.x.rows);
  // Few tokens sweep over a set as soon as it is unpacked, and all sets are unpacked in the same place, which stays in the caches.
  // Meanwhile the next set's codes are fetched. With 8 to 24 tokens this takes 3 to 6 % less time than a place for each set (AVX2, Q4_0
  // and Q4_K, one thread, Zen 3; not measured on other targets). With a place for half or a quarter as many k, nothing was gained.
  const bool has_one_place = tiles.count <= tiles_at_once;
  for (std::size_t k_begin = 0; k_begin < a.K; k_begin += chunk_k) {
    const std::size_t k_end = a.K - k_begin < chunk_k ? a.K : k_begin + chunk_k;
    for (std::size_t i = 0; i < sets && !has_one_place; ++i) {
      if (!unpack_panels<F>(unpacked[i], a, p0 + i * Budget::set_panels, k_begin, k_end)) return false;
    }
    const std::size_t first_block = k_begin / activation_block, n_blocks = (k_end - k_begin) / activation_block;
    // `next` says which codes are unpacked after those that are multiplied now. With one place they are the next set's codes of the same
    // k. Otherwise they are the same panels' codes of the next k or, at the end of K, the first codes of the panels that follow.
    const bool is_last = k_end == a.K;
    const std::size_t next_k = is_last ? 0 : k_end, next_count = a.K - next_k < chunk_k ? a.K - next_k : chunk_k;
    NextCodes next{is_last ? sets * Budget::set_panels : 0, next_k, next_count / code_block};
    if (has_one_place) next = {Budget::set_panels, k_begin, n_blocks};
    for (std::size_t first = 0; first < tiles.count; first += tiles_at_once) {
      const std::size_t last = tiles.count - first < tiles_at_once ? tiles.count : first + tiles_at_once;
      TokenBlocks<Form, MT> blocks[tiles_at_once];
      for (std::size_t t = first; t < last; ++t) {
        const std::size_t m = tiles.begin(t);
        read_blocks<Form, Planes>(blocks[t - first], a.x, m, tiles.begin(t + 1) - m, first_block, n_blocks, zero_bits<F>);
      }
      for (std::size_t i = 0; i < sets; ++i) {
        const std::size_t p = p0 + i * Budget::set_panels, place = has_one_place ? 0 : i;
        if (has_one_place && !unpack_panels<F>(unpacked[place], a, p, k_begin, k_end)) return false;
        sweep_set<F, Planes>(unpacked[place], blocks, a, p, tiles, first, last, k_begin, k_end, next);
      }
    }
  }
  return true;
}

#include <stilla/base/pop_macros-inl.hpp>
