// SPDX-License-Identifier: Apache-2.0
//
// Stores activations as AMX's tiles read them: scale * value in bf16. The product is exact, because a value has 8 bits and a scale is a
// power of two.
//
//     values  bf16  [K / 32][stride][32]   a block of all tokens, then the next block: a tile is one run of memory. Each 16 values are
//                                          in the order 0 2 4 6 8 10 12 14 1 3 5 7 9 11 13 15 (tile_position)
//     low     bf16  [K / 32][stride][32]   the low plane, in the same order; `values` are then scale * 256 * high. Activations of 8 bits
//                                          have no such array
//     scaled_sums  float [K / 32][stride]  as in ActivationQ8
//     rounded_sums  bf16  [K / 512, rounded up][stride][2][8][2]   for each of two times 256 columns the 8 rounded sums. Each sum is two
//                                          numbers, scale * 256 * high and scale * low, which add up to scale * sum. If only 256 of the
//                                          last 512 columns exist, zeros stand for the others
//
// `stride` is the number of tokens that the arrays have room for. It is M + 16, because kernels read the scaled sums of a whole tile
// even where it has fewer tokens.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include <stilla/base/aligned.hpp>
#include <stilla/contract/activation_form.hpp>
#include <stilla/x86_amx/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_X86
#include <stilla/x86_avx512vnni/vector.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace amx {

// Tiles are used for this many tokens or more. With fewer tokens the kernels without tiles are faster: compared with tiles, they were
// 30 % faster with 16 tokens, as fast with 32, and 25 % slower with 64 (Granite Rapids).
inline constexpr std::size_t fewest_tokens_for_tiles = 32;

// Returns the place of value k among 16 neighbouring values. A tile product adds up the products of two neighbouring numbers at a time,
// and in this order they are the numbers k and k + 2. Packed weights have four neighbouring k in a word of 32 bits, a byte each
// (layout/pack.hpp). Bytes 0 and 2 are the lower bytes of the word's halves, and a shift by 8 bits moves bytes 1 and 3 there. So
// unpacked weights come in such pairs too.
constexpr std::size_t tile_position(std::size_t k) { return k % 2 * 8 + k / 4 * 2 + k / 2 % 2; }

// Pointers to the four arrays of activations as tiles read them, in the memory of an ArrangedActivations. They begin at that object's
// token `first`.
struct TileActivations {
  std::uint16_t* values = nullptr;
  std::uint16_t* low = nullptr;  // null: 8 bits
  float* scaled_sums = nullptr;
  std::uint16_t* rounded_sums = nullptr;
  std::size_t stride = 0;

  TileActivations() = default;
  explicit TileActivations(const ArrangedActivations& arranged) {
    const Places places(arranged.rows, arranged.cols, arranged.has_low);
    stride = places.stride;
    values = reinterpret_cast<std::uint16_t*>(arranged.data) + at(arranged.first, 0);
    if (arranged.has_low) low = reinterpret_cast<std::uint16_t*>(arranged.data + places.low) + at(arranged.first, 0);
    scaled_sums = reinterpret_cast<float*>(arranged.data + places.scaled_sums) + arranged.first;
    rounded_sums = reinterpret_cast<std::uint16_t*>(arranged.data + places.rounded_sums) + at(arranged.first, 0);
  }

  // Returns where the values of block `block` of token m begin, counted in values from `values` or `low`.
  std::size_t at(std::size_t m, std::size_t block) const { return (block * stride + m) * activation_block; }
  // Returns where the rounded sums of token m for k to k + 255 begin, counted in numbers from `rounded_sums`.
  std::size_t sums_at(std::size_t m, std::size_t k) const {
    return at(m, k / (2 * sums_block)) + k / sums_block % 2 * 2 * RoundedSums::blocks;
  }

  static std::size_t bytes(std::size_t rows, std::size_t cols, bool has_low) { return Places(rows, cols, has_low).bytes; }

 private:
  // Where the four arrays of activations begin in memory, in bytes from its beginning. Each array begins with a cache line.
  struct Places {
    Places(std::size_t rows, std::size_t cols, bool has_low) : stride(rows + 16) {
      const std::size_t blocks = cols / activation_block * stride, pairs = (cols / sums_block + 1) / 2;
      add(blocks * activation_block * sizeof(std::uint16_t));
      low = add(has_low ? blocks * activation_block * sizeof(std::uint16_t) : 0);
      scaled_sums = add(blocks * sizeof(float));
      rounded_sums = add(pairs * stride * activation_block * sizeof(std::uint16_t));
    }
    std::size_t add(std::size_t count) {
      const std::size_t begin = bytes;
      bytes += (count + cache_line_bytes - 1) / cache_line_bytes * cache_line_bytes;
      return begin;
    }
    std::size_t stride, low = 0, scaled_sums = 0, rounded_sums = 0, bytes = 0;
  };
};

// Stores a token's rounded sums of 256 k as tiles read them (TileActivations::rounded_sums): each as two numbers, its upper and its lower
// part.
inline void store_tile_sums(std::uint16_t* tile_sums, const RoundedSums& rounded) {
  const auto upper_half = [](float x) { return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16); };
  for (std::size_t b = 0; b < RoundedSums::blocks; ++b) {
    const int high = (rounded.sums[b] + 128) >> 8, low = rounded.sums[b] - 256 * high;
    tile_sums[2 * b] = upper_half(rounded.scale * 256 * static_cast<float>(high));
    tile_sums[2 * b + 1] = upper_half(rounded.scale * static_cast<float>(low));
  }
}

}}}  // namespace stilla::amx

STILLA_TARGET_BEGIN(STILLA_SETS_AVX512VNNI)
namespace stilla { inline namespace STILLA_ABI { namespace amx {

// Converts some blocks of a token's activations, of one plane, to bf16 as tiles read them: unit * scale * value. `unit` is 256 for the
// high plane of two planes, otherwise 1. The blocks are `stride` numbers apart in `out`.
inline STILLA_NOINLINE void tile_values(std::uint16_t* out, std::size_t stride, const std::int8_t* values, const float* scales,
                                        std::size_t blocks, float unit) {
  using namespace avx512vnni;
  // A permutation of 16-bit halves that makes bf16 of 32 floats in two vectors: it takes the upper half of each float, in the order of
  // tile_position().
  alignas(64) static constexpr std::uint16_t order[32] = {1,  5,  9,  13, 17, 21, 25, 29, 3,  7,  11, 15, 19, 23, 27, 31,
                                                          33, 37, 41, 45, 49, 53, 57, 61, 35, 39, 43, 47, 51, 55, 59, 63};
  const Int upper_halves = load(order);
  for (std::size_t b = 0; b < blocks; ++b, values += activation_block, out += stride) {
    const Float scale = set(scales[b] * unit);
    const auto* from = reinterpret_cast<const std::byte*>(values);
    const Float first = mul(load_s8(from), scale), second = mul(load_s8(from + lanes), scale);
    store(out, _mm512_permutex2var_epi16(as_bits(first), upper_halves, as_bits(second)));
  }
}

}}}  // namespace stilla::amx
STILLA_TARGET_END

namespace stilla { inline namespace STILLA_ABI {

template <>
struct ActivationForm<Amx> {
  static constexpr TargetId id = Amx::id;

  static std::size_t bytes(std::size_t rows, std::size_t cols, ActivationBits bits) {
    return rows < amx::fewest_tokens_for_tiles ? 0 : amx::TileActivations::bytes(rows, cols, bits == ActivationBits::sixteen);
  }
  static void arrange(const ArrangedActivations& to, const ActivationQ8& from, std::size_t m, std::size_t block, std::size_t blocks) {
    const amx::TileActivations tiles(to);
    const std::size_t at = tiles.at(m, block), stride = tiles.at(0, 1), first = block * activation_block;
    const float* scales = from.row_scales(m) + block;
    amx::tile_values(tiles.values + at, stride, from.row_values(m) + first, scales, blocks, from.low == nullptr ? 1.0f : 256.0f);
    if (from.low != nullptr) amx::tile_values(tiles.low + at, stride, from.row_low(m) + first, scales, blocks, 1.0f);
    for (std::size_t b = block; b < block + blocks; ++b) tiles.scaled_sums[b * tiles.stride + m] = from.row_scaled_sums(m)[b];
  }
  static void arrange_sums(const ArrangedActivations& to, const ActivationQ8& from, std::size_t m) {
    const amx::TileActivations tiles(to);
    const std::size_t count = from.cols / sums_block;
    for (std::size_t i = 0; i < count; ++i) {
      amx::store_tile_sums(tiles.rounded_sums + tiles.sums_at(m, i * sums_block), from.row_rounded_sums(m)[i]);
    }
    if (count % 2 != 0) amx::store_tile_sums(tiles.rounded_sums + tiles.sums_at(m, count * sums_block), {});
  }

  // How many tokens a task takes. It takes all of them if their values, as tiles read them, stay in L2 while all panels are multiplied.
  // If they do not, the tokens are divided equally among as few tasks as possible whose values do stay in L2. Each of these tasks
  // unpacks the panels again. To avoid that, wide inputs, of which fewer than 192 tokens stay in L2, are not divided. (Granite Rapids,
  // 2 MB of L2: with all 512 tokens of a 1.5B in one task, products took 4 % longer than with two tasks of 256 tokens.)
  static std::size_t tokens_per_task(const ActivationQ8& x) {
    constexpr std::size_t max_bytes = std::size_t{1200} << 10, fewest = 192;
    if (x.arranged.data == nullptr || x.cols == 0) return x.rows;
    const std::size_t most = max_bytes / (x.cols * sizeof(std::uint16_t));
    if (x.rows <= most || most < fewest) return x.rows;
    const std::size_t tasks = (x.rows + most - 1) / most;
    return (x.rows + tasks - 1) / tasks;
  }
};

}}  // namespace stilla
#endif

#include <stilla/base/pop_macros-inl.hpp>
