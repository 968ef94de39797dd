// SPDX-License-Identifier: Apache-2.0
//
// Nothing replaces what it did not write: a mistyped name must not cost somebody a model.
#pragma once

#include <string>
#include <string_view>

namespace program {

// Whether a file of some kind, whose first bytes are `magic`, may be written at `path`: nothing is there, or an empty file, or one of
// this kind, or something that is no file (/dev/null); or somebody at the terminal says so. `kind`: "a saved session".
bool may_replace(const std::string& path, std::string_view magic, std::string_view kind);

// What to tell otherwise: "m.gguf: exists and is not a saved session; it was not touched".
std::string not_replaced_text(const std::string& path, std::string_view kind);

}  // namespace program
