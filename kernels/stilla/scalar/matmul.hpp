// SPDX-License-Identifier: Apache-2.0
//
// The matmul specification (contract/matmul.hpp), for every format.
#pragma once

#include <cmath>
#include <cstdint>

#include <stilla/contract/matmul.hpp>
#include <stilla/scalar/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

template <QuantisedFormat F>
struct MatmulPanels<Scalar, F> {
  static constexpr TargetId implemented_on = Scalar::id;

  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
    using Layout = PanelLayout<F>;
    constexpr std::size_t group = F::group_weights;
    for (std::size_t p = first; p < last; ++p) {
      const std::byte* panel = a.panels + p * Layout::panel_bytes(a.K);
      for (std::size_t m = 0; m < a.x.rows; ++m) {
        float acc[panel_rows] = {};
        for (std::size_t k0 = 0; k0 < a.K; k0 += group) {
          const std::byte* codes = panel + Layout::codes_offset(k0);
          const auto value = [&](std::size_t k) {
            const std::int32_t high = a.x.row_values(m)[k0 + k];
            return a.x.low == nullptr ? high : 256 * high + a.x.row_low(m)[k0 + k];
          };
          const float scale_x = a.x.row_scales(m)[k0 / activation_block];
          for (std::size_t r = 0; r < panel_rows; ++r) {
            std::int32_t dot = 0;
            for (std::size_t k = 0; k < group; ++k) {
              const int code = packed_code<F>(codes, r, k0 % code_block + k);
              if constexpr (F::is_codebook) {
                dot += a.codebook[code] * value(k);
              } else {
                dot += (code - F::zero_point) * value(k);
              }
            }
            const GroupScale w = packed_scale<F>(panel, r, k0);
            acc[r] = std::fma(w.scale * scale_x, static_cast<float>(dot), acc[r]);
            if constexpr (F::has_minimum && !has_sub_minimums<F>) {
              acc[r] = std::fma(w.minimum, scale_x * static_cast<float>(a.x.sum_of(m, k0, group)), acc[r]);
            }
          }
          if constexpr (has_sub_minimums<F>) {
            if ((k0 + group) % sums_block != 0) continue;
            const RoundedSums& rounded = a.x.row_rounded_sums(m)[k0 / sums_block];
            const std::byte* record = panel + Layout::record_offset(k0);
            for (std::size_t r = 0; r < panel_rows; ++r) {
              std::int32_t dot = 0;
              for (std::size_t g = 0; g < RoundedSums::blocks; ++g) {
                dot += packed_sub_minimum<F>(record, r, g * group) * rounded.sums[g];
              }
              const float minimum = to_float(load_as<f16>(record + 2 * (panel_rows + r)));
              acc[r] = std::fma(minimum * rounded.scale, static_cast<float>(dot), acc[r]);
            }
          }
        }
        detail::store_panel_row(a, p, m, acc);
      }
    }
  }
};

template <class F>
  requires(!QuantisedFormat<F>)
struct MatmulPanels<Scalar, F> {
  static constexpr TargetId implemented_on = Scalar::id;

  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
    using Storage = typename F::Storage;
    for (std::size_t p = first; p < last; ++p) {
      const std::byte* panel = a.panels + p * PanelLayout<F>::panel_bytes(a.K);
      for (std::size_t m = 0; m < a.x.rows; ++m) {
        float acc[panel_rows] = {};
        for (std::size_t k = 0; k < a.K; ++k) {
          for (std::size_t r = 0; r < panel_rows; ++r) {
            const float w = to_float(load_as<Storage>(panel + (k * panel_rows + r) * sizeof(Storage)));
            acc[r] = std::fma(w, a.x.row(m)[k], acc[r]);
          }
        }
        detail::store_panel_row(a, p, m, acc);
      }
    }
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
