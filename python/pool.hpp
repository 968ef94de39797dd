// SPDX-License-Identifier: Apache-2.0
//
// The threads of the ops, one pool for the whole module. (A model has a pool of its own.)
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include <stilla/base/thread_pool.hpp>

namespace python {

// The pool, made at its first use with as many threads as the machine computes fastest with. Whoever holds it keeps it alive.
std::shared_ptr<stilla::ThreadPool> op_threads();
// Another number of threads from the next op on; none: the machine's.
void set_op_threads(std::optional<std::size_t> threads);
// `threads`, or the machine's number; refused: 0.
std::size_t thread_count(std::optional<std::size_t> threads);

}  // namespace python
