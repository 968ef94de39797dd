// SPDX-License-Identifier: Apache-2.0
//
// The message for an option that a command does not have. CLI11 alone would take `-ngl 0` for the option -n with the value "gl";
// this code takes `-ngl` as a name of its own. If the option exists in this program under another name than in other programs, the
// message gives this program's name for it. The names that people are known to try are covered.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace program {

// Finds the first argument that looks like an option and is not one. Returns one line with its whole name and what to use instead, or
// nothing if there is no such argument. A value may be attached to an option of one letter (-n5, -m./model.gguf), but such a value
// must not begin with a letter.
std::optional<std::string> unknown_option(const CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace program
