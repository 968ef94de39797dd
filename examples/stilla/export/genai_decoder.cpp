// SPDX-License-Identifier: Apache-2.0
#include "genai_decoder.hpp"

#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "hadamard.hpp"
#include "shared_parts.hpp"

namespace program {
namespace {

using onnx::contrib_domain;
using onnx::ElementType;
using onnx::integer;
using onnx::NamedAttribute;

class GenaiDecoder {
 public:
  GenaiDecoder(ExportModel& model, std::optional<stilla::FormatId> weights) : model_(model), c_(model.config()), weights_(weights) {}

  onnx::Graph build() {
    g_.name = "decoder";
    g_.inputs.push_back({"input_ids", ElementType::int64, {"batch", "sequence"}});
    g_.inputs.push_back({"attention_mask", ElementType::int64, {"batch", "total"}});
    g_.outputs.push_back({"logits", ElementType::float32, {"batch", "sequence", integer(c_.vocabulary)}});
    add_lengths();
    const ExportModel::Angles angles = model_.place_angles(c_.head_dim / 2);
    const onnx::Shape shape{integer(angles.positions), integer(angles.width)};
    g_.constant({"cos_cache", ElementType::float32, shape, angles.cos});
    g_.constant({"sin_cache", ElementType::float32, shape, angles.sin});

    residual_ = add_residual_rotation(g_, model_, add_embedding(g_, model_, "input_ids", "embedding"), "embedding.rotated");
    for (std::size_t l = 0; l < c_.n_layers; ++l) add_layer(l);
    turn_back();
    const std::string last = normalise("output_norm");
    add_nbits_head(g_, model_, last, "logits");
    return std::move(g_);
  }

 private:
  // Adds the lengths that GroupQueryAttention needs: for each text of the batch the number of its tokens minus one, and the
  // number of tokens of the longest text.
  void add_lengths() {
    const std::string axes = g_.integers("axis_1", {1});
    const std::string one = g_.integers("one", {1});
    const std::string sum = g_.add("ReduceSum", {"attention_mask", axes}, "mask_sum", {{"keepdims", std::int64_t{0}}});
    const std::string before = g_.add("Sub", {sum, one}, "mask_sum_less_one");
    const std::vector<NamedAttribute> to_int32{{"to", static_cast<std::int64_t>(ElementType::int32)}};
    g_.add("Cast", {before}, "seqlens_k", to_int32);
    const std::string shape = g_.add("Shape", {"attention_mask"}, "mask_shape", {{"start", std::int64_t{1}}});
    const std::string total = g_.add("Squeeze", {shape}, "mask_width");
    g_.add("Cast", {total}, "total_sequence_length", to_int32);
  }

  void add_layer(std::size_t l) {
    const std::string name = fmt::format("blk.{}.", l);
    const std::string h = normalise(name + "attn_norm");
    const std::size_t query_width = c_.n_heads * c_.head_dim, kv_width = c_.n_kv_heads * c_.head_dim;
    const std::string q = normalised_heads(linear(h, name + "attn_q", query_width, c_.hidden), name + "attn_q_norm", c_.n_heads);
    const std::string k = normalised_heads(linear(h, name + "attn_k", kv_width, c_.hidden), name + "attn_k_norm", c_.n_kv_heads);
    const std::string v = linear(h, name + "attn_v", kv_width, c_.hidden);
    pending_ = linear(attention(l, q, k, v), name + "attn_output", c_.hidden, query_width);
    const std::string f = normalise(name + "ffn_norm");
    const std::string gate = linear(f, name + "ffn_gate", c_.ffn, c_.hidden);
    const std::string up = linear(f, name + "ffn_up", c_.ffn, c_.hidden);
    const std::string sigmoid = g_.add("Sigmoid", {gate}, name + "sigmoid");
    const std::string silu = g_.add("Mul", {gate, sigmoid}, name + "silu");
    std::string gated = g_.add("Mul", {silu, up}, name + "gated");
    if (c_.rotation.down) gated = add_hadamard(g_, model_, gated, c_.ffn, name + "gated.transformed");
    pending_ = linear(gated, name + "ffn_down", c_.hidden, c_.ffn);
  }

  std::string attention(std::size_t l, const std::string& q, const std::string& k, const std::string& v) {
    const std::string past = fmt::format("past_key_values.{}.", l), present = fmt::format("present.{}.", l);
    const std::string output = fmt::format("blk.{}.attention", l);
    for (const char* part : {"key", "value"}) {
      g_.inputs.push_back({past + part, ElementType::float32, {"batch", integer(c_.n_kv_heads), "past", integer(c_.head_dim)}});
      g_.outputs.push_back({present + part, ElementType::float32, {"batch", integer(c_.n_kv_heads), "total", integer(c_.head_dim)}});
    }
    g_.nodes.push_back({"GroupQueryAttention",
                        {q, k, v, past + "key", past + "value", "seqlens_k", "total_sequence_length", "cos_cache", "sin_cache"},
                        {output, present + "key", present + "value"},
                        {{"num_heads", integer(c_.n_heads)},
                         {"kv_num_heads", integer(c_.n_kv_heads)},
                         {"do_rotary", std::int64_t{1}},
                         {"rotary_interleaved", std::int64_t{0}}},
                        contrib_domain});
    return output;
  }

  // Puts the RMS norm `name` of the residual stream into the graph, and returns the name of its output. If a tensor (pending_) still has
  // to be added to the residual stream, the norm's operator adds it before it normalises.
  std::string normalise(const std::string& name) {
    const std::vector<float> gain = model_.vector(name + ".weight", c_.hidden);
    const std::string weight = g_.constant<float>(name + ".weight", ElementType::float32, {integer(c_.hidden)}, gain);
    const NamedAttribute epsilon{"epsilon", c_.rms_epsilon};
    // onnxruntime has SimplifiedLayerNormalization in ONNX's own operator set, so the node names no other set.
    if (pending_.empty()) {
      return g_.add("SimplifiedLayerNormalization", {residual_, weight}, name,
                    {{"axis", std::int64_t{-1}}, epsilon, {"stash_type", std::int64_t{1}}});
    }
    const std::string sum = name + ".residual";
    g_.nodes.push_back({"SkipSimplifiedLayerNormalization", {residual_, pending_, weight}, {name, "", "", sum}, {epsilon}, contrib_domain});
    residual_ = sum;
    return name;
  }

  // Adds nodes that undo the rotation of the residual stream before the last norm reads it, or nothing if the stream is not rotated.
  void turn_back() {
    if (!c_.rotation.residual) return;
    residual_ = g_.add("Add", {residual_, pending_}, "rotated");
    residual_ = add_residual_rotation_back(g_, model_, residual_, "unrotated");
    pending_.clear();
  }

  // If the model normalises the heads of queries and keys, adds an RMS norm of each of the `count` heads of x. Otherwise returns x.
  std::string normalised_heads(const std::string& x, const std::string& name, std::size_t count) {
    if (!c_.has_qk_norm) return x;
    const std::int64_t D = integer(c_.head_dim), heads = integer(count);
    const std::vector<float> gain = model_.vector(name + ".weight", c_.head_dim);
    const std::string weight = g_.constant<float>(name + ".weight", ElementType::float32, {D}, gain);
    const std::string apart = g_.add("Reshape", {x, g_.integers(fmt::format("shape.{}_heads", heads), {0, 0, heads, D})}, name + ".heads");
    const std::string normalised = g_.add("SimplifiedLayerNormalization", {apart, weight}, name + ".normalised",
                                          {{"axis", std::int64_t{-1}}, {"epsilon", c_.rms_epsilon}, {"stash_type", std::int64_t{1}}});
    return g_.add("Reshape", {normalised, g_.integers(fmt::format("shape.{}_heads_together", heads), {0, 0, heads * D})}, name);
  }

  std::string linear(const std::string& x, const std::string& name, std::size_t rows, std::size_t columns) {
    const stilla::GgufTensor& tensor = model_.tensor(name + ".weight", rows, columns);
    const stilla::FormatId format = weights_.value_or(nbits_format(model_, tensor, stilla::format_id("q4_0")));
    const std::vector<float> bias = model_.optional_vector(name + ".bias", rows);
    const std::string product = add_matmul_nbits(g_, model_, x, tensor, format, bias.empty() ? name : name + ".product");
    if (bias.empty()) return product;
    const std::string constant = g_.constant<float>(name + ".bias", ElementType::float32, {integer(rows)}, bias);
    return g_.add("Add", {product, constant}, name);
  }

  ExportModel& model_;
  const stilla::ModelConfig& c_;
  std::optional<stilla::FormatId> weights_;
  onnx::Graph g_;
  std::string residual_;
  std::string pending_;  // what the next normalisation adds to the residual stream; empty: nothing
};

}  // namespace

onnx::Graph genai_decoder(ExportModel& model, std::optional<stilla::FormatId> weights) { return GenaiDecoder(model, weights).build(); }

}  // namespace program
