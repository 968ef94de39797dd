// SPDX-License-Identifier: Apache-2.0
//
// IQ3_XXS and IQ3_S: 256 weights in 98 and 110 bytes; 3.0625 and 3.4375 bits per weight. GGUF tensor types 18 and 21; the layouts
// are those of ggml's reference.
//
//     IQ3_XXS   weight[k] = scale / 4 * (2 * stored[g] + 1) * sign[k] * magnitude[k]      magnitude 4, 12, 20, 28, 36, 44, 52, 62
//     IQ3_S     weight[k] = scale * (2 * stored[g] + 1) * sign[k] * magnitude[k]          magnitude 1, 3, 5, 7, 9, 11, 13, 15
//
// stored[g] is a number of 4 bits, which belongs to group g alone; all groups of a block share `scale`. Four magnitudes together
// are an entry of a grid (iq_grids.hpp). The grids of the two formats have 256 and 512 entries. With e = k / 4, i = k % 4 and g = k
// / 32, magnitude[k] is the i-th magnitude of grid[index[e]]. The signs of eight weights are one byte, in which a 1 means a
// negative weight. IQ3_XXS stores only seven bits of this byte; the eighth bit makes the number of ones even.
//
//     IQ3_XXS   byte  0        2                66                                                                    98
//                     | scale  | 64 bytes index | 8 words of 32 bits, for 32 weights each: bits 7j .. 7j + 6 (j = 0..3) |
//                     |  f16   |                | signs of eight weights, bits 28 .. 31 stored                          |
//
//     IQ3_S     byte  0        2                66                      74         106                                110
//                     | scale  | 64 bytes index | upper index bits:     | 32 bytes | stored: byte b, low nibble =       |
//                     |  f16   | % 256          | byte g, bit j =       | signs    | stored[2b], high = stored[2b + 1]  |
//                     |        |                | index[8 g + j] / 256  |          |                                    |
//
// There is no encoder. A program that makes such files chooses the grid's entries by how much each weight matters, and it must
// first find this out from sample texts (calibration).
//
// Kernels see four bits, the number of the magnitude and the sign, as a code of the codebook. The codebook of IQ3_XXS has the
// magnitudes of the list above divided by 2, and that of IQ3_S has them multiplied by 2. In return, the scale that kernels see is
// scale / 2, where the formulas above have scale / 4 and scale. So the weights are exactly the same numbers. A packed weight takes
// 4.3125 bits, and kernels need no grid (iq2.hpp says how slow a grid would be).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/base/types.hpp>
#include <stilla/format/iq2.hpp>
#include <stilla/format/iq_grids.hpp>
#include <stilla/format/scaled_f16.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

// The common part of IQ3_XXS and IQ3_S. The grid's entry number F::index(block, e) has the magnitudes of the four weights from 4 e
// on. F::signs(block, j) is the byte with the signs of the eight weights from 8 j on.
template <class F>
struct Iq3 {
  static constexpr std::size_t block_weights = 256;

  // The following members describe the codes and scales of the format to the kernels that multiply integers. format/format.hpp says
  // what each of them means.
  static constexpr unsigned code_bits = 4;
  static constexpr int zero_point = 0;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = true;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = true;

  static constexpr int code(const std::byte* block, std::size_t k) {
    const unsigned magnitude = unsigned{F::grid[F::index(block, k / 4)]} >> (k % 4 * 3) & 7u;
    return static_cast<int>(magnitude | (F::signs(block, k / 8) >> (k % 8) & 1u) << 3);
  }
  static scaled_f16<-1> scale(const std::byte* block) { return {load_as<f16>(block)}; }
  static int sub_scale(const std::byte* block, std::size_t g) { return 2 * F::stored(block, g) + 1; }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    for (std::size_t e = 0; e < block_weights / 4; ++e) {
      const float s = d * static_cast<float>(sub_scale(block, e / 8));
      const unsigned magnitudes = F::grid[F::index(block, e)], signs = F::signs(block, e / 2) >> (e % 2 * 4);
      for (std::size_t i = 0; i < 4; ++i) {
        const unsigned c = (magnitudes >> (3 * i) & 7u) | (signs >> i & 1u) << 3;
        weights[4 * e + i] = s * static_cast<float>(F::codebook[c]);
      }
    }
  }
};

}  // namespace detail

struct IQ3_S : detail::Iq3<IQ3_S> {
  static constexpr std::string_view name = "iq3_s";
  static constexpr std::size_t block_bytes = 110;
  static constexpr const auto& grid = detail::iq3_s_grid;
  static constexpr std::array<std::int8_t, 16> codebook{2, 6, 10, 14, 18, 22, 26, 30, -2, -6, -10, -14, -18, -22, -26, -30};

  static constexpr unsigned index(const std::byte* block, std::size_t e) {
    return detail::byte_at(block, 2 + e) | (detail::byte_at(block, 66 + e / 8) >> (e % 8) & 1u) << 8;
  }
  static constexpr unsigned signs(const std::byte* block, std::size_t j) { return detail::byte_at(block, 74 + j); }
  static int stored(const std::byte* block, std::size_t g) { return detail::nibble_at(block + 106, g); }
};

struct IQ3_XXS : detail::Iq3<IQ3_XXS> {
  using PanelFormat = IQ3_S;
  static constexpr std::string_view name = "iq3_xxs";
  static constexpr std::size_t block_bytes = 98;
  static constexpr const auto& grid = detail::iq3_xxs_grid;
  static constexpr std::array<std::int8_t, 16> codebook{2, 6, 10, 14, 18, 22, 26, 31, -2, -6, -10, -14, -18, -22, -26, -31};

  static constexpr unsigned index(const std::byte* block, std::size_t e) { return detail::byte_at(block, 2 + e); }
  static constexpr unsigned signs(const std::byte* block, std::size_t j) {
    return detail::signs_of_seven(load_as<std::uint32_t>(block + 66 + j / 4 * 4) >> (j % 4 * 7) & 127u);
  }
  static int stored(const std::byte* block, std::size_t g) { return std::to_integer<int>(block[66 + 4 * g + 3]) >> 4; }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
