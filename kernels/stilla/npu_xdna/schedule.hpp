// SPDX-License-Identifier: Apache-2.0
//
// Plans which buffers of a product stand in the memories of AMD's NPU XDNA2. These are the 64 KiB of each core and the 512 KiB of
// the memory tile that each column of cores has. A, B and C are core tiles of the activations, the weights and the results
// (tiles.hpp).
//
//   core (L1)         A, B        twice each, so that a DMA fills one while the core reads the other
//                     C           twice where there is room, else once: then the core waits while C leaves
//                     scales      a float for each column of C, twice: int8 only
//                     stack       3328 bytes, what mlir-aie's whole_array.py gives the bfp16 kernel
//   memory tile (L2)  A           `depth` core tiles along K for each row of cores that this column feeds, twice
//                     B           `depth` core tiles along K, twice
//                     C           one core tile for each of the column's four cores, twice
//
// The first four columns feed A to the four rows of cores; with fewer columns, each column feeds more rows. The depth is as large
// as the memory tile allows, because long transfers from main memory cost least.
//
// A static_assert below checks that every matrix of R1-Distill-Qwen fits, with every form and number of columns. The sizes follow
// from these rules and were not measured.
#pragma once

#include <cstddef>
#include <string>

#include <stilla/base/error.hpp>
#include <stilla/contract/r1_models.hpp>
#include <stilla/npu_xdna/tiles.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace xdna {

inline constexpr std::size_t stack_bytes = 0xd00;

struct Schedule {
  CoreTile tile;
  std::size_t c_buffers = 1;
  std::size_t depth = 0;        // core tiles along K that a memory tile holds at once; 0 if it is too small
  std::size_t core_bytes = 0;   // how much of a core's 64 KiB is used
  std::size_t memory_bytes = 0;  // how much of a memory tile's 512 KiB is used, in the column that uses most

  constexpr bool fits() const { return depth != 0 && core_bytes <= core_memory_bytes && memory_bytes <= memory_tile_bytes; }
};

// Returns how many rows of cores a column's memory tile feeds with activations, if `columns` columns are used. The NPU has four
// rows of cores.
constexpr std::size_t rows_fed(std::size_t columns) { return detail::quotient_up(core_rows, columns); }

// Returns the schedule of a product with weights W[N, K] on `columns` columns of the NPU's cores: which buffers a core and a memory tile
// hold, and how many bytes they take. `tile` gives the sizes of the core tiles.
constexpr Schedule schedule(Form form, CoreTile tile, std::size_t columns, std::size_t K) {
  Schedule s;
  s.tile = tile;
  const std::size_t a = a_bytes(form, tile), b = b_bytes(form, tile), c = c_bytes(tile);
  const std::size_t scales = form == Form::int8 ? 2 * tile.n * sizeof(float) : 0;
  const std::size_t rest = 2 * a + 2 * b + scales + stack_bytes;
  s.c_buffers = rest + 2 * c <= core_memory_bytes ? 2 : 1;
  s.core_bytes = rest + s.c_buffers * c;
  const std::size_t results = 2 * core_rows * c, strip = 2 * (rows_fed(columns) * a + b);
  const std::size_t k_tiles = detail::quotient_up(K, tile.k);
  if (results + strip <= memory_tile_bytes) s.depth = (memory_tile_bytes - results) / strip;
  if (s.depth > k_tiles) s.depth = k_tiles;
  s.memory_bytes = results + s.depth * strip;
  return s;
}

namespace detail {

constexpr bool every_r1_matrix_fits() {
  for (const R1Model& model : r1_models) {
    for (const R1Matrix& matrix : r1_matrices(model)) {
      for (const Form form : forms) {
        for (std::size_t columns = 1; columns <= max_columns; ++columns) {
          for (const CoreTile& tile : {CoreTile{}, step_tile(form)}) {
            if (!is_whole(form, tile) || !schedule(form, tile, columns, matrix.K).fits()) return false;
            // Each of these matrices consists of whole core tiles, so no core tile has to be filled up with zeros. The only padding is
            // whole core tiles along N, where the NPU's columns of cores would otherwise have different numbers of core tiles.
            if (matrix.K % tile.k != 0 || matrix.N % tile.n != 0) return false;
          }
        }
      }
    }
  }
  return true;
}
static_assert(every_r1_matrix_fits(), "a matrix of R1-Distill-Qwen does not fit the memories of XDNA2");
static_assert(!schedule(Form::bf16, {64, 128, 128}, 8, 1536).fits(), "a core tile that is too large is found out");

}  // namespace detail

// Returns the schedules of R1-Distill-Qwen's matrices on all columns, as a Markdown table. kernels/README.md has some of its numbers.
// The text ends in a newline.
inline std::string schedule_markdown() {
  std::string out =
      "| model | matrix | N x K | form | core tile | C buffers | bytes of a core, of 65536 | k tiles at once | "
      "bytes of a memory tile, of 524288 |\n|---|---|---|---|---|---|---|---|---|\n";
  for (const R1Model& model : r1_models) {
    for (const R1Matrix& matrix : r1_matrices(model)) {
      for (const Form form : forms) {
        for (const CoreTile& tile : {CoreTile{}, step_tile(form)}) {
          const Schedule s = schedule(form, tile, max_columns, matrix.K);
          out += concat("| ", model.name, " | ", matrix.name, " | ", matrix.N, " x ", matrix.K, " | ", form_name(form));
          out += concat(" | ", tile.m, " x ", tile.k, " x ", tile.n, " | ", s.c_buffers, " | ", s.core_bytes, " | ", s.depth);
          out += concat(" | ", s.memory_bytes, " |\n");
        }
      }
    }
  }
  return out;
}

}}}  // namespace stilla::xdna

#include <stilla/base/pop_macros-inl.hpp>
