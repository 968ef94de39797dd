// SPDX-License-Identifier: Apache-2.0
//
// Chooses the codes of weights with the help of a text. The network reads the text, and each matrix is rounded so that its
// products with the inputs that it had in this text change as little as possible (error_feedback.hpp). This works with or without
// rotations (rotation.hpp).
//
// The original network reads the text, with its own weights. The inputs that the rotated network would have are computed from
// those of the original. The original is loaded when the inputs of the first matrix are needed. Of each layer, the moments of its
// inputs are collected: the sums of the products of every two of them. All layers whose moments fit into `memory_limit` bytes are
// observed in one reading of the text. For a large model the text is therefore read several times.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/io/checksum.hpp>
#include <stilla/io/packed_file.hpp>
#include <stilla/model/error_feedback.hpp>
#include <stilla/model/forward.hpp>
#include <stilla/model/rotation.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct CalibrationOptions {
  std::size_t sequence = 1024;                             // tokens that are evaluated as one text
  std::size_t memory_limit = std::size_t{4} << 30;         // bytes of moments at a time; at least one layer is always observed
  std::function<void(std::size_t, std::size_t)> progress;  // called as (tokens read, tokens to read), in each reading of the text
};

class CalibratedWeights : public TensorChange {
 public:
  // `load` loads the original model. `rotated` reads the same weights from the same file, which it has opened separately. `ids` is
  // the text, at least one token; all ids are in the vocabulary.
  static Result<CalibratedWeights> create(std::function<Result<Model>()> load, RotatedWeights rotated, std::vector<std::uint32_t> ids,
                                          Parallel parallel, const CalibrationOptions& options = {}) {
    if (ids.empty()) return Error{ErrorKind::bad_argument, "the text to calibrate by has no tokens"};
    return CalibratedWeights(std::move(load), std::move(rotated), std::move(ids), parallel, options);
  }

  std::vector<std::pair<std::string_view, std::string>> keys() const override {
    auto all = rotated_.keys();
    const std::uint64_t sum = checksum(std::as_bytes(std::span(ids_)));
    all.emplace_back(packed_calibration_key, concat(ids_.size(), " tokens with XXH64 ", sum));
    return all;
  }

  bool changes(const TensorInfo& tensor) const override { return rotated_.changes(tensor) || input_of(tensor).has_value(); }
  Status apply(const TensorInfo& tensor, Matrix values, Parallel parallel) const override {
    return rotated_.changes(tensor) ? rotated_.apply(tensor, values, parallel) : success();
  }

  // Encodes a matrix of a layer with error feedback (error_feedback.hpp) if its format is one whose codes can be chosen. Other
  // tensors are encoded by the encoder of their format.
  Status encode(const TensorInfo& tensor, std::span<std::byte> blocks, ConstMatrix values, FormatId format,
                Parallel parallel) const override {
    const std::optional<Place> place = input_of(tensor);
    Status status = success();
    bool done = false;
    if (!place) return TensorChange::encode(tensor, blocks, values, format, parallel);
    with_format(format, [&]<class F>(F) {
      if constexpr (ChosenCodesFormat<F>) {
        done = true;
        Result<const RoundingOrder*> order = state_->order(*place, rotated_, ids_);
        status = order ? encode_with_feedback<F>(blocks, values, **order, parallel) : Status(order.error());
      }
    });
    return done ? status : TensorChange::encode(tensor, blocks, values, format, parallel);
  }

 private:
  struct Place {
    std::size_t layer;
    LinearInput input;
    bool operator==(const Place&) const = default;
  };

  static std::optional<Place> input_of(const TensorInfo& tensor) {
    const std::optional<LayerTensor> of_layer = layer_tensor(tensor.name);
    const std::optional<LinearInput> input = of_layer ? input_of_part(of_layer->part) : std::nullopt;
    if (!input || !tensor.is_matrix()) return std::nullopt;
    return Place{of_layer->layer, *input};
  }

  // What is kept from one matrix to the next while weights are changed: the original model, the moments of the inputs, and an order
  // of columns. The State is reached through a pointer, so that encode(), which is const, can change it.
  class State {
   public:
    State(std::function<Result<Model>()> load, Parallel parallel, const CalibrationOptions& options)
        : load_(std::move(load)), parallel_(parallel), options_(options) {}

    // Returns the order in which the columns of a matrix are rounded (RoundingOrder). `place` says in which layer the matrix is and which
    // of the layer's inputs it multiplies. The order is kept for the next call, because several matrices have the same input.
    Result<const RoundingOrder*> order(const Place& place, const RotatedWeights& rotated, std::span<const std::uint32_t> ids) {
      const std::size_t n_layers = rotated.config().n_layers;
      if (place.layer >= n_layers) return Error{ErrorKind::bad_argument, concat("layer ", place.layer, " of ", n_layers)};
      if (order_ && of_order_ == place) return &*order_;
      if (place.layer < first_ || place.layer >= first_ + moments_.size()) {
        if (Status s = read(place.layer, rotated, ids); !s) return s.error();
      }
      Result<RoundingOrder> made = RoundingOrder::create(of(place), parallel_);
      if (!made) return made.error();
      order_ = std::move(*made);
      of_order_ = place;
      return &*order_;
    }

   private:
    using LayerMoments = std::array<InputMoments, 4>;

    InputMoments& of(const Place& place) { return moments_[place.layer - first_][static_cast<std::size_t>(place.input)]; }

    static std::size_t layer_bytes(const ModelConfig& c) {
      const auto square = [](std::size_t width) { return width * width * sizeof(float); };
      return 2 * square(c.hidden) + square(c.n_heads * c.head_dim) + square(c.ffn);
    }

    // Lets the original model read the text, and collects the moments of the inputs of some layers: the sums of the products of every
    // two inputs. `first` is the first of these layers. The next layers follow, as many as CalibrationOptions::memory_limit allows,
    // but at least one layer is taken.
    Status read(std::size_t first, const RotatedWeights& rotated, std::span<const std::uint32_t> ids) {
      if (!model_) {
        Result<Model> model = load_();
        if (!model) return model.error();
        model_ = std::move(*model);
      }
      const ModelConfig& c = rotated.config();
      first_ = first;
      const std::size_t most = std::max<std::size_t>(1, options_.memory_limit / layer_bytes(c));
      moments_.clear();
      moments_.resize(std::min(most, c.n_layers - first));
      order_.reset();
      Status failed = success();
      std::vector<float> inputs;
      SessionOptions options;
      options.context = options_.sequence;
      options.activations = ActivationBits::sixteen;
      options.observer = [&](std::size_t layer, LinearInput input, ConstMatrix x) {
        if (!failed || layer < first_ || layer >= first_ + moments_.size()) return;
        const LayerWeights& w = model_->layers()[layer];
        inputs.resize(x.rows * x.cols);
        const Matrix copy(inputs.data(), x.rows, x.cols);
        parallel_(x.rows, [&](std::size_t m) {
          std::copy_n(x.row(m), x.cols, copy.row(m));
          rotated.rotate_input(copy.row(m), input, input == LinearInput::ffn ? w.ffn_norm : w.attention_norm);
        });
        failed = of({layer, input}).add(copy, parallel_);
      };
      Result<Session> session = Session::create(*model_, options, parallel_);
      if (!session) return session.error();
      for (std::size_t at = 0; at < ids.size() && failed; at += session->context()) {
        session->truncate(0);
        const std::size_t count = std::min(session->context(), ids.size() - at);
        if (Status s = session->append(ids.subspan(at, count)); !s) return s;
        if (options_.progress) options_.progress(at + count, ids.size());
      }
      return failed;
    }

    std::function<Result<Model>()> load_;
    std::optional<Model> model_;
    Parallel parallel_;
    CalibrationOptions options_;
    std::size_t first_ = 0;  // first observed layer
    std::vector<LayerMoments> moments_;
    std::optional<RoundingOrder> order_;
    Place of_order_{};
  };

  CalibratedWeights(std::function<Result<Model>()> load, RotatedWeights rotated, std::vector<std::uint32_t> ids, Parallel parallel,
                    const CalibrationOptions& options)
      : rotated_(std::move(rotated)), ids_(std::move(ids)), state_(std::make_unique<State>(std::move(load), parallel, options)) {}

  RotatedWeights rotated_;
  std::vector<std::uint32_t> ids_;
  std::unique_ptr<State> state_;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
