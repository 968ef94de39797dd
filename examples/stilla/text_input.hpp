// SPDX-License-Identifier: Apache-2.0
//
// Reads text that the user gives as an argument, in a file or on standard input.
#pragma once

#include <optional>
#include <string>

namespace program {

// Returns all bytes of the file, unchanged. More than 1 GiB is refused, so that a device that never ends is refused.
std::string read_file(const std::string& path);
std::string read_standard_input();
// Returns the text of a file that this program is to understand, as UTF-8 and without a byte order mark (stilla/io/text_encoding.hpp).
std::string read_program_text(const std::string& path);

// Returns the argument if there is one that is not "-", otherwise the content of the file, otherwise standard input. Returns
// nothing if the program would have to wait for somebody to type.
std::optional<std::string> text_input(const std::optional<std::string>& argument, const std::string& file);

// Returns the text that text_input() returns, as its writer means it. Editors and shells of Windows begin files with a byte
// order mark, which is not text and is removed; they end lines with CR LF, which becomes LF; and they write UTF-16, which
// becomes UTF-8. An argument stays as it is.
std::optional<std::string> prompt_input(const std::optional<std::string>& argument, const std::string& file);

}  // namespace program
