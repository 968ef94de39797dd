// SPDX-License-Identifier: Apache-2.0
//
// The operations that tile_sweep.hpp is written against, its vocabulary: they work on AMX's eight tiles, of up to 16 rows x 64 bytes
// each. tests/amx_test.cpp has the same operations in plain C++, so that the kernel is tested where there is no such CPU.
//
//   instruction   what                                                  cycles, Sapphire Rapids (Intel's optimisation manual)
//   tdpbf16ps     c[m][n] += sum over k and j < 2 of a[m][2k + j] * b[k][2n + j]      16 until the next, 52 until the result
//   tileloadd     16 rows                                                             8
//   tilestored    16 rows                                                             16
//
// (A Granite Rapids server had the same throughputs for 16 rows.) Denormal factors and results count as 0.
//
// The operations are asm, because GCC's intrinsics are macros that paste the tile's number into a string: the number could not be
// a template argument.
#pragma once

#include <cstddef>
#include <cstdint>

#include <stilla/base/types.hpp>
#include <stilla/region.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The configuration of the tile registers, in the form that the instruction ldtilecfg reads: rows, and bytes per row, of each tile. A
// tile that has no rows must not be used.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  constexpr void set(int tile, std::size_t row_count, std::size_t bytes) {
    rows[tile] = static_cast<std::uint8_t>(row_count);
    row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  }
};
static_assert(sizeof(TileShapes) == 64);

#if STILLA_ARCH_X86 && defined(__GNUC__)
#define STILLA_HAS_TILES 1
struct HardwareTiles {
  static void configure(const TileShapes& shapes) { __asm__ volatile("ldtilecfg %0" : : "m"(shapes)); }  // sets all tiles to zero
  static void release() { __asm__ volatile("tilerelease"); }
  template <int tile>
  static STILLA_INLINE void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(tile));
  }
  // Loads a tile from the memory at `from` + `at` bytes. `at` is part of the instruction, so that many places share one register.
  template <int tile, int at = 0>
  static STILLA_INLINE void load(const void* from, std::size_t stride) {
    __asm__ volatile("tileloadd %c3(%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(tile), "i"(at) : "memory");
  }
  // Loads a tile of data that is not read again soon: such data is the first to leave L1.
  template <int tile>
  static STILLA_INLINE void load_once(const void* from, std::size_t stride) {
    __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(tile) : "memory");
  }
  template <int tile, int at = 0>
  static STILLA_INLINE void store(void* to, std::size_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, %c3(%0,%1,1)" : : "r"(to), "r"(stride), "i"(tile), "i"(at) : "memory");
  }
  // For all rows m and columns n of the tile `sum`: sum[m][n] += sum over k and j < 2 of a[m][2k + j] * b[k][2n + j]. The numbers of a and
  // b are bf16, and those of `sum` are floats.
  template <int sum, int a, int b>
  static STILLA_INLINE void dot_bf16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
  }
};
#else
#define STILLA_HAS_TILES 0
#endif

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
