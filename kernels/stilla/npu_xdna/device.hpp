// SPDX-License-Identifier: Apache-2.0
//
// The device `xdna-emulated` computes matrix products with the arithmetic of XDNA2's compute tiles (emulator.hpp), from packed operands
// (tiles.hpp). It shows what that arithmetic does to a model's results. It says nothing about the NPU's speed, and it is slow.
//
// If the caller does not name a form of numbers, prepare() chooses the one that suits the weights:
//
//   weights                                 form     what uses the same numbers
//   one scale a row (int8_channel, ...)     int8     8-bit weights and activations
//   bfp16ebs8                               bfp16    AMD Quark's BFP16
//   all others                              bf16     AMD's int4 models: AWQ weights expanded to bf16, bf16 activations
//
// Prompts use core tiles of 64 x 64 x 64; few tokens use the smaller core tiles of step_tile() in tiles.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <stilla/base/aligned.hpp>
#include <stilla/base/device.hpp>
#include <stilla/format/format.hpp>
#include <stilla/npu_xdna/emulator.hpp>
#include <stilla/npu_xdna/operand.hpp>
#include <stilla/npu_xdna/pack.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct XdnaEmulated {
  static constexpr DeviceId id{"xdna-emulated"};
  // The tolerance of a product: the sum of the squared errors of y may be at most this number times the sum of the squares of the
  // exact y (base/device.hpp). It holds for evenly distributed activations. The largest quotients that tests found are 2.3e-5 (int8),
  // 1.2e-5 (bf16) and 5.9e-5 (bfp16). Those of bf16 and bfp16 were found with Q4_K, some of whose weights are far larger than others.
  // With outliers among the activations the errors are larger, most of all with int8.
  static constexpr double tolerance_of(xdna::Form form) {
    return form == xdna::Form::int8 ? 1e-4 : form == xdna::Form::bf16 ? 3e-5 : tolerance;
  }
  static constexpr double tolerance = 1.5e-4;  // that of bfp16, the largest of the three
  static bool available() { return true; }

  struct Weights {
    xdna::ProductLayout layout;   // M is 0
    std::size_t group = 0;        // as in xdna::Operand
    AlignedBuffer<std::byte> tiles;
    AlignedBuffer<float> scales;
  };

  template <class F>
  static constexpr xdna::Form form_of() {
    if constexpr (RowScaledFormat<F>) return xdna::has_levels<F>() ? xdna::Form::int8 : xdna::Form::bf16;
    else return std::is_same_v<F, BFP16EBS8> ? xdna::Form::bfp16 : xdna::Form::bf16;
  }

  template <class F>
  static Result<Weights> prepare(const std::byte* rows, std::size_t N, std::size_t K, xdna::Form form = form_of<F>(),
                                 std::size_t columns = xdna::max_columns) {
    if (columns == 0 || columns > xdna::max_columns) {
      return Error{ErrorKind::bad_argument, concat("found ", columns, " columns; XDNA2 has 1 to ", xdna::max_columns)};
    }
    Result<xdna::Operand> operand = xdna::weights_operand<F>(form, rows, N, K);
    if (!operand) return operand.error();
    Weights w;
    w.layout = {form, xdna::CoreTile{}, columns, 0, N, K};
    w.group = operand->group;
    w.scales = std::move(operand->scales);
    if (!w.tiles.resize(w.layout.weights_bytes())) return out_of_memory("weights as XDNA2's tiles", w.layout.weights_bytes());
    xdna::pack_weights(w.layout, w.tiles.data(), operand->units.data());
    return w;
  }

  // Computes y[M, N] = x[M, K] * W^T for weights W[N, K]. It is an error if the shapes do not fit each other, if memory is short, or if an
  // activation is infinite or NaN and the form of the weights is int8 or bfp16, which have no such numbers.
  static Status multiply(Matrix y, const Weights& w, ConstMatrix x) {
    const xdna::ProductLayout& layout = w.layout;
    if (x.cols != layout.K || y.cols != layout.N || y.rows != x.rows) {
      return Error{ErrorKind::bad_argument, concat("found y of ", y.rows, " x ", y.cols, " and x of ", x.rows, " x ", x.cols,
                                                   " for weights of ", layout.N, " x ", layout.K)};
    }
    switch (layout.form) {
      case xdna::Form::int8: return product<xdna::Form::int8>(y, w, x);
      case xdna::Form::bf16: return product<xdna::Form::bf16>(y, w, x);
      default: return product<xdna::Form::bfp16>(y, w, x);
    }
  }

 private:
  template <xdna::Form form>
  static Status product(Matrix y, const Weights& w, ConstMatrix x) {
    const Result<xdna::Operand> rounded = xdna::activations_operand(form, x);
    if (!rounded) return rounded.error();
    xdna::ProductLayout layout = w.layout;
    layout.M = x.rows;
    const xdna::CoreTile few = xdna::step_tile(form);  // its k and n are those that the weights were packed for
    if (x.rows <= few.m) layout.tile = few;
    AlignedBuffer<std::byte> a;
    AlignedBuffer<float> results;
    if (!a.resize(layout.activations_bytes()) || !results.resize(layout.results())) {
      return out_of_memory("a product on XDNA2's tiles", layout.activations_bytes() + layout.results() * sizeof(float));
    }
    xdna::pack_activations(layout, a.data(), rounded->units.data());
    results.fill_zero();
    AlignedBuffer<std::int32_t> sums;
    if (form == xdna::Form::int8 && !sums.resize(layout.tile.m * layout.tile.n)) {
      return out_of_memory("sums of a core tile", xdna::c_bytes(layout.tile));
    }
    for (std::size_t n_tile = 0; n_tile < layout.along_n().tiles; ++n_tile) {
      for (std::size_t m_tile = 0; m_tile < layout.along_m().tiles; ++m_tile) {
        float* c = results.data() + layout.results_tile(m_tile, n_tile);
        core_tile<form>(layout, w, *rounded, m_tile, n_tile, a.data(), c, sums);
      }
    }
    xdna::unpack_results(layout, y, results.data());
    return success();
  }

  // Computes one core tile of the results C over all K, as one core does. `m_tile` is the tile's number along M, and `n_tile` its
  // number along N.
  template <xdna::Form form>
  static void core_tile(const xdna::ProductLayout& layout, const Weights& w, const xdna::Operand& x, std::size_t m_tile, std::size_t n_tile,
                        const std::byte* a, float* c, AlignedBuffer<std::int32_t>& sums) {
    constexpr std::size_t step = xdna::block_shape(form).s;
    const std::size_t m0 = m_tile * layout.tile.m, rows = layout.M - m0;
    if (form == xdna::Form::int8) sums.fill_zero();
    for (std::size_t k_tile = 0; k_tile < layout.k_tiles(); ++k_tile) {
      const std::byte* a_tile = a + layout.activations_tile(m_tile, k_tile);
      const std::byte* b_tile = w.tiles.data() + layout.weights_tile(n_tile, k_tile);
      for (std::size_t block = 0; block < layout.tile.k / step; ++block) {
        if constexpr (form == xdna::Form::int8) {
          xdna::multiply_blocks<form>(layout.tile, block, sums.data(), a_tile, b_tile, rows);
          const std::size_t k = k_tile * layout.tile.k + (block + 1) * step;
          if (k % w.group == 0 && k <= xdna::detail::quotient_up(layout.K, w.group) * w.group) {
            add_scaled(layout, w, x, m0, n_tile * layout.tile.n, k / w.group - 1, c, sums);
          }
        } else {
          xdna::multiply_blocks<form>(layout.tile, block, c, a_tile, b_tile, rows);
        }
      }
    }
  }

  // Is called for int8 at the end of each group of k whose weights share a scale. Multiplies the group's integer sums by the scales
  // of weights and tokens, adds the products to C, and sets the sums to 0.
  static void add_scaled(const xdna::ProductLayout& layout, const Weights& w, const xdna::Operand& x, std::size_t m0, std::size_t n0,
                         std::size_t group, float* c, AlignedBuffer<std::int32_t>& sums) {
    for (std::size_t m = 0; m < layout.tile.m && m0 + m < layout.M; ++m) {
      for (std::size_t n = 0; n < layout.tile.n && n0 + n < layout.N; ++n) {
        const std::size_t i = xdna::c_index(layout.form, layout.tile, m, n);
        const float scale = w.scales[group * layout.N + n0 + n] * x.scales[m0 + m];
        c[i] = std::fma(scale, static_cast<float>(sums[i]), c[i]);
      }
    }
    sums.fill_zero();
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
