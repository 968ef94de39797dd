// SPDX-License-Identifier: Apache-2.0
//
// What the processor says of itself, as raw words. A target reads its own bits from them in its `available()`, so a new
// target never edits this file. Bits are documented in Intel's SDM volume 2, CPUID, and in Linux's asm/hwcap.h.
#pragma once

#include <cstdint>

#include <stilla/base/config.hpp>

#if STILLA_ARCH_X86
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif STILLA_ARCH_ARM && defined(__linux__)
#include <sys/auxv.h>
#endif
#if STILLA_ARCH_X86 && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace stilla { inline namespace STILLA_ABI {

struct CpuInfo {
  struct Leaf {
    std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  };
  // x86: CPUID leaves 1, (7, 0) and (7, 1), and XCR0 (which register states the operating system saves). Zero elsewhere.
  Leaf leaf1, leaf7, leaf7_1;
  std::uint64_t xcr0 = 0;
  // x86 on Linux: the system lets this process use AMX's tiles, 8 KB of registers. It must be asked, once; after that it
  // refuses alternative signal stacks that are too small to save them (sigaltstack(2), AT_MINSIGSTKSZ).
  bool tiles_granted = false;
  // Arm on Linux: AT_HWCAP and AT_HWCAP2. Zero elsewhere.
  std::uint64_t hwcap = 0, hwcap2 = 0;

  static constexpr bool bit(std::uint64_t word, unsigned position) { return (word >> position & 1u) != 0; }
  // The operating system saves xmm and ymm (and for the second also mask and zmm) registers.
  constexpr bool saves_ymm() const { return (xcr0 & 0x6u) == 0x6u; }
  constexpr bool saves_zmm() const { return (xcr0 & 0xe6u) == 0xe6u; }
  constexpr bool saves_tiles() const { return (xcr0 & 0x60000u) == 0x60000u; }
};

namespace detail {

inline CpuInfo read_cpu() {
  CpuInfo info;
#if STILLA_ARCH_X86
#if defined(_MSC_VER) && !defined(__clang__)
  const auto leaf = [](int number, int subleaf) {
    int words[4];
    __cpuidex(words, number, subleaf);
    return CpuInfo::Leaf{static_cast<std::uint32_t>(words[0]), static_cast<std::uint32_t>(words[1]),
                         static_cast<std::uint32_t>(words[2]), static_cast<std::uint32_t>(words[3])};
  };
#else
  const auto leaf = [](unsigned number, unsigned subleaf) {
    CpuInfo::Leaf words;
    __cpuid_count(number, subleaf, words.eax, words.ebx, words.ecx, words.edx);
    return words;
  };
#endif
  const std::uint32_t highest = leaf(0, 0).eax;
  info.leaf1 = leaf(1, 0);
  if (highest >= 7) {
    info.leaf7 = leaf(7, 0);
    if (info.leaf7.eax >= 1) info.leaf7_1 = leaf(7, 1);
  }
  constexpr unsigned osxsave = 27;
  if (CpuInfo::bit(info.leaf1.ecx, osxsave)) {
#if defined(_MSC_VER) && !defined(__clang__)
    info.xcr0 = _xgetbv(0);
#else
    std::uint32_t low = 0, high = 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    info.xcr0 = std::uint64_t{high} << 32 | low;
#endif
  }
#if defined(__linux__)
  constexpr int request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA: Linux 5.16
  info.tiles_granted = info.saves_tiles() && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#endif
#elif STILLA_ARCH_ARM && defined(__linux__)
  info.hwcap = getauxval(AT_HWCAP);
  info.hwcap2 = getauxval(AT_HWCAP2);
#endif
  return info;
}

}  // namespace detail

// Read once per program.
inline const CpuInfo& cpu_info() {
  static const CpuInfo info = detail::read_cpu();
  return info;
}

}}  // namespace stilla
