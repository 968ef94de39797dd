// SPDX-License-Identifier: Apache-2.0
#include "requantised.hpp"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include <stilla/base/error.hpp>
#include <stilla/format/format_name.hpp>

namespace program {

std::string requantised_summary(const std::vector<Requantised>& all) {
  const auto worst = std::max_element(all.begin(), all.end(),
                                      [](const Requantised& a, const Requantised& b) { return a.relative_rmse < b.relative_rmse; });
  const double sum = std::accumulate(all.begin(), all.end(), 0.0, [](double s, const Requantised& r) { return s + r.relative_rmse; });
  return fmt::format("{} matrices were requantised; relative error {:.2f} % on average, {:.2f} % at most ({} from {} to {})", all.size(),
                     100.0 * sum / static_cast<double>(all.size()), 100.0 * worst->relative_rmse, stilla::printable(worst->tensor),
                     stilla::format_name(worst->from), stilla::format_name(worst->to));
}

std::vector<std::string> requantised_lines(const std::vector<Requantised>& all) {
  std::vector<std::string> lines;
  for (const Requantised& r : all) {
    lines.push_back(fmt::format("{:>6.2f} %  {} from {} to {}", 100.0 * r.relative_rmse, stilla::printable(r.tensor),
                                stilla::format_name(r.from), stilla::format_name(r.to)));
  }
  return lines;
}

}  // namespace program
