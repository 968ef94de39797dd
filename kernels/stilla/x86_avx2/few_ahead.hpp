// SPDX-License-Identifier: Apache-2.0
//
// How far ahead of use the kernels for few tokens fetch a panel into L1, and twice as far into L2, on x86.
//
// On a Zen 5 server, with L1 alone, 6 KB did best for one token of 1, 3, 4.5, 6, 9 and 12 KB, and 9 KB for several. On a Granite
// Rapids server, where memory is too far away for the 16 lines that L1 can wait for, that was 67 % of the read bandwidth of one
// core, 2 KB 96 %, and 3 KB with 6 KB into L2 106 % (the read loop leaves it to the hardware); 16 KB farther into L2 98 %. What
// is fetched beyond a task's panels is fetched in vain if another thread has the next ones, so not farther than it helps.
#pragma once

#include <cstddef>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

constexpr std::size_t x86_few_ahead(std::size_t tokens) { return tokens == 1 ? 3072 : 4608; }

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
