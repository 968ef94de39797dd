// SPDX-License-Identifier: Apache-2.0
//
// A row of any quantised format as integers, scales and minimums. This is the form in which exported graphs hold weights:
//
//     weight[k] = scales[k / group] * levels[k] + minimums[k / group]
//
// The form is exact: levels are integers of 4 or 8 bits (the entries of a codebook too), and scales are the floats that the
// format's decoder computes. Formats differ in the size of the group, in the bits that their levels need, and in whether they
// have minimums.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <stilla/format/format.hpp>

namespace program {

struct IntegerForm {
  unsigned bits = 0;      // 4: levels are -8..7, or 0..15 where there are minimums; 8: -128..127
  std::size_t group = 0;  // weights of a row with the same scale; 0: the whole row (an output channel) has one scale
  bool has_minimums = false;
  bool has_zero_points = false;   // every minimum is -scale times an integer, 0 to 15
  bool has_block_scales = false;  // a group's scale is the row's scale times an integer from 0 to 15 (LPBQ)
};

namespace detail {

// An asymmetric format whose blocks store a zero point in place of a minimum, as uint4_g128 does: weight = scale * (code - zero point).
template <class F>
concept ZeroPointFormat = stilla::QuantisedFormat<F> && requires(const std::byte* block, std::size_t k) {
  { F::zero(block) } -> std::same_as<int>;
  { F::stored_code(block, k) } -> std::same_as<int>;
};

template <stilla::QuantisedFormat F>
constexpr IntegerForm form_of() {
  IntegerForm form;
  const bool is_4_bits = ZeroPointFormat<F> || (F::code_bits == 4 && !F::is_codebook && (F::zero_point == 8 || F::has_minimum));
  form.bits = is_4_bits ? 4 : 8;
  form.has_block_scales = stilla::RowScaledFormat<F> && F::has_sub_scales;
  const bool is_row_scaled = stilla::RowScaledFormat<F> && !F::has_sub_scales;
  form.group = is_row_scaled ? 0 : F::has_sub_scales && !form.has_block_scales ? F::group_weights : F::block_weights;
  form.has_zero_points = ZeroPointFormat<F>;
  form.has_minimums = F::has_minimum || form.has_zero_points;
  return form;
}

template <stilla::QuantisedFormat F>
float group_minimum(const std::byte* row, std::size_t k) {
  const std::byte* block = stilla::block_of<F>(row, k);
  if constexpr (ZeroPointFormat<F>) {
    return -stilla::to_float(F::scale(block)) * static_cast<float>(F::zero(block));
  } else {
    const float minimum = stilla::to_float(F::minimum(block));
    if constexpr (F::has_sub_scales) {
      return minimum * static_cast<float>(F::sub_minimum(block, k % F::block_weights / F::group_weights));
    }
    return minimum;
  }
}

template <stilla::QuantisedFormat F>
int level(const std::byte* row, std::size_t k) {
  if constexpr (ZeroPointFormat<F>) {
    return F::stored_code(stilla::block_of<F>(row, k), k % F::block_weights);
  } else {
    return stilla::weight_level<F>(row, k);
  }
}

}  // namespace detail

// Returns the integer form of a format, or nothing for formats of floats and for formats that the program does not know.
inline std::optional<IntegerForm> integer_form(stilla::FormatId format) {
  std::optional<IntegerForm> form;
  stilla::with_format(format, [&]<class F>(F) {
    if constexpr (stilla::QuantisedFormat<F>) form = detail::form_of<F>();
  });
  return form;
}

// Memory for one row of K weights in G groups, as integers, scales and minimums. A pointer is null if the caller does not want these
// values.
struct IntegerRow {
  std::int8_t* levels = nullptr;         // [K]
  float* scales = nullptr;               // [G]
  float* minimums = nullptr;             // [G]; not written if the format has no minimums
  float* row_scale = nullptr;            // [1]; not written if the format has no block scales
  std::uint8_t* block_scales = nullptr;  // [G]; not written if the format has no block scales
};

// Reads one row of weights as integers. `format` must have an integer form.
inline void read_integer_row(stilla::FormatId format, const std::byte* row, std::size_t K, const IntegerRow& out) {
  stilla::with_format(format, [&]<class F>(F) {
    if constexpr (stilla::QuantisedFormat<F>) {
      constexpr IntegerForm form = detail::form_of<F>();
      const std::size_t group = form.group == 0 ? K : form.group;
      for (std::size_t k = 0; k < K; k += group) {
        if (out.scales != nullptr) out.scales[k / group] = stilla::weight_scale<F>(row, k);
        if constexpr (form.has_minimums) {
          if (out.minimums != nullptr) out.minimums[k / group] = detail::group_minimum<F>(row, k);
        }
      }
      if constexpr (form.has_block_scales) {
        if (out.row_scale != nullptr) *out.row_scale = F::scale(row);
        for (std::size_t k = 0; out.block_scales != nullptr && k < K; k += group) {
          out.block_scales[k / group] = static_cast<std::uint8_t>(F::sub_scale(stilla::block_of<F>(row, k), 0));
        }
      }
      if (out.levels == nullptr) return;
      for (std::size_t k = 0; k < K; ++k) out.levels[k] = static_cast<std::int8_t>(detail::level<F>(row, k));
    }
  });
}

}  // namespace program
