// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>

#include <fmt/format.h>

#include <stilla/base/cpu.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/version.hpp>
#include <stilla/targets.hpp>

namespace program {
namespace {

#if defined(_WIN32)
std::string system_cpu_name() {
  char name[256] = "";
  DWORD bytes = sizeof name;
  constexpr const char* path = "HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0";
  return RegGetValueA(HKEY_LOCAL_MACHINE, path, "ProcessorNameString", RRF_RT_REG_SZ, nullptr, name, &bytes) == 0 ? name : "";
}
#elif defined(__APPLE__)
std::string system_cpu_name() {
  char name[256] = "";
  std::size_t bytes = sizeof name;
  return sysctlbyname("machdep.cpu.brand_string", name, &bytes, nullptr, 0) == 0 ? name : "";
}
#else
std::string system_cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 1));
  }
  return "";
}
#endif

std::string compiler_name() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "GCC " __VERSION__;
#elif defined(_MSC_VER)
  return fmt::format("MSVC {}", _MSC_VER);
#else
  return "unknown";
#endif
}

constexpr const char* system_name() {
#if defined(_WIN32)
  return "Windows";
#elif defined(__APPLE__)
  return "macOS";
#elif defined(__linux__)
  return "Linux";
#else
  return "unknown";
#endif
}

constexpr const char* architecture_name() { return STILLA_ARCH_X86 ? "x86-64" : STILLA_ARCH_ARM ? "aarch64" : "other"; }

std::string hex(std::uint64_t word) { return fmt::format("{:#x}", word); }

nlohmann::ordered_json feature_words(const stilla::CpuInfo& cpu) {
  nlohmann::ordered_json out;
#if STILLA_ARCH_X86
  const auto leaf = [](const stilla::CpuInfo::Leaf& words) {
    return nlohmann::ordered_json::array({hex(words.eax), hex(words.ebx), hex(words.ecx), hex(words.edx)});
  };
  // In leaf 1 of CPUID, bits 31 to 24 of ebx say on which of the machine's CPUs the process runs at the moment. This does not
  // describe the machine, so these bits are cleared.
  stilla::CpuInfo::Leaf leaf1 = cpu.leaf1;
  leaf1.ebx &= 0x00ffffffu;
  out["cpuid_1"] = leaf(leaf1);
  out["cpuid_7_0"] = leaf(cpu.leaf7);
  out["cpuid_7_1"] = leaf(cpu.leaf7_1);
  out["xcr0"] = hex(cpu.xcr0);
#else
  out["hwcap"] = hex(cpu.hwcap);
  out["hwcap2"] = hex(cpu.hwcap2);
  out["midr"] = hex(cpu.midr);
#endif
  return out;
}

}  // namespace

const stilla::Cores& machine_cores() {
  static const stilla::Cores cores = stilla::read_cores();
  return cores;
}

std::string cpu_name() {
  std::string name = system_cpu_name();
  const std::size_t first = name.find_first_not_of(" \t"), last = name.find_last_not_of(" \t");
  if (first != std::string::npos) return stilla::printable(name.substr(first, last - first + 1));
  const stilla::CpuInfo& cpu = stilla::cpu_info();
  return cpu.midr == 0 ? "unknown" : fmt::format("implementer {:#04x}, part {:#05x}", cpu.implementer(), cpu.part());
}

nlohmann::ordered_json machine_facts() {
  nlohmann::ordered_json out;
  out["version"] = fmt::format("{}.{}.{}", STILLA_VERSION_MAJOR, STILLA_VERSION_MINOR, STILLA_VERSION_PATCH);
  out["compiler"] = compiler_name();
  out["system"] = system_name();
  out["architecture"] = architecture_name();
  out["cpu"] = cpu_name();
  out["cpu_features"] = feature_words(stilla::cpu_info());
  const stilla::Cores& cores = machine_cores();
  out["cpus"] = cores.logical;
  out["cores"] = cores.physical;
  out["fast_cores"] = cores.fast;
  out["quota"] = std::isinf(cores.quota) ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(cores.quota);
  out["memory_bytes"] = stilla::memory_bytes();
  out["targets"] = nlohmann::ordered_json::array();
  stilla::for_each_type(stilla::Targets{}, [&]<class Target>(Target) {
    if (Target::available(stilla::cpu_info())) out["targets"].push_back(std::string(Target::id.name));
  });
  return out;
}

}  // namespace program
