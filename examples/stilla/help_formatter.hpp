// SPDX-License-Identifier: Apache-2.0
//
// How `--help` is laid out: CLI11's sections, with all text wrapped between words. (CLI11 2.1.2 breaks no lines itself.)
#pragma once

#include <cstddef>
#include <string>

#include <CLI/CLI.hpp>

namespace program {

class HelpFormatter : public CLI::Formatter {
 public:
  // `columns` is the number of characters that a line has at most.
  explicit HelpFormatter(std::size_t columns) : columns_(columns) {}

  std::string make_description(const CLI::App* app) const override;
  std::string make_usage(const CLI::App* app, std::string name) const override;
  std::string make_footer(const CLI::App* app) const override;
  std::string make_option(const CLI::Option* option, bool is_positional) const override;
  std::string make_subcommand(const CLI::App* command) const override;

 private:
  // Returns the lines of an option or a command: its name, and its description in a column on the right.
  std::string entry(const std::string& name, const std::string& description) const;

  std::size_t columns_;
};

}  // namespace program
