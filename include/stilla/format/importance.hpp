// SPDX-License-Identifier: Apache-2.0
//
// Importance of weights: a factor for the squared error of each weight, for encoders that search for scales (ImportanceFormat).
//
// A matrix multiplies inputs x. If mean(x[j] * x[k]) is 0 for all j other than k, errors e[k] in the weights of a row give an
// output whose mean squared error is sum(e[k]^2 * mean(x[k]^2)). So the mean square of input k is the importance of all weights of
// column k. llama.cpp's importance matrices have these means (io/imatrix.hpp).
//
// The table has the mean squared error of the products, as the formula sum(e[k]^2 * mean(x[k]^2)) estimates it, divided by the square
// of the products themselves. Each figure is the mean over the matrices of layers 2, 12 and 20 of Qwen2.5-Coder 0.5B, 128 rows of
// each. The mean squares come from 6148 tokens of text; they measure the error, and the scales were chosen with them too. The columns
// are encoding without importance, a search with importance 1, with the mean squares (and the change from the first column), and with
// the mean squares times llama.cpp's sqrt(2 mean(w^2) + w^2), where w are the weights:
//
//               without      1        mean squares     llama.cpp's
//     st4       0.00458   0.00458   0.00395 (-14 %)     0.00401
//     iq4_xs    0.00526   0.00526   0.00478  (-9 %)     0.00485
//     iq4_nl    0.00516   0.00516   0.00467  (-9 %)     0.00474
//     q4_0      0.00999   0.00833   0.00675 (-32 %)     0.00699
//     q4_k      0.00392   0.00392   0.00335 (-15 %)     0.00339
//     q3_k      0.01947   0.01947   0.01664 (-15 %)     0.01703
//
// The search tries scales around the one that suits the largest weight of a group. Where one weight counts far more than the
// others, a better scale can lie outside of the tried ones (tests/importance_test.cpp).
#pragma once

#include <cmath>
#include <cstddef>
#include <span>

#include <stilla/base/error.hpp>
#include <stilla/format/rounding.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The share importance_floor of the mean of all mean squares is added to the mean square of every input. Without it, a column whose
// inputs were all 0 would have no influence on the scales at all, and its error would be large in another text, in which these
// inputs are not 0. The share also keeps the sums by which the encoders divide (scale_search.hpp) far from 0.
inline constexpr double importance_floor = 0.01;

// Writes the importance of mean_squares.size() columns, which is computed from the mean squares of their inputs. A column's
// importance is its mean square divided by the mean of all mean squares, plus importance_floor, so that the importances are 1.01 on
// average. They have 16 significant bits, so that their products with a weight and a level are exact in double. If all inputs were
// 0, all columns are equally important. It is an error if a mean square is negative or not finite.
inline Status prepare_importance(std::span<const float> mean_squares, float* importance) {
  double sum = 0;
  for (std::size_t k = 0; k < mean_squares.size(); ++k) {
    const float x = mean_squares[k];
    if (!(x >= 0.0f) || !std::isfinite(x)) {
      return Error{ErrorKind::bad_argument,
                   concat("input ", k, ": found ", x, " as its mean square; expected a number that is not negative")};
    }
    sum += static_cast<double>(x);
  }
  const double mean = sum / static_cast<double>(mean_squares.size());
  for (std::size_t k = 0; k < mean_squares.size(); ++k) {
    const double share = mean > 0 ? static_cast<double>(mean_squares[k]) / mean + importance_floor : 1.0;
    importance[k] = detail::with_16_bits(static_cast<float>(share));
  }
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
