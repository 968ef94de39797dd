// SPDX-License-Identifier: Apache-2.0
//
// What to tell of an option that a command does not have. CLI11 takes `-ngl 0` for -n with the value "gl"; here it is a word of
// its own. What another program calls differently is told by name, as far as people are known to try it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace program {

// The first argument that looks like an option and is none, in one line: its whole name, and what stands in its place. A value glued
// to an option of one letter (-n5, -m./model.gguf) does not begin with a letter.
std::optional<std::string> unknown_option(const CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace program
