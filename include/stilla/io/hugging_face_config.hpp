// SPDX-License-Identifier: Apache-2.0
//
// Reads config.json of a Hugging Face folder as GGUF keys (model/config.hpp lists them), and translates the names of tensors.
// This header is opt-in: it needs nlohmann/json.hpp (checked_json.hpp).
//
// The columns of this table are the key of config.json, the GGUF key (ARCH stands for the architecture), and the supported values
// or a remark:
//
//     model_type                    general.architecture             qwen2, qwen3, llama
//     num_hidden_layers             ARCH.block_count
//     hidden_size                   ARCH.embedding_length
//     intermediate_size             ARCH.feed_forward_length
//     num_attention_heads           ARCH.attention.head_count
//     num_key_value_heads           ARCH.attention.head_count_kv
//     head_dim                      ARCH.attention.key_length and .value_length
//     max_position_embeddings       ARCH.context_length
//     rms_norm_eps                  ARCH.attention.layer_norm_rms_epsilon
//     rope_theta                    ARCH.rope.freq_base              at the top level, or in rope_parameters (transformers 5)
//     rope_scaling, rope_parameters ARCH.rope.scaling.*              linear, yarn; llama3 becomes the tensor rope_freqs.weight
//
// In such a folder the rows of a Llama's Q and K are in the order of the original release; GGUF's converter changes this order. The
// key stilla.rope.half_split (model/config.hpp) says that the order is the original one. A setting that changes the results and
// that no GGUF key can express is refused by its name.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/base/math.hpp>
#include <stilla/io/checked_json.hpp>
#include <stilla/io/gguf_records.hpp>
#include <stilla/io/hugging_face_keys.hpp>
#include <stilla/io/model_source.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The value that config.json gives for a GGUF key, and the place where it was found.
struct HuggingFaceEntry {
  std::variant<bool, std::uint64_t, double, std::string> value;
  std::string_view file;  // "config.json"
  std::string key;        // "rope_scaling.factor"
};

struct HuggingFaceConfig {
  std::string architecture;
  std::map<std::string, HuggingFaceEntry, std::less<>> entries;
  // The divisors of RoPE's angles, one for each pair of values, for Llama 3's long-context scaling; empty: there are none.
  std::vector<float> rope_factors;
  std::string rope_key;                   // the key from which rope_factors were computed
  std::optional<bool> ties_embeddings;    // nothing: the file does not say
  std::optional<std::uint64_t> rows;      // vocab_size
  std::uint64_t layers = 0;
  bool attention_bias = false, mlp_bias = false;  // whether the file says that the layers have biases
  std::vector<std::string> notes;                 // a line for each thing in config.json that is not used or that others read otherwise
};

namespace detail {

struct HuggingFaceKey {
  std::string_view gguf;  // without the architecture
  std::string_view json;
  bool is_float;
};
inline constexpr HuggingFaceKey hugging_face_keys[] = {
    {"block_count", "num_hidden_layers", false},
    {"embedding_length", "hidden_size", false},
    {"feed_forward_length", "intermediate_size", false},
    {"attention.head_count", "num_attention_heads", false},
    {"attention.head_count_kv", "num_key_value_heads", false},
    {"attention.key_length", "head_dim", false},
    {"attention.value_length", "head_dim", false},
    {"context_length", "max_position_embeddings", false},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", true},
    {"rope.freq_base", "rope_theta", true},
};

// The middle of a tensor's name in GGUF and in Hugging Face's form: the part behind "blk.7." or "model.layers.7." and before
// ".weight" or ".bias".
struct HuggingFaceTensorName {
  std::string_view gguf;
  std::string_view json;
};
inline constexpr HuggingFaceTensorName hugging_face_layer_tensors[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};
inline constexpr HuggingFaceTensorName hugging_face_tensors[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};

// The parts of a tensor's name "PREFIX7.REST": the layer's number 7, and REST. split_layer_name() splits such a name.
struct LayerName {
  std::uint64_t layer;
  std::string_view rest;
};
inline std::optional<LayerName> split_layer_name(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  LayerName out{};
  const std::from_chars_result read = std::from_chars(name.data(), name.data() + name.size(), out.layer);
  const auto digits = static_cast<std::size_t>(read.ptr - name.data());
  if (read.ec != std::errc() || digits == name.size() || name[digits] != '.' || (digits > 1 && name[0] == '0')) return std::nullopt;
  out.rest = name.substr(digits + 1);
  return out;
}

// Translates the name of a tensor without its layer, for example "self_attn.q_proj.weight" to "attn_q.weight", or the reverse. `table`
// is a list of pairs of names. `from` is the member of a pair that is compared with the name, and `to` the member that replaces it.
// The result is empty if the table does not have the name.
template <std::size_t N>
std::string mapped_name(const HuggingFaceTensorName (&table)[N], std::string_view name, std::string_view HuggingFaceTensorName::* from,
                        std::string_view HuggingFaceTensorName::* to) {
  const std::size_t dot = name.find_last_of('.');
  if (dot == std::string_view::npos) return {};
  const std::string_view ending = name.substr(dot);
  if (ending != ".weight" && ending != ".bias") return {};
  for (const HuggingFaceTensorName& entry : table) {
    if (entry.*from == name.substr(0, dot)) return concat(entry.*to, ending);
  }
  return {};
}

}  // namespace detail

// The GGUF name of a tensor that has the name `name` in a Hugging Face folder. Empty if no supported model has such a tensor.
inline std::string gguf_tensor_name(std::string_view name) {
  using Name = detail::HuggingFaceTensorName;
  if (const auto layer = detail::split_layer_name(name, "model.layers.")) {
    const std::string rest = detail::mapped_name(detail::hugging_face_layer_tensors, layer->rest, &Name::json, &Name::gguf);
    return rest.empty() ? rest : concat("blk.", layer->layer, ".", rest);
  }
  return detail::mapped_name(detail::hugging_face_tensors, name, &Name::json, &Name::gguf);
}

// The name in a Hugging Face folder of the tensor with this GGUF name: the reverse of gguf_tensor_name(). A name without a
// translation stays as it is.
inline std::string hugging_face_tensor_name(std::string_view name) {
  using Name = detail::HuggingFaceTensorName;
  std::string out;
  if (const auto layer = detail::split_layer_name(name, "blk.")) {
    const std::string rest = detail::mapped_name(detail::hugging_face_layer_tensors, layer->rest, &Name::gguf, &Name::json);
    if (!rest.empty()) out = concat("model.layers.", layer->layer, ".", rest);
  } else {
    out = detail::mapped_name(detail::hugging_face_tensors, name, &Name::gguf, &Name::json);
  }
  return out.empty() ? std::string(name) : out;
}

namespace detail {

class HuggingFaceConfigReader {
 public:
  // `json` is the parsed config.json, and `place` is its place, for messages.
  HuggingFaceConfigReader(const nlohmann::json& json, std::string_view place) : json_(json), place_(place) {}

  Result<HuggingFaceConfig> read() {
    if (!json_.is_object()) return refuse("found ", json_type_text(json_), "; expected an object");
    if (Status s = read_architecture(); !s) return s.error();
    if (Status s = refuse_unknown_arithmetic(); !s) return s.error();
    for (const HuggingFaceKey& key : hugging_face_keys) {
      if (key.gguf == "rope.freq_base") continue;
      if (const nlohmann::json* value = find_member(json_, key.json)) {
        if (Status s = add(key, *value, std::string(key.json)); !s) return s.error();
      }
    }
    if (Status s = read_rope(); !s) return s.error();
    if (Status s = read_others(); !s) return s.error();
    if (auto note = unknown_keys_note(unknown_members(json_, "", known_config_keys), place_)) out_.notes.push_back(std::move(*note));
    return std::move(out_);
  }

 private:
  template <class... Parts>
  Error refuse(const Parts&... parts) const {
    return {ErrorKind::refused_file, concat(place_, ": ", parts...)};
  }
  template <class... Parts>
  Error refuse_key(std::string_view key, const Parts&... parts) const {
    return refuse("key '", key, "': ", parts...);
  }

  Status read_architecture() {
    const nlohmann::json* type = find_member(json_, "model_type");
    const std::string* name = text_of(type);
    if (name == nullptr) {
      return refuse("key 'model_type' ", type ? concat("is ", json_type_text(*type)) : "is missing",
                    "; expected a string: is this the config.json of a language model?");
    }
    if (*name != "qwen2" && *name != "qwen3" && *name != "llama") {
      return refuse_key("model_type", "'", printable(*name), "' is not supported; supported: qwen2, qwen3, llama");
    }
    out_.architecture = *name;
    out_.entries["general.architecture"] = {*name, "config.json", "model_type"};
    if (*name == "llama") out_.entries[std::string(half_split_key)] = {true, "config.json", "model_type"};
    return success();
  }

  Error refuse_unsupported(std::string_view key, const nlohmann::json& value, std::string_view expected) const {
    return refuse_key(key, "found ", json_value_text(value), ", which is not supported; expected ", expected);
  }

  // Refuses settings of config.json that change the arithmetic of the model and are not supported. Some keys have one supported
  // value, which means the same as a missing key. The other keys must be missing.
  Status refuse_unknown_arithmetic() const {
    if (const nlohmann::json* quantised = find_member(json_, "quantization_config")) {
      const std::string* method = text_of(find_member(*quantised, "quant_method"));
      return refuse_key("quantization_config", "the weights are quantised by ", method ? printable(*method) : "some method",
                        ", which is not supported; expected the original release, in BF16, F16 or F32");
    }
    const auto* act = find_member(json_, "hidden_act");
    const std::string* name = text_of(act);
    if (act != nullptr && (name == nullptr || (*name != "silu" && *name != "swish"))) {  // two names of one function
      return refuse_key("hidden_act", "found ", name ? printable(*name) : json_type_text(*act), "; expected silu");
    }
    for (const std::string_view key : {"use_sliding_window", "use_mrope", "clip_qkv", "rope_interleaved"}) {
      const nlohmann::json* value = find_member(json_, key);
      if (value != nullptr && *value != false) return refuse_unsupported(key, *value, "false");
    }
    const nlohmann::json* causal = find_member(json_, "is_causal");
    if (causal != nullptr && *causal != true) return refuse_unsupported("is_causal", *causal, "true");
    for (const std::string_view key :
         {"embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling", "logit_scale", "residual_scale",
          "final_logit_softcapping", "attn_logit_softcapping", "num_experts", "num_local_experts", "n_routed_experts", "kv_lora_rank"}) {
      if (const nlohmann::json* value = find_member(json_, key)) {
        return refuse_key(key, "found ", json_value_text(*value), ", which is not supported in a ", out_.architecture, " model");
      }
    }
    if (const nlohmann::json* types = find_member(json_, "layer_types")) {
      if (!types->is_array()) return refuse_key("layer_types", "found ", json_type_text(*types), "; expected an array");
      for (const nlohmann::json& type : *types) {
        const std::string* text = text_of(&type);
        if (text == nullptr || *text != "full_attention") {
          return refuse_key("layer_types", "found '", text ? printable(*text) : json_type_text(type),
                            "'; expected 'full_attention' for every layer");
        }
      }
    }
    return success();
  }

  Error refuse_no_count(std::string_view key, const nlohmann::json& value) const {
    return refuse_key(key, "found ", value.is_number() ? value.dump() : std::string(json_type_text(value)),
                      "; expected an unsigned integer");
  }

  Status add(const HuggingFaceKey& key, const nlohmann::json& value, std::string where) {
    HuggingFaceEntry entry{false, "config.json", std::move(where)};
    if (key.is_float) {
      if (!value.is_number()) return refuse_key(entry.key, "found ", json_type_text(value), "; expected a number");
      entry.value = value.get<double>();
    } else {
      const std::optional<std::uint64_t> count = count_of(value);
      if (!count) return refuse_no_count(entry.key, value);
      entry.value = *count;
    }
    out_.entries[concat(out_.architecture, ".", key.gguf)] = std::move(entry);
    return success();
  }

  // Returns a number that add() has read from config.json. `key` is its GGUF key without the architecture. If config.json did not
  // have the number, the result is `fallback`.
  double number(std::string_view key, double fallback) const {
    const auto found = out_.entries.find(concat(out_.architecture, ".", key));
    if (found == out_.entries.end()) return fallback;
    if (const auto* count = std::get_if<std::uint64_t>(&found->second.value)) return static_cast<double>(*count);
    return std::get<double>(found->second.value);
  }

  // `settings` is an object with the settings of RoPE. Returns its member that says how RoPE is scaled, or null if it has none.
  static const nlohmann::json* rope_type_of(const nlohmann::json& settings) {
    const nlohmann::json* type = find_member(settings, "rope_type");
    return type != nullptr ? type : find_member(settings, "type");
  }
  // Whether an object with the settings of RoPE asks for a scaling.
  static bool scales(const nlohmann::json& settings) {
    const nlohmann::json* type = rope_type_of(settings);
    return type != nullptr && *type != "default";
  }

  // Reads one of the two objects with settings of RoPE, rope_parameters or rope_scaling. `found` becomes null if this object is missing or
  // empty.
  Status read_rope_object(std::string_view key, const nlohmann::json*& found) const {
    found = find_member(json_, key);
    if (found == nullptr) return success();
    if (!found->is_object()) return refuse_key(key, "found ", json_type_text(*found), "; expected an object");
    if (found->empty()) {
      found = nullptr;
      return success();
    }
    for (const auto& [name, value] : found->get_ref<const nlohmann::json::object_t&>()) {
      if (value.is_object())
        return refuse_key(concat(key, ".", printable(name)), "found an object; expected the same settings for all layers");
    }
    const nlohmann::json *type = find_member(*found, "rope_type"), *old_type = find_member(*found, "type");
    if (type != nullptr && old_type != nullptr && *type != *old_type) {
      return refuse_key(concat(key, ".type"), "is not the same as rope_type; expected only one of these");
    }
    if (rope_type_of(*found) == nullptr && key == "rope_parameters") return success();
    if (text_of(rope_type_of(*found)) == nullptr) {
      return refuse_key(concat(key, type ? ".rope_type" : ".type"), "expected a string: default, linear, yarn or llama3");
    }
    return success();
  }

  // Finds the object with the settings of RoPE, and its key. The library transformers writes all settings into rope_parameters since
  // version 5. Earlier versions write the scaling into rope_scaling and the base, rope_theta, beside this object. Users who are told
  // to add rope_scaling add it to new files too. Such a file is accepted if rope_parameters has no scaling of its own, or the same one.
  // `settings` becomes null if there is neither object.
  Status find_rope_settings(const nlohmann::json*& settings, std::string& key) {
    const nlohmann::json *parameters = nullptr, *scaling = nullptr;
    if (Status s = read_rope_object("rope_parameters", parameters); !s) return s;
    if (Status s = read_rope_object("rope_scaling", scaling); !s) return s;
    const bool takes_scaling = scaling != nullptr && (parameters == nullptr || (scales(*scaling) && !scales(*parameters)));
    settings = takes_scaling ? scaling : parameters;
    key = takes_scaling ? "rope_scaling" : "rope_parameters";
    std::vector<std::string> unknown;
    for (const auto& [object, prefix] : {std::pair{parameters, "rope_parameters."}, std::pair{scaling, "rope_scaling."}}) {
      if (object == nullptr) continue;
      for (std::string& name : unknown_members(*object, prefix, known_rope_keys)) unknown.push_back(std::move(name));
    }
    if (auto note = unknown_keys_note(unknown, place_)) out_.notes.push_back(std::move(*note));
    if (parameters == nullptr || scaling == nullptr || !scales(*parameters)) return success();
    for (const auto& [name, value] : scaling->get_ref<const nlohmann::json::object_t&>()) {
      if (value.is_null()) continue;
      const bool is_type = name == "type" || name == "rope_type";
      const nlohmann::json* same = is_type ? rope_type_of(*parameters) : find_member(*parameters, name);
      if (same == nullptr || *same != value) {
        return refuse_key(concat("rope_scaling.", printable(name)), "is not the same in rope_parameters; expected only one of these");
      }
    }
    return success();
  }

  // Reads the base of RoPE's angles, rope_theta, which may stand in rope_parameters, in rope_scaling and beside these objects. If it stands
  // in several of these places, the values must be equal.
  Status read_rope_base(std::string_view settings_key) {
    const std::string_view other = settings_key == "rope_scaling" ? "rope_parameters" : "rope_scaling";
    const nlohmann::json* base = nullptr;
    std::string base_key;
    for (const std::string_view object : {settings_key, other, std::string_view()}) {
      const nlohmann::json* place = object.empty() ? &json_ : find_member(json_, object);
      const nlohmann::json* value = place ? find_member(*place, "rope_theta") : nullptr;
      if (value == nullptr) continue;
      std::string key = concat(object, object.empty() ? "" : ".", "rope_theta");
      if (!value->is_number()) return refuse_key(key, "found ", json_type_text(*value), "; expected a number");
      if (base != nullptr && *base != *value) {
        return refuse_key(key, "found ", value->dump(), ", and '", base_key, "' is ", base->dump(), "; expected the same");
      }
      if (base != nullptr) continue;
      base = value;
      base_key = std::move(key);
    }
    if (base == nullptr) return success();
    if (settings_key == "rope_scaling" && base_key == "rope_parameters.rope_theta" && find_member(json_, "rope_theta") == nullptr) {
      out_.notes.push_back(
          concat(place_, ": key 'rope_parameters.rope_theta' is used beside rope_scaling; ", "the library transformers ignores it there"));
    }
    return add({"rope.freq_base", "", true}, *base, base_key);
  }

  // Adds a note that names those settings of RoPE which its type of scaling, `type`, does not use.
  void note_unused_rope_settings(const nlohmann::json& settings, std::string_view key, std::string_view type) {
    constexpr std::string_view of_all[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "mscale", "mscale_all_dim"};
    constexpr std::string_view of_llama3[] = {"factor", "low_freq_factor", "high_freq_factor", original_context_key};
    constexpr std::string_view of_yarn[] = {"factor",    original_context_key, "attention_factor", "attn_factor",
                                            "beta_fast", "beta_slow",          "truncate"};
    std::vector<std::string_view> used(std::begin(of_all), std::end(of_all));
    if (type == "linear") used.push_back("factor");
    if (type == "llama3") used.insert(used.end(), std::begin(of_llama3), std::end(of_llama3));
    if (type == "yarn") used.insert(used.end(), std::begin(of_yarn), std::end(of_yarn));
    std::string names;
    for (const std::string& name : unknown_members(settings, "", used)) {
      if (std::find(std::begin(known_rope_keys), std::end(known_rope_keys), name) == std::end(known_rope_keys)) continue;
      names += concat(names.empty() ? "'" : ", '", key, ".", name, "'");
    }
    if (!names.empty()) out_.notes.push_back(concat(place_, ": the rope_type '", type, "' does not use ", names));
  }

  // Reads the number of positions that the model was trained with. This number may stand in `settings`, the object with the settings of
  // RoPE, and beside this object. `found` becomes null if the number is in neither place, and `where` becomes the key of the number.
  Status read_original_context(const nlohmann::json& settings, const std::string& object, const nlohmann::json*& found,
                               std::string& where) const {
    const nlohmann::json* beside = find_member(json_, original_context_key);
    found = find_member(settings, original_context_key);
    where = concat(object, ".", original_context_key);
    if (found != nullptr && beside != nullptr && *found != *beside) {
      return refuse_key(original_context_key, "is not the same as '", where, "'; expected only one of these");
    }
    if (found != nullptr || beside == nullptr) return success();
    found = beside;
    where = original_context_key;
    return success();
  }

  Status read_rope() {
    const nlohmann::json* parameters = nullptr;
    std::string object;
    if (Status s = find_rope_settings(parameters, object); !s) return s;
    const auto where = [&](std::string_view key) { return concat(object, ".", key); };
    if (Status s = read_rope_base(object); !s) return s;
    for (const nlohmann::json* place : {find_member(json_, "rope_parameters"), find_member(json_, "rope_scaling"), &json_}) {
      const nlohmann::json* part = place ? find_member(*place, "partial_rotary_factor") : nullptr;
      if (part != nullptr && *part != 1.0) return refuse_unsupported("partial_rotary_factor", *part, "1");
    }
    for (const auto& [settings, key] : {std::pair{find_member(json_, "rope_parameters"), "rope_parameters"},
                                        std::pair{find_member(json_, "rope_scaling"), "rope_scaling"}}) {
      const std::string* type = settings ? text_of(rope_type_of(*settings)) : nullptr;
      if (settings != nullptr) note_unused_rope_settings(*settings, key, type ? std::string_view(*type) : "default");
    }
    const std::string* name = parameters ? text_of(rope_type_of(*parameters)) : nullptr;
    if (name == nullptr || *name == "default") return success();
    const std::string type_key = where(find_member(*parameters, "rope_type") ? "rope_type" : "type");
    if (*name == "llama3") return read_llama3(*parameters, object);
    if (*name != "linear" && *name != "yarn") {
      return refuse_key(type_key, "'", printable(*name), "' is not supported; supported: default, linear, yarn, llama3");
    }
    out_.entries[concat(out_.architecture, ".rope.scaling.type")] = {*name, "config.json", type_key};
    constexpr HuggingFaceKey yarn[] = {{"rope.scaling.factor", "factor", true},
                                       {"rope.scaling.original_context_length", "original_max_position_embeddings", false},
                                       {"rope.scaling.attn_factor", "attention_factor", true},
                                       {"rope.scaling.attn_factor", "attn_factor", true},
                                       {"rope.scaling.yarn_beta_fast", "beta_fast", true},
                                       {"rope.scaling.yarn_beta_slow", "beta_slow", true}};
    for (const HuggingFaceKey& key : yarn) {
      const nlohmann::json* value = find_member(*parameters, key.json);
      std::string value_key = where(key.json);
      if (key.json == original_context_key) {
        if (Status s = read_original_context(*parameters, object, value, value_key); !s) return s;
      }
      if (value == nullptr || (*name == "linear" && key.json != "factor")) continue;
      if (Status s = add(key, *value, std::move(value_key)); !s) return s;
    }
    if (*name == "yarn") {
      if (Status s = read_attention_factor(*parameters, object); !s) return s;
    }
    for (const std::string_view key : {"mscale", "mscale_all_dim"}) {
      if (const nlohmann::json* value = find_member(*parameters, key)) {
        return refuse_unsupported(where(key), *value, "attention_factor, or none");
      }
    }
    const nlohmann::json* truncate = find_member(*parameters, "truncate");
    if (truncate != nullptr && *truncate != true) return refuse_unsupported(where("truncate"), *truncate, "true");
    return success();
  }

  // Reads the factor of YaRN's cosines and sines into the GGUF key rope.scaling.attn_factor. YaRN multiplies cosines and sines by
  // 0.1 ln(factor) + 1. In config.json, the key attention_factor replaces this number. The key attn_factor, which
  // DeepSeek-R1-0528-Qwen3-8B has, is a further factor, and so is the GGUF key. Before this function is called, add() has put the values
  // of factor and of attn_factor or attention_factor into GGUF keys. That of attention_factor is divided here by 0.1 ln(factor) + 1.
  Status read_attention_factor(const nlohmann::json& parameters, const std::string& object) {
    const bool replaces = find_member(parameters, "attention_factor") != nullptr;
    const bool multiplies = find_member(parameters, "attn_factor") != nullptr;
    if (replaces && multiplies) {
      return refuse_key(concat(object, ".attn_factor"), "stands beside attention_factor; expected only one of them");
    }
    if (multiplies) {
      out_.notes.push_back(concat(place_, ": key '", object,
                                  ".attn_factor' is multiplied by YaRN's factor, as in GGUF files of this model; ",
                                  "the library transformers ignores it"));
    }
    if (replaces) {
      const double factor = std::max(1.0, number("rope.scaling.factor", 1.0));
      out_.entries.find(concat(out_.architecture, ".rope.scaling.attn_factor"))->second.value =
          number("rope.scaling.attn_factor", 1.0) / (0.1 * logarithm(factor) + 1.0);
    }
    return success();
  }

  // Reads Llama 3's scaling of RoPE. The angles of pairs that turn slowly with the position are divided by the key `factor`, those
  // of pairs that turn fast by 1, and those of pairs between them by a value between these two (Llama 3.1, as the library
  // transformers computes it).
  Status read_llama3(const nlohmann::json& parameters, const std::string& object) {
    double factor = 0, low = 0, high = 0, context = 0;
    const std::pair<std::string_view, double&> numbers[] = {
        {"factor", factor}, {"low_freq_factor", low}, {"high_freq_factor", high}, {"original_max_position_embeddings", context}};
    for (const auto& [key, number] : numbers) {
      const nlohmann::json* value = find_member(parameters, key);
      if (std::string where; key == original_context_key) {
        if (Status s = read_original_context(parameters, object, value, where); !s) return s;
      }
      if (value == nullptr || !value->is_number()) return refuse_key(concat(object, ".", key), "expected a number");
      number = value->get<double>();
      if (!(number >= 1e-3 && number <= 1e9)) return refuse_key(concat(object, ".", key), "found ", number, "; expected 0.001 to 1e9");
    }
    if (!(high > low))
      return refuse_key(concat(object, ".high_freq_factor"), "found ", high, "; expected more than low_freq_factor, ", low);
    const double heads = number("attention.head_count", 0), hidden = number("embedding_length", 0);
    const double head_dim = number("attention.key_length", heads > 0 ? hidden / heads : 0);
    const double base = number("rope.freq_base", 10000.0);
    if (!(head_dim >= 2 && head_dim <= 4096 && base >= 1 && base <= 1e30))
      return refuse_key(object, "needs a head_dim from 2 to 4096 and a rope_theta from 1 to 1e30");
    constexpr double two_pi = 6.283185307179586;
    const auto pairs = static_cast<std::size_t>(head_dim) / 2;
    for (std::size_t i = 0; i < pairs; ++i) {
      const double wavelength = two_pi * power(base, 2.0 * static_cast<double>(i) / head_dim);
      double divisor = 1.0;
      if (wavelength > context / low) {
        divisor = factor;
      } else if (wavelength >= context / high) {
        const double smooth = (context / wavelength - low) / (high - low);
        divisor = 1.0 / ((1.0 - smooth) / factor + smooth);
      }
      out_.rope_factors.push_back(static_cast<float>(divisor));
    }
    out_.rope_key = object;
    return success();
  }

  Status read_others() {
    if (const nlohmann::json* value = find_member(json_, "tie_word_embeddings")) {
      if (!value->is_boolean()) return refuse_key("tie_word_embeddings", "found ", json_type_text(*value), "; expected true or false");
      out_.ties_embeddings = value->get<bool>();
    }
    if (const nlohmann::json* value = find_member(json_, "vocab_size")) {
      out_.rows = count_of(*value);
      if (!out_.rows) return refuse_no_count("vocab_size", *value);
    }
    const auto layers = out_.entries.find(concat(out_.architecture, ".block_count"));
    if (layers != out_.entries.end()) out_.layers = std::get<std::uint64_t>(layers->second.value);
    if (layers != out_.entries.end() && out_.layers == 0) return refuse_key("num_hidden_layers", "found 0; expected at least 1");
    for (const auto& [key, has_biases] :
         {std::pair<const char*, bool&>{"attention_bias", out_.attention_bias}, std::pair<const char*, bool&>{"mlp_bias", out_.mlp_bias}}) {
      const nlohmann::json* value = find_member(json_, key);
      if (value != nullptr && !value->is_boolean()) return refuse_key(key, "found ", json_type_text(*value), "; expected true or false");
      has_biases = value != nullptr && *value == true;
    }
    return success();
  }

  const nlohmann::json& json_;
  std::string_view place_;
  HuggingFaceConfig out_;
};

}  // namespace detail

// Reads `json`, the parsed config.json. `place` is the place of config.json, for messages.
inline Result<HuggingFaceConfig> read_hugging_face_config(const nlohmann::json& json, std::string_view place) {
  return detail::HuggingFaceConfigReader(json, place).read();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
