// SPDX-License-Identifier: Apache-2.0
//
// Measures how far encoded weights are from their source, for a caller that gets the weights a few rows at a time and did not get
// a report from the encoder:
//
//   EncodingError error;
//   for each piece:  error.add(id_of<Q4_0>, blocks, values, pool);        // or rows of another format in place of values
//   error.relative_rmse()                                                 // of all pieces; means the same as in EncodingReport
//
// Rows are shared between threads and their sums are merged in order, so the result does not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/math.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/format/format.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

// The errors of decoded weights against their source. Each sum consists of partial sums, which a compiler can keep in vectors. One
// sum over all weights in their order, with a fused multiply-add for each, took more time than encoding the weights as q8_0.
class ErrorSums {
 public:
  void add(const float* decoded, const float* source, std::size_t count) {
    const std::size_t whole = count / parts * parts;
    for (std::size_t k = 0; k < whole; k += parts) {
      for (std::size_t i = 0; i < parts; ++i) add_one(i, decoded[k + i], source[k + i]);
    }
    for (std::size_t k = whole; k < count; ++k) add_one(0, decoded[k], source[k]);
  }

  double squared_error() const { return total(squared_error_); }    // the sum of (decoded - source)^2
  double squared_source() const { return total(squared_source_); }  // the sum of source^2
  double max_error() const { return *std::max_element(max_error_, max_error_ + parts); }

 private:
  static constexpr std::size_t parts = 8;

  void add_one(std::size_t part, float decoded, float source) {
    const auto exact = static_cast<double>(source);
    const double error = static_cast<double>(decoded) - exact;
    squared_error_[part] += error * error;
    squared_source_[part] += exact * exact;
    max_error_[part] = std::fabs(error) > max_error_[part] ? std::fabs(error) : max_error_[part];
  }
  static double total(const double* sums) {
    double total = 0.0;
    for (std::size_t i = 0; i < parts; ++i) total += sums[i];
    return total;
  }

  double squared_error_[parts] = {};
  double squared_source_[parts] = {};
  double max_error_[parts] = {};
};

}  // namespace detail

class EncodingError {
 public:
  // Adds the error of encoded rows. `blocks` has these rows in `format`, without gaps, and `values` has the weights that they stand
  // for. The only failure is too little memory.
  Status add(FormatId format, const std::byte* blocks, ConstMatrix values, Parallel parallel = {}) {
    return add_rows(format, blocks, values.rows, values.cols, parallel, [&](std::size_t n, float*) { return values.row(n); });
  }

  // Adds the error of encoded rows whose source weights are not given as floats: `rows` has the source weights in the format
  // `from`.
  Status add(FormatId format, const std::byte* blocks, FormatId from, const std::byte* rows, std::size_t N, std::size_t K,
             Parallel parallel = {}) {
    return add_rows(format, blocks, N, K, parallel, [&](std::size_t n, float* room) {
      decode(from, rows, n, room, K);
      return static_cast<const float*>(room);
    });
  }

  // sqrt(mean((decoded - source)^2) / mean(source^2)) over all weights that were added; 0 if all source weights were zeros.
  double relative_rmse() const { return squared_source_ > 0.0 ? std::sqrt(squared_error_ / squared_source_) : 0.0; }

 private:
  struct Row {
    double squared_error, squared_source;
  };

  static void decode(FormatId format, const std::byte* rows, std::size_t n, float* out, std::size_t K) {
    with_format(format, [&](auto tag) {
      using F = decltype(tag);
      decode_row<F>(rows + n * row_bytes<F>(K), out, K);
    });
  }

  // source_row(n, room) returns row n of the weights that the blocks stand for. `room` has space for K floats.
  template <class SourceRow>
  Status add_rows(FormatId format, const std::byte* blocks, std::size_t N, std::size_t K, Parallel parallel, const SourceRow& source_row) {
    AlignedBuffer<Row> rows;
    if (!rows.resize(N)) return out_of_memory("the error of encoded rows", N * sizeof(Row));
    parallel(N, [&](std::size_t n) {
      std::vector<float> decoded(K), room(K);
      decode(format, blocks, n, decoded.data(), K);
      const float* const source = source_row(n, room.data());
      detail::ErrorSums sums;
      sums.add(decoded.data(), source, K);
      rows[n] = {sums.squared_error(), sums.squared_source()};
    });
    for (std::size_t n = 0; n < N; ++n) {
      squared_error_ += rows[n].squared_error;
      squared_source_ += rows[n].squared_source;
    }
    return success();
  }

  double squared_error_ = 0.0, squared_source_ = 0.0;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
