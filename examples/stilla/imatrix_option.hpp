// SPDX-License-Identifier: Apache-2.0
//
// The option --imatrix of the commands that have --weights: an importance matrix of llama.cpp by which the scales are chosen.
#pragma once

#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include <stilla/format/format_id.hpp>
#include <stilla/io/imatrix.hpp>
#include <stilla/io/model_source.hpp>

namespace program {

// Adds --imatrix. `path` stays empty if the option is not given.
CLI::Option* add_imatrix_option(CLI::App& app, std::string& path);

// Opens the importance matrix at `path` for a model whose layers are requantised to `weights`. Returns nothing if `path` is empty.
// Prints on standard error which matrices only the file or only the model has. Ends the command with an error if `weights` is not
// given, if the scales of that format are not chosen by importance, or if the file is refused.
std::optional<stilla::Imatrix> open_imatrix(const std::string& path, std::optional<stilla::FormatId> weights,
                                            const stilla::ModelSource& source);

}  // namespace program
