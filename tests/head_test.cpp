// SPDX-License-Identifier: Apache-2.0
//
// Tests of top_logits(), the op that computes only the few logits that a sampler asks for. These are compared with the full row of
// logits, bit for bit: on every target, with any number of threads and rows, and with ties, NaN, biases and padding. The tests also
// compare the tokens that a sampler chooses with random settings, and whole texts of a session. One test checks that a session
// allocates no memory for a row of logits that nobody asks for.
#include <stilla/head.hpp>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <mutex>
#include <new>
#include <optional>
#include <random>
#include <set>

#include <stilla/sampling.hpp>

#include "model_util.hpp"

// While this pointer is not null, operator new adds the size of each memory block that the library's buffers allocate to the set
// behind the pointer.
std::multiset<std::size_t>* sizes_allocated = nullptr;
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  if (sizes_allocated != nullptr) sizes_allocated->insert(bytes);
  const auto align = static_cast<std::size_t>(alignment);
  return std::aligned_alloc(align, (bytes + align - 1) / align * align);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }

namespace {

using namespace stilla_test;

constexpr float infinity = HUGE_VALF;

// Returns the logits that a request asks for, found by sorting the full row of logits.
std::vector<Candidate> asked_of(std::span<const float> row, const LogitRequest& request) {
  std::vector<Candidate> best, out;
  if (request.vocabulary != 0) row = row.first(std::min(row.size(), request.vocabulary));
  for (std::uint32_t id = 0; id < row.size(); ++id) {
    const bool is_other = std::find(request.also.begin(), request.also.end(), id) != request.also.end();
    if (!std::isnan(row[id])) (is_other ? out : best).push_back({row[id], id});
  }
  std::sort(best.begin(), best.end(), ranks_before);
  best.resize(std::min(best.size(), request.best));
  out.insert(out.end(), best.begin(), best.end());
  std::sort(out.begin(), out.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  return out;
}

::testing::AssertionResult same_candidates(std::span<const Candidate> a, std::span<const Candidate> b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << a.size() << " candidates against " << b.size();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].id == b[i].id && same_bits(a[i].logit, b[i].logit)) continue;
    return ::testing::AssertionFailure() << "candidate " << i << ": id " << a[i].id << ", logit " << a[i].logit << " against id " << b[i].id
                                         << ", logit " << b[i].logit;
  }
  return ::testing::AssertionSuccess();
}

// Returns many different requests of logits for a head of N rows: for few and for many of the highest logits, with and without
// padding, and with and without further ids.
std::vector<LogitRequest> requests_for(std::size_t N) {
  std::vector<LogitRequest> out;
  for (const std::size_t best : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{41}, N, N + 5}) {
    for (const std::size_t padding : {std::size_t{0}, N / 3}) {
      LogitRequest request{best, {}, padding == 0 ? 0 : N - padding};
      out.push_back(request);
      for (std::size_t id = best % 3; id < N + 40; id += 1 + noise_bits(7, id) % 29) {
        request.also.push_back(static_cast<std::uint32_t>(id));
      }
      request.also.push_back(0xffffffffu);
      out.push_back(request);
    }
  }
  return out;
}

// Returns a matrix of random weights in the given format. Some of its rows are equal, so that some logits tie.
PackedMatrix head_of(FormatId format, std::size_t N, std::size_t K) {
  std::optional<PackedMatrix> matrix;
  with_format(format, [&](auto tag) {
    using F = decltype(tag);
    const std::size_t row = row_bytes<F>(K);
    std::vector<std::byte> blocks = random_rows<F>(static_cast<std::uint32_t>(N), N, K);
    for (std::size_t n = 0; n < N; ++n) {
      const std::size_t other = noise_bits(1, n) % N;
      if (n % 3 == 0) std::memcpy(blocks.data() + n * row, blocks.data() + other * row, row);
    }
    Result<PackedMatrix> made = PackedMatrix::create(format, blocks.data(), N, K);
    if (made) matrix = std::move(*made);
  });
  EXPECT_TRUE(matrix.has_value());
  return std::move(*matrix);
}

void expect_what_the_row_says(std::size_t N, FormatId format, std::size_t M, ActivationBits bits, const float* bias) {
  constexpr std::size_t K = 256;
  const PackedMatrix w = head_of(format, N, K);
  const std::vector<float> x = noise_values(3, M * K);
  std::vector<float> y(M * N);
  ActivationBuffer rounded(bits);
  ASSERT_TRUE(quantise(rounded, ConstMatrix(x.data(), M, K)));
  const MatmulInput input{ConstMatrix(x.data(), M, K), rounded.view()};
  const MatmulProduct product{Matrix(y.data(), M, N), w, bias};
  EXPECT_TRUE(matmul({&product, 1}, input));
  ThreadPool pool(3);
  for (const LogitRequest& request : requests_for(N)) {
    for (const Parallel parallel : {Parallel(), Parallel(pool)}) {
      TopLogits top;
      ASSERT_TRUE(top_logits(top, w, input, request, bias, parallel));
      ASSERT_EQ(top.rows(), M);
      for (std::size_t m = 0; m < M; ++m) {
        ASSERT_TRUE(same_candidates(top.row(m), asked_of(row_of(y, m, N), request)))
            << "row " << m << " of " << M << ", " << N << " ids, best " << request.best;
      }
    }
  }
}

TEST(TopLogits, AreThoseOfTheRow) {
  for_each_available_target([&](TargetId target) {
    SCOPED_TRACE(target.name);
    const OnTarget on(target);
    for (const ActivationBits bits : {ActivationBits::eight, ActivationBits::sixteen}) {
      for (const std::size_t M : {1u, 5u}) expect_what_the_row_says(2000, id_of<Q6_K>, M, bits, nullptr);
    }
    expect_what_the_row_says(333, id_of<Q4_0>, 17, ActivationBits::eight, nullptr);
    expect_what_the_row_says(100, id_of<F16>, 3, ActivationBits::eight, nullptr);
  });
}

TEST(TopLogits, OfAnyNumberOfIdsAndRows) {
  for (const std::size_t N : {1u, 15u, 16u, 17u, 64u, 65u, 1025u}) {
    for (const std::size_t M : {1u, 2u, 31u, 32u, 33u, 70u}) {
      expect_what_the_row_says(N, id_of<Q8_0>, M, ActivationBits::eight, nullptr);
    }
  }
}

TEST(TopLogits, WithLogitsThatAreNoNumbersOrAllAlike) {
  constexpr std::size_t N = 500;
  const std::vector<float> special = special_values();
  for (const std::uint32_t sparseness : {1u, 3u, 40u}) {
    std::vector<float> bias(N, 0.25f);
    for (std::size_t n = 0; n < N; ++n) {
      if (noise_bits(sparseness, n) % sparseness == 0) bias[n] = special[noise_bits(sparseness + 1, n) % special.size()];
    }
    expect_what_the_row_says(N, id_of<Q8_0>, 2, ActivationBits::eight, bias.data());
  }
  const std::vector<float> nowhere(N, std::nanf("")), lowest(N, -infinity), highest(N, infinity);
  for (const std::vector<float>& bias : {nowhere, lowest, highest}) {
    expect_what_the_row_says(N, id_of<Q8_0>, 2, ActivationBits::eight, bias.data());
  }
}

TEST(TopLogits, OfNoRowsAndOfAnUnknownFormat) {
  TopLogits top;
  EXPECT_TRUE(top_logits(top, PackedView{id_of<Q8_0>, 0, 32, nullptr}, {}, {.best = 3, .also = {1}}));
  EXPECT_EQ(top.rows(), 0u);
  const std::vector<float> x(32);
  ActivationBuffer rounded;
  ASSERT_TRUE(quantise(rounded, ConstMatrix(x.data(), 1, 32)));
  EXPECT_FALSE(top_logits(top, PackedView{FormatId{999}, 16, 32, nullptr}, {{}, rounded.view()}, {.best = 3, .also = {1}}));
  EXPECT_EQ(top.rows(), 0u);
  EXPECT_FALSE(top.resize(2, {.best = SIZE_MAX, .also = {1}}));
  EXPECT_FALSE(top.resize(SIZE_MAX / 4, {.best = 5}));
}

// Compares the tokens that two samplers with equal settings choose: one receives full rows of logits, the other only the logits
// that it asks for. `requests` counts how often the second sampler asked for some logits, and `rows` how often it needed a whole
// row.
void expect_the_same_tokens(const SamplingOptions& options, std::size_t vocabulary, std::size_t& requests, std::size_t& rows) {
  Sampler from_rows(options), from_requests(options);
  const auto seed = static_cast<std::uint32_t>(options.seed);
  for (std::uint32_t i = 0; i < 12; ++i) {
    std::vector<float> row(vocabulary);
    for (std::uint32_t id = 0; id < vocabulary; ++id) {
      const std::uint32_t kind = noise_bits(seed * 100 + i, id) % 64;
      row[id] = kind == 0 ? infinity : kind == 1 ? -infinity : kind <= 3 ? std::nanf("") : noise(seed + i, id) * 8.0f;
      if (seed % 3 == 0 || kind < 16) row[id] = std::round(row[id]);  // whole numbers are often equal, so logits tie
      if (seed % 5 != 0 && kind < 2) row[id] = 0.5f;
    }
    // As in lookup decoding, which guesses tokens before they are evaluated, the sampler first gets the guesses and says which
    // logits it needs. Then the guesses are accepted, and after that the next token is drawn.
    std::vector<std::uint32_t> guesses(noise_bits(seed, i) % 3);
    for (std::uint32_t g = 0; g < guesses.size(); ++g) guesses[g] = noise_bits(seed + g, i) % 40;
    const LogitRequest* request = from_requests.request(guesses);
    const std::vector<Candidate> asked = request != nullptr ? asked_of(row, *request) : std::vector<Candidate>();
    for (const std::uint32_t id : guesses) {
      from_rows.accept(id);
      from_requests.accept(id);
    }
    const std::optional<std::uint32_t> expected = from_rows.sample(row);
    const std::optional<std::uint32_t> found = request != nullptr ? from_requests.sample_from(asked) : from_requests.sample(row);
    ASSERT_EQ(found, expected) << "seed " << seed << ", token " << i;
    ++(request != nullptr ? requests : rows);
    if (!expected) continue;
    from_rows.accept(*expected);
    from_requests.accept(*expected);
  }
}

TEST(LogitRequest, IsAllThatTheTokenDependsOn) {
  std::size_t requests = 0, rows = 0;
  for (std::uint32_t seed = 0; seed < 4000; ++seed) {
    const auto pick = [&](std::size_t i, std::initializer_list<float> from) { return from.begin()[noise_bits(seed, i) % from.size()]; };
    const std::size_t vocabulary = 1 + noise_bits(seed, 0) % 300;
    SamplingOptions options;
    options.seed = seed;
    options.temperature = pick(1, {0.0f, 0.6f, 1.0f, 5.0f});
    options.top_k = std::size_t{noise_bits(seed, 2) % 2 == 0 ? noise_bits(seed, 3) % 8 : noise_bits(seed, 3) % 330};
    options.top_p = pick(4, {0.5f, 0.95f, 1.0f});
    options.min_p = pick(5, {0.0f, 0.05f});
    options.typical_p = pick(6, {0.8f, 1.0f, 1.0f});
    options.xtc_probability = pick(7, {0.0f, 0.0f, 0.5f});
    options.mirostat = noise_bits(seed, 8) % 16 == 0;
    options.presence_penalty = pick(9, {0.0f, 0.0f, 3.0f, -3.0f});
    options.repetition_penalty = pick(10, {1.0f, 1.0f, 1.3f, 0.7f});
    options.frequency_penalty = pick(11, {0.0f, 0.0f, 1.0f, -1.0f});
    options.penalty_window = noise_bits(seed, 12) % 10;
    options.dry = {pick(13, {0.0f, 0.0f, 2.0f, -2.0f}), 1.75f, 1, {}};
    options.dry_window = noise_bits(seed, 14) % 12;
    for (std::size_t i = 0; i < noise_bits(seed, 15) % 4; ++i) {
      options.banned.push_back(noise_bits(seed + 1, i) % 320);
      options.logit_bias.emplace_back(noise_bits(seed + 2, i) % 320, noise(seed, i) * 20.0f);
    }
    if (seed % 7 == 0) options.logit_bias.emplace_back(2, -infinity);
    if (seed % 4 == 0) options.vocabulary = 1 + noise_bits(seed, 16) % 310;
    if (seed % 2 == 0) {
      std::vector<std::string_view> names(std::begin(sampling_step_names), std::end(sampling_step_names));
      std::shuffle(names.begin(), names.end(), std::minstd_rand(seed));
      names.resize(4 + noise_bits(seed, 17) % 5);
      std::string order;
      for (const std::string_view name : names) order += concat(order.empty() ? "" : ";", name);
      options.order = *SamplingOrder::parse(order);
    }
    ASSERT_NO_FATAL_FAILURE(expect_the_same_tokens(options, vocabulary, requests, rows));
  }
  EXPECT_GT(requests, 15000u);
  EXPECT_GT(rows, 15000u);
}

TEST(LogitRequest, AsksForTheRowWhereItMust) {
  const auto asks = [](const auto& set) {
    SamplingOptions options;
    set(options);
    Sampler sampler(options);
    const LogitRequest* request = sampler.request();
    return request != nullptr ? static_cast<int>(request->best) : -1;
  };
  EXPECT_EQ(asks([](SamplingOptions&) {}), -1) << "top-p of all tokens";
  EXPECT_EQ(asks([](SamplingOptions& o) { o.temperature = 0.0f; }), 1);
  EXPECT_EQ(asks([](SamplingOptions& o) { o.top_k = 40; }), 41);
  EXPECT_EQ(asks([](SamplingOptions& o) { o.top_k = 100000; }), -1) << "nothing would be saved";
  EXPECT_EQ(asks([](SamplingOptions& o) { o.top_k = 40, o.mirostat = true; }), -1);
  EXPECT_EQ(asks([](SamplingOptions& o) { o.top_k = 40, o.order = *SamplingOrder::parse("top_p;top_k"); }), -1);
  EXPECT_EQ(asks([](SamplingOptions& o) { o.top_k = 40, o.order = *SamplingOrder::parse("temperature;top_k;top_p"); }), 41);
  EXPECT_EQ(asks([](SamplingOptions& o) { o.top_k = 40, o.order = *SamplingOrder::parse("temperature"); }), -1);
  EXPECT_EQ(asks([](SamplingOptions& o) { o.temperature = 0.0f, o.order = *SamplingOrder::parse("top_p"); }), -1);

  SamplingOptions options;
  options.temperature = 0.0f;
  options.presence_penalty = 1.0f;
  options.penalty_window = 3;
  options.banned = {7, 5};
  options.logit_bias = {{9, 1.0f}, {5, 2.0f}};
  options.vocabulary = 100;
  Sampler sampler(options);
  for (const std::uint32_t id : {1u, 2u, 8u, 5u}) sampler.accept(id);
  const LogitRequest* request = sampler.request(std::vector<std::uint32_t>{30, 2});
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->also, (std::vector<std::uint32_t>{2, 5, 7, 8, 9, 30}));
  EXPECT_EQ(request->vocabulary, 100u);
}

class SessionHead : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    model_.emplace(GetParam());
    ASSERT_TRUE(*model_) << model_->error();
    ids_ = as_ids(tiny_golden(GetParam() + "/long-ids"));
    ids_.resize(60);
  }
  const Model& model() const { return **model_; }
  Session session(std::size_t batch = 512, Parallel parallel = {}) const {
    Result<Session> made = Session::create(model(), {.batch = batch}, parallel);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }

  std::optional<LoadedModel> model_;
  std::vector<std::uint32_t> ids_;
};

INSTANTIATE_TEST_SUITE_P(, SessionHead, ::testing::ValuesIn(tiny_models), [](const auto& tested) {
  std::string name = tested.param;
  name[4] = '_';
  return name;
});

TEST_P(SessionHead, GivesWhatTheRowsSay) {
  const std::size_t vocabulary = model().config().vocabulary;
  const LogitRequest request{9, {0, 3, 70}, vocabulary - 5};
  const std::vector<float> rows = all_logits(model(), ids_);
  const auto expected = [&](std::size_t m) { return asked_of(row_of(rows, m, vocabulary), request); };
  ThreadPool pool(3);
  for_each_available_target([&](TargetId target) {
    const OnTarget on(target);
    for (const std::size_t batch : {1u, 7u, 512u}) {
      SCOPED_TRACE(std::string(target.name) + ", batches of " + std::to_string(batch));
      Session text = session(batch, pool);
      std::size_t next = 0;
      ASSERT_TRUE(text.evaluate_all(std::span(ids_).first(40), request, [&](std::size_t m, std::span<const Candidate> row) {
        EXPECT_EQ(m, next++);
        EXPECT_TRUE(same_candidates(row, expected(m))) << m;
      }));
      EXPECT_EQ(next, 40u);
      ASSERT_TRUE(text.append(std::span(ids_).subspan(40, 9)));
      const auto last = text.evaluate(std::span(ids_).subspan(49), request);
      ASSERT_TRUE(last) << last.error().message;
      EXPECT_TRUE(same_candidates(*last, expected(59)));
      EXPECT_TRUE(std::ranges::equal(text.ids(), ids_));
      EXPECT_FALSE(text.evaluate({}, request));
      EXPECT_FALSE(text.append(std::vector<std::uint32_t>{0xffffffffu}));
      EXPECT_TRUE(std::ranges::equal(text.ids(), ids_));
    }
  });
}

// Sessions generate the same texts from rows of logits and from requested logits: one token at a time, and in batches of a token
// with guesses behind it.
TEST_P(SessionHead, TextsAreTheSame) {
  SamplingOptions greedy, top_k, penalised, biased;
  greedy.temperature = 0.0f;
  top_k.top_k = 12;
  top_k.temperature = 2.0f;
  penalised = top_k;
  penalised.repetition_penalty = 1.4f;
  penalised.dry = {0.8f, 1.75f, 1, {}};
  penalised.dry_window = 20;
  biased = greedy;
  biased.frequency_penalty = 0.7f;
  biased.banned = {11, 12};
  biased.logit_bias = {{40, 2.0f}, {41, -infinity}};
  biased.vocabulary = model().config().vocabulary - 9;
  for (const SamplingOptions& options : {greedy, top_k, penalised, biased}) {
    Session by_rows = session(), by_requests = session(), with_guesses = session();
    Sampler first(options), second(options), third(options);
    std::vector<std::uint32_t> text(ids_.begin(), ids_.begin() + 10), drawn;
    for (Sampler* sampler : {&first, &second, &third}) sampler->begin(text);
    std::vector<std::uint32_t> next = text;
    for (int i = 0; i < 40; ++i) {
      const auto row = by_rows.evaluate(next);
      ASSERT_TRUE(row);
      const std::optional<std::uint32_t> id = first.sample(*row);
      ASSERT_TRUE(id);
      const LogitRequest* request = second.request();
      ASSERT_NE(request, nullptr);
      const auto few = by_requests.evaluate(next, *request);
      ASSERT_TRUE(few);
      ASSERT_EQ(second.sample_from(*few), id) << i;
      first.accept(*id);
      second.accept(*id);
      drawn.push_back(*id);
      next = {*id};
    }
    // The text is generated once more in batches of four: a token and three guesses behind it, all of which are right.
    ASSERT_TRUE(with_guesses.append(std::span(text).first(9)));
    std::vector<std::uint32_t> batch{text.back()};
    for (std::size_t at = 0; at < drawn.size(); at += 4) {
      const std::span<const std::uint32_t> guesses = std::span(drawn).subspan(at, 3);
      batch.insert(batch.end(), guesses.begin(), guesses.end());
      const LogitRequest* request = third.request(guesses);
      ASSERT_NE(request, nullptr);
      std::size_t m = at;
      ASSERT_TRUE(with_guesses.evaluate_all(batch, *request, [&](std::size_t, std::span<const Candidate> row) {
        EXPECT_EQ(third.sample_from(row), drawn[m]) << m;
        third.accept(drawn[m++]);
      }));
      batch = {drawn[at + 3]};
    }
  }
}

// A session allocates memory for a full row of logits only if a caller asks for a row.
TEST_P(SessionHead, HasNoRowOfLogits) {
  const std::size_t row_bytes = model().config().vocabulary * sizeof(float);
  for (const bool asks_for_rows : {true, false}) {
    std::multiset<std::size_t> sizes;
    Session text = session();
    sizes_allocated = &sizes;
    if (asks_for_rows) {
      EXPECT_TRUE(text.evaluate(ids_));
    } else {
      EXPECT_TRUE(text.append(std::span(ids_).first(20)));
      EXPECT_TRUE(text.evaluate(std::span(ids_).subspan(20), LogitRequest{41, {1, 2}, 0}));
    }
    sizes_allocated = nullptr;
    EXPECT_FALSE(sizes.empty());
    EXPECT_EQ(sizes.count(row_bytes), asks_for_rows ? 1u : 0u);
  }
}

}  // namespace
