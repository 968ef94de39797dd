// SPDX-License-Identifier: Apache-2.0
//
// Takes over activations that other code has already rounded, as engines with static quantisation do. Quantised weights can then be
// multiplied by them:
//
//     x[m, k] = scale * (value[m, k] - zero_point)           value: int8 or uint8; scale: any float
//
//   stilla::IntegerActivations<std::uint8_t> x{{values, M, K}, stilla::ScaleFor::tensor, &scale, &zero_point};
//   stilla::ActivationBuffer x8;
//   if (stilla::Status s = stilla::import_activations(x8, x); !s) return s;
//   if (stilla::Status s = stilla::matmul(y, w, x8.view()); !s) return s;
//
// Nothing is rounded again. y is what exact arithmetic gives, except for the float steps of contract/matmul.hpp (the squares of
// the errors add up to less than 1e-10 of the squares of y, tests/import_activations_test.cpp).
//
//     scales                                             what they cost in a matmul of M rows
//
//     one scale for the tensor, or one for each row      full speed for any M. The integers are multiplied with scale 1, and the rows
//                                                        of y are multiplied by the scale at the end (before the bias)
//     one scale for each block of columns                full speed if all scales are powers of two. Otherwise a few tokens are
//                                                        computed at a time, and weights whose minimums belong to 256 columns
//                                                        (Q4_K, Q5_K) are refused, because they take sums that are rounded together
//
// If all differences value - zero_point are in -127 to 127 they are kept in 8 bits, otherwise in 16 bits, which costs twice as
// many dot products.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include <stilla/activation_buffer.hpp>
#include <stilla/base/check.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/quantise.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Whether one scale and one zero point belong to the whole tensor, to a row, or to a block of columns.
enum class ScaleFor : std::uint8_t { tensor, row, block };

template <class T>
  requires std::same_as<T, std::int8_t> || std::same_as<T, std::uint8_t>
struct IntegerActivations {
  MatrixView<const T> values;      // M x K, K a multiple of 32
  ScaleFor scale_for = ScaleFor::tensor;
  const float* scales = nullptr;   // one float for a tensor, [M] for rows, [M][K / block] for blocks
  const T* zero_points = nullptr;  // as many as scales; null: all are 0
  std::size_t block = 32;          // columns of a block, a multiple of 32 that divides K; for ScaleFor::block

  // The index of the scale and zero point of row m at column k.
  std::size_t scale_index(std::size_t m, std::size_t k) const {
    switch (scale_for) {
      case ScaleFor::tensor: return 0;
      case ScaleFor::row: return m;
      case ScaleFor::block: break;
    }
    return m * (values.cols / block) + k / block;
  }
  std::int32_t zero_point(std::size_t m, std::size_t k) const { return zero_points == nullptr ? 0 : zero_points[scale_index(m, k)]; }
};

// import_activations() as tasks (base/parallel.hpp), one for each row: one worker begins the job with import_activations_begin(), which
// takes memory, and then all workers run it.
template <class T>
class ImportActivationsJob {
 public:
  ImportActivationsJob(ActivationBuffer& out, const IntegerActivations<T>& x) : out_(&out), x_(x), quantiser_(out, active_target()) {}

  std::size_t tasks() const { return x_.values.rows; }
  void run(std::size_t m) const {
    const bool has_low = out_->bits() == ActivationBits::sixteen, has_factor = x_.scale_for != ScaleFor::block;
    if (has_factor) out_->row_factors()[m] = x_.scales[x_.scale_index(m, 0)];
    const std::size_t blocks = x_.values.cols / activation_block;
    for (std::size_t b = 0; b < blocks; ++b) {
      const std::size_t k = b * activation_block;
      const T* from = x_.values.row(m) + k;
      const std::int32_t zero_point = x_.zero_point(m, k);
      std::int32_t sums[2] = {};
      for (std::size_t i = 0; i < activation_block; ++i) {
        const std::int32_t value = std::int32_t{from[i]} - zero_point;
        const std::int32_t high = has_low ? (value + 128) >> 8 : value;
        out_->row_values(m)[k + i] = static_cast<std::int8_t>(high);
        if (has_low) out_->row_low(m)[k + i] = static_cast<std::int8_t>(value - 256 * high);
        sums[1] += value;
        if (i < activation_block / 2) sums[0] += value;
      }
      const float scale = has_factor ? 1.0f : x_.scales[x_.scale_index(m, k)];
      out_->row_scales(m)[b] = scale;
      out_->row_sums(m)[2 * b] = sums[0];
      out_->row_sums(m)[2 * b + 1] = sums[1];
      out_->row_scaled_sums(m)[b] = scale * static_cast<float>(sums[1]);
    }
    quantiser_.arrange(m, 0, blocks);
    quantiser_.finish_row(m);
  }

 private:
  ActivationBuffer* out_;
  IntegerActivations<T> x_;
  detail::Quantiser quantiser_;
};

namespace detail {

// Whether all differences between a value and its zero point are in -127 to 127. Kernels take no activation of -128.
template <class T>
bool fits_eight_bits(const IntegerActivations<T>& x) {
  const std::size_t K = x.values.cols, step = x.scale_for == ScaleFor::block ? x.block : K;
  for (std::size_t m = 0; m < x.values.rows; ++m) {
    for (std::size_t k = 0; k < K; k += step) {
      const T* row = x.values.row(m) + k;
      T lowest = row[0], highest = row[0];
      for (std::size_t i = 0; i < step; ++i) {
        lowest = row[i] < lowest ? row[i] : lowest;
        highest = row[i] > highest ? row[i] : highest;
      }
      const std::int32_t zero_point = x.zero_point(m, k);
      if (lowest - zero_point < -127 || highest - zero_point > 127) return false;
    }
  }
  return true;
}

}  // namespace detail

// Begins a job that takes over x. Resizes `out`, which takes memory: to 8 bits if all values minus their zero points are in -127 to
// 127, otherwise to 16 bits. It is always checked that the shapes fit, that scales are given, that the number of columns is a
// multiple of 32, and, where a scale belongs to a block of columns, that blocks have a multiple of 32 columns and fill the rows. On
// an error nothing is done. Lack of memory is an error too.
template <class T>
Result<ImportActivationsJob<T>> import_activations_begin(ActivationBuffer& out, const IntegerActivations<T>& x) {
  constexpr const char* op = "import_activations";
  const std::size_t M = x.values.rows, K = x.values.cols, block = x.scale_for == ScaleFor::block ? x.block : activation_block;
  if (block == 0 || block % activation_block != 0 || K % block != 0) {
    return detail::bad_argument(concat(op, ": ", K, " columns in blocks of ", block, ", expected a multiple of ", activation_block));
  }
  if (Status s = detail::check_shape(op, "values", x.values, M, K); !s) return s.error();
  if (M * K != 0 && x.scales == nullptr) return detail::bad_argument(concat(op, ": no scales"));
  const ActivationBits bits = detail::fits_eight_bits(x) ? ActivationBits::eight : ActivationBits::sixteen;
  if (Status s = out.resize(M, K, bits, x.scale_for != ScaleFor::block); !s) return s.error();
  if (x.scale_for == ScaleFor::block) {
    const std::size_t scales = K / block;
    out.set_scales_are_powers(detail::scales_are_powers({.scales = x.scales, .rows = M, .cols = scales * activation_block}));
  }
  return ImportActivationsJob<T>(out, x);
}
template <class T>
std::size_t import_activations_tasks(const ImportActivationsJob<T>& job) {
  return job.tasks();
}
template <class T>
void import_activations_run(const ImportActivationsJob<T>& job, std::size_t m) {
  job.run(m);
}

template <class T>
Status import_activations(ActivationBuffer& out, const IntegerActivations<T>& x, Parallel parallel = {}) {
  const Result<ImportActivationsJob<T>> job = import_activations_begin(out, x);
  if (!job) return job.error();
  parallel(job->tasks(), [&](std::size_t m) { job->run(m); });
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
