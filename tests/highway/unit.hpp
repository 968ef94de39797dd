// SPDX-License-Identifier: Apache-2.0
//
// The values of Highway's macros that a unit reports. A unit is unit.cpp, compiled with other macros each time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace highway_units {

struct Facts {
  std::int64_t static_target, targets, target;
  std::string name_space;
  int once, is_debug_build;
  std::vector<std::int64_t> passes;  // the targets that the file was compiled for

  bool operator==(const Facts&) const = default;
};

struct Unit {
  const char* name;
  Facts (*facts)();
  bool (*results_are_right)();  // returns whether this file's own kernels compute right results, with calls of the library in between
};

}  // namespace highway_units
