// SPDX-License-Identifier: Apache-2.0
//
// The row rule of mixed activations: which rows of 8 bits (contract/activation_q8.hpp) are to have 16.
//
//     wide  =  the square of the largest scale  >  1/2 * the sum of the squares of all scales       over a row's blocks of 32
//
// It depends on the row's values and scales alone, and these are the same bits on every target, so the same rows are wide in
// every batch, with any number of threads, for prompts and single tokens. The arithmetic is integers': scales are powers of two.
// Blocks of zeros do not count; squares below 2^-30 of the largest count as 0; a row with a NaN is wide.
//
// A scale stands for its block's largest magnitude, so a wide row is almost one value: the input of a network for a token with
// massive activations (Sun et al., Massive Activations in Large Language Models, 2024), the first of a text and a few others. All
// other tokens' attention reads those tokens, so that their errors are everybody's. On a real 1.5B model (Qwen2.5-Coder Q4_K_M,
// 681 positions) mean KL from activations of 16 bits and the worst position's; the two lines in the middle are simulated:
//
//     all rows of 8 bits                                                   0.0039    0.94
//     wide where one value has 1/4 of the row's energy (1/2 for down)      0.00041   0.010    1.3 to 2.7 % of rows
//     this rule for every input, down's own too                            0.00043   0.011    1.3 and 1.8 % of rows, down 6.0 %
//     this rule, a row of down's wide where that of gate and up is: used   0.00042   0.0064   1.3 and 1.8 % of rows
//
// The share of energy would need another pass over each row for the same result. Down's input is rounded piece by piece as it is
// made (fused.hpp), so its rows cannot be asked first, and most that its own rule names are ordinary ones of the first layers.
// What is left is the rounding of all other rows; contract/activation_q8.hpp says why their scales are no finer.
// Asking takes 0.1 us for a row of 1536 (one Zen 3 core). Rows of two or three blocks are mostly wide.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <stilla/contract/activation_q8.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Of a row with so many blocks of 32 values of 8 bits. No blocks: false.
inline bool is_wide_row(const std::int8_t* values, const float* scales, std::size_t blocks) {
  const auto bits_of = [](float scale) { return std::bit_cast<std::uint32_t>(scale); };
  const auto counts = [&](std::size_t b) {  // zeros have scale 1
    const std::int8_t* const v = values + b * activation_block;
    return scales[b] != 1.0f || std::any_of(v, v + activation_block, [](std::int8_t value) { return value != 0; });
  };
  std::uint32_t highest = 0;
  for (std::size_t b = 0; b < blocks; ++b) {
    if (bits_of(scales[b]) > highest && counts(b)) highest = bits_of(scales[b]);
  }
  constexpr std::uint64_t one = std::uint64_t{1} << 30;  // the square of the largest
  std::uint64_t sum = 0;
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::uint32_t shift = (highest - bits_of(scales[b])) >> 22;  // twice the difference of exponents
    if (shift <= 30 && counts(b)) sum += one >> shift;
  }
  return highest != 0 && 2 * one > sum;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
