// SPDX-License-Identifier: Apache-2.0
//
// Encodes weights: rows of floats become blocks of any format that has an encoder, as the blocks stand in a file. Reports how much
// was lost. (Activations are rounded by another function: quantise(ActivationBuffer&, x) in matmul.hpp.)
//
//   const std::size_t bytes = *stilla::encoded_bytes(stilla::id_of<stilla::Q4_0>, N, K);
//   std::vector<std::byte> blocks(bytes);
//   stilla::Result<stilla::EncodingReport> report = stilla::encode_rows<stilla::Q4_0>(blocks, weights);
//
// requantise_rows encodes weights that a file has in another format. encode_rows and requantise_rows can be given the mean squares
// of the matrix's inputs. Formats whose encoder searches for scales then choose those that change the products least
// (format/importance.hpp).
//
// The report compares decode(encode(w)) with w, row by row. Rows are independent and are shared between threads. Their sums are
// merged in the order of rows, so the bytes and the report are the same for any number of threads. The time is limited by the
// encoder's arithmetic, not by memory; the benchmark EncodeRows in bench/elementwise_bench.cpp measures it.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/format/encoding_error.hpp>
#include <stilla/format/format.hpp>
#include <stilla/format/format_name.hpp>
#include <stilla/format/importance.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// How far the decoded weights are from the source. All members are 0 for a matrix without weights.
struct EncodingReport {
  double rmse = 0.0;           // sqrt(mean((decoded - source)^2))
  double relative_rmse = 0.0;  // rmse / sqrt(mean(source^2)); 0 when the source is all zeros
  double max_error = 0.0;      // highest |decoded - source|
};

// Bytes of W[N, K] in the blocks of `format`. It is an error if the format is unknown, if K is not a multiple of the format's
// block, or if no address space holds so many bytes.
inline Result<std::size_t> encoded_bytes(FormatId format, std::size_t N, std::size_t K) {
  Result<std::size_t> result = detail::unknown_format(format);
  with_format(format, [&](auto tag) {
    using F = decltype(tag);
    if (K % F::block_weights != 0) {
      result = Error{ErrorKind::bad_argument, concat(K, " columns are not a multiple of the ", F::name, " block of ", F::block_weights)};
      return;
    }
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    if (K / F::block_weights > (most - row_head_bytes<F>) / F::block_bytes || (K != 0 && N > most / row_bytes<F>(K))) {
      result = Error{ErrorKind::bad_argument, concat(N, " x ", K, " weights do not fit the address space")};
      return;
    }
    result = N * row_bytes<F>(K);
  });
  return result;
}

namespace detail {

// What one row adds to an EncodingReport. bad_column is the first weight of the row that cannot be encoded, or K if there is none.
struct EncodedRow {
  double squared_error;
  double squared_source;
  double max_error;
  std::size_t bad_column;
};

// Encodes one row and compares it with its source.
template <EncodableFormat F>
EncodedRow encode_and_compare(std::byte* blocks, const float* weights, std::size_t K, const float* importance) {
  if (importance == nullptr) {
    encode_row<F>(weights, blocks, K);
  } else if constexpr (ImportanceFormat<F>) {
    encode_row<F>(weights, blocks, K, importance);
  }
  ErrorSums sums;
  float decoded[F::block_weights];
  for (std::size_t k = 0; k < K; k += F::block_weights) {
    decode_block<F>(blocks, k, decoded);
    sums.add(decoded, weights + k, F::block_weights);
  }
  EncodedRow row{sums.squared_error(), sums.squared_source(), sums.max_error(), K};
  if (is_finite(row.squared_error)) return row;
  for (row.bad_column = 0; row.bad_column < K; ++row.bad_column) {
    const std::size_t k = row.bad_column % F::block_weights;
    if (k == 0) decode_block<F>(blocks, row.bad_column, decoded);
    if (!is_finite(static_cast<double>(decoded[k]) - static_cast<double>(weights[row.bad_column]))) break;
  }
  return row;
}

}  // namespace detail

// Encodes every row of `weights` into `blocks`, with no gaps between blocks or between rows. `blocks` has encoded_bytes(F, N, K)
// bytes, of any alignment. A weight that is not finite, or that makes the scale of its block overflow, is an error; the contents of
// `blocks` are then unspecified. mean_squares holds the mean square of each of the K inputs that the matrix multiplies, or is
// empty. It must be empty if F is no ImportanceFormat, a format whose encoder can weigh errors by them.
template <EncodableFormat F>
Result<EncodingReport> encode_rows(std::span<std::byte> blocks, ConstMatrix weights, Parallel parallel = {},
                                   std::span<const float> mean_squares = {}) {
  const std::size_t N = weights.rows;
  const std::size_t K = weights.cols;
  const Result<std::size_t> bytes = encoded_bytes(id_of<F>, N, K);
  if (!bytes) return bytes.error();
  if (blocks.size() != *bytes) {
    return Error{ErrorKind::bad_argument, concat(N, " x ", K, " weights take ", *bytes, " bytes in ", F::name,
                                                 ", but the memory given for them has ", blocks.size())};
  }
  AlignedBuffer<float> importance;
  if (!mean_squares.empty()) {
    if constexpr (!ImportanceFormat<F>) {
      return Error{ErrorKind::bad_argument, concat(F::name, " has no scales that could be chosen by importance")};
    }
    if (mean_squares.size() != K) {
      return Error{ErrorKind::bad_argument, concat("found the mean squares of ", mean_squares.size(), " inputs; expected ", K)};
    }
    if (!importance.resize(K)) return out_of_memory("the importance of inputs", K * sizeof(float));
    if (Status s = prepare_importance(mean_squares, importance.data()); !s) return s.error();
  }
  const float* const factors = mean_squares.empty() ? nullptr : importance.data();
  AlignedBuffer<detail::EncodedRow> rows;
  if (!rows.resize(N)) return out_of_memory("the error report of encoded rows", N * sizeof(detail::EncodedRow));
  parallel(
      N, [&](std::size_t n) { rows[n] = detail::encode_and_compare<F>(blocks.data() + n * row_bytes<F>(K), weights.row(n), K, factors); });
  EncodingReport report;
  double squared_source = 0.0;
  for (std::size_t n = 0; n < N; ++n) {
    const detail::EncodedRow& row = rows[n];
    if (row.bad_column < K) {
      return Error{ErrorKind::bad_argument,
                   concat("row ", n, ", column ", row.bad_column, ": ", weights.row(n)[row.bad_column], " cannot be encoded as ", F::name)};
    }
    report.rmse += row.squared_error;
    squared_source += row.squared_source;
    if (row.max_error > report.max_error) report.max_error = row.max_error;
  }
  if (squared_source > 0.0) report.relative_rmse = std::sqrt(report.rmse / squared_source);
  if (N * K != 0) report.rmse = std::sqrt(report.rmse / (static_cast<double>(N) * static_cast<double>(K)));
  return report;
}

// Does what encode_rows<F>() does, for a format that is known only when the program runs. A format without an encoder is also an
// error.
inline Result<EncodingReport> encode_rows(std::span<std::byte> blocks, ConstMatrix weights, FormatId format, Parallel parallel = {},
                                          std::span<const float> mean_squares = {}) {
  Result<EncodingReport> result = detail::unknown_format(format);
  with_format(format, [&](auto tag) {
    using F = decltype(tag);
    if constexpr (EncodableFormat<F>) {
      result = encode_rows<F>(blocks, weights, parallel, mean_squares);
    } else {
      result = Error{ErrorKind::bad_argument, concat("weights cannot be encoded as ", F::name, ": there is no encoder for it")};
    }
  });
  return result;
}

// Converts W[N, K] to another format: every row is decoded from the format `from` and then encoded in the format `to`. If encoded_bytes()
// or encode_rows() fails, this function returns the same error.
inline Result<AlignedBuffer<std::byte>> requantise_rows(FormatId to, FormatId from, const std::byte* rows, std::size_t N, std::size_t K,
                                                        Parallel parallel = {}, std::span<const float> mean_squares = {}) {
  const Result<std::size_t> source_bytes = encoded_bytes(from, N, K);
  if (!source_bytes) return source_bytes.error();
  const Result<std::size_t> bytes = encoded_bytes(to, N, K);
  if (!bytes) return bytes.error();
  AlignedBuffer<std::byte> blocks;
  AlignedBuffer<float> decoded;
  // Only some rows are decoded at a time. As floats, the whole matrix would take eight times as much memory as its blocks.
  const std::size_t step = K == 0 || N == 0 ? 1 : std::size_t{1} << 22 > K ? (std::size_t{1} << 22) / K : 1;
  const std::size_t max_rows = step < N ? step : N;
  if (!blocks.resize(*bytes) || !decoded.resize(max_rows * K)) return out_of_memory("requantised weights", *bytes);
  for (std::size_t n = 0; n < N; n += step) {
    const std::size_t count = N - n < step ? N - n : step;
    with_format(from, [&](auto tag) {
      using F = decltype(tag);
      parallel(count, [&](std::size_t i) { decode_row<F>(rows + (n + i) * row_bytes<F>(K), decoded.data() + i * K, K); });
    });
    const std::size_t row = *bytes / N;
    const Result<EncodingReport> report =
        encode_rows(std::span(blocks.data() + n * row, count * row), ConstMatrix(decoded.data(), count, K), to, parallel, mean_squares);
    if (!report) return report.error();
  }
  return blocks;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
