// SPDX-License-Identifier: Apache-2.0
//
// Defines the tiles that AMD's XDNA2 NPU (AIE2P) multiplies, and where each number of an operand stands in memory. The library's
// code for this NPU is layout and arithmetic only. No compiler or simulator for the NPU is public, and nothing here has run on an
// NPU.
//
//   y[M, N] = A[M, K] * B[K, N]         A: activations; B = W^T, weights W[N, K]
//
// There are three levels. One instruction multiplies a block of A, r x s, by a block of B, s x t (aie::mmul<r, s, t>). A compute
// tile ("core") holds a core tile of each operand, m x k and k x n, in its 64 KiB of memory. A partition of the NPU is some of
// its 8 columns of 4 cores.
//
//   form     A and B              accumulator     r  s  t    unit                        bytes of a unit
//   int8     int8 x int8          int32           8  8  8    one number                  1
//   bf16     bfloat16 x bfloat16  float           4  8  8    one number                  2
//   bfp16    bfp16ebs8 x the same float           8  8  8    8 numbers along K           9   (format/bfp16.hpp)
//
// A core tile of A is cut into blocks. The numbers of a block stand in row-major order, and so do the blocks. B is stored in the
// same way, except B of bfp16, which is transposed: a unit has 8 numbers along K, so a block is 8 units, one for each column of
// the block. The blocks of one column of blocks follow each other.
//
//      A, m x k                        B, k x n (int8, bf16)            B, k x n (bfp16)
//      +-----+-----+--                 +-----+-----+--                  +-----+-----+--
//      |  0  |  1  | ... k/s           |  0  |  1  | ... n/t            |  0  | k/s |
//      | r*s |     |                   | s*t |     |                    | t*s |     |
//      +-----+-----+--                 +-----+-----+--                  +-----+-----+--
//      | k/s |k/s+1|                   | n/t |n/t+1|                    |  1  |k/s+1|
//      +-----+-----+--                 +-----+-----+--                  +-----+-----+--
//      in a block: row-major, r rows   row-major, s rows (k) of t       t rows (n) of 8 k: one unit each
//
//   C, m x n, is stored as A is: blocks r x t, row-major. Its numbers are int32 or float.
//
// Source: mlir-aie, aie_kernels/aie2p/mm.cc and mm_bfp.cc. These kernels take two blocks of A and two blocks of B at a time, so m
// is a multiple of 2r, n of 2t and k of s. In mlir-aie, a DMA makes these blocks from row-major core tiles on the way from the
// memory tile. A DMA moves at least 4 bytes, and a bfp16 unit has 9, so bfp16 has to lie in memory as it is drawn here. With the
// other two forms a DMA could make the blocks, but weights that were once packed as drawn here save it this work.
//
// A whole matrix of weights consists of the core tiles in the order in which they are used. It is padded with zeros to whole core
// tiles and to the same number of core tiles in each column (whole_array.py of the same repository distributes them in this way). A
// column is one of the NPU's C columns of cores:
//
//   | column 0: core tiles of n tile 0, of n tile C, of 2C, ...| column 1: n tiles 1, C + 1, ... | ... | column C - 1 |
//     (of each n tile first the core tile with k tile 0, then 1, 2, ...)
//
// The DMA of a column then reads forward. Activations are distributed to the four rows of cores in the same way, along M, and
// each row's core tiles stand in the order of K; all columns take the same activations. Results are stored like weights, with M
// in the place of K:
//
//   | column 0: of n tile 0 the m tiles 0, 1, 2, ..., of n tile C, ...| column 1 | ...
//
// If the memory begins on a multiple of 64 bytes, so do each column and each core tile in it. This needs core tiles whose bytes are a
// multiple of 64, as those of schedule.hpp are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace xdna {

// The sizes of an NPU with 8 columns ("npu2": Strix, Krackan). Sources: mlir-aie's device model, and the Linux kernel's
// documentation of amdxdna.
inline constexpr std::size_t core_rows = 4;
inline constexpr std::size_t max_columns = 8;
inline constexpr std::size_t core_memory_bytes = std::size_t{64} << 10;      // L1, of one compute tile
inline constexpr std::size_t memory_tile_bytes = std::size_t{512} << 10;     // L2, of one column

enum class Form : std::uint8_t { int8, bf16, bfp16 };
inline constexpr Form forms[] = {Form::int8, Form::bf16, Form::bfp16};

constexpr std::string_view form_name(Form form) { return form == Form::int8 ? "int8" : form == Form::bf16 ? "bf16" : "bfp16"; }

// The blocks that one instruction multiplies: r x s numbers of A by s x t numbers of B.
struct BlockShape {
  std::size_t r, s, t;
};
constexpr BlockShape block_shape(Form form) { return {form == Form::bf16 ? std::size_t{4} : std::size_t{8}, 8, 8}; }

// A unit is the smallest piece of an operand that is stored as a whole: one number, or with bfp16 8 numbers along K. The first
// function returns how many numbers a unit of a form has, and the second one how many bytes.
constexpr std::size_t unit_weights(Form form) { return form == Form::bfp16 ? 8 : 1; }
constexpr std::size_t unit_bytes(Form form) { return form == Form::int8 ? 1 : form == Form::bf16 ? 2 : 9; }

// Returns how many bytes `count` numbers of an operand take. `count` must be a multiple of unit_weights(form), so that the numbers
// fill whole units.
constexpr std::size_t operand_bytes(Form form, std::size_t count) { return count / unit_weights(form) * unit_bytes(form); }
inline constexpr std::size_t accumulator_bytes = 4;

// The sizes of the core tiles that a core multiplies at a time: A is m x k, B is k x n.
struct CoreTile {
  std::size_t m = 64, k = 64, n = 64;

  constexpr bool operator==(const CoreTile&) const = default;
};
constexpr bool is_whole(Form form, CoreTile tile) {
  const auto [r, s, t] = block_shape(form);
  return tile.m != 0 && tile.k != 0 && tile.n != 0 && tile.m % (2 * r) == 0 && tile.k % s == 0 && tile.n % (2 * t) == 0;
}
// The core tile for few tokens: its m, the number of tokens, is the smallest that mlir-aie's kernels take.
constexpr CoreTile step_tile(Form form) { return {2 * block_shape(form).r, 64, 64}; }

constexpr std::size_t a_bytes(Form form, CoreTile tile) { return operand_bytes(form, tile.m * tile.k); }
constexpr std::size_t b_bytes(Form form, CoreTile tile) { return operand_bytes(form, tile.k * tile.n); }
constexpr std::size_t c_bytes(CoreTile tile) { return tile.m * tile.n * accumulator_bytes; }

// The place in bytes of A[row, col], or of the unit that holds it, in a core tile of A, which stands in blocks of r x s.
constexpr std::size_t a_offset(Form form, CoreTile tile, std::size_t row, std::size_t col) {
  const auto [r, s, t] = block_shape(form);
  const std::size_t block = row / r * (tile.k / s) + col / s;
  return operand_bytes(form, block * r * s + row % r * s + col % s / unit_weights(form) * unit_weights(form));
}
// The place in bytes of B[k, n], or of the unit that begins with it, in a core tile of B.
constexpr std::size_t b_offset(Form form, CoreTile tile, std::size_t k, std::size_t n) {
  const auto [r, s, t] = block_shape(form);
  if (form == Form::bfp16) return operand_bytes(form, (n / t * (tile.k / s) + k / s) * s * t + n % t * s);
  return operand_bytes(form, (k / s * (tile.n / t) + n / t) * s * t + k % s * t + n % t);
}
// The index of the number C[m, n] in a core tile of C.
constexpr std::size_t c_index(Form form, CoreTile tile, std::size_t m, std::size_t n) {
  const auto [r, s, t] = block_shape(form);
  return (m / r * (tile.n / t) + n / t) * r * t + m % r * t + n % t;
}

namespace detail {
constexpr std::size_t quotient_up(std::size_t a, std::size_t b) { return a / b + (a % b != 0); }
}  // namespace detail

// How core tiles are distributed along one dimension, as cards are dealt: along N to the columns, along M to the rows of cores. Each
// column, or each row of cores, is called a hand here. Of every `hands` neighbouring tiles each hand gets one. All hands are padded
// to the same number of tiles.
struct Dealt {
  std::size_t tiles = 0;  // along the dimension
  std::size_t hands = 1;

  constexpr std::size_t per_hand() const { return detail::quotient_up(tiles, hands); }
  constexpr std::size_t padded() const { return per_hand() * hands; }
  // The place of a tile among all tiles where they are stored hand by hand, each hand's tiles one behind the other.
  constexpr std::size_t place(std::size_t tile) const { return tile % hands * per_hand() + tile / hands; }
};

// How the matrices of a product lie in memory. Sizes are in bytes; K is padded to whole core tiles.
struct ProductLayout {
  Form form = Form::bf16;
  CoreTile tile;
  std::size_t columns = max_columns;
  std::size_t M = 0, N = 0, K = 0;

  constexpr std::size_t k_tiles() const { return detail::quotient_up(K, tile.k); }
  constexpr Dealt along_m() const { return {detail::quotient_up(M, tile.m), core_rows}; }
  constexpr Dealt along_n() const { return {detail::quotient_up(N, tile.n), columns}; }

  constexpr std::size_t weights_bytes() const { return along_n().padded() * k_tiles() * b_bytes(form, tile); }
  constexpr std::size_t activations_bytes() const { return along_m().padded() * k_tiles() * a_bytes(form, tile); }
  constexpr std::size_t results() const { return along_n().padded() * along_m().tiles * tile.m * tile.n; }  // numbers

  // These functions return where a core tile begins. `n_tile`, `m_tile` and `k_tile` are its numbers along N, M and K. The place
  // counts bytes in the packed weights and activations, and numbers (elements) in the results.
  constexpr std::size_t weights_tile(std::size_t n_tile, std::size_t k_tile) const {
    return (along_n().place(n_tile) * k_tiles() + k_tile) * b_bytes(form, tile);
  }
  constexpr std::size_t activations_tile(std::size_t m_tile, std::size_t k_tile) const {
    return (along_m().place(m_tile) * k_tiles() + k_tile) * a_bytes(form, tile);
  }
  constexpr std::size_t results_tile(std::size_t m_tile, std::size_t n_tile) const {
    return (along_n().place(n_tile) * along_m().tiles + m_tile) * tile.m * tile.n;
  }
};

}}}  // namespace stilla::xdna

#include <stilla/base/pop_macros-inl.hpp>
