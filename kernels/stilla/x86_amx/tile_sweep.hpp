// SPDX-License-Identifier: Apache-2.0
//
// Matmul of quantised weights for many tokens on AMX (contract/matmul.hpp), written against the vocabulary of tiles.hpp.
//
// The contract's float step, acc = fma(scale_w * scale_x, float(dot), acc) every 32 weights, would limit the speed. With int8 tiles it
// takes two or three vector operations for 16 results (generic/panel_sweep-inl.hpp). These are 16 to 24 cycles for a tile, whose
// product takes 16. So tiles multiply bf16. An integer of 8 bits is exact in bf16, also times a token's scale, which is a power of two.
// All sums of a group are exact in float, whatever their order (below 2^24 units). So the float step can be written in another way:
//
//     acc  =  fma(scale_w * scale_x, dot, acc)  =  fma(scale_w, scale_x * dot, acc)         both products are exact
//
// This leaves one vector operation for 16 results, 8 cycles for a tile. A group of 32 fills a bf16 tile and would fill only half of an
// int8 tile, so bf16 needs no more tile products than int8. Activations of 16 bits are two planes: scale_x * dot = high + low, rounded
// once, as the conversion would round it.
//
//     C[token][row]  =  A[token][k]  *  B[k / 2][row * 2 + k % 2]        one tdpbf16ps, 15 x 16 floats, from zero
//
// A comes from TileActivations (activation_form.hpp). B is the weights minus the zero point, unpacked, two panels at a time:
//
//     operands  bf16   [group][panel][pair][16 rows][2]               in the order of TileActivations; 16 pairs, or 8 in groups of 16
//     scales    float  [group][panel][16 rows]                        minimums have the same shape; with sub-minimums, one for 256 k
//     sub_minimums  bf16  [256 k][panel][16 pairs][16 rows][2]        both numbers of a pair are equal, because a rounded sum is two
//                                                                     numbers that add up to it. A tile of rounded sums has those of 512 k,
//                                                                     so the 8 pairs of the other 256 k are zeros
//
// C goes through L1 to the vector registers. 15 tokens x 2 panels take 30 registers; the other two hold a scale and, with two planes,
// the sum of the planes. A round is four products, of two groups or of two planes. Its tiles are stored during the next round, so
// that nothing waits for them:
//
//     round i:      store C0 of round i - 1, clear it, multiply into it, load an operand that a later product needs;
//                   do the same with C1, C2 and C3; add the products of round i - 1 to the sums
//
// Rounds follow each other without a break from tile to tile. With sub-minimums (Q4_K, Q5_K) a slice of 256 k ends with a round
// of two products: the activations' rounded sums, in two parts of 8 bits, times the sub-minimums. All its sums are integers below
// 2^24 times a power of two, so they are exact too. (A multiply-add for each group and sum instead took 10 % longer.)
//
// Measured on one Granite Rapids server, where GCC 12 and clang 19 took the same time. The figures are cycles for 16 sums of 32
// products each, at the clock that the CPU has while vpdpbusd runs. With vpdpbusd the least possible is 4 cycles:
//
//     tile products alone                               1.2
//     stores of these products alone                    1.1
//     tile loads alone                                  0.9
//     products, stores and loads together               1.8       (they overlap in part)
//     products, stores, loads and multiply-adds         2
//     Q4_0's sweep with everything in L1                2.5
//     Q4_0's sweep with the activations in L2           2.7
//     Q4_K's sweep with the activations in L1, in L2    2.9, 3.1
//     Q4_K's sweep with values other than zero          3.4       (the clock falls by a tenth)
//     a whole matmul of Qwen2.5 1.5B, in Q4_0, in Q4_K  3.8, 4.4
//     a whole matmul with avx512vnni instead            6.5 to 8
//
// Activations are loaded by tileloaddt1, as data that is not read again soon. Loaded by other instructions, they displace the
// weights and sums from L1, which took 25 % longer. Prefetching them by instructions cost more than it gained, because it takes
// an instruction for each cache line.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include <stilla/contract/matmul.hpp>
#include <stilla/x86_amx/activation_form.hpp>
#include <stilla/x86_amx/tiles.hpp>
#include <stilla/x86_avx512vnni/matmul.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86
STILLA_TARGET_BEGIN(STILLA_SETS_AVX512VNNI)
namespace stilla { inline namespace STILLA_ABI { namespace amx {

using avx512vnni::Float;
using avx512vnni::Int;

// The largest number of tokens in a tile. With 14 instead of 15 a matmul took 1 to 3 % longer.
inline constexpr std::size_t max_tokens = 15;
// The smallest number of tokens in a tile. The tokens are shared equally among as few tiles of at most max_tokens as possible, and
// tiles are used only for fewest_tokens_for_tiles tokens or more, so that no tile has fewer than this.
inline constexpr std::size_t fewest_tokens = 10;
inline constexpr std::size_t panels = 2;
// How much is unpacked at once: up to max_chunk_k weights of each row, and up to max_pairs pairs of panels, 96 KB for each pair. There
// are three pairs where the stack allows. Together with the activations of 8 tiles, 350 KB, the unpacked panels stay in L2. (With 768
// instead of 1536 weights of each row, products took 5 % longer. With one pair at a time, for which the activations of all tokens are
// read again, they took 7 % longer.)
inline constexpr std::size_t max_chunk_k = small_stacks ? 768 : 1536;
inline constexpr std::size_t max_pairs = small_stacks ? 1 : 3;
// What stays in L1: a slice, the unpacked weights of two panels for `slice_k` k, 16 KB, and the sums of `max_tiles` tiles of tokens, 15
// KB. 128 k and 4 tiles were as fast. But in formats with sub-minimums a slice ends with the products of the activations' rounded sums,
// and these are sums of 256 k, so a slice has 256 k.
inline constexpr std::size_t slice_k = 256, max_tiles = 8;
static_assert(slice_k == sums_block && max_chunk_k % slice_k == 0);

enum Tile { tile_a0, tile_a1, tile_b0, tile_b1, tile_c0, tile_c1, tile_c2, tile_c3 };

constexpr TileShapes shapes_of(std::size_t group, std::size_t tokens) {
  TileShapes shapes;
  for (const Tile a : {tile_a0, tile_a1}) shapes.set(a, tokens, 2 * group);
  for (const Tile b : {tile_b0, tile_b1}) shapes.set(b, group / 2, 64);
  for (const Tile c : {tile_c0, tile_c1, tile_c2, tile_c3}) shapes.set(c, tokens, 64);
  return shapes;
}

// The form of unpacked weights (generic/panel_sweep-inl.hpp). Operands are bf16 numbers without a zero point, whatever the format's codes
// are, and no packed codes are fetched in advance.
template <class F>
using Form = avx512vnni::SweepForm<F::group_weights, F::has_minimum, has_sub_minimums<F>, false, 16, 0>;

// Room for the unpacked weights of two panels over a chunk of k, up to max_chunk_k. F is the form of the unpacked weights, a SweepForm,
// and not their packed format.
template <class F>
struct Unpacked {
  static constexpr std::size_t groups = max_chunk_k / F::group_weights, pairs = F::group_weights / 2;
  alignas(64) std::uint16_t operands[groups][panels][pairs][2 * panel_rows];
  alignas(64) float scales[groups][panels][panel_rows];
  static constexpr std::size_t eights = has_sub_minimums<F> ? groups / RoundedSums::blocks : 1;
  alignas(64) float minimums[!F::has_minimum ? 1 : has_sub_minimums<F> ? eights : groups][panels][panel_rows];
  alignas(64) std::uint16_t sub_minimums[eights][panels][16][2 * panel_rows];
};

// The weights, without their scale, that codes of at most 5 bits stand for, in bf16. The instruction that looks codes up reads 5 bits, so
// the table has 32 places; where codes have 4 bits, each weight stands there twice.
struct CodeTable {
  alignas(64) std::uint16_t values[32];
};
template <class F>
constexpr CodeTable code_table(const std::int8_t* codebook) {
  CodeTable table{};
  for (int code = 0; code < 32; ++code) {
    const int c = code % (1 << F::code_bits);
    int value = c - F::zero_point;
    if constexpr (F::is_codebook) value = codebook[c];
    table.values[code] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(value)) >> 16);
  }
  return table;
}

// Converts the signed byte k, 0 to 3, of each lane to float and returns the floats' bit patterns.
template <int k>
STILLA_INLINE Int byte_as_float(Int bytes) {
  Int top = bytes;
  if constexpr (k < 3) top = avx512vnni::shift_left_s32<24 - 8 * k>(bytes);
  return avx512vnni::as_bits(avx512vnni::to_floats(avx512vnni::shift_right_s32<24>(top)));
}
// Returns in each lane a pair of bf16: the upper halves of the floats of `first` and of `second`.
STILLA_INLINE Int upper_halves(Int first, Int second) { return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(first, 16), second); }

// Unpacks the minimum of 256 k, which are eight groups, and the sub-minimums of these groups, for the rows of a panel. A tile of
// activations holds the rounded sums of 512 k: its half 0 has those of the first 256 k, and its half 1 those of the other 256 k. So the
// sub-minimums are written to the same half of their own tile. `half` is the number of this half, 0 or 1. The other half becomes zeros.
// Each sub-minimum is written twice, because a rounded sum is stored as two numbers that add up to it (activation_form.hpp).
template <class F>
STILLA_INLINE void unpack_minimums(Unpacked<Form<F>>& out, const std::byte* record, std::size_t i, std::size_t p, std::size_t half) {
  using namespace avx512vnni;
  store_floats(out.minimums[i][p], load_minimum(record, 0));
  for (std::size_t pair = 0; pair < sum_pairs; ++pair) {
    const Int two = load_sub_minimums<F>(record, pair, 0);
    const Int first = as_bits(to_floats(shift_right_s32<16>(shift_left_s32<16>(two))));
    const Int second = as_bits(to_floats(shift_right_s32<16>(two)));
    auto* const at = out.sub_minimums[i][p] + half * RoundedSums::blocks + 2 * pair;
    store(at[0], upper_halves(first, first));
    store(at[1], upper_halves(second, second));
  }
  for (std::size_t g = 0; g < RoundedSums::blocks; ++g) {
    store(out.sub_minimums[i][p][(1 - half) * RoundedSums::blocks + g], set_s32(0));
  }
}

template <class F>
STILLA_NOINLINE void unpack_panel(Unpacked<Form<F>>& out, const MatmulArgs<F>& a, std::size_t p0, std::size_t p, std::size_t k_begin,
                                  std::size_t k_end) {
  using Layout = PanelLayout<F>;
  constexpr std::size_t groups = avx512vnni::groups_per_block<F>;
  const std::byte* panel = a.panels + (p0 + p) * Layout::panel_bytes(a.K);
  CodeTable levels;
  if constexpr (F::is_codebook) levels = code_table<F>(a.codebook);
  for (std::size_t k0 = k_begin; k0 < k_end; k0 += code_block) {
    const std::byte* codes = panel + Layout::codes_offset(k0);
    const std::byte* record = panel + Layout::record_offset(k0);
    const std::size_t b = (k0 - k_begin) / code_block;
    avx512vnni::fetch_to_unpack<F>(panel, k0);
    STILLA_UNROLL
    for (std::size_t four = 0; four < 8; ++four) {
      Int even, odd;  // the pairs (k, k + 2) and (k + 1, k + 3) of every row
      if constexpr (F::code_bits <= 5) {
        alignas(64) static constexpr CodeTable table = code_table<F>(detail::codebook_of<F>());
        const Int values = avx512vnni::load(F::is_codebook ? levels.values : table.values);
        const Int code = avx512vnni::load_codes<F>(codes, four / 2, four % 2 == 1, 0);
        even = _mm512_permutexvar_epi16(code, values);  // the instruction uses 5 bits of each 16-bit index
        odd = _mm512_permutexvar_epi16(avx512vnni::shift_right<8>(code), values);
      } else {
        constexpr std::size_t halves = F::code_bits == 8 ? 1 : 2;
        Int bytes;
        if constexpr (F::code_bits == 8) {
          bytes = avx512vnni::load(codes + four * 64);
        } else {
          bytes = avx512vnni::load_codes<F>(codes, four / halves, four % halves == 1, 0);
        }
        if constexpr (F::zero_point != 0) bytes = _mm512_sub_epi8(bytes, avx512vnni::set_u8(F::zero_point));
        even = upper_halves(byte_as_float<0>(bytes), byte_as_float<2>(bytes));
        odd = upper_halves(byte_as_float<1>(bytes), byte_as_float<3>(bytes));
      }
      const std::size_t pair = four / 4 * 8 + four % 4;  // the pair's number in the block
      auto* pairs = out.operands[b * groups + pair / Unpacked<Form<F>>::pairs][p] + pair % Unpacked<Form<F>>::pairs;
      avx512vnni::store(pairs[0], even);
      avx512vnni::store(pairs[4], odd);
    }
    for (std::size_t g = 0; g < groups; ++g) {
      avx512vnni::store_floats(out.scales[b * groups + g][p], avx512vnni::load_scale<F>(panel, record, k0, g, 0));
    }
    if constexpr (has_sub_minimums<F>) {
      if (k0 % sums_block == 0) unpack_minimums<F>(out, record, b / RoundedSums::blocks, p, k0 / sums_block % 2);
    } else if constexpr (F::has_minimum) {
      avx512vnni::store_floats(out.minimums[b][p], avx512vnni::load_minimum(record, 0));
    }
  }
}

// Tells where each round of four products finds its operands. The rounds go over some tiles of tokens and a chunk of k: slice by slice
// (slice_k k), and in each slice over all tiles. Every instruction beside the tile instructions costs time. So this class keeps
// pointers, and from one round to the next it mostly adds a constant to them. With sub-minimums a tile ends its slice with one more
// round, which multiplies the activations' rounded sums.
template <class F, std::size_t Planes>
class Rounds {
 public:
  static constexpr std::size_t round_k = F::group_weights * (Planes == 1 ? 2 : 1);
  static constexpr int panel_bytes = F::group_weights / 2 * 64, group_bytes = panels * panel_bytes;
  static constexpr std::size_t x_bytes = activation_block * sizeof(std::uint16_t);  // from a token's values to the next token's

  Rounds(const Unpacked<F>& w, const TileActivations& x, std::size_t m_begin, std::size_t m_end, std::size_t tokens, std::size_t k_begin,
         std::size_t k_end)
      : unpacked_(&w.operands[0][0][0][0]), minimums_(&w.sub_minimums[0][0][0][0]), tiles_(x), m_begin_(m_begin), m_end_(m_end),
        tokens_(tokens), k_begin_(k_begin), k_end_(k_end), m_(m_begin), slice_(k_begin), block_(x.at(0, 1)) {
    begin_tile();
  }

  const std::uint16_t* x() const { return x_; }
  // A round multiplies two tiles of activations. Returns the address of the second one: the tile of the next group or, with two planes,
  // of the low plane.
  const std::uint16_t* second_x() const {
    return x_ + (Planes == 2 ? tiles_.low - tiles_.values : F::group_weights == activation_block ? std::ptrdiff_t(block_) : 16);
  }
  const std::uint16_t* w() const { return w_; }
  // Moves the pointers to the operands of the next round. Operands are loaded one round ahead, so they must exist even after the last
  // round: the pointers then go back to an earlier round.
  void next() {
    if (--left_ == 0) return next_tile();
    if constexpr (has_sub_minimums<F>) {
      if (left_ == 1) {
        x_ = tiles_.rounded_sums + tiles_.sums_at(m_, slice_ / (2 * sums_block) * 2 * sums_block);
        w_ = minimums_ + (slice_ - k_begin_) / sums_block * (panels * panel_bytes / sizeof(std::uint16_t));
        return;
      }
    }
    w_ += round_k * panels * panel_rows;
    if constexpr (round_k == 16) {
      // With groups of 16 weights and two planes a round takes 16 k, so a block of activations (32 k) takes two rounds, one for each
      // half. left_ is the number of rounds that remain in the slice of `slice_k` k for this tile. A slice has an even number of
      // rounds. So the next round reads the first half of a block if left_ is even, and the second half if it is odd.
      x_ += left_ % 2 == 0 ? block_ - 16 : 16;
    } else {
      x_ += round_k / activation_block * block_;
    }
  }

 private:
  std::size_t slice_end() const { return k_end_ - slice_ < slice_k ? k_end_ : slice_ + slice_k; }
  void begin_tile() {
    x_ = tiles_.values + tiles_.at(m_, slice_ / activation_block);
    w_ = unpacked_ + (slice_ - k_begin_) * panels * panel_rows;
    left_ = (slice_end() - slice_) / round_k + (has_sub_minimums<F> ? 1 : 0);
  }
  void next_tile() {
    m_ += tokens_;
    if (m_ >= m_end_) {
      m_ = m_begin_;
      slice_ = slice_end() < k_end_ ? slice_end() : k_begin_;
    }
    begin_tile();
  }

  const std::uint16_t *unpacked_, *minimums_;
  TileActivations tiles_;
  std::size_t m_begin_, m_end_, tokens_, k_begin_, k_end_, m_, slice_, block_;
  const std::uint16_t *x_, *w_;
  std::size_t left_;
};

struct alignas(64) Products {
  float values[4][16][panel_rows];  // the products in C0 .. C3
};

// Stores the product that tile register c holds to memory. The product belongs to the round before the current one.
template <class Tiles, Tile c>
STILLA_INLINE void store(Products& products) {
  Tiles::template store<c, (c - tile_c0) * int{sizeof(Products) / 4}>(&products, 64);
}
template <class Tiles, Tile c, Tile x, Tile w>
STILLA_INLINE void multiply() {
  Tiles::template zero<c>();
  Tiles::template dot_bf16<c, x, w>();
}

// Computes a round of four products (two tiles of activations times two panels), and meanwhile stores the products of the round before.
// The round's first operands are in the tile registers already; its other operands are at w and second_x. Also loads the operands that
// the round `next` begins with.
template <class F, class Tiles, std::size_t Planes, bool is_first>
STILLA_INLINE void multiply_round(Products& before, const std::uint16_t* w, const std::uint16_t* second_x, const Rounds<F, Planes>& next) {
  using R = Rounds<F, Planes>;
  if constexpr (!is_first) store<Tiles, tile_c0>(before);
  multiply<Tiles, tile_c0, tile_a0, tile_b0>();
  Tiles::template load_once<tile_a1>(second_x, R::x_bytes);
  if constexpr (Planes == 1) Tiles::template load<tile_b0, R::group_bytes>(w, 64);
  if constexpr (!is_first) store<Tiles, tile_c1>(before);
  multiply<Tiles, tile_c1, tile_a0, tile_b1>();
  if constexpr (Planes == 1) Tiles::template load<tile_b1, R::group_bytes + R::panel_bytes>(w, 64);
  Tiles::template load_once<tile_a0>(next.x(), R::x_bytes);
  if constexpr (!is_first) store<Tiles, tile_c2>(before);
  multiply<Tiles, tile_c2, tile_a1, tile_b0>();
  Tiles::template load<tile_b0>(next.w(), 64);
  if constexpr (!is_first) store<Tiles, tile_c3>(before);
  multiply<Tiles, tile_c3, tile_a1, tile_b1>();
  Tiles::template load<tile_b1, R::panel_bytes>(next.w(), 64);
}

// Computes the round that ends a slice of k in formats with sub-minimums. It has only two products: the rounded sums of activations times
// the sub-minimums of two panels.
template <class F, class Tiles, std::size_t Planes>
STILLA_INLINE void multiply_sums(Products& before, const Rounds<F, Planes>& next) {
  using R = Rounds<F, Planes>;
  store<Tiles, tile_c0>(before);
  multiply<Tiles, tile_c0, tile_a0, tile_b0>();
  Tiles::template load<tile_b0>(next.w(), 64);
  store<Tiles, tile_c1>(before);
  multiply<Tiles, tile_c1, tile_a0, tile_b1>();
  Tiles::template load<tile_b1, R::panel_bytes>(next.w(), 64);
  Tiles::template load_once<tile_a0>(next.x(), R::x_bytes);
  store<Tiles, tile_c2>(before);
  store<Tiles, tile_c3>(before);
}

// If there is a next round, computes its four products and meanwhile stores those of the round before; after the last round, only stores
// them.
template <class F, class Tiles, std::size_t Planes>
STILLA_INLINE void multiply_next(Products& before, Rounds<F, Planes>& next, bool is_last) {
  if (is_last) {
    store<Tiles, tile_c0>(before);
    store<Tiles, tile_c1>(before);
    store<Tiles, tile_c2>(before);
    store<Tiles, tile_c3>(before);
    return;
  }
  const std::uint16_t *w = next.w(), *second_x = next.second_x();
  next.next();
  multiply_round<F, Tiles, Planes, false>(before, w, second_x, next);
}

using Sums = Float[panels][max_tokens];

// Does the float step of contract/matmul.hpp for one group, or for the minimums of eight groups: acc = fma(scale, dot, acc). `scales` are
// the scales of two panels. `dots` are the sums of products of tokens with these panels' rows, which contain the tokens' scales already;
// `low` are those of the activations' low plane, or null.
STILLA_INLINE void add_products(Sums& acc, const float* scales, const float (*dots)[16][panel_rows], const float (*low)[16][panel_rows]) {
  using namespace avx512vnni;
  const Float scale[panels] = {load_floats(scales), load_floats(scales + panel_rows)};
  STILLA_UNROLL
  for (std::size_t t = 0; t < max_tokens; ++t) {
    STILLA_UNROLL
    for (std::size_t p = 0; p < panels; ++p) {
      Float dot = load_floats(dots[p][t]);
      if (low != nullptr) dot = add(dot, load_floats(low[p][t]));
      acc[p][t] = fused_multiply_add(scale[p], dot, acc[p][t]);
    }
  }
}

// Does the float step of contract/matmul.hpp for the minimums of one group in two panels: acc = fma(minimum, sum, acc). `sums` has for
// each token the sum of its activations of this group, times their scale.
STILLA_INLINE void add_minimums(Sums& acc, const float* minimums, const float* sums) {
  using namespace avx512vnni;
  const Float minimum[panels] = {load_floats(minimums), load_floats(minimums + panel_rows)};
  STILLA_UNROLL
  for (std::size_t t = 0; t < max_tokens; ++t) {
    // Compiled by clang, each multiply-add reads the sum from memory itself. This takes 3 % less time than loading the sum once for
    // both panels.
    const Float sum = set(sums[t]);
    STILLA_UNROLL
    for (std::size_t p = 0; p < panels; ++p) acc[p][t] = fused_multiply_add(minimum[p], sum, acc[p][t]);
  }
}

// The running sums of some tiles of tokens and two panels. They are kept here while the sums of other tiles are computed, between one
// slice of k and the next.
struct alignas(64) KeptSums {
  float values[max_tiles * max_tokens + max_tokens][panels][panel_rows];
};
// The sums of a tile before the first slice of k: zeros.
alignas(64) inline constexpr float no_sums[max_tokens][panels][panel_rows] = {};

// Multiplies the tokens [m_begin, m_end), `tokens` of them in a tile, by two panels over one chunk of k, and adds the products to the
// sums in `kept`. In the first chunk the sums begin at 0.
template <class F, class Tiles, std::size_t Planes>
STILLA_NOINLINE void sweep_tokens(KeptSums& kept, const Unpacked<F>& w, const TileActivations& x, std::size_t m_begin, std::size_t m_end,
                                  std::size_t tokens, std::size_t k_begin, std::size_t k_end) {
  using namespace avx512vnni;
  using R = Rounds<F, Planes>;
  constexpr std::size_t groups = R::round_k / F::group_weights, group_scales = panels * panel_rows;
  static_assert(!F::has_minimum || F::group_weights == activation_block);
  // `products` is where the tile registers are stored. A tile may have fewer than 15 tokens, but the numbers of 15 tokens are always
  // added to sums. The numbers of the missing tokens are zeros, and the sums that they are added to are not read.
  Products products = {};
  R next(w, x, m_begin, m_end, tokens, k_begin, k_end);
  const std::uint16_t *first_w = next.w(), *first_second_x = next.second_x();
  Tiles::template load_once<tile_a0>(next.x(), R::x_bytes);
  Tiles::template load<tile_b0>(first_w, 64);
  Tiles::template load<tile_b1, R::panel_bytes>(first_w, 64);
  next.next();
  multiply_round<F, Tiles, Planes, true>(products, first_w, first_second_x, next);
  // From here the products are one round ahead: while a round is multiplied, the products of the round before are added to the sums.
  std::size_t left = (m_end - m_begin) / tokens * ((k_end - k_begin) / R::round_k);
  for (std::size_t slice = k_begin; slice < k_end; slice += slice_k) {
    const std::size_t rounds = ((k_end - slice < slice_k ? k_end : slice + slice_k) - slice) / R::round_k;
    for (std::size_t m = m_begin; m < m_end; m += tokens) {
      auto* const sums = kept.values + (m - m_begin);
      const auto* const sums_before = slice == 0 ? no_sums : sums;
      Sums acc;
      STILLA_UNROLL
      for (std::size_t t = 0; t < max_tokens; ++t) {
        STILLA_UNROLL
        for (std::size_t p = 0; p < panels; ++p) acc[p][t] = load_floats(sums_before[t][p]);
      }
      const float* scales = w.scales[(slice - k_begin) / F::group_weights][0];
      const float* minimums = F::has_minimum ? w.minimums[(slice - k_begin) / avx512vnni::minimum_k<F>][0] : nullptr;
      const float* scaled_sums = x.scaled_sums + slice / activation_block * x.stride + m;
      for (std::size_t round = 0; round < rounds; ++round) {
        --left;
        const bool sums_come_next = has_sub_minimums<F> && round + 1 == rounds;
        if constexpr (has_sub_minimums<F>) {
          if (sums_come_next) {
            next.next();
            multiply_sums<F, Tiles, Planes>(products, next);
          }
        }
        if (!sums_come_next) multiply_next<F, Tiles, Planes>(products, next, left == 0);
        STILLA_UNROLL
        for (std::size_t g = 0; g < groups; ++g) {
          const auto* const dots = products.values + g * panels;
          add_products(acc, scales, dots, Planes == 2 ? dots + panels : nullptr);
          scales += group_scales;
          if constexpr (F::has_minimum && !has_sub_minimums<F>) {
            add_minimums(acc, minimums, scaled_sums);
            minimums += group_scales, scaled_sums += x.stride;
          }
        }
      }
      if constexpr (has_sub_minimums<F>) {
        multiply_next<F, Tiles, Planes>(products, next, left == 0);
        add_products(acc, minimums, products.values, nullptr);
      }
      STILLA_UNROLL
      for (std::size_t t = 0; t < max_tokens; ++t) {
        if (t >= fewest_tokens && t >= tokens) break;
        STILLA_UNROLL
        for (std::size_t p = 0; p < panels; ++p) store_floats(sums[t][p], acc[p][t]);
      }
    }
  }
}

// Multiplies some tokens by two panels over one chunk of k, by sweep_tokens(). For the first chunk the sums begin at 0; for later
// chunks this function reads the sums of the chunks before from y. It writes the sums that include this chunk to y.
template <class F, class Tiles, std::size_t Planes>
STILLA_NOINLINE void sweep_chunk(const Unpacked<F>& w, const avx512vnni::SweepArgs& a, std::size_t p0, std::size_t m_begin,
                                 std::size_t m_end, std::size_t tokens, std::size_t k_begin, std::size_t k_end) {
  using namespace avx512vnni;
  KeptSums kept;
  for (std::size_t m = k_begin == 0 ? m_end : m_begin; m < m_end; ++m) {
    const float* y = a.y.row(m) + p0 * panel_rows;
    for (std::size_t p = 0; p < panels; ++p) store_floats(kept.values[m - m_begin][p], load_floats(y + p * panel_rows));
  }
  sweep_tokens<F, Tiles, Planes>(kept, w, TileActivations(a.x.arranged), m_begin, m_end, tokens, k_begin, k_end);
  const float* bias = k_end == a.K && a.bias != nullptr ? a.bias + p0 * panel_rows : nullptr;
  for (std::size_t m = m_begin; m < m_end; ++m) {
    float* y = a.y.row(m) + p0 * panel_rows;
    for (std::size_t p = 0; p < panels; ++p) {
      const Float sum = load_floats(kept.values[m - m_begin][p]);
      store_floats(y + p * panel_rows, bias == nullptr ? sum : add(sum, load_floats(bias + p * panel_rows)));
    }
  }
}

// Whether the scale of a weight times the scale of an activation is exact for all weights of `pairs` pairs of panels from p0 on.
template <class F>
STILLA_INLINE bool scales_are_exact(const MatmulArgs<F>& a, std::size_t p0, std::size_t pairs) {
  if constexpr (RowScaledFormat<F>) {
    for (std::size_t p = 0; p < pairs * panels; ++p) {
      const std::byte* panel = a.panels + (p0 + p) * PanelLayout<F>::panel_bytes(a.K);
      const avx512vnni::Float scale = avx512vnni::load_floats(reinterpret_cast<const float*>(panel));
      if (!avx512vnni::row_scales_are_exact(scale)) return false;
      // In some formats a row has sub-scales too, from 1 to 127. The row's scale times the largest sub-scale may leave the range of
      // floats, so this product is tested as well.
      if constexpr (F::has_sub_scales) {
        if (!avx512vnni::row_scales_are_exact(avx512vnni::mul(scale, avx512vnni::set(127.0f)))) return false;
      }
    }
  }
  return true;
}

// Multiplies `pairs` pairs of panels from p0 on, at most max_pairs, by all tokens.
template <class F, class Tiles, std::size_t Planes>
STILLA_NOINLINE void panels_many(const MatmulArgs<F>& a, std::size_t p0, std::size_t pairs) {
  Unpacked<Form<F>> w[max_pairs];
  const avx512vnni::SweepArgs args{a.K, a.x, a.y, a.bias};
  const std::size_t M = a.x.rows, tiles = (M + max_tokens - 1) / max_tokens;
  const std::size_t tokens = M / tiles, larger = M % tiles * (tokens + 1);  // the first tiles have one token more than the others
  // Chunks of K are made of pieces of `whole` k. K is a multiple of `whole`, and a piece takes a whole number of rounds of products.
  constexpr std::size_t whole = has_sub_minimums<F> ? slice_k : 2 * code_block;
  const std::size_t wholes = a.K / whole, chunks = (a.K + max_chunk_k - 1) / max_chunk_k;
  const std::size_t chunk_k = (wholes + chunks - 1) / chunks * whole;  // equal chunks; the last one may be a bit smaller
  for (std::size_t k_begin = 0; k_begin < a.K; k_begin += chunk_k) {
    const std::size_t k_end = a.K - k_begin < chunk_k ? a.K : k_begin + chunk_k;
    for (std::size_t i = 0; i < pairs; ++i) {
      for (std::size_t p = 0; p < panels; ++p) unpack_panel<F>(w[i], a, p0 + i * panels, p, k_begin, k_end);
    }
    const auto sweep = [&](std::size_t m_begin, std::size_t m_end, std::size_t count) {
      if (m_begin == m_end) return;
      Tiles::configure(shapes_of(F::group_weights, count));
      for (std::size_t m = m_begin; m < m_end; m += max_tiles * count) {
        const std::size_t end = m_end - m < max_tiles * count ? m_end : m + max_tiles * count;
        for (std::size_t i = 0; i < pairs; ++i) {
          sweep_chunk<Form<F>, Tiles, Planes>(w[i], args, p0 + i * panels, m, end, count, k_begin, k_end);
        }
      }
    };
    sweep(0, larger, tokens + 1);
    sweep(larger, M, tokens);
  }
  Tiles::release();
}

// Multiplies the panels `first` to `last` - 1 by all tokens, on tiles where possible. avx512vnni's kernels do the rest: matmuls of few
// tokens; matmuls whose K is no multiple of 64; pairs of panels that are unpacked at once, if scales_are_exact() is false for one of
// them; and a panel that is left over alone or has fewer than 16 rows.
template <class F, class Tiles>
STILLA_NOINLINE void matmul_panels(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
  const std::size_t full = a.N / panel_rows < last ? a.N / panel_rows : last;
  const bool has_form = a.x.arranged.data != nullptr && a.x.arranged.form == Amx::id;
  if (has_form && a.x.rows >= fewest_tokens_for_tiles && a.K != 0 && a.K % 64 == 0) {
    while (first + panels <= full) {
      const std::size_t pairs = full - first < max_pairs * panels ? (full - first) / panels : max_pairs;
      if (!scales_are_exact(a, first, pairs)) {
        avx512vnni::matmul_panels<F>(a, first, first + pairs * panels);
      } else if (a.x.low == nullptr) {
        panels_many<F, Tiles, 1>(a, first, pairs);
      } else {
        panels_many<F, Tiles, 2>(a, first, pairs);
      }
      first += pairs * panels;
    }
  }
  if (first < last) avx512vnni::matmul_panels<F>(a, first, last);
}

}}}  // namespace stilla::amx
STILLA_TARGET_END
#endif

#include <stilla/base/pop_macros-inl.hpp>
