// SPDX-License-Identifier: Apache-2.0
//
// What models do with the results of a matrix product, as epilogues of the product (MatmulProduct in matmul.hpp):
//
//   stilla::matmul({y, up, bias, stilla::epilogue::gelu}, input, parallel);                    // y = gelu(x * up^T + bias)
//   stilla::matmul({y, down, nullptr, stilla::epilogue::add(residual)}, input, parallel);      // y = residual + x * down^T
//   stilla::matmul({.y = y, .w = down, .accumulate = true}, input, parallel);                  // y = y + x * down^T
//   const auto capped = [&](const stilla::MatmulTile& tile) {                                  // your own function, which calls two
//     stilla::epilogue::scale_rows(weights)(tile);
//     stilla::epilogue::clamp(-10.0f, 10.0f)(tile);
//   };
//   stilla::matmul({y, down, nullptr, capped}, input, parallel);
//
// Each epilogue can be called for a whole matrix too, as in silu({y}). It then gives the same bits, because every value is computed by
// itself.
#pragma once

#include <algorithm>
#include <cstddef>

#include <stilla/base/check.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/matmul.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace epilogue {

// Calls f(values, count) for pieces of the rows of a tile, of at most max_piece floats each. If f needs buffers for a piece, they
// are so small that they stay in the first-level cache.
inline constexpr std::size_t max_piece = 256;
template <class F>
void for_each_piece(const MatmulTile& tile, F&& f) {
  for (std::size_t i = 0; i < tile.values.rows; ++i) {
    for (std::size_t j = 0; j < tile.values.cols; j += max_piece) f(tile.values.row(i) + j, std::min(max_piece, tile.values.cols - j));
  }
}

// Replaces each value v of a tile by v / (1 + e^-v), which is also called swish. The bits are those of silu_mul() (silu_mul.hpp)
// whose second factor is 1.
inline void silu(const MatmulTile& tile) {
  const auto silu_mul = detail::row_kernel<SiluMul>(active_target());
  float ones[max_piece];
  std::fill_n(ones, std::min(max_piece, tile.values.cols), 1.0f);
  for_each_piece(tile, [&](float* v, std::size_t n) { silu_mul(v, v, ones, n); });
}

// Replaces each value v of a tile by v / 2 * (1 + tanh(c * (v + 0.044715 v^3))) with c = sqrt(2 / pi): the form that Gemma, GPT-2 and
// Phi have (`gelu_pytorch_tanh` and `gelu_new` in transformers; Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016). It differs
// from the form with erf by up to 5e-4. It equals silu(g) * (1 / (2 c s)) with s = 1 + 0.044715 v^2 and g = 2 c s * v, which is how it
// is computed. From |v| = 10 on, silu(g) is g or 0, so v^2 in s is limited to 100; this limit keeps infinity from becoming NaN.
inline void gelu(const MatmulTile& tile) {
  constexpr float twice_c = 1.5957691216057308f;
  const auto silu_mul = detail::row_kernel<SiluMul>(active_target());
  float slope[max_piece], factor[max_piece];
  for_each_piece(tile, [&](float* v, std::size_t n) {
    // GELU's products are computed in one loop and its sums in the next, so that no compiler fuses a product and a sum into one rounding.
    for (std::size_t i = 0; i < n; ++i) slope[i] = std::min(v[i] * v[i], 100.0f) * 0.044715f;
    for (std::size_t i = 0; i < n; ++i) slope[i] += 1.0f;
    for (std::size_t i = 0; i < n; ++i) {
      slope[i] *= twice_c;
      factor[i] = 1.0f / slope[i];
      v[i] *= slope[i];
    }
    silu_mul(v, v, factor, n);
  });
}

// Replaces each value of a tile by `lowest` if it is lower, and by `highest` if it is higher. A NaN stays. clamp(0, HUGE_VALF) is
// relu.
inline auto clamp(float lowest, float highest) {
  return [lowest, highest](const MatmulTile& tile) {
    for_each_piece(tile, [&](float* v, std::size_t n) {
      for (std::size_t i = 0; i < n; ++i) v[i] = v[i] < lowest ? lowest : v[i] > highest ? highest : v[i];
    });
  };
}

// Adds the matrix x to the results of the product, which is the residual connection. x has the shape of the product and is not the
// matrix y that the product writes to. To add a product to its own y, set MatmulProduct::accumulate instead.
inline auto add(ConstMatrix x) {
  return [x](const MatmulTile& tile) {
    for (std::size_t i = 0; i < tile.values.rows; ++i) {
      float* const v = tile.values.row(i);
      const float* const from = x.row(tile.row + i) + tile.column;
      for (std::size_t j = 0; j < tile.values.cols; ++j) v[j] += from[j];
    }
  };
}

// Multiplies every row of the product by factors[row], for example by the weight that a router gives to each row of its experts.
inline auto scale_rows(const float* factors) {
  return [factors](const MatmulTile& tile) {
    for (std::size_t i = 0; i < tile.values.rows; ++i) {
      float* const v = tile.values.row(i);
      for (std::size_t j = 0; j < tile.values.cols; ++j) v[j] *= factors[tile.row + i];
    }
  };
}

}}}  // namespace stilla::epilogue

#include <stilla/base/pop_macros-inl.hpp>
