// SPDX-License-Identifier: Apache-2.0
//
// The part of the attention scores that comes from the bias b of the key projection: q . R(j) b for a query q at every position j,
// where R(j) is the rotation of RoPE. This part is computed by itself for caches that store keys without the bias (int8 and int5).
// include/stilla/contract/attention.hpp has the formula and the reason. This header has the tables, which are made once for a
// model.
//
// The table shows what this method and others cost for a head of 128 dimensions, which are 64 pairs. The products are those for one
// key and one query. Slow pairs are those that RoPE turns by less than 4 radians in 128 positions.
//
//     tables of cosines and sines                   cost
//
//     of all positions                              128 products, 512 bytes of table for each position
//                                                   (as much as the keys and values there)
//     of the 256 positions of a chunk, counted      128 products, tables of 128 KB
//     from the middle of the chunk
//     the same, but the slow pairs together are     48 products, 48 KB with Qwen2.5's base of 1e6
//     one polynomial
//     the line above, but one side of the middle    half of that; this is what is used here
//     is computed from the other side
//
// Cheaper methods are inexact. If the bias is taken out of the key only for some pairs (8 of 32) and stays in it for the pairs
// where it is small, the KL divergence of the logits is 0.001. With a fixed scale for each pair of a key's dimensions, it is 0.0005
// to 0.002. Both methods were simulated on a 0.5B model with queries of 16 bits, where taking out the whole bias gives 0.0001.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include <stilla/base/math.hpp>
#include <stilla/contract/attention.hpp>
#include <stilla/rope.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

class KeyBiasTables {
 public:
  KeyBiasTables() = default;
  // Makes the tables for a model whose RoPE has the angles `frequencies`.
  KeyBiasTables(const RopeFrequencies& frequencies, std::size_t head_dim, RopeLayout layout)
      : frequencies_(frequencies), head_dim_(head_dim), layout_(layout) {
    const std::size_t P = frequencies.pairs();
    for (std::size_t i = 0; i < P; ++i) {
      if (frequencies.radians(i) * half_chunk > slow_radians) fast_ = i + 1;
    }
    half_terms_ = fast_ + slow_terms / 2;
    table_.resize(kv_chunk * half_terms_);
    for (std::size_t i = 0; i < kv_chunk / 2; ++i) {
      const double r = static_cast<double>(i) + 0.5;
      const auto put = [&](std::size_t odd, std::size_t term, double value) {
        const std::size_t tile = (odd * (kv_chunk / 2) + i) / key_tile;
        table_[(tile * half_terms_ + term) * key_tile + i % key_tile] = static_cast<float>(value);
      };
      for (std::size_t pair = 0; pair < fast_; ++pair) {
        const SinCos angle = sin_cos(r * frequencies.radians(pair));
        put(0, pair, angle.cos);
        put(1, pair, angle.sin);
      }
      const double x = r / half_chunk;
      double previous = 1.0, current = x;  // Chebyshev's polynomials T_0(x) and T_1(x)
      for (std::size_t k = 0; k < slow_terms; ++k) {
        put(k % 2, fast_ + k / 2, previous);
        previous = std::exchange(current, std::fma(2.0 * x, current, -previous));
      }
    }
    slow_.resize((P - fast_) * slow_terms);
    for (std::size_t i = fast_; i < P; ++i) {
      const auto coefficients = chebyshev(frequencies.radians(i) * half_chunk);
      for (std::size_t k = 0; k < slow_terms; ++k) {
        slow_[(i - fast_) * slow_terms + k] = static_cast<float>(coefficients[k]);
      }
    }
  }

  bool empty() const { return half_terms_ == 0; }
  std::size_t head_dim() const { return head_dim_; }
  std::size_t padded_pairs() const { return (frequencies_.pairs() + 15) / 16 * 16; }

  // The number of positions for which there are tables.
  std::size_t positions() const { return empty() || padded_pairs() == 0 ? 0 : middles_.size() / (2 * padded_pairs()) * kv_chunk; }
  // Makes the tables for positions [0, positions). Call it before attention reaches these positions.
  void reserve(std::size_t positions) {
    const std::size_t padded = padded_pairs();
    for (std::size_t c = middles_.size() / (2 * padded); c * kv_chunk < positions; ++c) {
      middles_.resize(middles_.size() + 2 * padded);
      float* row = middles_.data() + middles_.size() - 2 * padded;
      frequencies_.table_row_at(row, row + padded, static_cast<double>(c * kv_chunk) + half_chunk - 0.5);
    }
  }

  // Splits the query or bias of one head into two rows of padded_pairs() floats: the first elements of all pairs that RoPE turns, and
  // the second elements.
  void take_pairs(float* out, const float* x) const {
    const std::size_t P = frequencies_.pairs(), padded = padded_pairs();
    std::fill(out, out + 2 * padded, 0.0f);
    if (layout_ == RopeLayout::half_split) {
      std::copy(x, x + P, out);
      std::copy(x + P, x + 2 * P, out + padded);
      return;
    }
    for (std::size_t i = 0; i < P; ++i) {
      out[i] = x[2 * i];
      out[padded + i] = x[2 * i + 1];
    }
  }
  // Returns what the bias adds to a score in the dimensions that RoPE does not rotate.
  float constant(const float* query, const float* bias) const {
    float sum = 0.0f;
    for (std::size_t d = 2 * frequencies_.pairs(); d < head_dim_; ++d) sum = std::fma(query[d], bias[d], sum);
    return sum;
  }

  // The arguments with which attention kernels add the key bias to the scores of chunk number `chunk` of the cache, except the arguments
  // that depend on the query or on the values of the bias.
  KeyBiasArgs args(std::size_t chunk) const {
    KeyBiasArgs a;
    a.half_terms = half_terms_;
    a.fast = fast_;
    a.pairs = frequencies_.pairs();
    a.padded_pairs = padded_pairs();
    a.table = table_.data();
    a.slow = slow_.data();
    a.middle_cos = middles_.data() + 2 * chunk * a.padded_pairs;
    a.middle_sin = a.middle_cos + a.padded_pairs;
    return a;
  }

 private:
  static constexpr double half_chunk = kv_chunk / 2.0;
  // A pair that RoPE turns by at most the angle z = slow_radians in half a chunk is slow: for it, 16 Chebyshev polynomials give
  // cosines and sines as exactly as a float. The terms that are cut off are below 2 (z / 2)^16 / 16! = 6e-9.
  static constexpr double slow_radians = 4.0;

  // Returns the coefficients c[k] of Chebyshev's polynomials T_k. For x in -1 .. 1, cos(z x) = sum over even k of c[k] T_k(x), and
  // sin(z x) = the same sum over odd k. They come from the discrete cosine transform at 32 nodes.
  static std::array<double, slow_terms> chebyshev(double z) {
    constexpr std::size_t nodes = 32;
    constexpr double pi = 3.14159265358979323846;
    std::array<double, slow_terms> c{};
    for (std::size_t m = 0; m < nodes; ++m) {
      const double node = pi * (static_cast<double>(m) + 0.5) / static_cast<double>(nodes);
      const double x = sin_cos(node).cos;
      const SinCos value = sin_cos(std::abs(z * x));
      for (std::size_t k = 0; k < slow_terms; ++k) {
        const double f = k % 2 == 0 ? value.cos : x < 0 ? -value.sin : value.sin;
        c[k] += f * sin_cos(node * static_cast<double>(k)).cos * (k == 0 ? 1.0 : 2.0) / static_cast<double>(nodes);
      }
    }
    return c;
  }

  RopeFrequencies frequencies_;
  std::size_t head_dim_ = 0;
  RopeLayout layout_ = RopeLayout::half_split;
  std::size_t fast_ = 0;
  std::size_t half_terms_ = 0;
  std::vector<float> table_;
  std::vector<float> slow_;
  std::vector<float> middles_;  // [chunks][2][padded pairs]
};

// The key bias of a layer, for attention(). `values` are the floats of the projection's bias, one for each
// key/value head and dimension.
struct KeyBias {
  const KeyBiasTables* tables = nullptr;
  const float* values = nullptr;

  explicit operator bool() const { return values != nullptr; }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
