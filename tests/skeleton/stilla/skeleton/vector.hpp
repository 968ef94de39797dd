// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary of generic/vocabulary-inl.hpp for the skeleton target, in plain C++ with 4 lanes.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <stilla/base/types.hpp>
#include <stilla/region.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace skeleton {

inline constexpr std::size_t lanes = 4;
inline constexpr int largest_code = 127;  // products are of signed bytes, as those of NEON's sdot

struct Int {
  std::array<std::int32_t, lanes> v;
};
struct Float {
  std::array<float, lanes> v;
};

struct Budget {
  static constexpr std::size_t few_tokens = 2;
  static constexpr std::size_t few_panels = 1, few_panels_tokens = 1;
  static constexpr std::size_t few_ahead(std::size_t) { return 256; }
  static constexpr std::size_t fewest_to_sweep = 16;
  static constexpr std::size_t set_panels = 3, sweep_rows = 8;
  static constexpr std::size_t sweep_tokens(std::size_t) { return 4; }
  static constexpr std::size_t minimum_vectors = 1;
  static constexpr std::size_t chunk_k = 256;
  static constexpr std::size_t sets = 2;
};

template <class To, class From, class F>
STILLA_INLINE To each_lane(const From& x, const F& f) {
  To r;
  for (std::size_t i = 0; i < lanes; ++i) r.v[i] = f(x.v[i]);
  return r;
}
template <class To, class From, class F>
STILLA_INLINE To each_lane(const From& a, const From& b, const F& f) {
  To r;
  for (std::size_t i = 0; i < lanes; ++i) r.v[i] = f(a.v[i], b.v[i]);
  return r;
}
using Bytes = std::array<std::uint8_t, 4 * lanes>;
using Signed = std::array<std::int8_t, 4 * lanes>;
using Halves = std::array<std::uint16_t, 2 * lanes>;
template <class To>
STILLA_INLINE To parts(const Int& x) {
  return std::bit_cast<To>(x);
}
template <class From>
STILLA_INLINE Int whole(const From& x) {
  return std::bit_cast<Int>(x);
}
STILLA_INLINE std::int32_t wrapped(std::uint32_t x) { return static_cast<std::int32_t>(x); }

STILLA_INLINE void loads_stay() {}
template <class Sums>
STILLA_INLINE void sums_stay(Sums&) {}
STILLA_INLINE Int load(const void* from) {
  Int r;
  std::memcpy(&r, from, sizeof r);
  return r;
}
STILLA_INLINE void store(void* to, const Int& x) { std::memcpy(to, &x, sizeof x); }
STILLA_INLINE void load_columns(const std::byte* rows, std::size_t stride, Int (&column)[4]) {
  for (std::size_t r = 0; r < lanes; ++r) {
    for (std::size_t i = 0; i < 4; ++i) column[i].v[r] = load_as<std::int32_t>(rows + r * stride + 4 * i);
  }
}
STILLA_INLINE void store_low_bytes(std::byte* to, const Int& x) {
  for (std::size_t r = 0; r < lanes; ++r) to[r] = static_cast<std::byte>(x.v[r]);
}
STILLA_INLINE void store_low_halves(std::byte* to, const Int& x) {
  for (std::size_t r = 0; r < lanes; ++r) store_as(to + 2 * r, static_cast<std::uint16_t>(x.v[r]));
}
STILLA_INLINE Int set_s32(std::int32_t x) { return {{x, x, x, x}}; }
STILLA_INLINE Int set_u8(int x) {
  Bytes b;
  b.fill(static_cast<std::uint8_t>(x));
  return whole(b);
}
STILLA_INLINE Int broadcast4(const void* from) { return set_s32(load_as<std::int32_t>(static_cast<const std::byte*>(from))); }
STILLA_INLINE Int first_of_pairs(const std::int32_t* p) { return {{p[0], p[2], p[4], p[6]}}; }
STILLA_INLINE Int second_of_pairs(const std::int32_t* p) { return {{p[1], p[3], p[5], p[7]}}; }
STILLA_INLINE Int load_u8_as_s32(const std::byte* from) {
  Int x;
  for (std::size_t i = 0; i < lanes; ++i) x.v[i] = std::to_integer<std::int32_t>(from[i]);
  return x;
}
STILLA_INLINE Int load_s8_as_s16(const std::byte* from) {
  Halves h;
  for (std::size_t i = 0; i < h.size(); ++i) h[i] = static_cast<std::uint16_t>(static_cast<std::int8_t>(from[i]));
  return whole(h);
}
STILLA_INLINE Int bit_and(const Int& a, const Int& b) {
  return each_lane<Int>(a, b, [](auto x, auto y) { return x & y; });
}
STILLA_INLINE Int bit_or(const Int& a, const Int& b) {
  return each_lane<Int>(a, b, [](auto x, auto y) { return x | y; });
}
STILLA_INLINE Int bit_xor(const Int& a, const Int& b) {
  return each_lane<Int>(a, b, [](auto x, auto y) { return x ^ y; });
}
template <int count>
STILLA_INLINE Int shift_left(const Int& x) {
  Halves h = parts<Halves>(x);
  for (auto& half : h) half = static_cast<std::uint16_t>(half << count);
  return whole(h);
}
template <int count>
STILLA_INLINE Int shift_right(const Int& x) {
  Halves h = parts<Halves>(x);
  for (auto& half : h) half = static_cast<std::uint16_t>(half >> count);
  return whole(h);
}
STILLA_INLINE Int high_nibbles(const Int& x) { return bit_and(shift_right<4>(x), set_u8(15)); }
STILLA_INLINE Int add_s32(const Int& a, const Int& b) {
  return each_lane<Int>(a, b, [](auto x, auto y) { return wrapped(std::uint32_t(x) + std::uint32_t(y)); });
}
STILLA_INLINE Int sub_s32(const Int& a, const Int& b) {
  return each_lane<Int>(a, b, [](auto x, auto y) { return wrapped(std::uint32_t(x) - std::uint32_t(y)); });
}
STILLA_INLINE Int shift_left_s32(const Int& a, int count) {
  return each_lane<Int>(a, [=](auto x) { return wrapped(std::uint32_t(x) << count); });
}
template <int count>
STILLA_INLINE Int shift_left_s32(const Int& a) {
  return shift_left_s32(a, count);
}
template <int count>
STILLA_INLINE Int shift_right_s32(const Int& a) {
  return each_lane<Int>(a, [](auto x) { return x >> count; });
}
STILLA_INLINE Int table_of(const std::int8_t* sixteen) { return load(sixteen); }
STILLA_INLINE Int look_up(const Int& table, const Int& index) {
  const Bytes t = parts<Bytes>(table);
  Bytes b = parts<Bytes>(index);
  for (auto& byte : b) byte = t[byte & 15u];
  return whole(b);
}
template <class F>
STILLA_INLINE Int dot_codes(Int acc, const Int& codes, const Int& x) {
  const Signed c = parts<Signed>(codes), s = parts<Signed>(x);
  for (std::size_t i = 0; i < c.size(); ++i) acc.v[i / 4] += c[i] * s[i];
  return acc;
}
template <class F>
struct NarrowSums {
  static constexpr std::size_t quads = 1;
};

struct Quads {
  Int sixteen;
};
STILLA_INLINE Int quad(Quads& held, const std::int8_t* at, std::size_t i) {
  if (i == 0) held.sixteen = load(at);
  return set_s32(held.sixteen.v[i]);
}
template <class F>
STILLA_INLINE Int dot_codes_at(const Int& acc, const Int& codes, Quads& held, const std::int8_t* at, std::size_t i) {
  return dot_codes<F>(acc, codes, quad(held, at, i));
}
using PairSums = Int;
STILLA_INLINE PairSums no_pairs() { return set_s32(0); }
STILLA_INLINE Int added(const PairSums& sums) { return sums; }
STILLA_INLINE PairSums dot_pairs(PairSums acc, const Int& a, const Int& b) {
  const Halves x = parts<Halves>(a), y = parts<Halves>(b);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto product = static_cast<std::int16_t>(x[i]) * static_cast<std::int16_t>(y[i]);
    acc.v[i / 2] = wrapped(std::uint32_t(acc.v[i / 2]) + std::uint32_t(product));
  }
  return acc;
}
STILLA_INLINE Int keep(const Int& x) { return x; }

STILLA_INLINE Float set(float x) { return {{x, x, x, x}}; }
STILLA_INLINE Float zero() { return set(0.0f); }
STILLA_INLINE Float load_floats(const float* from) { return {{from[0], from[1], from[2], from[3]}}; }
STILLA_INLINE void store_floats(float* to, const Float& x) { std::memcpy(to, x.v.data(), sizeof x.v); }
STILLA_INLINE Float add(const Float& a, const Float& b) {
  return each_lane<Float>(a, b, [](auto x, auto y) { return x + y; });
}
STILLA_INLINE Float sub(const Float& a, const Float& b) {
  return each_lane<Float>(a, b, [](auto x, auto y) { return x - y; });
}
STILLA_INLINE Float mul(const Float& a, const Float& b) {
  return each_lane<Float>(a, b, [](auto x, auto y) { return x * y; });
}
STILLA_INLINE Float fused_multiply_add(const Float& a, const Float& b, const Float& c) {
  Float r;
  for (std::size_t i = 0; i < lanes; ++i) r.v[i] = std::fma(a.v[i], b.v[i], c.v[i]);
  return r;
}
STILLA_INLINE Float to_floats(const Int& a) {
  return each_lane<Float>(a, [](auto x) { return static_cast<float>(x); });
}
STILLA_INLINE Float as_floats(const Int& a) { return std::bit_cast<Float>(a); }
STILLA_INLINE Int as_bits(const Float& a) { return std::bit_cast<Int>(a); }
STILLA_INLINE Float load_f16(const std::byte* from) {
  Float r;
  for (std::size_t i = 0; i < lanes; ++i) r.v[i] = to_float(load_as<f16>(from + 2 * i));
  return r;
}
STILLA_INLINE Float load_bf16(const std::byte* from) {
  Float r;
  for (std::size_t i = 0; i < lanes; ++i) r.v[i] = to_float(load_as<bf16>(from + 2 * i));
  return r;
}
STILLA_INLINE Float load_s8(const std::byte* from) {
  Float r;
  for (std::size_t i = 0; i < lanes; ++i) r.v[i] = static_cast<float>(static_cast<std::int8_t>(from[i]));
  return r;
}
inline constexpr std::size_t copies = lanes;
STILLA_INLINE Int load_copies(const void* at) { return load(at); }
STILLA_INLINE void store_copies(std::int32_t* to, const Int& x) {
  for (std::size_t i = 0; i < lanes; ++i) store(to + i * lanes, set_s32(x.v[i]));
}
STILLA_INLINE void store_copies(float* to, const Float& x) {
  for (std::size_t i = 0; i < lanes; ++i) store_floats(to + i * lanes, set(x.v[i]));
}
STILLA_INLINE bool any_nan(const Float& a) {
  bool any = false;
  for (const float x : a.v) any = any || x != x;
  return any;
}
STILLA_INLINE bool any_zero(const Float& a) {
  bool any = false;
  for (const float x : a.v) any = any || x == 0.0f;
  return any;
}
STILLA_INLINE Int where_zero(const Float& x, const Int& yes, const Int& no) {
  Int r;
  for (std::size_t i = 0; i < lanes; ++i) r.v[i] = x.v[i] == 0.0f ? yes.v[i] : no.v[i];
  return r;
}
STILLA_INLINE void prefetch_near(const void*) {}
STILLA_INLINE void prefetch_far(const void*) {}

}}}  // namespace stilla::skeleton
