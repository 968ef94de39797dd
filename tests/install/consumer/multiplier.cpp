// SPDX-License-Identifier: Apache-2.0
//
// Multiplies with the installed library of compiled kernels, which was built for the two formats that
// CMakeLists.txt names and no other.
#include <cstdint>
#include <cstdio>
#include <vector>

#include <stilla/format/encode_rows.hpp>
#include <stilla/matmul.hpp>

#if !STILLA_SEPARATE_KERNELS
#error "stilla::kernels does not say that the kernels are separate."
#endif

// Returns y[0, 0] of a product of activations of 1 and weights of 0.5, or -1 if a step failed.
template <class F>
float product() {
  constexpr std::size_t M = 2, N = 40, K = 64;
  const std::vector<float> weights(N * K, 0.5f), x(M * K, 1.0f);
  std::vector<float> y(M * N);
  std::vector<std::byte> rows(N * stilla::row_bytes<F>(K));
  if (!stilla::encode_rows<F>(rows, stilla::ConstMatrix(weights.data(), N, K))) return -1;
  const auto w = stilla::PackedMatrix::create<F>(rows.data(), N, K);
  stilla::ActivationBuffer rounded;
  if (!w || !stilla::matmul(stilla::Matrix(y.data(), M, N), *w, stilla::ConstMatrix(x.data(), M, K), rounded)) return -1;
  return y[0];
}

int main() {
  const auto refused = stilla::PackedMatrix::create(stilla::id_of<stilla::Q8_0>, nullptr, 0, 32);  // this format was not requested
  std::printf("%s: %g %g, and q8_0 is %s\n", stilla::active_target().name, product<stilla::Q4_0>(), product<stilla::F32>(),
              refused ? "there" : "not there");
  return product<stilla::Q4_0>() == 32.0f && product<stilla::F32>() == 32.0f && !refused ? 0 : 1;
}
