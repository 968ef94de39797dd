// SPDX-License-Identifier: Apache-2.0
//
// Sizes of attention heads. The head size of a model may be any multiple of 4 up to max_head_dim (contract/attention.hpp); the
// kernels take multiples of 16. A head of another size is padded with zeros in the cache and in the queries. These zeros add
// nothing to a score, and the outputs behind the model's size are dropped. So D of the kernels' contract is padded_head_dim() of
// the model's head size, and the factor of the scores is 1 / sqrt of the model's own size. For sizes from 20 on, at most 3 of 8
// multiplications are with zeros (size 20 is padded to 32); for size 100 of OpenLLaMA 3B it is one in ten. Only a remainder loop
// in every kernel would avoid these multiplications.
#pragma once

#include <cstddef>

#include <stilla/contract/attention.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

inline constexpr std::size_t head_dim_step = 4;

constexpr std::size_t padded_head_dim(std::size_t head_dim) { return (head_dim + key_tile - 1) / key_tile * key_tile; }

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
