// SPDX-License-Identifier: Apache-2.0
//
// The float kernels on rows (contract/elementwise.hpp), written with Highway: they compute the scalar definitions for 16 lanes at a
// time. If fewer than 16 values are left at the end of a row, they are copied to 16 values that are padded with zeros. Zeros do not
// change a sum of squares or of exponentials.
#pragma once

#include <cstring>
#include <limits>

#include <stilla/base/math.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/portable/vector-inl.hpp>

#include <stilla/base/push_macros-inl.hpp>

HWY_BEFORE_NAMESPACE();
namespace stilla { inline namespace STILLA_ABI { namespace HWY_NAMESPACE {

inline HWY_NOINLINE void rms_norm(float* out, const float* x, const float* weight, float epsilon, std::size_t n) {
  const DFloat d;
  Lanes16 sum = zero16();
  for_each_16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 v = load16(x + i, count);
    for (std::size_t j = 0; j < row_vectors; ++j) sum.v[j] = hn::MulAdd(v.v[j], v.v[j], sum.v[j]);
  });
  const float mean = fold16(sum) / static_cast<float>(n);
  const auto scale = hn::Set(d, 1.0f / std::sqrt(mean + epsilon));
  for_each_16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    Lanes16 v = load16(x + i, count);
    const Lanes16 w = load16(weight + i, count);
    for (std::size_t j = 0; j < row_vectors; ++j) v.v[j] = hn::Mul(hn::Mul(v.v[j], scale), w.v[j]);
    store16(v, out + i, count);
  });
}

inline HWY_NOINLINE void silu_mul(float* out, const float* gate, const float* up, std::size_t n) {
  const auto one = hn::Set(DFloat(), 1.0f);
  for_each_16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    Lanes16 g = load16(gate + i, count);
    const Lanes16 u = load16(up + i, count);
    for (std::size_t j = 0; j < row_vectors; ++j) {
      g.v[j] = hn::Mul(hn::Div(g.v[j], hn::Add(one, exp_lanes(hn::Neg(g.v[j])))), u.v[j]);
    }
    store16(g, out + i, count);
  });
}

inline HWY_NOINLINE void softmax(float* out, const float* x, std::size_t n) {
  const DFloat d;
  float highest = x[0];
  for (std::size_t i = 1; i < n; ++i) highest = x[i] > highest ? x[i] : highest;
  const auto max = hn::Set(d, highest);
  const auto one = hn::Set(d, 1.0f);
  Lanes16 sum = zero16();
  for_each_16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    Lanes16 v = load16(x + i, count);
    for (std::size_t j = 0; j < row_vectors; ++j) {
      v.v[j] = hn::IfThenElse(hn::Eq(v.v[j], max), one, exp_lanes(hn::Sub(v.v[j], max)));
    }
    if (count < sum_lanes) v = first_lanes(v, count);
    for (std::size_t j = 0; j < row_vectors; ++j) sum.v[j] = hn::Add(sum.v[j], v.v[j]);
    store16(v, out + i, count);
  });
  const auto inverse = hn::Set(d, 1.0f / fold16(sum));
  for_each_16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    Lanes16 v = load16(out + i, count);
    for (std::size_t j = 0; j < row_vectors; ++j) v.v[j] = hn::Mul(v.v[j], inverse);
    store16(v, out + i, count);
  });
}

inline HWY_NOINLINE void highest_logits(float* highest, const float* logits, std::size_t n) {
  const DFloat d;
  for (; n != 0; n -= logit_block, logits += logit_block, ++highest) {
    auto best = hn::Set(d, -std::numeric_limits<float>::infinity());
    for (std::size_t i = 0; i < logit_block; i += float_lanes) {
      const auto v = hn::LoadU(d, logits + i);
      best = hn::IfThenElse(hn::Gt(v, best), v, best);
    }
    *highest = hn::GetLane(hn::MaxOfLanes(d, best));
  }
}

inline HWY_NOINLINE void logit_weights(double* sums, const float* logits, std::size_t n, float highest, float temperature) {
  const DFloat d;
  const hn::Repartition<double, DFloat> dd;
  const hn::Half<DFloat> half;
  constexpr std::size_t lanes = float_lanes / 2;
  const auto max = hn::Set(d, highest), one = hn::Set(d, 1.0f), divisor = hn::Set(d, temperature);
  const bool divides = temperature != 1.0f;
  for (; n != 0; n -= logit_block, logits += logit_block, ++sums) {
    hn::Vec<decltype(dd)> sum[sum_lanes / lanes];
    for (auto& s : sum) s = hn::Zero(dd);
    for (std::size_t i = 0; i < logit_block; i += float_lanes) {
      const auto v = hn::LoadU(d, logits + i);
      auto x = hn::Sub(v, max);
      if (divides) x = hn::Div(x, divisor);
      const auto weight = hn::IfThenElse(hn::Eq(v, max), one, exp_lanes(x));
      auto* const s = sum + i % sum_lanes / lanes;
      s[0] = hn::Add(s[0], hn::PromoteTo(dd, hn::LowerHalf(half, weight)));
      s[1] = hn::Add(s[1], hn::PromoteTo(dd, hn::UpperHalf(half, weight)));
    }
    alignas(64) double folded[sum_lanes];
    for (std::size_t j = 0; j < sum_lanes / lanes; ++j) hn::Store(sum[j], dd, folded + j * lanes);
    *sums = detail::fold_lanes(folded);
  }
}

// Rotates pairs of numbers of a head (RoPE). In memory, the first numbers of half-split pairs lie side by side, and so do the second
// numbers. Interleaved pairs, which are rare and short, are separated and put together again through memory.
inline HWY_NOINLINE void rope(float* x, const float* cos, const float* sin, std::size_t pairs, bool half_split) {
  for_each_16(pairs, [&](std::size_t i, std::size_t count) HWY_ATTR {
    float first[sum_lanes];
    float second[sum_lanes];
    if (!half_split) {
      for (std::size_t l = 0; l < count; ++l) {
        first[l] = x[2 * (i + l)];
        second[l] = x[2 * (i + l) + 1];
      }
    }
    Lanes16 a = load16(half_split ? x + i : first, count);
    Lanes16 b = load16(half_split ? x + i + pairs : second, count);
    const Lanes16 c = load16(cos + i, count);
    const Lanes16 s = load16(sin + i, count);
    for (std::size_t j = 0; j < row_vectors; ++j) {
      const auto rotated = hn::MulSub(a.v[j], c.v[j], hn::Mul(b.v[j], s.v[j]));
      b.v[j] = hn::MulAdd(a.v[j], s.v[j], hn::Mul(b.v[j], c.v[j]));
      a.v[j] = rotated;
    }
    store16(a, half_split ? x + i : first, count);
    store16(b, half_split ? x + i + pairs : second, count);
    if (!half_split) {
      for (std::size_t l = 0; l < count; ++l) {
        x[2 * (i + l)] = first[l];
        x[2 * (i + l) + 1] = second[l];
      }
    }
  });
}

// Does one step of the Hadamard transform within a vector. `own` has the lanes; in `swapped`, the two lanes a and b of each pair have
// changed places. Returns a + b in lanes whose index does not have the bit `distance`, and a - b in lanes whose index has it.
HWY_INLINE VFloat butterfly(VFloat own, VFloat swapped, std::size_t distance) {
  const DFloat d;
  const hn::Repartition<std::uint32_t, DFloat> du;
  const auto index = hn::Iota(du, 0);
  const auto bit = hn::And(index, hn::Set(du, static_cast<std::uint32_t>(distance)));
  const auto is_second = hn::Ne(bit, hn::Zero(du));
  const auto sign = hn::IfThenElseZero(is_second, hn::Set(du, 0x80000000u));
  return hn::Add(swapped, hn::BitCast(d, hn::Xor(hn::BitCast(du, own), sign)));
}

inline HWY_NOINLINE void hadamard(float* x, std::size_t n) {
  const DFloat d;
  for (std::size_t i = 0; i < n; i += float_lanes) {
    VFloat v = hn::LoadU(d, x + i);
    v = butterfly(v, hn::Shuffle2301(v), 1);
    v = butterfly(v, hn::Shuffle1032(v), 2);
    if constexpr (float_lanes == 8) v = butterfly(v, hn::ConcatLowerUpper(d, v, v), 4);
    hn::StoreU(v, d, x + i);
  }
  for (std::size_t distance = float_lanes; distance < hadamard_run(n); distance *= 2) {
    for (std::size_t i = 0; i < n; i += 2 * distance) {
      for (std::size_t j = i; j < i + distance; j += float_lanes) {
        const VFloat a = hn::LoadU(d, x + j), b = hn::LoadU(d, x + j + distance);
        hn::StoreU(hn::Add(a, b), d, x + j);
        hn::StoreU(hn::Sub(a, b), d, x + j + distance);
      }
    }
  }
}

inline HWY_NOINLINE void quantise_q8(std::int8_t* values, float* scales, std::int32_t* sums, float* scaled_sums, const float* x,
                                     std::size_t blocks, std::int8_t* low) {
  const DFloat d;
  const DInt32 di;
  const hn::Rebind<std::int8_t, DInt32> d8;
  constexpr std::size_t vectors = activation_block / float_lanes;
  const float largest = low == nullptr ? 127.0f : 32512.0f;
  for (std::size_t b = 0; b < blocks; ++b, x += activation_block) {
    std::int8_t* high_out = values + b * activation_block;
    std::int8_t* low_out = low == nullptr ? nullptr : low + b * activation_block;
    auto highest_bits = hn::Zero(di);
    VFloat v[vectors];
    for (std::size_t j = 0; j < vectors; ++j) {
      v[j] = hn::LoadU(d, x + j * float_lanes);
      highest_bits = hn::Max(highest_bits, hn::BitCast(di, hn::Abs(v[j])));
    }
    const float highest = std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(di, highest_bits)));
    if (!(highest >= detail::smallest_activation && highest <= detail::largest_activation)) {
      std::memset(high_out, 0, activation_block);
      if (low_out != nullptr) std::memset(low_out, 0, activation_block);
      scales[b] = detail::scale_of_zeros(highest);
      scaled_sums[b] = scales[b] * 0.0f;
      sums[2 * b] = sums[2 * b + 1] = 0;
      continue;
    }
    scales[b] = detail::activation_scale(highest, largest);
    const auto inverse = hn::Set(d, detail::inverse_of_power(scales[b]));
    const auto magic = hn::Set(d, detail::round_magic);
    VInt32 sum[2] = {hn::Zero(di), hn::Zero(di)};
    for (std::size_t j = 0; j < vectors; ++j) {
      const auto rounded = hn::Sub(hn::BitCast(di, hn::MulAdd(v[j], inverse, magic)), hn::BitCast(di, magic));
      VInt32& half = sum[j * float_lanes * 2 / activation_block];
      half = hn::Add(half, rounded);
      if (low_out == nullptr) {
        hn::StoreU(hn::DemoteTo(d8, rounded), d8, high_out + j * float_lanes);
      } else {
        const auto high = hn::ShiftRight<8>(hn::Add(rounded, hn::Set(di, 128)));
        hn::StoreU(hn::DemoteTo(d8, high), d8, high_out + j * float_lanes);
        hn::StoreU(hn::DemoteTo(d8, hn::Sub(rounded, hn::ShiftLeft<8>(high))), d8, low_out + j * float_lanes);
      }
    }
    sums[2 * b] = hn::GetLane(hn::SumOfLanes(di, sum[0]));
    sums[2 * b + 1] = sums[2 * b] + hn::GetLane(hn::SumOfLanes(di, sum[1]));
    scaled_sums[b] = scales[b] * static_cast<float>(sums[2 * b + 1]);
  }
}

}}}  // namespace stilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

namespace stilla { inline namespace STILLA_ABI {

template <>
struct RmsNorm<Portable> {
  static constexpr TargetId implemented_on = Portable::id;
  static void run(float* out, const float* x, const float* weight, float epsilon, std::size_t n) {
    HWY_NAMESPACE::rms_norm(out, x, weight, epsilon, n);
  }
};

template <>
struct SiluMul<Portable> {
  static constexpr TargetId implemented_on = Portable::id;
  static void run(float* out, const float* gate, const float* up, std::size_t n) { HWY_NAMESPACE::silu_mul(out, gate, up, n); }
};

template <>
struct Softmax<Portable> {
  static constexpr TargetId implemented_on = Portable::id;
  static void run(float* out, const float* x, std::size_t n) { HWY_NAMESPACE::softmax(out, x, n); }
};

template <>
struct HighestLogits<Portable> {
  static constexpr TargetId implemented_on = Portable::id;
  static void run(float* highest, const float* logits, std::size_t n) { HWY_NAMESPACE::highest_logits(highest, logits, n); }
};

template <>
struct LogitWeights<Portable> {
  static constexpr TargetId implemented_on = Portable::id;
  static void run(double* sums, const float* logits, std::size_t n, float highest, float temperature) {
    HWY_NAMESPACE::logit_weights(sums, logits, n, highest, temperature);
  }
};

template <>
struct Rope<Portable> {
  static constexpr TargetId implemented_on = Portable::id;
  static void run(float* x, const float* cos, const float* sin, std::size_t pairs, bool half_split) {
    HWY_NAMESPACE::rope(x, cos, sin, pairs, half_split);
  }
};

template <>
struct Hadamard<Portable> {
  static constexpr TargetId implemented_on = Portable::id;
  static void run(float* x, std::size_t n) {
    static_assert(HWY_NAMESPACE::float_lanes == 4 || HWY_NAMESPACE::float_lanes == 8);
    HWY_NAMESPACE::hadamard(x, n);
  }
};

template <>
struct QuantiseQ8<Portable> {
  static constexpr TargetId implemented_on = Portable::id;
  static void run(std::int8_t* values, float* scales, std::int32_t* sums, float* scaled_sums, const float* x, std::size_t blocks,
                  std::int8_t* low = nullptr) {
    HWY_NAMESPACE::quantise_q8(values, scales, sums, scaled_sums, x, blocks, low);
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
