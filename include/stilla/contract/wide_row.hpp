// SPDX-License-Identifier: Apache-2.0
//
// The rule that selects the wide rows of mixed activations: the rows of 8 bits (contract/activation_q8.hpp) that get 16 bits as
// well.
//
//     wide  =  the square of the largest scale  >  1/2 * the sum of the squares of all scales       over a row's blocks of 32
//
// The rule depends on the row's values and scales alone. These are the same bits on every target, so the same rows are wide in
// every batch, with any number of threads, for prompts and for single tokens. The computation uses integers only, because scales
// are powers of two. Blocks of zeros do not count. Squares below 2^-30 of the largest one count as 0. A row with a NaN is wide.
//
// A scale stands for the largest magnitude of its block, so a wide row is a row in which almost everything is one value. Such a
// row is the input of a network for a token with massive activations (Sun et al., Massive Activations in Large Language Models,
// 2024): the first token of a text and a few others. The attention of all other tokens reads these tokens, so their errors spread
// to every token. The table shows the mean KL divergence from activations of 16 bits, the KL divergence of the worst position, and
// the shares of rows that are wide (which differ from input to input), on a real 1.5B model (Qwen2.5-Coder Q4_K_M, 681 positions).
// "down" is the last matrix of a feed-forward network, which follows gate and up. The energy of a row is the sum of the squares of
// its values. The two lines in the middle are simulated; the last line is what is done.
//
//     all rows of 8 bits                                                   0.0039    0.94
//     wide if one value has 1/4 of the row's energy (1/2 for down)         0.00041   0.010    1.3 to 2.7 % of rows
//     this rule for every input, also for that of down                     0.00043   0.011    1.3 and 1.8 % of rows, down 6.0 %
//     this rule; a row of down is wide where that of gate and up is        0.00042   0.0064   1.3 and 1.8 % of rows
//
// The rule by the share of the energy (second line) would need another pass over each row, and its KL divergence is nearly the
// same. The input of down is rounded piece by piece as it is made (fused.hpp), so the rule cannot be applied to its rows before
// they are rounded; and most rows that the rule would select there are ordinary rows of the first layers. The remaining error comes
// from the rounding of all other rows; contract/activation_q8.hpp says why their scales are no finer. The rule takes 0.1 us for a
// row of 1536 (one Zen 3 core). Rows of only two or three blocks are mostly wide.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <stilla/contract/activation_q8.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Whether a row must be wide, by the rule at the top of this file. `values` are the row's `blocks` blocks of 32 values, rounded to
// 8 bits, and `scales` has a scale for each block. A row without blocks is not wide.
inline bool is_wide_row(const std::int8_t* values, const float* scales, std::size_t blocks) {
  const auto bits_of = [](float scale) { return std::bit_cast<std::uint32_t>(scale); };
  const auto counts = [&](std::size_t b) {  // a block of zeros has scale 1
    const std::int8_t* const v = values + b * activation_block;
    return scales[b] != 1.0f || std::any_of(v, v + activation_block, [](std::int8_t value) { return value != 0; });
  };
  std::uint32_t highest = 0;
  for (std::size_t b = 0; b < blocks; ++b) {
    if (bits_of(scales[b]) > highest && counts(b)) highest = bits_of(scales[b]);
  }
  constexpr std::uint64_t one = std::uint64_t{1} << 30;  // stands for the square of the largest scale
  std::uint64_t sum = 0;
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::uint32_t shift = (highest - bits_of(scales[b])) >> 22;  // twice the difference of exponents
    if (shift <= 30 && counts(b)) sum += one >> shift;
  }
  return highest != 0 && 2 * one > sum;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
