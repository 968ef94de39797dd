/* SPDX-License-Identifier: Apache-2.0
 *
 * Stilla for C, and for every language that can call C: the ops, for an engine of your own, and models as a whole. Link the compiled
 * library: `stilla::c` (static) or `stilla::c_shared` with CMake, -lstilla by hand. The C++ headers explain each op further and say
 * what its results are to the bit. The name of the C++ header stands beside each group below.
 *
 *   errors     Every function that can fail returns a stilla_code; STILLA_OK is 0. If `error` is not NULL, the function writes the
 *              code and one line of text to it. A function that failed has changed nothing of the caller's, unless its comment says
 *              so. No exception and no signal leaves the library.
 *   memory     The caller owns arrays. The library owns handles (for example stilla_activations): ..._create makes one and
 *              ..._free releases it; ..._free also takes NULL. One thread at a time may use a handle, unless its comment says
 *              otherwise.
 *   threads    Ops run on the calling thread, in the caller's pool (stilla_parallel), or as tasks of a job, for workers that only
 *              know "I am number ith of nth" (stilla_job). The results are the same bits in all three cases.
 *   alignment  Packed weights, and memory that is lent to activations, lie on a 64-byte boundary. Everything else has the alignment
 *              of its type.
 *   version    The caller sets the member struct_size, with which some structs begin, to sizeof the struct. New members of these
 *              structs are only ever added at the end. stilla_c_api_version() is the number that the library was compiled with,
 *              STILLA_C_API_VERSION the number that the caller was compiled with. A library serves callers with the same number.
 */
#ifndef STILLA_C_API_H
#define STILLA_C_API_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(STILLA_C_SHARED)
#ifdef STILLA_C_BUILDS
#define STILLA_C_EXPORT __declspec(dllexport)
#else
#define STILLA_C_EXPORT __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define STILLA_C_EXPORT __attribute__((visibility("default")))
#else
#define STILLA_C_EXPORT
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define STILLA_C_API_VERSION 2

STILLA_C_EXPORT uint32_t stilla_c_api_version(void);
STILLA_C_EXPORT const char* stilla_version(void); /* for example "0.1.0" */

/* Errors. */

typedef int32_t stilla_code;
enum {
  STILLA_OK = 0,
  STILLA_BAD_ARGUMENT = 1, /* the caller asked for something impossible */
  STILLA_REFUSED_FILE = 2, /* a file is damaged, hostile or of a kind that is not supported */
  STILLA_SYSTEM = 3        /* the operating system said no: file not found, no memory, disk full */
};

typedef struct stilla_error {
  stilla_code code;
  char message[508]; /* one line, UTF-8, ends with 0; a longer one is cut off */
} stilla_error;

/* Threads. run calls body(object, i) once for each i below count, on any threads, and returns when all calls are done. If a
 * pointer to a stilla_parallel is NULL, everything runs on the calling thread. */
typedef void (*stilla_body)(void* object, size_t i);
typedef struct stilla_parallel {
  void (*run)(void* pool, size_t count, stilla_body body, void* object);
  void* pool;
} stilla_parallel;

/* The library's own pool (base/thread_pool.hpp). `threads` includes the calling thread. */
typedef struct stilla_thread_pool stilla_thread_pool;
STILLA_C_EXPORT stilla_code stilla_thread_pool_create(stilla_thread_pool** out, size_t threads, stilla_error* error);
STILLA_C_EXPORT void stilla_thread_pool_free(stilla_thread_pool* pool);
STILLA_C_EXPORT stilla_parallel stilla_thread_pool_parallel(stilla_thread_pool* pool);
/* How many threads a model should use on this machine: the number of fast cores that the process may use, limited by its quota
 * (base/cores.hpp). */
STILLA_C_EXPORT size_t stilla_default_threads(void);

/* Targets (dispatch.hpp): instruction sets. */
STILLA_C_EXPORT const char* stilla_target(void);                                          /* the name of the active target */
STILLA_C_EXPORT stilla_code stilla_force_target(const char* name, stilla_error* error);   /* "" goes back to the best target */
/* Turns the checks of arguments that cost more than a few comparisons on or off (base/check.hpp). */
STILLA_C_EXPORT void stilla_check_everything(int on);

/* Matrices are row-major. `stride` is the number of floats from one row to the next; it is at least cols. */
typedef struct stilla_matrix {
  float* data;
  size_t rows, cols, stride;
} stilla_matrix;
typedef struct stilla_const_matrix {
  const float* data;
  size_t rows, cols, stride;
} stilla_const_matrix;

/* Weights (format/format.hpp, layout/pack.hpp). A format is chosen by its name, for example "q4_0";
 * include/stilla/format/README.md lists the names. 0 is no format. */
typedef uint32_t stilla_format;
STILLA_C_EXPORT stilla_code stilla_format_by_name(stilla_format* out, const char* name, stilla_error* error);

/* W[rows, cols] as the kernels read it. stilla_pack makes it. The caller owns `data`. */
typedef struct stilla_weights {
  stilla_format format;
  uint32_t layout;
  size_t rows, cols;
  const void* data;
} stilla_weights;

/* Bytes of W[rows, cols] as files hold it (rows of blocks without gaps), and as packed weights. cols is a multiple of the
 * number of weights in a block of the format. */
STILLA_C_EXPORT stilla_code stilla_encoded_bytes(size_t* out, stilla_format format, size_t rows, size_t cols, stilla_error* error);
STILLA_C_EXPORT stilla_code stilla_packed_bytes(size_t* out, stilla_format format, size_t rows, size_t cols, stilla_error* error);
/* Encodes floats as rows of a format. `bytes` is the size of `encoded` and must be what stilla_encoded_bytes() computes. After an
 * error the contents of `encoded` are undefined. */
STILLA_C_EXPORT stilla_code stilla_encode(void* encoded, size_t bytes, stilla_format format, stilla_const_matrix weights,
                                          const stilla_parallel* parallel, stilla_error* error);
/* Packs encoded rows into `packed`, which has stilla_packed_bytes bytes on a 64-byte boundary, and makes `out` a view of it. */
STILLA_C_EXPORT stilla_code stilla_pack(stilla_weights* out, void* packed, size_t bytes, stilla_format format, const void* encoded,
                                        size_t rows, size_t cols, const stilla_parallel* parallel, stilla_error* error);
/* Writes a row of packed weights as cols floats, for example an embedding. */
STILLA_C_EXPORT stilla_code stilla_unpack_row(float* out, const stilla_weights* weights, size_t row, stilla_error* error);

/* Activations rounded to 8 or 16 bits, for quantised weights (quantise.hpp). They are rounded once for all matrices that take
 * them. Several threads may multiply by the same activations at the same time. */
typedef struct stilla_activations stilla_activations;
STILLA_C_EXPORT stilla_code stilla_activations_create(stilla_activations** out, int bits /* 8 or 16 */, stilla_error* error);
/* Creates activations in `bytes` bytes of the caller's memory, on a 64-byte boundary, which must outlive the handle. Rounding into them
 * allocates nothing, and is refused if it needs more than `bytes` bytes (stilla_activations_bytes()). Imported integers may need 16
 * bits even if `bits` is 8. */
STILLA_C_EXPORT stilla_code stilla_activations_create_in(stilla_activations** out, int bits, void* memory, size_t bytes,
                                                         stilla_error* error);
/* Computes how many bytes activations of rows x cols values take, for stilla_activations_create_in(). A shape for which no memory is
 * large enough is refused. */
STILLA_C_EXPORT stilla_code stilla_activations_bytes(size_t* out, size_t rows, size_t cols, int bits, stilla_error* error);
STILLA_C_EXPORT void stilla_activations_free(stilla_activations* activations);
/* Makes room for rows x cols values. Rounding at most as many rows and columns then allocates no memory. */
STILLA_C_EXPORT stilla_code stilla_activations_reserve(stilla_activations* activations, size_t rows, size_t cols, stilla_error* error);
/* cols is a multiple of 32. */
STILLA_C_EXPORT stilla_code stilla_quantise(stilla_activations* out, stilla_const_matrix x, const stilla_parallel* parallel,
                                            stilla_error* error);
/* Takes over activations that other code rounded: x = scale * (value - zero_point) (import_activations.hpp). */
typedef int32_t stilla_scale_for;
enum { STILLA_SCALE_FOR_TENSOR = 0, STILLA_SCALE_FOR_ROW = 1, STILLA_SCALE_FOR_BLOCK = 2 };
typedef struct stilla_integers {
  const void* values; /* int8_t, or uint8_t if is_unsigned: rows x cols */
  int is_unsigned;
  size_t rows, cols, stride;
  stilla_scale_for scale_for;
  const float* scales; /* one float, [rows] or [rows][cols / block] */
  const void* zero_points; /* as many as scales, of the values' type; NULL: 0 */
  size_t block; /* columns of a block, a multiple of 32; for STILLA_SCALE_FOR_BLOCK */
} stilla_integers;
STILLA_C_EXPORT stilla_code stilla_import_activations(stilla_activations* out, const stilla_integers* x, const stilla_parallel* parallel,
                                                      stilla_error* error);

/* What a product does with its results while they are in the cache (matmul.hpp, epilogue.hpp). `run` is called once for each tile, by
 * the thread that computed it; several threads may call it at the same time for different tiles. It may change the values of its tile.
 * values[i * stride + j] is the result for row (token) `row` + i and column `column` + j. How large tiles are is not specified. */
typedef struct stilla_tile {
  float* values;
  size_t rows, cols, stride;
  size_t row, column;
} stilla_tile;
typedef struct stilla_epilogue {
  void (*run)(void* object, const stilla_tile* tile); /* NULL: there is no epilogue */
  void* object;
} stilla_epilogue;
/* Functions for the member `run`, which do not use `object`. silu: v / (1 + e^-v).
 * gelu: v / 2 (1 + tanh(sqrt(2 / pi) (v + 0.044715 v^3))). */
STILLA_C_EXPORT void stilla_silu_tile(void* object, const stilla_tile* tile);
STILLA_C_EXPORT void stilla_gelu_tile(void* object, const stilla_tile* tile);

/* y = epilogue(x * w^T + bias), or y = y + epilogue(x * w^T + bias) (matmul.hpp): up to 4 products of one input as one job. Quantised
 * weights take `rounded`, float weights take `x`. An input that none of the weights takes may be NULL. Set members that you do not
 * use to 0: stilla_product p = {0}; */
typedef struct stilla_product {
  stilla_matrix y;
  stilla_weights w;
  const float* bias; /* w.rows floats, or NULL */
  stilla_epilogue epilogue;
  int accumulate; /* 1: the result is added to y */
} stilla_product;
STILLA_C_EXPORT stilla_code stilla_matmul(const stilla_product* products, size_t count, const stilla_activations* rounded,
                                          const stilla_const_matrix* x, const stilla_parallel* parallel, stilla_error* error);

/* Ops on rows (norm.hpp, silu_mul.hpp, softmax.hpp). An output may be the same matrix as an input. */
STILLA_C_EXPORT stilla_code stilla_rms_norm(stilla_matrix y, stilla_const_matrix x, const float* weight, float epsilon,
                                            const stilla_parallel* parallel, stilla_error* error);
STILLA_C_EXPORT stilla_code stilla_silu_mul(stilla_matrix y, stilla_const_matrix gate, stilla_const_matrix up,
                                            const stilla_parallel* parallel, stilla_error* error);
STILLA_C_EXPORT stilla_code stilla_softmax(stilla_matrix y, stilla_const_matrix x, const stilla_parallel* parallel, stilla_error* error);
STILLA_C_EXPORT stilla_code stilla_add(stilla_matrix y, stilla_const_matrix x, const stilla_parallel* parallel, stilla_error* error);

/* Rotary positions (rope.hpp). stilla_rope_table writes the cosines and sines of a position, dim / 2 floats each. stilla_rope
 * rotates whole heads in place. */
typedef int32_t stilla_rope_layout;
enum { STILLA_ROPE_HALF_SPLIT = 0, STILLA_ROPE_INTERLEAVED = 1 };
STILLA_C_EXPORT stilla_code stilla_rope_table(float* cos, float* sin, double base, size_t dim, const float* factors /* dim / 2 or NULL */,
                                              size_t position, stilla_error* error);
STILLA_C_EXPORT stilla_code stilla_rope(stilla_matrix x, size_t head_dim, stilla_const_matrix cos, stilla_const_matrix sin,
                                        stilla_rope_layout layout, const stilla_parallel* parallel, stilla_error* error);

/* Keys and values (kv_cache.hpp) and attention over them (attention.hpp). */
typedef int32_t stilla_kv_type;
enum {
  STILLA_KV_DEFAULT = -1, /* only for a session */
  STILLA_KV_F32 = 0,
  STILLA_KV_F16 = 1,
  STILLA_KV_BF16 = 2,
  STILLA_KV_INT8 = 3,
  STILLA_KV_INT5 = 4
};
typedef struct stilla_kv_cache stilla_kv_cache;
STILLA_C_EXPORT stilla_code stilla_kv_cache_create(stilla_kv_cache** out, size_t layers, size_t heads, size_t head_dim, stilla_kv_type type,
                                                   stilla_error* error);
STILLA_C_EXPORT void stilla_kv_cache_free(stilla_kv_cache* cache);
/* Makes a cache for a second text with the same beginning. The common part is in memory once. */
STILLA_C_EXPORT stilla_code stilla_kv_cache_fork(stilla_kv_cache** out, stilla_kv_cache* cache, stilla_error* error);
/* Makes room for the positions below count. Call it before they are stored. */
STILLA_C_EXPORT stilla_code stilla_kv_cache_reserve(stilla_kv_cache* cache, size_t count, stilla_error* error);
/* Stores the rotated key and the value of all heads, heads * head_dim floats each. Different threads may store to different
 * layers. */
STILLA_C_EXPORT stilla_code stilla_kv_cache_store(stilla_kv_cache* cache, size_t layer, size_t position, const float* key,
                                                  const float* value, stilla_error* error);
STILLA_C_EXPORT size_t stilla_kv_cache_size(const stilla_kv_cache* cache);
/* Declares that the positions below count are stored; count is at most what is reserved. Later positions are forgotten. */
STILLA_C_EXPORT stilla_code stilla_kv_cache_set_size(stilla_kv_cache* cache, size_t count, stilla_error* error);

/* The number of floats of scratch memory with which stilla_attention() can use many threads even for few rows of queries; 0 for many
 * rows, which need no scratch. */
STILLA_C_EXPORT size_t stilla_attention_scratch_floats(size_t rows, size_t n_heads, size_t head_dim, size_t positions);
/* Causal attention. The queries are rows x (n_heads * head_dim). Row m is at position first_position + m and sees the positions
 * up to its own; all of these have been stored. scratch may be NULL. */
STILLA_C_EXPORT stilla_code stilla_attention(stilla_matrix out, stilla_const_matrix queries, const stilla_kv_cache* cache, size_t layer,
                                             size_t first_position, size_t n_heads, float* scratch, const stilla_parallel* parallel,
                                             stilla_error* error);

/* Any op as tasks. One worker begins a job, in memory of the caller. Then all workers run their tasks of round 0. When all of these
 * are done they run those of round 1, and so on to the last round. After that the memory of the job may be used again. Everything
 * that the job refers to must stay valid until then.
 *
 *   stilla_job job;
 *   if (ith == 0) code = stilla_begin_rope(&job, x, head_dim, cos, sin, layout, &error);
 *   barrier();
 *   for (size_t round = 0; round < stilla_job_rounds(&job); ++round) {
 *     for (size_t task = ith, tasks = stilla_job_tasks(&job, round); task < tasks; task += nth)
 *       stilla_job_run(&job, round, task);
 *     barrier();
 *   }
 *
 * A job whose stilla_begin_... failed has no rounds. */
typedef struct stilla_job {
  const void* kind;
  uint64_t memory[352];
} stilla_job;
STILLA_C_EXPORT size_t stilla_job_rounds(const stilla_job* job);
STILLA_C_EXPORT size_t stilla_job_tasks(const stilla_job* job, size_t round);
STILLA_C_EXPORT void stilla_job_run(const stilla_job* job, size_t round, size_t task);
STILLA_C_EXPORT stilla_code stilla_begin_quantise(stilla_job* job, stilla_activations* out, stilla_const_matrix x, stilla_error* error);
STILLA_C_EXPORT stilla_code stilla_begin_matmul(stilla_job* job, const stilla_product* products, size_t count,
                                                const stilla_activations* rounded, const stilla_const_matrix* x, stilla_error* error);
STILLA_C_EXPORT stilla_code stilla_begin_rms_norm(stilla_job* job, stilla_matrix y, stilla_const_matrix x, const float* weight,
                                                  float epsilon, stilla_error* error);
STILLA_C_EXPORT stilla_code stilla_begin_silu_mul(stilla_job* job, stilla_matrix y, stilla_const_matrix gate, stilla_const_matrix up,
                                                  stilla_error* error);
STILLA_C_EXPORT stilla_code stilla_begin_softmax(stilla_job* job, stilla_matrix y, stilla_const_matrix x, stilla_error* error);
STILLA_C_EXPORT stilla_code stilla_begin_add(stilla_job* job, stilla_matrix y, stilla_const_matrix x, stilla_error* error);
STILLA_C_EXPORT stilla_code stilla_begin_rope(stilla_job* job, stilla_matrix x, size_t head_dim, stilla_const_matrix cos,
                                              stilla_const_matrix sin, stilla_rope_layout layout, stilla_error* error);
STILLA_C_EXPORT stilla_code stilla_begin_attention(stilla_job* job, stilla_matrix out, stilla_const_matrix queries,
                                                   const stilla_kv_cache* cache, size_t layer, size_t first_position, size_t n_heads,
                                                   float* scratch, stilla_error* error);

/* Sampling (sampling.hpp). stilla_sampling_defaults() fills a struct with DeepSeek's advice for R1. The value that turns a step
 * off stands beside each member. `order` is the order of the steps; NULL is llama.cpp's order:
 * "penalties;dry;top_k;typ_p;top_p;min_p;xtc;temperature". */
typedef struct stilla_sampling {
  size_t struct_size;
  float temperature; /* 0: greedy */
  size_t top_k; /* 0: off */
  float top_p; /* 1: off */
  float min_p; /* 0: off */
  float typical_p; /* 1: off */
  float xtc_probability; /* 0: off */
  float xtc_threshold;
  float repetition_penalty; /* 1: off */
  float presence_penalty; /* 0: off */
  float frequency_penalty; /* 0: off */
  size_t penalty_window; /* how many of the last tokens these three penalties see */
  size_t vocabulary; /* ids from here on are padding; 0: there is no padding */
  const char* order;
  uint64_t seed;
} stilla_sampling;
typedef struct stilla_sampler stilla_sampler;
STILLA_C_EXPORT void stilla_sampling_defaults(stilla_sampling* out); /* sets struct_size too */
STILLA_C_EXPORT stilla_code stilla_sampler_create(stilla_sampler** out, const stilla_sampling* options, stilla_error* error);
STILLA_C_EXPORT void stilla_sampler_free(stilla_sampler* sampler);
/* Draws a token. It is an error if no logit is a number. The token is not accepted: call stilla_sampler_accept for that. */
STILLA_C_EXPORT stilla_code stilla_sample(uint32_t* out, stilla_sampler* sampler, const float* logits, size_t count, stilla_error* error);
/* Tells the sampler about a token of the text, for the penalties. */
STILLA_C_EXPORT void stilla_sampler_accept(stilla_sampler* sampler, uint32_t token);

/* Models: GGUF files, GGUF files in several parts, and packed files (model/weights.hpp, model/forward.hpp). */
typedef struct stilla_model stilla_model;
/* `parallel` is used for loading only. Sessions on several threads may share a model, which must outlive them. */
STILLA_C_EXPORT stilla_code stilla_model_load(stilla_model** out, const char* path, const stilla_parallel* parallel, stilla_error* error);
STILLA_C_EXPORT void stilla_model_free(stilla_model* model);
STILLA_C_EXPORT size_t stilla_model_vocabulary(const stilla_model* model);
STILLA_C_EXPORT size_t stilla_model_context(const stilla_model* model); /* how many positions it was trained for */

/* Turns text into tokens (text/tokenizer.hpp). Writes up to `room` ids to `ids`, and to *count how many ids there are. If *count is
 * larger than `room`, call the function again with as much room. Text never becomes control tokens. */
STILLA_C_EXPORT stilla_code stilla_tokenise(const stilla_model* model, uint32_t* ids, size_t room, size_t* count, const char* text,
                                            size_t text_bytes, int add_bos, stilla_error* error);
/* Makes the prompt for a user's message with the model's own chat template, and writes its ids as stilla_tokenise() does. `system` is a
 * system message, or NULL. */
STILLA_C_EXPORT stilla_code stilla_chat_prompt(const stilla_model* model, uint32_t* ids, size_t room, size_t* count, const char* system,
                                               const char* user, stilla_error* error);
/* Gets the bytes of a token, which may be only a part of a character. Writes up to `room` of them to `bytes`, and to *count how many
 * there are. A control token has no bytes unless show_control is set. */
STILLA_C_EXPORT stilla_code stilla_token_bytes(const stilla_model* model, char* bytes, size_t room, size_t* count, uint32_t token,
                                               int show_control, stilla_error* error);
STILLA_C_EXPORT int stilla_token_ends(const stilla_model* model, uint32_t token); /* whether the token ends an answer */

/* A session: one text that is being read and written. */
typedef struct stilla_session_options {
  size_t struct_size;
  size_t context; /* the largest number of positions; 0: the model's context */
  stilla_kv_type kv_type; /* STILLA_KV_DEFAULT: chosen by the size of the model */
  int activation_bits; /* 8, 16; 0: chosen by the size of the model */
  size_t batch; /* the largest number of tokens that are evaluated at once */
} stilla_session_options;
typedef struct stilla_session stilla_session;
STILLA_C_EXPORT void stilla_session_defaults(stilla_session_options* out);
/* options: NULL for the defaults. parallel: it is copied, and its pool must outlive the session. */
STILLA_C_EXPORT stilla_code stilla_session_create(stilla_session** out, const stilla_model* model, const stilla_session_options* options,
                                                  const stilla_parallel* parallel, stilla_error* error);
STILLA_C_EXPORT void stilla_session_free(stilla_session* session);
/* Appends tokens to the text and evaluates them. *logits then points to stilla_model_vocabulary() logits for the token that follows
 * the last one; they are valid until the session is used again. `logits` may be NULL if no logits are wanted. After an error the text
 * is as it was before. */
STILLA_C_EXPORT stilla_code stilla_session_evaluate(stilla_session* session, const uint32_t* ids, size_t count, const float** logits,
                                                    stilla_error* error);
STILLA_C_EXPORT size_t stilla_session_size(const stilla_session* session);
STILLA_C_EXPORT size_t stilla_session_context(const stilla_session* session);
STILLA_C_EXPORT void stilla_session_truncate(stilla_session* session, size_t size); /* forgets positions from size on */

#ifdef __cplusplus
}
#endif

#endif
