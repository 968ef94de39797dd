// SPDX-License-Identifier: Apache-2.0
//
// Contract of the attention kernels. The cache of one KV head is cut into chunks of 256 positions at fixed places (position / 256).
// The attention of a query to a chunk does not depend on any other chunk. An fma chain is a sum whose products are added one by
// one, each by one fused multiply-add. D is the size of a head. With elements of float, f16 or bf16, query, key j and value j of
// the chunk give:
//
//     s[j]  = fma chain over d = 0 .. D-1 of  query[d] * key[j][d], from 0       the query is already multiplied by its scale, 1 / sqrt(D)
//     max   = highest s[j];   e[j] = exp_approximate(s[j] - max)                 a score that is NaN has weight 0
//     sum   = sum of e[j] in 16 lanes (base/math.hpp);   out[d] = fma chain over j of e[j] * value[j][d], from 0
//
// A model may have another scale than 1 / sqrt(D). With a soft cap, s[j] is replaced by cap * tanh(s[j] / cap), as soft_capped()
// computes it, before the maximum is taken. With a window, the first position that the query sees may lie inside the chunk. The
// positions of the chunk before it then have weight 0, but their keys and values must still be finite: 0 times an infinity or a NaN
// would make the result NaN.
//
// With integer elements (KvInt8, KvInt5) keys and values are codes c with one scale for each position. The query is rounded to 8
// bits and the weights e[j] * value_scale[j] to 16 bits, so that both products are exact integers in any order:
//
//     rounded(x, top): n[i] = round(x[i] * (top / highest)), unit = highest / top, highest = max |x[i]|; it gives n and unit
//     q, q_unit = rounded(query, 127);      s[j] = fma(sum over d of q[d] * c[j][d], q_unit * key_scale[j], bias[j])
//     w, w_unit = rounded(e[j] * value_scale[j], 32512);        out[d] = (sum over j of w[j] * c[j][d]) * w_unit
//
// An x whose `highest` is below 1e-30 is rounded to zeros with unit 0. An x with an infinity or a NaN is rounded to zeros with unit
// NaN.
//
// The caller has transformed keys, values and queries by hadamard() (contract/elementwise.hpp), which spreads large values over all
// dimensions. So one scale for a position is enough, and rounding a query to 8 bits loses no more than rounding a key: with an int8
// cache, the KL divergence of the logits from those with an f32 cache is 0.000176, and 0.000121 with queries of 16 bits (Qwen2.5
// 0.5B, bench/compare_caches.py). If the weights were rounded to 8 bits and not to 16, every position whose weight is below 1/254
// of the highest one would count as 0, however many such positions there are. The codes of KvInt8 are -127 .. 127. Those of KvInt5
// are the odd numbers -31 .. 31: 32 levels, none of them 0, so that all levels are used.
//
// bias[j] is what the bias of the key projection adds to the score; it is 0 without such a bias. The bias is not stored in the key:
// Qwen2's biases are hundreds of times larger than the rest of a key, so a key that contained them would be rounded far more
// coarsely. Instead the kernel adds bias[j] to the score, exactly.
//
// At position j, bias[j] is the sum of A[i] cos(j t[i]) + B[i] sin(j t[i]) over the pairs i that RoPE rotates. A and B depend on
// the query and the bias. t[i] is the angle by which pair i turns from one position to the next; it depends on the model. If
// positions are counted from the middle of the chunk, J = 256 chunk + 127.5, the sum needs tables for r = j - J only. One set of
// tables serves all chunks, layers and heads. Half of each table is enough, r > 0, since cosines are even and sines are odd:
//
//     A  = fma(q1, b1, q2 * b2)      A' = fma(A, cos(J t), B * sin(J t))         q1, q2: the query's pair, unrounded
//     B  = fma(q2, b1, -(q1 * b2))   B' = fma(B, cos(J t), -(A * sin(J t)))      b1, b2: the bias's pair
//     bias[J + r] = even[r] + odd[r],  bias[J - r] = even[r] - odd[r]            each an fma chain over its terms, from 0
//
// A pair is `fast` if it turns by more than 4 radians from the middle of a chunk to its end. (The fast pairs come first.) Each fast
// pair has a term of its own in both chains: A' times cos(r t) in `even`, B' times sin(r t) in `odd`. All other pairs together are
// one polynomial in r / 128 with the terms 0 .. 15 of Chebyshev's first kind. Its 8 even terms follow the fast pairs' terms of
// `even`, its 8 odd terms those of `odd`. The coefficient of term k is an fma chain over the other pairs of (k is even ? A' :
// B') * slow[pair][k], from 0. `slow` is a table of the model. It has, for each pair, the coefficients of its cosine (even k) and
// of its sine (odd k) in these terms. What the dimensions that RoPE does not rotate add to the score is then added to the
// coefficient of term 0.
//
// Partial results (max, sum and out of some chunks) are merged in the order of positions, whichever thread computed them. `part` is
// merged into the results of the positions before it:
//
//     m' = max(max, part.max);  a = exp(max - m');  b = exp(part.max - m')
//     sum = fma(b, part.sum, a * sum);   out[d] = fma(b, part.out[d], a * out[d]);   max = m'
//
// and out * (1 / sum) is the result. So prefill, decode, chunked prefill and any number of threads give the same bits. The
// computation of a chunk and the merging are those of Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018),
// with a fixed split.
//
// Layout of a chunk for one KV head. Float types, with elements of the type E:
//     keys    E [16 tiles][D][16]     key j is in tile j / 16, lane j % 16, so that the sum of a score stays in one lane
//     values  E [256][D]
// Integer types: kernels multiply four neighbouring codes at a time. These are the codes of four d for keys and of four positions
// for values. With KvInt8 a byte is the code plus 128.
//     key scales f32 [256] | value scales f32 [256]
//     keys    u8 [16 tiles][D / 4][16 keys][4]
//     values  u8 [D / 16 tiles][256 / 4][16 dimensions][4]
// KvInt5 has the same order of codes, but stores b = (code + 31) / 2, a number of 5 bits, for each code. Every 128 of these
// numbers are stored as 64 bytes with the lower four bits of b[i] and b[i + 64] side by side, and 16 bytes with the fifth bits:
// that of b[i] is bit i % 8 of byte i / 8:
//     u8 [256 * D / 128][64]  low(b[i]) | low(b[i + 64]) << 4         u8 [256 * D / 128][16]
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <stilla/base/math.hpp>
#include <stilla/base/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

inline constexpr std::size_t kv_chunk = 256;            // positions
inline constexpr std::size_t key_tile = 16;             // keys side by side
inline constexpr std::size_t max_head_dim = 256;
inline constexpr std::size_t attention_queries_at_once = 16;
inline constexpr float largest_query = 127.0f;
inline constexpr float largest_weight = 32512.0f;       // 127 * 256: the upper byte of a weight fits a signed byte
inline constexpr std::size_t slow_terms = 16;

// The integer types that the elements of a cache may have.
struct KvInt8 {
  static constexpr float largest_code = 127.0f;
  static constexpr std::size_t bits = 8;
};
struct KvInt5 {
  static constexpr float largest_code = 31.0f;
  static constexpr std::size_t bits = 5;
};
template <class E>
concept IntegerKv = requires { E::largest_code; };

// The offsets, in bytes, of the keys, the values and their scales in a chunk of one KV head.
template <class E>
struct KvLayout {
  static constexpr std::size_t keys = 0;
  static constexpr std::size_t values(std::size_t D) { return kv_chunk * D * sizeof(E); }
  static constexpr std::size_t bytes(std::size_t D) { return 2 * values(D); }
};
template <IntegerKv E>
struct KvLayout<E> {
  static constexpr std::size_t key_scales = 0;
  static constexpr std::size_t value_scales = kv_chunk * sizeof(float);
  static constexpr std::size_t keys = 2 * kv_chunk * sizeof(float);
  static constexpr std::size_t code_bytes(std::size_t count) { return count * E::bits / 8; }  // bytes of `count` codes, a multiple of 128
  static constexpr std::size_t values(std::size_t D) { return keys + code_bytes(kv_chunk * D); }
  static constexpr std::size_t bytes(std::size_t D) { return values(D) + code_bytes(kv_chunk * D); }
};

// The index of dimension d of position j among the codes of a chunk's keys (key_place) or values (value_place).
constexpr std::size_t key_place(std::size_t D, std::size_t j, std::size_t d) {
  return j / key_tile * key_tile * D + d / 4 * 4 * key_tile + j % key_tile * 4 + d % 4;
}
constexpr std::size_t value_place(std::size_t j, std::size_t d) { return d / 16 * 16 * kv_chunk + j / 4 * 64 + d % 16 * 4 + j % 4; }

template <IntegerKv E>
int code_at(const std::byte* codes, std::size_t place) {
  if constexpr (E::bits == 8) return std::to_integer<int>(codes[place]) - 128;
  const std::byte* group = codes + place / 128 * 80;
  const std::size_t i = place % 128;
  const int low = std::to_integer<int>(group[i % 64]) >> (i < 64 ? 0 : 4) & 15;
  const int high = std::to_integer<int>(group[64 + i / 8]) >> (i % 8) & 1;
  return 2 * (low | high << 4) - 31;
}
template <IntegerKv E>
void set_code(std::byte* codes, std::size_t place, int code) {
  if constexpr (E::bits == 8) {
    codes[place] = static_cast<std::byte>(code + 128);
  } else {
    std::byte* group = codes + place / 128 * 80;
    const std::size_t i = place % 128;
    const int level = (code + 31) / 2;
    std::byte& low = group[i % 64];
    std::byte& high = group[64 + i / 8];
    low = i < 64 ? (low & std::byte{0xf0}) | static_cast<std::byte>(level & 15)
                 : (low & std::byte{15}) | static_cast<std::byte>((level & 15) << 4);
    high = (high & ~(std::byte{1} << (i % 8))) | static_cast<std::byte>((level >> 4) << (i % 8));
  }
}
template <IntegerKv E>
int key_code(const std::byte* chunk, std::size_t D, std::size_t j, std::size_t d) {
  return code_at<E>(chunk + KvLayout<E>::keys, key_place(D, j, d));
}
template <IntegerKv E>
int value_code(const std::byte* chunk, std::size_t D, std::size_t j, std::size_t d) {
  return code_at<E>(chunk + KvLayout<E>::values(D), value_place(j, d));
}
template <IntegerKv E>
void set_key_code(std::byte* chunk, std::size_t D, std::size_t j, std::size_t d, int code) {
  set_code<E>(chunk + KvLayout<E>::keys, key_place(D, j, d), code);
}
template <IntegerKv E>
void set_value_code(std::byte* chunk, std::size_t D, std::size_t j, std::size_t d, int code) {
  set_code<E>(chunk + KvLayout<E>::values(D), value_place(j, d), code);
}

// What the kernels for caches of integers need to add the bias of the key projection to the scores. What is added is made of two
// sums, `even` and `odd` in the formulas at the top of this file. Each has half_terms terms; half_terms is 0 if there is no bias.
// Arrays of RoPE's pairs are padded to a multiple of 16.
struct KeyBiasArgs {
  std::size_t half_terms = 0;  // terms of `even`, and of `odd`: fast + slow_terms / 2
  std::size_t fast = 0;  // how many pairs are fast; they come first, and each has a term of its own in both sums
  std::size_t pairs = 0;
  std::size_t padded_pairs = 0;
  const float* table = nullptr;  // [even, odd][8 tiles][half_terms][16]
  const float* slow = nullptr;  // [pairs - fast][16]
  const float* middle_cos = nullptr;  // [padded_pairs], cos(J t) for the middle J of this chunk
  const float* middle_sin = nullptr;
  const float* bias = nullptr;  // [2][padded_pairs]: first and second elements of the pairs
  const float* queries = nullptr;  // [n_queries][2][padded_pairs]
  const float* constants = nullptr;  // [n_queries], what the dimensions that do not rotate add to the score
};

// The arguments of the kernel that computes the attention of some queries, which share a KV head, to one chunk.
template <class E>
struct AttentionChunkArgs {
  const float* queries = nullptr;  // [n_queries][D], already scaled
  std::size_t n_queries = 0;  // 1 .. attention_queries_at_once
  std::size_t head_dim = 0;  // D, a multiple of 16, at most max_head_dim
  const std::byte* chunk = nullptr;
  const std::byte* next = nullptr;  // the chunk that will be read next, for prefetching; any readable chunk
  // The kernel's queries see only the first `count` positions of the chunk, 1 .. kv_chunk. But the memory of all 256 positions may be read.
  std::size_t count = 0;
  std::size_t begin = 0;  // the first position that the queries see, below count
  float soft_cap = 0.0f;  // 0: none
  KeyBiasArgs key_bias;
  float* max = nullptr;  // [n_queries]
  float* sum = nullptr;  // [n_queries]
  float* out = nullptr;  // [n_queries][D]
};

// The soft cap of a score: cap * tanh(score / cap). Every target uses this function for its scores. A NaN stays a NaN.
inline float soft_capped(float score, float cap) {
  const float x = score / cap;
  const float e = exp_approximate(-2.0f * std::fabs(x));
  const float tanh = (1.0f - e) / (1.0f + e);
  return std::isnan(x) ? score : cap * (x < 0.0f ? -tanh : tanh);
}

namespace detail {

// Applies the options of attention to the scores of one query with a chunk: caps them if there is a soft cap, and sets those of the
// positions before `begin`, which the query does not see, to -infinity.
template <class E>
void limit_scores(float* scores, const AttentionChunkArgs<E>& a) {
  if (a.soft_cap != 0.0f) {
    for (std::size_t j = 0; j < a.count; ++j) scores[j] = soft_capped(scores[j], a.soft_cap);
  }
  for (std::size_t j = 0; j < a.begin; ++j) scores[j] = -std::numeric_limits<float>::infinity();
}

}  // namespace detail

// The kernel that computes the attention of some queries to one chunk: run(args), where args is an AttentionChunkArgs<E>.
template <class Target, class E>
struct AttentionChunk : AttentionChunk<typename Target::Fallback, E> {};

// The partial results of attention (the highest score, the sum of the weights, and the weighted values, not yet divided by this
// sum) of n query heads, at most attention_queries_at_once, over some of the positions.
struct AttentionParts {
  float* max;  // [n]
  float* sum;  // [n]
  float* out;  // [n][D]
};

// The kernels that merge partial results of attention: merge(into, part, n, D) merges the results of n heads in `part` into those
// in `into`, which belong to the positions before those of `part`. finish(out, sum, D) computes out[d] *= 1 / sum for one head.
template <class Target>
struct AttentionMerge : AttentionMerge<typename Target::Fallback> {};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
