// SPDX-License-Identifier: Apache-2.0
//
// A loaded model, its threads and one text. There may also be a draft model, which runs on the same threads.
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
  std::size_t context = 0;  // 0: the model's context
  std::optional<stilla::KvType> kv_type = std::nullopt;              // none: the model's size decides
  std::optional<stilla::ActivationBits> activations = std::nullopt;  // none: the model's size decides
  std::size_t batch = 512;
  std::optional<stilla::FormatId> weights;  // the format that the layers are requantised to; none: as in the file
  // What runs the layers: empty for the CPU, or a device that multiplies their matrices (device_matrix.hpp), or onnxruntime, which
  // runs whole layers (onnxruntime_body.hpp).
  std::string device;
  OnnxruntimeOptions onnxruntime;
  stilla::RopeChoice rope;  // what the user decides about RoPE instead of the file
  std::string imatrix;      // the file of an importance matrix for requantised layers; empty: none
  bool verifies = false;    // whether packed files are compared with their checksums
};

// What a model source (a GGUF file or a Hugging Face folder) says of its model. The source has been checked to have every tensor that
// the model needs.
struct ModelFacts {
  std::string architecture;
  std::string name;            // printable; may be empty
  std::size_t context = 0;  // number of positions that the model was trained for
  std::size_t vocabulary = 0;  // rows of the embedding
  std::vector<std::string> notes;  // what a user should be told about the file, one line each
};
stilla::Result<ModelFacts> read_model_facts(const stilla::ModelSource& source, const stilla::RopeChoice& rope = {});

// Chooses the target for the whole program; an empty name chooses the best one. Ends the program if the CPU does not have the
// target.
void choose_target(const std::string& name);
std::string target_name();

// What a computation costs: the bytes that it reads, its multiply-adds with quantised weights, and those with float weights.
struct Work {
  double bytes = 0;
  double quantised_macs = 0;
  double float_macs = 0;

  double macs() const { return quantised_macs + float_macs; }
};
struct ModelWork {  // for one token, with the model's matrices read once
  Work layers;
  Work head;            // with the part of the last layer that is computed only for positions whose logits are wanted
  double kv_bytes = 0;  // of one position, in all layers
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

  // Begins a new, empty text. From now on the engine computes with `threads` threads.
  void use_threads(std::size_t threads);

  // Whether the logits of several ids that are evaluated in one call have the same bits as if each id were evaluated by itself.
  bool batches_are_exact() const;

  // Functions for the text. size() and ids() return its length and its ids, and context() the number of positions that it can have.
  // truncate() removes its ids from the index `count` on.
  std::size_t size() const;
  std::span<const std::uint32_t> ids() const;
  std::size_t context() const;
  stilla::ActivationBits activations() const;
  stilla::KvType kv_type() const;
  void truncate(std::size_t count);
  std::size_t cache_bytes() const;

  // Saves the text with its keys and values to a file, and restores it. The note is any text that the caller wants to keep with the
  // saved text. A file that does not fit the model is refused, and then the engine's text stays as it is.
  stilla::Status save(const std::string& path, std::string_view note) const;
  // Before restore() replaces the engine's text by the saved one, it calls `accept` with the ids and the note that the file holds. If
  // accept() returns an error, nothing changes: the file may come from anybody.
  using AcceptSaved = std::function<stilla::Status(std::span<const std::uint32_t> ids, std::string_view note)>;
  stilla::Result<std::string> restore(const std::string& path, const AcceptSaved& accept);

  // Ends the command with an error after logits were found to be NaN or infinite. The error names the tensor whose weights are NaN or
  // infinite, if there is one.
  [[noreturn]] void blame_weights();

  // Begins to compare packed files with their checksums (verification.hpp), if the options say so. Only the first call does something.
  void begin_verification();
  // check_verification() ends the program with a ModelFailure if the comparison with the checksums has found a damaged tensor by now.
  // check_files() does the same, and also ends the program if a model file has become shorter. finish_verification() waits until all
  // tensors have been compared, and ends the program in the same way if one is damaged.
  void check_verification() const;
  void check_files() const;
  void finish_verification();

  // Appends ids to the text. Returns the logits of the token that follows, which are valid until the next call.
  std::span<const float> evaluate(std::span<const std::uint32_t> ids);
  // Appends ids to the text, batch by batch. Calls `sink` with the logits of every position, row after row. A row is valid until the next
  // batch is evaluated.
  void evaluate_all(std::span<const std::uint32_t> ids, const std::function<void(std::span<const float> row)>& sink);
  // Appends ids to the text without returning logits.
  void append(std::span<const std::uint32_t> ids);

  // Returns the session (model/forward.hpp), which holds the text and its keys and values.
  stilla::Session& session();

  // Loads a draft model: a small model with the same vocabulary, which guesses tokens for the engine's model to check
  // (model/decoder.hpp). The text of the draft model is empty at first; the text of the engine does not change.
  void load_draft(std::unique_ptr<stilla::ModelSource> source, const Progress& progress);
  stilla::Session* draft();  // null: none

  // These functions are for measurements: the engine's threads, and the work that the model needs for a token.
  stilla::Parallel parallel();
  ModelWork work() const;

  // Returns the lines for --verbose: one for each weight format, with the number of matrices in it and the target whose kernel
  // multiplies them.
  std::vector<std::string> paths() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The memory that the program needs for a model, computed by the same formulas as in the library (pack.hpp, kv_cache.hpp,
// model/forward.hpp). It includes a row of logits, although greedy choice and top-k do not need that row. If kv_type is not given,
// the type of the cache is the one that a session would choose.
struct MemoryNeeds {
  std::uint64_t weights = 0;  // packed matrices, and norms and biases as floats
  std::uint64_t kv_cache = 0;
  std::uint64_t scratch = 0;
  std::uint64_t total() const { return weights + kv_cache + scratch; }
};
stilla::Result<MemoryNeeds> memory_needs(const stilla::ModelSource& source, std::size_t context, std::optional<stilla::KvType> kv_type,
                                         std::size_t batch, std::optional<stilla::FormatId> weights = std::nullopt);

}  // namespace program
