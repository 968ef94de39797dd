// SPDX-License-Identifier: Apache-2.0
//
// ST4, Stilla's own format: 128 weights in 68 bytes, 4.25 bits per weight. GGUF has no such type; requantise_rows() makes such
// weights (encode_rows.hpp).
//
//     weight[k] = scale * sub_scale[g] * codebook[code[k]]        g = k / 32, code 0..15
//     scale     = (1 + m/8) * 2^(e - 28)                          e = 0..31, m = 0..7, no sign, no zero
//     sub_scale = -32..31
//
//     byte  0                                              4                                           68
//           | word, u32:                                   | codes, 4 runs of 16 bytes                 |
//           |   bits 6g .. 6g+5: sub_scale[g]              | run g, byte j: low nibble = code[32g + j],|
//           |   bits 24..26: m      bits 27..31: e         |               high = code[32g + 16 + j]   |
//
// The word is all that 128 weights of a row have besides their codes. So the words of 16 rows are one vector of 32-bit lanes, a
// scale is taken out of it by shifts, and packed panels take 4.25 bits too.
//
// The table was measured on Qwen2.5-Coder-0.5B, all matrices but the head, 681 positions (bench/compare_formats.py). It has the
// bits of a weight in a file and in packed panels, the KL divergence from the results with the file's own weights, and how often
// the likeliest token is the same (top-1). The speed (columns M = 1 and M = 512, the number of tokens) is the median time of Q4_K
// divided by that of the format, so larger is faster: 17920 x 1536 on one thread of a busy Zen 5 server, seven interleaved
// repetitions (bench/matmul_bench, MatMul/avx512vnni/<format>/1.5B_gate_up/a8/M1 and M512):
//
//              bits, in panels     KL      top-1    M = 1    M = 512
//     Q4_0     4.5    4.5        0.077    88.8 %    1.10      1.06
//     IQ4_NL   4.5    4.5        0.043    91.3 %
//     IQ4_XS   4.25   4.3125     0.044    90.9 %
//     ST4      4.25   4.25       0.034    91.2 %    1.17      1.07
//     Q4_K     4.5    4.625      0.029    93.7 %    1         1
//
// Some variants of the format were worse in a simulation. The squared errors of two layers' outputs were larger than with ST4: by
// 2 % with a scale without mantissa, by 3 % if sub-scales have exponents of their own, by 20 % with one unsigned E5M3 scale per 32
// weights and no scale of the block, by 9 % with the levels of IQ4_NL, and by 60 % with evenly spaced levels whose products with
// 4-bit sub-scales are bytes. Weighting the errors by the mean squares of the inputs (importance.hpp) makes the error of the
// products 14 % smaller. Over the prompts of the table this changes KL by less than the standard error of KL: it becomes 0.0328
// with the mean squares of 6148 tokens of other text.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <stilla/base/types.hpp>
#include <stilla/format/even_levels.hpp>
#include <stilla/format/rounding.hpp>
#include <stilla/format/scale_search.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// A positive number with 5 bits of exponent and 3 bits of mantissa, 2^-28 .. 15. Its bits are upper bits of a float, with another
// bias of the exponent.
struct ue5m3 {
  static constexpr unsigned lowest_exponent = 127 - 28;  // as the exponent field of a float
  std::uint8_t bits = 0;
};

constexpr float to_float(ue5m3 x) {
  return std::bit_cast<float>((static_cast<std::uint32_t>(x.bits) << 20) + (ue5m3::lowest_exponent << 23));
}

struct ST4 {
  static constexpr std::string_view name = "st4";
  static constexpr std::size_t block_weights = 128;
  static constexpr std::size_t block_bytes = 68;

  // The following members describe the codes and scales of the format to the kernels that multiply integers. format/format.hpp says
  // what each of them means.
  static constexpr unsigned code_bits = 4;
  static constexpr int zero_point = 0;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = true;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = true;

  // The levels with the least squared error over groups of trained weights. They were found by Lloyd's algorithm, with the scale
  // and sign of every group chosen as in encode(). The weights were already quantised in their file, so each weight was spread over
  // its quantisation step.
  static constexpr std::array<std::int8_t, 16> codebook{-127, -100, -79, -62, -46, -32, -19, -8, 2, 12, 23, 35, 49, 64, 82, 108};

  static constexpr int code(const std::byte* block, std::size_t k) { return detail::split_nibble(block + 4 + k / 32 * 16, k % 32); }
  static constexpr void set_code(std::byte* block, std::size_t k, int code) {
    detail::set_split_nibble(block + 4 + k / 32 * 16, k % 32, code);
  }
  static constexpr std::uint32_t scale_word(const std::byte* block) { return load_as<std::uint32_t>(block); }
  static constexpr ue5m3 scale_of(std::uint32_t word) { return {static_cast<std::uint8_t>(word >> 24)}; }
  static constexpr int sub_scale_of(std::uint32_t word, std::size_t g) {
    return static_cast<std::int32_t>(word << (26 - 6 * g)) >> 26;  // the shift right copies the sign
  }
  static ue5m3 scale(const std::byte* block) { return scale_of(scale_word(block)); }
  static int sub_scale(const std::byte* block, std::size_t g) { return sub_scale_of(scale_word(block), g); }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    for (std::size_t g = 0; g < n_groups; ++g) {
      const float s = d * static_cast<float>(sub_scale(block, g));
      for (std::size_t k = g * group_weights; k < (g + 1) * group_weights; ++k) {
        weights[k] = s * static_cast<float>(codebook[static_cast<std::size_t>(code(block, k))]);
      }
    }
  }

  // Chooses scales by least squares in two passes. The first pass finds a scale for each group. It tries both signs and a few
  // distances between levels, and computes for each of them the scale that fits the nearest levels best. It keeps the best of these
  // scales. The second pass tries a few scales of the block, and for each group the sub-scales around the one that the first pass
  // asked for. The decisions are the same with every compiler, for the reasons that scale_search.hpp gives. Weights above 59000 are
  // cut off to the largest level.
  static void encode(const float* weights, std::byte* block, const float* importance = nullptr) {
    double wishes[n_groups];
    double longest = 0;
    for (std::size_t g = 0; g < n_groups; ++g) {
      wishes[g] = fit(weights + g * group_weights, detail::importance_from(importance, g * group_weights));
      longest = std::fabs(wishes[g]) > longest ? std::fabs(wishes[g]) : longest;
    }
    const unsigned first = scale_at_least(longest / 31.75);
    double best_gain = -1;
    std::uint32_t best_word = 0;
    for (unsigned bits = first; bits < first + tried_scales && bits < 256; ++bits) {
      const auto d = static_cast<double>(to_float(ue5m3{static_cast<std::uint8_t>(bits)}));
      std::uint32_t word = bits << 24;
      double gain = 0;
      for (std::size_t g = 0; g < n_groups; ++g) {
        const Choice choice =
            choose_sub_scale(weights + g * group_weights, d, wishes[g], detail::importance_from(importance, g * group_weights));
        gain += choice.gain;
        word |= (static_cast<std::uint32_t>(choice.sub_scale) & 63u) << (6 * g);
      }
      if (gain > best_gain) {
        best_gain = gain;
        best_word = word;
      }
    }
    store_as(block, best_word);
    const double d = static_cast<double>(to_float(scale_of(best_word)));
    for (std::size_t g = 0; g < n_groups; ++g) {
      const int sub = sub_scale_of(best_word, g);
      const float halves = sub == 0 ? 0.0f : halves_of(d * sub);
      const float* group = weights + g * group_weights;
      for (std::size_t j = 0; j < 16; ++j) {
        const unsigned low = nearest_code[half_index(group[j], halves)];
        const unsigned high = nearest_code[half_index(group[j + 16], halves)];
        block[4 + g * 16 + j] = static_cast<std::byte>(low | high << 4);
      }
    }
  }

 private:
  static constexpr std::size_t n_groups = block_weights / group_weights;
  static constexpr unsigned tried_scales = 3;

  // The table nearest_code has the code whose level is nearest to x, where x is a weight divided by its scale. The code is the same
  // for all x of [i/2, (i+1)/2), where i is an integer, because the border between two neighbouring levels is half their sum. The table
  // has this code at index i + 256.
  static constexpr auto nearest_code = [] {
    std::array<std::uint8_t, 512> codes{};
    for (int i = 0; i < 512; ++i) {
      std::uint8_t code = 0;
      while (code < 15 && i - 256 >= codebook[code] + codebook[code + 1u]) ++code;
      codes[static_cast<std::size_t>(i)] = code;
    }
    return codes;
  }();
  static constexpr auto nearest_level = [] {
    std::array<std::int8_t, 512> levels{};
    for (std::size_t i = 0; i < 512; ++i) levels[i] = codebook[nearest_code[i]];
    return levels;
  }();
  // half_index() gives the index in the tables nearest_code and nearest_level for x = weight / scale: x in halves, plus 256, within
  // 0 .. 511; 0 for NaN. `halves` is 2 / scale as a float, so that its product with the weight is exact in double.
  static float halves_of(double scale) { return static_cast<float>(2 / scale); }
  static std::size_t half_index(float weight, float halves) {
    double at = static_cast<double>(weight) * static_cast<double>(halves) + 256.0;
    at = at > 0 ? at : 0;
    return static_cast<std::size_t>(at < 511 ? at : 511);
  }

  // Two sums over a group whose weights were rounded to levels: weight_level is the sum of weight * level, and level_level that of
  // level * level, each term times the weight's importance. With a scale s, the squared error of the group is the sum of the
  // squared weights less (2 s weight_level - s s level_level).
  struct Sums {
    double weight_level;
    double level_level;
  };
  static Sums sums(const float* group, double scale, const float* importance) {
    const float halves = halves_of(scale);
    double weight_level[4] = {};
    double level_level[4] = {};
    for (std::size_t k = 0; k < group_weights; k += 4) {
      for (std::size_t i = 0; i < 4; ++i) {
        const double level = nearest_level[half_index(group[k + i], halves)];
        const double important_level = detail::importance_of(importance, k + i) * level;
        weight_level[i] += static_cast<double>(group[k + i]) * important_level;
        level_level[i] += level * important_level;
      }
    }
    return {(weight_level[0] + weight_level[1]) + (weight_level[2] + weight_level[3]),
            (level_level[0] + level_level[1]) + (level_level[2] + level_level[3])};
  }

  // The scale that would be best for a group if a scale could be any number.
  static double fit(const float* group, const float* importance) {
    const double extreme = static_cast<double>(detail::extreme_of(group, group_weights));
    double best_gain = 0;
    double best = 0;
    // Each trial maps the weight of the group's largest magnitude to one of these levels, which lie on both sides of the last
    // levels of the codebook, -127 and 108.
    for (const double level : {-104., -112., -119., -127., -136., -148., 88., 95., 101., 108., 116., 126.}) {
      const double scale = extreme / level;
      const Sums s = sums(group, scale, importance);
      const double gain = s.weight_level * s.weight_level / s.level_level;
      if (gain > best_gain) {
        best_gain = gain;
        best = s.weight_level / s.level_level;
      }
    }
    return best;
  }

  struct Choice {
    int sub_scale;
    double gain;
  };
  static Choice choose_sub_scale(const float* group, double d, double wish, const float* importance) {
    Choice best{0, 0};
    const double wished = wish / d;
    const int nearest = wished <= -32 ? -32 : wished >= 31 ? 31 : static_cast<int>(std::floor(wished + 0.5));
    for (int sub = nearest - 1; sub <= nearest + 1; ++sub) {
      if (sub == 0 || sub < -32 || sub > 31) continue;
      const double scale = d * sub;  // exact: at most 10 significant bits
      const Sums s = sums(group, scale, importance);
      const double gain = std::fma(2 * scale, s.weight_level, -(scale * scale * s.level_level));
      if (gain > best.gain) best = {sub, gain};
    }
    return best;
  }

  // Returns the bits of the lowest ue5m3 that is at least x, or of the highest ue5m3 if none is.
  static unsigned scale_at_least(double x) {
    unsigned low = 0;
    unsigned high = 255;
    while (low < high) {
      const unsigned middle = (low + high) / 2;
      if (static_cast<double>(to_float(ue5m3{static_cast<std::uint8_t>(middle)})) >= x) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
