// SPDX-License-Identifier: Apache-2.0
#include "calibration.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <utility>

#include <fmt/format.h>

#include <stilla/activation_buffer.hpp>
#include <stilla/matmul.hpp>
#include <stilla/model/rotation.hpp>
#include <stilla/norm.hpp>
#include <stilla/rope.hpp>
#include <stilla/silu_mul.hpp>

#include "../output.hpp"

namespace program {
namespace {

using stilla::ConstMatrix;
using stilla::Matrix;

// A matrix that owns its floats.
struct Floats {
  Floats(std::size_t rows, std::size_t columns) : values(rows * columns), m(values.data(), rows, columns) {}
  std::vector<float> values;
  Matrix m;
};

class Pass {
 public:
  using Progress = std::function<void(std::size_t, std::size_t)>;

  Pass(const ExportModel& model, stilla::FormatId weights, stilla::Parallel parallel, Ranges& ranges)
      : model_(model), c_(model.config()), weights_(weights), parallel_(parallel), ranges_(ranges) {}

  // Runs the model's layers on all texts at once. `ids` has the tokens of the texts one behind the other, and `ends` has the place in
  // `ids` where each text ends.
  void run(std::span<const std::uint32_t> ids, const std::vector<std::size_t>& ends, const Progress& progress) {
    const std::size_t M = ids.size();
    ends_ = ends;
    Floats x(M, c_.hidden), cos(M, c_.rotary_dim / 2), sin(M, c_.rotary_dim / 2);
    embed(x, ids);
    const stilla::RopeFrequencies frequencies = model_.rope_frequencies();
    for (std::size_t text = 0, begin = 0; text < ends.size(); begin = ends[text++]) {
      for (std::size_t m = begin; m < ends[text]; ++m) frequencies.table_row(cos.m.row(m), sin.m.row(m), m - begin);
    }
    see("hidden", x);
    for (std::size_t l = 0; l < c_.n_layers; ++l) {
      name_ = fmt::format("blk.{}.", l);
      add_attention(x, cos, sin, l);
      add_ffn(x);
      see(name_ + "output", x);
      progress(l + 1, c_.n_layers);
    }
  }

  // Returns the greatest difference between two attention scores of a layer, the maximum of all layers. So no two scores of the same
  // softmax differ by more.
  float score_span() const { return score_span_; }
  // Returns the largest sum of the absolute values of a query that is scaled for attention (one head of one token), among all queries of
  // a layer. `layer` is, for example, "blk.0.". If the values of keys are off by at most 1, a score changes by at most this sum.
  float max_query_sum(const std::string& layer) const { return max_query_sum_.at(layer); }

 private:
  void embed(Floats& x, std::span<const std::uint32_t> ids) const {
    const stilla::GgufTensor& table = model_.embedding();
    const std::span<const std::byte> bytes = model_.source().tensor_bytes(table);
    const std::size_t row_bytes = bytes.size() / c_.vocabulary;
    stilla::with_format(table.format, [&]<class F>(F) {
      for (std::size_t m = 0; m < ids.size(); ++m) stilla::decode_row<F>(bytes.data() + ids[m] * row_bytes, x.m.row(m), c_.hidden);
    });
    if (c_.rotation.residual) rotate(x, stilla::residual_rotation(c_));
  }

  void add_attention(Floats& x, const Floats& cos, const Floats& sin, std::size_t l) {
    const std::size_t query_width = c_.n_heads * c_.head_dim, kv_width = c_.n_kv_heads * c_.head_dim;
    const Floats h = norm(x, "attn_norm");
    Floats q = linear(h, "attn_q", query_width), k = linear(h, "attn_k", kv_width);
    const Floats v = linear(h, "attn_v", kv_width);
    if (c_.has_qk_norm) {
      normalise_heads(q, "attn_q_norm");
      normalise_heads(k, "attn_k_norm");
    }
    turn(q, cos, sin, "q");
    turn(k, cos, sin, "k");
    see(fmt::format("key.{}", l), k);
    see(fmt::format("value.{}", l), v);
    const Floats attended = linear(attention(q, k, v), "attn_output", c_.hidden);
    (void)stilla::add_inplace(x.m, attended.m, parallel_);
    see(name_ + "ffn_input", x);
  }

  void add_ffn(Floats& x) {
    const Floats f = norm(x, "ffn_norm");
    Floats gate = linear(f, "ffn_gate", c_.ffn);
    const Floats up = linear(f, "ffn_up", c_.ffn);
    ValueRange& silu = ranges_[name_ + "silu"];
    for (const float value : gate.values) silu.include(value / (1.0f + std::exp(-value)));
    (void)stilla::silu_mul(gate.m, gate.m, up.m, parallel_);
    see(name_ + "gated", gate);
    if (c_.rotation.down) {
      rotate(gate, stilla::down_rotation(c_));
      for (const char* tensor : {"gated.transformed", "gated.transformed.runs"}) see(name_ + tensor, gate);
    }
    const Floats down = linear(gate, "ffn_down", c_.hidden);
    (void)stilla::add_inplace(x.m, down.m, parallel_);
  }

  void rotate(Floats& x, const stilla::FastRotation& rotation) const {
    parallel_(x.m.rows, [&](std::size_t m) { rotation.rotate(x.m.row(m)); });
  }

  void see(const std::string& tensor, const Floats& values) { ranges_.include(tensor, values.values); }

  Floats norm(const Floats& x, const char* name) {
    Floats y(x.m.rows, x.m.cols);
    const std::vector<float> gain = model_.vector(name_ + name + ".weight", c_.hidden);
    (void)stilla::rms_norm(y.m, x.m, gain.data(), c_.rms_epsilon, parallel_);
    see(name_ + name, y);
    return y;
  }

  void normalise_heads(Floats& x, const char* name) {
    const std::vector<float> gain = model_.vector(name_ + name + ".weight", c_.head_dim);
    const stilla::Matrix heads(x.values.data(), x.values.size() / c_.head_dim, c_.head_dim);
    (void)stilla::rms_norm(heads, heads, gain.data(), c_.rms_epsilon, parallel_);
    see(name_ + name, x);
  }

  stilla::PackedMatrix packed(const std::string& name, std::size_t N, std::size_t K) const {
    const stilla::GgufTensor& tensor = model_.tensor(name, N, K);
    const SourceWeights::Encoded rows = value_of(model_.source_weights().encoded(tensor, weights_));
    return value_of(stilla::PackedMatrix::create(weights_, rows.blocks.data(), N, K, parallel_));
  }

  Floats linear(const Floats& x, const std::string& part, std::size_t N) {
    const std::string name = name_ + part;
    Floats y(x.m.rows, N);
    const stilla::PackedMatrix w = packed(name + ".weight", N, x.m.cols);
    if (!stilla::matmul(y.m, w.view(), x.m, rounded_, nullptr, parallel_)) fail(exit_failed, "not enough memory to calibrate");
    const std::vector<float> bias = model_.optional_vector(name + ".bias", N);
    if (!bias.empty()) see(name + ".product", y);
    for (std::size_t m = 0; m < y.m.rows && !bias.empty(); ++m) {
      for (std::size_t n = 0; n < N; ++n) y.m.row(m)[n] += bias[n];
    }
    see(name, y);
    return y;
  }

  // Rotates x by position (RoPE). In the graph, the rotation adds up products of x's values with cosines and sines. In magnitude no
  // product is larger than the largest value of x, so the ranges of the products go from minus this magnitude to plus this magnitude.
  void turn(Floats& x, const Floats& cos, const Floats& sin, const std::string& part) {
    ValueRange before;
    for (const float value : x.values) before.include(value);
    const float most = before.magnitude();
    for (const char* term : {".swapped", ".by_cos", ".by_sin"}) ranges_[name_ + part + term].include(ValueRange{-most, most});
    (void)stilla::rope(x.m, c_.head_dim, cos.m, sin.m, c_.rope_layout, parallel_);
    see(name_ + part + ".turned", x);
  }

  // Computes attention for all texts. Each text attends only to itself.
  Floats attention(const Floats& q, const Floats& k, const Floats& v) {
    const std::size_t D = c_.head_dim;
    const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(D)));
    Floats mixed(q.m.rows, c_.n_heads * D);
    std::vector<ValueRange> of_head(c_.n_heads);
    parallel_(c_.n_heads, [&](std::size_t head) {
      for (std::size_t text = 0, begin = 0; text < ends_.size(); begin = ends_[text++]) {
        attend(mixed.m, q.m, k.m, v.m, head, scale, begin, ends_[text], of_head[head]);
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
      max_query_sum_[name_] = std::max(max_query_sum_[name_], sum);
    }
    see(name_ + "mixed.grouped", mixed);
    return mixed;
  }

  // Computes attention of one query head for the tokens from begin to end, which are one text.
  void attend(Matrix mixed, ConstMatrix q, ConstMatrix k, ConstMatrix v, std::size_t head, float scale, std::size_t begin, std::size_t end,
              ValueRange& range) const {
    const std::size_t D = c_.head_dim, kv = head / (c_.n_heads / c_.n_kv_heads) * D;
    std::vector<float> scores(end - begin);
    for (std::size_t m = begin; m < end; ++m) {
      float most = -INFINITY, sum = 0.0f;
      // The loop also computes scores that the causal mask hides, because the exported graph computes them too.
      for (std::size_t t = begin; t < end; ++t) {
        const float *query = q.row(m) + head * D, *key = k.row(t) + kv;
        float dot = 0.0f;
        for (std::size_t d = 0; d < D; ++d) dot += query[d] * scale * key[d];
        range.include(dot);
        scores[t - begin] = dot;
        if (t <= m) most = std::max(most, dot);
      }
      float* out = mixed.row(m) + head * D;
      for (std::size_t t = begin; t <= m; ++t) sum += scores[t - begin] = std::exp(scores[t - begin] - most);
      for (std::size_t t = begin; t <= m; ++t) {
        const float* value = v.row(t) + kv;
        for (std::size_t d = 0; d < D; ++d) out[d] += scores[t - begin] / sum * value[d];
      }
    }
  }

  const ExportModel& model_;
  const stilla::ModelConfig& c_;
  stilla::FormatId weights_;
  stilla::Parallel parallel_;
  Ranges& ranges_;
  stilla::ActivationBuffer rounded_{stilla::ActivationBits::sixteen};
  std::vector<std::size_t> ends_;
  std::string name_;  // "blk.0."
  float score_span_ = 0.0f;
  std::map<std::string, float> max_query_sum_;
};

}  // namespace

Calibration calibrate(const ExportModel& model, stilla::FormatId weights, const std::vector<std::vector<std::uint32_t>>& texts,
                      stilla::Parallel parallel, const std::function<void(std::size_t, std::size_t)>& progress) {
  std::vector<std::uint32_t> ids;
  std::vector<std::size_t> ends;
  for (const std::vector<std::uint32_t>& text : texts) {
    const std::size_t count = std::min({text.size(), model.config().context, max_calibration_tokens - ids.size()});
    ids.insert(ids.end(), text.begin(), text.begin() + static_cast<std::ptrdiff_t>(count));
    if (count != 0) ends.push_back(ids.size());
  }
  if (ids.empty()) fail(exit_usage, "--calibration: holds no text");
  const std::uint32_t most = *std::max_element(ids.begin(), ids.end());
  if (most >= model.config().vocabulary) {
    fail(exit_refused, fmt::format("{}: the tokenizer makes token id {} and the embedding has {} rows",
                                   stilla::printable_path(model.source().path()), most, model.config().vocabulary));
  }
  Calibration out;
  Pass pass(model, weights, parallel, out.ranges);
  pass.run(ids, ends, progress);
  out.tokens = ids.size();
  // The mask lowers the scores of hidden keys by 24 more than the greatest difference between two scores. exp(-24) is 2^18 times
  // smaller than half a step of a softmax weight that is rounded to 16 bits, so the weight of a hidden key becomes 0.
  out.mask_value = -std::ceil(pass.score_span() + 24.0f);
  for (std::size_t l = 0; l < model.config().n_layers; ++l) {
    const std::string name = fmt::format("blk.{}.", l);
    const ValueRange scores = *out.ranges.find(name + "scores.grouped");
    out.ranges[name + "scores.masked"].include(ValueRange{scores.least + out.mask_value, scores.most});
    for (const char* share : {"sigmoid", "shares"}) out.ranges[name + share].include(ValueRange{0.0f, 1.0f});
    // In the graph, keys and values are the sum of an upper and a lower plane of 8 bits (qdq.hpp). The ranges that are set here are
    // those of the products with the lower plane, whose values are at most half as large as the distance between two neighbouring values
    // of the upper plane. The weights of a softmax add up to 1, so the weighted sum of values is not larger than the values.
    const auto half_step = [&](const char* what) {
      const ValueRange range = *out.ranges.find(fmt::format("{}.{}", what, l));
      return 0.52f * (range.most - range.least) / 255.0f;
    };
    const float score = half_step("key") * pass.max_query_sum(name), mixed = half_step("value");
    out.ranges[name + "scores.grouped.low"].include(ValueRange{-score, score});
    out.ranges[name + "mixed.grouped.low"].include(ValueRange{-mixed, mixed});
    for (const char* what : {"key", "value"})
      out.ranges[fmt::format("past_{}.{}", what, l)] = *out.ranges.find(fmt::format("{}.{}", what, l));
  }
  out.ranges["mask"].include(ValueRange{out.mask_value, 0.0f});
  out.ranges["cos"].include(ValueRange{-1.0f, 1.0f});
  out.ranges["sin"].include(ValueRange{-1.0f, 1.0f});
  return out;
}

}  // namespace program
