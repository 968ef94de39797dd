// SPDX-License-Identifier: Apache-2.0
//
// IQ2_XXS, IQ2_XS and IQ2_S: 256 weights in 66, 74 and 82 bytes; 2.0625, 2.3125 and 2.5625 bits per weight. GGUF tensor types 16,
// 17 and 22; the layouts are those of ggml's reference.
//
//     weight[k] = scale / 8 * (2 * stored[g] + 1) * sign[k] * magnitude[k]        magnitude 8, 25 or 43
//
// stored[g] is a number of 4 bits, which belongs to group g alone; all groups of a block share `scale`. Eight magnitudes together
// are an entry of a grid (iq_grids.hpp). The grids of the three formats have 256, 512 and 1024 entries. With e = k / 8 and i = k %
// 8, magnitude[k] is the i-th magnitude of grid[index[e]]. The signs of eight weights are one byte: bit i belongs to the i-th
// weight and is 1 if that weight is negative. IQ2_XXS and IQ2_XS store only seven bits of this byte; the eighth bit makes the
// number of ones even. g = k / 32 for IQ2_XXS, k / 16 for IQ2_XS and IQ2_S.
//
//     IQ2_XXS   byte  0        2                                                                            66
//                     | scale  | 8 runs of 8 bytes for 32 weights each: 4 bytes index, then a u32:           |
//                     |  f16   | bits 7e .. 7e + 6 (e = 0..3) signs, bits 28 .. 31 stored                    |
//
//     IQ2_XS    byte  0        2                                          66                                74
//                     | scale  | 32 words of 16 bits: bits 0 .. 8 index,  | stored: byte b, low nibble =     |
//                     |  f16   | bits 9 .. 15 signs                       | stored[2b], high = stored[2b + 1]|
//
//     IQ2_S     byte  0        2                34            66                             74             82
//                     | scale  | 32 bytes index | 32 bytes    | upper index bits: byte b,    | stored, as    |
//                     |  f16   | % 256          | signs       | bits 2q, 2q + 1 =            | in IQ2_XS     |
//                     |        |                |             | index[4 b + q] / 256         |               |
//
// There is no encoder. A program that makes such files chooses the grid's entries by how much each weight matters, and it must
// first find this out from sample texts (calibration).
//
// Kernels see three bits, the number of the magnitude and the sign, as a code of a codebook that has the magnitudes with both
// signs. So a packed weight takes 3.5625 bits (layout/rows16_k4.hpp), and the kernels that read the panels need no grid. On AVX2,
// gathering grid entries by the indices of 16 rows took 17 times as long as unpacking these codes (kernels/README.md, "What was
// tried first"). The three formats share panels and kernels, those of IQ2_S (PanelFormat in format/format.hpp).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/base/types.hpp>
#include <stilla/format/iq_grids.hpp>
#include <stilla/format/scaled_f16.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct IQ2_S;

namespace detail {

// The signs of eight weights from the seven bits that are stored. The eighth bit makes the number of ones even.
constexpr unsigned signs_of_seven(unsigned seven) { return seven | (static_cast<unsigned>(std::popcount(seven)) & 1u) << 7; }

// The common part of IQ2_XXS, IQ2_XS and IQ2_S. F::entry(block, e) is the index and the signs of weights 8 e .. 8 e + 7.
// F::stored(block, g) is the stored number of weights 16 g .. 16 g + 15.
struct GridEntry {
  unsigned index;
  unsigned signs;
};
template <class F>
struct Iq2 {
  using PanelFormat = IQ2_S;
  static constexpr std::size_t block_weights = 256;

  // The following members describe the codes and scales of the format to the kernels that multiply integers. format/format.hpp says
  // what each of them means.
  static constexpr unsigned code_bits = 3;
  static constexpr int zero_point = 0;
  static constexpr std::size_t group_weights = 16;
  static constexpr bool has_sub_scales = true;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = true;

  static constexpr std::array<std::int8_t, 8> codebook{8, 25, 43, 0, -8, -25, -43, 0};

  static constexpr int code(const std::byte* block, std::size_t k) {
    const GridEntry e = F::entry(block, k / 8);
    return static_cast<int>((unsigned{F::grid[e.index]} >> (k % 8 * 2) & 3u) | (e.signs >> (k % 8) & 1u) << 2);
  }
  static scaled_f16<-3> scale(const std::byte* block) { return {load_as<f16>(block)}; }
  static int sub_scale(const std::byte* block, std::size_t g) { return 2 * F::stored(block, g) + 1; }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    for (std::size_t e = 0; e < block_weights / 8; ++e) {
      const float s = d * static_cast<float>(sub_scale(block, e / 2));
      const GridEntry entry = F::entry(block, e);
      const unsigned magnitudes = F::grid[entry.index];
      for (std::size_t i = 0; i < 8; ++i) {
        const unsigned c = (magnitudes >> (2 * i) & 3u) | (entry.signs >> i & 1u) << 2;
        weights[8 * e + i] = s * static_cast<float>(codebook[c]);
      }
    }
  }
};

constexpr unsigned byte_at(const std::byte* block, std::size_t i) { return std::to_integer<unsigned>(block[i]); }
// Nibble i of an array with two nibbles in a byte, the first one in the low half.
constexpr int nibble_at(const std::byte* from, std::size_t i) { return static_cast<int>(byte_at(from, i / 2) >> (i % 2 * 4) & 15u); }

}  // namespace detail

struct IQ2_XXS : detail::Iq2<IQ2_XXS> {
  static constexpr std::string_view name = "iq2_xxs";
  static constexpr std::size_t block_bytes = 66;
  static constexpr const auto& grid = detail::iq2_xxs_grid;

  static constexpr detail::GridEntry entry(const std::byte* block, std::size_t e) {
    const std::byte* run = block + 2 + e / 4 * 8;
    return {detail::byte_at(run, e % 4), detail::signs_of_seven(load_as<std::uint32_t>(run + 4) >> (e % 4 * 7) & 127u)};
  }
  static int stored(const std::byte* block, std::size_t g) { return std::to_integer<int>(block[2 + g / 2 * 8 + 7]) >> 4; }
};

struct IQ2_XS : detail::Iq2<IQ2_XS> {
  static constexpr std::string_view name = "iq2_xs";
  static constexpr std::size_t block_bytes = 74;
  static constexpr const auto& grid = detail::iq2_xs_grid;

  static constexpr detail::GridEntry entry(const std::byte* block, std::size_t e) {
    const unsigned word = load_as<std::uint16_t>(block + 2 + 2 * e);
    return {word & 511u, detail::signs_of_seven(word >> 9)};
  }
  static int stored(const std::byte* block, std::size_t g) { return detail::nibble_at(block + 66, g); }
};

struct IQ2_S : detail::Iq2<IQ2_S> {
  static constexpr std::string_view name = "iq2_s";
  static constexpr std::size_t block_bytes = 82;
  static constexpr const auto& grid = detail::iq2_s_grid;

  static constexpr detail::GridEntry entry(const std::byte* block, std::size_t e) {
    const unsigned upper = detail::byte_at(block, 66 + e / 4) >> (e % 4 * 2) & 3u;
    return {detail::byte_at(block, 2 + e) | upper << 8, detail::byte_at(block, 34 + e)};
  }
  static int stored(const std::byte* block, std::size_t g) { return detail::nibble_at(block + 74, g); }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
