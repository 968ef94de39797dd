// SPDX-License-Identifier: Apache-2.0
//
// The two limits that a kernel's speed is judged by, measured beside it, so that a report is a share and not a bare time:
//
//   ReadProbe::bytes_per_second   what some threads read from a gigabyte of memory. Decode (M = 1) reads every weight once
//                                 and does little with it: its limit.
//   macs_per_second               multiply-adds that some threads do with a target's dot-product instruction, on registers
//                                 only. Prefill (many M) does much with every weight: its limit.
//
// One probe is the best of three rounds of a few hundredths of a second, because what disturbs a round only makes it slower.
// But a machine's speed itself drifts by the second (heat, power limits, neighbours on a shared server), and takes the
// kernel with it: so a report probes just before and just after each of its runs.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <stilla/base/aligned.hpp>
#include <stilla/base/cpu.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/region.hpp>
#include <stilla/targets.hpp>
#include <stilla/x86_amx/tiles.hpp>

#if STILLA_ARCH_X86
#include <immintrin.h>
#endif

namespace stilla_bench {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// An instruction that multiplies and adds, as a loop on registers.
struct MacLoop {
  const char* name = nullptr;  // null: none is known
  void (*run)(std::size_t rounds) = nullptr;
  double macs_per_round = 0.0;
};

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
  if (stilla::Avx2::available(stilla::cpu_info())) return read_avx2(data, bytes);
#endif
  read_portable(data, bytes);
}

// Independent sums, enough to hide a latency of 6 cycles on two ports.
inline constexpr std::size_t mac_chains = 12;

// A loop of `rounds` times mac_chains steps. The empty asm makes each sum opaque, so that no step is merged or left out.
#if STILLA_ARCH_X86
#define STILLA_MAC_LOOP(name, features, Vector, set, step)                    \
  __attribute__((target(features))) inline void name(std::size_t rounds) {    \
    const Vector x = set(1);                                                  \
    Vector sums[mac_chains];                                                  \
    STILLA_UNROLL                                                             \
    for (std::size_t i = 0; i < mac_chains; ++i) sums[i] = set(1);            \
    for (std::size_t r = 0; r < rounds; ++r) {                                \
      STILLA_UNROLL                                                           \
      for (std::size_t i = 0; i < mac_chains; ++i) {                          \
        sums[i] = step;                                                       \
        __asm__ volatile("" : "+v"(sums[i]));                                 \
      }                                                                       \
    }                                                                         \
  }
STILLA_MAC_LOOP(dpbusd_zmm, "avx512f,avx512vnni", __m512i, _mm512_set1_epi32, _mm512_dpbusd_epi32(sums[i], x, x))
STILLA_MAC_LOOP(dpbusd_ymm, "avx2,avxvnni", __m256i, _mm256_set1_epi32, _mm256_dpbusd_avx_epi32(sums[i], x, x))
// Products of bytes and their sums of 16 bits. Kernels widen to 32 bits now and then, which comes on top.
STILLA_MAC_LOOP(maddubs_ymm, "avx2", __m256i, _mm256_set1_epi32,
                _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(x, sums[i])))
STILLA_MAC_LOOP(fma_zmm, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps(x, x, sums[i]))
STILLA_MAC_LOOP(fma_ymm, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps(x, x, sums[i]))
#undef STILLA_MAC_LOOP
#endif

// Four sums hide the latency of tiles. A step takes 16 cycles, so there are fewer of them. bf16, which is what the kernels use
// (x86_amx/tile_sweep.hpp says why); products of bytes are twice as many.
#if STILLA_HAS_TILES
inline constexpr std::size_t rounds_per_tile_round = 8;
inline void dpbf16_tiles(std::size_t rounds) {
  stilla::TileShapes shapes;
  for (int tile = 0; tile < 6; ++tile) shapes.set(tile, 16, 64);
  stilla::HardwareTiles::configure(shapes);
  for (std::size_t r = 0; r < rounds; r += rounds_per_tile_round) {
    stilla::HardwareTiles::dot_bf16<0, 4, 5>();
    stilla::HardwareTiles::dot_bf16<1, 4, 5>();
    stilla::HardwareTiles::dot_bf16<2, 4, 5>();
    stilla::HardwareTiles::dot_bf16<3, 4, 5>();
  }
  stilla::HardwareTiles::release();
}
#endif

}  // namespace detail

// The loop of bytes and the loop of floats that bound a target's matmuls. A target without vectors is judged by what the
// CPU has.
struct MacLoops {
  MacLoop int8, f32;
};
inline MacLoops mac_loops(std::string_view target) {
#if STILLA_ARCH_X86
  const stilla::CpuInfo& cpu = stilla::cpu_info();
  const bool any = target == stilla::Scalar::id.name;
  constexpr double chains = detail::mac_chains;
  const MacLoop fma_zmm{"vfmadd zmm", detail::fma_zmm, chains * 16};
#if STILLA_HAS_TILES
  if (target == stilla::Amx::id.name || (any && stilla::Amx::available(cpu))) {
    constexpr double macs = 4.0 * 16 * 16 * 32 / detail::rounds_per_tile_round;
    return {{"tdpbf16ps", detail::dpbf16_tiles, macs}, fma_zmm};
  }
#endif
  if (target == stilla::Avx512Vnni::id.name || (any && stilla::Avx512Vnni::available(cpu))) {
    return {{"vpdpbusd zmm", detail::dpbusd_zmm, chains * 64}, fma_zmm};
  }
  const MacLoop fma{"vfmadd ymm", detail::fma_ymm, chains * 8};
  if (target == stilla::AvxVnni::id.name || (any && stilla::AvxVnni::available(cpu))) {
    return {{"vpdpbusd ymm", detail::dpbusd_ymm, chains * 32}, fma};
  }
  if (stilla::Avx2::available(cpu)) return {{"vpmaddubsw ymm", detail::maddubs_ymm, chains * 32}, fma};
#endif
  (void)target;
  return {};
}

// Multiply-adds per second; 0 where the instruction is not known. `parallel` runs `threads` threads.
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

// Bytes per second read from `bytes` of memory that has been written to.
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

// A gigabyte to read, many times the last-level cache.
class ReadProbe {
 public:
  // Bytes per second; 0 when there is no memory to measure with.
  double bytes_per_second(stilla::Parallel parallel) {
    if (memory_.size() == 0) {
      if (!memory_.resize(roofline_bytes)) return 0.0;
      std::memset(memory_.data(), 1, memory_.size());  // or every page would be the one page of zeros
    }
    return stilla_bench::bytes_per_second(memory_.data(), memory_.size(), parallel);
  }

 private:
  stilla::AlignedBuffer<std::byte> memory_;
};

}  // namespace stilla_bench
