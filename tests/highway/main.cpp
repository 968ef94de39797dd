// SPDX-License-Identifier: Apache-2.0
//
// Runs the units of an application that uses Highway itself. Each unit is unit.cpp, compiled with other macros, and the last
// unit of each group includes nothing of Stilla. All other units of the group must find the same macros of Highway as the last
// one, and their kernels must be compiled for the same targets.
#include <cstdio>
#include <string_view>

#include "unit.hpp"

// STILLA_HIGHWAY_UNITS is a list of X(name), one for each unit. If a unit does not include Stilla, its name begins with the word
// "plain".
#define X(name)                 \
  namespace name {              \
  highway_units::Facts facts(); \
  bool results_are_right();     \
  }
STILLA_HIGHWAY_UNITS
#undef X

int main() {
  using highway_units::Unit;
  const Unit units[] = {
#define X(name) {#name, name::facts, name::results_are_right},
      STILLA_HIGHWAY_UNITS
#undef X
  };
  int failures = 0, compared = 0, skipped = 0;
  const Unit* plain = nullptr;
  for (std::size_t i = sizeof(units) / sizeof(units[0]); i-- > 0;) {
    const Unit& unit = units[i];
#if defined(__x86_64__)
    if (std::string_view(unit.name).find("avx2") != std::string_view::npos && !__builtin_cpu_supports("avx2")) {
      ++skipped;
      continue;
    }
#endif
    const bool right = unit.results_are_right();
    const highway_units::Facts facts = unit.facts();
    if (std::string_view(unit.name).starts_with("plain")) {
      plain = &unit;
    } else {
      ++compared;
    }
    const bool same = plain != nullptr && facts == plain->facts();
    if (!right || !same) ++failures;
    std::printf("%-24s namespace %s, targets %llx, static target %llx, %zu targets ran: results %s, Highway %s\n", unit.name,
                facts.name_space.c_str(), static_cast<unsigned long long>(facts.targets),
                static_cast<unsigned long long>(facts.static_target), facts.passes.size(), right ? "right" : "WRONG",
                same ? "as without Stilla" : "CHANGED");
  }
  std::printf("%d units compared, %d failures\n", compared, failures);
  if (skipped != 0) std::printf("%d units skipped, because this CPU has no AVX2\n", skipped);
  return failures != 0 || compared + skipped == 0;
}
