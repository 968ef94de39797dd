// SPDX-License-Identifier: Apache-2.0
//
// Sizes of attention heads. Models have any multiple of 4 up to max_head_dim (contract/attention.hpp); the kernels take
// multiples of 16. A head of another size is filled up with zeros in the cache and in the queries, which add nothing to a score,
// and what comes out behind it is left away. So D of the kernels' contract is padded_head_dim() of the model's, and the scores'
// factor is 1 / sqrt of the model's own. From 20 on at most 3 of 8 multiplications are with zeros (size 20, which takes 32), with the
// 100 of OpenLLaMA 3B one in ten; tails in every kernel would save them.
#pragma once

#include <cstddef>

#include <stilla/contract/attention.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

inline constexpr std::size_t head_dim_step = 4;

constexpr std::size_t padded_head_dim(std::size_t head_dim) { return (head_dim + key_tile - 1) / key_tile * key_tile; }

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
