// SPDX-License-Identifier: Apache-2.0
//
// A loaded model, its threads and one text; and a draft model beside it, which runs on the same threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/format/format_id.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/kv_cache.hpp>
#include <stilla/model/config.hpp>
#include <stilla/model/forward.hpp>
#include <stilla/base/parallel.hpp>

#include "onnxruntime.hpp"

namespace program {

struct EngineOptions {
  std::size_t threads = 1;
  std::size_t context = 0;  // 0: the model's
  std::optional<stilla::KvType> kv_type = std::nullopt;              // none: by the model's size
  std::optional<stilla::ActivationBits> activations = std::nullopt;  // none: by the model's size
  std::size_t batch = 512;
  std::optional<stilla::FormatId> weights;  // that the layers are requantised to; empty: as in the file
  std::string device;  // that multiplies the layers' matrices (device_matrix.hpp), or onnxruntime (onnxruntime_body.hpp); empty: the CPU
  OnnxruntimeOptions onnxruntime;
  stilla::RopeChoice rope;  // what is decided about RoPE in place of the file
};

// What a source says of its model, which has every tensor that it needs.
struct ModelFacts {
  std::string architecture;
  std::string name;            // printable; may be empty
  std::size_t context = 0;     // positions the model was trained for
  std::size_t vocabulary = 0;  // rows of the embedding
  std::vector<std::string> notes;  // what a user should be told of the file, a line each
};
stilla::Result<ModelFacts> read_model_facts(const stilla::ModelSource& source, const stilla::RopeChoice& rope = {});

// Chooses the target for the whole program; an empty name: the best one. Ends the program if the CPU lacks it.
void choose_target(const std::string& name);
std::string target_name();

// What something costs: bytes to read, multiply-adds with quantised and with float weights.
struct Work {
  double bytes = 0;
  double quantised_macs = 0;
  double float_macs = 0;

  double macs() const { return quantised_macs + float_macs; }
};
struct ModelWork {  // its matrices read once, for one token
  Work layers;
  Work head;            // with what of the last layer is done for the positions alone whose logits are wanted
  double kv_bytes = 0;  // of one position, all layers
};

class Engine {
 public:
  using Progress = std::function<void(std::size_t done, std::size_t total)>;

  Engine(std::unique_ptr<stilla::ModelSource> source, const EngineOptions& options, const Progress& progress);
  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;

  const ModelFacts& facts() const;
  std::size_t threads() const;

  // Begins a new, empty text, from now on with this many threads.
  void use_threads(std::size_t threads);

  // Whether several ids at once give the logits of one after the other, to the bit.
  bool batches_are_exact() const;

  // The text: its length, its limit, and forgetting its end.
  std::size_t size() const;
  std::span<const std::uint32_t> ids() const;
  std::size_t context() const;
  stilla::ActivationBits activations() const;
  stilla::KvType kv_type() const;
  void truncate(std::size_t count);
  std::size_t cache_bytes() const;

  // The text with its keys and values to a file and back; the note is the caller's. A file that does not fit is refused and
  // the text stays.
  stilla::Status save(const std::string& path, std::string_view note) const;
  // `accept` sees what a file holds before anything changes; the file may be anybody's.
  using AcceptSaved = std::function<stilla::Status(std::span<const std::uint32_t> ids, std::string_view note)>;
  stilla::Result<std::string> restore(const std::string& path, const AcceptSaved& accept);

  // Fails because logits are not numbers: by the tensor that has weights which are none, if there is one.
  [[noreturn]] void blame_weights();

  // Appends ids. The logits of what follows, valid until the next call.
  std::span<const float> evaluate(std::span<const std::uint32_t> ids);
  // Appends ids. The logits of every position, row after row, valid until the next batch.
  void evaluate_all(std::span<const std::uint32_t> ids, const std::function<void(std::span<const float> row)>& sink);
  // Appends ids whose logits nobody wants.
  void append(std::span<const std::uint32_t> ids);

  // The text as the library has it (model/forward.hpp).
  stilla::Session& session();

  // A small model with the same vocabulary, whose guesses the text's model checks (model/decoder.hpp). The text begins anew.
  void load_draft(std::unique_ptr<stilla::ModelSource> source, const Progress& progress);
  stilla::Session* draft();  // null: none

  // For measurements: its threads, and what the model asks of the machine.
  stilla::Parallel parallel();
  ModelWork work() const;

  // For --verbose, a line per weight format: how many matrices have it and whose kernel multiplies them.
  std::vector<std::string> paths() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Memory the program needs for a model, by the same sums as the library's (pack.hpp, kv_cache.hpp, model/forward.hpp). It counts
// a row of logits, which greedy choice and top-k do without. kv_type: none where a session would choose it.
struct MemoryNeeds {
  std::uint64_t weights = 0;  // packed, and norms and biases as floats
  std::uint64_t kv_cache = 0;
  std::uint64_t scratch = 0;
  std::uint64_t total() const { return weights + kv_cache + scratch; }
};
stilla::Result<MemoryNeeds> memory_needs(const stilla::ModelSource& source, std::size_t context, std::optional<stilla::KvType> kv_type,
                                         std::size_t batch, std::optional<stilla::FormatId> weights = std::nullopt);

}  // namespace program
