// SPDX-License-Identifier: Apache-2.0
//
// The skeleton target's arrangement of activations: first the high planes of all blocks, block by block, then the scales of the
// rounded sums. The target's kernels do not read it, only the test does. A task takes at most 20 tokens.
#pragma once

#include <cstring>

#include <stilla/contract/activation_form.hpp>
#include <stilla/skeleton/target.hpp>

namespace stilla { inline namespace STILLA_ABI {

template <>
struct ActivationForm<Skeleton> {
  static constexpr TargetId id = Skeleton::id;
  static constexpr std::size_t fewest = 8, tokens = 20;

  static std::size_t bytes(std::size_t rows, std::size_t cols, ActivationBits) {
    return rows < fewest ? 0 : rows * (cols + cols / sums_block * sizeof(float));
  }
  static void arrange(const ArrangedActivations& to, const ActivationQ8& from, std::size_t m, std::size_t block, std::size_t blocks) {
    for (std::size_t b = block; b < block + blocks; ++b) {
      std::memcpy(to.data + (b * to.rows + to.first + m) * activation_block, from.row_values(m) + b * activation_block, activation_block);
    }
  }
  static void arrange_sums(const ArrangedActivations& to, const ActivationQ8& from, std::size_t m) {
    const std::size_t count = to.cols / sums_block;
    std::byte* at = to.data + to.rows * to.cols + (to.first + m) * count * sizeof(float);
    for (std::size_t i = 0; i < count; ++i) store_as(at + i * sizeof(float), from.row_rounded_sums(m)[i].scale);
  }
  static std::size_t tokens_per_task(const ActivationQ8& x) { return x.arranged.data != nullptr && x.rows > tokens ? tokens : x.rows; }
};

}}  // namespace stilla
