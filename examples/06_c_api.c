/* SPDX-License-Identifier: Apache-2.0
 *
 * Example 6: Stilla from C. First come steps of one layer, as an engine with its own memory, threads and weights runs them. A product
 * with int4 weights is computed in one call and as tasks of three workers, and compared with a plain loop. Then keys are rotated and
 * stored, and attention is computed in the same two ways. At the end, if the command line names a model's file, this model answers
 * a question.
 *
 *   cc -Istilla/include 06_c_api.c -lstilla -lstdc++ -lm -lpthread -o 06 && ./06 stilla/examples/models/stilla-drop-q4_0.gguf
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stilla/c_api.h>

static stilla_error error;

static void must(stilla_code code) {
  if (code == STILLA_OK) return;
  fprintf(stderr, "c_api: code %d: %s\n", (int)code, error.message);
  exit(EXIT_FAILURE);
}
static void expect(int holds, const char* what) {
  printf("%-72s %s\n", what, holds ? "ok" : "WRONG");
  if (!holds) exit(EXIT_FAILURE);
}

static float* floats(size_t count) {
  static uint32_t state = 1;
  float* values = malloc(count * sizeof(float));
  size_t i;
  if (values == NULL) exit(EXIT_FAILURE);
  for (i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    values[i] = (float)(int32_t)state / 2147483648.0f;
  }
  return values;
}
/* Returns the first address in `memory` that is a multiple of 64. `memory` must have room for 64 bytes more than are needed. */
static void* aligned(void* memory) {
  if (memory == NULL) exit(EXIT_FAILURE);
  return (char*)memory + (64 - (uintptr_t)memory % 64) % 64;
}
static stilla_matrix matrix(float* data, size_t rows, size_t cols) {
  const stilla_matrix m = {data, rows, cols, cols};
  return m;
}
static stilla_const_matrix constant(const float* data, size_t rows, size_t cols) {
  const stilla_const_matrix m = {data, rows, cols, cols};
  return m;
}

/* A thread pool that the caller gives to the library. This one runs everything on the calling thread. It counts its jobs in *pool. */
static void run_here(void* pool, size_t count, stilla_body body, void* object) {
  size_t i;
  ++*(int*)pool;
  for (i = 0; i < count; ++i) body(object, i);
}

/* Runs a job with `nth` workers, each of which knows only its own number `ith`. In each round they run one after another here. */
static void run_as_workers(const stilla_job* job, size_t nth) {
  size_t round, ith, task;
  for (round = 0; round < stilla_job_rounds(job); ++round) {
    const size_t tasks = stilla_job_tasks(job, round);
    for (ith = 0; ith < nth; ++ith) {
      for (task = ith; task < tasks; task += nth) stilla_job_run(job, round, task);
    }
  }
}

enum { M = 3, N = 100, K = 256, heads = 4, kv_heads = 2, head_dim = 32, width = heads * head_dim };

static void ops(void) {
  int jobs = 0;
  const stilla_parallel pool = {run_here, &jobs};
  stilla_format q4_0;
  size_t bytes, encoded_bytes, m, n, k;
  float *weights = floats(N * K), *x = floats(M * K), *y = floats(M * N), *again = floats(M * N), *row = floats(K);
  double squares = 0, square_error = 0;
  stilla_weights w;
  stilla_activations* rounded;
  stilla_product product;
  stilla_job job;
  void *encoded, *memory, *packed;

  must(stilla_format_by_name(&q4_0, "q4_0", &error));
  must(stilla_encoded_bytes(&encoded_bytes, q4_0, N, K, &error));
  must(stilla_packed_bytes(&bytes, q4_0, N, K, &error));
  encoded = malloc(encoded_bytes);
  memory = malloc(bytes + 64);
  packed = aligned(memory);
  must(stilla_encode(encoded, encoded_bytes, q4_0, constant(weights, N, K), NULL, &error));
  must(stilla_pack(&w, packed, bytes, q4_0, encoded, N, K, &pool, &error));

  must(stilla_activations_create(&rounded, 16, &error));
  must(stilla_quantise(rounded, constant(x, M, K), &pool, &error));
  memset(&product, 0, sizeof product);
  product.y = matrix(y, M, N);
  product.w = w;
  must(stilla_matmul(&product, 1, rounded, NULL, &pool, &error));
  for (n = 0; n < N; ++n) {
    must(stilla_unpack_row(row, &w, n, &error));
    for (m = 0; m < M; ++m) {
      double exact = 0;
      for (k = 0; k < K; ++k) exact += (double)row[k] * x[m * K + k];
      squares += exact * exact;
      square_error += (y[m * N + n] - exact) * (y[m * N + n] - exact);
    }
  }
  expect(square_error <= 1e-8 * squares, "matmul: int4 weights, activations of 16 bits, against a loop in double");
  expect(jobs == 3, "pack, quantise and matmul ran in the caller's pool");

  product.y = matrix(again, M, N);
  must(stilla_begin_matmul(&job, &product, 1, rounded, NULL, &error));
  run_as_workers(&job, 3);
  expect(memcmp(y, again, M * N * sizeof(float)) == 0, "matmul as tasks of three workers: the same bits");

  product.y.cols = N - 1;
  expect(stilla_matmul(&product, 1, rounded, NULL, NULL, &error) == STILLA_BAD_ARGUMENT && strstr(error.message, "3 x 99") != NULL,
         "a narrow y is refused, and said so");
  expect(stilla_begin_matmul(&job, &product, 1, rounded, NULL, &error) == STILLA_BAD_ARGUMENT && stilla_job_rounds(&job) == 0,
         "and a job of it has no rounds");

  stilla_activations_free(rounded);
  free(encoded), free(memory), free(weights), free(x), free(y), free(again), free(row);
}

/* Stores 300 rotated keys and their values, and computes attention over them, once in one call and once as tasks. */
static void attention(void) {
  enum { T = 300 };
  float *q = floats(width), *out = floats(width), *again = floats(width), *cos = floats(head_dim / 2), *sin = floats(head_dim / 2);
  float* scratch = malloc(sizeof(float) * (1 + stilla_attention_scratch_floats(1, heads, head_dim, T)));
  double sum = 0, exact = 0;
  stilla_kv_cache* cache;
  stilla_job job;
  size_t t;
  must(stilla_kv_cache_create(&cache, 1, kv_heads, head_dim, STILLA_KV_F32, &error));
  must(stilla_kv_cache_reserve(cache, T, &error));
  for (t = 0; t < T; ++t) {
    float *key = floats(kv_heads * head_dim), *value = floats(kv_heads * head_dim);
    double score = 0;
    size_t d;
    must(stilla_rope_table(cos, sin, 10000.0, head_dim, NULL, t, &error));
    must(stilla_rope(matrix(key, 1, kv_heads * head_dim), head_dim, constant(cos, 1, head_dim / 2), constant(sin, 1, head_dim / 2),
                     STILLA_ROPE_HALF_SPLIT, NULL, &error));
    must(stilla_kv_cache_store(cache, 0, t, key, value, &error));
    for (d = 0; d < head_dim; ++d) score += (double)q[d] * key[d] / sqrt((double)head_dim);
    sum += exp(score);
    exact += exp(score) * value[0];
    free(key), free(value);
  }
  expect(stilla_kv_cache_store(cache, 0, 1000000, q, q, &error) == STILLA_BAD_ARGUMENT, "a position that was not reserved is refused");
  must(stilla_kv_cache_set_size(cache, T, &error));
  must(stilla_attention(matrix(out, 1, width), constant(q, 1, width), cache, 0, T - 1, heads, NULL, NULL, &error));
  expect(fabs(out[0] - exact / sum) < 1e-5, "attention over 300 positions, against a loop in double");
  must(stilla_begin_attention(&job, matrix(again, 1, width), constant(q, 1, width), cache, 0, T - 1, heads, scratch, &error));
  expect(stilla_job_rounds(&job) == 2, "attention with scratch has two rounds");
  run_as_workers(&job, 3);
  expect(memcmp(out, again, width * sizeof(float)) == 0, "attention as tasks of three workers: the same bits");
  stilla_kv_cache_free(cache);
  free(q), free(out), free(again), free(cos), free(sin), free(scratch);
}

static void model(const char* path) {
  stilla_thread_pool* threads;
  stilla_parallel pool;
  stilla_model* m;
  stilla_session* session;
  stilla_sampler* sampler;
  stilla_sampling options;
  const float* logits;
  uint32_t ids[256], token;
  size_t count, used = 0, i;
  char answer[4096];

  must(stilla_thread_pool_create(&threads, stilla_default_threads(), &error));
  pool = stilla_thread_pool_parallel(threads);
  must(stilla_model_load(&m, path, &pool, &error));
  must(stilla_session_create(&session, m, NULL, &pool, &error));
  stilla_sampling_defaults(&options);
  options.temperature = 0.0f;
  must(stilla_sampler_create(&sampler, &options, &error));

  must(stilla_chat_prompt(m, ids, 256, &count, NULL, "What is 347 + 589?", &error));
  if (count > 256) exit(EXIT_FAILURE);
  must(stilla_session_evaluate(session, ids, count, &logits, &error));
  for (i = 0; i < 200; ++i) {
    must(stilla_sample(&token, sampler, logits, stilla_model_vocabulary(m), &error));
    if (stilla_token_ends(m, token)) break;
    must(stilla_token_bytes(m, answer + used, sizeof answer - 1 - used, &count, token, 0, &error));
    used += count;
    if (used >= sizeof answer) exit(EXIT_FAILURE);
    must(stilla_session_evaluate(session, &token, 1, &logits, &error));
  }
  answer[used] = 0;
  printf("%s\n", answer);
  expect(strstr(answer, "936") != NULL, "the model's answer to 347 + 589");

  stilla_sampler_free(sampler);
  stilla_session_free(session);
  stilla_model_free(m);
  stilla_thread_pool_free(threads);
}

int main(int argc, char** argv) {
  if (stilla_c_api_version() != STILLA_C_API_VERSION) return EXIT_FAILURE;
  printf("Stilla %s on target %s\n", stilla_version(), stilla_target());
  ops();
  attention();
  if (argc > 1) model(argv[1]);
  return EXIT_SUCCESS;
}
