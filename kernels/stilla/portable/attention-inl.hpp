// SPDX-License-Identifier: Apache-2.0
//
// Attention with Highway: generic/attention_chunk-inl.hpp on vectors of 8 floats (AVX2) or 4 floats (NEON).
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include <hwy/cache_control.h>

#include <stilla/base/types.hpp>
#include <stilla/contract/attention.hpp>
#include <stilla/portable/matmul-inl.hpp>  // add_pair_products
#include <stilla/portable/vector-inl.hpp>
#include <stilla/region.hpp>
#include <stilla/scalar/attention.hpp>

#include <stilla/base/push_macros-inl.hpp>

HWY_BEFORE_NAMESPACE();
namespace stilla { inline namespace STILLA_ABI { namespace HWY_NAMESPACE::attention_kernels {

using Float = Lanes16;
struct Int {
  HWY_INLINE Int() {}  // GCC would compile an implicit one outside the target region (see Lanes16 in vector-inl.hpp)
  VInt32 v[row_vectors];
};
// How many queries share a load of keys or values, as measured with attention_bench. Each query has two vectors of sums, so 6 queries
// have 12 in AVX2's 16 registers; with 4 queries the speed was 20 % lower. With caches of integers, 4 queries have 8 vectors of sums; 6
// queries spill registers, and the speed was 25 % lower.
inline constexpr std::size_t max_queries = 6;
inline constexpr std::size_t max_key_queries = 4;
inline constexpr std::size_t max_value_queries = max_key_queries;
inline constexpr std::size_t tiles_at_once = 1;
inline constexpr std::size_t prefetch_bytes = 8192;

#define STILLA_EACH(name, arguments, type, expression)                 \
  HWY_INLINE type name arguments {                                     \
    type r;                                                            \
    for (std::size_t i = 0; i < row_vectors; ++i) r.v[i] = expression; \
    return r;                                                          \
  }
STILLA_EACH(zero, (), Float, hn::Zero(DFloat()))
STILLA_EACH(set, (float x), Float, hn::Set(DFloat(), x))
STILLA_EACH(load_floats, (const float* x), Float, hn::LoadU(DFloat(), x + i * float_lanes))
STILLA_EACH(add, (const Float& a, const Float& b), Float, hn::Add(a.v[i], b.v[i]))
STILLA_EACH(sub, (const Float& a, const Float& b), Float, hn::Sub(a.v[i], b.v[i]))
STILLA_EACH(mul, (const Float& a, const Float& b), Float, hn::Mul(a.v[i], b.v[i]))
STILLA_EACH(negated, (const Float& a), Float, hn::Neg(a.v[i]))
STILLA_EACH(higher, (const Float& a, const Float& b), Float, hn::IfThenElse(hn::Gt(a.v[i], b.v[i]), a.v[i], b.v[i]))
STILLA_EACH(fused_multiply_add, (const Float& a, const Float& b, const Float& c), Float, hn::MulAdd(a.v[i], b.v[i], c.v[i]))
STILLA_EACH(exponential, (const Float& x), Float, exp_lanes(x.v[i]))
STILLA_EACH(to_floats, (const Int& x), Float, hn::ConvertTo(DFloat(), x.v[i]))
STILLA_EACH(set_s32, (std::int32_t x), Int, hn::Set(DInt32(), x))
STILLA_EACH(add_s32, (const Int& a, const Int& b), Int, hn::Add(a.v[i], b.v[i]))
STILLA_EACH(sub_s32, (const Int& a, const Int& b), Int, hn::Sub(a.v[i], b.v[i]))
STILLA_EACH(max_s32, (const Int& a, const Int& b), Int, hn::Max(a.v[i], b.v[i]))
STILLA_EACH(magnitude_bits, (const Float& x), Int, hn::BitCast(DInt32(), hn::Abs(x.v[i])))
STILLA_EACH(round_products, (const Float& x, const Float& scale), Int,
            hn::Sub(hn::BitCast(DInt32(), hn::MulAdd(x.v[i], scale.v[i], hn::Set(DFloat(), stilla::detail::round_magic))),
                    hn::BitCast(DInt32(), hn::Set(DFloat(), stilla::detail::round_magic))))
STILLA_EACH(reversed, (const Float& x), Float, hn::Reverse(DFloat(), x.v[row_vectors - 1 - i]))
#undef STILLA_EACH

HWY_INLINE void prefetch(std::uintptr_t address) { hwy::Prefetch(reinterpret_cast<const char*>(address)); }
template <class E>
HWY_INLINE Float load_stored(const E* x) {
  Float r;
  for (std::size_t i = 0; i < row_vectors; ++i) r.v[i] = load_weights(x + i * float_lanes);
  return r;
}
HWY_INLINE void store_floats(float* to, const Float& x) {
  for (std::size_t i = 0; i < row_vectors; ++i) hn::StoreU(x.v[i], DFloat(), to + i * float_lanes);
}
HWY_INLINE Float alternating(const float* two) {
  const hn::Repartition<std::uint64_t, DFloat> d;
  std::uint64_t both;
  std::memcpy(&both, two, sizeof both);
  Float r;
  for (std::size_t i = 0; i < row_vectors; ++i) r.v[i] = hn::BitCast(DFloat(), hn::Set(d, both));
  return r;
}
HWY_INLINE void store_alternating(float* to, const Float& a, const Float& b) {
  for (std::size_t i = 0; i < row_vectors; ++i) hn::StoreInterleaved2(a.v[i], b.v[i], DFloat(), to + 2 * i * float_lanes);
}
HWY_INLINE Float even_lanes_first(const Float& x) {
  Float r;
  for (std::size_t i = 0; i < row_vectors / 2; ++i) {
    r.v[i] = hn::ConcatEven(DFloat(), x.v[2 * i + 1], x.v[2 * i]);
    r.v[row_vectors / 2 + i] = hn::ConcatOdd(DFloat(), x.v[2 * i + 1], x.v[2 * i]);
  }
  return r;
}
HWY_INLINE float highest_lane(const Float& x) {
  VFloat highest = x.v[0];
  for (std::size_t i = 1; i < row_vectors; ++i) highest = hn::Max(highest, x.v[i]);
  return hn::GetLane(hn::MaxOfLanes(DFloat(), highest));
}
HWY_INLINE std::int32_t highest_lane(const Int& x) {
  VInt32 highest = x.v[0];
  for (std::size_t i = 1; i < row_vectors; ++i) highest = hn::Max(highest, x.v[i]);
  return hn::GetLane(hn::MaxOfLanes(DInt32(), highest));
}
HWY_INLINE float sum_of_lanes(const Float& x) { return fold16(x); }
HWY_INLINE std::int32_t sum_of_lanes(const Int& x) {
  VInt32 sum = x.v[0];
  for (std::size_t i = 1; i < row_vectors; ++i) sum = hn::Add(sum, x.v[i]);
  return hn::GetLane(hn::SumOfLanes(DInt32(), sum));
}

HWY_INLINE void unpack_codes(std::uint8_t* to, const std::uint8_t* from) {
  const hn::Full128<std::uint8_t> d;
  alignas(16) static constexpr std::uint8_t byte_of_lane[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
  alignas(16) static constexpr std::uint8_t bit_of_lane[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const auto bits = hn::LoadU(d, from + 64);
  for (std::size_t i = 0; i < 128; i += 16) {
    const auto two = hn::LoadU(d, from + i % 64);
    const auto low = i < 64 ? hn::And(two, hn::Set(d, 15)) : hn::ShiftRight<4>(two);
    const auto lane = hn::Add(hn::Load(d, byte_of_lane), hn::Set(d, static_cast<std::uint8_t>(i / 8)));
    const auto is_set = hn::TestBit(hn::TableLookupBytes(bits, lane), hn::Load(d, bit_of_lane));
    const auto high = hn::IfThenElse(is_set, hn::Set(d, 97 + 32), hn::Set(d, 97));
    hn::StoreU(hn::Add(hn::Add(low, low), high), d, to + i);
  }
}

struct RoundedRow {
  alignas(64) std::int16_t values[kv_chunk];

  HWY_INLINE void store(std::size_t at, const Int (&x)[4]) {
    const hn::Rebind<std::int16_t, DInt32> d;
    for (std::size_t n = 0; n < 4; ++n) {
      for (std::size_t i = 0; i < row_vectors; ++i) {
        hn::StoreU(hn::DemoteTo(d, x[n].v[i]), d, values + at + n * 16 + i * float_lanes);
      }
    }
  }
};

// Computes the products of integers in attention over caches of integers. `rows` are the queries or their attention weights, rounded,
// and `tiles` are codes of keys or values. A lane stands for a key or a dimension, and has four neighbouring codes. The codes of
// float_lanes / 2 lanes are widened to int16 and multiplied by four integers of a row. This gives two int32 for a lane, which are added
// at the end. One vector of lanes is computed at a time, so that the sums of 4 rows stay in registers. Integers of one byte take as
// long as integers of two bytes.
template <std::size_t HT, std::size_t TILES, std::size_t BYTES>
HWY_INLINE void integer_products(Int (&out)[HT][TILES], const RoundedRow* rows, const std::uint8_t* tiles, const std::uintptr_t (&ahead)[2],
                                 std::size_t tile_bytes, std::size_t length) {
  const DInt32 di;
  const DInt16 dw;
  const DCode dc;
  const hn::Repartition<std::int64_t, DInt16> dq;
  for (std::size_t t = 0; t < TILES; ++t) {
    for (std::size_t v = 0; v < row_vectors; ++v) {
      VInt32 sums[HT][2];
      for (std::size_t h = 0; h < HT; ++h) sums[h][0] = sums[h][1] = hn::Zero(di);
      const std::uint8_t* codes = tiles + t * tile_bytes + v * float_lanes * 4;
      for (std::size_t i = 0; i < length; i += 4) {
        if (t == 0 && v == 0) {
          for (const std::uintptr_t lines : ahead) prefetch(lines + i * 16);
        }
        const VInt16 lower = hn::PromoteTo(dw, hn::LoadU(dc, codes + i * 16));
        const VInt16 upper = hn::PromoteTo(dw, hn::LoadU(dc, codes + i * 16 + hn::MaxLanes(dc)));
        for (std::size_t h = 0; h < HT; ++h) {
          std::int64_t four;
          std::memcpy(&four, rows[h].values + i, sizeof four);
          const VInt16 x = hn::BitCast(dw, hn::Set(dq, four));
          sums[h][0] = add_pair_products(lower, x, sums[h][0]);
          sums[h][1] = add_pair_products(upper, x, sums[h][1]);
        }
      }
      for (std::size_t h = 0; h < HT; ++h) {
        const VInt32 even = hn::ConcatEven(di, sums[h][1], sums[h][0]);
        out[h][t].v[v] = hn::Add(even, hn::ConcatOdd(di, sums[h][1], sums[h][0]));
      }
    }
  }
}

#include <stilla/generic/attention_chunk-inl.hpp>

}}}  // namespace stilla::HWY_NAMESPACE::attention_kernels

HWY_AFTER_NAMESPACE();

namespace stilla { inline namespace STILLA_ABI {

template <class E>
struct AttentionChunk<Portable, E> {
  static constexpr TargetId implemented_on = Portable::id;
  static void run(const AttentionChunkArgs<E>& a) { HWY_NAMESPACE::attention_kernels::attention_chunk<E>(a); }
};

template <>
struct AttentionMerge<Portable> : AttentionMerge<Scalar> {
  static constexpr TargetId implemented_on = Portable::id;
  static void merge(AttentionParts into, AttentionParts part, std::size_t n, std::size_t D) {
    HWY_NAMESPACE::attention_kernels::merge(into, part, n, D);
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
