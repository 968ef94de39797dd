// SPDX-License-Identifier: Apache-2.0
//
// The threads that run the ops: one pool for the whole Python module. (A model has a pool of its own.)
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include <stilla/base/thread_pool.hpp>

namespace python {

// Returns the pool. It is made at its first use, with the number of threads with which the machine computes fastest. It lives as
// long as somebody holds it.
std::shared_ptr<stilla::ThreadPool> op_threads();
// Uses another number of threads from the next op on. Without a number, the machine decides.
void set_op_threads(std::optional<std::size_t> threads);
// Returns `threads`, or the machine's number of threads if it is not given. 0 is refused.
std::size_t thread_count(std::optional<std::size_t> threads);

}  // namespace python
