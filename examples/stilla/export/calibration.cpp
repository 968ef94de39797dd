// SPDX-License-Identifier: Apache-2.0
#include "calibration.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <utility>

#include <fmt/format.h>

#include <stilla/activation.hpp>
#include <stilla/activation_buffer.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/matmul.hpp>
#include <stilla/model/weights.hpp>
#include <stilla/norm.hpp>
#include <stilla/rope.hpp>

#include "../output.hpp"

namespace program {
namespace {

using stilla::ConstMatrix;
using stilla::Linear;
using stilla::Matrix;

// Tokens evaluated together; every text begins anew.
constexpr std::size_t most_tokens = 512;

// A matrix that owns its floats.
struct Floats {
  Floats(std::size_t rows, std::size_t columns) : values(rows * columns), m(values.data(), rows, columns) {}
  std::vector<float> values;
  Matrix m;
};

class Pass {
 public:
  Pass(const stilla::Model& model, stilla::Parallel parallel, Ranges& ranges)
      : model_(model), c_(model.config()), parallel_(parallel), ranges_(ranges) {}

  void run(std::span<const std::uint32_t> ids) {
    const std::size_t M = ids.size();
    Floats x(M, c_.hidden), cos(M, c_.rotary_dim / 2), sin(M, c_.rotary_dim / 2);
    for (std::size_t m = 0; m < M; ++m) {
      model_.embed(x.m.row(m), ids[m]);
      model_.rope_frequencies().table_row(cos.m.row(m), sin.m.row(m), m);
    }
    see("hidden", x);
    for (std::size_t l = 0; l < c_.n_layers; ++l) {
      const stilla::LayerWeights& w = model_.layers()[l];
      name_ = fmt::format("blk.{}.", l);
      const Floats h = norm(x, w.attention_norm, "attn_norm");
      Floats q = linear(h, w.query, "attn_q"), k = linear(h, w.key, "attn_k");
      const Floats v = linear(h, w.value, "attn_v");
      turn(q, cos, sin, "q");
      turn(k, cos, sin, "k");
      see(fmt::format("key.{}", l), k);
      see(fmt::format("value.{}", l), v);
      const Floats attended = linear(attention(q, k, v), w.attention_output, "attn_output");
      stilla::add_inplace(x.m, attended.m, parallel_);
      see(name_ + "ffn_input", x);
      const Floats f = norm(x, w.ffn_norm, "ffn_norm");
      Floats gate = linear(f, w.gate, "ffn_gate");
      const Floats up = linear(f, w.up, "ffn_up");
      for (const float value : gate.values) ranges_[name_ + "silu"].include(value / (1.0f + std::exp(-value)));
      stilla::silu_mul(gate.m, gate.m, up.m, parallel_);
      see(name_ + "gated", gate);
      const Floats down = linear(gate, w.down, "ffn_down");
      stilla::add_inplace(x.m, down.m, parallel_);
      see(name_ + "output", x);
    }
  }

  // The greatest difference between two scores that a softmax may see.
  float score_span() const { return score_span_; }
  // The greatest sum of a scaled query's absolute values in a layer ("blk.0."): what keys that are off by 1 move a score at most.
  float most_query_sum(const std::string& layer) const { return most_query_sum_.at(layer); }

 private:
  void see(const std::string& tensor, const Floats& values) { ranges_.include(tensor, values.values); }

  Floats norm(const Floats& x, const std::vector<float>& weight, const char* name) {
    Floats y(x.m.rows, x.m.cols);
    stilla::rms_norm(y.m, x.m, weight.data(), c_.rms_epsilon, parallel_);
    see(name_ + name, y);
    return y;
  }

  Floats linear(const Floats& x, const Linear& w, const char* name) {
    Floats y(x.m.rows, w.weight.view().rows);
    if (!stilla::matmul(y.m, w.weight.view(), x.m, rounded_, nullptr, parallel_)) fail(exit_failed, "not enough memory to calibrate");
    if (w.bias.empty()) {
      see(name_ + name, y);
      return y;
    }
    see(name_ + name + ".product", y);
    for (std::size_t m = 0; m < y.m.rows; ++m) {
      for (std::size_t n = 0; n < y.m.cols; ++n) y.m.row(m)[n] += w.bias[n];
    }
    see(name_ + name, y);
    return y;
  }

  // Half of a sum's terms may be as great as the values themselves.
  void turn(Floats& x, const Floats& cos, const Floats& sin, const std::string& part) {
    ValueRange before;
    for (const float value : x.values) before.include(value);
    const float most = before.magnitude();
    for (const char* term : {".swapped", ".by_cos", ".by_sin"}) ranges_[name_ + part + term].include(ValueRange{-most, most});
    stilla::rope(x.m, c_.head_dim, cos.m, sin.m, c_.rope_layout, parallel_);
    see(name_ + part + ".turned", x);
  }

  Floats attention(const Floats& q, const Floats& k, const Floats& v) {
    const std::size_t M = q.m.rows, D = c_.head_dim, group = c_.n_heads / c_.n_kv_heads;
    const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(D)));
    Floats mixed(M, c_.n_heads * D);
    std::vector<ValueRange> of_head(c_.n_heads);
    parallel_(c_.n_heads, [&](std::size_t head) {
      std::vector<float> scores(M);
      for (std::size_t m = 0; m < M; ++m) {
        const float* query = q.m.row(m) + head * D;
        float most = -INFINITY, sum = 0.0f;
        for (std::size_t t = 0; t < M; ++t) {  // also what the mask hides: the graph computes it
          const float* key = k.m.row(t) + head / group * D;
          float dot = 0.0f;
          for (std::size_t d = 0; d < D; ++d) dot += query[d] * scale * key[d];
          of_head[head].include(dot);
          scores[t] = dot;
          if (t <= m) most = std::max(most, dot);
        }
        float* out = mixed.m.row(m) + head * D;
        for (std::size_t t = 0; t <= m; ++t) sum += scores[t] = std::exp(scores[t] - most);
        for (std::size_t t = 0; t <= m; ++t) {
          const float* value = v.m.row(t) + head / group * D;
          for (std::size_t d = 0; d < D; ++d) out[d] += scores[t] / sum * value[d];
        }
      }
    });
    ValueRange& all = ranges_[name_ + "scores.grouped"];
    for (const ValueRange& range : of_head) all.include(range);
    score_span_ = std::max(score_span_, all.most - all.least);
    const ValueRange& turned = *ranges_.find(name_ + "q.turned");
    ranges_[name_ + "q.scaled"].include(ValueRange{turned.least * scale, turned.most * scale});
    for (std::size_t at = 0; at < q.values.size(); at += D) {
      float sum = 0.0f;
      for (std::size_t d = 0; d < D; ++d) sum += std::fabs(q.values[at + d] * scale);
      most_query_sum_[name_] = std::max(most_query_sum_[name_], sum);
    }
    see(name_ + "mixed.grouped", mixed);
    return mixed;
  }

  const stilla::Model& model_;
  const stilla::ModelConfig& c_;
  stilla::Parallel parallel_;
  Ranges& ranges_;
  stilla::ActivationBuffer rounded_{stilla::ActivationBits::sixteen};
  std::string name_;
  float score_span_ = 0.0f;
  std::map<std::string, float> most_query_sum_;
};

}  // namespace

Calibration calibrate(const std::string& model_path, stilla::FormatId weights, const std::vector<std::vector<std::uint32_t>>& texts,
                      std::size_t context, stilla::Parallel parallel, const std::function<void(std::size_t, std::size_t)>& progress) {
  const stilla::Model model =
      value_of(stilla::Model::load(value_of(stilla::GgufFile::open(model_path)), parallel, {}, weights));
  Calibration out;
  Pass pass(model, parallel, out.ranges);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::size_t count = std::min({texts[i].size(), context, most_tokens});
    if (count != 0) pass.run(std::span(texts[i]).first(count));
    out.tokens += count;
    progress(i + 1, texts.size());
  }
  out.mask_value = -std::ceil(pass.score_span() + 24.0f);  // exp(-24) is half a step of a 16-bit share in 2^18
  const stilla::ModelConfig& c = model.config();
  for (std::size_t l = 0; l < c.n_layers; ++l) {
    const std::string name = fmt::format("blk.{}.", l);
    const ValueRange scores = *out.ranges.find(name + "scores.grouped");
    out.ranges[name + "scores.masked"].include(ValueRange{scores.least + out.mask_value, scores.most});
    for (const char* share : {"sigmoid", "shares"}) out.ranges[name + share].include(ValueRange{0.0f, 1.0f});
    // Of products with the lower plane of keys and values (qdq.hpp), which is half a step of the upper one. Shares add up to 1.
    const auto half_step = [&](const char* what) {
      const ValueRange range = *out.ranges.find(fmt::format("{}.{}", what, l));
      return 0.52f * (range.most - range.least) / 255.0f;
    };
    const float score = half_step("key") * pass.most_query_sum(name), mixed = half_step("value");
    out.ranges[name + "scores.grouped.low"].include(ValueRange{-score, score});
    out.ranges[name + "mixed.grouped.low"].include(ValueRange{-mixed, mixed});
    for (const char* what : {"key", "value"}) out.ranges[fmt::format("past_{}.{}", what, l)] = *out.ranges.find(fmt::format("{}.{}", what, l));
  }
  out.ranges["mask"].include(ValueRange{out.mask_value, 0.0f});
  out.ranges["cos"].include(ValueRange{-1.0f, 1.0f});
  out.ranges["sin"].include(ValueRange{-1.0f, 1.0f});
  return out;
}

}  // namespace program
