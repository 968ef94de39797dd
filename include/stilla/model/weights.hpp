// SPDX-License-Identifier: Apache-2.0
//
// The weights of a model, packed for the kernels. Every tensor is compared with the dimensions in the metadata before a byte of
// it is read. If a tensor is missing or has another shape, the error names it. Packing uses the threads that it is given. It releases
// the pages of the source as it proceeds, so that the weights are in memory only once. Matrices of a packed file
// (io/packed_file.hpp) stay where they are mapped: nothing is packed, and all processes that run the file share one copy.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <stilla/base/aligned.hpp>
#include <stilla/device_matrix.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/io/checksum.hpp>
#include <stilla/io/gguf_types.hpp>
#include <stilla/io/imatrix.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/io/unwritten_tail.hpp>
#include <stilla/matmul.hpp>
#include <stilla/model/config.hpp>
#include <stilla/model/required_tensors.hpp>
#include <stilla/pack.hpp>
#include <stilla/rope.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// A matrix of the model and its bias, for y = x * weight^T + bias. Shapes are [outputs, inputs], the reverse of the order in GGUF.
struct Linear {
  PackedMatrix weight;                          // for the CPU; without data if the weights are on a device
  std::vector<float> bias;                      // empty: no bias
  std::unique_ptr<const DeviceMatrix> device;   // null: the weights are not on a device

  const float* bias_or_null() const { return bias.empty() ? nullptr : bias.data(); }
};

struct LayerWeights {
  std::vector<float> attention_norm;  // [E]
  Linear query;                       // [H*D, E]
  Linear key;                         // [G*D, E]
  Linear value;                       // [G*D, E]
  std::vector<float> query_norm;      // [D], for each head before RoPE; empty: none
  std::vector<float> key_norm;        // [D]
  Linear attention_output;            // [E, H*D]
  std::vector<float> ffn_norm;        // [E]
  Linear gate;                        // [F, E]
  Linear up;                          // [F, E]
  Linear down;                        // [E, F]

  // linears() gives all matrices of the layer and vectors() all its vectors, in the order of required_tensors.hpp.
  std::array<const Linear*, 7> linears() const { return {&query, &key, &value, &attention_output, &gate, &up, &down}; }
  std::array<Linear*, 7> linears() { return {&query, &key, &value, &attention_output, &gate, &up, &down}; }
  std::array<const std::vector<float>*, 4> vectors() const { return {&attention_norm, &ffn_norm, &query_norm, &key_norm}; }
  std::array<std::vector<float>*, 4> vectors() { return {&attention_norm, &ffn_norm, &query_norm, &key_norm}; }
};

class Model {
 public:
  // A function that is called as (bytes done, bytes in all) while a model is loaded, from the loading thread.
  using Progress = std::function<void(std::size_t, std::size_t)>;

  // Loads a model, which takes over `source`: the embedding is read from the source, and so is the tokenizer if somebody asks for it.
  // `format`, if given, is the format to which the layers are requantised (requantised_format in io/model_source.hpp). `device`, if
  // not empty, is the device that the matrices of the layers go to (device_matrix.hpp); embedding and head stay on the CPU. `rope`
  // is the user's choice for RoPE instead of what the file says. `imatrix`, if given, is used for the matrices that are requantised;
  // it is needed only while the model is loaded.
  static Result<Model> load(std::unique_ptr<ModelSource> source, Parallel parallel = {}, const Progress& progress = {},
                            std::optional<FormatId> format = {}, std::string_view device = {}, const RopeChoice& rope = {},
                            const Imatrix* imatrix = nullptr) {
    if (!device.empty()) {
      if (Status s = check_device(device); !s) return s.error();
    }
    Model model(std::move(source));
    model.layer_format_ = format;
    model.device_ = device;
    model.imatrix_ = imatrix;
    if (Status s = model.read(parallel, progress, rope); !s) return s.error();
    model.imatrix_ = nullptr;
    return model;
  }
  // Loads only embedding, last norm and head, for sessions whose layers are run by something else (body.hpp).
  static Result<Model> load_ends(std::unique_ptr<ModelSource> source, Parallel parallel = {}, const Progress& progress = {},
                                 const RopeChoice& rope = {}) {
    Model model(std::move(source));
    model.has_layers_ = false;
    if (Status s = model.read(parallel, progress, rope); !s) return s.error();
    return model;
  }
  // Loads a model as the other load() does, from a source of a known type, for example a GgufFile.
  template <std::derived_from<ModelSource> Source>
  static Result<Model> load(Source source, Parallel parallel = {}, const Progress& progress = {}, std::optional<FormatId> format = {},
                            std::string_view device = {}, const RopeChoice& rope = {}, const Imatrix* imatrix = nullptr) {
    return load(std::make_unique<Source>(std::move(source)), parallel, progress, format, device, rope, imatrix);
  }

  const ModelConfig& config() const { return config_; }
  const ModelSource& source() const { return *source_; }
  const std::vector<LayerWeights>& layers() const { return layers_; }  // none after load_ends
  const std::vector<float>& output_norm() const { return output_norm_; }
  const Linear& head() const { return head_; }
  const std::string& device() const { return device_; }  // empty: the CPU
  // What a user should be told about the file, a line each: keys that Stilla does not know, bytes behind the last tensor.
  const std::vector<std::string>& notes() const { return config_.notes; }
  const RopeFrequencies& rope_frequencies() const { return rope_frequencies_; }
  // The number of bytes of all packed weights.
  std::size_t packed_weight_bytes() const { return packed_bytes_; }

  // A number that tells whether two models give the same text for the same ids: a checksum of everything in the config that changes
  // what is computed, of all vectors, of the beginning of every matrix, and of the texts of all tokens. A packed file and its original
  // have the same number.
  std::uint64_t identity() const {
    constexpr std::size_t some_bytes = 4096;
    Checksum sum;
    const auto add_number = [&](std::uint64_t number) { sum.add(std::as_bytes(std::span(&number, 1))); };
    const auto add_vector = [&](const std::vector<float>& values) { sum.add(std::as_bytes(std::span(values))); };
    const auto add_linear = [&](const Linear& linear) {
      const PackedView& w = linear.weight.view();
      add_number(gguf_type_of(w.format).value_or(0));  // 0: a format that GGUF does not have
      add_number(w.rows);
      add_number(w.cols);
      if (w.data != nullptr) sum.add({w.data, std::min(linear.weight.bytes(), some_bytes)});
      add_vector(linear.bias);
    };
    const Rotation& rotation = config_.rotation;
    for (const std::size_t number :
         {config_.n_layers, config_.hidden, config_.ffn, config_.n_heads, config_.n_kv_heads, config_.head_dim, config_.vocabulary,
          config_.rotary_dim, static_cast<std::size_t>(config_.rope_layout), static_cast<std::size_t>(rotation.residual),
          static_cast<std::size_t>(rotation.heads), static_cast<std::size_t>(rotation.down)}) {
      add_number(number);
    }
    add_number(std::bit_cast<std::uint32_t>(config_.rms_epsilon));
    add_number(source_->token_checksum());
    add_number(std::bit_cast<std::uint64_t>(rope_frequencies_.magnitude()));
    for (std::size_t i = 0; i < rope_frequencies_.pairs(); ++i) {
      add_number(std::bit_cast<std::uint64_t>(rope_frequencies_.radians(i)));
    }
    for (const LayerWeights& layer : layers_) {
      for (const std::vector<float>* values : layer.vectors()) add_vector(*values);
      for (const Linear* linear : layer.linears()) add_linear(*linear);
    }
    add_vector(output_norm_);
    add_linear(head_);
    if (embedding_ != nullptr) {  // otherwise the head is the embedding
      add_number(gguf_type_of(embedding_->format).value_or(0));
      const std::span<const std::byte> rows = source_->tensor_bytes(*embedding_);
      sum.add(rows.first(std::min(rows.size(), some_bytes)));
    }
    if (!device_.empty()) sum.add(std::as_bytes(std::span(device_)));
    return sum.value();
  }

  // Writes the embedding of token `id` (below config().vocabulary) to `out`: config().hidden floats.
  void embed(float* out, std::size_t id) const {
    if (embedding_ == nullptr) return embedding_lookup(out, head_.weight, id);  // the head serves as embedding
    with_format(embedding_->format, [&](auto tag) {
      using F = decltype(tag);
      decode_row<F>(source_->tensor_bytes(*embedding_).data() + id * row_bytes<F>(config_.hidden), out, config_.hidden);
    });
  }

 private:
  explicit Model(std::unique_ptr<ModelSource> source) : source_(std::move(source)) {}

  // The state of reading a model, which goes from one tensor to the next: the threads, the progress that is reported, the memory that
  // is still free for packed matrices, and whether the embedding is the head too.
  struct Reading {
    Parallel parallel;
    const Progress& progress;
    std::size_t total = 0, done = 0;     // bytes of all tensors, and of those that were read
    std::byte* free_memory = nullptr;    // where in memory_ the next packed matrix goes
    bool is_tied = false;                // whether the embedding is the head too

    void advance(std::size_t bytes) {
      done += bytes;
      if (progress && bytes != 0) progress(done, total);
    }
  };

  Status read(Parallel parallel, const Progress& progress, const RopeChoice& rope) {
    Result<ModelConfig> config = read_model_config(*source_, rope);
    if (!config) return config.error();
    config_ = std::move(*config);
    Reading reading{parallel, progress};
    if (Status s = find_embedding(reading); !s) return s;
    if (Status s = check_written_to_the_end(*source_); !s) return s;
    for (std::size_t i = 0; i < source_->tensor_count(); ++i) reading.total += static_cast<std::size_t>(source_->tensor(i).size_bytes);
    if (Status s = make_room(reading); !s) return s;

    source_->ask_for_large_pages();
    layers_.resize(has_layers_ ? config_.n_layers : 0);
    read_ahead(0);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      read_ahead(l + 1);
      if (Status s = read_layer(reading, l); !s) return s;
    }
    if (Status s = read_head(reading); !s) return s;
    if (Status s = read_rope_frequencies(reading); !s) return s;
    if (Status s = source_->check_lengths(); !s) return s;
    // Not all tensors were read: an embedding that is not packed is read later, and some tensors are never read. The caller's
    // progress function is called as if these tensors were done too, so that it sees the end.
    if (progress && reading.done < reading.total) progress(reading.total, reading.total);
    return success();
  }

  Status find_embedding(Reading& reading) {
    const Result<const TensorInfo*> embedding = require_embedding(*source_, config_);
    if (!embedding) return embedding.error();
    reading.is_tied = source_->find_tensor("output.weight") == nullptr;
    if (!reading.is_tied) embedding_ = *embedding;  // is read row by row, as tokens need it
    return success();
  }

  // Makes room for the packed matrices. All lie in one piece of memory, so that large pages cover everything but the two ends of this
  // piece. When each matrix had a piece of its own, large pages did not cover 30 % of a model of 1.5B weights of 4 bits, and a token
  // took 7 % more time.
  Status make_room(Reading& reading) {
    std::size_t bytes_to_pack = 0;
    for (std::size_t i = 0; i < source_->tensor_count(); ++i) {
      const TensorInfo& tensor = source_->tensor(i);
      const bool goes_to_device = (!device_.empty() || !has_layers_) && tensor.name.starts_with("blk.");
      if (!tensor.is_matrix() || tensor.is_packed || goes_to_device || &tensor == embedding_) continue;
      const auto bytes = packed_bytes(requantised_format(*source_, tensor, layer_format_), tensor.rows(), tensor.columns());
      if (bytes) bytes_to_pack += *bytes;  // other tensors are refused where they are read
    }
    if (!memory_.resize(bytes_to_pack)) return out_of_memory("packed weights", bytes_to_pack);
    reading.free_memory = memory_.data();
    return success();
  }

  // Asks the source to read the tensors of layer l ahead, or, if l is the number of layers, the tensors outside the layers. If
  // the file is not in the page cache, the disk reads these tensors while the layer before is being packed.
  void read_ahead(std::size_t l) const {
    const std::string layer = concat("blk.", l, ".");
    for (std::size_t i = 0; i < source_->tensor_count(); ++i) {
      const TensorInfo& tensor = source_->tensor(i);
      const bool is_next = l < layers_.size() ? tensor.name.starts_with(layer) : !tensor.name.starts_with("blk.") && &tensor != embedding_;
      if (is_next && !tensor.is_packed) source_->read_ahead(tensor);
    }
  }

  Status read_layer(Reading& reading, std::size_t l) {
    const std::string layer = concat("blk.", l, ".");
    const std::array<VectorShape, 4> vectors = layer_vectors(config_);
    for (std::size_t i = 0; i < vectors.size(); ++i) {
      if (vectors[i].size == 0) continue;
      if (Status s = read_vector(reading, *layers_[l].vectors()[i], concat(layer, vectors[i].part), vectors[i].size); !s) return s;
    }
    const std::array<LinearShape, 7> linears = layer_linears(config_);
    for (std::size_t i = 0; i < linears.size(); ++i) {
      if (Status s = read_linear(reading, *layers_[l].linears()[i], concat(layer, linears[i].part), linears[i]); !s) return s;
    }
    return success();
  }

  Status read_linear(Reading& reading, Linear& out, const std::string& name, const LinearShape& shape) {
    const std::string weight = concat(name, ".weight"), bias = concat(name, ".bias");
    if (Status s = device_.empty() ? read_matrix(reading, out.weight, weight, shape.rows, shape.cols)
                                   : put_on_device(out, weight, shape.rows, shape.cols, reading.parallel);
        !s) {
      return s;
    }
    if (!shape.needs_bias && source_->find_tensor(bias) == nullptr) return success();
    return read_vector(reading, out.bias, bias, shape.rows);
  }

  Status read_head(Reading& reading) {
    if (Status s = read_vector(reading, output_norm_, "output_norm.weight", config_.hidden); !s) return s;
    return read_matrix(reading, head_.weight, reading.is_tied ? "token_embd.weight" : "output.weight", config_.vocabulary, config_.hidden);
  }

  Status read_rope_frequencies(Reading& reading) {
    std::vector<float> factors;
    if (const TensorInfo* tensor = source_->find_tensor("rope_freqs.weight")) {
      if (Status s = read_vector(reading, factors, "rope_freqs.weight", config_.rotary_dim / 2); !s) return s;
      for (const float factor : factors) {
        if (!(factor > 0.0f && factor < 1e9f)) {
          return source_->tensor_error(*tensor, "found ", factor, ", expected numbers above 0");
        }
      }
    }
    rope_frequencies_ = RopeFrequencies(static_cast<double>(config_.rope_base), config_.rotary_dim,
                                        factors.empty() ? nullptr : factors.data(), config_.rope_scaling);
    return success();
  }

  Status read_vector(Reading& reading, std::vector<float>& out, const std::string& name, std::size_t size) {
    const Result<const TensorInfo*> tensor = require_vector(*source_, name, size);
    if (!tensor) return tensor.error();
    out.resize(size);
    const std::byte* bytes = source_->tensor_bytes(**tensor).data();
    with_format((*tensor)->format, [&](auto tag) { decode_row<decltype(tag)>(bytes, out.data(), size); });
    reading.advance(static_cast<std::size_t>((*tensor)->size_bytes));
    return success();
  }

  // Reads a matrix. If the source has panels, `out` refers to them where they are mapped. If the source has rows, they are packed.
  Status read_matrix(Reading& reading, PackedMatrix& out, const std::string& name, std::size_t rows, std::size_t cols) {
    const Result<StoredMatrix> found = stored_matrix(name, rows, cols);
    if (!found) return found.error();
    const TensorInfo& stored = *found->tensor;
    const FormatId format = found->format;
    const std::span<const std::byte> bytes = source_->tensor_bytes(stored);
    if (stored.is_packed) {
      if (reinterpret_cast<std::uintptr_t>(bytes.data()) % cache_line_bytes != 0) {
        return source_->tensor_error(stored, "found panels at byte ", stored.offset, ", which is not a multiple of ", cache_line_bytes,
                                     " in memory");
      }
      out = PackedMatrix::borrow({stored.format, rows, cols, bytes.data()});
      packed_bytes_ += bytes.size();
      reading.advance(bytes.size());
      return success();
    }
    std::size_t dropped = 0;
    const auto drop = [&](std::size_t packed_rows) {
      const std::size_t end = bytes.size() / rows * packed_rows;
      source_->drop_tensor_pages(stored, end);
      reading.advance(end - std::exchange(dropped, end));
    };
    const bool requantises = format != stored.format;
    Result<PackedMatrix> packed =
        requantises ? requantised(format, stored, rows, cols, reading.parallel, reading.free_memory)
                    : PackedMatrix::create(stored.format, bytes.data(), rows, cols, reading.parallel, drop, reading.free_memory);
    if (!packed) return Error{packed.error().kind, source_->tensor_error(stored, packed.error().message).message};
    if (requantises) drop(rows);
    packed_bytes_ += packed->bytes();
    reading.free_memory += packed->bytes();
    out = std::move(*packed);
    return success();
  }

  // A matrix of the source, and the format that it is to have.
  struct StoredMatrix {
    const TensorInfo* tensor;
    FormatId format;
  };
  Result<StoredMatrix> stored_matrix(const std::string& name, std::size_t rows, std::size_t cols) const {
    const Result<const TensorInfo*> tensor = source_->require_tensor(name, {cols, rows});
    if (!tensor) return tensor.error();
    const FormatId format = requantised_format(*source_, **tensor, layer_format_);
    if ((*tensor)->is_packed && format != (*tensor)->format) {
      return source_->tensor_error(**tensor, "is packed; only the file it was packed from can be requantised");
    }
    return StoredMatrix{*tensor, format};
  }

  // Puts a matrix of a layer on the device. The source has its rows, or panels from which the rows can be computed again.
  Status put_on_device(Linear& out, const std::string& name, std::size_t rows, std::size_t cols, Parallel parallel) {
    const Result<StoredMatrix> found = stored_matrix(name, rows, cols);
    if (!found) return found.error();
    const TensorInfo& stored = *found->tensor;
    const FormatId format = found->format;
    const std::byte* bytes = source_->tensor_bytes(stored).data();
    AlignedBuffer<std::byte> blocks;
    if (stored.is_packed) {
      Status unpacked = source_->tensor_error(stored, "is packed as ", format_name(format), ", which only the CPU's kernels read; for a ",
                                              "device use the file it was packed from");
      with_format(format, [&]<class F>(F) {
        if constexpr (RowScaledFormat<F> && ChosenCodesFormat<F>) {
          const PackedView view{format, rows, cols, bytes};
          const std::size_t row = row_bytes<F>(cols);
          unpacked = blocks.resize(rows * row) ? success() : Status(out_of_memory("unpacked weights", rows * row));
          if (unpacked) parallel(rows, [&](std::size_t n) { unpack_blocks<F>(view, n, blocks.data() + n * row); });
        }
      });
      if (!unpacked) return unpacked;
      bytes = blocks.data();
    } else if (format != stored.format) {
      Result<AlignedBuffer<std::byte>> encoded = requantised_rows(format, stored, rows, cols, parallel);
      if (!encoded) return source_->tensor_error(stored, encoded.error().message);
      blocks = std::move(*encoded);
      bytes = blocks.data();
    }
    Result<std::unique_ptr<DeviceMatrix>> matrix = stilla::put_on_device(device_, format, bytes, rows, cols);
    if (!matrix) return source_->tensor_error(stored, "device ", device_, ": ", matrix.error().message);
    out.device = std::move(*matrix);
    out.weight = PackedMatrix::borrow({format, rows, cols, nullptr});  // its shape only
    source_->drop_tensor_pages(stored, stored.size_bytes);
    return success();
  }

  Result<AlignedBuffer<std::byte>> requantised_rows(FormatId to, const TensorInfo& stored, std::size_t rows, std::size_t cols,
                                                    Parallel parallel) const {
    return requantise_rows(to, stored.format, source_->tensor_bytes(stored).data(), rows, cols, parallel,
                           mean_squares_for(imatrix_, stored, to));
  }

  Result<PackedMatrix> requantised(FormatId to, const TensorInfo& stored, std::size_t rows, std::size_t cols, Parallel parallel,
                                   std::byte* memory) const {
    const Result<AlignedBuffer<std::byte>> blocks = requantised_rows(to, stored, rows, cols, parallel);
    if (!blocks) return blocks.error();
    return PackedMatrix::create(to, blocks->data(), rows, cols, parallel, {}, memory);
  }

  std::unique_ptr<ModelSource> source_;
  std::optional<FormatId> layer_format_;
  std::string device_;
  const Imatrix* imatrix_ = nullptr;  // null after loading
  bool has_layers_ = true;
  ModelConfig config_;
  AlignedBuffer<std::byte> memory_;  // what was packed here
  std::vector<LayerWeights> layers_;
  std::vector<float> output_norm_;        // [E]
  Linear head_;                           // [vocabulary, E]
  const TensorInfo* embedding_ = nullptr;  // in source_; null if the head serves as embedding
  RopeFrequencies rope_frequencies_;
  std::size_t packed_bytes_ = 0;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
