// SPDX-License-Identifier: Apache-2.0
//
// Rotary position embedding (Su et al., 2021). Pair i of a head at position p turns by the angle
//
//     p * base^(-2i / rotary_dim) / factor[i]          i = 0 .. rotary_dim / 2 - 1
//
// Angles, cosines and sines are computed in double, so they are right to the last bit of a float at position 131 071 and
// beyond (transformers computes the angle in float, which is off by up to 0.004 there). They depend on the position only, so
// one table row serves all heads and layers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <stilla/contract/elementwise.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/math.hpp>
#include <stilla/matrix.hpp>
#include <stilla/parallel.hpp>
#include <stilla/portable/kernels.hpp>
#include <stilla/scalar/elementwise.hpp>

namespace stilla::inline STILLA_ABI {

enum class RopeLayout : std::uint8_t {
  half_split,   // pairs (x[i], x[i + rotary_dim / 2]): Qwen2, GPT-NeoX
  interleaved,  // pairs (x[2i], x[2i + 1]): Llama in GGUF files
};

// Turns per position of each pair; computed once per model.
class RopeFrequencies {
 public:
  RopeFrequencies() = default;
  // base in [1, 1e30]; rotary_dim even; factors: rotary_dim / 2 divisors (Llama 3's long-context scaling) or null.
  RopeFrequencies(double base, std::size_t rotary_dim, const float* factors = nullptr) : turns_(rotary_dim / 2) {
    for (std::size_t i = 0; i < turns_.size(); ++i) {
      turns_[i] = power(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim));
      if (factors != nullptr) turns_[i] /= static_cast<double>(factors[i]);
    }
  }

  std::size_t pairs() const { return turns_.size(); }
  // The angle of pair i at position 1.
  double radians(std::size_t i) const { return turns_[i]; }

  // Cosines and sines for one position (below 2^20): pairs() floats each.
  void table_row(float* cos, float* sin, std::size_t position) const { table_row(cos, sin, static_cast<double>(position)); }
  void table_row(float* cos, float* sin, double position) const {
    for (std::size_t i = 0; i < turns_.size(); ++i) {
      const SinCos angle = sin_cos(position * turns_[i]);
      cos[i] = static_cast<float>(angle.cos);
      sin[i] = static_cast<float>(angle.sin);
    }
  }

 private:
  std::vector<double> turns_;
};

// Rotates, in place, every head of every row: x is M x (heads * head_dim), cos and sin are M x pairs with 2 * pairs <=
// head_dim; dimensions past 2 * pairs stay as they are.
inline void rope(Matrix x, std::size_t head_dim, ConstMatrix cos, ConstMatrix sin, RopeLayout layout, Parallel parallel = {}) {
  with_target(active_target(), [&](auto target) {
    parallel(x.rows, [&](std::size_t m) {
      for (std::size_t h = 0; h + head_dim <= x.cols; h += head_dim) {
        Rope<decltype(target)>::run(x.row(m) + h, cos.row(m), sin.row(m), cos.cols, layout == RopeLayout::half_split);
      }
    });
  });
}

}  // namespace stilla::STILLA_ABI
