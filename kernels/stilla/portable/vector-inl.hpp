// SPDX-License-Identifier: Apache-2.0
//
// What the portable kernels share: 16 floats as a few Highway vectors, their sum in the order that math.hpp prescribes, and exp.
// The order of lanes is the order in memory.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <stilla/base/math.hpp>
#include <stilla/base/types.hpp>
#include <stilla/layout/pack.hpp>  // panel_rows
#include <stilla/portable/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

HWY_BEFORE_NAMESPACE();
namespace stilla { inline namespace STILLA_ABI { namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DFloat = hn::ScalableTag<float>;
using DInt32 = hn::Repartition<std::int32_t, DFloat>;
using VFloat = hn::Vec<DFloat>;
using VInt32 = hn::Vec<DInt32>;

inline constexpr std::size_t float_lanes = hn::MaxLanes(DFloat());
inline constexpr std::size_t row_vectors = panel_rows / float_lanes;  // vectors that hold one float per panel row
static_assert(panel_rows == sum_lanes && row_vectors * float_lanes == panel_rows);

HWY_INLINE VFloat load_f16(const std::byte* from) {
  const hn::Rebind<hwy::float16_t, DFloat> d;
  return hn::PromoteTo(DFloat(), hn::LoadU(d, reinterpret_cast<const hwy::float16_t*>(from)));
}

// Loads as many stored numbers (weights or elements of a cache: float, f16 or bf16) as a vector has lanes, and converts them to float.
HWY_INLINE VFloat load_weights(const float* from) { return hn::LoadU(DFloat(), from); }
HWY_INLINE VFloat load_weights(const f16* from) { return load_f16(reinterpret_cast<const std::byte*>(from)); }
HWY_INLINE VFloat load_weights(const bf16* from) {
  const hn::Rebind<std::uint16_t, DFloat> d;
  const auto bits = hn::LoadU(d, reinterpret_cast<const std::uint16_t*>(from));
  return hn::BitCast(DFloat(), hn::ShiftLeft<16>(hn::PromoteTo(hn::Repartition<std::uint32_t, DFloat>(), bits)));
}

struct Lanes16 {
  HWY_INLINE Lanes16() {}  // GCC would compile an implicit one outside the target region, where NEON's functions cannot be inlined
  VFloat v[row_vectors];
};

HWY_INLINE Lanes16 zero16() {
  Lanes16 r;
  for (std::size_t j = 0; j < row_vectors; ++j) r.v[j] = hn::Zero(DFloat());
  return r;
}

// Loads the first `count` (1 .. 16) of 16 floats; the others become 0. Reads no more than `count` floats.
HWY_INLINE Lanes16 load16(const float* from, std::size_t count) {
  Lanes16 r;
  alignas(64) float padded[sum_lanes] = {};
  if (count < sum_lanes) {
    for (std::size_t i = 0; i < count; ++i) padded[i] = from[i];
    from = padded;
  }
  for (std::size_t j = 0; j < row_vectors; ++j) r.v[j] = hn::LoadU(DFloat(), from + j * float_lanes);
  return r;
}

HWY_INLINE void store16(const Lanes16& x, float* to, std::size_t count) {
  if (count == sum_lanes) {
    for (std::size_t j = 0; j < row_vectors; ++j) hn::StoreU(x.v[j], DFloat(), to + j * float_lanes);
    return;
  }
  alignas(64) float padded[sum_lanes];
  for (std::size_t j = 0; j < row_vectors; ++j) hn::Store(x.v[j], DFloat(), padded + j * float_lanes);
  for (std::size_t i = 0; i < count; ++i) to[i] = padded[i];
}

// Returns x with the lanes from `count` on set to 0.
HWY_INLINE Lanes16 first_lanes(const Lanes16& x, std::size_t count) {
  alignas(64) float padded[sum_lanes];
  for (std::size_t j = 0; j < row_vectors; ++j) hn::Store(x.v[j], DFloat(), padded + j * float_lanes);
  return load16(padded, count);
}

// Returns the sum of 16 lanes, added in the order of fold_lanes (math.hpp).
HWY_INLINE float fold16(const Lanes16& x) {
  alignas(64) float lanes[sum_lanes];
  for (std::size_t j = 0; j < row_vectors; ++j) hn::Store(x.v[j], DFloat(), lanes + j * float_lanes);
  return detail::fold_lanes(lanes);
}

// Calls f(i, count) for i = 0, 16, ..., with count = 16, or for the last i the number of elements that are left.
template <class F>
HWY_INLINE void for_each_16(std::size_t n, const F& f) {
  std::size_t i = 0;
  for (; i + sum_lanes <= n; i += sum_lanes) f(i, sum_lanes);
  if (i < n) f(i, n - i);
}

// Computes exp_approximate (math.hpp) in each lane, with the same bits.
HWY_INLINE VFloat exp_lanes(VFloat x) {
  using namespace detail;
  const DFloat d;
  const DInt32 di;
  const auto in_range = hn::Ge(x, hn::Set(d, exp_lowest));
  const auto above = hn::Gt(x, hn::Set(d, exp_highest));
  x = hn::IfThenElse(above, hn::Set(d, exp_highest), x);
  const auto magic = hn::Set(d, round_magic);
  const auto shifted = hn::MulAdd(x, hn::Set(d, log2_e), magic);
  const auto n = hn::Sub(shifted, magic);
  auto r = hn::MulAdd(n, hn::Set(d, -ln2_high), x);
  r = hn::MulAdd(n, hn::Set(d, -ln2_low), r);
  auto p = hn::Set(d, exp_c7);
  p = hn::MulAdd(p, r, hn::Set(d, exp_c6));
  p = hn::MulAdd(p, r, hn::Set(d, exp_c5));
  p = hn::MulAdd(p, r, hn::Set(d, exp_c4));
  p = hn::MulAdd(p, r, hn::Set(d, exp_c3));
  p = hn::MulAdd(p, r, hn::Set(d, exp_c2));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  return hn::IfThenElseZero(in_range, hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent)));
}

}}}  // namespace stilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#include <stilla/base/pop_macros-inl.hpp>
