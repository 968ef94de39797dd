// SPDX-License-Identifier: Apache-2.0
//
// How many bytes ahead of their use the kernels for few tokens prefetch a panel into L1 on x86. They prefetch twice as far ahead
// into L2.
//
// Measured on a Zen 5 server with prefetching into L1 alone: of 1, 3, 4.5, 6, 9 and 12 KB, 6 KB was best for one token and 9 KB for
// several tokens. On a Granite Rapids server memory takes longer to answer, and L1 can wait for only 16 cache lines at a time. There
// the kernels were compared with the read bandwidth of one core, measured by a read loop that leaves prefetching to the hardware.
// Prefetching into L1 alone reached 67 % of this bandwidth with 6 KB ahead, and 96 % with 2 KB. With 3 KB ahead into L1 and 6 KB
// into L2 it was 106 %, and 98 % when the distance into L2 was 16 KB more than that into L1. What is prefetched beyond a task's
// panels is of no use if another thread has the next panels, so the distance is no larger than it needs to be.
#pragma once

#include <cstddef>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

constexpr std::size_t x86_few_ahead(std::size_t tokens) { return tokens == 1 ? 3072 : 4608; }

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
