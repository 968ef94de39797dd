// SPDX-License-Identifier: Apache-2.0
//
// The skeleton of a device: it rounds weights and activations to bfloat16 and adds up the products in
// float, in the order of their columns.
#pragma once

#include <cstddef>
#include <vector>

#include <stilla/base/device.hpp>
#include <stilla/base/types.hpp>
#include <stilla/format/format.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct SkeletonDevice {
  static constexpr DeviceId id{"skeleton-device"};
  static constexpr double tolerance = 2e-5;
  static bool available() { return true; }

  struct Weights {
    std::size_t rows = 0;
    std::size_t cols = 0;
    std::vector<bf16> values;
  };
  template <class F>
  static Result<Weights> prepare(const std::byte* rows, std::size_t N, std::size_t K) {
    if (K % F::block_weights != 0) return Error{ErrorKind::bad_argument, "found a row that ends within a block"};
    Weights w{N, K, std::vector<bf16>(N * K)};
    std::vector<float> row(K);
    for (std::size_t n = 0; n < N; ++n) {
      decode_row<F>(rows + n * row_bytes<F>(K), row.data(), K);
      for (std::size_t k = 0; k < K; ++k) w.values[n * K + k] = to_bf16(row[k]);
    }
    return w;
  }
  static Status multiply(Matrix y, const Weights& w, ConstMatrix x) {
    if (x.cols != w.cols || y.cols != w.rows || y.rows != x.rows) {
      return Error{ErrorKind::bad_argument, "found shapes that do not fit each other"};
    }
    for (std::size_t m = 0; m < x.rows; ++m) {
      for (std::size_t n = 0; n < w.rows; ++n) {
        float sum = 0.0f;
        for (std::size_t k = 0; k < w.cols; ++k) sum += to_float(w.values[n * w.cols + k]) * to_float(to_bf16(x.row(m)[k]));
        y.row(m)[n] = sum;
      }
    }
    return success();
  }
};

}}  // namespace stilla
