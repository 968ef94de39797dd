// SPDX-License-Identifier: Apache-2.0
//
// Example 1: what 4-bit weights are, and what a dot product with them computes.
//
// A row of weights is cut into blocks of 32. Q4_0 stores a block as one half-precision scale and 32 codes of 4 bits:
// weight = scale * (code - 8). The activations that a row is multiplied by are rounded to int8 in blocks of 32 as well:
// x = scale * value. So a block's part of the dot product is integer arithmetic and two multiplications:
//
//     sum over k of w[k] * x[k]  =  scale_w * scale_x * sum over k of (code[k] - 8) * value[k]
//
//   c++ -std=c++20 -O2 -Istilla/include -Istilla/kernels 01_quantise_and_dot.cpp -o 01 && ./01
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <stilla/matmul.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/base/random.hpp>

using stilla::Q4_0;

int main() {
  constexpr std::size_t K = 256;
  constexpr std::size_t blocks = K / Q4_0::block_weights;

  stilla::Random random(1);
  std::vector<float> weights(K), x(K);
  for (float& w : weights) w = static_cast<float>(random.uniform() - 0.5) * 0.1f;
  for (float& v : x) v = static_cast<float>(random.uniform() - 0.5) * 4.0f;

  // 1. The weights become Q4_0: 32 weights take 18 bytes instead of 128.
  std::vector<std::byte> row(stilla::row_bytes<Q4_0>(K));
  const auto report = stilla::encode_rows<Q4_0>(row, stilla::ConstMatrix(weights.data(), 1, K));
  if (!report) {
    std::fprintf(stderr, "%s\n", report.error().message.c_str());
    return EXIT_FAILURE;
  }
  std::printf("weights      %zu floats, %zu bytes -> %zu bytes of Q4_0; off by %.1f %% (root mean square)\n", K, K * sizeof(float),
              row.size(), 100 * report->relative_rmse);

  // 2. The activations are rounded to int8.
  stilla::ActivationBuffer buffer;
  if (!stilla::quantise(buffer, stilla::ConstMatrix(x.data(), 1, K))) return EXIT_FAILURE;
  const stilla::ActivationQ8 x8 = buffer.view();

  // 3. The dot product is computed block by block. `worst` adds up the largest change of the result that rounding can cause. Let a
  //   step be the scale of a block, the distance between two neighbouring values. A weight is rounded by up to one step (by half a
  //   step, except at the upper end, because the highest level is 7 and not 8), and an activation is rounded by up to half a step.
  float dot = 0.0f;
  double exact = 0.0, worst = 0.0;
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::byte* block = row.data() + b * Q4_0::block_bytes;
    const float scale_w = stilla::to_float(Q4_0::scale(block));
    const float scale_x = x8.scales[b];
    int sum = 0;
    for (std::size_t k = 0; k < Q4_0::block_weights; ++k) {
      const std::size_t i = b * Q4_0::block_weights + k;
      const int code = Q4_0::code(block, k) - Q4_0::zero_point;
      sum += code * x8.values[i];
      exact += double{weights[i]} * double{x[i]};
      // The scale of a block of weights is itself rounded, to 11 bits. This adds at most 8 * 2^-11 of a step to the error of a weight.
      const double step_w = 1.005 * std::fabs(double{scale_w});
      worst += step_w * std::fabs(double{x[i]}) + std::fabs(double{scale_w} * code) * 0.5 * double{scale_x};
    }
    if (b == 0) std::printf("block 0      scale %.6f * %.6f, integer sum %d\n", scale_w, scale_x, sum);
    // std::fma multiplies a block's scales by its integer sum and adds the sum of the blocks before, with a single rounding after the
    // addition. Every kernel of the library performs these float operations in this order.
    dot = std::fma(scale_w * scale_x, static_cast<float>(sum), dot);
  }

  // 4. The library's matmul multiplies one row of weights by one row of activations. The weights are packed first; the
  //   arithmetic is the same as in step 3.
  const auto packed = stilla::PackedMatrix::create<Q4_0>(row.data(), 1, K);
  if (!packed) return EXIT_FAILURE;
  float product = 0.0f;
  if (!stilla::matmul(stilla::Matrix(&product, 1, 1), *packed, x8)) return EXIT_FAILURE;

  std::printf("this loop    %.9g\n", dot);
  std::printf("matmul       %.9g on target %s\n", product, stilla::active_target().name);
  std::printf("in floats    %.9g, so rounding cost %.2g (it may cost %.2g)\n", exact, std::fabs(dot - exact), worst);

  const bool same = dot == product;
  const bool near = std::fabs(dot - exact) <= worst;
  std::printf("%s\n", same && near ? "ok: the same bits, within the bound" : "WRONG");
  return same && near ? EXIT_SUCCESS : EXIT_FAILURE;
}
