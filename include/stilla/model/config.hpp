// SPDX-License-Identifier: Apache-2.0
//
// A model's dimensions, all read from the source's metadata; nothing is assumed from a name. Architectures: `qwen2` (Qwen2,
// Qwen2.5, DeepSeek-R1-Distill-Qwen) and `llama` (Llama 2 and 3, SmolLM2, DeepSeek-R1-Distill-Llama). Both are the same
// forward pass; they differ in biases, which the model has or has not, and in the order of RoPE pairs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <stilla/base/error.hpp>
#include <stilla/contract/attention.hpp>
#include <stilla/io/gguf_types.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/rope.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The rotations that a model's weights have taken in (model/rotation.hpp), and that the forward pass makes up for.
struct Rotation {
  bool residual = false;
  bool heads = false;  // complete in the weights: nothing is left for the forward pass
  bool down = false;

  bool any() const { return residual || heads || down; }
  bool operator==(const Rotation&) const = default;
};

// "residual,heads,down", or those of them that are.
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

// The reverse; nothing for another word, or none.
inline std::optional<Rotation> parse_rotation(std::string_view text) {
  Rotation rotation;
  while (true) {
    const std::string_view name = text.substr(0, text.find(','));
    bool* const part = name == "residual" ? &rotation.residual : name == "heads" ? &rotation.heads : name == "down" ? &rotation.down
                                                                                                                  : nullptr;
    if (part == nullptr || *part) return std::nullopt;
    *part = true;
    if (name.size() == text.size()) return rotation;
    text.remove_prefix(name.size() + 1);
  }
}

struct ModelConfig {
  std::string architecture;
  std::string name;
  std::size_t n_layers = 0;
  std::size_t hidden = 0;        // E, the width of the residual stream
  std::size_t ffn = 0;           // width between gate/up and down
  std::size_t n_heads = 0;       // H
  std::size_t n_kv_heads = 0;    // G
  std::size_t head_dim = 0;      // D
  std::size_t vocabulary = 0;    // rows of the embedding; may be more than the tokenizer has
  std::size_t context = 0;       // positions the model was trained for
  std::size_t rotary_dim = 0;
  float rope_base = 10000.0f;
  float rms_epsilon = 0.0f;
  RopeLayout rope_layout = RopeLayout::half_split;
  RopeScaling rope_scaling;
  bool has_qkv_bias = false;  // Q, K and V must have biases; without, they may
  Rotation rotation;
};

namespace detail {

// linear and yarn, with the keys that llama.cpp's converter writes; transformers' defaults where they are missing.
inline Status read_rope_scaling(const ModelSource& source, ModelConfig& c) {
  const auto key = [&](std::string_view suffix) { return concat(c.architecture, ".rope.scaling.", suffix); };
  if (!source.has(key("type"))) return success();
  const Result<std::string_view> type = source.get_string(key("type"));
  if (!type) return type.error();
  if (*type == "none") return success();
  if (*type != "linear" && *type != "yarn") {
    return source.key_error(key("type"), "'", printable(*type), "' is not supported; supported: none, linear, yarn");
  }
  RopeScaling& scaling = c.rope_scaling;
  const auto read = [&](std::string_view suffix, double& value, float least, float most) -> Status {
    if (!source.has(key(suffix))) return success();
    const Result<float> number = source.get_float(key(suffix));
    if (!number) return number.error();
    if (!(*number >= least && *number <= most)) {
      return source.key_error(key(suffix), "found ", *number, ", expected ", least, " to ", most);
    }
    value = static_cast<double>(*number);
    return success();
  };
  if (!source.has(key("factor"))) return source.key_error(key("factor"), "missing, though '", key("type"), "' is ", *type);
  if (Status s = read("factor", scaling.factor, 1.0f, 1e6f); !s) return s;
  scaling.type = *type == "linear" ? RopeScaling::Type::linear : RopeScaling::Type::yarn;
  if (*type == "linear") return success();
  scaling.original_context = static_cast<double>(c.context);
  if (source.has(key("original_context_length"))) {
    const Result<std::uint64_t> original = source.get_uint(key("original_context_length"), 1 << 20);
    if (!original) return original.error();
    if (*original == 0) return source.key_error(key("original_context_length"), "found 0, expected 1 to ", 1 << 20);
    scaling.original_context = static_cast<double>(*original);
  }
  if (Status s = read("attn_factor", scaling.magnitude, 1e-3f, 1e3f); !s) return s;
  if (Status s = read("yarn_attn_factor", scaling.magnitude, 1e-3f, 1e3f); !s) return s;
  if (Status s = read("yarn_beta_fast", scaling.fast_turns, 1e-3f, 1e6f); !s) return s;
  if (Status s = read("yarn_beta_slow", scaling.slow_turns, 1e-3f, 1e6f); !s) return s;
  if (c.rope_base <= 1.0f) return source.key_error(key("type"), "yarn needs a 'rope.freq_base' above 1; found ", c.rope_base);
  return success();
}

}  // namespace detail

// Whether rows of these widths can be rotated: the transform takes multiples of 16 (contract/elementwise.hpp). Heads are such.
inline Status check_rotation(const ModelSource& source, const ModelConfig& c, const Rotation& rotation) {
  const auto check = [&](bool rotates, std::string_view suffix, std::size_t width) -> Status {
    if (!rotates || width % 16 == 0) return success();
    return source.key_error(concat(c.architecture, ".", suffix), "found ", width, ", which cannot be rotated; expected a multiple of 16");
  };
  if (Status s = check(rotation.residual, "embedding_length", c.hidden); !s) return s;
  return check(rotation.down, "feed_forward_length", c.ffn);
}

// Reads and checks the dimensions. Limits are far above any model's and keep products within 64 bits.
inline Result<ModelConfig> read_model_config(const ModelSource& source) {
  ModelConfig c;
  const Result<std::string_view> architecture = source.get_string("general.architecture");
  if (!architecture) return architecture.error();
  c.architecture = *architecture;
  if (c.architecture == "qwen2") {
    c.rope_layout = RopeLayout::half_split;
    c.has_qkv_bias = true;
  } else if (c.architecture == "llama") {
    c.rope_layout = RopeLayout::interleaved;
  } else {
    return source.key_error("general.architecture", "'", printable(c.architecture),
                            "' is not supported; supported: qwen2, llama");
  }
  // Weights that no converter to GGUF has touched (io/hugging_face.hpp): rows of Q and K as in the original release.
  const Result<bool> is_original = source.get_bool_or(half_split_key, false);
  if (!is_original) return is_original.error();
  if (*is_original) c.rope_layout = RopeLayout::half_split;
  if (source.has("general.name")) {
    const Result<std::string_view> name = source.get_string("general.name");
    if (!name) return name.error();
    c.name = printable(*name);
  }
  const auto key = [&](std::string_view suffix) { return concat(c.architecture, ".", suffix); };
  Status so_far = success();
  const auto read = [&](std::string_view suffix, std::size_t& value, std::uint64_t most) {
    if (!so_far) return;
    const Result<std::uint64_t> number = source.get_uint(key(suffix), most);
    if (!number) {
      so_far = number.error();
    } else if (*number == 0) {
      so_far = source.key_error(key(suffix), "found 0, expected 1 to ", most);
    } else {
      value = static_cast<std::size_t>(*number);
    }
  };
  read("block_count", c.n_layers, 1 << 12);
  read("embedding_length", c.hidden, 1 << 20);
  read("feed_forward_length", c.ffn, 1 << 22);
  read("attention.head_count", c.n_heads, 1 << 12);
  read("context_length", c.context, 1 << 20);
  c.n_kv_heads = c.n_heads;
  if (so_far && source.has(key("attention.head_count_kv"))) read("attention.head_count_kv", c.n_kv_heads, 1 << 12);
  if (!so_far) return so_far.error();

  if (c.n_heads % c.n_kv_heads != 0) {
    return source.key_error(key("attention.head_count_kv"), c.n_heads, " query heads are not a multiple of ",
                            c.n_kv_heads, " key/value heads");
  }
  if (source.has(key("attention.key_length"))) {
    read("attention.key_length", c.head_dim, 1 << 12);
  } else {
    if (c.hidden % c.n_heads != 0) {
      return source.key_error(key("embedding_length"), c.hidden, " is not a multiple of ", c.n_heads, " heads");
    }
    c.head_dim = c.hidden / c.n_heads;
  }
  c.rotary_dim = c.head_dim;
  if (source.has(key("rope.dimension_count"))) read("rope.dimension_count", c.rotary_dim, 1 << 12);
  if (!so_far) return so_far.error();
  if (c.head_dim % key_tile != 0 || c.head_dim > max_head_dim) {
    return source.key_error(key("attention.key_length"), "head size ", c.head_dim,
                            " is not supported; expected a multiple of ", key_tile, " up to ", max_head_dim);
  }
  if (c.rotary_dim % 2 != 0 || c.rotary_dim > c.head_dim) {
    return source.key_error(key("rope.dimension_count"), "found ", c.rotary_dim,
                            ", expected an even number up to the head size ", c.head_dim);
  }

  const Result<float> base = source.get_float_or(key("rope.freq_base"), 10000.0f);
  if (!base) return base.error();
  if (!(*base >= 1.0f && *base <= 1e30f)) {
    return source.key_error(key("rope.freq_base"), "found ", *base, ", expected 1 to 1e30");
  }
  c.rope_base = *base;
  const Result<float> epsilon = source.get_float(key("attention.layer_norm_rms_epsilon"));
  if (!epsilon) return epsilon.error();
  if (!(*epsilon >= 0.0f && *epsilon < 1.0f)) {
    return source.key_error(key("attention.layer_norm_rms_epsilon"), "found ", *epsilon, ", expected 0 to 1");
  }
  c.rms_epsilon = *epsilon;
  if (Status scaling = detail::read_rope_scaling(source, c); !scaling) return scaling.error();
  if (source.has(packed_rotation_key)) {
    const Result<std::string_view> text = source.get_string(packed_rotation_key);
    if (!text) return text.error();
    const std::optional<Rotation> rotation = parse_rotation(*text);
    if (!rotation) {
      return source.key_error(packed_rotation_key, "found '", printable(*text), "'; expected some of residual,heads,down");
    }
    c.rotation = *rotation;
    if (Status s = check_rotation(source, c, c.rotation); !s) return s.error();
  }
  return c;
}

}}  // namespace stilla
