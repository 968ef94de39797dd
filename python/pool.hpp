// SPDX-License-Identifier: Apache-2.0
//
// The threads of the ops: one pool for the whole module. (A model has a pool of its own.)
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include <stilla/base/thread_pool.hpp>

namespace python {

// The pool. It is made at its first use, with the number of threads with which the machine computes fastest. It lives as long as
// somebody holds it.
std::shared_ptr<stilla::ThreadPool> op_threads();
// From the next op on, uses another number of threads; without a number, the machine's.
void set_op_threads(std::optional<std::size_t> threads);
// `threads`, or the machine's number of threads. 0 is refused.
std::size_t thread_count(std::optional<std::size_t> threads);

}  // namespace python
