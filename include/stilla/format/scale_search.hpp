// SPDX-License-Identifier: Apache-2.0
//
// Chooses scales by least squares, for the encoders of formats whose groups share the scale of a block (K formats), whose rows
// have one scale, or whose levels are not evenly spaced (codebooks). The search is Stilla's own; gguf-py has no encoder for these
// formats.
//
// Levels l[k] are integers and w[k] are the weights. For fixed levels the best scale is s = sum(w l) / sum(l l), and the squared
// error that remains is sum(w w) - sum(w l)^2 / sum(l l). So the search tries scales around the one that maps the largest magnitude
// to the last level, rounds all weights to levels with each of them, and keeps the levels with the largest sum(w l)^2 / sum(l l).
// With a minimum, two parameters are fitted, w = s l + b with b <= 0, and the search keeps the levels with the largest s sum(w l) +
// b sum(w).
//
// With importance i[k] (format/importance.hpp), the squared error of weight k counts i[k] times: every sum has the factor i[k].
// llama.cpp, from whose importance matrices these numbers may come, also multiplies them by sqrt(c + w[k]^2), where c is one or two
// times the mean of w^2 (quantize_row_q4_0_impl and others in ggml-quants.c). Stilla uses the importance without this factor.
//
// The decisions are the same with every compiler. Products of a float, a level and an importance of 16 bits are exact in double, so
// fusing them with the sum changes nothing. Where products are not exact, the code uses std::fma explicitly.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <stilla/base/config.hpp>
#include <stilla/format/rounding.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

// The search tries several scales. The plain one maps the weight of the largest magnitude to the last level. search_steps says how
// many scales are tried on each side of the plain one, and search_spacing by how many levels this weight moves from one tried scale
// to the next.
inline constexpr int search_steps = 9;
inline constexpr float search_spacing = 0.125f;

// x rounded to an integer within lowest .. highest; 0 for NaN.
inline int nearest_level(float x, int lowest, int highest) {
  if (x <= static_cast<float>(lowest)) return lowest;
  if (x >= static_cast<float>(highest)) return highest;
  return nearest_integer(x);
}

// The code whose level in an ascending codebook is nearest to x. If two levels are equally near, the code of the lower level is
// returned; for NaN, the first code is returned.
template <std::size_t levels>
std::size_t nearest_code(const std::array<std::int8_t, levels>& codebook, float x) {
  std::size_t code = 0;
  while (code + 1 < levels && 2 * x > static_cast<float>(codebook[code] + codebook[code + 1])) ++code;
  return code;
}

// The factor of the squared error of weight k. Without importance it is 1 for every weight.
inline double importance_of(const float* importance, std::size_t k) {
  return importance == nullptr ? 1.0 : static_cast<double>(importance[k]);
}

// The importance of the weights from the k-th on; null if there is none.
inline const float* importance_from(const float* importance, std::size_t k) { return importance == nullptr ? nullptr : importance + k; }

struct ScaleFit {
  double scale;
  double gain;  // by how much the scale reduces the squared error
};

// Rounds weight * inverse to the nearest level for each weight; `inverse` is the inverse of a scale that is tried. Returns the
// scale that is best for these levels, with its gain: by how much the squared error is less than if all weights were decoded as 0.
// The gain is 0 if all levels are 0.
template <class Nearest>
ScaleFit fit_at(const float* weights, std::size_t count, float inverse, const Nearest& nearest, const float* importance) {
  double weight_level = 0;
  double level_level = 0;
  for (std::size_t k = 0; k < count; ++k) {
    const double level = nearest(weights[k] * inverse);
    const double important_level = importance_of(importance, k) * level;
    weight_level += static_cast<double>(weights[k]) * important_level;
    level_level += level * important_level;
  }
  if (!(level_level > 0)) return {0, 0};
  return {weight_level / level_level, weight_level * weight_level / level_level};
}

// Finds the scale s with which s * level is nearest to the weights. nearest(x) is the level nearest to x. The weight of the largest
// magnitude gets about the level `extreme_level`. The result is 0 for a group of zeros, and for a group so small that the inverse
// of its scale is infinite.
template <class Nearest>
float fit_scale(const float* weights, std::size_t count, float extreme_level, const Nearest& nearest, const float* importance) {
  const float extreme = extreme_of(weights, count);
  if (extreme == 0.0f) return 0.0f;
  ScaleFit best{0, 0};
  for (int step = -search_steps; step <= search_steps; ++step) {
    const float moved = extreme_level + search_spacing * static_cast<float>(step);  // exact: eighths of small numbers
    const ScaleFit found = fit_at(weights, count, moved / extreme, nearest, importance);
    if (found.gain > best.gain) best = found;
  }
  return static_cast<float>(best.scale);
}

struct ScaleAndMinimum {
  float scale;    // >= 0
  float minimum;  // what is subtracted, >= 0
};

// Finds the scale and the minimum with which scale * level - minimum is nearest to the weights, for levels 0 .. highest.
inline ScaleAndMinimum fit_scale_and_minimum(const float* weights, std::size_t count, int highest, const float* importance) {
  Range range = range_of(weights, count);
  if (range.least > 0) range.least = 0;
  if (!(range.most > range.least)) return {0, -range.least};  // all equal and not positive
  double sum = 0;
  double sum_weight = 0;
  for (std::size_t k = 0; k < count; ++k) {
    sum += importance_of(importance, k);
    sum_weight += importance_of(importance, k) * static_cast<double>(weights[k]);
  }
  double best_gain = 0;
  ScaleAndMinimum best{(range.most - range.least) / static_cast<float>(highest), -range.least};
  for (int step = -search_steps; step <= search_steps; ++step) {
    const float inverse = (static_cast<float>(highest) + search_spacing * static_cast<float>(step)) / (range.most - range.least);
    double sum_level = 0;
    double level_level = 0;
    double weight_level = 0;
    for (std::size_t k = 0; k < count; ++k) {
      const double level = nearest_level((weights[k] - range.least) * inverse, 0, highest);
      const double important_level = importance_of(importance, k) * level;
      sum_level += important_level;
      level_level += level * important_level;
      weight_level += static_cast<double>(weights[k]) * important_level;
    }
    const double determinant = std::fma(sum, level_level, -(sum_level * sum_level));
    // `determinant` is that of the two linear equations whose solution is the best scale and minimum for the levels of this step. It is
    // a difference of two terms. If all levels are equal, it is 0, or with importance a rounding error of some 1e-16 of the terms. If
    // levels differ, it is more than 1e-10 of the terms.
    if (!(determinant > 1e-12 * (sum * level_level))) continue;
    double scale = std::fma(sum, weight_level, -(sum_weight * sum_level)) / determinant;
    double offset = std::fma(level_level, sum_weight, -(sum_level * weight_level)) / determinant;
    if (offset > 0) {  // the format subtracts a minimum that is not negative
      offset = 0;
      scale = weight_level / level_level;
    }
    const double gain = std::fma(scale, weight_level, offset * sum_weight);
    if (scale > 0 && gain > best_gain) {
      best_gain = gain;
      best = {static_cast<float>(scale), static_cast<float>(-offset)};
    }
  }
  return best;
}

}}}  // namespace stilla::detail

#include <stilla/base/pop_macros-inl.hpp>
