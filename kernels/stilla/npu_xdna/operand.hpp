// SPDX-License-Identifier: Apache-2.0
//
// Makes the operands of a product on XDNA2 from weights in a weight format and from activations in floats. An operand is stored in
// one of three forms: int8, bf16 or bfp16. It consists of rows of units (pack.hpp). A unit is one number, or with bfp16 8 numbers
// along K.
//
//   form     weights                                              activations
//   int8     levels: code - zero point, or the codebook's entry,  rounded to -127..127, one scale a token: highest / 127
//            and a float scale for each group of K and each row
//   bf16     decoded, rounded to the nearest bf16, ties to even   rounded to the nearest bf16, ties to even
//   bfp16    decoded and encoded as BFP16EBS8; weights in that    encoded as BFP16EBS8
//            format stay as they are
//
// So int4 and uint4 weights, in groups or per channel, expand to int8 exactly, or to the nearest bf16 and bfp16. int8 refuses
// formats without integers (floats), and formats with a minimum beside the scale, whose weights are not an integer times a scale.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/math.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/format/bfp16.hpp>
#include <stilla/format/format.hpp>
#include <stilla/npu_xdna/pack.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace xdna {

// A matrix whose numbers are stored in one of the forms of tiles.hpp (int8, bf16, bfp16), row by row. A row consists of units: a unit is
// one number, with bfp16 8 numbers along K.
struct Operand {
  Form form = Form::bf16;
  std::size_t rows = 0, K = 0;
  std::size_t group = 0;             // how many k share a scale: with int8 a multiple of 8, otherwise 0
  AlignedBuffer<std::byte> units;    // rows * row_bytes(form, K)
  AlignedBuffer<float> scales;       // [K / group][rows] of weights, [rows] of activations; int8 only

  std::size_t groups() const { return group == 0 ? 0 : detail::quotient_up(K, group); }
};

// Whether a format's weights are integers times a scale, and the integers are int8.
template <class F>
constexpr bool has_levels() {
  if constexpr (QuantisedFormat<F>) {
    return !F::has_minimum;
  } else {
    return false;
  }
}

namespace detail {

inline constexpr std::size_t longest_int8_row = 131071;  // 128 * 128 * K stays below 2^31

// Stores one unit of a row in the form bf16 or bfp16. A unit is made from unit_weights(form) floats: 1 with bf16, 8 with bfp16.
inline void store_unit(Form form, std::byte* unit, const float* values) {
  if (form == Form::bf16) store_as(unit, to_bf16(*values));
  else BFP16EBS8::encode(values, unit);
}

// Stores a row of K floats as units of bf16 or bfp16.
inline void store_row(Form form, std::byte* units, const float* values, std::size_t K) {
  const std::size_t step = unit_weights(form);
  for (std::size_t k = 0; k < K; k += step) {
    float padded[8] = {};
    for (std::size_t i = 0; i < step && k + i < K; ++i) padded[i] = values[k + i];
    store_unit(form, units + k / step * unit_bytes(form), padded);
  }
}

// Returns how many neighbouring weights share a scale in a row of K weights: those of a group, of a block, or of the whole row. The number
// is a multiple of 8. It is 0 for float formats.
template <class F>
constexpr std::size_t scale_reach(std::size_t K) {
  if constexpr (!QuantisedFormat<F>) return 0;
  else if constexpr (F::has_sub_scales) return F::group_weights;
  else if constexpr (!RowScaledFormat<F>) return F::block_weights;
  else return K == 0 ? 8 : quotient_up(K, 8) * 8;
}

template <QuantisedFormat F>
void store_levels(std::byte* units, float* scales, std::size_t rows, const std::byte* row, std::size_t K, std::size_t group) {
  for (std::size_t k = 0; k < K; ++k) {
    store_as(units + k, static_cast<std::int8_t>(weight_level<F>(row, k)));
    if (k % group == 0) scales[k / group * rows] = weight_scale<F>(row, k);
  }
}

}  // namespace detail

// Makes an operand from the weights W[N, K], which are stored in rows of format F. Its numbers are stored in `form`. It is an error if K
// ends within a block, if numbers of this form cannot express weights of format F, or if memory is short. int8 cannot express floats
// and weights with a minimum, and takes no more than longest_int8_row columns.
template <WeightFormat F>
Result<Operand> weights_operand(Form form, const std::byte* rows, std::size_t N, std::size_t K) {
  if (K % F::block_weights != 0) {
    return Error{ErrorKind::bad_argument, concat(K, " columns are not a multiple of the ", F::name, " block of ", F::block_weights)};
  }
  if (form == Form::int8 && !has_levels<F>()) {
    return Error{ErrorKind::bad_argument,
                 concat("XDNA2's int8 tiles multiply integers, and a weight of ", F::name,
                        QuantisedFormat<F> ? " has a minimum beside its scale" : " is a float", "; use bf16 or bfp16")};
  }
  if (form == Form::int8 && K > detail::longest_int8_row) {
    return Error{ErrorKind::bad_argument, concat(K, " columns; sums of int8 products fit int32 up to ", detail::longest_int8_row)};
  }
  Operand w;
  w.form = form;
  w.rows = N;
  w.K = K;
  const std::size_t stride = row_bytes(form, K);
  if (!w.units.resize(N * stride)) return out_of_memory("weights as XDNA2's tiles", N * stride);
  if (form == Form::int8) {
    w.group = detail::scale_reach<F>(K);
    if constexpr (has_levels<F>()) {
      if (!w.scales.resize(w.groups() * N)) return out_of_memory("scales of weights", w.groups() * N * sizeof(float));
      for (std::size_t n = 0; n < N; ++n) {
        const std::byte* row = rows + n * stilla::row_bytes<F>(K);
        detail::store_levels<F>(w.units.data() + n * stride, w.scales.data() + n, N, row, K, w.group);
      }
    }
    return w;
  }
  AlignedBuffer<float> decoded;
  if (!decoded.resize(K)) return out_of_memory("a row of weights", K * sizeof(float));
  for (std::size_t n = 0; n < N; ++n) {
    const std::byte* row = rows + n * stilla::row_bytes<F>(K);
    if constexpr (std::is_same_v<F, BFP16EBS8>) {
      if (form == Form::bfp16) {
        for (std::size_t i = 0; i < stride; ++i) w.units[n * stride + i] = row[i];
        continue;
      }
    }
    decode_row<F>(row, decoded.data(), K);
    detail::store_row(form, w.units.data() + n * stride, decoded.data(), K);
  }
  return w;
}

// Makes an operand from the activations x[M, K]. Its numbers are stored in `form`. It is an error if an activation is infinite or NaN and
// this form has no such number, or if memory is short.
inline Result<Operand> activations_operand(Form form, ConstMatrix x) {
  Operand a;
  a.form = form;
  a.rows = x.rows;
  a.K = x.cols;
  const std::size_t stride = row_bytes(form, x.cols);
  if (!a.units.resize(x.rows * stride) || !a.scales.resize(x.rows)) {
    return out_of_memory("activations as XDNA2's tiles", x.rows * (stride + sizeof(float)));
  }
  for (std::size_t m = 0; m < x.rows; ++m) {
    const float* row = x.row(m);
    for (std::size_t k = 0; form != Form::bf16 && k < x.cols; ++k) {
      if (stilla::detail::is_finite(row[k])) continue;
      return Error{ErrorKind::bad_argument, concat("activation of token ", m, ", column ", k, ": found ", row[k], ", which ",
                                                   form_name(form), " has no number for")};
    }
    if (form != Form::int8) {
      detail::store_row(form, a.units.data() + m * stride, row, x.cols);
      continue;
    }
    const float scale = stilla::detail::unit_of(stilla::detail::highest_magnitude(row, x.cols), 127.0f);
    const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
    a.scales[m] = scale;
    for (std::size_t k = 0; k < x.cols; ++k) {
      store_as(a.units.data() + m * stride + k, static_cast<std::int8_t>(stilla::detail::round_product(row[k], inverse)));
    }
  }
  return a;
}

}}}  // namespace stilla::xdna

#include <stilla/base/pop_macros-inl.hpp>
