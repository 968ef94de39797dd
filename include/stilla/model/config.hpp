// SPDX-License-Identifier: Apache-2.0
//
// The dimensions of a model. All are read from the metadata of the model's source; nothing is assumed from a name. architecture.hpp has
// the architectures and what a file of each may contain. Things in a file that this library does not understand are never
// ignored. These are errors: a tensor that the architecture does not have, a layer beyond block_count, a key that changes what is
// computed, or fewer rows of embeddings than tokens. Other keys under the architecture's name are listed in ModelConfig::notes.
//
// A count may be an array in the file, with a number for each layer. It is accepted if all numbers are equal.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/contract/attention.hpp>
#include <stilla/contract/head_dim.hpp>
#include <stilla/io/gguf_types.hpp>
#include <stilla/io/mapped_file.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/model/architecture.hpp>
#include <stilla/rope.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The rotations that a model's weights contain (model/rotation.hpp). The forward pass compensates for `residual` and `down`.
struct Rotation {
  bool residual = false;
  bool heads = false;  // cancels within the weights, so the forward pass has nothing to do for it
  bool down = false;

  bool any() const { return residual || heads || down; }
  bool operator==(const Rotation&) const = default;
};

// Returns a Rotation as text: "residual,heads,down", or only those of the three words whose member is true.
inline std::string rotation_text(const Rotation& rotation) {
  std::string text;
  const auto add = [&](bool is_there, std::string_view name) {
    if (is_there) text += concat(text.empty() ? "" : ",", name);
  };
  add(rotation.residual, "residual");
  add(rotation.heads, "heads");
  add(rotation.down, "down");
  return text;
}

// The reverse of rotation_text(): reads names of rotations, separated by commas. Returns nothing if a word is unknown or occurs twice, or
// if the text is empty.
inline std::optional<Rotation> parse_rotation(std::string_view text) {
  Rotation rotation;
  while (true) {
    const std::string_view name = text.substr(0, text.find(','));
    bool* const part = name == "residual" ? &rotation.residual
                       : name == "heads"  ? &rotation.heads
                       : name == "down"   ? &rotation.down
                                          : nullptr;
    if (part == nullptr || *part) return std::nullopt;
    *part = true;
    if (name.size() == text.size()) return rotation;
    text.remove_prefix(name.size() + 1);
  }
}

// The most positions that a model or a user may ask for. Published models have up to 4 million.
inline constexpr std::size_t max_context = std::size_t{1} << 24;

// What a user chooses for RoPE instead of what the file says, for example for a text longer than those of the training:
//
//     {.type = RopeScaling::Type::yarn, .factor = 4.0}
//
// What is not chosen stays as the file says. If a factor or an original context is chosen, the context becomes
// original_context * factor positions, but at most max_context.
struct RopeChoice {
  // The type of RoPE's scaling. If no type is chosen but `factor` is, this factor is used with the type that the file names, or with
  // linear scaling if the file has no scaling.
  std::optional<RopeScaling::Type> type = std::nullopt;
  std::optional<double> factor = std::nullopt;           // 1 to 1e6
  // The number of positions that the model was trained with, 1 to max_context. If it is not chosen, the number in the file is used.
  std::optional<std::size_t> original_context = std::nullopt;
  std::optional<double> base = std::nullopt;             // 1 to 1e30
};

struct ModelConfig {
  std::string architecture;
  std::string name;
  std::size_t n_layers = 0;
  std::size_t hidden = 0;        // E, the width of the residual stream
  std::size_t ffn = 0;           // F, the number of outputs of gate and of up, and of inputs of down
  std::size_t n_heads = 0;       // H
  std::size_t n_kv_heads = 0;    // G
  std::size_t head_dim = 0;      // D, of queries, keys and values; H * D may differ from E
  std::size_t vocabulary = 0;    // rows of the embedding; may be more than the tokenizer has tokens
  std::size_t context = 0;       // positions the model was trained for
  std::size_t rotary_dim = 0;
  float rope_base = 10000.0f;
  float rms_epsilon = 0.0f;
  RopeLayout rope_layout = RopeLayout::half_split;
  RopeScaling rope_scaling;
  bool has_qkv_bias = false;  // true: Q, K and V must have biases; false: they may have biases
  bool has_qk_norm = false;   // each head of queries and keys is normalised before RoPE
  Rotation rotation;
  std::vector<std::string> notes;  // what a user should be told about the file, a line each

  // The name of a key of the file's metadata: key("block_count") is "qwen2.block_count" for the architecture qwen2.
  std::string key(std::string_view suffix) const { return concat(architecture, ".", suffix); }
};

// The number of weights in the matrices of all layers.
inline std::size_t layer_weights(const ModelConfig& c) {
  const std::size_t queries = c.n_heads * c.head_dim, keys = c.n_kv_heads * c.head_dim;
  return c.n_layers * c.hidden * (2 * queries + 2 * keys + 3 * c.ffn);
}

namespace detail {

// Reads the values for RoPE from the file. The scaling is none, linear or yarn. The keys are those that llama.cpp's converter writes,
// with the meaning that they have in llama.cpp. Missing keys have the default values of the library transformers.
class RopeReader {
 public:
  RopeReader(const ModelSource& source, ModelConfig& config) : source_(source), c_(config) {}

  Status read() {
    if (Status s = read_base(); !s) return s;
    RopeScaling& scaling = c_.rope_scaling;
    scaling.original_context = static_cast<double>(c_.context);
    if (Status s = read("attn_factor", scaling.magnitude, 1e-3f, 1e3f); !s) return s;
    const Result<std::string_view> type = source_.get_string_or(key("type"), "");
    if (!type) return type.error();
    if (*type == "none") return success();
    if (!type->empty() && *type != "linear" && *type != "yarn") {
      return source_.key_error(key("type"), "'", printable(*type), "' is not supported; supported: none, linear, yarn");
    }
    // Old files do not name the type of RoPE's scaling. They have only the factor of linear scaling, under the key rope.scale_linear.
    const std::string old_factor = c_.key("rope.scale_linear");
    const bool has_factor = source_.has(key("factor")), has_old_factor = source_.has(old_factor);
    if (!type->empty() && !has_factor && !has_old_factor) {
      return source_.key_error(key("factor"), "missing, though '", key("type"), "' is ", *type);
    }
    if (!has_factor && !has_old_factor) return success();
    if (has_factor && has_old_factor) {
      double old_value = 1.0;
      if (Status s = read_key(old_factor, old_value, 1.0f, 1e6f); !s) return s;
      if (Status s = read("factor", scaling.factor, 1.0f, 1e6f); !s) return s;
      if (old_value != scaling.factor) {
        return source_.key_error(old_factor, "found ", old_value, ", and '", key("factor"), "' is ", scaling.factor, "; expected the same");
      }
    }
    if (Status s = read_key(has_factor ? key("factor") : old_factor, scaling.factor, 1.0f, 1e6f); !s) return s;
    if (*type != "yarn") {
      if (scaling.factor != 1.0) scaling.type = RopeScaling::Type::linear;
      return success();
    }
    scaling.type = RopeScaling::Type::yarn;
    return read_yarn();
  }

 private:
  std::string key(std::string_view suffix) const { return c_.key(concat("rope.scaling.", suffix)); }

  // Reads the number of a key into `value`. If the file does not have the key, `value` stays as it is.
  Status read_key(const std::string& name, double& value, float least, float most) const {
    if (!source_.has(name)) return success();
    const Result<float> number = source_.get_float(name);
    if (!number) return number.error();
    if (!(*number >= least && *number <= most)) {
      return source_.key_error(name, "found ", *number, ", expected ", least, " to ", most);
    }
    value = static_cast<double>(*number);
    return success();
  }
  Status read(std::string_view suffix, double& value, float least, float most) const { return read_key(key(suffix), value, least, most); }

  Status read_base() {
    double base = 10000.0;
    if (Status s = read_key(c_.key("rope.freq_base"), base, 1.0f, 1e30f); !s) return s;
    c_.rope_base = static_cast<float>(base);
    return success();
  }

  Status read_yarn() {
    RopeScaling& scaling = c_.rope_scaling;
    if (const std::string name = key("original_context_length"); source_.has(name)) {
      const Result<std::uint64_t> original = source_.get_uint(name, max_context, 1);
      if (!original) return original.error();
      scaling.original_context = static_cast<double>(*original);
    }
    double ext_factor = 1.0, attn_factor = 1.0;
    if (Status s = read("yarn_attn_factor", attn_factor, 1e-3f, 1e3f); !s) return s;
    scaling.magnitude *= attn_factor;
    if (Status s = read("yarn_ext_factor", ext_factor, -1.0f, 1.0f); !s) return s;
    if (ext_factor != 1.0 && ext_factor != -1.0) {
      return source_.key_error(key("yarn_ext_factor"), "found ", ext_factor, ", which is not supported; expected 1");
    }
    if (Status s = read("yarn_beta_fast", scaling.fast_turns, 1e-3f, 1e6f); !s) return s;
    if (Status s = read("yarn_beta_slow", scaling.slow_turns, 1e-3f, 1e6f); !s) return s;
    if (c_.rope_base <= 1.0f) return source_.key_error(key("type"), "yarn needs a 'rope.freq_base' above 1; found ", c_.rope_base);
    return success();
  }

  const ModelSource& source_;
  ModelConfig& c_;
};

// Replaces the values for RoPE that were read from the file by those that the user chose.
inline Status apply_rope_choice(ModelConfig& c, const RopeChoice& choice) {
  const auto refuse = [](const auto&... parts) -> Status { return Error{ErrorKind::bad_argument, concat("RoPE: ", parts...)}; };
  RopeScaling& scaling = c.rope_scaling;
  if (choice.base) {
    if (!(*choice.base >= 1.0 && *choice.base <= 1e30)) return refuse("a base of ", *choice.base, "; expected 1 to 1e30");
    c.rope_base = static_cast<float>(*choice.base);
  }
  if (choice.factor && !(*choice.factor >= 1.0 && *choice.factor <= 1e6)) {
    return refuse("a scale of ", *choice.factor, "; expected 1 to 1e6");
  }
  if (choice.original_context && (*choice.original_context == 0 || *choice.original_context > max_context)) {
    return refuse("an original context of ", *choice.original_context, "; expected 1 to ", max_context);
  }
  using Type = RopeScaling::Type;
  if (choice.type) scaling.type = *choice.type;
  if (choice.factor && *choice.factor != 1.0 && scaling.type == Type::none) {
    if (choice.type) return refuse("a scale of ", *choice.factor, " and no scaling contradict each other");
    scaling.type = Type::linear;
  }
  if (choice.original_context && scaling.type == Type::none) {
    return refuse(
        "an original context of ", *choice.original_context,
        choice.type ? " and no scaling contradict each other" : " is used only with scaling, and neither you nor the file has one");
  }
  if (choice.original_context) scaling.original_context = static_cast<double>(*choice.original_context);
  if (scaling.type == Type::none) {
    scaling.factor = 1.0;
    return success();
  }
  if (choice.factor) scaling.factor = *choice.factor;
  if (scaling.factor == 1.0 && choice.type && !choice.factor) return refuse("scaling needs a factor, and neither you nor the file has one");
  if (scaling.type == Type::yarn && c.rope_base <= 1.0f) return refuse("yarn needs a base above 1; found ", c.rope_base);
  const double scaled = std::floor(scaling.original_context * scaling.factor);
  const auto positions = static_cast<std::size_t>(std::min(scaled, static_cast<double>(max_context)));
  if (choice.factor || choice.original_context) {
    c.context = positions;
  } else if (scaling.type == Type::yarn) {  // if somebody added YaRN to the file, its context_length may be the one without YaRN
    c.context = std::max(c.context, positions);
  }
  return success();
}

// Returns the numbers that a key of the model file gives, one number for each layer, as text: "8 in layers 0 to 3, 4 in layer 4".
inline std::string by_layer_text(const std::vector<std::uint64_t>& numbers) {
  constexpr std::size_t max_runs = 6;
  std::string out;
  std::size_t runs = 0;
  for (std::size_t first = 0, end = 0; first < numbers.size(); first = end) {
    while (end < numbers.size() && numbers[end] == numbers[first]) ++end;
    if (++runs > max_runs) return out + ", ...";
    out += concat(first == 0 ? "" : ", ", numbers[first], end - first == 1 ? " in layer " : " in layers ", first);
    if (end - first > 1) out += concat(" to ", end - 1);
  }
  return out;
}

// Checks the keys and tensors that the file contains besides the dimensions that are read: none of them may change what is computed.
class UnknownParts {
 public:
  UnknownParts(const ModelSource& source, const Architecture& architecture, ModelConfig& config)
      : source_(source), architecture_(architecture), c_(config) {}

  Status check() {
    for (const NeutralKey& neutral : neutral_keys) {
      if (Status s = check_number(neutral.suffix, neutral.neutral, neutral.effect); !s) return s;
    }
    if (Status s = check_number("attention.scale", 1.0 / std::sqrt(static_cast<double>(c_.head_dim)), "scales the scores of attention");
        !s) {
      return s;
    }
    if (Status s = check_window(); !s) return s;
    if (source_.has(c_.key("rope.dimension_sections"))) {
      return source_.key_error(c_.key("rope.dimension_sections"), "positions in several dimensions (M-RoPE) are not supported");
    }
    note_unknown_keys();
    for (std::size_t i = 0; i < source_.tensor_count(); ++i) {
      if (Status s = check_tensor(source_.tensor(i)); !s) return s;
    }
    return check_vocabulary();
  }

 private:
  // Returns the value of a key as a number. Booleans become 0 and 1. Returns nothing for values of other types.
  static std::optional<double> number_of(const MetadataValue& found) {
    if (const bool* value = std::get_if<bool>(&found.value)) return *value ? 1.0 : 0.0;
    if (const auto* value = std::get_if<std::uint64_t>(&found.value)) return static_cast<double>(*value);
    if (const auto* value = std::get_if<std::int64_t>(&found.value)) return static_cast<double>(*value);
    if (const double* value = std::get_if<double>(&found.value)) return *value;
    return std::nullopt;
  }

  Status check_number(std::string_view suffix, double neutral, std::string_view effect) const {
    const std::optional<MetadataValue> found = source_.find_value(c_.key(suffix));
    if (!found) return success();
    const std::optional<double> number = number_of(*found);
    if (number && std::abs(*number - neutral) <= 1e-6 * std::abs(neutral)) return success();
    return source_.key_error(c_.key(suffix), "found ", number ? concat(static_cast<float>(*number)) : found->type, ", which ", effect,
                             " and is not supported; expected ", static_cast<float>(neutral), " or no such key");
  }

  Status check_window() const {
    const std::optional<MetadataValue> found = source_.find_value(c_.key("attention.sliding_window"));
    if (!found) return success();
    const std::optional<double> number = number_of(*found);
    if (number && (*number == 0.0 || *number >= static_cast<double>(c_.context))) return success();
    return source_.key_error(c_.key("attention.sliding_window"), "found ", number ? concat(static_cast<float>(*number)) : found->type,
                             ", and attention with a window is not supported; expected 0 or at least the context of ", c_.context);
  }

  void note_unknown_keys() {
    const std::string prefix = c_.key("");
    std::vector<std::string> unknown;
    for (const std::string_view name : source_.keys_under(prefix)) {
      if (!is_known_key(name.substr(prefix.size()))) unknown.emplace_back(name);
    }
    if (auto note = unknown_keys_note(unknown, printable_path(source_.path()))) c_.notes.push_back(std::move(*note));
  }

  Status check_tensor(const TensorInfo& tensor) const {
    if (has_model_tensor(tensor.name)) return success();
    const std::optional<LayerTensor> of_layer = layer_tensor(tensor.name);
    if (!of_layer || !has_layer_part(architecture_, of_layer->part)) {
      return source_.tensor_error(tensor, "the architecture ", c_.architecture, " has no such tensor");
    }
    if (of_layer->layer < c_.n_layers) return success();
    return source_.tensor_error(tensor, "is of layer ", of_layer->layer, ", and '", c_.key("block_count"), "' is ", c_.n_layers);
  }

  Status check_vocabulary() {
    const TensorInfo* embedding = source_.find_tensor("token_embd.weight");
    if (embedding == nullptr) return success();  // not refused here: other code may want to see the rest of the file
    c_.vocabulary = static_cast<std::size_t>(embedding->dims[1]);
    const std::size_t tokens = source_.token_count();
    if (c_.vocabulary >= tokens) return success();
    return source_.tensor_error(*embedding, "found ", c_.vocabulary, " rows for the ", tokens,
                                " tokens of the vocabulary; expected a row for each");
  }

  const ModelSource& source_;
  const Architecture& architecture_;
  ModelConfig& c_;
};

}  // namespace detail

// Checks that the heads and rows of the model can be rotated as `rotation` says. The Hadamard transform takes only widths that are
// multiples of 16 (contract/elementwise.hpp).
inline Status check_rotation(const ModelSource& source, const ModelConfig& c, const Rotation& rotation) {
  const auto check = [&](bool rotates, std::string_view suffix, std::size_t width) -> Status {
    if (!rotates || width % 16 == 0) return success();
    return source.key_error(c.key(suffix), "found ", width, ", which cannot be rotated; expected a multiple of 16");
  };
  if (Status s = check(rotation.residual, "embedding_length", c.hidden); !s) return s;
  if (Status s = check(rotation.heads, "attention.key_length", c.head_dim); !s) return s;
  return check(rotation.down, "feed_forward_length", c.ffn);
}

namespace detail {

// Reads and checks the dimensions of a model. The limits are far above the dimensions of any model and keep products of dimensions within
// 64 bits.
class DimensionReader {
 public:
  DimensionReader(const ModelSource& source, ModelConfig& config) : source_(source), c_(config) {}

  Status read() {
    if (Status s = refuse_experts(); !s) return s;
    if (Status s = read_layers(); !s) return s;
    if (Status s = read_heads(); !s) return s;
    const Result<float> epsilon = source_.get_float(c_.key("attention.layer_norm_rms_epsilon"));
    if (!epsilon) return epsilon.error();
    if (!(*epsilon >= 0.0f && *epsilon < 1.0f)) {
      return source_.key_error(c_.key("attention.layer_norm_rms_epsilon"), "found ", *epsilon, ", expected at least 0 and less than 1");
    }
    c_.rms_epsilon = *epsilon;
    return success();
  }

 private:
  // Refuses a mixture of experts. This is checked before everything else, because a file of a model with experts differs in other ways
  // too, and the error is to name the experts.
  Status refuse_experts() const {
    if (!source_.has(c_.key("expert_count"))) return success();
    const Result<std::uint64_t> experts = source_.get_uint(c_.key("expert_count"));
    if (!experts) return experts.error();
    if (*experts == 0) return success();
    return source_.key_error(c_.key("expert_count"), "found ", *experts, ": a mixture of experts, which is not supported",
                             c_.architecture == "llama" ? " (Mixtral is one)" : "");
  }

  Status read_layers() {
    if (Status s = read_number("block_count", c_.n_layers, 1 << 12); !s) return s;
    if (Status s = read_number("embedding_length", c_.hidden, 1 << 20); !s) return s;
    if (Status s = read_for_layers("feed_forward_length", c_.ffn, 1 << 22); !s) return s;
    if (Status s = read_for_layers("attention.head_count", c_.n_heads, 1 << 12); !s) return s;
    if (Status s = read_number("context_length", c_.context, max_context); !s) return s;
    c_.n_kv_heads = c_.n_heads;
    if (source_.has(c_.key("attention.head_count_kv"))) {
      if (Status s = read_for_layers("attention.head_count_kv", c_.n_kv_heads, 1 << 12); !s) return s;
    }
    if (c_.n_heads % c_.n_kv_heads == 0) return success();
    return source_.key_error(c_.key("attention.head_count_kv"), c_.n_heads, " query heads are not a multiple of ", c_.n_kv_heads,
                             " key/value heads");
  }

  // Reads the size of a head, and how much of it RoPE rotates.
  Status read_heads() {
    if (!source_.has(c_.key("attention.key_length")) && c_.hidden % c_.n_heads != 0) {
      return source_.key_error(c_.key("attention.head_count"), "found ", c_.n_heads, " heads; expected a divisor of ", c_.hidden,
                               ", the embedding length");
    }
    c_.head_dim = c_.hidden / c_.n_heads;
    if (Status s = read_if_there("attention.key_length", c_.head_dim); !s) return s;
    std::size_t value_dim = c_.head_dim;
    if (Status s = read_if_there("attention.value_length", value_dim); !s) return s;
    c_.rotary_dim = c_.head_dim;
    if (Status s = read_if_there("rope.dimension_count", c_.rotary_dim); !s) return s;
    if (c_.head_dim % head_dim_step != 0 || c_.head_dim > max_head_dim) {
      return source_.key_error(c_.key("attention.key_length"), "head size ", c_.head_dim, " is not supported; expected a multiple of ",
                               head_dim_step, " up to ", max_head_dim);
    }
    if (value_dim != c_.head_dim) {
      return source_.key_error(c_.key("attention.value_length"), "found ", value_dim, ", and keys have a head size of ", c_.head_dim,
                               "; expected the same");
    }
    if (c_.rotary_dim % 2 == 0 && c_.rotary_dim <= c_.head_dim) return success();
    return source_.key_error(c_.key("rope.dimension_count"), "found ", c_.rotary_dim, ", expected an even number up to the head size ",
                             c_.head_dim);
  }

  Status read_number(std::string_view suffix, std::size_t& value, std::uint64_t max) const {
    const Result<std::uint64_t> number = source_.get_uint(c_.key(suffix), max, 1);
    if (!number) return number.error();
    value = static_cast<std::size_t>(*number);
    return success();
  }
  // Reads the number of the key key(suffix) into `value`. Leaves `value` as it is if the file does not have the key.
  Status read_if_there(std::string_view suffix, std::size_t& value) const {
    return source_.has(c_.key(suffix)) ? read_number(suffix, value, 1 << 12) : success();
  }
  // Reads the number of the key key(suffix) into `value`. In the file it may also be an array with an equal number for each layer.
  Status read_for_layers(std::string_view suffix, std::size_t& value, std::uint64_t max) const {
    const std::optional<std::vector<std::uint64_t>> numbers = source_.find_integers(c_.key(suffix));
    if (!numbers) return read_number(suffix, value, max);
    if (numbers->size() != c_.n_layers) {
      return source_.key_error(c_.key(suffix), "found an array of ", numbers->size(), " integers; expected an integer, or one for each of ",
                               c_.n_layers, " layers");
    }
    if (std::any_of(numbers->begin(), numbers->end(), [&](std::uint64_t n) { return n != numbers->front(); })) {
      return source_.key_error(c_.key(suffix), "found ", by_layer_text(*numbers), "; layers that differ are not supported");
    }
    if (numbers->front() == 0 || numbers->front() > max) {
      return source_.key_error(c_.key(suffix), "found ", numbers->front(), "; expected 1 to ", max);
    }
    value = static_cast<std::size_t>(numbers->front());
    return success();
  }

  const ModelSource& source_;
  ModelConfig& c_;
};

// Finds the architecture that the file names, and puts what is known from the architecture into `c`. Also reads the model's name.
inline Result<const Architecture*> read_architecture(const ModelSource& source, ModelConfig& c) {
  constexpr std::string_view kind = "general.type", parts_of_models[] = {"adapter", "imatrix", "mmproj", "vocab"};
  const Result<std::string_view> type = source.get_string_or(kind, "model");
  if (!type) return type.error();
  if (is_one_of(*type, parts_of_models)) {
    return source.key_error(kind, "found '", printable(*type), "'; expected 'model': this file belongs to a model and is none");
  }
  const Result<std::string_view> name = source.get_string("general.architecture");
  if (!name) return name.error();
  const Architecture* const architecture = find_architecture(*name);
  if (architecture == nullptr) {
    const std::string_view what = unsupported_architecture_text(*name);
    return source.key_error("general.architecture", "'", printable(*name), "'", what.empty() ? "" : " is ", what,
                            what.empty() ? " is" : ", which is", " not supported; supported: ", architectures_text());
  }
  c.architecture = architecture->name;
  c.rope_layout = architecture->rope_layout;
  c.has_qkv_bias = architecture->needs_qkv_bias;
  c.has_qk_norm = architecture->has_qk_norm;
  // The key half_split_key marks weights that no converter to GGUF has changed (io/hugging_face.hpp): the rows of Q and K are in the
  // order of the original release.
  const Result<bool> is_original = source.get_bool_or(half_split_key, false);
  if (!is_original) return is_original.error();
  if (*is_original) c.rope_layout = RopeLayout::half_split;
  if (source.has("general.name")) {
    const Result<std::string_view> model = source.get_string("general.name");
    if (!model) return model.error();
    c.name = printable(*model);
  }
  return architecture;
}

// Reads which rotations the weights contain, from the key that `stilla pack` writes into a packed file.
inline Status read_rotation(const ModelSource& source, ModelConfig& c) {
  if (!source.has(packed_rotation_key)) return success();
  const Result<std::string_view> text = source.get_string(packed_rotation_key);
  if (!text) return text.error();
  const std::optional<Rotation> rotation = parse_rotation(*text);
  if (!rotation) {
    return source.key_error(packed_rotation_key, "found '", printable(*text), "'; expected some of residual,heads,down");
  }
  c.rotation = *rotation;
  return check_rotation(source, c, c.rotation);
}

}  // namespace detail

// Reads and checks the configuration of a model, and checks that the file contains nothing that is not understood.
inline Result<ModelConfig> read_model_config(const ModelSource& source, const RopeChoice& rope = {}) {
  ModelConfig c;
  const Result<const Architecture*> architecture = detail::read_architecture(source, c);
  if (!architecture) return architecture.error();
  if (Status s = detail::DimensionReader(source, c).read(); !s) return s.error();
  if (Status s = detail::RopeReader(source, c).read(); !s) return s.error();
  if (Status s = detail::apply_rope_choice(c, rope); !s) return s.error();
  c.notes = source.notes();
  if (Status s = detail::UnknownParts(source, **architecture, c).check(); !s) return s.error();
  if (Status s = detail::read_rotation(source, c); !s) return s.error();
  return c;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
