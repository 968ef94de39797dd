// SPDX-License-Identifier: Apache-2.0
//
// Tells how many threads this process should compute with, and how much memory it may take. The answer is what the machine has,
// less what the process cannot use. Four things limit the threads:
//
//   affinity      the CPUs that the system lets this process run on (taskset, a cpuset, Windows' affinity mask)
//   hyper-threads two logical CPUs of one core share its multipliers, so a core counts once
//   slow cores    on a hybrid CPU only the fast cores count, because a layer ends when its last thread ends, and the system puts
//                 busy threads on fast cores first. This is untested: no hybrid CPU was measured.
//   a quota       a container's share of the machine's time: a cgroup's cpu.max (version 2) or cpu.cfs_quota_us (version 1), a
//                 Windows job's hard cap. If there are more threads than the quota has CPUs, they use it up early, and all of them
//                 wait for the next period. A quota is rounded up to whole threads, as the runtimes of Java, Go and .NET do.
//
// What a system does not report counts as unlimited. No function of this header fails.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <stilla/base/config.hpp>

#if defined(__linux__)
#include <sched.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <stilla/base/windows.hpp>
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Cores {
  std::size_t logical = 1;  // CPUs that this process may run on
  std::size_t physical = 1;  // cores among them
  // The fast ones among the cores that this process may run on. These are all of them where the CPU is not hybrid or the system
  // does not say.
  std::size_t fast = 1;
  double quota = std::numeric_limits<double>::infinity();  // in CPUs: 1.5 is the time of one and a half CPUs

  // The quota of CPU time as a number of threads: rounded up, at least 1, and at most the number of logical CPUs that the process
  // may run on.
  std::size_t quota_threads() const {
    return quota < static_cast<double>(logical) ? std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(quota))) : logical;
  }
  // The number of threads with which this process computes fastest.
  std::size_t threads() const { return std::min(fast, quota_threads()); }
  // The most threads that can run at the same time. With more of them, there is always one that waits for a CPU or for the quota,
  // and the others wait for it.
  std::size_t max_threads() const { return std::min(logical, quota_threads()); }
};

namespace detail {

// The limits of a cgroup. The functions that read files take a `root`, which is put before every path. It is "" except in tests,
// which bring files of their own.
struct CgroupLimits {
  double cpus = std::numeric_limits<double>::infinity();
  std::uint64_t memory_bytes = std::numeric_limits<std::uint64_t>::max();
};

inline std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The number at the start of `text`; -1 if there is none (the text may be "max" or empty).
inline double number_in(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  return end == text.c_str() || !(number >= 0.0) ? -1.0 : number;
}

inline void lower_cpus(CgroupLimits& limits, double quota, double period) {
  if (quota > 0.0 && period > 0.0) limits.cpus = std::min(limits.cpus, quota / period);
}

inline void lower_memory(CgroupLimits& limits, double bytes) {
  // Version 1 of cgroups writes the largest multiple of a page to say that there is no limit.
  if (bytes > 0.0 && bytes < 9e18) limits.memory_bytes = std::min(limits.memory_bytes, static_cast<std::uint64_t>(bytes));
}

// Calls read(path), which lowers the limits to those of one cgroup, for the group at `path` and for all groups above it, because a
// group's parents limit it too. The first path is the one that /proc/self/cgroup names. A container often sees its own group as the
// root of the mounted file system of cgroups, so that this path leads nowhere; then only the root counts.
template <class Read>
void read_group_and_parents(std::string path, const Read& read) {
  while (true) {
    read(path);
    if (path.empty()) return;
    path.erase(path.find_last_of('/'));
  }
}

inline CgroupLimits read_cgroup_limits(const std::string& root = "") {
  CgroupLimits limits;
  std::ifstream groups(root + "/proc/self/cgroup");
  const std::string mount = root + "/sys/fs/cgroup";
  // The lines of /proc/self/cgroup are "number:controllers:path"; version 2 of cgroups has number 0 and no controllers.
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first == std::string::npos ? first : first + 1);
    if (second == std::string::npos) continue;
    std::string controllers(1, ',');
    controllers.append(line, first + 1, second - first - 1).push_back(',');
    std::string path = line.substr(second + 1);
    if (path == "/" || !path.starts_with('/')) path.clear();
    if (controllers == ",,") {
      read_group_and_parents(path, [&](const std::string& group) {
        const std::string cpu = first_line(mount + group + "/cpu.max");  // "QUOTA PERIOD", or "max PERIOD" if there is no quota
        const std::size_t space = cpu.find(' ');
        if (space != std::string::npos) lower_cpus(limits, number_in(cpu), number_in(cpu.substr(space + 1)));
        lower_memory(limits, number_in(first_line(mount + group + "/memory.max")));
      });
    }
    if (controllers.find(",cpu,") != std::string::npos) {
      read_group_and_parents(path, [&](const std::string& group) {
        const std::string folder = mount + "/cpu" + group;
        lower_cpus(limits, number_in(first_line(folder + "/cpu.cfs_quota_us")), number_in(first_line(folder + "/cpu.cfs_period_us")));
      });
    }
    if (controllers.find(",memory,") != std::string::npos) {
      read_group_and_parents(path, [&](const std::string& group) {
        lower_memory(limits, number_in(first_line(mount + "/memory" + group + "/memory.limit_in_bytes")));
      });
    }
  }
  return limits;
}

// The CPUs of a list in Linux's notation: "0-3,8,10-11".
inline std::set<std::size_t> parse_cpu_list(const std::string& text) {
  std::set<std::size_t> cpus;
  for (const char* at = text.c_str(); *at != '\0';) {
    char* end = nullptr;
    const unsigned long first = std::strtoul(at, &end, 10);
    if (end == at) break;
    unsigned long last = first;
    if (*end == '-') {
      at = end + 1;
      last = std::strtoul(at, &end, 10);
      if (end == at) break;
    }
    for (unsigned long cpu = first; cpu <= last && last - first < 65536; ++cpu) cpus.insert(cpu);
    at = *end == ',' ? end + 1 : end;
    if (*end != ',') break;
  }
  return cpus;
}

// The cores of Linux's CPUs, from the files in /sys. Where Linux on x86 names two kinds of cores, cpu_core and cpu_atom, those of
// cpu_core are the fast ones. Elsewhere a core is fast if its capacity is more than three quarters of the largest one. (The largest
// core of the machine has capacity 1024.)
inline Cores read_linux_cores(const std::set<std::size_t>& allowed, const std::string& root = "") {
  const std::string folder = root + "/sys/devices/system/cpu/cpu";
  const std::set<std::size_t> named_fast = parse_cpu_list(first_line(root + "/sys/devices/cpu_core/cpus"));
  const bool names_kinds = !named_fast.empty() && !first_line(root + "/sys/devices/cpu_atom/cpus").empty();
  std::vector<double> capacities;  // of the allowed CPUs, in ascending order of the CPUs; negative where unknown
  for (const std::size_t cpu : allowed) capacities.push_back(number_in(first_line(folder + std::to_string(cpu) + "/cpu_capacity")));
  const double largest = capacities.empty() ? 0.0 : *std::max_element(capacities.begin(), capacities.end());
  // Two logical CPUs belong to one core if both list the same siblings.
  std::set<std::string> cores, fast;
  auto capacity = capacities.begin();
  for (const std::size_t cpu : allowed) {
    const double own = *capacity++;
    const std::string siblings = first_line(folder + std::to_string(cpu) + "/topology/thread_siblings_list");
    const std::string core = siblings.empty() ? "cpu" + std::to_string(cpu) : siblings;
    cores.insert(core);
    if (names_kinds ? named_fast.contains(cpu) : own < 0.0 || own > 0.75 * largest) fast.insert(core);
  }
  Cores out;
  out.logical = std::max<std::size_t>(1, allowed.size());
  out.physical = std::max<std::size_t>(1, cores.size());
  out.fast = fast.empty() ? out.physical : fast.size();
  return out;
}

inline Cores unknown_cores() {
  Cores out;
  out.logical = out.physical = out.fast = std::max<std::size_t>(1, std::thread::hardware_concurrency());
  return out;
}

#if defined(_WIN32)

// Returns the cores in this process's affinity mask. Windows gives each core an efficiency class; a larger class is a faster kind
// of core. A process that spans several processor groups (more than 64 CPUs) has no mask and may run on all CPUs.
inline Cores read_windows_cores() {
  DWORD bytes = 0;
  GetLogicalProcessorInformationEx(RelationProcessorCore, nullptr, &bytes);
  std::vector<char> buffer(bytes);
  const auto entry_at = [&](std::size_t offset) {
    return reinterpret_cast<const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX*>(buffer.data() + offset);
  };
  if (bytes == 0 || !GetLogicalProcessorInformationEx(RelationProcessorCore,
                                                      reinterpret_cast<SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX*>(buffer.data()), &bytes)) {
    return unknown_cores();
  }
  DWORD_PTR mask = 0, system_mask = 0;
  if (!GetProcessAffinityMask(GetCurrentProcess(), &mask, &system_mask)) mask = 0;
  Cores out{0, 0, 0};
  int fastest = -1;
  for (std::size_t offset = 0; offset < bytes; offset += entry_at(offset)->Size) {
    const PROCESSOR_RELATIONSHIP& core = entry_at(offset)->Processor;
    std::size_t here = 0;
    for (WORD i = 0; i < core.GroupCount; ++i) {
      KAFFINITY cpus = core.GroupMask[i].Mask;
      if (mask != 0 && core.GroupMask[i].Group == 0) cpus &= mask;
      for (; cpus != 0; cpus &= cpus - 1) ++here;
    }
    if (here == 0) continue;
    out.logical += here;
    ++out.physical;
    const int kind = reinterpret_cast<const unsigned char*>(&core)[1];  // EfficiencyClass; headers for Windows 7 lack this name
    if (kind > fastest) out.fast = 0;
    fastest = std::max(fastest, kind);
    out.fast += kind == fastest;
  }
  if (out.physical == 0) return unknown_cores();
  JOBOBJECT_CPU_RATE_CONTROL_INFORMATION rate{};
  constexpr DWORD hard_cap = JOB_OBJECT_CPU_RATE_CONTROL_ENABLE | JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP;
  if (QueryInformationJobObject(nullptr, JobObjectCpuRateControlInformation, &rate, sizeof rate, nullptr) &&
      (rate.ControlFlags & hard_cap) == hard_cap && rate.CpuRate != 0) {
    // Windows' CpuRate is in hundredths of a per cent of the whole machine.
    out.quota = static_cast<double>(GetActiveProcessorCount(ALL_PROCESSOR_GROUPS)) * rate.CpuRate / 10000.0;
  }
  return out;
}

#endif

}  // namespace detail

// Asks the system for the cores. This takes some ten microseconds for each CPU.
inline Cores read_cores() {
#if defined(__linux__)
  cpu_set_t mask;
  CPU_ZERO(&mask);
  std::set<std::size_t> allowed;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
    for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &mask)) allowed.insert(cpu);
    }
  }
  // `allowed` is empty on a machine with more than 1024 CPUs, because the mask has room for only 1024 and the call then fails.
  Cores cores = allowed.empty() ? detail::unknown_cores() : detail::read_linux_cores(allowed);
  cores.quota = detail::read_cgroup_limits().cpus;
  return cores;
#elif defined(_WIN32)
  return detail::read_windows_cores();
#elif defined(__APPLE__)
  Cores cores = detail::unknown_cores();
  const auto ask = [](const char* name, std::size_t& value) {
    int count = 0;
    std::size_t bytes = sizeof count;
    if (sysctlbyname(name, &count, &bytes, nullptr, 0) == 0 && count > 0) value = static_cast<std::size_t>(count);
  };
  ask("hw.physicalcpu", cores.physical);
  cores.fast = cores.physical;
  ask("hw.perflevel0.physicalcpu", cores.fast);  // the performance level 0 has the fastest cores
  return cores;
#else
  return detail::unknown_cores();
#endif
}

// The most bytes of memory that this process may take: the machine's memory, or the limit of its container if that is less. 0
// where the system does not say.
inline std::uint64_t memory_bytes() {
#if defined(_WIN32)
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  std::uint64_t bytes = GlobalMemoryStatusEx(&status) ? status.ullTotalPhys : 0;
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION job{};
  if (QueryInformationJobObject(nullptr, JobObjectExtendedLimitInformation, &job, sizeof job, nullptr)) {
    const DWORD flags = job.BasicLimitInformation.LimitFlags;
    if ((flags & JOB_OBJECT_LIMIT_JOB_MEMORY) != 0) bytes = std::min<std::uint64_t>(bytes, job.JobMemoryLimit);
    if ((flags & JOB_OBJECT_LIMIT_PROCESS_MEMORY) != 0) bytes = std::min<std::uint64_t>(bytes, job.ProcessMemoryLimit);
  }
  return bytes;
#elif defined(__APPLE__)
  std::uint64_t bytes = 0;
  std::size_t size = sizeof bytes;
  return sysctlbyname("hw.memsize", &bytes, &size, nullptr, 0) == 0 ? bytes : 0;
#elif defined(__linux__)
  const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return 0;
  return std::min(static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes), detail::read_cgroup_limits().memory_bytes);
#else
  return 0;
#endif
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
