// SPDX-License-Identifier: Apache-2.0
//
// Text that the user gives as an argument, a file or on standard input; bytes are never changed.
#pragma once

#include <optional>
#include <string>

namespace program {

std::string read_file(const std::string& path);
std::string read_standard_input();

// The argument if there is one that is not "-", else the file, else standard input. Nothing if that would mean to wait
// for somebody to type.
std::optional<std::string> text_input(const std::optional<std::string>& argument, const std::string& file);

}  // namespace program
