// SPDX-License-Identifier: Apache-2.0
#include <stilla/norm.hpp>

#include "users.hpp"

std::vector<float> norm_by_norm_hpp(const std::vector<float>& x, const std::vector<float>& weight) {
  std::vector<float> y(x.size());
  (void)stilla::rms_norm(stilla::Matrix(y.data(), 1, y.size()), stilla::ConstMatrix(x.data(), 1, x.size()), weight.data(), 1e-6f);
  return y;
}
