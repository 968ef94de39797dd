// SPDX-License-Identifier: Apache-2.0
//
// What this machine and this program are, for a report of `stilla bench`. It contains nothing that names a person, a host or a
// path.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include <stilla/base/cores.hpp>

namespace program {

// The cores of this machine. The system is asked only once.
const stilla::Cores& machine_cores();

// For example "AMD Ryzen AI 9 HX 370 w/ Radeon 890M"; on Arm "implementer 0x51, part 0x001" where the system has no name;
// "unknown" otherwise.
std::string cpu_name();

// The program's version and compiler, the system, the CPU (its name, the features that it reports, its cores), and the targets
// that run here.
nlohmann::ordered_json machine_facts();

}  // namespace program
