// SPDX-License-Identifier: Apache-2.0
#include "static_decoder.hpp"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "../output.hpp"
#include "dequantised.hpp"
#include "hadamard.hpp"
#include "shared_parts.hpp"

namespace program {
namespace {

using onnx::ElementType;
using onnx::Graph;
using onnx::integer;
using onnx::NamedAttribute;
using Integers = std::vector<std::int64_t>;

// Adds an RMS norm, x / sqrt(mean(x^2) + epsilon) * gain, over the last dimension.
std::string add_rms_norm(Graph& g, const ExportModel& model, const StaticDialect& dialect, const std::string& x, const std::string& name,
                         std::size_t width) {
  const stilla::ModelConfig& c = model.config();
  const std::vector<float> values = model.vector(name + ".weight", width);
  const std::string gain = g.constant<float>(name + ".weight", ElementType::float32, {integer(width)}, values);
  if (dialect.has_rms_norm) {
    return g.add("RMSNormalization", {x, gain}, name, {{"axis", std::int64_t{-1}}, {"epsilon", c.rms_epsilon}});
  }
  const std::string square = g.add("Mul", {x, x}, name + ".square");
  const std::string mean = g.add("ReduceMean", {square, g.integers("last_axis", {-1})}, name + ".mean", {{"keepdims", std::int64_t{1}}});
  const std::string shifted = g.add("Add", {mean, g.scalar("epsilon", c.rms_epsilon)}, name + ".shifted");
  const std::string root = g.add("Sqrt", {shifted}, name + ".root");
  const std::string scaled = g.add("Div", {x, root}, name + ".scaled");
  return g.add("Mul", {scaled, gain}, name);
}

class Body {
 public:
  Body(ExportModel& model, const StaticDialect& dialect, stilla::FormatId weights, std::size_t S)
      : model_(model), c_(model.config()), dialect_(dialect), weights_(weights), S_(integer(S)), C_(integer(c_.context)),
        D_(integer(c_.head_dim)), H_(integer(c_.n_heads)), G_(integer(c_.n_kv_heads)) {}

  Graph build(LayerRange layers) {
    g_.opset = dialect_.opset;
    g_.name = S_ == 1 ? "iterator" : "context";
    g_.inputs.push_back({"hidden", ElementType::float32, {1, S_, integer(c_.hidden)}});
    g_.inputs.push_back({"cos", ElementType::float32, {1, 1, S_, D_}});
    g_.inputs.push_back({"sin", ElementType::float32, {1, 1, S_, D_}});
    g_.inputs.push_back({"mask", ElementType::float32, {1, 1, S_, C_}});
    g_.outputs.push_back({"hidden_out", ElementType::float32, {1, S_, integer(c_.hidden)}});
    std::string x = "hidden";
    for (std::size_t l = layers.begin; l < layers.end; ++l) x = add_layer(l, x, l + 1 == layers.end);
    return std::move(g_);
  }

 private:
  std::string add_layer(std::size_t l, const std::string& x, bool is_last) {
    const std::string name = fmt::format("blk.{}.", l);
    const std::string h = add_rms_norm(g_, model_, dialect_, x, name + "attn_norm", c_.hidden);
    const std::string attended = linear(attention(l, h), name + "attn_output", c_.hidden, c_.n_heads * c_.head_dim);
    const std::string x1 = g_.add("Add", {x, attended}, name + "ffn_input");
    const std::string f = add_rms_norm(g_, model_, dialect_, x1, name + "ffn_norm", c_.hidden);
    const std::string gate = linear(f, name + "ffn_gate", c_.ffn, c_.hidden);
    const std::string up = linear(f, name + "ffn_up", c_.ffn, c_.hidden);
    const std::string sigmoid = g_.add("Sigmoid", {gate}, name + "sigmoid");
    const std::string silu = g_.add("Mul", {gate, sigmoid}, name + "silu");
    std::string gated = g_.add("Mul", {silu, up}, name + "gated");
    if (c_.rotation.down) {
      const auto add = dialect_.has_dequantize_linear ? add_dequantised_hadamard : add_hadamard;
      gated = add(g_, model_, gated, c_.ffn, name + "gated.transformed");
    }
    const std::string down = linear(gated, name + "ffn_down", c_.hidden, c_.ffn);
    return g_.add("Add", {x1, down}, is_last ? "hidden_out" : name + "output");
  }

  // Adds attention. Each key/value head is read by H / G query heads (H query heads, G key/value heads). The queries of these heads
  // form one matrix of H / G * S rows (S tokens), so keys need not be copied for each query head.
  std::string attention(std::size_t l, const std::string& h) {
    const std::string name = fmt::format("blk.{}.", l);
    const Integers grouped{1, G_, H_ / G_ * S_, -1};
    const std::string q_heads = heads(linear(h, name + "attn_q", c_.n_heads * c_.head_dim, c_.hidden), name + "q", H_);
    const std::string q = turned(normalised(q_heads, name + "attn_q_norm"), name + "q");
    const std::string scale = g_.scalar("query_scale", static_cast<float>(1.0 / std::sqrt(static_cast<double>(c_.head_dim))));
    const std::string scaled = g_.add("Mul", {q, scale}, name + "q.scaled");
    const std::string queries = g_.add("Reshape", {scaled, g_.integers("shape.grouped", grouped)}, name + "q.grouped");
    const std::string k = normalised(projected(h, name, "k"), name + "attn_k_norm");
    const std::string keys = cached(l, "key", turned(k, name + "k"));
    const std::string values = cached(l, "value", projected(h, name, "v"));
    const std::string columns = g_.add("Transpose", {keys}, name + "k.columns", {{"perm", Integers{0, 1, 3, 2}}});
    const std::string scores = g_.add("MatMul", {queries, columns}, name + "scores.grouped");
    const std::string by_head = g_.add("Reshape", {scores, g_.integers("shape.scores", {1, H_, S_, C_})}, name + "scores");
    const std::string masked = g_.add("Add", {by_head, "mask"}, name + "scores.masked");
    const std::string shares = g_.add("Softmax", {masked}, name + "shares", {{"axis", std::int64_t{-1}}});
    const std::string by_group = g_.add("Reshape", {shares, g_.integers("shape.grouped", grouped)}, name + "shares.grouped");
    const std::string mixed = g_.add("MatMul", {by_group, values}, name + "mixed.grouped");
    const std::string mixed_heads = g_.add("Reshape", {mixed, g_.integers("shape.heads", {1, H_, S_, D_})}, name + "mixed.heads");
    const std::string rows = g_.add("Transpose", {mixed_heads}, name + "mixed.rows", {{"perm", Integers{0, 2, 1, 3}}});
    return g_.add("Reshape", {rows, g_.integers("shape.rows", {1, S_, H_ * D_})}, name + "mixed");
  }

  std::string projected(const std::string& h, const std::string& name, const std::string& part) {
    return heads(linear(h, name + "attn_" + part, c_.n_kv_heads * c_.head_dim, c_.hidden), name + part, G_);
  }

  // If the model normalises the heads of queries and keys, adds an RMS norm of each head in `heads`. Otherwise returns `heads`.
  std::string normalised(const std::string& heads, const std::string& name) {
    return c_.has_qk_norm ? add_rms_norm(g_, model_, dialect_, heads, name, c_.head_dim) : heads;
  }

  // Rearranges [1, S, count * D] (S tokens with `count` heads of D values) to [1, count, S, D].
  std::string heads(const std::string& x, const std::string& name, std::int64_t count) {
    const std::string shape = g_.integers(fmt::format("shape.{}_heads", count), {1, S_, count, D_});
    const std::string rows = g_.add("Reshape", {x, shape}, name + ".rows");
    return g_.add("Transpose", {rows}, name + ".heads", {{"perm", Integers{0, 2, 1, 3}}});
  }

  // Adds rotary position embedding. It rotates pairs of values: one from the first half of a head, one from the second half.
  std::string turned(const std::string& x, const std::string& name) {
    const auto half = [&](std::int64_t begin, std::int64_t end, const char* which) {
      return g_.add("Slice",
                    {x, g_.integers(fmt::format("at.{}", begin), {begin}), g_.integers(fmt::format("at.{}", end), {end}),
                     g_.integers("head_axis", {3})},
                    name + which);
    };
    const std::string first = half(0, D_ / 2, ".first"), second = half(D_ / 2, D_, ".second");
    const std::string negated = g_.add("Neg", {second}, name + ".negated");
    const std::string swapped = g_.add("Concat", {negated, first}, name + ".swapped", {{"axis", std::int64_t{3}}});
    const std::string by_cos = g_.add("Mul", {x, "cos"}, name + ".by_cos");
    const std::string by_sin = g_.add("Mul", {swapped, "sin"}, name + ".by_sin");
    return g_.add("Add", {by_cos, by_sin}, name + ".turned");
  }

  // Adds the keys (or values) of one layer that the attention reads: those of the past, which are an input of the graph, followed by
  // those of this step's tokens. The step's own keys (or values) are also an output of the graph.
  std::string cached(std::size_t l, const std::string& what, const std::string& fresh) {
    const std::string past = fmt::format("past_{}.{}", what, l), output = fmt::format("{}.{}", what, l);
    g_.inputs.push_back({past, ElementType::float32, {1, G_, C_ - S_, D_}});
    g_.outputs.push_back({output, ElementType::float32, {1, G_, S_, D_}});
    rename_output(fresh, output);
    return g_.add("Concat", {past, output}, fmt::format("blk.{}.all_{}s", l, what), {{"axis", std::int64_t{2}}});
  }

  // Renames the tensor that the last node makes.
  void rename_output(const std::string& from, const std::string& to) {
    if (g_.nodes.back().outputs.front() != from) fail(exit_failed, "a graph's output is not made last");
    g_.nodes.back().outputs.front() = to;
  }

  std::string linear(const std::string& x, const std::string& name, std::size_t rows, std::size_t columns) {
    const stilla::GgufTensor& tensor = model_.tensor(name + ".weight", rows, columns);
    const std::string matrix = dialect_.has_dequantize_linear
                                   ? add_dequantised(g_, model_, tensor, weights_, Storage::signed_columns, name + ".weight")
                                   : add_scaled(g_, model_, tensor, weights_, name + ".weight");
    const std::vector<float> bias = model_.optional_vector(name + ".bias", rows);
    const std::string product = g_.add("MatMul", {x, matrix}, bias.empty() ? name : name + ".product");
    if (bias.empty()) return product;
    return g_.add("Add", {product, g_.constant<float>(name + ".bias", ElementType::float32, {integer(rows)}, bias)}, name);
  }

  ExportModel& model_;
  const stilla::ModelConfig& c_;
  const StaticDialect& dialect_;
  stilla::FormatId weights_;
  std::int64_t S_, C_, D_, H_, G_;
  Graph g_;
};

}  // namespace

Graph embeddings_stage(ExportModel& model, const StaticDialect& dialect) {
  const stilla::ModelConfig& c = model.config();
  const auto C = integer(c.context), D = integer(c.head_dim);
  Graph g;
  g.name = "embeddings";
  g.opset = dialect.opset;
  g.inputs = {{"ids", ElementType::int64, {1, "sequence"}}, {"past_length", ElementType::int64, {1}}};
  g.outputs = {{"hidden", ElementType::float32, {1, "sequence", integer(c.hidden)}},
               {"cos", ElementType::float32, {1, 1, "sequence", D}},
               {"sin", ElementType::float32, {1, 1, "sequence", D}},
               {"mask", ElementType::float32, {1, 1, "sequence", C}}};
  add_residual_rotation(g, model, add_embedding(g, model, "ids", c.rotation.residual ? "embedding" : "hidden"), "hidden");

  // These nodes compute the positions of the step's tokens. A position becomes at most C - 1, the last row of the tables of cosines
  // and sines (C is the context). Tokens that only fill up the last step of a text may have positions beyond this row.
  const std::int64_t zero = 0, one = 1, last = C - 1;
  const auto scalar = [&](const char* name, std::int64_t value) {
    return g.constant<std::int64_t>(name, ElementType::int64, {}, std::span(&value, 1));
  };
  const std::string length = g.add("Squeeze", {g.add("Shape", {"ids"}, "length.list", {{"start", std::int64_t{1}}})}, "length");
  const std::string steps = g.add("Range", {scalar("zero", zero), length, scalar("one", one)}, "steps");
  const std::string wanted = g.add("Add", {steps, "past_length"}, "positions.wanted");
  const std::string positions = g.add("Min", {wanted, scalar("last", last)}, "positions");
  const ExportModel::Angles angles = model.place_angles(c.head_dim);
  for (const auto& [name, place] : {std::pair("cos", angles.cos), std::pair("sin", angles.sin)}) {
    const std::string table = g.constant({std::string(name) + ".table", ElementType::float32, {1, 1, C, D}, place});
    g.add("Gather", {table, positions}, name, {{"axis", std::int64_t{2}}});
  }

  // These nodes compute the mask. A token may see all keys that the cache holds, and of the step's own keys those up to the token
  // itself.
  const std::string keys = g.add("Range", {scalar("zero", zero), scalar("context", C), scalar("one", one)}, "keys");
  const std::string places = g.add("Sub", {scalar("context", C), length}, "places");
  const std::string in_cache = g.add("Less", {keys, "past_length"}, "in_cache");
  const std::string is_old = g.add("Less", {keys, places}, "is_old");
  const std::string old = g.add("And", {in_cache, is_old}, "old");
  const std::string is_new = g.add("Not", {is_old}, "is_new");
  const std::string offsets = g.add("Sub", {keys, places}, "key_steps");
  const std::string rows = g.add("Unsqueeze", {steps, g.integers("axis.1", {1})}, "rows");
  const std::string is_before = g.add("LessOrEqual", {offsets, rows}, "is_before");
  const std::string fresh = g.add("And", {is_before, is_new}, "fresh");
  const std::string seen = g.add("Or", {old, fresh}, "seen");
  const std::string values = g.add("Where", {seen, g.scalar("mask.seen", 0.0f), g.scalar("mask.unseen", dialect.mask_value)}, "mask.rows");
  g.add("Unsqueeze", {values, g.integers("axes.01", {0, 1})}, "mask");
  return g;
}

Graph body_stage(ExportModel& model, const StaticDialect& dialect, stilla::FormatId weights, std::size_t S, LayerRange layers) {
  return Body(model, dialect, weights, S).build(layers);
}

Graph head_stage(ExportModel& model, const StaticDialect& dialect, bool has_contrib) {
  const stilla::ModelConfig& c = model.config();
  Graph g;
  g.name = "head";
  g.opset = has_contrib ? 21 : dialect.opset;
  g.inputs = {{"hidden_out", ElementType::float32, {1, "sequence", integer(c.hidden)}}};
  g.outputs = {{"logits", ElementType::float32, {1, "sequence", integer(c.vocabulary)}}};
  StaticDialect spelled_out = dialect;
  spelled_out.has_rms_norm = false;
  const std::string x = add_residual_rotation_back(g, model, "hidden_out", "hidden_out.unrotated");
  const std::string h = add_rms_norm(g, model, spelled_out, x, "output_norm", c.hidden);
  if (has_contrib) {
    add_nbits_head(g, model, h, "logits");
  } else {
    add_dequantised_head(g, model, h, "logits");
  }
  return g;
}

}  // namespace program
