// SPDX-License-Identifier: Apache-2.0
#include "help_formatter.hpp"

#include <algorithm>
#include <utility>

#include "output.hpp"

namespace program {

std::string HelpFormatter::make_description(const CLI::App* app) const { return wrapped(Formatter::make_description(app), columns_); }

std::string HelpFormatter::make_usage(const CLI::App* app, std::string name) const {
  return wrapped(Formatter::make_usage(app, std::move(name)), columns_);
}

std::string HelpFormatter::make_footer(const CLI::App* app) const { return wrapped(Formatter::make_footer(app), columns_); }

std::string HelpFormatter::make_option(const CLI::Option* option, bool is_positional) const {
  return entry(make_option_name(option, is_positional) + make_option_opts(option), make_option_desc(option));
}

std::string HelpFormatter::make_subcommand(const CLI::App* command) const {
  return entry(command->get_display_name(true), command->get_description());
}

std::string HelpFormatter::entry(const std::string& name, const std::string& description) const {
  const std::size_t column = std::min(column_width_, columns_ * 3 / 8);  // narrow terminals have a narrow column of names
  const std::string gap(column, ' ');
  std::string out = wrapped("  " + name, columns_);
  if (description.empty()) return out + "\n";
  const std::size_t length = out.size() - (out.rfind('\n') + 1);  // the length of the last line
  out += length < column ? gap.substr(length) : "\n" + gap;
  return out + CLI::detail::find_and_replace(wrapped(description, columns_ - column), "\n", "\n" + gap) + "\n";
}

}  // namespace program
