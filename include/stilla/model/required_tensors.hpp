// SPDX-License-Identifier: Apache-2.0
//
// Whether a source has every tensor that a forward pass of its model reads, in its shape: told from the header alone, before any
// weight is read. Model::load() finds the same as it goes. What a source has too much is refused by read_model_config().
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <stilla/base/error.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/model/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The first that is missing or has another shape, by name. With E = hidden, Q = query heads * head size, KV = KV heads * head size,
// F = ffn, as a file lists dimensions (columns first):
//
//   token_embd, output [E, vocabulary]    output_norm [E]         (output is optional: the embedding serves as head)
//   blk.N.attn_q [E, Q]                   attn_k, attn_v [E, KV]  attn_output [Q, E]
//   blk.N.ffn_gate, ffn_up [E, F]         ffn_down [F, E]         attn_norm, ffn_norm [E]
//   blk.N.attn_{q,k,v}.bias, where the architecture has them      attn_{q,k}_norm [head size], likewise
inline Status check_required_tensors(const ModelSource& source, const ModelConfig& c) {
  Status so_far = success();
  const auto vector = [&](const std::string& name, std::size_t size) {
    if (!so_far) return;
    if (const auto found = source.require_tensor(name, {size}); !found) so_far = found.error();
  };
  const auto matrix = [&](const std::string& name, std::size_t rows, std::size_t cols) {
    if (!so_far) return;
    if (const auto found = source.require_tensor(name, {cols, rows}); !found) so_far = found.error();
  };
  matrix("token_embd.weight", c.vocabulary, c.hidden);
  const std::size_t query_width = c.n_heads * c.head_dim, kv_width = c.n_kv_heads * c.head_dim;
  for (std::size_t l = 0; so_far && l < c.n_layers; ++l) {
    const auto name = [&](std::string_view part) { return concat("blk.", l, ".", part); };
    const auto linear = [&](std::string_view part, std::size_t rows, std::size_t cols, bool needs_bias = false) {
      matrix(name(concat(part, ".weight")), rows, cols);
      const std::string bias = name(concat(part, ".bias"));
      if (needs_bias || source.find_tensor(bias) != nullptr) vector(bias, rows);
    };
    vector(name("attn_norm.weight"), c.hidden);
    linear("attn_q", query_width, c.hidden, c.has_qkv_bias);
    linear("attn_k", kv_width, c.hidden, c.has_qkv_bias);
    linear("attn_v", kv_width, c.hidden, c.has_qkv_bias);
    if (c.has_qk_norm) {
      vector(name("attn_q_norm.weight"), c.head_dim);
      vector(name("attn_k_norm.weight"), c.head_dim);
    }
    linear("attn_output", c.hidden, query_width);
    vector(name("ffn_norm.weight"), c.hidden);
    linear("ffn_gate", c.ffn, c.hidden);
    linear("ffn_up", c.ffn, c.hidden);
    linear("ffn_down", c.hidden, c.ffn);
  }
  vector("output_norm.weight", c.hidden);
  if (source.find_tensor("output.weight") != nullptr) matrix("output.weight", c.vocabulary, c.hidden);
  if (source.find_tensor("rope_freqs.weight") != nullptr) vector("rope_freqs.weight", c.rotary_dim / 2);
  return so_far;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
