// SPDX-License-Identifier: Apache-2.0
//
// The subcommands. add_NAME() declares one with its options; if the user names it, `chosen` becomes what runs it.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

namespace program {

// Gives the exit status; may throw Failure, and CLI::ParseError for what only shows when options are put together.
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
