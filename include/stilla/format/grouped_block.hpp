// SPDX-License-Identifier: Apache-2.0
//
// Decodes a block whose groups have sub-scales, with or without minimums:
//
//     weight[k] = scale * sub_scale[g] * level[k] + minimum * sub_minimum[g]        g = k / F::group_weights
//
// level[k] is the codebook's entry for code[k], or code[k] less the zero point. F is a format with the members that integer
// kernels use (format/format.hpp).
#pragma once

#include <cstddef>

#include <stilla/base/types.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

// The level of weight k of a block: the integer that the scale multiplies.
template <class F>
constexpr int level_of(const std::byte* block, std::size_t k) {
  const int code = F::code(block, k);
  if constexpr (F::is_codebook) {
    return F::codebook[static_cast<std::size_t>(code)];
  } else {
    return code - F::zero_point;
  }
}

template <class F>
void decode_grouped_block(const std::byte* block, float* weights) {
  const float d = to_float(F::scale(block));
  for (std::size_t g = 0; g < F::block_weights / F::group_weights; ++g) {
    const float s = d * static_cast<float>(F::sub_scale(block, g));
    [[maybe_unused]] float m = 0;
    if constexpr (F::has_minimum) m = to_float(F::minimum(block)) * static_cast<float>(F::sub_minimum(block, g));
    for (std::size_t k = g * F::group_weights; k < (g + 1) * F::group_weights; ++k) {
      if constexpr (F::has_minimum) {
        weights[k] = s * static_cast<float>(level_of<F>(block, k)) + m;
      } else {
        weights[k] = s * static_cast<float>(level_of<F>(block, k));
      }
    }
  }
}

}  // namespace detail

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
