// SPDX-License-Identifier: Apache-2.0
//
// The keys of the JSON files of a Hugging Face folder that are read, and those that change nothing. Other keys are named in a note. This
// header is opt-in: it needs nlohmann/json.hpp (checked_json.hpp).
#pragma once

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/io/checked_json.hpp>
#include <stilla/io/model_source.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

inline constexpr std::string_view original_context_key = "original_max_position_embeddings";

// The keys of config.json that are read, and those that change nothing in the arithmetic of the supported architectures: they describe
// the file, its training, or how other programs run it. Other keys are named in a note.
inline constexpr std::string_view known_config_keys[] = {
    // The following keys are read or checked.
    "model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
    "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_parameters", "rope_scaling", "partial_rotary_factor",
    original_context_key, "tie_word_embeddings", "vocab_size", "eos_token_id", "bos_token_id", "attention_bias", "mlp_bias", "hidden_act",
    "use_sliding_window", "use_mrope", "clip_qkv", "rope_interleaved", "is_causal", "layer_types",
    // The following keys change nothing.
    "architectures", "attention_dropout", "pad_token_id", "initializer_range", "max_window_layers", "sliding_window", "pretraining_tp",
    "torch_dtype", "dtype", "transformers_version", "transformers.js_config", "is_llama_config", "use_cache", "_name_or_path",
    "_model_name_or_path", "_attn_implementation_autoset", "attn_implementation", "_attn_implementation", "_commit_hash", "auto_map",
    "tokenizer_class", "id2label", "label2id", "return_dict", "output_attentions", "output_hidden_states", "torchscript", "is_decoder",
    "is_encoder_decoder", "chunk_size_feed_forward", "problem_type", "task_specific_params", "unsloth_fixed", "unsloth_version",
    "model_name", "hidden_dropout", "resid_pdrop", "embd_pdrop", "max_length", "min_length", "do_sample", "temperature", "top_k", "top_p",
    "repetition_penalty"};
// The members of the objects rope_parameters and rope_scaling that are read, and those that change nothing. Other members are named in a
// note.
inline constexpr std::string_view known_rope_keys[] = {
    "rope_type",   "type",           "rope_theta", "factor",          original_context_key, "attention_factor",
    "attn_factor", "beta_fast",      "beta_slow",  "low_freq_factor", "high_freq_factor",   "partial_rotary_factor",
    "mscale",      "mscale_all_dim", "truncate"};

// Keys of tokenizer.json, of its member model, of tokenizer_config.json and of generation_config.json. The lists have the keys that are
// read, those that change neither the ids of a text nor the text of ids, and those whose values a user chooses for each run. Keys that
// are not in the lists are named in a note.
inline constexpr std::string_view known_tokenizer_keys[] = {"version",        "added_tokens", "normalizer", "pre_tokenizer",
                                                            "post_processor", "decoder",      "model"};
inline constexpr std::string_view known_bpe_keys[] = {
    "type",          "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
    "ignore_merges", "vocab",   "merges"};
inline constexpr std::string_view known_tokenizer_config_keys[] = {
    // The following keys are read or checked.
    "add_bos_token", "add_prefix_space", "added_tokens_decoder", "additional_special_tokens", "extra_special_tokens", "bos_token",
    "eos_token", "pad_token", "unk_token", "chat_template",
    // The following keys change nothing.
    "auto_map", "backend", "clean_up_tokenization_spaces", "cls_token", "mask_token", "sep_token", "errors", "from_slow", "init_inputs",
    "is_local", "legacy", "local_files_only", "max_length", "model_input_names", "model_max_length", "model_specific_special_tokens",
    "name_or_path", "pad_to_multiple_of", "pad_token_type_id", "padding_side", "processor_class", "sp_model_kwargs",
    "spaces_between_special_tokens", "special_tokens_map_file", "stride", "tokenizer_class", "tokenizer_file", "transformers_version",
    "trim_offsets", "truncation_side", "truncation_strategy", "trust_remote_code", "use_default_system_prompt", "use_fast", "vocab_size"};
// Keys of tokenizer_config.json that change nothing if their value is false. With any other value they are named in a note.
inline constexpr std::string_view false_tokenizer_config_keys[] = {"add_eos_token", "do_lower_case", "split_special_tokens"};
inline constexpr std::string_view known_generation_keys[] = {
    // The following keys are read or checked.
    "eos_token_id", "bos_token_id",
    // The following keys change nothing.
    "pad_token_id", "decoder_start_token_id", "_from_model_config", "transformers_version", "trust_remote_code", "chat_format",
    "max_window_size", "attn_implementation", "cache_implementation", "use_cache", "return_dict_in_generate", "output_attentions",
    "output_hidden_states", "output_scores", "output_logits", "num_assistant_tokens", "num_assistant_tokens_schedule",
    "assistant_confidence_threshold", "prompt_lookup_num_tokens",
    // A user of Stilla chooses the values of the following keys for each run.
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "max_length", "max_new_tokens"};

}  // namespace detail

// A note that names the keys of tokenizer.json that are not known. Nothing if there are none. `place` is the place of the file.
inline std::optional<std::string> unused_tokenizer_keys(const nlohmann::json& json, std::string_view place) {
  std::vector<std::string> unknown = unknown_members(json, "", detail::known_tokenizer_keys);
  const nlohmann::json *version = find_member(json, "version"), *model = find_member(json, "model");
  if (version != nullptr && *version != "1.0") unknown.emplace_back("version");
  if (model != nullptr) {
    for (std::string& key : unknown_members(*model, "model.", detail::known_bpe_keys)) unknown.push_back(std::move(key));
  }
  return unknown_keys_note(unknown, place);
}

// A note that names the keys of tokenizer_config.json that are not known. Nothing if there are none. `place` is the place of the file.
inline std::optional<std::string> unused_tokenizer_config_keys(const nlohmann::json& json, std::string_view place) {
  const auto& may_be_false = detail::false_tokenizer_config_keys;
  std::vector<std::string> unknown = unknown_members(json, "", detail::known_tokenizer_config_keys);
  std::erase_if(unknown, [&](const std::string& key) {
    const bool is_one = std::find(std::begin(may_be_false), std::end(may_be_false), key) != std::end(may_be_false);
    return is_one && *find_member(json, key) == false;
  });
  return unknown_keys_note(unknown, place);
}

// A note that names the keys of generation_config.json that would change which tokens a model gives, and that are not used. Nothing if
// there are none. A key with an empty list counts as missing. `place` is the place of the file.
inline std::optional<std::string> unused_generation_keys(const nlohmann::json& json, std::string_view place) {
  std::vector<std::string> unknown = unknown_members(json, "", detail::known_generation_keys);
  std::erase_if(unknown, [&](const std::string& key) { return find_member(json, key)->empty(); });
  return unknown_keys_note(unknown, place);
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
