// SPDX-License-Identifier: Apache-2.0
//
// Text that the user gives as an argument, a file or on standard input.
#pragma once

#include <optional>
#include <string>

namespace program {

// All bytes, unchanged; at most 1 GiB, so that a device without an end is refused.
std::string read_file(const std::string& path);
std::string read_standard_input();

// The argument if there is one that is not "-", else the file, else standard input. Nothing if that would mean to wait
// for somebody to type.
std::optional<std::string> text_input(const std::optional<std::string>& argument, const std::string& file);

// The same as its writer means it: editors and shells of Windows begin files with a byte order mark, which is no text, end lines with
// CR LF, which becomes LF, and write UTF-16, which becomes UTF-8. An argument stays as it is.
std::optional<std::string> prompt_input(const std::optional<std::string>& argument, const std::string& file);

}  // namespace program
