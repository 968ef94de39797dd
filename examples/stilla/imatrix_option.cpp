// SPDX-License-Identifier: Apache-2.0
#include "imatrix_option.hpp"

#include <stilla/format/format.hpp>

#include "needed_format.hpp"
#include "options.hpp"
#include "output.hpp"

namespace program {

CLI::Option* add_imatrix_option(CLI::App& app, std::string& path) {
  return takes_path(
             app.add_option(
                 "--imatrix", path,
                 "With --weights: choose scales by this importance matrix of llama.cpp (.gguf or .dat), which says how much each input "
                 "of a matrix counts"))
      ->type_name("FILE");
}

std::optional<stilla::Imatrix> open_imatrix(const std::string& path, std::optional<stilla::FormatId> weights,
                                            const stilla::ModelSource& source) {
  if (path.empty()) return std::nullopt;
  check_needed_format(weights, "--imatrix", "scales are searched for", []<class F>(F) { return stilla::ImportanceFormat<F>; });
  stilla::Imatrix imatrix = value_of(stilla::Imatrix::open(path));
  for (const std::string& note : imatrix.notes()) message(note);
  for (const std::string& note : value_of(imatrix.check_against(source))) message(note);
  return imatrix;
}

}  // namespace program
