// SPDX-License-Identifier: Apache-2.0
//
// The part of the C API for ops.
#include "common.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include <stilla/attention.hpp>
#include <stilla/base/check.hpp>
#include <stilla/base/cores.hpp>
#include <stilla/base/thread_pool.hpp>
#include <stilla/base/version.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/epilogue.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/import_activations.hpp>
#include <stilla/matmul.hpp>
#include <stilla/norm.hpp>
#include <stilla/quantise.hpp>
#include <stilla/rope.hpp>
#include <stilla/sampling.hpp>
#include <stilla/silu_mul.hpp>
#include <stilla/softmax.hpp>

using namespace c_api;

struct stilla_thread_pool {
  explicit stilla_thread_pool(std::size_t threads) : pool(threads) {}
  stilla::ThreadPool pool;
};
struct stilla_sampler {
  stilla::Sampler sampler;
};

uint32_t stilla_c_api_version(void) { return STILLA_C_API_VERSION; }
const char* stilla_version(void) {
#define STILLA_TEXT_(x) #x
#define STILLA_TEXT(x) STILLA_TEXT_(x)
  return STILLA_TEXT(STILLA_VERSION_MAJOR) "." STILLA_TEXT(STILLA_VERSION_MINOR) "." STILLA_TEXT(STILLA_VERSION_PATCH);
}

// Functions for threads and targets.

stilla_code stilla_thread_pool_create(stilla_thread_pool** out, size_t threads, stilla_error* error) {
  return guarded(error, [&] { return hand_out(out, error, threads); });
}
void stilla_thread_pool_free(stilla_thread_pool* pool) { delete pool; }
stilla_parallel stilla_thread_pool_parallel(stilla_thread_pool* pool) {
  const auto run = [](void* object, size_t count, stilla_body body, void* data) {
    const auto call = [=](std::size_t i) { body(data, i); };
    static_cast<stilla_thread_pool*>(object)->pool(count, call);
  };
  return {pool == nullptr ? nullptr : +run, pool};
}
size_t stilla_default_threads(void) {
  try {
    return stilla::read_cores().threads();
  } catch (...) {
    return 1;
  }
}

const char* stilla_target(void) { return stilla::active_target().name; }
stilla_code stilla_force_target(const char* name, stilla_error* error) {
  return guarded(error,
                 [&] { return name == nullptr ? bad_argument(error, "no name of a target") : report(error, stilla::force_target(name)); });
}
void stilla_check_everything(int on) { stilla::check_everything(on != 0); }

// Functions for weights.

stilla_code stilla_format_by_name(stilla_format* out, const char* name, stilla_error* error) {
  return guarded(error, [&] {
    if (name == nullptr) return bad_argument(error, "no name of a format");
    const stilla::FormatId id = stilla::format_id(name);
    if (!stilla::with_format(id, [](auto) {})) {
      return bad_argument(error, stilla::concat("weights of the format '", stilla::printable(name), "' are not supported"));
    }
    *out = static_cast<stilla_format>(id);
    return done(error);
  });
}
stilla_code stilla_encoded_bytes(size_t* out, stilla_format format, size_t rows, size_t cols, stilla_error* error) {
  return guarded(error, [&] {
    const auto bytes = stilla::encoded_bytes(stilla::FormatId{format}, rows, cols);
    if (bytes) *out = *bytes;
    return report(error, bytes);
  });
}
stilla_code stilla_packed_bytes(size_t* out, stilla_format format, size_t rows, size_t cols, stilla_error* error) {
  return guarded(error, [&] {
    const auto bytes = stilla::packed_bytes(stilla::FormatId{format}, rows, cols);
    if (bytes) *out = *bytes;
    return report(error, bytes);
  });
}
stilla_code stilla_encode(void* encoded, size_t bytes, stilla_format format, stilla_const_matrix weights, const stilla_parallel* parallel,
                          stilla_error* error) {
  return guarded(error, [&] {
    const stilla::ConstMatrix w = matrix(weights);
    if (stilla::Status s = stilla::detail::check_shape("stilla_encode", "weights", w, w.rows, w.cols); !s) return report(error, s);
    if (encoded == nullptr && bytes != 0) return bad_argument(error, "stilla_encode: no memory given");
    return report(error, stilla::encode_rows({static_cast<std::byte*>(encoded), bytes}, w, stilla::FormatId{format}, pool(parallel)));
  });
}
stilla_code stilla_pack(stilla_weights* out, void* packed, size_t bytes, stilla_format format, const void* encoded, size_t rows,
                        size_t cols, const stilla_parallel* parallel, stilla_error* error) {
  return guarded(error, [&] {
    const stilla::FormatId id{format};
    const auto wanted = stilla::packed_bytes(id, rows, cols);
    if (!wanted) return report(error, wanted);
    if (bytes < *wanted || (*wanted != 0 && (packed == nullptr || encoded == nullptr))) {
      return bad_argument(error, stilla::concat("stilla_pack: ", bytes, " bytes for ", rows, " x ", cols, " weights, expected ", *wanted));
    }
    if (reinterpret_cast<std::uintptr_t>(packed) % stilla::cache_line_bytes != 0) {
      return bad_argument(error, "stilla_pack: memory on no boundary of 64 bytes");
    }
    const auto w = stilla::PackedMatrix::create(id, static_cast<const std::byte*>(encoded), rows, cols, pool(parallel), {},
                                                static_cast<std::byte*>(packed));
    if (w) *out = {format, static_cast<std::uint32_t>(w->view().layout), rows, cols, packed};
    return report(error, w);
  });
}
stilla_code stilla_unpack_row(float* out, const stilla_weights* weights, size_t row, stilla_error* error) {
  return guarded(error, [&] {
    const stilla::PackedView w = view(*weights);
    const auto known = stilla::packed_bytes(w.format, w.rows, w.cols);
    if (!known) return report(error, known);
    if (row >= w.rows || w.layout != stilla::Rows16K4::id) {
      return bad_argument(error, stilla::concat("stilla_unpack_row: row ", row, " of ", w.rows, " rows"));
    }
    stilla::embedding_lookup(out, w, row);
    return done(error);
  });
}

// Functions for activations.

namespace {

// Converts `bits`, the bits of rounded activations, to the library's type ActivationBits and calls f with it. Numbers other than 8 and 16
// are an error.
template <class F>
stilla_code with_bits(int bits, stilla_error* error, F&& f) {
  return guarded(error, [&] {
    if (bits != 8 && bits != 16) return bad_argument(error, stilla::concat("activations of ", bits, " bits, expected 8 or 16"));
    return f(bits == 8 ? stilla::ActivationBits::eight : stilla::ActivationBits::sixteen);
  });
}

}  // namespace

stilla_code stilla_activations_create(stilla_activations** out, int bits, stilla_error* error) {
  return with_bits(bits, error, [&](stilla::ActivationBits b) { return hand_out(out, error, stilla::ActivationBuffer(b)); });
}
stilla_code stilla_activations_create_in(stilla_activations** out, int bits, void* memory, size_t bytes, stilla_error* error) {
  return with_bits(bits, error, [&](stilla::ActivationBits b) {
    if (memory == nullptr && bytes != 0) return bad_argument(error, "stilla_activations_create_in: no memory given");
    return hand_out(out, error, stilla::ActivationBuffer({static_cast<std::byte*>(memory), bytes}, b));
  });
}
stilla_code stilla_activations_bytes(size_t* out, size_t rows, size_t cols, int bits, stilla_error* error) {
  return with_bits(bits, error, [&](stilla::ActivationBits b) {
    const std::size_t bytes = stilla::activation_bytes(rows, cols, b, true);
    if (bytes == stilla::impossible_bytes) {
      return bad_argument(error, stilla::concat("rounded activations: ", rows, " x ", cols, " values need more memory than there can be"));
    }
    *out = bytes;
    return done(error);
  });
}
void stilla_activations_free(stilla_activations* activations) { delete activations; }
stilla_code stilla_activations_reserve(stilla_activations* activations, size_t rows, size_t cols, stilla_error* error) {
  return guarded(error, [&] { return report(error, activations->buffer.resize(rows, cols)); });
}
stilla_code stilla_quantise(stilla_activations* out, stilla_const_matrix x, const stilla_parallel* parallel, stilla_error* error) {
  return guarded(error, [&] { return report(error, stilla::quantise(out->buffer, matrix(x), pool(parallel))); });
}

namespace {

template <class T>
stilla::IntegerActivations<T> integers(const stilla_integers& x) {
  return {{static_cast<const T*>(x.values), x.rows, x.cols, x.stride},
          static_cast<stilla::ScaleFor>(x.scale_for),
          x.scales,
          static_cast<const T*>(x.zero_points),
          x.block};
}

}  // namespace

stilla_code stilla_import_activations(stilla_activations* out, const stilla_integers* x, const stilla_parallel* parallel,
                                      stilla_error* error) {
  return guarded(error, [&] {
    if (x->scale_for != STILLA_SCALE_FOR_TENSOR && x->scale_for != STILLA_SCALE_FOR_ROW && x->scale_for != STILLA_SCALE_FOR_BLOCK) {
      return bad_argument(error, "stilla_import_activations: scale_for is none of its values");
    }
    if (x->is_unsigned != 0) return report(error, stilla::import_activations(out->buffer, integers<std::uint8_t>(*x), pool(parallel)));
    return report(error, stilla::import_activations(out->buffer, integers<std::int8_t>(*x), pool(parallel)));
  });
}

// Functions for jobs. A job is an op that the caller's threads compute task by task. It is an object of the library that lies in the
// caller's memory. Its JobKind holds what can be done with it: count its tasks and run one.

namespace {

struct JobKind {
  std::size_t rounds;
  std::size_t (*tasks)(const void* job, std::size_t round);
  void (*run)(const void* job, std::size_t round, std::size_t task);
};

// The JobKind of an op whose tasks may all run at the same time, in one round. (Attention has two rounds: all tasks of the first must end
// before the second begins.) `Tasks` is the op's function that counts the tasks, and `Run` the one that runs a task.
template <class Job, auto Tasks, auto Run>
constexpr JobKind one_round{1, [](const void* job, std::size_t) { return std::size_t{Tasks(*static_cast<const Job*>(job))}; },
                            [](const void* job, std::size_t, std::size_t task) { Run(*static_cast<const Job*>(job), task); }};

constexpr JobKind attention_kind{2,
                                 [](const void* job, std::size_t round) {
                                   const auto& attention = *static_cast<const stilla::AttentionJob*>(job);
                                   return round == 0 ? stilla::attention_tasks(attention) : stilla::attention_merge_tasks(attention);
                                 },
                                 [](const void* job, std::size_t round, std::size_t task) {
                                   const auto& attention = *static_cast<const stilla::AttentionJob*>(job);
                                   round == 0 ? stilla::attention_run(attention, task) : stilla::attention_merge_run(attention, task);
                                 }};

template <class Job>
stilla_code begin(stilla_job* job, const JobKind& kind, Job&& object, stilla::Status&& status, stilla_error* error) {
  using T = std::remove_cvref_t<Job>;
  static_assert(sizeof(T) <= sizeof job->memory && alignof(T) <= alignof(stilla_job) && std::is_trivially_destructible_v<T>);
  job->kind = nullptr;
  if (!status) return report(error, status.error());
  ::new (static_cast<void*>(job->memory)) T(std::forward<Job>(object));
  job->kind = &kind;
  return done(error);
}
const JobKind* kind_of(const stilla_job* job) { return static_cast<const JobKind*>(job->kind); }

stilla::TileFunction tile_function(const stilla_epilogue& epilogue) {
  if (epilogue.run == nullptr) return {};
  return [epilogue](const stilla::MatmulTile& tile) {
    const stilla::Matrix& v = tile.values;
    const stilla_tile values{v.data, v.rows, v.cols, v.stride, tile.row, tile.column};
    epilogue.run(epilogue.object, &values);
  };
}
stilla::MatmulTile tile_of(const stilla_tile& tile) { return {{tile.values, tile.rows, tile.cols, tile.stride}, tile.row, tile.column}; }

// The products and the input of a matmul job, converted from the structs of the C API to the library's types.
struct Products {
  stilla_code read(const stilla_product* from, size_t n, const stilla_activations* rounded, const stilla_const_matrix* x,
                   stilla_error* error) {
    if (n > stilla::MatmulJob::max_products) return bad_argument(error, stilla::concat("matmul: ", n, " products, expected at most 4"));
    count = n;
    for (size_t i = 0; i < n; ++i) {
      products[i] = {matrix(from[i].y), view(from[i].w), from[i].bias, tile_function(from[i].epilogue), from[i].accumulate != 0};
    }
    if (x != nullptr) input.x = matrix(*x);
    if (rounded != nullptr) input.rounded = rounded->buffer.view();
    return STILLA_OK;
  }
  std::span<const stilla::MatmulProduct> all() const { return std::span(products).first(count); }

  std::array<stilla::MatmulProduct, stilla::MatmulJob::max_products> products{};
  size_t count = 0;
  stilla::MatmulInput input;
};

}  // namespace

size_t stilla_job_rounds(const stilla_job* job) { return job->kind == nullptr ? 0 : kind_of(job)->rounds; }
size_t stilla_job_tasks(const stilla_job* job, size_t round) {
  return round >= stilla_job_rounds(job) ? 0 : kind_of(job)->tasks(job->memory, round);
}
void stilla_job_run(const stilla_job* job, size_t round, size_t task) { kind_of(job)->run(job->memory, round, task); }

stilla_code stilla_begin_quantise(stilla_job* job, stilla_activations* out, stilla_const_matrix x, stilla_error* error) {
  job->kind = nullptr;
  return guarded(error, [&] {
    auto begun = stilla::quantise_begin(out->buffer, matrix(x));
    if (!begun) return report(error, begun.error());
    return begin(job, one_round<stilla::QuantiseJob, stilla::quantise_tasks, stilla::quantise_run>, *std::move(begun), stilla::success(),
                 error);
  });
}

void stilla_silu_tile(void*, const stilla_tile* tile) { stilla::epilogue::silu(tile_of(*tile)); }
void stilla_gelu_tile(void*, const stilla_tile* tile) { stilla::epilogue::gelu(tile_of(*tile)); }

stilla_code stilla_begin_matmul(stilla_job* job, const stilla_product* products, size_t count, const stilla_activations* rounded,
                                const stilla_const_matrix* x, stilla_error* error) {
  job->kind = nullptr;
  return guarded(error, [&] {
    Products list;
    if (const stilla_code code = list.read(products, count, rounded, x, error); code != STILLA_OK) return code;
    const stilla::MatmulJob matmul(list.all(), list.input);
    return begin(job, one_round<stilla::MatmulJob, stilla::matmul_tasks, stilla::matmul_run>, matmul, stilla::matmul_check(matmul), error);
  });
}
stilla_code stilla_matmul(const stilla_product* products, size_t count, const stilla_activations* rounded, const stilla_const_matrix* x,
                          const stilla_parallel* parallel, stilla_error* error) {
  return guarded(error, [&] {
    Products list;
    if (const stilla_code code = list.read(products, count, rounded, x, error); code != STILLA_OK) return code;
    return report(error, stilla::matmul(list.all(), list.input, pool(parallel)));
  });
}

stilla_code stilla_begin_rms_norm(stilla_job* job, stilla_matrix y, stilla_const_matrix x, const float* weight, float epsilon,
                                  stilla_error* error) {
  return guarded(error, [&] {
    const stilla::RmsNormJob norm{matrix(y), matrix(x), weight, epsilon};
    return begin(job, one_round<stilla::RmsNormJob, stilla::rms_norm_tasks, stilla::rms_norm_run>, norm, stilla::rms_norm_check(norm),
                 error);
  });
}
stilla_code stilla_rms_norm(stilla_matrix y, stilla_const_matrix x, const float* weight, float epsilon, const stilla_parallel* parallel,
                            stilla_error* error) {
  return guarded(error, [&] { return report(error, stilla::rms_norm(matrix(y), matrix(x), weight, epsilon, pool(parallel))); });
}

stilla_code stilla_begin_silu_mul(stilla_job* job, stilla_matrix y, stilla_const_matrix gate, stilla_const_matrix up, stilla_error* error) {
  return guarded(error, [&] {
    const stilla::SiluMulJob silu{matrix(y), matrix(gate), matrix(up)};
    return begin(job, one_round<stilla::SiluMulJob, stilla::silu_mul_tasks, stilla::silu_mul_run>, silu, stilla::silu_mul_check(silu),
                 error);
  });
}
stilla_code stilla_silu_mul(stilla_matrix y, stilla_const_matrix gate, stilla_const_matrix up, const stilla_parallel* parallel,
                            stilla_error* error) {
  return guarded(error, [&] { return report(error, stilla::silu_mul(matrix(y), matrix(gate), matrix(up), pool(parallel))); });
}

stilla_code stilla_begin_softmax(stilla_job* job, stilla_matrix y, stilla_const_matrix x, stilla_error* error) {
  return guarded(error, [&] {
    const stilla::SoftmaxJob softmax{matrix(y), matrix(x)};
    return begin(job, one_round<stilla::SoftmaxJob, stilla::softmax_tasks, stilla::softmax_run>, softmax, stilla::softmax_check(softmax),
                 error);
  });
}
stilla_code stilla_softmax(stilla_matrix y, stilla_const_matrix x, const stilla_parallel* parallel, stilla_error* error) {
  return guarded(error, [&] { return report(error, stilla::softmax(matrix(y), matrix(x), pool(parallel))); });
}

stilla_code stilla_begin_add(stilla_job* job, stilla_matrix y, stilla_const_matrix x, stilla_error* error) {
  return guarded(error, [&] {
    const stilla::AddJob add{matrix(y), matrix(x)};
    return begin(job, one_round<stilla::AddJob, stilla::add_tasks, stilla::add_run>, add, stilla::add_check(add), error);
  });
}
stilla_code stilla_add(stilla_matrix y, stilla_const_matrix x, const stilla_parallel* parallel, stilla_error* error) {
  return guarded(error, [&] { return report(error, stilla::add_inplace(matrix(y), matrix(x), pool(parallel))); });
}

// Functions for rotary position embedding.

stilla_code stilla_rope_table(float* cos, float* sin, double base, size_t dim, const float* factors, size_t position, stilla_error* error) {
  return guarded(error, [&] {
    if (!(base >= 1.0 && base <= 1e30) || dim % 2 != 0 || dim > 65536) {
      return bad_argument(
          error, stilla::concat("stilla_rope_table: base ", base, ", ", dim, " dimensions; expected 1 to 1e30 and an even number"));
    }
    stilla::RopeFrequencies(base, dim, factors).table_row(cos, sin, position);
    return done(error);
  });
}
namespace {

constexpr const char* no_layout = "rope: layout is none of its values";
bool is_layout(stilla_rope_layout layout) { return layout == STILLA_ROPE_HALF_SPLIT || layout == STILLA_ROPE_INTERLEAVED; }

}  // namespace

stilla_code stilla_begin_rope(stilla_job* job, stilla_matrix x, size_t head_dim, stilla_const_matrix cos, stilla_const_matrix sin,
                              stilla_rope_layout layout, stilla_error* error) {
  return guarded(error, [&] {
    job->kind = nullptr;
    if (!is_layout(layout)) return bad_argument(error, no_layout);
    const stilla::RopeJob rope{matrix(x), head_dim, matrix(cos), matrix(sin), static_cast<stilla::RopeLayout>(layout)};
    return begin(job, one_round<stilla::RopeJob, stilla::rope_tasks, stilla::rope_run>, rope, stilla::rope_check(rope), error);
  });
}
stilla_code stilla_rope(stilla_matrix x, size_t head_dim, stilla_const_matrix cos, stilla_const_matrix sin, stilla_rope_layout layout,
                        const stilla_parallel* parallel, stilla_error* error) {
  return guarded(error, [&] {
    if (!is_layout(layout)) return bad_argument(error, no_layout);
    return report(error,
                  stilla::rope(matrix(x), head_dim, matrix(cos), matrix(sin), static_cast<stilla::RopeLayout>(layout), pool(parallel)));
  });
}

// Functions for keys and values, and for attention.

stilla_code stilla_kv_cache_create(stilla_kv_cache** out, size_t layers, size_t heads, size_t head_dim, stilla_kv_type type,
                                   stilla_error* error) {
  return guarded(error, [&] {
    if (type < STILLA_KV_F32 || type > STILLA_KV_INT5) return bad_argument(error, "stilla_kv_cache_create: type is none of its values");
    auto cache = stilla::KvCache::create({layers, heads, head_dim, static_cast<stilla::KvType>(type)});
    if (!cache) return report(error, cache.error());
    return hand_out(out, error, *std::move(cache));
  });
}
void stilla_kv_cache_free(stilla_kv_cache* cache) { delete cache; }
stilla_code stilla_kv_cache_fork(stilla_kv_cache** out, stilla_kv_cache* cache, stilla_error* error) {
  return guarded(error, [&] { return hand_out(out, error, cache->cache.fork()); });
}
stilla_code stilla_kv_cache_reserve(stilla_kv_cache* cache, size_t count, stilla_error* error) {
  return guarded(error, [&] { return report(error, cache->cache.reserve(count)); });
}
stilla_code stilla_kv_cache_store(stilla_kv_cache* cache, size_t layer, size_t position, const float* key, const float* value,
                                  stilla_error* error) {
  return guarded(error, [&] { return report(error, cache->cache.store(layer, position, key, value)); });
}
size_t stilla_kv_cache_size(const stilla_kv_cache* cache) { return cache->cache.size(); }
stilla_code stilla_kv_cache_set_size(stilla_kv_cache* cache, size_t count, stilla_error* error) {
  return guarded(error, [&] {
    if (count > cache->cache.reserved()) {
      return bad_argument(error, stilla::concat("stilla_kv_cache_set_size: ", count, " positions, reserved are ", cache->cache.reserved()));
    }
    cache->cache.set_size(count);
    return done(error);
  });
}

size_t stilla_attention_scratch_floats(size_t rows, size_t n_heads, size_t head_dim, size_t positions) {
  return stilla::attention_scratch_floats(rows, n_heads, head_dim, positions);
}
stilla_code stilla_begin_attention(stilla_job* job, stilla_matrix out, stilla_const_matrix queries, const stilla_kv_cache* cache,
                                   size_t layer, size_t first_position, size_t n_heads, float* scratch, stilla_error* error) {
  return guarded(error, [&] {
    const stilla::AttentionJob attention{matrix(out), matrix(queries), cache->cache.view(), layer, first_position, n_heads, scratch};
    return begin(job, attention_kind, attention, stilla::attention_check(attention), error);
  });
}
stilla_code stilla_attention(stilla_matrix out, stilla_const_matrix queries, const stilla_kv_cache* cache, size_t layer,
                             size_t first_position, size_t n_heads, float* scratch, const stilla_parallel* parallel, stilla_error* error) {
  return guarded(error, [&] {
    return report(error,
                  stilla::attention(matrix(out), matrix(queries), cache->cache, layer, first_position, n_heads, scratch, pool(parallel)));
  });
}

// Functions for sampling.

void stilla_sampling_defaults(stilla_sampling* out) {
  const stilla::SamplingOptions o;
  *out = {sizeof *out,
          o.temperature,
          o.top_k,
          o.top_p,
          o.min_p,
          o.typical_p,
          o.xtc_probability,
          o.xtc_threshold,
          o.repetition_penalty,
          o.presence_penalty,
          o.frequency_penalty,
          o.penalty_window,
          o.vocabulary,
          nullptr,
          o.seed};
}
stilla_code stilla_sampler_create(stilla_sampler** out, const stilla_sampling* options, stilla_error* error) {
  return guarded(error, [&] {
    if (options->struct_size != sizeof *options) return bad_argument(error, "stilla_sampling: struct_size is not that of this version");
    stilla::SamplingOptions o;
    o.temperature = options->temperature;
    o.top_k = options->top_k;
    o.top_p = options->top_p;
    o.min_p = options->min_p;
    o.typical_p = options->typical_p;
    o.xtc_probability = options->xtc_probability;
    o.xtc_threshold = options->xtc_threshold;
    o.repetition_penalty = options->repetition_penalty;
    o.presence_penalty = options->presence_penalty;
    o.frequency_penalty = options->frequency_penalty;
    o.penalty_window = options->penalty_window;
    o.vocabulary = options->vocabulary;
    o.seed = options->seed;
    if (options->order != nullptr) {
      auto order = stilla::SamplingOrder::parse(options->order);
      if (!order) return report(error, order.error());
      o.order = *order;
    }
    return hand_out(out, error, stilla::Sampler(std::move(o)));
  });
}
void stilla_sampler_free(stilla_sampler* sampler) { delete sampler; }
stilla_code stilla_sample(uint32_t* out, stilla_sampler* sampler, const float* logits, size_t count, stilla_error* error) {
  return guarded(error, [&] {
    const std::optional<std::uint32_t> token = sampler->sampler.sample(std::span(logits, count));
    if (!token) return bad_argument(error, "no logit of an allowed token is a number");
    *out = *token;
    return done(error);
  });
}
void stilla_sampler_accept(stilla_sampler* sampler, uint32_t token) {
  (void)guarded(nullptr, [&] {
    sampler->sampler.accept(token);
    return STILLA_OK;
  });
}
