// SPDX-License-Identifier: Apache-2.0
//
// The device "hexagon-emulated" computes what the HVX kernels of this folder compute, on any CPU, by the contract's steps
// (contract/npu.hpp), with activations of int16. So a whole model can be tried with an NPU's arithmetic. The results have the
// same bits as those of the kernels (tests/hexagon_test.cpp). The device is not made for speed.
//
// In rotated models (model/rotation.hpp) the device applies the Hadamard transform to the input of the down matrix, the last matrix
// of a feed-forward network. It does this as the kernels do (contract/npu_fixed_point.hpp): values are int16 before and after the
// transform, and exact in between.
//
// The device takes formats of 4 bits with zero point 8 and a float scale for each row: INT4_CHANNEL, and formats that also have
// integer sub-scales of 1 to 15 for every 32, 64 or 128 k (LPBQ). K is a multiple of 64, as in the kernels' panels.
//
// A row's weights are stored as block_scale * (code - 8), which is -120 to 105: one byte for each weight.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <stilla/base/aligned.hpp>
#include <stilla/base/device.hpp>
#include <stilla/contract/npu.hpp>
#include <stilla/contract/npu_activations.hpp>
#include <stilla/contract/npu_fixed_point.hpp>
#include <stilla/format/format.hpp>
#include <stilla/npu_hexagon/panel.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace hexagon {

template <class F>
inline constexpr bool holds = false;
template <QuantisedFormat F>
  requires RowScaledFormat<F>
inline constexpr bool holds<F> = F::code_bits == 4 && F::zero_point == npu::zero_point && !F::is_codebook && !F::has_minimum &&
                                 (!F::has_sub_scales || F::group_weights % scale_k == 0);

// pack() in panel.hpp takes weights of any type that can tell the code, block scale and channel scale at a place. This type does so for
// rows of format F, as a weight file holds them.
template <class F>
  requires holds<F>
struct RowWeights {
  const std::byte* rows = nullptr;
  std::size_t K = 0;

  const std::byte* row(std::size_t n) const { return rows + n * row_bytes<F>(K); }
  int code(std::size_t n, std::size_t k) const { return F::code(block_of<F>(row(n), k), k % F::block_weights); }
  int block_scale(std::size_t n, std::size_t k) const {
    if constexpr (F::has_sub_scales) return F::sub_scale(block_of<F>(row(n), k), k % F::block_weights / F::group_weights);
    return 1;
  }
  float channel_scale(std::size_t n) const { return F::scale(row(n)); }
};

}  // namespace hexagon

struct HexagonEmulated {
  static constexpr DeviceId id{"hexagon-emulated"};
  // The tolerance covers the rounding of activations to 16 bits, if no activation is larger than 32 times the root mean square: the
  // relative squared error is then (32 / 32767)^2 / 12 = 8e-8. With a Hadamard transform, activations are rounded twice, before it and
  // after it. The second rounding is coarser: its step may be as large as the highest value / 16384. So with a transform the tolerance
  // holds if, before and after it, no value is larger than 16 times the root mean square.
  static constexpr double tolerance = 1e-7;
  static bool available() { return true; }

  struct Weights {
    std::size_t rows = 0;
    std::size_t cols = 0;
    AlignedBuffer<std::int8_t> levels;  // [rows][cols]
    AlignedBuffer<float> scales;        // [rows]
  };

  template <class F>
  static Result<Weights> prepare(const std::byte* rows, std::size_t N, std::size_t K) {
    if constexpr (!hexagon::holds<F>) {
      return refused("4-bit weights with zero point 8, a scale for each row and block scales of 1 to 15 if any", F::name);
    } else {
      if (K % hexagon::chunk_k != 0 || K % F::block_weights != 0 || K > npu::largest_k) {
        return refused(concat("rows of whole chunks of ", hexagon::chunk_k, " weights, at most ", npu::largest_k), concat(K));
      }
      Weights w;
      if (!w.levels.resize(N * K) || !w.scales.resize(N)) return out_of_memory("weights of hexagon-emulated", N * (K + 4));
      w.rows = N;
      w.cols = K;
      const hexagon::RowWeights<F> from{rows, K};
      for (std::size_t n = 0; n < N; ++n) {
        w.scales[n] = from.channel_scale(n);
        for (std::size_t k = 0; k < K; ++k) {
          const int scale = from.block_scale(n, k);
          if (scale < 1 || scale > npu::largest_block_scale) {
            return refused("block scales of 1 to 15", concat(scale, " in row ", n, " at ", k));
          }
          w.levels[n * K + k] = static_cast<std::int8_t>(scale * (from.code(n, k) - npu::zero_point));
        }
      }
      return w;
    }
  }

  static Status multiply(Matrix y, const Weights& w, ConstMatrix x) {
    return multiply_integers(y, w, x, [&](std::int16_t* token, std::size_t m) { return npu::quantise_token(token, x.row(m), w.cols); });
  }

  static Status multiply_transformed(Matrix y, const Weights& w, ConstMatrix x) {
    if (hadamard_run(w.cols) > npu::largest_hadamard_run) {
      return refused(concat("transforms of at most ", npu::largest_hadamard_run, " values"), concat(hadamard_run(w.cols)));
    }
    AlignedBuffer<std::int32_t> sums;
    if (!sums.resize(w.cols)) return out_of_memory("a transform of hexagon-emulated", w.cols * sizeof(std::int32_t));
    return multiply_integers(y, w, x, [&](std::int16_t* token, std::size_t m) {
      const float scale = npu::quantise_token(token, x.row(m), w.cols);
      const int shift = npu::scalar::hadamard(token, sums.data(), token, w.cols);
      return npu::hadamard_scale(scale, shift, w.cols);
    });
  }

 private:
  // Multiplies all tokens of x, rounded to integers, by the weights. token_of(token, m) writes the integers of token m to `token` and
  // returns their scale.
  template <class TokenOf>
  static Status multiply_integers(Matrix y, const Weights& w, ConstMatrix x, const TokenOf& token_of) {
    if (x.cols != w.cols || y.cols != w.rows || y.rows != x.rows) {
      return refused(concat("x of ", y.rows, " x ", w.cols, " and y of ", x.rows, " x ", w.rows),
                     concat("x of ", x.rows, " x ", x.cols, " and y of ", y.rows, " x ", y.cols));
    }
    AlignedBuffer<std::int16_t> token;
    if (!token.resize(w.cols)) return out_of_memory("a token of hexagon-emulated", w.cols * sizeof(std::int16_t));
    for (std::size_t m = 0; m < x.rows; ++m) {
      const float scale = token_of(token.data(), m);
      for (std::size_t n = 0; n < w.rows; ++n) {
        y.row(m)[n] = npu::scaled(total(w.levels.data() + n * w.cols, token.data(), w.cols), w.scales[n], scale, 0.0f);
      }
    }
    return success();
  }

  // Returns the exact sum of the products of a row's weights and a token's integers. `levels` has the row's K weights, which are
  // block_scale * (code - 8). `a` has the token's K integers, which are not split into planes. Up to 512 products are added in 32
  // bits, because each is at most 120 * 32768. These sums are then added in 64 bits.
  static std::int64_t total(const std::int8_t* levels, const std::int16_t* a, std::size_t K) {
    constexpr std::size_t some_k = 512;
    static_assert(some_k * 120 * 32768 <= INT32_MAX);
    std::int64_t all = 0;
    for (std::size_t begin = 0; begin < K; begin += some_k) {
      std::int32_t sum = 0;
      for (std::size_t k = begin; k < std::min(K, begin + some_k); ++k) sum += levels[k] * a[k];
      all += sum;
    }
    return all;
  }

  static Error refused(std::string_view expected, std::string_view found) {
    return {ErrorKind::bad_argument, concat("expected ", expected, ", found ", found)};
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
