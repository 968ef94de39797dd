// SPDX-License-Identifier: Apache-2.0
//
// Example 7: functions of your own on xsimd's batches, as the epilogue of a matrix product and as an op, on whatever target the CPU runs
// (stilla/xsimd.hpp). 07_xsimd_functions.cpp defines them, and is compiled once for each architecture. On x86-64:
//
//   c++ -std=c++20 -O2 -Istilla/include -Istilla/kernels -c 07_xsimd.cpp -o main.o
//   compile() { c++ -std=c++20 -O2 -Istilla/include "-DARCH=xsimd::$1" "${@:3}" -c 07_xsimd_functions.cpp -o $2.o; }
//   compile sse2 sse2
//   compile 'fma3<xsimd::avx2>' avx2 -mavx2 -mfma
//   compile avx512bw avx512 -mavx2 -mfma -mavx512f -mavx512cd -mavx512dq -mavx512bw
//   c++ main.o sse2.o avx2.o avx512.o -o 07 && ./07
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include <stilla/matmul.hpp>
#include <stilla/base/random.hpp>
#include <stilla/pack.hpp>
#include <stilla/xsimd.hpp>

#include "07_xsimd_functions.hpp"

namespace {

// If `status`, which a call of the library returned, is an error, prints its message and ends the program.
void check(const stilla::Status& status) {
  if (status) return;
  std::fprintf(stderr, "%s\n", status.error().message.c_str());
  std::exit(EXIT_FAILURE);
}

// Prints the largest difference between a result, `found`, and `expected`, the same formula in double precision. Ends the program if this
// difference is too large.
void report(const char* what, std::span<const float> found, const std::vector<double>& expected) {
  double largest = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) largest = std::max(largest, std::abs(double{found[i]} - expected[i]));
  std::printf("%-40s off by %.1e at most\n", what, largest);
  if (!(largest < 1e-5)) std::exit(EXIT_FAILURE);
}

void use_both_functions() {
  constexpr std::size_t M = 5, N = 83, K = 64;  // 83 is no multiple of any batch
  stilla::Random random(1);
  std::vector<float> weights(N * K), x(M * K), y(M * N);
  for (float& w : weights) w = static_cast<float>(random.uniform() - 0.5);
  for (float& v : x) v = static_cast<float>(random.uniform() - 0.5) * 4.0f;
  std::printf("target %s\n", stilla::active_target().name);

  // 1. The library's matmul computes a product, with this example's GELU as its epilogue.
  const auto packed = stilla::PackedMatrix::create<stilla::F32>(reinterpret_cast<const std::byte*>(weights.data()), N, K);
  if (!packed) check(packed.error());
  check(stilla::matmul({stilla::Matrix(y.data(), M, N), *packed, nullptr, stilla::xsimd_epilogue(Gelu{})},
                       {stilla::ConstMatrix(x.data(), M, K), {}}));
  std::vector<double> expected(M * N);
  for (std::size_t m = 0; m < M; ++m) {
    for (std::size_t n = 0; n < N; ++n) {
      double v = 0.0;
      for (std::size_t k = 0; k < K; ++k) v += double{x[m * K + k]} * weights[n * K + k];
      expected[m * N + n] = 0.5 * v * (1.0 + std::tanh(0.7978845608 * (v + 0.044715 * v * v * v)));
    }
  }
  report("gelu(x * w^T), gelu by xsimd", y, expected);

  // 2. This example's RMSNorm is an op of your own: it is called by itself, here for the first row of the product.
  constexpr float epsilon = 1e-6f;
  std::vector<float> normed(N), factors(N);
  for (float& w : factors) w = static_cast<float>(random.uniform() - 0.5);
  stilla::on_xsimd_arch(RmsNormOnePlus{})(normed.data(), y.data(), factors.data(), N, epsilon);
  double squares = 0.0;
  for (std::size_t n = 0; n < N; ++n) squares += double{y[n]} * y[n];
  for (std::size_t n = 0; n < N; ++n) expected[n] = y[n] / std::sqrt(squares / N + epsilon) * (1.0 + factors[n]);
  report("RMSNorm with 1 + weight, by xsimd", normed, expected);
}

}  // namespace

// Without force_target() the library runs the best target of the CPU. This example runs all targets that the CPU has, one after the other.
int main() {
  stilla::for_each_available_target([](stilla::TargetId target) {
    check(stilla::force_target(target.name));
    use_both_functions();
  });
  return EXIT_SUCCESS;
}
