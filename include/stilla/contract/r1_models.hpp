// SPDX-License-Identifier: Apache-2.0
//
// The shapes of DeepSeek-R1-Distill-Qwen, for benchmarks and for schedules that must fit these models. Code that runs a model does
// not read them: a model's dimensions are those of its file.
#pragma once

#include <array>
#include <cstddef>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct R1Model {
  const char* name;
  std::size_t hidden, ffn, n_heads, n_kv_heads, layers, vocabulary;

  static constexpr std::size_t head_dim = 128;
};
inline constexpr R1Model r1_models[] = {
    {"1.5B", 1536, 8960, 12, 2, 28, 151936},
    {"7B", 3584, 18944, 28, 4, 28, 152064},
    {"14B", 5120, 13824, 40, 8, 48, 152064},
};

// A matrix W[N, K] of a layer.
struct R1Matrix {
  const char* name;
  std::size_t N, K;
};
constexpr std::array<R1Matrix, 5> r1_matrices(const R1Model& model) {
  return {{{"query, output", model.n_heads * R1Model::head_dim, model.hidden},
           {"key, value", model.n_kv_heads * R1Model::head_dim, model.hidden},
           {"gate, up", model.ffn, model.hidden},
           {"down", model.hidden, model.ffn},
           {"head", model.vocabulary, model.hidden}}};
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
