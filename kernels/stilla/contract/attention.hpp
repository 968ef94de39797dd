// SPDX-License-Identifier: Apache-2.0
//
// Contract of the attention kernels. One KV head's cache is cut into chunks of 256 positions at fixed places (position / 256),
// and attention of a query to a chunk is independent of every other chunk:
//
//     s[j]  = fma chain over d = 0 .. D-1 of  query[d] * key[j][d], from 0       query already times 1 / sqrt(D)
//     max   = highest s[j];   e[j] = exp_approximate(s[j] - max)
//     sum   = canonical 16-lane sum of e[j];   out[d] = fma chain over j of e[j] * value[j][d], from 0
//
// Partial results are merged in the order of positions, whoever computed them:
//
//     m' = highest of both;  a = exp(max - m');  b = exp(part.max - m')
//     sum = fma(b, part.sum, a * sum);   out[d] = fma(b, part.out[d], a * out[d]);   max = m'
//
// and out * (1 / sum) is the result. So prefill, decode, chunked prefill and any number of threads give the same bits. Both
// steps are those of Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), with a fixed split.
//
// Layout of a chunk for one KV head (E is float, f16 or bf16):
//     keys    E [16 tiles][D][16]     key j at tile j / 16, lane j % 16: 16 keys in lanes, no sum across lanes
//     values  E [256][D]
#pragma once

#include <cstddef>

#include <stilla/target.hpp>

namespace stilla::inline STILLA_ABI {

inline constexpr std::size_t kv_chunk = 256;            // positions
inline constexpr std::size_t key_tile = 16;             // keys side by side
inline constexpr std::size_t max_head_dim = 256;
inline constexpr std::size_t attention_heads_at_once = 4;

// The attention of up to 4 query heads that share a KV head to one chunk.
template <class E>
struct AttentionChunkArgs {
  const float* queries = nullptr;  // [heads][D], scaled
  std::size_t heads = 0;           // 1 .. attention_heads_at_once
  std::size_t head_dim = 0;        // D, a multiple of 16, at most max_head_dim
  const E* keys = nullptr;
  const E* values = nullptr;
  std::size_t count = 0;           // positions that the query sees, 1 .. kv_chunk; the memory of all 256 is readable
  float* max = nullptr;            // [heads]
  float* sum = nullptr;            // [heads]
  float* out = nullptr;            // [heads][D]
};

// run(args)
template <class Target, class E>
struct AttentionChunk : AttentionChunk<typename Target::Fallback, E> {};

// A running or partial result for one head.
struct AttentionPart {
  float& max;
  float& sum;
  float* out;
};

// merge(into, part, D);  finish(out, sum, D): out[d] *= 1 / sum
template <class Target>
struct AttentionMerge : AttentionMerge<typename Target::Fallback> {};

}  // namespace stilla::STILLA_ABI
