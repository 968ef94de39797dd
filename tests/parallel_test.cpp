// SPDX-License-Identifier: Apache-2.0
//
// Tests of ThreadPool and Parallel: every index is used exactly once, with more threads than cores, with jobs inside jobs, with
// jobs from several threads, and with a loop that the caller wrote and uses in place of a pool. The tests run under the thread
// sanitizer too.
#include <stilla/base/thread_pool.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

namespace {

using namespace stilla;

// Runs a job and checks that each index is used once. The counters are plain integers on purpose: if two threads took the same
// index, the thread sanitizer would report it.
void expect_once(ThreadPool& pool, std::size_t count) {
  std::vector<int> calls(count);
  pool(count, [&](std::size_t i) { ++calls[i]; });
  for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(calls[i], 1) << i << " of " << count << ", " << pool.size() << " threads";
}

TEST(ThreadPool, EveryIndexExactlyOnce) {
  for (const std::size_t threads : {0u, 1u, 2u, 3u, 7u, 16u, 64u}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads == 0 ? 1 : threads);
    for (const std::size_t count : {0u, 1u, 2u, 3u, 15u, 16u, 17u, 1000u}) expect_once(pool, count);
  }
}

TEST(ThreadPool, ManyShortJobsInARow) {
  for (const std::size_t threads : {2u, 5u}) {
    ThreadPool pool(threads);
    for (std::size_t round = 0; round < 3000; ++round) expect_once(pool, round % 9);
  }
}

// The pauses between jobs are longer than the workers spin (poll without sleeping), so the workers sleep and must be woken.
TEST(ThreadPool, WakesSleepers) {
  ThreadPool pool(4);
  for (int round = 0; round < 30; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    expect_once(pool, 64);
  }
}

TEST(ThreadPool, WhatAJobWroteIsSeenAfterIt) {
  ThreadPool pool(3);
  std::vector<std::size_t> values(1000);
  for (std::size_t round = 1; round <= 200; ++round) {
    pool(values.size(), [&](std::size_t i) { values[i] += i; });  // reads what another thread wrote earlier
    ASSERT_EQ(std::accumulate(values.begin(), values.end(), std::size_t{0}), round * 499500);
  }
}

TEST(ThreadPool, ManyThreadsTakePart) {
  ThreadPool pool(4);
  std::set<std::thread::id> seen;
  std::mutex mutex;
  // The loop is long enough that all sleeping threads of the pool wake, whatever else the machine does. It ends as soon as all four
  // threads have taken part in a job.
  for (int round = 0; round < 1000 && seen.size() < 4; ++round) {
    pool(8, [&](std::size_t) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      const std::lock_guard<std::mutex> lock(mutex);
      seen.insert(std::this_thread::get_id());
    });
  }
  EXPECT_EQ(seen.size(), 4u);
}

// A job that is started inside a job runs on the thread that started it, whether it uses the same pool or another.
TEST(ThreadPool, JobsInsideJobs) {
  ThreadPool pool(4), other(3);
  std::vector<int> calls(20 * 30);
  for (ThreadPool* inner : {&pool, &other}) {
    std::fill(calls.begin(), calls.end(), 0);
    pool(20, [&](std::size_t i) {
      const std::thread::id here = std::this_thread::get_id();
      (*inner)(30, [&](std::size_t j) {
        EXPECT_EQ(std::this_thread::get_id(), here);
        ++calls[i * 30 + j];
      });
    });
    for (const int c : calls) ASSERT_EQ(c, 1);
  }
  expect_once(pool, 100);  // outside of a job the pool is parallel again
}

TEST(ThreadPool, JobsFromSeveralThreads) {
  ThreadPool pool(3);
  std::vector<std::thread> callers;
  std::vector<std::vector<int>> calls(6, std::vector<int>(50));
  for (std::size_t c = 0; c < calls.size(); ++c) {
    callers.emplace_back([&, c] {
      for (int round = 0; round < 100; ++round) pool(calls[c].size(), [&](std::size_t i) { ++calls[c][i]; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::vector<int>& of_caller : calls) {
    for (const int c : of_caller) ASSERT_EQ(c, 100);
  }
}

TEST(ThreadPool, MadeAndUnmadeAtOnce) {
  for (std::size_t round = 0; round < 50; ++round) {
    ThreadPool pool(1 + round % 6);
    if (round % 2 == 0) expect_once(pool, 3);
  }
}

// A pool may be destroyed right after a job. A worker that the system delays then sees the last job and the end of the pool at the
// same time.
TEST(ThreadPool, UnmadeRightAfterAJob) {
  std::atomic<bool> hold{true};
  std::vector<std::thread> load;
  for (unsigned i = 0; i < 2 * std::thread::hardware_concurrency(); ++i) {
    load.emplace_back([&] {
      while (hold) {
      }
    });
  }
  for (std::size_t round = 0; round < 1000; ++round) {
    ThreadPool pool(2 + round % 3);
    for (std::size_t job = 0; job < round % 7; ++job) expect_once(pool, 100);
  }
  hold = false;
  for (std::thread& thread : load) thread.join();
}

// Tests of Parallel, the argument with which ops take a pool, or a loop that the caller wrote.

TEST(Parallel, DefaultIsSerialAndInOrder) {
  std::vector<std::size_t> order;
  Parallel()(5, [&](std::size_t i) { order.push_back(i); });
  EXPECT_EQ(order, (std::vector<std::size_t>{0, 1, 2, 3, 4}));
  Parallel()(0, [&](std::size_t) { ADD_FAILURE(); });
}

// A loop as a caller may write it. It is an object with state, and runs the indices backwards. Other tests use a lambda, a const
// lambda, or a pool.
struct Backwards {
  std::size_t jobs = 0;
  void operator()(std::size_t count, IndexFunction body) {
    ++jobs;
    for (std::size_t i = count; i-- > 0;) body(i);
  }
};

std::vector<std::size_t> order_of(Parallel parallel, std::size_t count) {
  std::vector<std::size_t> order;
  parallel(count, [&](std::size_t i) { order.push_back(i); });
  return order;
}

TEST(Parallel, TakesTheCallersLoop) {
  Backwards backwards;
  EXPECT_EQ(order_of(backwards, 4), (std::vector<std::size_t>{3, 2, 1, 0}));
  EXPECT_EQ(backwards.jobs, 1u);
  // A caller can give Parallel a loop that shares a job's indices among workers that all call the same op. This loop is called for a
  // job of a single index, too. If Parallel ran this index without the loop, every worker would run it.
  EXPECT_EQ(order_of(backwards, 1), std::vector<std::size_t>{0});
  EXPECT_EQ(backwards.jobs, 2u);
  EXPECT_TRUE(order_of(backwards, 0).empty());
  EXPECT_EQ(backwards.jobs, 2u);

  const auto odd_first = [](std::size_t count, IndexFunction body) {
    for (std::size_t i = 1; i < count; i += 2) body(i);
    for (std::size_t i = 0; i < count; i += 2) body(i);
  };
  EXPECT_EQ(order_of(odd_first, 5), (std::vector<std::size_t>{1, 3, 0, 2, 4}));
  const SerialFor serial;
  EXPECT_EQ(order_of(serial, 2), (std::vector<std::size_t>{0, 1}));

  const auto with_threads = [](std::size_t count, IndexFunction body) {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < count; ++i) threads.emplace_back([=] { body(i); });
    for (std::thread& thread : threads) thread.join();
  };
  std::atomic<std::size_t> sum{0};
  const Parallel parallel = with_threads;
  parallel(10, [&](std::size_t i) { sum += i; });
  EXPECT_EQ(sum, 45u);
}

void last_first(std::size_t count, IndexFunction body) {
  for (std::size_t i = count; i-- > 0;) body(i);
}

TEST(Parallel, TakesFunctionsAndTheirPointers) {
  const std::vector<std::size_t> expected{2, 1, 0};
  EXPECT_EQ(order_of(last_first, 3), expected);
  EXPECT_EQ(order_of(&last_first, 3), expected);
  void (*pointer)(std::size_t, IndexFunction) = last_first;
  const Parallel kept = pointer;
  pointer = nullptr;  // Parallel has its own copy of the pointer
  EXPECT_EQ(order_of(kept, 3), expected);
  EXPECT_EQ(order_of(pointer, 3), (std::vector<std::size_t>{0, 1, 2}));
}

// A Parallel that is stored lives longer than the statement that made it. So it must keep a copy of a lambda that existed only
// during that statement.
TEST(Parallel, KeepsACopyOfWhatIsMadeOnTheSpot) {
  std::size_t jobs = 0, tasks = 0, a = 1, b = 2, c = 3;
  const auto make = [&] {
    return Parallel([&jobs, &tasks, &a, &b, &c, calls = std::size_t{0}](std::size_t count, IndexFunction body) mutable {
      ++jobs;
      tasks += count + a + b + c;
      for (std::size_t i = count; i-- > 0;) body(i);
      calls += count;
      tasks += calls;
    });
  };
  const Parallel kept = make();
  const Parallel copy = kept;
  EXPECT_EQ(order_of(kept, 3), (std::vector<std::size_t>{2, 1, 0}));
  EXPECT_EQ(order_of(copy, 2), (std::vector<std::size_t>{1, 0}));
  EXPECT_EQ(jobs, 2u);
  EXPECT_EQ(tasks, (3u + 6 + 3) + (2 + 6 + 2));  // each copy has its own `calls`
  EXPECT_EQ(order_of(
                [](std::size_t count, IndexFunction body) {
                  for (std::size_t i = 0; i < count; i += 2) body(i);
                },
                5),
            (std::vector<std::size_t>{0, 2, 4}));
}

// A loop as a C library may have it: it takes a function and a pointer that it passes to this function, and nothing else.
void c_library_for(void (*task)(void*, std::size_t), void* data, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) task(data, i);
}
TEST(Parallel, BodiesAsFunctionAndPointer) {
  const auto pool = [](std::size_t count, IndexFunction body) { c_library_for(body.function(), body.object(), count); };
  EXPECT_EQ(order_of(pool, 3), (std::vector<std::size_t>{0, 1, 2}));
}

static_assert(std::is_constructible_v<Parallel, void (&)(std::size_t, IndexFunction)>);
static_assert(std::is_trivially_copyable_v<Parallel>);
static_assert(ParallelFor<ThreadPool> && ParallelFor<SerialFor> && ParallelFor<Backwards> && ParallelFor<const SerialFor>);
static_assert(!ParallelFor<int> && !ParallelFor<const Backwards>);

}  // namespace
