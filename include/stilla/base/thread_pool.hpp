// SPDX-License-Identifier: Apache-2.0
//
// A pool of threads for callers that have none of their own (base/parallel.hpp says what ops take).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include <stilla/base/config.hpp>
#include <stilla/base/parallel.hpp>

#if STILLA_ARCH_X86
#include <emmintrin.h>  // _mm_pause
#elif STILLA_ARCH_ARM && defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>  // __yield
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// A small pool: `threads` - 1 workers and the caller. The indices of a job are handed out from a shared counter, several neighbouring
// ones at a time, and fewer and fewer at a time towards the end of the job. So cores of unequal speed finish together, and if the
// system keeps a worker from running, the pool hardly waits for it: the other workers take the indices that are left. Workers spin for
// a moment between jobs and then sleep. The pool runs one job at a time; a job that is started from inside a job runs on the thread
// that started it. If the system grants fewer threads, the pool has fewer.
//
// One integer of 64 bits, the ticket, holds the job's number and its next index. A worker takes indices by compare-and-swap on the
// ticket, so a late worker can take indices only from the job that it has seen. As long as a worker holds an index, the caller waits,
// and the body of the job stays valid.
class ThreadPool {
 public:
  explicit ThreadPool(std::size_t threads) {
    const std::size_t wanted = threads > max_threads ? max_threads : threads;
    for (std::size_t i = 1; i < wanted; ++i) {
      if (!start_worker()) break;
    }
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() {
    stopping_.store(true, std::memory_order_relaxed);
    publish(0, nullptr);
    for (std::thread& worker : workers_) worker.join();
  }

  std::size_t size() const { return workers_.size() + 1; }

  void operator()(std::size_t count, IndexFunction body) {
    if (workers_.empty() || count <= 1 || count > max_indices || inside_job()) return SerialFor{}(count, body);
    const std::lock_guard<std::mutex> one_job_at_a_time(caller_mutex_);
    publish(static_cast<std::uint32_t>(count), &body);
    take_indices();
    for (unsigned spins = 0; done_.load(std::memory_order_acquire) != count;) {
      if (++spins < spins_before_yield) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  static constexpr std::size_t max_threads = 1024;
  // The ticket holds a job's number and the next index to take. The value `closed` in place of the index says that the job has no
  // index left to take.
  static constexpr std::uint32_t closed = 0xffffffffu;
  static constexpr std::size_t max_indices = closed - 1;
  // A worker that waits for a job spins spins_before_sleep times before it sleeps. This takes about 50 microseconds at 4 GHz. That is
  // longer than what a model computes on one thread between two jobs of a layer, and shorter than a human notices.
  static constexpr unsigned spins_before_sleep = 2000;
  // After spins_before_yield spins the caller, which waits for the workers, yields its core to other threads. If there are more
  // threads than cores, a worker that is not yet done may need this core.
  static constexpr unsigned spins_before_yield = 2000;

  static bool& inside_job() {
    static thread_local bool inside = false;
    return inside;
  }

  static void pause() {
#if STILLA_ARCH_X86
    _mm_pause();
#elif STILLA_ARCH_ARM && (defined(__GNUC__) || defined(__clang__))
    __asm__ volatile("yield");
#elif STILLA_ARCH_ARM && defined(_MSC_VER)
    __yield();
#endif
  }

  bool start_worker() {
#if defined(__cpp_exceptions)
    try {
      workers_.emplace_back([this] { work(); });
    } catch (...) {
      return false;
    }
#else
    workers_.emplace_back([this] { work(); });
#endif
    return true;
  }

  static std::uint32_t job_of(std::uint64_t ticket) { return static_cast<std::uint32_t>(ticket >> 32); }
  static std::uint32_t index_of(std::uint64_t ticket) { return static_cast<std::uint32_t>(ticket); }

  // Starts the next job. The ticket is the integer that holds a job's number and the job's next index. It is closed, so that it gives
  // no more indices, before count and body change. So a worker that reads the new count can no longer take indices from the old job.
  // The mutex ensures that no worker misses the job: a worker takes the mutex before it looks at the ticket for the last time, and
  // gives it back only when it sleeps. The ticket gets the new job under the same mutex, so never between that look and the sleep,
  // when the call that wakes the workers would come too early for this worker.
  void publish(std::uint32_t count, const IndexFunction* body) {
    const std::uint64_t job = job_of(ticket_.load(std::memory_order_relaxed));
    ticket_.store(job << 32 | closed, std::memory_order_relaxed);
    count_.store(count, std::memory_order_release);
    done_.store(0, std::memory_order_relaxed);
    body_ = body;
    bool anyone_sleeps = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ticket_.store((job + 1) << 32, std::memory_order_release);
      anyone_sleeps = sleeping_ != 0;
    }
    if (anyone_sleeps) wake_.notify_all();
  }

  // Takes and runs indices of the present job until none are left, and returns the job's number. A thread takes runs of
  // neighbouring indices; each run is half of the thread's share of the remaining indices (Polychronopoulos and Kuck, "Guided
  // self-scheduling", 1987). Neighbouring indices are near in memory, so a thread still reads weights as a stream. The last runs
  // are single indices, so that unequal cores finish together.
  std::uint32_t take_indices() {
    inside_job() = true;
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    for (;;) {
      const std::uint32_t first = index_of(ticket), count = count_.load(std::memory_order_acquire);
      if (first >= count) break;
      const auto share = static_cast<std::uint32_t>((count - first) / (2 * size()));
      const std::uint32_t run = share == 0 ? 1 : share;
      if (ticket_.compare_exchange_weak(ticket, ticket + run, std::memory_order_acq_rel, std::memory_order_acquire)) {
        for (std::uint32_t i = first; i < first + run; ++i) (*body_)(i);
        done_.fetch_add(run, std::memory_order_release);
        ticket = ticket_.load(std::memory_order_acquire);
      }
    }
    inside_job() = false;
    return job_of(ticket);
  }

  void work() {
    std::uint32_t seen = 0;
    for (;;) {
      for (unsigned spins = 0; job_of(ticket_.load(std::memory_order_acquire)) == seen;) {
        if (++spins < spins_before_sleep) {
          pause();
          continue;
        }
        std::unique_lock<std::mutex> lock(mutex_);
        ++sleeping_;
        wake_.wait(lock, [&] { return job_of(ticket_.load(std::memory_order_acquire)) != seen; });
        --sleeping_;
      }
      seen = take_indices();
      // The test whether the pool ends comes after taking indices and not before. A worker that woke up for an earlier job may find
      // the last, empty job, which the destructor starts, only when it takes indices. An earlier test might miss the end of the
      // pool, and the worker would then wait for another job forever.
      if (stopping_.load(std::memory_order_relaxed)) return;
    }
  }

  std::vector<std::thread> workers_;
  std::mutex caller_mutex_;  // held for the length of a job
  std::mutex mutex_;         // guards sleeping and waking
  std::condition_variable wake_;
  std::size_t sleeping_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint32_t> count_{0};
  const IndexFunction* body_ = nullptr;
  alignas(64) std::atomic<std::uint64_t> ticket_{0};  // job number in the upper half, next index in the lower
  alignas(64) std::atomic<std::uint64_t> done_{0};
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
