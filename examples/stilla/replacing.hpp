// SPDX-License-Identifier: Apache-2.0
//
// Decides which files may be written over. The program replaces no file of a kind that it did not write: a mistyped name must not
// cost somebody a model.
#pragma once

#include <string>
#include <string_view>

namespace program {

// Returns whether a file of some kind, whose first bytes are `magic`, may be written at `path`. It may if nothing is there, or an
// empty file, or a file of this kind, or something that is not a regular file (/dev/null), or if somebody at the terminal agrees.
// `kind` names the kind in messages, for example "a saved session".
bool may_replace(const std::string& path, std::string_view magic, std::string_view kind);

// Returns the message for a file that may not be replaced: "m.gguf: exists and is not a saved session; it was not touched".
std::string not_replaced_text(const std::string& path, std::string_view kind);

}  // namespace program
