// SPDX-License-Identifier: Apache-2.0
//
// Holds what the processor reports about itself, as raw words. A target reads the bits that it needs in its `available()`, so a
// new target never edits this file. The bits are documented in Intel's SDM volume 2, CPUID, and in Linux's asm/hwcap.h. Windows
// and macOS on Arm are asked for the features that they can report, and the answers are stored at the places that Linux uses.
#pragma once

#include <cstddef>
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
#elif STILLA_ARCH_ARM && defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#if STILLA_ARCH_X86 && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <stilla/base/push_macros-inl.hpp>

#if STILLA_ARCH_ARM && defined(_WIN32)
struct HKEY__;  // the type of a registry key in <windows.h>
#endif

namespace stilla { inline namespace STILLA_ABI {

struct CpuInfo {
  struct Leaf {
    std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  };
  // x86: CPUID leaves 1, (7, 0) and (7, 1), and XCR0, which says which registers the operating system saves. Zero on other CPUs.
  Leaf leaf1, leaf7, leaf7_1;
  std::uint64_t xcr0 = 0;
  // x86 on Linux: whether the system lets this process use AMX's tiles, 8 KB of registers. A process must ask for this once. After
  // that the system refuses alternative signal stacks that are too small to save the tiles (sigaltstack(2), AT_MINSIGSTKSZ).
  bool tiles_granted = false;
  // Arm: AT_HWCAP and AT_HWCAP2 as Linux reports them. On Windows and macOS only two of their bits can be set, each if the CPU has
  // the feature: hwcap_dotprod of AT_HWCAP and hwcap2_i8mm of AT_HWCAP2. All other bits are zero there. On CPUs other than Arm's both
  // words are zero.
  std::uint64_t hwcap = 0, hwcap2 = 0;
  // Arm on Linux and Windows: the register MIDR_EL1 of the core that this was read on (on Windows: of the first core). It names
  // the designer and the type of the core; the cores of one machine may differ. Zero where it is not known.
  std::uint64_t midr = 0;

  static constexpr bool bit(std::uint64_t word, unsigned position) { return (word >> position & 1u) != 0; }
  // Three functions that say whether the operating system saves some registers: saves_ymm() says it of the registers xmm and ymm,
  // saves_zmm() of xmm, ymm, zmm and the mask registers together, and saves_tiles() of AMX's tiles.
  constexpr bool saves_ymm() const { return (xcr0 & 0x6u) == 0x6u; }
  constexpr bool saves_zmm() const { return (xcr0 & 0xe6u) == 0xe6u; }
  constexpr bool saves_tiles() const { return (xcr0 & 0x60000u) == 0x60000u; }
  // Positions of bits in Arm's AT_HWCAP and AT_HWCAP2, with the names of the features that they stand for: dotprod are dot products
  // of bytes summed to 32 bits (sdot, udot), and i8mm are products of matrices of bytes that give 2 x 2 such sums (smmla). The bit
  // cpuid says that programs can read the register MIDR_EL1.
  static constexpr unsigned hwcap_dotprod = 20, hwcap2_i8mm = 13, hwcap_cpuid = 11;
  constexpr bool has_dotprod() const { return bit(hwcap, hwcap_dotprod); }
  constexpr bool has_i8mm() const { return bit(hwcap2, hwcap2_i8mm); }
  // Parts of Arm's register MIDR_EL1: implementer() says who designed the core (0x41 is Arm, 0x51 is Qualcomm), and part() is the
  // number that the designer gave to this type of core.
  constexpr unsigned implementer() const { return static_cast<unsigned>(midr >> 24 & 0xffu); }
  constexpr unsigned part() const { return static_cast<unsigned>(midr >> 4 & 0xfffu); }
};

namespace detail {

#if STILLA_ARCH_ARM && defined(_WIN32)
// IsProcessorFeaturePresent and RegGetValueW are declared as in <windows.h>, which is not included because it brings thousands of
// names. MinGW's own header may be included before this one; it imports one of these two functions and not the other.
#if defined(__MINGW32__)
#define STILLA_IMPORTED
#else
#define STILLA_IMPORTED __declspec(dllimport)
#endif
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Winconsistent-dllimport"
#endif
extern "C" STILLA_IMPORTED int __stdcall IsProcessorFeaturePresent(unsigned long feature);
extern "C" STILLA_IMPORTED long __stdcall RegGetValueW(HKEY__* key, const wchar_t* path, const wchar_t* name, unsigned long flags,
                                                       unsigned long* type, void* data, unsigned long* bytes);
#if defined(__clang__)
#pragma clang diagnostic pop
#endif
#undef STILLA_IMPORTED

// Windows stores registers of each core in its registry, under the numbers that encode them in an instruction: "CP 4000" is
// MIDR_EL1, "CP 4031" is ID_AA64ISAR1_EL1. Returns the register of the first core, or 0 if it is not there.
inline std::uint64_t read_stored_register(const wchar_t* name) {
  HKEY__* const local_machine = reinterpret_cast<HKEY__*>(static_cast<std::intptr_t>(static_cast<std::int32_t>(0x80000002u)));
  constexpr unsigned long any_number = 0x48;  // RRF_RT_REG_QWORD
  std::uint64_t value = 0;
  unsigned long bytes = sizeof value;
  const long status =
      RegGetValueW(local_machine, L"HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0", name, any_number, nullptr, &value, &bytes);
  return status == 0 ? value : 0;
}
#elif STILLA_ARCH_ARM && defined(__APPLE__)
inline bool has_feature(const char* name) {
  int value = 0;
  std::size_t bytes = sizeof value;
  return sysctlbyname(name, &value, &bytes, nullptr, 0) == 0 && value != 0;
}
#endif

inline CpuInfo read_cpu() {
  CpuInfo info;
#if STILLA_ARCH_X86
#if defined(_MSC_VER) && !defined(__clang__)
  const auto leaf = [](int number, int subleaf) {
    int words[4];
    __cpuidex(words, number, subleaf);
    return CpuInfo::Leaf{static_cast<std::uint32_t>(words[0]), static_cast<std::uint32_t>(words[1]), static_cast<std::uint32_t>(words[2]),
                         static_cast<std::uint32_t>(words[3])};
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
  if (CpuInfo::bit(info.hwcap, CpuInfo::hwcap_cpuid)) __asm__("mrs %0, MIDR_EL1" : "=r"(info.midr));
#elif STILLA_ARCH_ARM && defined(_WIN32)
  // The numbers of PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE and PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE. The latter exists from Windows
  // 11 24H2 on, and older headers lack it. A system that does not know a feature answers no, even if the CPU has it. So
  // the field I8MM of the register ID_AA64ISAR1_EL1, bits 52 to 55, is read too.
  constexpr unsigned long dotprod = 43, i8mm = 66;
  if (IsProcessorFeaturePresent(dotprod) != 0) info.hwcap |= std::uint64_t{1} << CpuInfo::hwcap_dotprod;
  const bool register_has_i8mm = (read_stored_register(L"CP 4031") >> 52 & 0xfu) != 0;
  if (IsProcessorFeaturePresent(i8mm) != 0 || register_has_i8mm) info.hwcap2 |= std::uint64_t{1} << CpuInfo::hwcap2_i8mm;
  info.midr = read_stored_register(L"CP 4000");
#elif STILLA_ARCH_ARM && defined(__APPLE__)
  if (has_feature("hw.optional.arm.FEAT_DotProd")) info.hwcap |= std::uint64_t{1} << CpuInfo::hwcap_dotprod;
  if (has_feature("hw.optional.arm.FEAT_I8MM")) info.hwcap2 |= std::uint64_t{1} << CpuInfo::hwcap2_i8mm;
#endif
  return info;
}

}  // namespace detail

// Returns what the processor reports about itself. The processor is asked only once in a program.
inline const CpuInfo& cpu_info() {
  static const CpuInfo info = detail::read_cpu();
  return info;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
