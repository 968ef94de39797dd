// SPDX-License-Identifier: Apache-2.0
//
// Describes the matrices that were requantised, for the commands that write weights: pack and export.
#pragma once

#include <string>
#include <vector>

#include <stilla/format/format_id.hpp>

namespace program {

struct Requantised {
  std::string tensor;
  stilla::FormatId from = stilla::no_format, to = stilla::no_format;
  double relative_rmse = 0.0;  // sqrt(mean((new - old)^2) / mean(old^2))
};

// Returns a summary of the matrices, of which there is at least one, for example "168 matrices were requantised; relative
// error 9.11 % on average, 10.32 % at most (blk.0.attn_k.weight from q8_0 to st4)".
std::string requantised_summary(const std::vector<Requantised>& all);
// Returns one line for each requantised matrix.
std::vector<std::string> requantised_lines(const std::vector<Requantised>& all);

}  // namespace program
