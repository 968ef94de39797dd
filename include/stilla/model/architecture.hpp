// SPDX-License-Identifier: Apache-2.0
//
// The supported architectures, how they differ, and what a file of each may contain. A file that contains more is not the model
// that would be computed. A tensor that the architecture does not have, or a key that changes what is computed, is therefore an
// error that names it (config.hpp looks for both).
//
// Each line of this table has an architecture, the models that have it, and what is special about it:
//
//     qwen2    Qwen2, Qwen2.5, DeepSeek-R1-Distill-Qwen            Q, K and V have biases
//     qwen3    Qwen3 of dense sizes, DeepSeek-R1-0528-Qwen3-8B     queries and keys are normalised head by head before RoPE
//     llama    Llama 2 and 3, SmolLM2, Mistral 7B, DeepSeek-R1-Distill-Llama
//
// All use the same forward pass (forward.hpp). The names of architectures, tensors and keys are those of GGUF.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <stilla/base/error.hpp>
#include <stilla/rope.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Architecture {
  std::string_view name;
  RopeLayout rope_layout;
  bool needs_qkv_bias;   // true: Q, K and V must have biases; false: they may have biases
  bool has_qk_norm;      // attn_q_norm and attn_k_norm, one gain for each dimension of a head
  bool may_output_bias;  // the attention's output may have a bias
  bool may_ffn_bias;     // gate, up and down may have biases
};

inline constexpr std::array architectures = {
    Architecture{"qwen2", RopeLayout::half_split, true, false, false, false},
    Architecture{"qwen3", RopeLayout::half_split, false, true, true, false},
    Architecture{"llama", RopeLayout::interleaved, false, false, true, true},
};

// The names of the supported architectures as text: "qwen2, qwen3, llama".
inline std::string architectures_text() {
  std::string out;
  for (const Architecture& known : architectures) out += concat(out.empty() ? "" : ", ", known.name);
  return out;
}

// The architecture with this name; null if the name is unknown.
constexpr const Architecture* find_architecture(std::string_view name) {
  for (const Architecture& known : architectures) {
    if (known.name == name) return &known;
  }
  return nullptr;
}

// What kind of network an unsupported architecture is, for messages. Empty if Stilla does not know its name.
inline std::string_view unsupported_architecture_text(std::string_view name) {
  struct Other {
    std::string_view name, what;
  };
  constexpr std::string_view experts = "a mixture of experts";
  constexpr std::string_view encoder = "an encoder, which makes embeddings and no text";
  constexpr std::string_view recurrent = "a recurrent network without attention in every layer";
  // clang-format off
  constexpr Other others[] = {
      {"deepseek2", "a mixture of experts: DeepSeek V2, V3 and R1 itself, whose distills are of the supported architectures"},
      {"deepseek", experts}, {"mixtral", experts}, {"gpt-oss", experts}, {"llama4", experts}, {"grok", experts},
      {"dbrx", experts}, {"arctic", experts}, {"minimax-m2", experts}, {"dots1", experts}, {"qwen3next", experts},
      {"smallthinker", experts}, {"jamba", experts},
      {"gemma", "Google's Gemma"}, {"gemma2", "Google's Gemma 2"}, {"gemma3", "Google's Gemma 3"}, {"gemma3n", "Google's Gemma 3n"},
      {"gemma4", "Google's Gemma 4"}, {"phi2", "Microsoft's Phi 2"}, {"phi3", "Microsoft's Phi 3 and 4"}, {"falcon", "TII's Falcon"},
      {"gpt2", "OpenAI's GPT-2"}, {"gptj", "EleutherAI's GPT-J"}, {"gptneox", "EleutherAI's GPT-NeoX"}, {"mpt", "MosaicML's MPT"},
      {"bloom", "BigScience's BLOOM"}, {"starcoder", "BigCode's StarCoder"}, {"starcoder2", "BigCode's StarCoder 2"},
      {"stablelm", "Stability AI's StableLM"}, {"baichuan", "Baichuan"}, {"internlm2", "InternLM 2"}, {"chatglm", "ChatGLM and GLM-4"},
      {"glm4", "GLM-4"}, {"command-r", "Cohere's Command R"}, {"cohere2", "Cohere's Command R7B and A"}, {"granite", "IBM's Granite"},
      {"minicpm", "MiniCPM"}, {"minicpm3", "MiniCPM 3"}, {"olmo", "Ai2's OLMo"}, {"olmo2", "Ai2's OLMo 2"}, {"smollm3", "SmolLM3"},
      {"mistral3", "Ministral 3"}, {"nemotron", "NVIDIA's Nemotron"}, {"deci", "NVIDIA's pruned Llama, whose layers differ"},
      {"exaone", "LG's EXAONE"}, {"exaone4", "LG's EXAONE 4"}, {"hunyuan-dense", "Tencent's Hunyuan"}, {"seed_oss", "ByteDance's Seed"},
      {"qwen", "the first Qwen"}, {"qwen35", "Qwen3.5"}, {"qwen2vl", "Qwen2-VL, a vision model"},
      {"qwen3vl", "Qwen3-VL, a vision model"}, {"clip", "a vision tower, a part of another model"},
      {"mamba", recurrent}, {"mamba2", recurrent}, {"rwkv6", recurrent}, {"rwkv7", recurrent}, {"lfm2", "LFM 2, with convolutions"},
      {"bert", encoder}, {"nomic-bert", encoder}, {"jina-bert-v2", encoder}, {"modern-bert", encoder},
      {"t5", "T5, an encoder and a decoder"}, {"t5encoder", encoder}};
  // clang-format on
  for (const Other& other : others) {
    if (other.name == name) return other.what;
  }
  return name.ends_with("moe") ? experts : std::string_view();
}

namespace detail {

template <std::size_t n>
constexpr bool is_one_of(std::string_view name, const std::string_view (&names)[n]) {
  for (const std::string_view other : names) {
    if (name == other) return true;
  }
  return false;
}

}  // namespace detail

// The parts of a tensor's name such as "blk.3.attn_q.weight": layer 3, and "attn_q.weight". The layer is a number without leading
// zeros and with at most 7 digits.
struct LayerTensor {
  std::size_t layer = 0;
  std::string_view part;  // "attn_q.weight"
};
inline std::optional<LayerTensor> layer_tensor(std::string_view name) {
  constexpr std::string_view prefix = "blk.";
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  LayerTensor out;
  std::size_t digits = 0;
  for (; digits < name.size() && name[digits] >= '0' && name[digits] <= '9' && digits < 7; ++digits) {
    out.layer = 10 * out.layer + static_cast<std::size_t>(name[digits] - '0');
  }
  if (digits == 0 || digits == name.size() || name[digits] != '.') return std::nullopt;
  if (digits > 1 && name[0] == '0') return std::nullopt;
  out.part = name.substr(digits + 1);
  return out;
}

// Whether a layer of the architecture may have a tensor called "blk.N.PART", where PART is `part`, for example "attn_q.weight".
constexpr bool has_layer_part(const Architecture& architecture, std::string_view part) {
  constexpr std::string_view always[] = {"attn_norm.weight",   "attn_q.weight",   "attn_k.weight",   "attn_v.weight",
                                         "attn_output.weight", "ffn_norm.weight", "ffn_gate.weight", "ffn_up.weight",
                                         "ffn_down.weight",    "attn_q.bias",     "attn_k.bias",     "attn_v.bias"};
  constexpr std::string_view norms[] = {"attn_q_norm.weight", "attn_k_norm.weight"};
  constexpr std::string_view ffn_biases[] = {"ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"};
  return detail::is_one_of(part, always) || (architecture.has_qk_norm && detail::is_one_of(part, norms)) ||
         (architecture.may_output_bias && part == "attn_output.bias") || (architecture.may_ffn_bias && detail::is_one_of(part, ffn_biases));
}

// Whether a model of a supported architecture may have a tensor with this name outside its layers. (One of these tensors,
// rope_freqs.weight, has the numbers by which the angles of RoPE are divided.)
constexpr bool has_model_tensor(std::string_view name) {
  constexpr std::string_view known[] = {"token_embd.weight", "output_norm.weight", "output.weight", "rope_freqs.weight"};
  return detail::is_one_of(name, known);
}

// A key that changes what is computed unless it has its neutral value. `suffix` is the key without the name of the architecture.
struct NeutralKey {
  std::string_view suffix;
  double neutral;          // of a boolean, 0 for false and 1 for true
  std::string_view effect; // what another value does, for example "scales the logits"
};

inline constexpr NeutralKey neutral_keys[] = {
    {"expert_count", 0, "makes it a mixture of experts"},
    {"expert_used_count", 0, "makes it a mixture of experts"},
    {"expert_shared_count", 0, "makes it a mixture of experts"},
    {"logit_scale", 1, "scales the logits"},
    {"residual_scale", 1, "scales what a layer adds"},
    {"embedding_scale", 1, "scales the embedding"},
    {"final_logit_softcapping", 0, "bounds the logits"},
    {"attn_logit_softcapping", 0, "bounds the scores of attention"},
    {"router_logit_softcapping", 0, "bounds the logits of a router"},
    {"attention.clamp_kqv", 0, "bounds queries, keys and values"},
    {"attention.max_alibi_bias", 0, "adds a bias for distance to the scores of attention (ALiBi)"},
    {"attention.output_scale", 1, "scales the output of attention"},
    {"attention.temperature_scale", 0, "scales queries by their position"},
    {"attention.causal", 1, "lets a token see those behind it"},
    {"attention.chunk_size", 0, "cuts attention into chunks"},
    {"attention.shared_kv_layers", 0, "lets layers share keys and values"},
    {"attention.relative_buckets_count", 0, "adds a bias for distance to the scores of attention"},
    {"attention.q_lora_rank", 0, "factors the matrix of the queries"},
    {"attention.kv_lora_rank", 0, "factors the matrices of keys and values"},
    {"attention.group_norm_groups", 0, "norms groups"},
    {"rope.scaling.yarn_log_multiplier", 0, "scales attention where YaRN is on"},
    {"rope.scaling.alpha", 1, "changes the base of RoPE"},
    {"use_parallel_residual", 0, "evaluates attention and feed-forward side by side"},
    {"swin_norm", 0, "moves the norms"},
    {"rescale_every_n_layers", 0, "scales the residual stream"},
    {"token_shift_count", 0, "mixes neighbouring tokens"},
    {"nextn_predict_layers", 0, "adds layers that predict further tokens"},
    {"n_deepstack_layers", 0, "adds the features of images"},
    {"full_attention_interval", 0, "leaves out the attention of layers"},
    {"embedding_length_per_layer_input", 0, "adds an embedding to each layer"},
    {"swiglu_clamp_exp", 0, "bounds what the feed-forward multiplies"},
    {"swiglu_clamp_shexp", 0, "bounds what the feed-forward multiplies"},
};

// Whether a key of the file is read, or changes nothing in the supported architectures. Other keys under the architecture's name are
// mentioned in a note for the user (ModelConfig::notes).
constexpr bool is_known_key(std::string_view suffix) {
  constexpr std::string_view known[] = {
      "context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
      "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon", "attention.scale", "attention.sliding_window",
      "rope.dimension_count", "rope.freq_base", "rope.scale_linear", "rope.scaling.type", "rope.scaling.factor",
      "rope.scaling.original_context_length", "rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_ext_factor",
      "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
      // The keys listed above this comment are read. The keys below it change nothing: they describe the file itself, or give details
      // of attention windows or experts, and files in which windows or experts have an effect are refused because of other keys.
      "vocab_size", "tensor_data_layout", "rope.scaling.finetuned", "attention.sliding_window_pattern", "attention.key_length_swa",
      "attention.value_length_swa", "rope.freq_base_swa", "rope.dimension_count_swa", "attention.temperature_length",
      "expert_feed_forward_length", "expert_shared_feed_forward_length", "expert_weights_scale", "expert_weights_norm",
      "expert_gating_func", "leading_dense_block_count", "interleave_moe_layer_step"};
  if (detail::is_one_of(suffix, known)) return true;
  for (const NeutralKey& key : neutral_keys) {
    if (key.suffix == suffix) return true;
  }
  return false;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
