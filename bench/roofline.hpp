// SPDX-License-Identifier: Apache-2.0
//
// The two limits that a kernel's speed is judged by. They are measured beside the kernel, so that a report gives a share of the
// limit and not only a time:
//
//     ReadProbe::bytes_per_second   what some threads read from a gigabyte of memory. Decode (M = 1) reads every weight once
//                                   and computes little with it, so this is its limit.
//     macs_per_second               multiply-adds that some threads do with a target's dot-product instruction, on registers
//                                   only. Prefill (large M) computes much with every weight, so this is its limit.
//
// Each limit is measured in three rounds of a few hundredths of a second, and the best round counts, because any disturbance
// only makes a round slower. But the speed of the machine itself changes from second to second (heat, power limits, other users
// of a shared server), and the speed of the kernel changes with it. So a report measures the limits just before and just after
// each of its runs.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <stilla/all_targets/peak.hpp>
#include <stilla/base/aligned.hpp>
#include <stilla/base/cpu.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/region.hpp>
#include <stilla/targets.hpp>

#if STILLA_ARCH_X86
#include <immintrin.h>
#endif

namespace stilla_bench {

using stilla::MacLoop;

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

namespace detail {

// The loops that only read memory, to measure its speed, write a result to the variable `sink`, so that the compiler cannot remove them.
inline volatile std::uint64_t sink = 0;

#if STILLA_ARCH_X86
STILLA_TARGET_BEGIN("avx2")
inline void read_avx2(const std::byte* data, std::size_t bytes) {
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  for (std::size_t i = 0; i + 128 <= bytes; i += 128) {
    const auto* line = reinterpret_cast<const __m256i*>(data + i);
    a = _mm256_xor_si256(a, _mm256_load_si256(line));
    b = _mm256_xor_si256(b, _mm256_load_si256(line + 1));
    c = _mm256_xor_si256(c, _mm256_load_si256(line + 2));
    d = _mm256_xor_si256(d, _mm256_load_si256(line + 3));
  }
  const __m256i all = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
  sink = static_cast<std::uint64_t>(_mm256_extract_epi64(all, 0) ^ _mm256_extract_epi64(all, 3));
}
STILLA_TARGET_END
#endif

inline void read_portable(const std::byte* data, std::size_t bytes) {
  std::uint64_t sums[8] = {};
  for (std::size_t i = 0; i + 64 <= bytes; i += 64) {
    std::uint64_t words[8];
    std::memcpy(words, data + i, 64);
    for (std::size_t j = 0; j < 8; ++j) sums[j] ^= words[j];
  }
  for (const std::uint64_t sum : sums) sink = sum;
}

inline void read(const std::byte* data, std::size_t bytes) {
#if STILLA_ARCH_X86
  if (stilla::Avx2::available(stilla::cpu_info())) return read_avx2(data, bytes);
#endif
  read_portable(data, bytes);
}

}  // namespace detail

// The two loops of multiply-adds, one of bytes and one of floats, whose speed bounds a target's matmuls. For a target without vectors they
// are the loops of the first available target that has vectors, which is the best target of this CPU.
struct MacLoops {
  MacLoop int8, f32;
};
inline MacLoops mac_loops(std::string_view target) {
  MacLoops own, best;
  stilla::for_each_type(stilla::Targets{}, [&]<class T>(T) {
    const MacLoops loops{stilla::PeakLoops<T>::int8, stilla::PeakLoops<T>::f32};
    if (target == T::id.name) own = loops;
    if (best.int8.run == nullptr && T::available(stilla::cpu_info())) best = loops;
  });
  return own.int8.run != nullptr ? own : best;
}

// Returns how many multiply-adds `threads` threads do in a second by running `loop`. If loop.run is null, no loop is known for the
// target, and the result is 0. `parallel` is the pool of these threads.
inline double macs_per_second(const MacLoop& loop, stilla::Parallel parallel, std::size_t threads) {
  if (loop.run == nullptr) return 0.0;
  constexpr std::size_t rounds = 50000;
  const std::size_t pieces = 64 * threads;  // a piece takes about 0.1 ms
  double best = 0.0;
  for (int round = 0; round < 3; ++round) {
    const auto start = std::chrono::steady_clock::now();
    parallel(pieces, [&](std::size_t) { loop.run(rounds); });
    best = std::max(best, loop.macs_per_round * static_cast<double>(rounds * pieces) / seconds_since(start));
  }
  return best;
}

inline constexpr std::size_t roofline_bytes = std::size_t{1} << 30;

// Returns how many bytes per second the threads of `parallel` read from the memory at `data`, which has `bytes` bytes. This memory must
// have been written to before.
inline double bytes_per_second(const std::byte* data, std::size_t bytes, stilla::Parallel parallel) {
  constexpr std::size_t piece = std::size_t{1} << 20;
  const std::size_t pieces = bytes / piece;
  double best = 0.0;
  for (int round = 0; round < 3; ++round) {
    const auto start = std::chrono::steady_clock::now();
    parallel(pieces, [&](std::size_t i) { detail::read(data + i * piece, piece); });
    best = std::max(best, static_cast<double>(pieces * piece) / seconds_since(start));
  }
  return best;
}

// Measures how fast a gigabyte of memory is read, which is many times the size of the last-level cache.
class ReadProbe {
 public:
  // Returns the bytes per second, or 0 if there is no memory to measure with.
  double bytes_per_second(stilla::Parallel parallel) {
    if (memory_.size() == 0) {
      if (!memory_.resize(roofline_bytes)) return 0.0;
      // The memory is written to before it is read. Otherwise every page of it would be the same single page of zeros.
      std::memset(memory_.data(), 1, memory_.size());
    }
    return stilla_bench::bytes_per_second(memory_.data(), memory_.size(), parallel);
  }

 private:
  stilla::AlignedBuffer<std::byte> memory_;
};

}  // namespace stilla_bench
