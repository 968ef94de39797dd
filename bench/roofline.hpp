// SPDX-License-Identifier: Apache-2.0
//
// The two limits that a kernel's speed is judged by, measured here and now, so that a report is a share and not a
// bare time:
//
//   read_bandwidth(pool)    bytes per second that `pool` reads from a gigabyte of memory. Decode (M = 1) reads every
//                           weight once and does little with it: its limit.
//   int8_peak(pool)         multiplications and additions per second of the CPU's best int8 dot-product instruction on
//                           registers only, as `pool` runs it. Prefill (many M) does much with every weight: its limit.
//
// Both are the best of several rounds, once per number of threads and program.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>

#include <stilla/aligned.hpp>
#include <stilla/cpu.hpp>
#include <stilla/parallel.hpp>

#if STILLA_ARCH_X86
#include <immintrin.h>
#endif

namespace stilla_bench {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

inline constexpr std::size_t roofline_bytes = std::size_t{1} << 30;

namespace detail {

// Where results go, so that no loop can be left out.
inline volatile std::uint64_t sink = 0;

#if STILLA_ARCH_X86
__attribute__((target("avx2"))) inline void read_avx2(const std::byte* data, std::size_t bytes) {
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
  if (stilla::CpuInfo::bit(stilla::cpu_info().leaf7.ebx, 5) && stilla::cpu_info().saves_ymm())
    return read_avx2(data, bytes);
#endif
  read_portable(data, bytes);
}

// One loop of an int8 instruction: `rounds` times 12 independent accumulators, which hides a latency of 6 cycles on two
// ports.
#if STILLA_ARCH_X86
#define STILLA_BENCH_TWELVE(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)

__attribute__((target("avx512f,avx512vnni"))) inline void dot_avx512vnni(std::size_t rounds) {
  const __m512i u = _mm512_set1_epi8(3), s = _mm512_set1_epi8(5);
#define STILLA_BENCH_DECLARE(i) __m512i acc##i = _mm512_set1_epi32(i);
  STILLA_BENCH_TWELVE(STILLA_BENCH_DECLARE)
#undef STILLA_BENCH_DECLARE
  for (std::size_t r = 0; r < rounds; ++r) {
#define STILLA_BENCH_STEP(i) acc##i = _mm512_dpbusd_epi32(acc##i, u, s);
    STILLA_BENCH_TWELVE(STILLA_BENCH_STEP)
#undef STILLA_BENCH_STEP
  }
#define STILLA_BENCH_FOLD(i) acc0 = _mm512_xor_si512(acc0, acc##i);
  STILLA_BENCH_TWELVE(STILLA_BENCH_FOLD)
#undef STILLA_BENCH_FOLD
  sink = static_cast<std::uint64_t>(_mm512_reduce_add_epi32(acc0));
}

__attribute__((target("avx2,avxvnni"))) inline void dot_avxvnni(std::size_t rounds) {
  const __m256i u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(5);
#define STILLA_BENCH_DECLARE(i) __m256i acc##i = _mm256_set1_epi32(i);
  STILLA_BENCH_TWELVE(STILLA_BENCH_DECLARE)
#undef STILLA_BENCH_DECLARE
  for (std::size_t r = 0; r < rounds; ++r) {
#define STILLA_BENCH_STEP(i) acc##i = _mm256_dpbusd_avx_epi32(acc##i, u, s);
    STILLA_BENCH_TWELVE(STILLA_BENCH_STEP)
#undef STILLA_BENCH_STEP
  }
#define STILLA_BENCH_FOLD(i) acc0 = _mm256_xor_si256(acc0, acc##i);
  STILLA_BENCH_TWELVE(STILLA_BENCH_FOLD)
#undef STILLA_BENCH_FOLD
  sink = static_cast<std::uint64_t>(_mm256_extract_epi64(acc0, 0) ^ _mm256_extract_epi64(acc0, 3));
}

// Without VNNI a dot product is three instructions: pairs of bytes, pairs of words, the sum.
__attribute__((target("avx2"))) inline void dot_avx2(std::size_t rounds) {
  const __m256i u = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
#define STILLA_BENCH_DECLARE(i) __m256i acc##i = _mm256_set1_epi32(i);
  STILLA_BENCH_TWELVE(STILLA_BENCH_DECLARE)
#undef STILLA_BENCH_DECLARE
  for (std::size_t r = 0; r < rounds; ++r) {
    // The accumulator itself is the signed operand, or the compiler would take the products out of the loop.
#define STILLA_BENCH_STEP(i) \
  acc##i = _mm256_add_epi32(acc##i, _mm256_madd_epi16(_mm256_maddubs_epi16(u, acc##i), ones));
    STILLA_BENCH_TWELVE(STILLA_BENCH_STEP)
#undef STILLA_BENCH_STEP
  }
#define STILLA_BENCH_FOLD(i) acc0 = _mm256_xor_si256(acc0, acc##i);
  STILLA_BENCH_TWELVE(STILLA_BENCH_FOLD)
#undef STILLA_BENCH_FOLD
  sink = static_cast<std::uint64_t>(_mm256_extract_epi64(acc0, 0) ^ _mm256_extract_epi64(acc0, 3));
}
#undef STILLA_BENCH_TWELVE
#endif

struct DotInstruction {
  const char* name = "none known";
  void (*run)(std::size_t rounds) = nullptr;
  double operations_per_round = 0.0;  // a multiplication and an addition are two
};

}  // namespace detail

// The best int8 dot-product instruction of this CPU.
inline detail::DotInstruction int8_instruction() {
#if STILLA_ARCH_X86
  const stilla::CpuInfo& cpu = stilla::cpu_info();
  const auto bit = stilla::CpuInfo::bit;
  constexpr unsigned avx512f = 16, avx512vnni = 11, avxvnni = 4,
                     avx2 = 5;  // leaf 7 ebx, ecx; leaf (7, 1) eax; leaf 7 ebx
  if (cpu.saves_zmm() && bit(cpu.leaf7.ebx, avx512f) && bit(cpu.leaf7.ecx, avx512vnni)) {
    return {"vpdpbusd zmm", detail::dot_avx512vnni, 12 * 64 * 2};
  }
  if (cpu.saves_ymm() && bit(cpu.leaf7_1.eax, avxvnni)) return {"vpdpbusd ymm", detail::dot_avxvnni, 12 * 32 * 2};
  if (cpu.saves_ymm() && bit(cpu.leaf7.ebx, avx2)) return {"vpmaddubsw ymm", detail::dot_avx2, 12 * 32 * 2};
#endif
  return {};
}

// Bytes per second; 0 when there is no memory to measure with.
inline double read_bandwidth(stilla::ThreadPool& pool) {
  static std::map<std::size_t, double> measured;
  const auto [entry, is_new] = measured.try_emplace(pool.size(), 0.0);
  if (!is_new) return entry->second;
  stilla::AlignedBuffer<std::byte> memory;
  if (!memory.resize(roofline_bytes)) return 0.0;
  std::memset(memory.data(), 1, memory.size());  // or every page would be the one page of zeros
  constexpr std::size_t piece = std::size_t{4} << 20;
  for (int round = 0; round < 5; ++round) {
    const auto start = std::chrono::steady_clock::now();
    pool(roofline_bytes / piece, [&](std::size_t i) { detail::read(memory.data() + i * piece, piece); });
    entry->second = std::max(entry->second, static_cast<double>(roofline_bytes) / seconds_since(start));
  }
  return entry->second;
}

// Operations per second; 0 where no instruction is known.
inline double int8_peak(stilla::ThreadPool& pool) {
  static std::map<std::size_t, double> measured;
  const auto [entry, is_new] = measured.try_emplace(pool.size(), 0.0);
  const detail::DotInstruction instruction = int8_instruction();
  if (!is_new || instruction.run == nullptr) return entry->second;
  constexpr std::size_t rounds = 200000;
  const std::size_t pieces = 16 * pool.size();
  for (int round = 0; round < 5; ++round) {
    const auto start = std::chrono::steady_clock::now();
    pool(pieces, [&](std::size_t) { instruction.run(rounds); });
    const double operations = instruction.operations_per_round * static_cast<double>(rounds * pieces);
    entry->second = std::max(entry->second, operations / seconds_since(start));
  }
  return entry->second;
}

}  // namespace stilla_bench
