// SPDX-License-Identifier: Apache-2.0
#include "pool.hpp"

#include <mutex>

#if !defined(_WIN32)
#include <unistd.h>
#endif

#include <stilla/base/cores.hpp>

#include "errors.hpp"

namespace python {
namespace {

// The pool of the ops. Threads do not follow a process through fork(). So a forked child makes a pool of its own, and leaves
// the inherited pool as it is: joining its threads, which do not exist in the child, would never end.
struct OpThreads {
  std::mutex mutex;
  std::optional<std::size_t> wanted;
  std::shared_ptr<stilla::ThreadPool>* pool = nullptr;
  long process = 0;
};
OpThreads& state() {
  static auto* const threads = new OpThreads;  // never destroyed: an op may still run in another thread when the process ends
  return *threads;
}

long this_process() {
#if defined(_WIN32)
  return 0;
#else
  return static_cast<long>(getpid());
#endif
}

}  // namespace

std::size_t thread_count(std::optional<std::size_t> threads) {
  if (threads == 0) refuse("threads: found 0, expected at least 1");
  return threads ? *threads : stilla::read_cores().threads();
}

std::shared_ptr<stilla::ThreadPool> op_threads() {
  OpThreads& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.pool == nullptr || s.process != this_process()) {
    s.pool = new std::shared_ptr(std::make_shared<stilla::ThreadPool>(thread_count(s.wanted)));
    s.process = this_process();
  }
  return *s.pool;
}

void set_op_threads(std::optional<std::size_t> threads) {
  thread_count(threads);
  OpThreads& s = state();
  const std::lock_guard lock(s.mutex);
  s.wanted = threads;
  if (s.process == this_process()) delete s.pool;
  s.pool = nullptr;
}

}  // namespace python
