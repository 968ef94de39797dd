// SPDX-License-Identifier: Apache-2.0
//
// Threads belong to the caller. An op that can use several of them takes a `Parallel`: a reference to anything callable
// as pool(count, body) that calls body(i) exactly once for every i in [0, count), in any order, on any threads, and
// returns when all are done (the ParallelFor concept). Two are offered: SerialFor, the default, and ThreadPool.
//
// Results never depend on the number of threads: work is split over outputs, never inside a sum.
#pragma once

#include <atomic>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <thread>
#include <type_traits>
#include <vector>

#include <stilla/config.hpp>

#if STILLA_ARCH_X86
#include <emmintrin.h>  // _mm_pause
#endif

namespace stilla::inline STILLA_ABI {

// A reference to a callable taking an index. Valid as long as the callable is.
class IndexFunction {
 public:
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, IndexFunction>)
  IndexFunction(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, std::size_t i) { (*static_cast<std::remove_reference_t<F>*>(object))(i); }) {}
  void operator()(std::size_t i) const { call_(object_, i); }

 private:
  void* object_;
  void (*call_)(void*, std::size_t);
};

template <class P>
concept ParallelFor = requires(P& pool, std::size_t count, IndexFunction body) { pool(count, body); };

// Everything on the calling thread.
struct SerialFor {
  void operator()(std::size_t count, IndexFunction body) const {
    for (std::size_t i = 0; i < count; ++i) body(i);
  }
};

// What ops take: a reference to some ParallelFor. Default: serial.
class Parallel {
 public:
  Parallel() = default;
  template <class P>
    requires(!std::same_as<std::remove_cvref_t<P>, Parallel> && ParallelFor<P>)
  Parallel(P& pool)
      : pool_(const_cast<void*>(static_cast<const void*>(&pool))),
        run_([](void* p, std::size_t count, IndexFunction body) { (*static_cast<P*>(p))(count, body); }) {}

  void operator()(std::size_t count, IndexFunction body) const {
    if (run_ == nullptr || count == 1) {
      SerialFor{}(count, body);
    } else if (count != 0) {
      run_(pool_, count, body);
    }
  }

 private:
  void* pool_ = nullptr;
  void (*run_)(void*, std::size_t, IndexFunction) = nullptr;
};

// A small pool: `threads` - 1 workers and the caller. Indices are handed out one by one from a shared counter, so cores of
// unequal speed finish together. Workers spin for a moment between jobs and then sleep. One job at a time; a job started
// from inside a job runs on the thread that started it. If the system grants fewer threads, the pool has fewer.
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
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      job_number_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  std::size_t size() const { return workers_.size() + 1; }

  void operator()(std::size_t count, IndexFunction body) {
    if (workers_.empty() || count <= 1 || inside_job()) return SerialFor{}(count, body);
    const std::lock_guard<std::mutex> one_job_at_a_time(caller_mutex_);
    body_ = &body;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    working_.store(workers_.size(), std::memory_order_relaxed);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_number_.fetch_add(1, std::memory_order_release);
    }
    if (sleeping_.load(std::memory_order_relaxed) != 0) wake_.notify_all();
    take_indices();
    for (unsigned spins = 0; working_.load(std::memory_order_acquire) != 0;) {
      if (++spins < spins_before_yield) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  static constexpr std::size_t max_threads = 1024;
  // About 50 microseconds at 4 GHz: longer than the serial gaps inside a layer, shorter than a human notices.
  static constexpr unsigned spins_before_sleep = 2000;
  // After this the waiting thread gives its core away, which keeps an oversubscribed machine moving.
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

  void take_indices() {
    inside_job() = true;
    for (;;) {
      const std::size_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= count_) break;
      (*body_)(i);
    }
    inside_job() = false;
  }

  void work() {
    std::uint64_t seen = 0;
    for (;;) {
      unsigned spins = 0;
      while (job_number_.load(std::memory_order_acquire) == seen) {
        if (++spins < spins_before_sleep) {
          pause();
          continue;
        }
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1, std::memory_order_relaxed);
        wake_.wait(lock, [&] { return job_number_.load(std::memory_order_relaxed) != seen; });
        sleeping_.fetch_sub(1, std::memory_order_relaxed);
      }
      ++seen;
      if (stopping_) return;
      take_indices();
      working_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex caller_mutex_;  // held for the length of a job
  std::mutex mutex_;         // guards sleeping and waking
  std::condition_variable wake_;
  std::atomic<std::uint64_t> job_number_{0};
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> working_{0};
  std::atomic<std::size_t> sleeping_{0};
  const IndexFunction* body_ = nullptr;
  std::size_t count_ = 0;
  bool stopping_ = false;
};

}  // namespace stilla::STILLA_ABI
