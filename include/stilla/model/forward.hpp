// SPDX-License-Identifier: Apache-2.0
//
// The forward pass of Qwen2, Qwen3 and Llama, for prompts and for single tokens. It follows the published references (Qwen2Model,
// Qwen3Model and LlamaModel of the library transformers):
//
//     x = embedding[ids]
//     for each layer:
//       h = rms_norm(x);  q, k, v = h Wq + bq, h Wk + bk, h Wv + bv
//       q, k = rms_norm of each head (Qwen3);  rotate q and k;  store k, v
//       x += attention(q, cache) Wo
//       h = rms_norm(x);  x += (silu(h Wgate) * (h Wup)) Wdown
//     logits = rms_norm(x) Whead
//
// If the weights were rotated (model/rotation.hpp), x is rotated after the embedding and rotated back before the last norm, and
// the input of Wdown is transformed.
//
// A Session is one text: its ids, its cache and scratch memory. Many sessions on many threads may use the same const Model. The
// logits are the same bits however the ids are divided into calls, on every target and with any number of threads.
//
//   Result<Session> text = Session::create(model, options, pool);
//   text->evaluate(ids);                      // returns the logits for the next token
//   text->evaluate(ids, request);             // returns only the logits that a sampler asks for (sampling.hpp)
//   text->append(ids);                        // returns no logits
//   text->truncate(100);                      // forgets all positions from 100 on
//   Result<Session> other = text->fork();     // a second text with the same beginning; the common part is in memory once
//   text->shift(20, 50);                      // if the context is full: forgets positions 20 .. 69 and evaluates the rest again
//   text->save("text.session", note);         // saves ids, keys and values, and a note of the caller's
//   Result<std::string> note = text->restore("text.session");
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/attention.hpp>
#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/fused.hpp>
#include <stilla/head.hpp>
#include <stilla/kv_cache.hpp>
#include <stilla/matmul.hpp>
#include <stilla/model/body.hpp>
#include <stilla/model/rotation.hpp>
#include <stilla/model/session_file.hpp>
#include <stilla/model/weights.hpp>
#include <stilla/norm.hpp>
#include <stilla/rope.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Whether the layers of a model have at least a billion weights. default_activations() and default_kv_type() depend on this.
inline bool is_large_model(const ModelConfig& config) { return layer_weights(config) >= 1000000000; }

// Returns to how many bits the inputs of quantised matrices are rounded if the caller does not choose.
//
// Models below a billion weights have 16 bits: rounding to 8 bits changes the logits of small models more than their 4-bit
// weights do on their own (bench/fidelity.md), and small models are fast anyway.
//
// Larger models have 8 bits, as is usual, because a prompt then takes half the time. Only tokens with massive activations keep 16
// bits. This lowers the KL divergence (bench/fidelity.md) by a tenth and costs 1 % more time (contract/wide_row.hpp).
//
// The input of the head always has 16 bits. Errors of this input go directly into the logits: with 8 bits they were a quarter of the KL
// divergence on a 0.5B model. And 16 bits do not make the head slower, because it takes as long as its weights take to be read from
// memory.
inline ActivationBits default_activations(const ModelConfig& config) {
  return is_large_model(config) ? ActivationBits::mixed : ActivationBits::sixteen;
}

// The type of keys and values if the caller does not choose. Models with a billion weights or more have int8, which takes half the
// memory of f16: a 14B that has thought for 32768 tokens keeps 3.3 GB instead of 6.4. Long prompts and late tokens are also faster.
// bench/fidelity.md, "The key/value cache", says what int8 costs. Smaller models keep f16, because their cache for one text takes
// little memory anyway.
inline KvType default_kv_type(const ModelConfig& config) { return is_large_model(config) ? KvType::int8 : KvType::f16; }

// A function that a session calls with the inputs of a layer's matrices, as floats before they are rounded: one row for each token.
using LinearObserver = std::function<void(std::size_t layer, LinearInput input, ConstMatrix x)>;

struct SessionOptions {
  std::size_t context = 0;   // the largest number of positions; 0: as many as the model was trained for
  std::optional<KvType> kv_type = std::nullopt;              // none: default_kv_type(config)
  std::optional<ActivationBits> activations = std::nullopt;  // none: default_activations(config)
  // The largest number of tokens that are evaluated at once. A larger number needs more memory; results do not change.
  std::size_t batch = 512;
  // 0: tokens are evaluated in batches of any size. Otherwise this is the number of tokens of a window. All evaluations then have
  // one of two shapes, as in programs compiled for an NPU: a window of this many tokens, or one token. A prompt is evaluated in
  // windows. The last window begins with the remaining tokens and is filled up with token 0. The rows of the filling are computed
  // and dropped, and no other position attends to them. The logits have the same bits as without windows.
  std::size_t window = 0;
  // If not null, the session calls this function with the inputs of each layer's matrices, for all tokens. This costs some speed.
  LinearObserver observer = {};
  // If not null, the body runs the layers and keeps the keys and values (body.hpp); `kv_type` and `window` then have no effect. The
  // body must outlive the session, and serves no other session. A fork of the session has no body and begins empty. The text cannot be
  // saved or restored. If null, this library runs the layers.
  ModelBody* body = nullptr;
};

class Session {
 public:
  // The model must outlive the session.
  static Result<Session> create(const Model& model, const SessionOptions& options = {}, Parallel parallel = {}) {
    const ModelConfig& c = model.config();
    if (options.body == nullptr && model.layers().empty()) return without_layers();
    Result<KvCache> cache = KvCache::create({c.n_layers, c.n_kv_heads, c.head_dim, options.kv_type.value_or(default_kv_type(c))});
    if (!cache) return cache.error();
    Session session(model, options, parallel, std::move(*cache));
    if (session.options_.context == 0 || session.options_.context > c.context) session.options_.context = c.context;
    if (options.body != nullptr) session.options_.context = std::min(session.options_.context, options.body->context());
    if (session.options_.batch == 0) session.options_.batch = 1;
    return session;
  }

  // size() is the number of positions evaluated so far, ids() are their tokens, and context() is the largest number of positions.
  std::size_t size() const { return ids_.size(); }
  std::span<const std::uint32_t> ids() const { return ids_; }
  std::size_t context() const { return options_.context; }
  std::size_t batch() const { return options_.window == 0 ? options_.batch : options_.window; }  // most tokens evaluated at once
  ActivationBits activations() const { return rounded_.bits(); }
  const KvCache& cache() const { return cache_; }

  // Forgets all positions of the text from `count` on.
  void truncate(std::size_t count) {
    ids_.resize(std::min(count, size()));
    if (options_.body == nullptr) cache_.set_size(ids_.size());
  }

  // Returns a second session whose text is so far the same. Both sessions share the stored keys and values, which are copied, chunk by
  // chunk, only when one of the two texts goes on.
  Session fork() {
    SessionOptions options = options_;
    options.body = nullptr;
    Session other(*model_, options, parallel_, cache_.fork());
    if (options_.body == nullptr) other.ids_ = ids_;
    return other;
  }

  // Makes room when the context is full: forgets positions [keep, keep + discard) and evaluates the tokens that followed them
  // again, at their new positions. The session is then the same as if the shorter text had always been its text. It would not be the
  // same if the stored keys were only rotated to their new positions (RoPE), because the later keys and values were computed from
  // tokens that are now forgotten. A shift costs as much as a prompt of the tokens that remain behind `keep`. It needs memory for the
  // cache only if the session shares chunks with a fork; if there is not enough memory, the text ends at `keep`.
  Status shift(std::size_t keep, std::size_t discard) {
    if (keep > size() || discard > size() - keep) {
      return Error{ErrorKind::bad_argument, concat("cannot forget ", discard, " positions from ", keep, " on: the text has ", size())};
    }
    const std::vector<std::uint32_t> rest(ids_.begin() + static_cast<std::ptrdiff_t>(keep + discard), ids_.end());
    truncate(keep);
    return rest.empty() ? success() : append(rest);
  }

  // Writes the text, its keys and values, and a note of the caller (for example the messages of a conversation) to a file. The
  // file appears complete or not at all (session_file.hpp).
  Status save(const std::string& path, std::string_view note = {}) const {
    if (options_.body != nullptr) return without_cache();
    return write_session_file(path, kind(), ids_, note, cache_);
  }

  // A function of the caller that accepts or refuses the contents of a saved session: its ids, which are below config().vocabulary,
  // and its note. The file may come from anybody. Its keys and values may be any finite numbers, so logits computed from them
  // may still be infinite or NaN.
  using AcceptSaved = std::function<Status(const SavedText& saved)>;

  // Replaces the text by a saved one and returns its note. The file must have been saved by this version of the library, with the
  // same model, type of cache and bits of activations; it must fit the context; and `accept`, if given, must agree. Otherwise the
  // file is refused and the text stays as it was.
  Result<std::string> restore(const std::string& path, const AcceptSaved& accept = {}) {
    const Result<MappedFile> file = MappedFile::open(path);
    if (!file) return file.error();
    return restore(*file, accept);
  }
  Result<std::string> restore(const MappedFile& file, const AcceptSaved& accept = {}) {
    if (options_.body != nullptr) return without_cache();
    Result<SavedText> saved = read_session_file(file, kind());
    if (!saved) return saved.error();
    if (accept) {
      if (Status s = accept(*saved); !s) return Error{s.error().kind, concat(printable_path(file.path()), ": ", s.error().message)};
    }
    cache_ = std::move(saved->cache);
    ids_ = std::move(saved->ids);
    return std::move(saved->note);
  }

  // Appends the tokens to the text and returns the logits for the token that follows the last one: config().vocabulary floats,
  // valid until the next call. After an error the text is as it was before.
  Result<std::span<const float>> evaluate(std::span<const std::uint32_t> ids) {
    if (Status s = run(ids, {LogitRows::last}, [](std::size_t) {}); !s) return s.error();
    return std::span<const float>{logits_.data(), model_->config().vocabulary};
  }

  // Appends the tokens to the text as evaluate() does, but computes the logits of every position: after each batch,
  // sink(first position, ConstMatrix rows) is called.
  template <class Sink>
  Status evaluate_all(std::span<const std::uint32_t> ids, Sink&& sink) {
    std::size_t position = size();
    return run(ids, {LogitRows::all}, [&](std::size_t rows) {
      sink(position, ConstMatrix{logits_.data(), rows, model_->config().vocabulary});
      position += rows;
    });
  }

  // Like evaluate(), but returns only the logits that `request` asks for, ordered by id (head.hpp). It needs no memory for a
  // whole row of logits.
  Result<std::span<const Candidate>> evaluate(std::span<const std::uint32_t> ids, const LogitRequest& request) {
    if (Status s = run(ids, {LogitRows::last, &request}, [](std::size_t) {}); !s) return s.error();
    return top_.row(0);
  }

  // Appends the tokens to the text and computes the logits that `request` asks for at every position: for each position,
  // sink(position, std::span<const Candidate>) is called. The candidates are valid until the next batch.
  template <class Sink>
  Status evaluate_all(std::span<const std::uint32_t> ids, const LogitRequest& request, Sink&& sink) {
    std::size_t position = size();
    return run(ids, {LogitRows::all, &request}, [&](std::size_t rows) {
      for (std::size_t m = 0; m < rows; ++m) sink(position++, top_.row(m));
    });
  }

  // Appends the tokens to the text as evaluate() does, but computes no logits.
  Status append(std::span<const std::uint32_t> ids) {
    return run(ids, {LogitRows::none}, [](std::size_t) {});
  }

 private:
  enum class LogitRows : std::uint8_t { none, last, all };

  struct WantedLogits {
    LogitRows rows;
    const LogitRequest* request = nullptr;  // null: all logits of a row

    std::size_t rows_of(std::size_t M) const { return rows == LogitRows::all ? M : rows == LogitRows::last ? 1 : 0; }
  };

  Session(const Model& model, const SessionOptions& options, Parallel parallel, KvCache cache)
      : model_(&model), options_(options), parallel_(parallel), cache_(std::move(cache)),
        rounded_(options.activations.value_or(default_activations(model.config()))), rounded_ffn_(rounded_.bits()) {
    const ModelConfig& c = model.config();
    if (rotation().residual) residual_rotation_ = residual_rotation(c);
    if (rotation().down) down_rotation_ = down_rotation(c);
    if (leaves_out_key_bias(cache_.shape().type)) key_bias_tables_ = KeyBiasTables(model.rope_frequencies(), c.head_dim, c.rope_layout);
  }

  Rotation rotation() const { return options_.body != nullptr ? options_.body->rotation() : model_->config().rotation; }
  static Error without_layers() { return {ErrorKind::bad_argument, "the model was loaded without its layers, and nothing else runs them"}; }
  static Error without_cache() {
    return {ErrorKind::bad_argument, "keys and values of this text are the device's, so it can be neither saved nor restored"};
  }

  SessionKind kind() const { return {model_->identity(), model_->config().vocabulary, context(), activations(), cache_.shape()}; }

  // Evaluates the tokens in batches. If logits of a batch are wanted, they are in logits_ or top_ after the batch, and then sink(number
  // of their rows) is called.
  template <class Sink>
  Status run(std::span<const std::uint32_t> ids, const WantedLogits& wanted, Sink&& sink) {
    const std::size_t before = size();
    if (ids.empty()) return Error{ErrorKind::bad_argument, "nothing to evaluate: the text has no tokens"};
    if (ids.size() > options_.context - before) {
      return Error{ErrorKind::bad_argument,
                   concat("the text does not fit the context: ", before + ids.size(), " tokens, but the context holds ", options_.context)};
    }
    for (const std::uint32_t id : ids) {
      if (id >= model_->config().vocabulary) {
        return Error{ErrorKind::bad_argument,
                     concat("token id ", id, " is outside the model's vocabulary of ", model_->config().vocabulary)};
      }
    }
    for (std::size_t done = 0; done < ids.size();) {
      const std::size_t most = options_.window == 0 ? options_.batch : options_.window;
      const std::size_t count = std::min(most, ids.size() - done);
      const bool is_last = done + count == ids.size();
      WantedLogits of_batch = wanted;
      if (wanted.rows == LogitRows::last && !is_last) of_batch.rows = LogitRows::none;
      if (Status s = forward(ids.subspan(done, count), of_batch); !s) {
        truncate(before);
        return s;
      }
      if (of_batch.rows != LogitRows::none) sink(of_batch.rows_of(count));
      done += count;
    }
    return success();
  }

  // Whether a matrix takes rounded activations, and not floats.
  static bool takes_rounded(const Linear& w) { return w.device == nullptr && !takes_float_activations(w.weight.view().format); }

  static MatmulProduct product(Matrix y, const Linear& w) { return {y, w.weight.view(), w.bias_or_null()}; }

  // A product y = x w^T + bias, which is computed on the CPU or on the device that holds the weights w.
  struct Projection {
    Matrix y;
    const Linear* w;
    const float* bias;
    bool transforms_input = false;  // whether the device applies the Hadamard transform to x
  };
  static Projection projection(Matrix y, const Linear& w) { return {y, &w, w.bias_or_null()}; }

  template <std::size_t n>
  Status project(const std::array<Projection, n>& projections, const MatmulInput& input) {
    if (model_->device().empty()) {
      std::array<MatmulProduct, n> products;
      for (std::size_t i = 0; i < n; ++i) products[i] = {projections[i].y, projections[i].w->weight.view(), projections[i].bias};
      (void)matmul(products, input, parallel_);  // cannot fail: the shapes are those of the model
      return success();
    }
    const bool divides = !projections[0].w->device->has_own_threads();
    const std::size_t M = input.x.rows, tokens = divides ? 16 : M, parts = (M + tokens - 1) / tokens;  // tokens of a task
    std::vector<Status> done(n * parts, success());
    (divides ? parallel_ : Parallel{})(n * parts, [&](std::size_t task) {
      const Projection& p = projections[task / parts];
      const std::size_t m0 = task % parts * tokens, count = std::min(tokens, M - m0);
      const Matrix y = p.y.rows_from(m0, count);
      const ConstMatrix x = input.x.rows_from(m0, count);
      done[task] = p.transforms_input ? p.w->device->multiply_transformed(y, x) : p.w->device->multiply(y, x);
      for (std::size_t m = 0; p.bias != nullptr && m < count; ++m) {
        for (std::size_t i = 0; i < y.cols; ++i) y.row(m)[i] += p.bias[i];
      }
    });
    for (const Status& status : done) {
      if (!status) return status;
    }
    return success();
  }

  // Adds `residual` to the residual stream x, and computes h = rms_norm(x) * weight. `residual` is the output of the attention or
  // feed-forward network that came before, or null if there was none. h is also rounded if one of `users`, the matrices that multiply h,
  // takes rounded activations.
  MatmulInput normalise(Matrix h, ActivationBuffer& rounded, Matrix x, const Matrix* residual, const std::vector<float>& weight,
                        std::initializer_list<const Linear*> users) {
    const bool round = std::any_of(users.begin(), users.end(), [](const Linear* w) { return takes_rounded(*w); });
    if (round) (void)rounded.resize(h.rows, h.cols);  // cannot fail: reserve() made room
    (void)add_norm_quantise(h, x, residual, weight.data(), model_->config().rms_epsilon, round ? &rounded : nullptr, parallel_);
    return {h, round ? rounded.view() : ActivationQ8{}};
  }

  // Applies rms_norm to each head of a row of queries or keys.
  void normalise_heads(Matrix row, const std::vector<float>& gain) const {
    const std::size_t D = gain.size();
    const Matrix heads(row.row(0), row.cols / D, D);
    (void)rms_norm(heads, heads, gain.data(), model_->config().rms_epsilon);
  }

  // One evaluation of some tokens. Matrices have a row for each token; x is the residual stream.
  struct Step {
    std::span<const std::uint32_t> ids;
    std::size_t wanted_rows = 0;  // how many of the last tokens need logits
    std::size_t rows = 0;         // the number of tokens, with the padding behind them
    std::size_t first = 0;        // the position of the first token
    std::size_t first_row = 0;    // the token of row 0 in x, h, q, mixed, gate and up; row 0 of k, v, cos and sin is always of token 0
    bool has_residual = false;    // whether h must still be added to x
    Rotation rotated;
    Matrix x, h, q, mixed, k, v, gate, up, cos, sin;

    const Matrix* residual() const { return has_residual ? &h : nullptr; }

    // Leaves only the wanted rows in the matrices: those of the tokens that need logits. It is called as soon as no other rows are
    // needed. From then on, only the wanted rows are computed.
    void keep_wanted_rows() {
      first_row = ids.size() - wanted_rows;
      for (Matrix* matrix : {&x, &h, &q, &mixed, &gate, &up}) *matrix = matrix->rows_from(first_row, wanted_rows);
    }
  };

  Status forward(std::span<const std::uint32_t> ids, const WantedLogits& wanted) {
    const std::size_t n_layers = options_.body == nullptr ? model_->config().n_layers : 0;  // layers that run here
    if (model_->layers().size() < n_layers) return without_layers();
    Step step;
    step.ids = ids;
    step.wanted_rows = wanted.rows_of(ids.size());
    step.rows = options_.window == 0 || options_.body != nullptr || ids.size() == 1 ? ids.size() : options_.window;
    step.first = size();
    step.rotated = rotation();
    if (Status s = reserve(step.rows, step.wanted_rows, wanted.request); !s) return s;
    place_matrices(step);

    embed(step);
    if (options_.body != nullptr) {
      if (Status s = options_.body->run(step.x.rows_from(0, ids.size()), step.first); !s) return s;
    }
    for (std::size_t l = 0; l < n_layers; ++l) {
      if (Status s = attention_block(step, l); !s) return s;
      if (Status s = ffn_block(step, l); !s) return s;
    }
    if (options_.observer || n_layers == 0) step.keep_wanted_rows();  // otherwise the last layer has called this
    if (options_.body == nullptr) cache_.set_size(step.first + ids.size());
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    write_logits(step, wanted);
    return success();
  }

  void place_matrices(Step& step) {
    float* place = matrices_.data();
    const auto widths = matrix_widths();
    auto width = widths.begin();
    for (Matrix* matrix : {&step.x, &step.h, &step.q, &step.mixed, &step.k, &step.v, &step.gate, &step.up, &step.cos, &step.sin}) {
      *matrix = Matrix(place, step.rows, *width);
      place += matrix_floats(step.rows, *width++);
    }
  }

  void observe(const Step& step, std::size_t layer, LinearInput input, const Matrix& matrix) const {
    if (options_.observer) options_.observer(layer, input, matrix.rows_from(0, step.ids.size()));
  }

  // Fills x with the embeddings of the tokens, and cos and sin with the cosines and sines of the angles of RoPE at their
  // positions. Rows of padding get token 0.
  void embed(const Step& step) {
    parallel_(step.rows, [&](std::size_t m) {
      model_->embed(step.x.row(m), m < step.ids.size() ? step.ids[m] : 0);
      if (step.rotated.residual) residual_rotation_.rotate(step.x.row(m));
      model_->rope_frequencies().table_row(step.cos.row(m), step.sin.row(m), step.first + m);
    });
  }

  // Computes the attention of layer l: h = W_o attention(rope(W_q n), rope(W_k n), W_v n), where x is the residual stream, n =
  // norm(x + the output of the layer before, which is in h), and W_q, W_k, W_v and W_o are the layer's matrices. ffn_block(), which
  // comes next, adds the new h to x.
  Status attention_block(Step& step, std::size_t l) {
    const ModelConfig& c = model_->config();
    const LayerWeights& w = model_->layers()[l];
    const MatmulInput input = normalise(step.h, rounded_, step.x, step.residual(), w.attention_norm, {&w.query, &w.key, &w.value});
    observe(step, l, LinearInput::attention, step.h);
    Projection keys = projection(step.k, w.key);
    // A cache of integers stores keys without the bias of the key projection: such biases are so large that everything else would
    // be rounded away (contract/attention.hpp). If the model normalises its keys, the bias is added before this norm and cannot be
    // separated from the key.
    const bool bias_is_apart = !w.key.bias.empty() && w.key_norm.empty() && !key_bias_tables_.empty();
    const KeyBias key_bias = bias_is_apart ? KeyBias{&key_bias_tables_, keys.bias} : KeyBias{};
    if (key_bias) keys.bias = nullptr;
    if (Status s = project(std::array{projection(step.q, w.query), keys, projection(step.v, w.value)}, input); !s) return s;
    turn_and_store(step, l);

    if (l + 1 == c.n_layers && !options_.observer) step.keep_wanted_rows();
    if (step.x.rows == 0) return success();
    const std::size_t first_query = step.first + step.first_row;
    (void)attention(step.mixed, step.q, cache_, l, first_query, c.n_heads, scratch_.data(), parallel_, key_bias);
    observe(step, l, LinearInput::attention_output, step.mixed);
    MatmulInput mixed{step.mixed, {}};
    if (takes_rounded(w.attention_output)) {
      (void)quantise(rounded_, step.mixed, parallel_);  // cannot fail: reserve() made room
      mixed.rounded = rounded_.view();
    }
    step.has_residual = true;
    return project(std::array{projection(step.h, w.attention_output)}, mixed);
  }

  // Applies the norms of the heads where the model has them, applies RoPE to queries and keys, and stores keys and values in the
  // cache. The cache stores key_tile neighbouring positions together, so one task does this work for all of them.
  void turn_and_store(const Step& step, std::size_t l) {
    const ModelConfig& c = model_->config();
    const LayerWeights& w = model_->layers()[l];
    const auto turn = [&](Matrix row, const std::vector<float>& gain, std::size_t m) {
      if (!gain.empty()) normalise_heads(row, gain);
      (void)rope(row, c.head_dim, step.cos.rows_from(m, 1), step.sin.rows_from(m, 1), c.rope_layout);
    };
    const std::size_t first = step.first, first_tile = first / key_tile;
    parallel_((first + step.rows - 1) / key_tile - first_tile + 1, [&](std::size_t tile) {
      const std::size_t begin = std::max((first_tile + tile) * key_tile, first) - first;
      const std::size_t end = std::min((first_tile + tile + 1) * key_tile - first, step.rows);
      for (std::size_t m = begin; m < end; ++m) {
        turn(step.q.rows_from(m, 1), w.query_norm, m);
        turn(step.k.rows_from(m, 1), w.key_norm, m);
        (void)cache_.store(l, first + m, step.k.row(m), step.v.row(m));
      }
    });
  }

  // Computes the feed-forward network of layer l: h = W_down (silu(W_gate n) * (W_up n)), where x is the residual stream, n =
  // norm(x + the output of attention, which is in h), and W_gate, W_up and W_down are the layer's matrices. What comes next, the
  // attention of the following layer or the last norm, adds the new h to x.
  Status ffn_block(Step& step, std::size_t l) {
    if (step.x.rows == 0) return success();
    const LayerWeights& w = model_->layers()[l];
    const bool transforms = step.rotated.down;
    const MatmulInput input = normalise(step.h, rounded_, step.x, step.residual(), w.ffn_norm, {&w.gate, &w.up});
    observe(step, l, LinearInput::ffn, step.h);
    ActivationBuffer* const round_down = takes_rounded(w.down) ? &rounded_ffn_ : nullptr;
    if (round_down != nullptr) (void)rounded_ffn_.resize(step.gate.rows, step.gate.cols);
    const bool waits = transforms || options_.observer;  // rounding waits until whole rows of floats are there
    Projection down = projection(step.h, w.down);
    down.transforms_input = transforms && w.down.device != nullptr && w.down.device->makes_transform();
    if (model_->device().empty()) {
      (void)gated_matmul(product(step.gate, w.gate), product(step.up, w.up), input, waits ? nullptr : round_down, parallel_);
    } else {
      if (Status s = project(std::array{projection(step.gate, w.gate), projection(step.up, w.up)}, input); !s) return s;
      (void)silu_mul(step.gate, step.gate, step.up, parallel_);
    }
    observe(step, l, LinearInput::down, step.gate);
    if (waits) {
      if (transforms && !down.transforms_input) {
        parallel_(step.gate.rows, [&](std::size_t m) { down_rotation_.rotate(step.gate.row(m)); });
      }
      if (round_down != nullptr) (void)quantise_like(rounded_ffn_, step.gate, input.rounded.wide, parallel_);
    }
    return project(std::array{down}, {step.gate, rounded_ffn_.view()});
  }

  // Computes the logits of the tokens that need them: whole rows, or only the logits that wanted.request asks for.
  void write_logits(Step& step, const WantedLogits& wanted) {
    if (step.wanted_rows == 0) return;
    if (step.rotated.residual) {
      parallel_(step.wanted_rows, [&](std::size_t m) {
        if (step.has_residual) add_run({step.x, step.h}, m);
        residual_rotation_.rotate_back(step.x.row(m));
      });
      step.has_residual = false;
    }
    const Linear& head = model_->head();
    const MatmulInput input = normalise(step.h, rounded_head_, step.x, step.residual(), model_->output_norm(), {&head});
    if (wanted.request != nullptr) {
      (void)top_logits(top_, head.weight, input, *wanted.request, head.bias_or_null(), parallel_);  // cannot fail: there is room
    } else {
      const Matrix logits(logits_.data(), step.wanted_rows, model_->config().vocabulary);
      (void)matmul(std::array{product(logits, head)}, input, parallel_);
    }
  }

  // The widths of the matrices of one evaluation (Step), in the order of its members x, h, q, mixed, k, v, gate, up, cos, sin. Each
  // has a row for each token. They lie one behind the other in one piece of memory, `matrices_`, so that together they can have
  // large pages.
  std::array<std::size_t, 10> matrix_widths() const {
    const ModelConfig& c = model_->config();
    const std::size_t query = c.n_heads * c.head_dim, kv = c.n_kv_heads * c.head_dim, angles = c.rotary_dim / 2;
    return {c.hidden, c.hidden, query, query, kv, kv, c.ffn, c.ffn, angles, angles};
  }
  // Returns the number of floats of a matrix, rounded up to whole cache lines.
  static std::size_t matrix_floats(std::size_t M, std::size_t width) { return (M * width + 15) / 16 * 16; }

  // Makes room in memory for everything that an evaluation of M tokens needs, before any of it is used.
  Status reserve(std::size_t M, std::size_t logit_rows, const LogitRequest* request) {
    const ModelConfig& c = model_->config();
    const std::size_t positions = options_.body == nullptr ? size() + M : 0;
    if (Status s = cache_.reserve(positions); !s) return s;
    if (!key_bias_tables_.empty()) key_bias_tables_.reserve(positions);
    const std::size_t query_width = c.n_heads * c.head_dim;
    std::size_t floats = 0;
    for (const std::size_t width : matrix_widths()) floats += matrix_floats(M, width);
    const auto attention_floats = [&](std::size_t rows) { return attention_scratch_floats(rows, c.n_heads, c.head_dim, positions); };
    const bool ok = matrices_.resize(floats) &&
                    (request != nullptr ? top_.resize(logit_rows, *request).has_value() : logits_.resize(logit_rows * c.vocabulary)) &&
                    rounded_.resize(M, std::max(c.hidden, query_width)) && rounded_ffn_.resize(M, c.ffn) &&
                    rounded_head_.resize(logit_rows, c.hidden) &&
                    scratch_.resize(std::max(attention_floats(M), attention_floats(logit_rows)));  // the second is for the last layer
    if (!ok) return out_of_memory("evaluating tokens", floats * sizeof(float));
    return success();
  }

  const Model* model_;
  SessionOptions options_;
  Parallel parallel_;
  KvCache cache_;
  std::vector<std::uint32_t> ids_;
  FastRotation residual_rotation_, down_rotation_;  // for rotated weights (model/rotation.hpp)
  KeyBiasTables key_bias_tables_;  // empty if the cache stores keys with their bias
  ActivationBuffer rounded_;  // inputs of the matmuls of attention, gate and up
  ActivationBuffer rounded_ffn_;  // input of the down projection
  ActivationBuffer rounded_head_{ActivationBits::sixteen};
  TopLogits top_;  // results of the latest call with a request
  AlignedBuffer<float> matrices_, logits_, scratch_;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
