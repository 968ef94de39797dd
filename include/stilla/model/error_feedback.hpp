// SPDX-License-Identifier: Apache-2.0
//
// Rounds weights so that the errors of a row cancel in its products. Before a weight is rounded, the errors of the weights
// rounded before it are added to it, as far as their inputs are correlated. The method is that of Frantar et al., "GPTQ" (2023),
// in the form of Chee et al., "QuIP" (2023, LDLQ), who prove that both are the same. Their form needs a decomposition of the
// moments of the inputs, and no inverse.
//
//     H = X^T X + damping                [K, K], X: some thousand inputs of the matrix, in float
//     H = U D U^T                        U unit upper triangular, columns in the order in which they are rounded
//     q[k] = nearest(w[k] + sum over j before k of (w[j] - q[j]) U[j, k])             in each row of the matrix
//
// w are the weights of a row and q the rounded ones; X^T is the transpose of X; D is a diagonal matrix.
//
// Columns are rounded in falling order of H's diagonal. Those with the largest inputs come first, while there are still other
// columns that can compensate for their errors. The scales are those that the encoder of the format finds; error feedback chooses
// only the codes.
//
// All matrices are floats. That is possible because H is damped: 20 % of its mean diagonal is added to its diagonal. The damping
// bounds the condition number of H, and it keeps the codes from fitting the calibration text too closely; what matters is the error on
// other text. The table has the squared error of the outputs for matrices of a model of 0.5B weights in the format lpbq64. The matrices
// were calibrated with their inputs for 8146 tokens of text and tested with 800 other tokens (by a program outside the repository). A
// row is a matrix of a layer. The columns are the damping, as a share of the mean diagonal; "nearest" is rounding without error
// feedback:
//
//                    nearest    1 %      10 %     30 %     100 %
//     layer 12 q     0.0072    0.00233  0.00227  0.00232
//     layer 12 gate  0.0080    0.00261  0.00251  0.00255
//     layer 12 down  0.0092    0.00707  0.00554  0.00520  0.00549       (4864 inputs: the text has hardly twice as many tokens)
//     layer 20 o     0.0149             0.00226  0.00240  0.00276
//     layer 20 down  0.0094             0.00480  0.00462  0.00504
//
// Three other methods gave no smaller errors than adding a share of the mean diagonal: damping each diagonal value by a share of
// itself, making the values off the diagonal smaller, and dividing the inputs by their length. More text helps more: with 3072 tokens
// for the calibration the errors of q and gate were 12 to 18 % larger than with 8146. Results are the same for any number of threads and
// on any target.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/format/float_formats.hpp>
#include <stilla/format/scale_search.hpp>
#include <stilla/matmul.hpp>
#include <stilla/pack.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

// Memory that add_product() uses. The caller of add_product() keeps it from one call to the next.
struct ProductMemory {
  AlignedBuffer<std::byte> panels;
  AlignedBuffer<float> product;
};

// Computes y += sign * a b^T, for matrices y[M, N], a[M, K], b[N, K], where b^T is the transpose of b. y is computed in stripes of
// 256 rows. If `lower` is set, only the part of y up to its diagonal is needed: of a stripe that ends before row e, only the
// columns below e are computed. The rows of b must have no gaps between them in memory.
inline Status add_product(Matrix y, ConstMatrix a, ConstMatrix b, float sign, bool lower, ProductMemory& memory, Parallel parallel) {
  constexpr std::size_t stripe = 256;
  if (!with_format(id_of<F32>, [](auto) {}))
    return Error{ErrorKind::bad_argument, "error feedback needs the format f32, which is not compiled"};
  const std::size_t bytes = packed_bytes<F32>(b.rows, b.cols), most = std::min(stripe, y.rows);
  if (!memory.panels.resize(bytes) || !memory.product.resize(most * y.cols)) return out_of_memory("a product of moments", bytes);
  pack<F32>(memory.panels.data(), reinterpret_cast<const std::byte*>(b.data), b.rows, b.cols, parallel);
  for (std::size_t r = 0; r < y.rows; r += stripe) {
    const std::size_t rows = std::min(stripe, y.rows - r), columns = lower ? std::min(r + stripe, y.cols) : y.cols;
    const Matrix product(memory.product.data(), rows, columns);
    const MatmulProduct job{product, {id_of<F32>, columns, b.cols, memory.panels.data()}, nullptr};
    if (Status s = matmul({&job, 1}, {ConstMatrix(a.row(r), rows, a.cols, a.stride), {}}, parallel); !s) return s;
    parallel(rows, [&](std::size_t m) {
      float* const to = y.row(r + m);
      const float* const from = product.row(m);
      for (std::size_t n = 0; n < columns; ++n) to[n] += sign * from[n];  // the products are exact: sign is 1 or -1
    });
  }
  return success();
}

}  // namespace detail

// The moments H = X^T X of the inputs X of one matrix of the model, without damping. The inputs are added in pieces.
class InputMoments {
 public:
  Status add(ConstMatrix x, Parallel parallel = {}) {
    const std::size_t T = x.rows, K = x.cols;
    if (moments_.size() == 0) {
      if (!moments_.resize(K * K)) return out_of_memory("moments of inputs", K * K * sizeof(float));
      std::fill_n(moments_.data(), K * K, 0.0f);
      width_ = K;
    }
    if (!transposed_.resize(K * T)) return out_of_memory("moments of inputs", K * T * sizeof(float));
    parallel((K + 15) / 16, [&](std::size_t task) {
      for (std::size_t t = 0; t < T; ++t) {
        for (std::size_t k = task * 16; k < std::min(K, task * 16 + 16); ++k) transposed_[k * T + t] = x.row(t)[k];
      }
    });
    const ConstMatrix columns(transposed_.data(), K, T);
    count_ += T;
    return detail::add_product(Matrix(moments_.data(), K, K), columns, columns, 1.0f, true, memory_, parallel);
  }

  std::size_t width() const { return width_; }
  std::size_t count() const { return count_; }
  // The moment H[j, k]: the sum of x[j] * x[k] over all inputs x.
  float operator()(std::size_t j, std::size_t k) const { return j >= k ? moments_[j * width_ + k] : moments_[k * width_ + j]; }

 private:
  std::size_t width_ = 0, count_ = 0;
  AlignedBuffer<float> moments_, transposed_;  // moments_ has the lower triangle
  detail::ProductMemory memory_;
};

// The order in which the columns of a matrix are rounded, and the matrix U for this order. U is from the decomposition H = U D U^T
// of the damped moments H; it is unit upper triangular, and D is diagonal.
//
// If positions are counted backwards, H = U D U^T becomes Cholesky's H = L L^T. L is therefore computed and kept: row and column
// K - 1 - p of L belong to position p, and U[j, k] is the value of L for j and k, divided by the value on the diagonal for k.
class RoundingOrder {
 public:
  static Result<RoundingOrder> create(const InputMoments& moments, Parallel parallel = {}) {
    RoundingOrder order;
    const std::size_t K = moments.width();
    order.width_ = K;
    order.columns_.resize(K);
    std::iota(order.columns_.begin(), order.columns_.end(), std::size_t{0});
    double sum = 0;
    for (std::size_t k = 0; k < K; ++k) sum += static_cast<double>(moments(k, k));
    const auto damping = static_cast<float>(sum / static_cast<double>(K == 0 ? 1 : K) * damping_share);
    if (!std::isfinite(damping)) return Error{ErrorKind::bad_argument, "the inputs' moments are not finite"};
    std::sort(order.columns_.begin(), order.columns_.end(),
              [&](std::size_t a, std::size_t b) { return moments(a, a) != moments(b, b) ? moments(a, a) > moments(b, b) : a < b; });
    if (!order.lower_.resize(K * K)) return out_of_memory("the decomposition of moments", K * K * sizeof(float));
    parallel(K, [&](std::size_t r) {
      const std::size_t row = order.columns_[K - 1 - r];
      for (std::size_t c = 0; c <= r; ++c) order.lower_[r * K + c] = moments(row, order.columns_[K - 1 - c]);
      order.lower_[r * K + r] += damping > 0 ? damping : 1.0f;
    });
    if (Status s = order.decompose(parallel); !s) return s.error();
    return order;
  }

  std::size_t width() const { return width_; }
  // The column that is rounded at position p.
  std::size_t column(std::size_t p) const { return columns_[p]; }
  // The value U[j, k], for positions j < k: the factor with which the error at position j is passed on to position k.
  float factor(std::size_t j, std::size_t k) const {
    const std::size_t r = width_ - 1 - j, c = width_ - 1 - k;
    return lower_[r * width_ + c] / lower_[c * width_ + c];
  }

 private:
  static constexpr double damping_share = 0.2;
  static constexpr std::size_t block = 128;

  // Replaces H in lower_ by Cholesky's L, one block of columns after the other.
  Status decompose(Parallel parallel) {
    const std::size_t K = width_;
    AlignedBuffer<float> panel;
    detail::ProductMemory memory;
    for (std::size_t begin = 0; begin < K; begin += block) {
      const std::size_t end = std::min(begin + block, K), width = end - begin;
      for (std::size_t r = begin; r < end; ++r) {
        solve_row(r, begin, r);
        if (!finish_diagonal(r, begin)) return Error{ErrorKind::bad_argument, "the inputs' moments have no decomposition"};
      }
      const std::size_t rest = K - end;
      if (rest == 0) break;
      if (!panel.resize(rest * width)) return out_of_memory("the decomposition of moments", rest * width * sizeof(float));
      parallel(rest, [&](std::size_t i) {
        solve_row(end + i, begin, end);
        std::copy_n(lower_.data() + (end + i) * K + begin, width, panel.data() + i * width);
      });
      const ConstMatrix columns(panel.data(), rest, width);
      if (Status s =
              detail::add_product(Matrix(lower_.data() + end * K + end, rest, rest, K), columns, columns, -1.0f, true, memory, parallel);
          !s) {
        return s;
      }
    }
    return success();
  }

  // Computes the columns [begin, end) of row r of Cholesky's L, left of its diagonal, from the rows of L above.
  void solve_row(std::size_t r, std::size_t begin, std::size_t end) {
    float* const row = lower_.data() + r * width_;
    for (std::size_t c = begin; c < end; ++c) {
      const float* const other = lower_.data() + c * width_;
      double sum = static_cast<double>(row[c]);
      for (std::size_t k = begin; k < c; ++k) sum = std::fma(static_cast<double>(-row[k]), static_cast<double>(other[k]), sum);
      row[c] = static_cast<float>(sum / static_cast<double>(other[c]));
    }
  }
  // Computes the diagonal value of row r of Cholesky's L. Returns false if it is not a positive number.
  bool finish_diagonal(std::size_t r, std::size_t begin) {
    float* const row = lower_.data() + r * width_;
    double sum = static_cast<double>(row[r]);
    for (std::size_t k = begin; k < r; ++k) sum = std::fma(static_cast<double>(-row[k]), static_cast<double>(row[k]), sum);
    row[r] = static_cast<float>(std::sqrt(sum));
    return row[r] > 0.0f && std::isfinite(row[r]);
  }

  std::size_t width_ = 0;
  std::vector<std::size_t> columns_;
  AlignedBuffer<float> lower_;
};

namespace detail {

struct ChosenCode {
  int code, level;
};

// Returns the code of the format F whose level is nearest to x, together with this level. A weight is its scale times its level.
template <ChosenCodesFormat F>
ChosenCode choose_code(float x) {
  if constexpr (F::is_codebook) {
    static_assert(std::is_sorted(F::codebook.begin(), F::codebook.end()));
    const std::size_t code = nearest_code(F::codebook, x);
    return {static_cast<int>(code), F::codebook[code]};
  } else {
    constexpr int lowest = F::code_bits == 8 ? -127 : 0, highest = F::code_bits == 8 ? 127 : (1 << F::code_bits) - 1;
    const int level = nearest_level(rounded(x), lowest - F::zero_point, highest - F::zero_point);
    return {level + F::zero_point, level};
  }
}

}  // namespace detail

// Encodes every row of the matrix `weights` in the format F. The format's own encoder (encode_rows) finds the scales; then error
// feedback chooses the codes, in the order of columns `order`.
template <ChosenCodesFormat F>
Status encode_with_feedback(std::span<std::byte> blocks, ConstMatrix weights, const RoundingOrder& order, Parallel parallel = {}) {
  constexpr std::size_t together = 128;  // columns whose errors are passed on together
  const std::size_t N = weights.rows, K = weights.cols, bytes = row_bytes<F>(K);
  if (order.width() != K) {
    return Error{ErrorKind::bad_argument, concat("moments of ", order.width(), " inputs for a matrix of ", K, " columns")};
  }
  if (const auto report = encode_rows<F>(blocks, weights, parallel); !report) return report.error();
  AlignedBuffer<float> corrections, errors, factors;
  if (!corrections.resize(N * K) || !errors.resize(N * together) || !factors.resize(K * together)) {
    return out_of_memory("rounding errors", N * K * sizeof(float));
  }
  std::fill_n(corrections.data(), N * K, 0.0f);  // ordered by position
  detail::ProductMemory memory;
  for (std::size_t begin = 0; begin < K; begin += together) {
    const std::size_t end = std::min(begin + together, K), width = end - begin, rest = K - end;
    parallel(K - begin, [&](std::size_t i) {  // the columns of U from `begin` on, as rows
      const std::size_t k = begin + i;
      for (std::size_t j = begin; j < end; ++j) factors[i * width + (j - begin)] = j < k ? order.factor(j, k) : 0.0f;
    });
    parallel(N, [&](std::size_t n) {
      std::byte* const row = blocks.data() + n * bytes;
      const float* const exact = weights.row(n);
      float* const error = errors.data() + n * width;
      for (std::size_t p = begin; p < end; ++p) {
        const std::size_t k = order.column(p);
        std::byte* const block = row + (block_of<F>(row, k) - row);
        const float step = weight_scale<F>(row, k);
        float wanted = exact[k] + corrections[n * K + p];
        for (std::size_t j = begin; j < p; ++j) {
          wanted = std::fma(error[j - begin], factors[(p - begin) * width + (j - begin)], wanted);
        }
        const auto [code, level] = detail::choose_code<F>(step == 0.0f ? 0.0f : wanted / step);
        F::set_code(block, k % F::block_weights, code);
        error[p - begin] = std::fma(step, static_cast<float>(-level), exact[k]);
      }
    });
    if (rest == 0) break;
    const Matrix later(corrections.data() + end, N, rest, K);
    const ConstMatrix passed(factors.data() + width * width, rest, width);
    if (Status s = detail::add_product(later, ConstMatrix(errors.data(), N, width), passed, 1.0f, false, memory, parallel); !s) return s;
  }
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
