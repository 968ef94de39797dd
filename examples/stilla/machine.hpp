// SPDX-License-Identifier: Apache-2.0
//
// Describes this machine and this program for a report of `stilla bench`. The description contains nothing that names a
// person, a host or a path.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include <stilla/base/cores.hpp>

namespace program {

// Returns the cores of this machine. The operating system is asked only once.
const stilla::Cores& machine_cores();

// Returns the name of the CPU, for example "AMD Ryzen AI 9 HX 370 w/ Radeon 890M"; on Arm "implementer 0x51, part 0x001" if
// the system has no name; "unknown" otherwise.
std::string cpu_name();

// Returns the program's version and compiler, the system, the CPU (its name, the features that it reports, its cores), and the
// targets that run on this machine.
nlohmann::ordered_json machine_facts();

}  // namespace program
