// SPDX-License-Identifier: Apache-2.0
//
// Matmul over panels with Highway (contract/matmul.hpp), for any format.
//
// Quantised formats: four codes of each of four rows are loaded at a time (16 bytes with 256-bit vectors), widened to int16, and
// multiplied by four activations, which are broadcast to every row:
//
//     codes   r0k0 r0k1 r0k2 r0k3 | r1k0 ...                     int16
//     x        x0   x1   x2   x3  |  x0  ...                     int16, the same 64 bits in every row
//     pair    r0k0*x0 + r0k1*x1, r0k2*x2 + r0k3*x3 | r1 ...      int32: one vpmaddwd
//
// So a row's sum is spread over two neighbouring lanes. The two lanes are added once for each group of 32 (or 16) weights; then
// there is one fused multiply-add for each row. Two tokens share the unpacked codes; a third would not fit 16 registers.
//
// Float formats: a vector of weights is multiplied by a broadcast x. One token is multiplied by 4 panels at once, because with a single
// panel the latency of its few chains of fused multiply-adds would be the limit. Four tokens are multiplied by one panel at once, which
// gives as many chains.
#pragma once

#include <cstddef>
#include <cstdint>

#include <stilla/contract/matmul.hpp>
#include <stilla/portable/vector-inl.hpp>

#include <stilla/base/push_macros-inl.hpp>

HWY_BEFORE_NAMESPACE();
namespace stilla { inline namespace STILLA_ABI { namespace HWY_NAMESPACE {

using DInt16 = hn::Repartition<std::int16_t, DFloat>;
using DCode = hn::Rebind<std::uint8_t, DInt16>;  // as many bytes as there are int16 lanes
using DSignedCode = hn::Rebind<std::int8_t, DInt16>;
using VInt16 = hn::Vec<DInt16>;

inline constexpr std::size_t pair_vectors = 2 * panel_rows / float_lanes;  // vectors that hold two int32 per row

// Returns sum[i] + a[2i] * b[2i] + a[2i+1] * b[2i+1] in int32 lane i.
HWY_INLINE VInt32 add_pair_products(VInt16 a, VInt16 b, VInt32 sum) {
  const DInt32 d;
#if HWY_TARGET == HWY_AVX2
  VInt32 unused = hn::Zero(d);
  return hn::ReorderWidenMulAccumulate(d, a, b, sum, unused);  // this is vpmaddwd: its lanes are in order, and `unused` does not change
#else
  const VInt32 a32 = hn::BitCast(d, a);
  const VInt32 b32 = hn::BitCast(d, b);
  const VInt32 even = hn::Mul(hn::ShiftRight<16>(hn::ShiftLeft<16>(a32)), hn::ShiftRight<16>(hn::ShiftLeft<16>(b32)));
  const VInt32 odd = hn::Mul(hn::ShiftRight<16>(a32), hn::ShiftRight<16>(b32));
  return hn::Add(sum, hn::Add(even, odd));
#endif
}

HWY_INLINE VFloat load_s8(const std::byte* from) {
  const hn::Rebind<std::int8_t, DInt32> d;
  const VInt32 wide = hn::PromoteTo(DInt32(), hn::LoadU(d, reinterpret_cast<const std::int8_t*>(from)));
  return hn::ConvertTo(DFloat(), wide);
}

// This function is for ST4, which keeps all scales of a row's block in one word of 32 bits. It returns the scales of one group of this
// block, for as many rows as a vector has lanes. `group` is the number of the group in its block; the first group has the number 0. The
// words of these rows begin at `from` (layout/pack.hpp).
template <WordScaledFormat F>
HWY_INLINE VFloat load_word_scale(const std::byte* from, std::size_t group) {
  const DInt32 d;
  const VInt32 word = hn::LoadU(d, reinterpret_cast<const std::int32_t*>(from));
  const VInt32 exponent_and_mantissa = hn::And(hn::ShiftRight<4>(word), hn::Set(d, 0x0ff00000));
  const VInt32 bits = hn::Add(exponent_and_mantissa, hn::Set(d, static_cast<std::int32_t>(ue5m3::lowest_exponent << 23)));
  const VInt32 sub_scale = hn::ShiftRight<26>(hn::ShiftLeftSame(word, 26 - 6 * static_cast<int>(group)));
  return hn::Mul(hn::BitCast(DFloat(), bits), hn::ConvertTo(DFloat(), sub_scale));
}

// Returns four codes of each of float_lanes / 2 rows as int16; the zero point is not yet subtracted. The rows begin with the row
// q * float_lanes / 2. `codes` has the codes of a block of 32 k (layout/rows16_k4.hpp). The four codes are those of k = 4g .. 4g + 3, where
// g is 2 * line + upper, or with codes of 8 bits `line`. `levels` are the 16 bytes of a codebook, on a 16-byte boundary.
template <class F>
HWY_INLINE VInt16 load_codes(const std::byte* codes, std::size_t line, bool upper, std::size_t q,
                             [[maybe_unused]] const std::int8_t* levels) {
  const DCode d;
  const std::size_t at = q * hn::MaxLanes(d);
  const auto load = [&](std::size_t l) HWY_ATTR { return hn::LoadU(d, reinterpret_cast<const std::uint8_t*>(codes) + l * 64 + at); };
  if constexpr (F::code_bits == 8) {
    return hn::PromoteTo(DInt16(), hn::BitCast(DSignedCode(), load(line)));
  } else {
    const std::size_t g = 2 * line + (upper ? 1 : 0);  // which four k of the block
    auto code = hn::Zero(d);
    const auto add_bit = [&](auto bits, std::size_t bit, std::uint8_t value) HWY_ATTR {
      const auto mask = hn::TestBit(bits, hn::Set(d, static_cast<std::uint8_t>(1u << bit)));
      code = hn::Or(code, hn::IfThenElseZero(mask, hn::Set(d, value)));
    };
    if constexpr (F::code_bits == 2) {
      add_bit(load(g / 4), g % 4 * 2, 1);
      add_bit(load(g / 4), g % 4 * 2 + 1, 2);
    } else if constexpr (F::code_bits == 3) {
      if (g < 6) code = hn::And(upper ? hn::ShiftRight<4>(load(line)) : load(line), hn::Set(d, 7));
      for (std::size_t l = 0; l < 3 && g >= 6; ++l) add_bit(load(l), g == 6 ? 3 : 7, static_cast<std::uint8_t>(1u << l));
    } else {
      code = upper ? hn::ShiftRight<4>(load(line)) : hn::And(load(line), hn::Set(d, 15));
    }
    if constexpr (F::code_bits == 5) add_bit(load(4), g, 16);
    if constexpr (F::code_bits == 6) {
      const auto bits = load(4 + g / 4);
      add_bit(bits, g % 4 * 2, 16);
      add_bit(bits, g % 4 * 2 + 1, 32);
    }
    if constexpr (F::is_codebook) {
      const hn::Full128<std::uint8_t> all16;  // for the whole table, because d has only 8 lanes on NEON
      const auto table = hn::Load(all16, reinterpret_cast<const std::uint8_t*>(levels));
      return hn::PromoteTo(DInt16(), hn::BitCast(DSignedCode(), hn::TableLookupBytes(table, code)));
    } else {
      return hn::PromoteTo(DInt16(), code);
    }
  }
}

// Adds to the sums of MT tokens in `acc`, for the rows of vector v, what the minimum and the sub-minimums of 256 k contribute: they are
// multiplied by sums of activations. `sums` points to the rounded sums of the first token; those of the next token are `stride` elements
// further.
template <class F, std::size_t MT>
HWY_INLINE void add_minimums(VFloat (&acc)[MT][row_vectors], const std::byte* record, std::size_t v, const RoundedSums* sums,
                             std::size_t stride) {
  constexpr std::size_t pairs = RoundedSums::blocks / 2;
  const DInt16 d16;
  const DFloat df;
  VInt16 sub_minimums[pairs];
  for (std::size_t i = 0; i < pairs; ++i) {
    const std::byte* at = record + PanelLayout<F>::sub_minimum_offset(2 * i) + 2 * v * float_lanes;
    sub_minimums[i] = hn::PromoteTo(d16, hn::LoadU(DSignedCode(), reinterpret_cast<const std::int8_t*>(at)));
  }
  const VFloat minimum = load_f16(record + 2 * (panel_rows + v * float_lanes));
  for (std::size_t m = 0; m < MT; ++m) {
    const RoundedSums& of_token = sums[m * stride];
    VInt32 dot = hn::Zero(DInt32());
    for (std::size_t i = 0; i < pairs; ++i) {
      std::int32_t two;
      std::memcpy(&two, of_token.sums + 2 * i, sizeof two);
      dot = add_pair_products(sub_minimums[i], hn::BitCast(d16, hn::Set(DInt32(), two)), dot);
    }
    acc[m][v] = hn::MulAdd(hn::Mul(minimum, hn::Set(df, of_token.scale)), hn::ConvertTo(df, dot), acc[m][v]);
  }
}

// Converts the activations of MT tokens from m0 on, in the block of 32 k at k0, to integers of 16 bits.
template <std::size_t MT>
HWY_INLINE void widen_activations(std::int16_t (&x)[MT][code_block], const ActivationQ8& from, std::size_t m0, std::size_t k0) {
  for (std::size_t m = 0; m < MT; ++m) {
    const std::int8_t* high = from.row_values(m0 + m) + k0;
    for (std::size_t k = 0; k < code_block; k += hn::MaxLanes(DInt16())) {
      VInt16 value = hn::PromoteTo(DInt16(), hn::LoadU(DSignedCode(), high + k));
      if (from.low != nullptr) {
        const VInt16 low = hn::PromoteTo(DInt16(), hn::LoadU(DSignedCode(), from.row_low(m0 + m) + k0 + k));
        value = hn::Add(hn::ShiftLeft<8>(value), low);
      }
      hn::Store(value, DInt16(), x[m] + k);
    }
  }
}

// The scales of a group of weights for the rows of a vector, and their minimums; these are zero where the format has none or has
// sub-minimums.
struct GroupScales {
  VFloat scale, minimum;
};

// Loads the scales, and the minimums if there are any, of a group of weights for the rows of vector v of the panel. `group` is the number
// of the group in `record`.
template <class F>
HWY_INLINE GroupScales load_scales(const std::byte* panel, const std::byte* record, std::size_t group, std::size_t v) {
  using Layout = PanelLayout<F>;
  const DFloat df;
  VFloat scale = hn::Zero(df);
  VFloat minimum = hn::Zero(df);
  if constexpr (RowScaledFormat<F>) {
    scale = hn::LoadU(df, reinterpret_cast<const float*>(panel) + v * float_lanes);
    if constexpr (F::has_sub_scales) {
      scale = hn::Mul(scale, load_s8(record + Layout::sub_scale_offset(group) + v * float_lanes));
    }
  } else if constexpr (WordScaledFormat<F>) {
    scale = load_word_scale<F>(record + 4 * v * float_lanes, group);
  } else {
    scale = load_f16(record + 2 * v * float_lanes);
    constexpr float factor = half_factor<decltype(F::scale(record))>;
    if constexpr (factor != 1.0f) scale = hn::Mul(scale, hn::Set(df, factor));
    if constexpr (F::has_minimum && !has_sub_minimums<F>) minimum = load_f16(record + 2 * (panel_rows + v * float_lanes));
    [[maybe_unused]] const std::byte* sub_scales = record + Layout::sub_scale_offset(group) + v * float_lanes;
    if constexpr (has_nibble_minimums<F>) {
      const DInt32 di;
      const hn::Rebind<std::uint8_t, DInt32> d8;
      const VInt32 nibbles = hn::PromoteTo(di, hn::LoadU(d8, reinterpret_cast<const std::uint8_t*>(sub_scales)));
      scale = hn::Mul(scale, hn::ConvertTo(df, hn::And(nibbles, hn::Set(di, 15))));
      minimum = hn::Mul(minimum, hn::ConvertTo(df, hn::ShiftRight<4>(nibbles)));
    } else if constexpr (F::has_sub_scales) {
      scale = hn::Mul(scale, load_s8(sub_scales));
    }
  }
  return {scale, minimum};
}

template <class F, std::size_t MT>
HWY_NOINLINE void matmul_quantised(const MatmulArgs<F>& a, std::size_t p, std::size_t m0) {
  using Layout = PanelLayout<F>;
  constexpr std::size_t group = F::group_weights;
  constexpr std::size_t codes_per_line = F::code_bits == 8 ? 4 : 8;
  const DFloat df;
  const DInt32 di;
  const std::byte* panel = a.panels + p * Layout::panel_bytes(a.K);
  alignas(16) std::int8_t levels[16] = {};
  if constexpr (F::is_codebook) std::memcpy(levels, a.codebook, F::codebook.size());

  VFloat acc[MT][row_vectors];
  for (std::size_t m = 0; m < MT; ++m) {
    for (std::size_t v = 0; v < row_vectors; ++v) acc[m][v] = hn::Zero(df);
  }
  for (std::size_t k0 = 0; k0 < a.K; k0 += code_block) {
    const std::byte* codes = panel + Layout::codes_offset(k0);
    const std::byte* record = panel + Layout::record_offset(k0);
    const std::size_t block = k0 / activation_block;

    alignas(64) std::int16_t x[MT][code_block];
    widen_activations<MT>(x, a.x, m0, k0);

    for (std::size_t g = 0; g < code_block / group; ++g) {
      VInt32 pairs[MT][pair_vectors];
      for (std::size_t m = 0; m < MT; ++m) {
        for (std::size_t q = 0; q < pair_vectors; ++q) pairs[m][q] = hn::Zero(di);
      }
      for (std::size_t l = 0; l < group / codes_per_line; ++l) {
        const std::size_t line = g * (group / codes_per_line) + l;
        for (std::size_t half = 0; half < codes_per_line / 4; ++half) {
          VInt16 broadcast[MT];
          for (std::size_t m = 0; m < MT; ++m) {
            std::int64_t four;
            std::memcpy(&four, x[m] + line * codes_per_line + half * 4, sizeof four);
            broadcast[m] = hn::BitCast(DInt16(), hn::Set(hn::Repartition<std::int64_t, DFloat>(), four));
          }
          for (std::size_t q = 0; q < pair_vectors; ++q) {
            const VInt16 w = load_codes<F>(codes, line, half == 1, q, levels);
            for (std::size_t m = 0; m < MT; ++m) pairs[m][q] = add_pair_products(w, broadcast[m], pairs[m][q]);
          }
        }
      }
      for (std::size_t v = 0; v < row_vectors; ++v) {
        const auto [scale, minimum] = load_scales<F>(panel, record, k0 % Layout::super_block / group + g, v);
        for (std::size_t m = 0; m < MT; ++m) {
          const float scale_x = a.x.row_scales(m0 + m)[block];
          VInt32 dot =
              hn::Add(hn::ConcatEven(di, pairs[m][2 * v + 1], pairs[m][2 * v]), hn::ConcatOdd(di, pairs[m][2 * v + 1], pairs[m][2 * v]));
          if constexpr (F::zero_point != 0) {
            dot = hn::Sub(dot, hn::Set(di, F::zero_point * a.x.sum_of(m0 + m, k0 + g * group, group)));
          }
          acc[m][v] = hn::MulAdd(hn::Mul(scale, hn::Set(df, scale_x)), hn::ConvertTo(df, dot), acc[m][v]);
          if constexpr (F::has_minimum && !has_sub_minimums<F>) {
            const float sum = scale_x * static_cast<float>(a.x.sum_of(m0 + m, k0 + g * group, group));
            acc[m][v] = hn::MulAdd(minimum, hn::Set(df, sum), acc[m][v]);
          }
        }
      }
    }
    if constexpr (has_sub_minimums<F>) {
      if ((k0 + code_block) % sums_block != 0) continue;
      const RoundedSums* sums = a.x.row_rounded_sums(m0) + k0 / sums_block;
      for (std::size_t v = 0; v < row_vectors; ++v) add_minimums<F, MT>(acc, record, v, sums, a.K / sums_block);
    }
  }
  for (std::size_t m = 0; m < MT; ++m) {
    alignas(64) float results[panel_rows];
    for (std::size_t v = 0; v < row_vectors; ++v) hn::Store(acc[m][v], df, results + v * float_lanes);
    detail::store_panel_row(a, p, m0 + m, results);
  }
}

template <class F, std::size_t PT, std::size_t MT>
HWY_NOINLINE void matmul_float(const MatmulArgs<F>& a, std::size_t p0, std::size_t m0) {
  const DFloat df;
  const std::size_t panel_bytes = PanelLayout<F>::panel_bytes(a.K);
  VFloat acc[PT][MT][row_vectors];
  for (std::size_t p = 0; p < PT; ++p) {
    for (std::size_t m = 0; m < MT; ++m) {
      for (std::size_t v = 0; v < row_vectors; ++v) acc[p][m][v] = hn::Zero(df);
    }
  }
  for (std::size_t k = 0; k < a.K; ++k) {
    for (std::size_t p = 0; p < PT; ++p) {
      const auto* w = reinterpret_cast<const typename F::Storage*>(a.panels + (p0 + p) * panel_bytes) + k * panel_rows;
      for (std::size_t v = 0; v < row_vectors; ++v) {
        const VFloat weights = load_weights(w + v * float_lanes);
        for (std::size_t m = 0; m < MT; ++m) {
          acc[p][m][v] = hn::MulAdd(weights, hn::Set(df, a.x.row(m0 + m)[k]), acc[p][m][v]);
        }
      }
    }
  }
  for (std::size_t p = 0; p < PT; ++p) {
    for (std::size_t m = 0; m < MT; ++m) {
      alignas(64) float results[panel_rows];
      for (std::size_t v = 0; v < row_vectors; ++v) hn::Store(acc[p][m][v], df, results + v * float_lanes);
      detail::store_panel_row(a, p0 + p, m0 + m, results);
    }
  }
}

template <class F>
HWY_NOINLINE void matmul_panels(const MatmulArgs<F>& a, std::size_t first, std::size_t last) {
  if constexpr (QuantisedFormat<F>) {
    for (std::size_t p = first; p < last; ++p) {
      std::size_t m = 0;
      for (; m + 2 <= a.x.rows; m += 2) matmul_quantised<F, 2>(a, p, m);
      if (m < a.x.rows) matmul_quantised<F, 1>(a, p, m);
    }
  } else {
    std::size_t m = 0;
    for (; m + 4 <= a.x.rows; m += 4) {
      for (std::size_t p = first; p < last; ++p) matmul_float<F, 1, 4>(a, p, m);
    }
    for (; m < a.x.rows; ++m) {
      std::size_t p = first;
      for (; p + 4 <= last; p += 4) matmul_float<F, 4, 1>(a, p, m);
      for (; p < last; ++p) matmul_float<F, 1, 1>(a, p, m);
    }
  }
}

}}}  // namespace stilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

namespace stilla { inline namespace STILLA_ABI {

template <class F>
struct MatmulPanels<Portable, F> {
  static constexpr TargetId implemented_on = Portable::id;
  static void run(const MatmulArgs<F>& a, std::size_t first, std::size_t last) { HWY_NAMESPACE::matmul_panels<F>(a, first, last); }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
