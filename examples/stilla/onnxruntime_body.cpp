// SPDX-License-Identifier: Apache-2.0
#include "onnxruntime_body.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <stilla/base/aligned.hpp>
#include <stilla/io/checked_json.hpp>

#include "export/folder_writers.hpp"
#include "export/static_decoder.hpp"
#include "platform.hpp"

namespace program {
namespace {

using stilla::concat;
using stilla::Error;
using stilla::ErrorKind;
using stilla::Result;
using stilla::Status;

using Tensor = Onnxruntime::Tensor;

constexpr std::string_view device_name = "onnxruntime";

// What the manifest of an exported folder says.
struct Manifest {
  std::string model;
  std::size_t context = 0;
  stilla::Rotation rotation;
  std::vector<LayerRange> parts;
};

Error refused(const std::string& folder, std::string_view text) {
  return {ErrorKind::refused_file, concat("--device-folder ", stilla::printable_path(folder), ": ", text)};
}

std::optional<std::size_t> number(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<std::size_t>();
}
std::string text(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// Reads which layers each part of the body has. [[0, 14], [14, 28]] means layers 0 to 13 and layers 14 to 27. The parts must follow
// each other and hold all layers.
std::optional<std::vector<LayerRange>> parts_of(const nlohmann::json& json, std::size_t layers) {
  std::vector<LayerRange> parts;
  std::size_t next = 0;
  const auto found = json.find("parts");
  if (found == json.end() || !found->is_array()) return std::nullopt;
  for (const nlohmann::json& part : *found) {
    if (!part.is_array() || part.size() != 2 || !part[0].is_number_unsigned() || !part[1].is_number_unsigned()) return std::nullopt;
    const LayerRange range{part[0].get<std::size_t>(), part[1].get<std::size_t>()};
    if (range.begin != next || range.end <= range.begin || range.end > layers) return std::nullopt;
    next = range.end;
    parts.push_back(range);
  }
  if (next != layers) return std::nullopt;
  return parts;
}

Result<Manifest> read_manifest(const std::string& folder, const stilla::ModelConfig& c) {
  const std::string path = folder + "/" + OutputFolder::manifest;
  std::error_code ignored;
  if (!std::filesystem::exists(file_path(path), ignored)) {
    return refused(folder, concat("there is no ", OutputFolder::manifest, " of `stilla export` in it"));
  }
  const Result<nlohmann::json> read = stilla::read_json_file(path, OutputFolder::manifest_limits);
  if (!read) return read.error();
  const nlohmann::json& json = *read;
  if (!json.is_object()) {
    return refused(folder, concat(OutputFolder::manifest, " holds ", stilla::json_type_text(json), "; expected an object"));
  }
  const std::string stack = text(json, "stack");
  if (stack != name_of(Stack::openvino) && stack != name_of(Stack::qnn)) {
    return refused(folder,
                   concat("was exported for '", stilla::printable(stack), "', without static stages; expected --to openvino or --to qnn"));
  }
  const std::pair<const char*, std::size_t> expected[] = {
      {"layers", c.n_layers}, {"hidden", c.hidden}, {"heads", c.n_heads}, {"kv_heads", c.n_kv_heads}, {"head_dim", c.head_dim}};
  for (const auto& [key, value] : expected) {
    const std::optional<std::size_t> found = number(json, key);
    if (found == value) continue;
    return refused(
        folder, concat("is of another model: ", OutputFolder::manifest, " says ", key, " ", found.value_or(0), ", this model has ", value));
  }
  Manifest manifest;
  manifest.model = text(json, "model");
  manifest.context = number(json, "context").value_or(0);
  constexpr std::size_t max_context = std::size_t{1} << 20;
  if (manifest.context <= window || manifest.context > max_context) {
    return refused(folder,
                   concat(OutputFolder::manifest, " says context ", manifest.context, "; expected ", window + 1, " to ", max_context));
  }
  if (json.contains("rotation")) {
    const std::string said = text(json, "rotation");
    const std::optional<stilla::Rotation> rotation = stilla::parse_rotation(said);
    if (!rotation) {
      return refused(folder, concat(OutputFolder::manifest, " says rotation '", stilla::printable(said), "', which is unknown"));
    }
    manifest.rotation = *rotation;
  }
  const std::optional<std::vector<LayerRange>> parts = parts_of(json, c.n_layers);
  if (!parts) return refused(folder, concat(OutputFolder::manifest, " lists no parts that hold all ", c.n_layers, " layers"));
  manifest.parts = *parts;
  return manifest;
}

// The keys and values of all layers, in the shapes that a graph for `tokens` tokens has: those of earlier tokens, which the graph reads,
// and those of the new tokens, which it writes.
class Cache {
 public:
  // Allocates the keys and values of earlier tokens, past: [layers][2][heads][places][width], and those of new tokens, fresh:
  // [layers][2][heads][tokens][width]. Keys come before values. A place holds one earlier position, and width is the size of a head.
  [[nodiscard]] bool resize(const stilla::ModelConfig& c, std::size_t context, std::size_t tokens) {
    heads_ = c.n_kv_heads;
    width_ = c.head_dim;
    tokens_ = tokens;
    places_ = context - tokens;
    const std::size_t rows = 2 * c.n_layers * heads_;
    if (!past_.resize(rows * places_ * width_) || !fresh_.resize(rows * tokens * width_)) return false;
    past_.fill_zero();
    return true;
  }

  std::size_t places() const { return places_; }
  Tensor past(std::size_t layer, bool is_value) {
    const std::vector<std::int64_t> shape{1, std::int64_t(heads_), std::int64_t(places_), std::int64_t(width_)};
    return {concat(is_value ? "past_value." : "past_key.", layer), shape,
            past_.data() + (2 * layer + is_value) * heads_ * places_ * width_};
  }
  Tensor fresh(std::size_t layer, bool is_value) {
    const std::vector<std::int64_t> shape{1, std::int64_t(heads_), std::int64_t(tokens_), std::int64_t(width_)};
    return {concat(is_value ? "value." : "key.", layer), shape, fresh_.data() + (2 * layer + is_value) * heads_ * tokens_ * width_};
  }

  // Copies keys and values of the first `count` tokens that the graph of `from` has just computed into this cache, where they stand at the
  // positions from `first` on. Keys and values for which this cache has no place are left out.
  void take(const Cache& from, std::size_t first, std::size_t count, std::size_t layers) {
    if (first >= places_) return;
    const std::size_t floats = std::min(count, places_ - first) * width_;
    for (std::size_t row = 0; row < 2 * layers * heads_; ++row) {
      std::copy_n(from.fresh_.data() + row * from.tokens_ * width_, floats, past_.data() + (row * places_ + first) * width_);
    }
  }

 private:
  std::size_t heads_ = 0, width_ = 0, tokens_ = 0, places_ = 0;
  stilla::AlignedBuffer<float> past_, fresh_;
};

// The graphs that compute `tokens` tokens at a time, one for each part of the body, and their tensors.
class Step {
 public:
  Status open(Onnxruntime& runtime, const std::string& folder, const Manifest& manifest, const stilla::ModelConfig& c, std::size_t tokens) {
    tokens_ = tokens;
    context_ = manifest.context;
    hidden_width_ = c.hidden;
    head_width_ = c.head_dim;
    const std::size_t stages = manifest.parts.size() + 1;
    if (!hidden_.resize(stages * tokens * c.hidden) || !cos_.resize(tokens * c.head_dim) || !sin_.resize(tokens * c.head_dim) ||
        !mask_.resize(tokens * context_) || !cache_.resize(c, context_, tokens)) {
      return stilla::out_of_memory("keys and values of the device", 2 * c.n_layers * c.n_kv_heads * context_ * c.head_dim * sizeof(float));
    }
    const auto S = std::int64_t(tokens), D = std::int64_t(c.head_dim);
    for (std::size_t part = 0; part + 1 < stages; ++part) {
      const auto hidden = [&](const char* name, std::size_t stage) {
        return Tensor{name, {1, S, std::int64_t(c.hidden)}, hidden_.data() + stage * tokens * c.hidden};
      };
      std::vector<Tensor> inputs{hidden("hidden", part),
                                 {"cos", {1, 1, S, D}, cos_.data()},
                                 {"sin", {1, 1, S, D}, sin_.data()},
                                 {"mask", {1, 1, S, std::int64_t(context_)}, mask_.data()}};
      std::vector<Tensor> outputs{hidden("hidden_out", part + 1)};
      for (std::size_t layer = manifest.parts[part].begin; layer < manifest.parts[part].end; ++layer) {
        for (const bool is_value : {false, true}) {
          inputs.push_back(cache_.past(layer, is_value));
          outputs.push_back(cache_.fresh(layer, is_value));
        }
      }
      const std::string file = folder + "/" + part_file(tokens == 1 ? "iterator" : "context", part, stages - 1);
      Result<std::unique_ptr<Onnxruntime::Graph>> graph = runtime.open_graph(file, inputs, outputs);
      if (!graph) return graph.error();
      graphs_.push_back(std::move(*graph));
    }
    return stilla::success();
  }

  Cache& cache() { return cache_; }
  std::size_t tokens() const { return tokens_; }

  // Runs the layers on x [count, hidden], where count is at most the number of tokens of the graphs. The first token is at position
  // `first`. `first` may be at most the number of places that the graphs have for the keys of earlier tokens.
  Status run(stilla::Matrix x, std::size_t first, const stilla::RopeFrequencies& frequencies) {
    for (std::size_t m = 0; m < tokens_; ++m) {
      float* const row = hidden_.data() + m * hidden_width_;
      if (m < x.rows) {
        std::copy_n(x.row(m), hidden_width_, row);
      } else {
        std::fill_n(row, hidden_width_, 0.0f);  // no token attends to these rows
      }
      write_angles(m, first + m, frequencies);
      write_mask(m, first);
    }
    for (const auto& graph : graphs_) {
      if (Status s = graph->run(); !s) return s;
    }
    const float* const out = hidden_.data() + graphs_.size() * tokens_ * hidden_width_;
    for (std::size_t m = 0; m < x.rows; ++m) std::copy_n(out + m * hidden_width_, hidden_width_, x.row(m));
    return stilla::success();
  }

 private:
  // Writes the cosines and sines of the rotation of token m, which stands at `position`. Every one is written twice, once for each half of
  // a head.
  void write_angles(std::size_t m, std::size_t position, const stilla::RopeFrequencies& frequencies) {
    float *const cos = cos_.data() + m * head_width_, *const sin = sin_.data() + m * head_width_;
    const std::size_t pairs = head_width_ / 2;
    frequencies.table_row(cos, sin, std::min(position, context_ - 1));
    std::copy_n(cos, pairs, cos + pairs);
    std::copy_n(sin, pairs, sin + pairs);
  }
  // Writes row m of the mask, which is added to the scores of token m. It is 0 for the keys that the token may see: those of the text
  // before this step, and those of the step's own tokens up to token m. All other keys get -1e4. A graph that rounds the mask to 16 bits
  // may have a smaller range, and then lowers these scores only as far as its range goes.
  void write_mask(std::size_t m, std::size_t first) {
    constexpr float unseen = -1e4f;
    float* const row = mask_.data() + m * context_;
    const std::size_t places = cache_.places();
    std::fill_n(row, context_, unseen);
    std::fill_n(row, first, 0.0f);
    std::fill_n(row + places, m + 1, 0.0f);
  }

  std::size_t tokens_ = 0, context_ = 0, hidden_width_ = 0, head_width_ = 0;
  stilla::AlignedBuffer<float> hidden_;  // [parts + 1][tokens][hidden]: each part's input, and the last one's output
  stilla::AlignedBuffer<float> cos_, sin_, mask_;
  Cache cache_;
  std::vector<std::unique_ptr<Onnxruntime::Graph>> graphs_;
};

class ExportedBody : public stilla::ModelBody {
 public:
  static Result<std::unique_ptr<ExportedBody>> open(std::shared_ptr<Onnxruntime> runtime, const std::string& folder,
                                                    const Manifest& manifest, const stilla::ModelConfig& c,
                                                    const stilla::RopeFrequencies& frequencies) {
    std::unique_ptr<ExportedBody> body(new ExportedBody(std::move(runtime), manifest, c.n_layers, frequencies));
    for (Step* step : {&body->context_step_, &body->iterator_step_}) {
      const std::size_t tokens = step == &body->iterator_step_ ? 1 : window;
      if (Status s = step->open(*body->runtime_, folder, manifest, c, tokens); !s) return s.error();
    }
    return body;
  }

  // Computes whole windows (64 tokens in one step) while the context has room for them. A single token, and tokens for which a whole window
  // has no room, are computed one at a time.
  Status run(stilla::Matrix x, std::size_t first) override {
    for (std::size_t done = 0; done < x.rows;) {
      const std::size_t position = first + done, left = x.rows - done;
      Step& step = left == 1 || position + window > context_ ? iterator_step_ : context_step_;
      const std::size_t count = std::min(left, step.tokens());
      if (Status s = step.run(x.rows_from(done, count), position, frequencies_); !s) return s;
      for (Step* other : {&context_step_, &iterator_step_}) other->cache().take(step.cache(), position, count, layers_);
      done += count;
    }
    return stilla::success();
  }

  std::size_t context() const override { return context_; }
  stilla::Rotation rotation() const override { return rotation_; }

 private:
  ExportedBody(std::shared_ptr<Onnxruntime> runtime, const Manifest& manifest, std::size_t layers,
               const stilla::RopeFrequencies& frequencies)
      : runtime_(std::move(runtime)), context_(manifest.context), layers_(layers), rotation_(manifest.rotation), frequencies_(frequencies) {
  }

  std::shared_ptr<Onnxruntime> runtime_;
  std::size_t context_, layers_;
  stilla::Rotation rotation_;
  stilla::RopeFrequencies frequencies_;
  Step context_step_, iterator_step_;
};

}  // namespace

bool is_onnxruntime(const std::string& device) { return device == device_name || device.starts_with(concat(device_name, ":")); }

std::string onnxruntime_provider(const std::string& device) {
  return device.size() <= device_name.size() ? "" : device.substr(device_name.size() + 1);
}

Result<OnnxruntimeBody> open_onnxruntime_body(const OnnxruntimeOptions& options, const stilla::ModelConfig& config,
                                              const stilla::RopeFrequencies& frequencies, std::size_t threads) {
  if (options.folder.empty()) {
    return Error{ErrorKind::bad_argument,
                 "--device onnxruntime needs --device-folder FOLDER, what `stilla export --to openvino` or `--to qnn` wrote of this model"};
  }
  const Result<Manifest> manifest = read_manifest(options.folder, config);
  if (!manifest) return manifest.error();
  Result<std::shared_ptr<Onnxruntime>> runtime = Onnxruntime::open(options, threads);
  if (!runtime) return runtime.error();
  const std::string text = concat((*runtime)->name(), ", folder ", stilla::printable_path(options.folder));
  Result<std::unique_ptr<ExportedBody>> body = ExportedBody::open(std::move(*runtime), options.folder, *manifest, config, frequencies);
  if (!body) return body.error();
  OnnxruntimeBody out{std::move(*body), text, ""};
  if (manifest->model != config.name) {
    out.notice = concat("--device-folder ", stilla::printable_path(options.folder), " was exported from '",
                        stilla::printable(manifest->model), "' and the model is '", stilla::printable(config.name), "'");
  }
  return out;
}

}  // namespace program
