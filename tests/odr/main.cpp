// SPDX-License-Identifier: Apache-2.0
//
// Runs all units that this CPU can run. A unit is unit.cpp, compiled with its own flags. All units must compute the same bits.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>

#define X(name) std::uint64_t odr_run_##name();
ODR_UNITS
#undef X

namespace {

struct Unit {
  const char* name;
  std::uint64_t (*run)();
};
constexpr Unit units[] = {
#define X(name) {#name, odr_run_##name},
    ODR_UNITS
#undef X
};

bool cpu_can_run(const char* name) {
#if defined(__x86_64__)
  if (std::strcmp(name, "avx2") == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (std::strcmp(name, "v4") == 0) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
#else
  static_cast<void>(name);  // qemu-user and the machines of CI have what the Arm units need
#endif
  return true;
}

}  // namespace

int main() {
  const std::uint64_t expected = units[0].run();
  int failures = expected == 0 ? 1 : 0;  // 0 says that the targets of one unit disagree
  for (const Unit& unit : units) {
    if (!cpu_can_run(unit.name)) {
      std::printf("%-10s not run: this CPU lacks its instructions\n", unit.name);
      continue;
    }
    const std::uint64_t got = unit.run();
    std::printf("%-10s %016" PRIx64 "%s\n", unit.name, got, got == expected ? "" : "  DIFFERS");
    if (got != expected) ++failures;
  }
  return failures;
}
