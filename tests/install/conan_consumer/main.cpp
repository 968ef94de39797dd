// SPDX-License-Identifier: Apache-2.0
//
// A program that uses the Conan package. It includes one public header, which in turn includes the kernels of all targets.
#include <cstdio>
#include <vector>

#include <stilla/softmax.hpp>

int main() {
  std::vector<float> x(4, 1.0f);
  const stilla::Status done = stilla::softmax(stilla::Matrix(x.data(), 1, 4), stilla::ConstMatrix(x.data(), 1, 4));
  std::printf("softmax on %s: %g\n", stilla::active_target().name, static_cast<double>(x[0]));
  return done && x[0] == 0.25f ? 0 : 1;
}
