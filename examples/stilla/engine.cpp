// SPDX-License-Identifier: Apache-2.0
#include "engine.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <stilla/coverage.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/io/damaged_weights.hpp>
#include <stilla/model/config.hpp>
#include <stilla/model/forward.hpp>
#include <stilla/model/required_tensors.hpp>
#include <stilla/model/weights.hpp>
#include <stilla/base/thread_pool.hpp>

#include "imatrix_option.hpp"
#include "onnxruntime_body.hpp"
#include "output.hpp"
#include "verification.hpp"

namespace program {

void choose_target(const std::string& name) { check(stilla::force_target(name)); }
stilla::Result<ModelFacts> read_model_facts(const stilla::ModelSource& source, const stilla::RopeChoice& rope) {
  const stilla::Result<stilla::ModelConfig> config = stilla::read_model_config(source, rope);
  if (!config) return config.error();
  if (const stilla::Status s = stilla::check_required_tensors(source, *config); !s) return s.error();
  return ModelFacts{config->architecture, config->name, config->context, config->vocabulary, config->notes};
}

std::string target_name() { return stilla::active_target().name; }

namespace {

// The most positions that the cache of a draft model has. When they are full, the draft model begins again: it reads at most the last 512
// tokens of the text, in one batch (model/draft_model.hpp). That is cheap, because 512 tokens are read again only once in about 4096 tokens
// of text. And 4096 positions of a small model take little memory.
constexpr std::size_t draft_context = 4096;

}  // namespace

struct Engine::State {
  State(std::unique_ptr<stilla::ModelSource> source, const EngineOptions& chosen, const Progress& progress)
      : facts(value_of(read_model_facts(*source, chosen.rope))), options(chosen), pool(std::in_place, chosen.threads),
        model(value_of(load(std::move(source), chosen, *pool, progress))), body(open_body(chosen, model)), session(new_session()) {}

  static stilla::Result<stilla::Model> load(std::unique_ptr<stilla::ModelSource> source, const EngineOptions& options,
                                            stilla::Parallel parallel, const Progress& progress) {
    if (!is_onnxruntime(options.device)) {
      const OnnxruntimeOptions& runtime = options.onnxruntime;
      if (!runtime.folder.empty() || !runtime.library.empty() || !runtime.provider_library.empty() || !runtime.settings.empty()) {
        fail(exit_usage, "--device-folder, --device-library, --device-provider and --device-option are for --device onnxruntime");
      }
      const std::optional<stilla::Imatrix> imatrix = open_imatrix(options.imatrix, options.weights, *source);
      return stilla::Model::load(std::move(source), parallel, progress, options.weights, options.device, options.rope,
                                 imatrix ? &*imatrix : nullptr);
    }
    if (options.weights) fail(exit_usage, "--weights: the layers' weights are those of --device-folder");
    if (!options.imatrix.empty()) fail(exit_usage, "--imatrix: the layers' weights are those of --device-folder");
    return stilla::Model::load_ends(std::move(source), parallel, progress, options.rope);
  }

  static OnnxruntimeBody open_body(const EngineOptions& options, const stilla::Model& model) {
    if (!is_onnxruntime(options.device)) return {};
    OnnxruntimeOptions of_runtime = options.onnxruntime;
    of_runtime.provider = onnxruntime_provider(options.device);
    OnnxruntimeBody body = value_of(open_onnxruntime_body(of_runtime, model.config(), model.rope_frequencies(), options.threads));
    if (!body.notice.empty()) message(body.notice);
    return body;
  }

  stilla::Session new_session() {
    stilla::SessionOptions of_session{options.context, options.kv_type, options.activations, options.batch};
    of_session.body = body.body.get();
    return value_of(stilla::Session::create(model, of_session, *pool));
  }

  ModelFacts facts;
  EngineOptions options;
  std::optional<stilla::ThreadPool> pool;
  stilla::Model model;
  OnnxruntimeBody body;  // body.body is null if the layers run in this program
  stilla::Session session;
  std::optional<stilla::Model> draft_model;
  std::optional<stilla::Session> draft;
  std::optional<Verification> verification, draft_verification;

  void begin_draft() {
    stilla::SessionOptions of_draft;
    of_draft.context = std::min(options.context, draft_context);
    draft.emplace(value_of(stilla::Session::create(*draft_model, of_draft, *pool)));
  }
};

Engine::Engine(std::unique_ptr<stilla::ModelSource> source, const EngineOptions& options, const Progress& progress)
    : state_(std::make_unique<State>(std::move(source), options, progress)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

const ModelFacts& Engine::facts() const { return state_->facts; }
std::size_t Engine::threads() const { return state_->pool->size(); }

void Engine::use_threads(std::size_t threads) {
  state_->pool.emplace(threads);
  state_->session = state_->new_session();
  if (state_->draft) state_->begin_draft();
}

void Engine::load_draft(std::unique_ptr<stilla::ModelSource> source, const Progress& progress) {
  state_->draft_model.emplace(value_of(stilla::Model::load(std::move(source), *state_->pool, progress)));
  state_->begin_draft();
  // If the draft model is damaged, its guesses are wrong, and nothing else would show this. So its logits for one token
  // are checked for NaN and infinity.
  if (!stilla::all_finite(value_of(state_->draft->evaluate(std::array<std::uint32_t, 1>{0})))) {
    const stilla::ModelSource& of_draft = state_->draft_model->source();
    check(stilla::check_weights_are_numbers(of_draft, *state_->pool));
    fail(exit_failed,
         fmt::format("{}: the draft model's logits are not numbers, though its weights are", stilla::printable_path(of_draft.path())));
  }
  state_->draft->truncate(0);
}
stilla::Session* Engine::draft() { return state_->draft ? &*state_->draft : nullptr; }
stilla::Session& Engine::session() { return state_->session; }

bool Engine::batches_are_exact() const { return state_->body.body == nullptr; }
std::size_t Engine::size() const { return state_->session.size(); }
std::span<const std::uint32_t> Engine::ids() const { return state_->session.ids(); }
std::size_t Engine::cache_bytes() const { return state_->session.cache().bytes(); }
stilla::Status Engine::save(const std::string& path, std::string_view note) const { return state_->session.save(path, note); }
stilla::Result<std::string> Engine::restore(const std::string& path, const AcceptSaved& accept) {
  return state_->session.restore(path, [&](const stilla::SavedText& saved) { return accept(saved.ids, saved.note); });
}
void Engine::blame_weights() {
  check(stilla::check_weights_are_numbers(state_->model.source(), *state_->pool));
  fail(exit_failed,
       fmt::format("{}: the model's logits are not numbers, though its weights are: values of the weights, of a loaded session "
                   "or of RoPE's settings are too large or too small to compute with",
                   stilla::printable_path(state_->model.source().path())));
}
void Engine::begin_verification() {
  if (!state_->options.verifies || state_->verification) return;
  state_->verification.emplace(state_->model.source());
  if (state_->draft_model) state_->draft_verification.emplace(state_->draft_model->source());
}

namespace {
void check_file(const stilla::Status& status) {
  if (!status) throw ModelFailure{{exit_failed, status.error().message}};
}
}  // namespace

void Engine::check_verification() const {
  if (state_->verification) check_file(state_->verification->so_far());
  if (state_->draft_verification) check_file(state_->draft_verification->so_far());
}

void Engine::check_files() const {
  check_file(state_->model.source().check_lengths());
  if (state_->draft_model) check_file(state_->draft_model->source().check_lengths());
  check_verification();
}

void Engine::finish_verification() {
  if (state_->verification) check_file(state_->verification->finish());
  if (state_->draft_verification) check_file(state_->draft_verification->finish());
}

stilla::ActivationBits Engine::activations() const { return state_->session.activations(); }
stilla::KvType Engine::kv_type() const { return state_->session.cache().shape().type; }
std::size_t Engine::context() const { return state_->session.context(); }
void Engine::truncate(std::size_t count) { state_->session.truncate(count); }

std::span<const float> Engine::evaluate(std::span<const std::uint32_t> ids) { return value_of(state_->session.evaluate(ids)); }

void Engine::evaluate_all(std::span<const std::uint32_t> ids, const std::function<void(std::span<const float> row)>& sink) {
  check(state_->session.evaluate_all(ids, [&](std::size_t, stilla::ConstMatrix rows) {
    for (std::size_t m = 0; m < rows.rows; ++m) sink({rows.row(m), rows.cols});
  }));
}

void Engine::append(std::span<const std::uint32_t> ids) { check(state_->session.append(ids)); }

namespace {

template <class F>
void for_each_layer_matrix(const stilla::Model& model, F&& f) {
  for (const stilla::LayerWeights& layer : model.layers()) {
    for (const stilla::Linear* linear : layer.linears()) f(linear->weight);
  }
}

void add_matrix(Work& work, const stilla::PackedMatrix& matrix) {
  const stilla::PackedView& w = matrix.view();
  const double macs = static_cast<double>(w.rows) * static_cast<double>(w.cols);
  work.bytes += static_cast<double>(matrix.bytes());
  (stilla::takes_float_activations(w.format) ? work.float_macs : work.quantised_macs) += macs;
}

}  // namespace

stilla::Parallel Engine::parallel() { return *state_->pool; }

ModelWork Engine::work() const {
  ModelWork work;
  for (const stilla::LayerWeights& layer : state_->model.layers()) {
    const bool is_last = &layer == &state_->model.layers().back();
    for (const stilla::Linear* linear : layer.linears()) {
      const bool makes_cache = linear == &layer.query || linear == &layer.key || linear == &layer.value;
      add_matrix(is_last && !makes_cache ? work.head : work.layers, linear->weight);
    }
  }
  add_matrix(work.head, state_->model.head().weight);
  const stilla::KvShape& cache = state_->session.cache().shape();
  work.kv_bytes = static_cast<double>(cache.bytes(stilla::kv_chunk)) / static_cast<double>(stilla::kv_chunk);
  return work;
}

std::vector<std::string> Engine::paths() const {
  std::map<stilla::FormatId, std::size_t> matrices;
  const auto count = [&](const stilla::PackedMatrix& matrix) { ++matrices[matrix.view().format]; };
  for_each_layer_matrix(state_->model, count);
  count(state_->model.head().weight);
  std::vector<std::string> out;
  if (!state_->body.text.empty()) out.push_back(fmt::format("layers: {}", state_->body.text));
  stilla::for_each_type(stilla::Formats{}, [&]<class Format>(Format) {
    const auto found = matrices.find(stilla::id_of<Format>);
    if (found == matrices.end()) return;
    out.push_back(fmt::format("{:>4} matrices of {}: kernel of {}", found->second, Format::name,
                              stilla::implementer("matmul", Format::name, stilla::active_target()).name));
  });
  return out;
}

namespace {

// Returns the memory that the model's weights take. Vectors are kept as floats, and matrices are packed. An embedding is not counted
// if the model has a separate head, because the embedding then stays in its file.
std::uint64_t weight_bytes(const stilla::ModelSource& source, std::optional<stilla::FormatId> weights) {
  const bool has_head = source.find_tensor("output.weight") != nullptr;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < source.tensor_count(); ++i) {
    const stilla::TensorInfo& tensor = source.tensor(i);
    if (tensor.n_dims < 2) {
      bytes += tensor.dims[0] * sizeof(float);
    } else if (!has_head || tensor.name != "token_embd.weight") {
      stilla::with_format(stilla::requantised_format(source, tensor, weights), [&]<class Format>(Format) {
        bytes += stilla::packed_bytes<Format>(static_cast<std::size_t>(tensor.dims[1]), static_cast<std::size_t>(tensor.dims[0]));
      });
    }
  }
  return bytes;
}

}  // namespace

stilla::Result<MemoryNeeds> memory_needs(const stilla::ModelSource& source, std::size_t context, std::optional<stilla::KvType> kv_type,
                                         std::size_t batch, std::optional<stilla::FormatId> weights) {
  const stilla::Result<stilla::ModelConfig> read = stilla::read_model_config(source);
  if (!read) return read.error();
  const stilla::ModelConfig& config = *read;
  const std::size_t M = std::min(batch, context);
  const std::size_t query_width = config.n_heads * config.head_dim;
  const std::size_t kv_width = config.n_kv_heads * config.head_dim;
  const std::size_t widest = std::max({config.hidden, config.ffn, query_width});
  const auto attention_floats = [&](std::size_t rows) {
    return stilla::attention_scratch_floats(rows, config.n_heads, config.head_dim, context);
  };
  const std::size_t floats = M * (2 * config.hidden + 2 * query_width + 2 * kv_width + 2 * config.ffn + config.rotary_dim) +
                             config.vocabulary + std::max(attention_floats(M), attention_floats(1));
  MemoryNeeds needs;
  needs.weights = weight_bytes(source, weights);
  needs.kv_cache =
      stilla::KvShape{config.n_layers, config.n_kv_heads, config.head_dim, kv_type.value_or(stilla::default_kv_type(config))}.bytes(
          context);
  needs.scratch = floats * sizeof(float) + M * (2 * widest + widest / stilla::activation_block * 4 * sizeof(float));
  return needs;
}

}  // namespace program
