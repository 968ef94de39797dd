// SPDX-License-Identifier: Apache-2.0
//
// The subcommands of the program. add_NAME() declares the command NAME with its options. If the user names that command,
// `chosen` becomes the function that runs it.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

namespace program {

// A function that runs a command and returns the exit status. It may throw Failure, and it may throw CLI::ParseError for
// mistakes that only show when options are combined.
using Command = std::function<int()>;

void add_chat(CLI::App& app, Command& chosen);
void add_run(CLI::App& app, Command& chosen);
void add_bench(CLI::App& app, Command& chosen);
void add_logits(CLI::App& app, Command& chosen);
void add_tokenize(CLI::App& app, Command& chosen);
void add_inspect(CLI::App& app, Command& chosen);
void add_pack(CLI::App& app, Command& chosen);
void add_export(CLI::App& app, Command& chosen);
void add_npu(CLI::App& app, Command& chosen);
void add_device_test(CLI::App& npu, Command& chosen);  // stilla npu test

}  // namespace program
