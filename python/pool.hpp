// SPDX-License-Identifier: Apache-2.0
//
// The threads that run the ops: one pool for the whole Python module. (A model has a pool of its own.)
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include <stilla/base/thread_pool.hpp>

namespace python {

// Returns the pool. It is made at its first use, with the number of threads with which the machine computes fastest, or with the number
// that set_op_threads() was given. It lives as long as somebody holds it.
std::shared_ptr<stilla::ThreadPool> op_threads();
// Sets the number of threads that ops use from the next op on. Without a number it is that with which the machine computes fastest.
void set_op_threads(std::optional<std::size_t> threads);
// Returns `threads`, or the number with which the machine computes fastest if `threads` is not given. Refuses 0.
std::size_t thread_count(std::optional<std::size_t> threads);

}  // namespace python
