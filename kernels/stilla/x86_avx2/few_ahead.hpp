// SPDX-License-Identifier: Apache-2.0
//
// How many bytes ahead of their use the kernels for few tokens prefetch a panel into L1 on x86. They prefetch twice as far ahead
// into L2.
//
// Measured on a Zen 5 server with prefetching into L1 alone: of 1, 3, 4.5, 6, 9 and 12 KB, 6 KB was best for one token and 9 KB for
// several tokens. On a Granite Rapids server memory is too far away for the 16 cache lines that L1 can wait for. There the kernels were
// compared with the read bandwidth of one core, measured by a read loop that leaves prefetching to the hardware. Prefetching 6 KB ahead
// into L1 reached 67 % of this bandwidth, 2 KB ahead 96 %, 3 KB ahead with 6 KB into L2 106 %, and 16 KB farther into L2 98 %. What is
// fetched beyond a task's panels is fetched in vain if another thread has the next panels, so the distance is no larger than it needs
// to be.
#pragma once

#include <cstddef>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

constexpr std::size_t x86_few_ahead(std::size_t tokens) { return tokens == 1 ? 3072 : 4608; }

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
