// SPDX-License-Identifier: Apache-2.0
//
// Tests of the C API: errors with their codes and messages, handles, ops that run as jobs, and a model. A job gives the same bits
// as a direct call of its op. A model gives the same bits as in the C++ library. Other functions are called by examples/06_c_api.c,
// which is compiled as C and linked with the shared library.
#include <stilla/c_api.h>

#include <stilla/attention.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/model/forward.hpp>
#include <stilla/text/source_tokenizer.hpp>

#include <stilla/sampling.hpp>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

stilla_matrix c_matrix(std::vector<float>& v, std::size_t rows) { return {v.data(), rows, v.size() / rows, v.size() / rows}; }
stilla_const_matrix c_const(const std::vector<float>& v, std::size_t rows) { return {v.data(), rows, v.size() / rows, v.size() / rows}; }

::testing::AssertionResult fails(stilla_code code, const stilla_error& error, stilla_code expected, std::string_view part) {
  if (code != expected || error.code != expected || std::string_view(error.message).find(part) == std::string_view::npos) {
    return ::testing::AssertionFailure() << code << ", " << error.code << ": " << error.message;
  }
  return ::testing::AssertionSuccess();
}

void run_as_workers(const stilla_job& job, std::size_t nth) {
  for (std::size_t round = 0; round < stilla_job_rounds(&job); ++round) {
    for (std::size_t ith = nth; ith-- > 0;) {
      for (std::size_t task = ith, tasks = stilla_job_tasks(&job, round); task < tasks; task += nth) stilla_job_run(&job, round, task);
    }
  }
}

TEST(CApi, Versions) {
  EXPECT_EQ(stilla_c_api_version(), std::uint32_t{STILLA_C_API_VERSION});
  EXPECT_EQ(std::string_view(stilla_version()), concat(STILLA_VERSION_MAJOR, ".", STILLA_VERSION_MINOR, ".", STILLA_VERSION_PATCH));
  EXPECT_EQ(std::string_view(stilla_target()), active_target().name);
  EXPECT_GE(stilla_default_threads(), 1u);
}

TEST(CApi, ErrorsSayWhat) {
  stilla_error e;
  stilla_format format = 7;
  EXPECT_TRUE(fails(stilla_format_by_name(&format, "q9_9", &e), e, STILLA_BAD_ARGUMENT, "q9_9"));
  EXPECT_EQ(format, 7u);
  EXPECT_TRUE(fails(stilla_format_by_name(&format, nullptr, &e), e, STILLA_BAD_ARGUMENT, "no name"));
  EXPECT_EQ(stilla_format_by_name(&format, "q9_9", nullptr), STILLA_BAD_ARGUMENT);  // the caller gives no memory for a message
  ASSERT_EQ(stilla_format_by_name(&format, "q4_0", &e), STILLA_OK);
  EXPECT_EQ(e.code, STILLA_OK);
  std::size_t bytes = 0;
  EXPECT_TRUE(fails(stilla_packed_bytes(&bytes, format, 4, 33, &e), e, STILLA_BAD_ARGUMENT, "33 columns"));
  EXPECT_TRUE(fails(stilla_packed_bytes(&bytes, 99, 4, 32, &e), e, STILLA_BAD_ARGUMENT, "unknown format"));
  ASSERT_EQ(stilla_packed_bytes(&bytes, format, 4, 32, &e), STILLA_OK);
  std::vector<std::byte> memory(bytes + 128), encoded(18 * 4);
  std::byte* const aligned = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  stilla_weights w;
  EXPECT_TRUE(fails(stilla_pack(&w, aligned, bytes - 1, format, encoded.data(), 4, 32, nullptr, &e), e, STILLA_BAD_ARGUMENT, "expected"));
  EXPECT_TRUE(fails(stilla_pack(&w, aligned + 4, bytes, format, encoded.data(), 4, 32, nullptr, &e), e, STILLA_BAD_ARGUMENT, "64 bytes"));
  ASSERT_EQ(stilla_pack(&w, aligned, bytes, format, encoded.data(), 4, 32, nullptr, &e), STILLA_OK);
  std::vector<float> row(32);
  EXPECT_TRUE(fails(stilla_unpack_row(row.data(), &w, 4, &e), e, STILLA_BAD_ARGUMENT, "row 4 of 4"));
  stilla_activations* activations = nullptr;
  EXPECT_TRUE(fails(stilla_activations_create(&activations, 12, &e), e, STILLA_BAD_ARGUMENT, "12 bits"));
  ASSERT_EQ(stilla_activations_create(&activations, 8, &e), STILLA_OK);
  EXPECT_TRUE(fails(stilla_activations_reserve(activations, SIZE_MAX / 64, 32, &e), e, STILLA_SYSTEM, "not enough memory"));
  EXPECT_TRUE(fails(stilla_quantise(activations, {row.data(), 1, 20, 20}, nullptr, &e), e, STILLA_BAD_ARGUMENT, "20 columns"));
  stilla_activations_free(activations);
  stilla_kv_cache* cache = nullptr;
  EXPECT_TRUE(fails(stilla_kv_cache_create(&cache, 1, 1, 30, STILLA_KV_F16, &e), e, STILLA_BAD_ARGUMENT, "head size 30"));
  EXPECT_TRUE(fails(stilla_kv_cache_create(&cache, 1, 1, 32, 9, &e), e, STILLA_BAD_ARGUMENT, "type"));
  stilla_model* model = nullptr;
  EXPECT_TRUE(fails(stilla_model_load(&model, "no such file", nullptr, &e), e, STILLA_SYSTEM, "no such file"));
  EXPECT_TRUE(
      fails(stilla_model_load(&model, (std::string(test_data) + "/ops.bin").c_str(), nullptr, &e), e, STILLA_REFUSED_FILE, "ops.bin"));
  stilla_sampler* sampler = nullptr;
  stilla_sampling options;
  stilla_sampling_defaults(&options);
  options.order = "top_k;nonsense";
  EXPECT_TRUE(fails(stilla_sampler_create(&sampler, &options, &e), e, STILLA_BAD_ARGUMENT, "nonsense"));
  options.struct_size = 8;
  EXPECT_TRUE(fails(stilla_sampler_create(&sampler, &options, &e), e, STILLA_BAD_ARGUMENT, "struct_size"));
  stilla_activations_free(nullptr);
  stilla_kv_cache_free(nullptr);
  stilla_model_free(nullptr);
  stilla_session_free(nullptr);
  stilla_sampler_free(nullptr);
  stilla_thread_pool_free(nullptr);
}

TEST(CApi, AMessageThatIsTooLongIsCut) {
  stilla_error e;
  const std::string path(3000, 'x');
  stilla_model* model = nullptr;
  EXPECT_NE(stilla_model_load(&model, path.c_str(), nullptr, &e), STILLA_OK);
  EXPECT_LT(std::strlen(e.message), sizeof e.message);
}

struct Thrown {};
TEST(CApi, NoExceptionLeaves) {
  stilla_error e;
  const stilla_parallel throwing{[](void*, std::size_t, stilla_body, void*) { throw Thrown(); }, nullptr};
  std::vector<float> x(64);
  EXPECT_TRUE(fails(stilla_softmax(c_matrix(x, 2), c_const(x, 2), &throwing, &e), e, STILLA_SYSTEM, "exception"));
}

TEST(CApi, JobsHaveTheBitsOfCalls) {
  constexpr std::size_t M = 5, n = 64;
  stilla_error e;
  stilla_job job;
  const std::vector<float> a = noise_values(1, M * n), b = noise_values(2, M * n), cos = noise_values(3, M * 8),
                           sin = noise_values(4, M * 8);
  std::vector<float> called(M * n), run(M * n);
  const auto same = [&] {
    run_as_workers(job, 3);
    return same_bits(called, run);
  };
  ASSERT_EQ(stilla_rms_norm(c_matrix(called, M), c_const(a, M), b.data(), 1e-5f, nullptr, &e), STILLA_OK);
  ASSERT_EQ(stilla_begin_rms_norm(&job, c_matrix(run, M), c_const(a, M), b.data(), 1e-5f, &e), STILLA_OK);
  EXPECT_TRUE(same());
  ASSERT_EQ(stilla_silu_mul(c_matrix(called, M), c_const(a, M), c_const(b, M), nullptr, &e), STILLA_OK);
  ASSERT_EQ(stilla_begin_silu_mul(&job, c_matrix(run, M), c_const(a, M), c_const(b, M), &e), STILLA_OK);
  EXPECT_TRUE(same());
  ASSERT_EQ(stilla_softmax(c_matrix(called, M), c_const(a, M), nullptr, &e), STILLA_OK);
  ASSERT_EQ(stilla_begin_softmax(&job, c_matrix(run, M), c_const(a, M), &e), STILLA_OK);
  EXPECT_TRUE(same());
  ASSERT_EQ(stilla_add(c_matrix(called, M), c_const(b, M), nullptr, &e), STILLA_OK);
  ASSERT_EQ(stilla_begin_add(&job, c_matrix(run, M), c_const(b, M), &e), STILLA_OK);
  EXPECT_TRUE(same());
  ASSERT_EQ(stilla_rope(c_matrix(called, M), 16, c_const(cos, M), c_const(sin, M), STILLA_ROPE_INTERLEAVED, nullptr, &e), STILLA_OK);
  ASSERT_EQ(stilla_begin_rope(&job, c_matrix(run, M), 16, c_const(cos, M), c_const(sin, M), STILLA_ROPE_INTERLEAVED, &e), STILLA_OK);
  EXPECT_TRUE(same());
  EXPECT_TRUE(fails(stilla_begin_rope(&job, c_matrix(run, M), 0, c_const(cos, M), c_const(sin, M), STILLA_ROPE_INTERLEAVED, &e), e,
                    STILLA_BAD_ARGUMENT, "whole heads of 0"));
  EXPECT_EQ(stilla_job_rounds(&job), 0u);
  EXPECT_TRUE(fails(stilla_rope(c_matrix(run, M), 16, c_const(cos, M), c_const(sin, M), 2, nullptr, &e), e, STILLA_BAD_ARGUMENT, "layout"));
}

// A packed matrix of noise, N rows and K columns, in Q4_0.
struct Weights {
  Weights(std::size_t N, std::size_t K) : memory(N * K * 4 + 64) {
    stilla_error e;
    const std::vector<float> floats = noise_values(1, N * K);
    stilla_format format = 0;
    std::size_t bytes = 0;
    EXPECT_EQ(stilla_format_by_name(&format, "q4_0", &e), STILLA_OK);
    EXPECT_EQ(stilla_packed_bytes(&bytes, format, N, K, &e), STILLA_OK);
    std::vector<std::byte> encoded(N * K / 32 * 18);
    EXPECT_EQ(stilla_encode(encoded.data(), encoded.size(), format, c_const(floats, N), nullptr, &e), STILLA_OK) << e.message;
    EXPECT_EQ(stilla_pack(&w, aligned(memory), bytes, format, encoded.data(), N, K, nullptr, &e), STILLA_OK);
  }
  static std::byte* aligned(std::vector<std::byte>& memory) {
    return memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  }

  std::vector<std::byte> memory;
  stilla_weights w;
};

TEST(CApi, ImportedActivations) {
  constexpr std::size_t M = 20, N = 48, K = 64;
  stilla_error e;
  const Weights weights(N, K);
  const stilla_weights& w = weights.w;
  std::vector<std::uint8_t> values(M * K);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint8_t>(noise_bits(2, i) >> 24);
  const float scale = 0.013f;
  const std::uint8_t zero_point = 119;
  stilla_integers x{values.data(), 1, M, K, K, STILLA_SCALE_FOR_TENSOR, &scale, &zero_point, 32};
  stilla_activations* activations = nullptr;
  ASSERT_EQ(stilla_activations_create(&activations, 8, &e), STILLA_OK);
  ASSERT_EQ(stilla_import_activations(activations, &x, nullptr, &e), STILLA_OK);
  std::vector<float> y(M * N), row(K);
  const stilla_product product{c_matrix(y, M), w, nullptr, {}, 0};
  ASSERT_EQ(stilla_matmul(&product, 1, activations, nullptr, nullptr, &e), STILLA_OK) << e.message;
  for (std::size_t n = 0; n < N; ++n) {
    ASSERT_EQ(stilla_unpack_row(row.data(), &w, n, &e), STILLA_OK);
    for (std::size_t m = 0; m < M; ++m) {
      double exact = 0;
      for (std::size_t k = 0; k < K; ++k) exact += double{row[k]} * double{scale} * (values[m * K + k] - zero_point);
      EXPECT_NEAR(y[m * N + n], exact, 1e-4);
    }
  }
  x.scale_for = 5;
  EXPECT_TRUE(fails(stilla_import_activations(activations, &x, nullptr, &e), e, STILLA_BAD_ARGUMENT, "scale_for"));
  stilla_activations_free(activations);
}

TEST(CApi, EpiloguesAndActivationsInMemoryOfTheCaller) {
  constexpr std::size_t M = 7, N = 50, K = 64;
  stilla_error e;
  const Weights weights(N, K);
  const std::vector<float> x = noise_values(2, M * K), bias = noise_values(3, N);
  for (const int bits : {8, 16}) {
    stilla_activations *own = nullptr, *lent = nullptr, *small = nullptr;
    std::size_t bytes = 0;
    ASSERT_EQ(stilla_activations_bytes(&bytes, M, K, bits, &e), STILLA_OK);
    std::vector<std::byte> memory(bytes + 64);
    ASSERT_EQ(stilla_activations_create(&own, bits, &e), STILLA_OK);
    ASSERT_EQ(stilla_activations_create_in(&lent, bits, Weights::aligned(memory), bytes, &e), STILLA_OK);
    ASSERT_EQ(stilla_activations_create_in(&small, bits, Weights::aligned(memory), 64, &e), STILLA_OK);
    EXPECT_TRUE(fails(stilla_quantise(small, c_const(x, M), nullptr, &e), e, STILLA_BAD_ARGUMENT, "memory of 64 bytes, expected"));
    ASSERT_EQ(stilla_quantise(own, c_const(x, M), nullptr, &e), STILLA_OK);
    ASSERT_EQ(stilla_quantise(lent, c_const(x, M), nullptr, &e), STILLA_OK) << e.message;
    const auto product = [&](std::vector<float>& y, void (*run)(void*, const stilla_tile*), void* object, int accumulate) {
      return stilla_product{c_matrix(y, M), weights.w, bias.data(), {run, object}, accumulate};
    };
    std::vector<float> plain(M * N), silu = plain, gelu = plain, sum = noise_values(4, M * N), expected_sum = sum;
    const stilla_product one = product(plain, nullptr, nullptr, 0);
    ASSERT_EQ(stilla_matmul(&one, 1, own, nullptr, nullptr, &e), STILLA_OK);
    // `twice` is a function of the caller, which matmul runs on each tile of results. It doubles the results of the tile and counts
    // them.
    std::size_t seen = 0;
    const auto twice = [](void* object, const stilla_tile* tile) {
      for (std::size_t i = 0; i < tile->rows; ++i) {
        for (std::size_t j = 0; j < tile->cols; ++j) tile->values[i * tile->stride + j] *= 2.0f;
      }
      *static_cast<std::size_t*>(object) += tile->rows * tile->cols;
    };
    const stilla_product three[] = {product(silu, stilla_silu_tile, nullptr, 0), product(gelu, stilla_gelu_tile, nullptr, 0),
                                    product(sum, twice, &seen, 1)};
    stilla_job job;
    ASSERT_EQ(stilla_begin_matmul(&job, three, 3, lent, nullptr, &e), STILLA_OK) << e.message;
    run_as_workers(job, 3);
    EXPECT_EQ(seen, M * N);
    for (std::size_t i = 0; i < M * N; ++i) {
      EXPECT_EQ(sum[i], expected_sum[i] + 2.0f * plain[i]);
      const double v = plain[i];
      EXPECT_NEAR(silu[i], v / (1.0 + std::exp(-v)), 1e-6);
      EXPECT_NEAR(gelu[i], 0.5 * v * (1.0 + std::tanh(0.7978845608 * (v + 0.044715 * v * v * v))), 1e-6);
    }
    for (stilla_activations* activations : {own, lent, small}) stilla_activations_free(activations);
  }
}

// The C API and the C++ library evaluate the same text, and give the same tokens and pieces of text.
TEST(CApi, AModelIsTheLibrarys) {
  const std::string path = std::string(test_data) + "/../../examples/models/stilla-drop-q4_0.gguf";
  stilla_error e;
  stilla_model* model = nullptr;
  ASSERT_EQ(stilla_model_load(&model, path.c_str(), nullptr, &e), STILLA_OK) << e.message;
  auto file = GgufFile::open(path);
  ASSERT_TRUE(file);
  const auto tokenizer = read_tokenizer(*file);
  ASSERT_TRUE(tokenizer);
  const auto expected_model = Model::load(*std::move(file));
  ASSERT_TRUE(expected_model);
  EXPECT_EQ(stilla_model_vocabulary(model), expected_model->config().vocabulary);
  EXPECT_EQ(stilla_model_context(model), expected_model->config().context);

  const std::string text = "What is 12 + 30?";
  std::vector<std::uint32_t> ids(64);
  std::size_t count = 0;
  ASSERT_EQ(stilla_tokenise(model, ids.data(), ids.size(), &count, text.data(), text.size(), 0, &e), STILLA_OK);
  ids.resize(count);
  EXPECT_EQ(ids, tokenizer->encode(text));
  std::uint32_t first = 0;
  ASSERT_EQ(stilla_tokenise(model, &first, 1, &count, text.data(), text.size(), 0, &e), STILLA_OK);
  EXPECT_EQ(count, ids.size());  // all ids are counted, though there was room for only one
  EXPECT_EQ(first, ids[0]);
  std::string bytes(16, ' ');
  ASSERT_EQ(stilla_token_bytes(model, bytes.data(), bytes.size(), &count, ids[1], 0, &e), STILLA_OK);
  EXPECT_EQ(bytes.substr(0, count), tokenizer->piece(ids[1]));
  EXPECT_TRUE(fails(stilla_token_bytes(model, bytes.data(), 16, &count, 1u << 30, 0, &e), e, STILLA_BAD_ARGUMENT, "vocabulary"));

  stilla_session_options options;
  stilla_session_defaults(&options);
  options.context = 100;
  stilla_session* session = nullptr;
  ASSERT_EQ(stilla_session_create(&session, model, &options, nullptr, &e), STILLA_OK);
  EXPECT_EQ(stilla_session_context(session), 100u);
  auto expected = Session::create(*expected_model);
  ASSERT_TRUE(expected);
  const float* logits = nullptr;
  ASSERT_EQ(stilla_session_evaluate(session, ids.data(), ids.size(), &logits, &e), STILLA_OK);
  const auto row = expected->evaluate(ids);
  ASSERT_TRUE(row);
  EXPECT_TRUE(same_bits(std::span(logits, row->size()), *row));
  EXPECT_EQ(stilla_session_size(session), ids.size());

  stilla_sampling sampling;
  stilla_sampling_defaults(&sampling);
  EXPECT_EQ(sampling.temperature, SamplingOptions{}.temperature);
  EXPECT_EQ(sampling.seed, SamplingOptions{}.seed);
  sampling.temperature = 0;
  stilla_sampler* sampler = nullptr;
  ASSERT_EQ(stilla_sampler_create(&sampler, &sampling, &e), STILLA_OK);
  std::uint32_t token = 0;
  ASSERT_EQ(stilla_sample(&token, sampler, logits, row->size(), &e), STILLA_OK);
  EXPECT_EQ(token, *greedy_token(*row));
  const std::vector<float> nothing(8, std::nanf(""));
  EXPECT_TRUE(fails(stilla_sample(&token, sampler, nothing.data(), 8, &e), e, STILLA_BAD_ARGUMENT, "number"));
  stilla_sampler_free(sampler);

  const std::vector<std::uint32_t> many(101, ids[0]);
  EXPECT_EQ(stilla_session_evaluate(session, many.data(), many.size(), nullptr, &e), STILLA_BAD_ARGUMENT) << e.message;
  EXPECT_EQ(stilla_session_size(session), ids.size());
  stilla_session_truncate(session, 3);
  EXPECT_EQ(stilla_session_size(session), 3u);
  stilla_session_free(session);
  stilla_model_free(model);
}

}  // namespace
