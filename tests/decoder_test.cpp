// SPDX-License-Identifier: Apache-2.0
//
// Tests of texts that are generated with guesses: several tokens are guessed and then checked in one evaluation. These texts must
// equal those of a plain loop, which evaluates token by token. The guesses come from the text itself and from draft models that are
// good, bad and perfect. The texts are chosen greedily or drawn at random, with several limits for the number of guesses, and run
// to the end of the context.
#include <stilla/model/decoder.hpp>

#include <string>
#include <vector>

#include "model_util.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

using Ids = std::vector<std::uint32_t>;

constexpr std::size_t max_positions = 160;
const Ids prompt{1, 5, 9, 1, 5, 9, 1, 5};

Session new_session(const LoadedModel& model, std::size_t positions = max_positions) {
  SessionOptions options;
  options.context = positions;
  options.batch = 16;
  Result<Session> session = Session::create(*model, options);
  EXPECT_TRUE(session) << session.error().message;
  return std::move(*session);
}

// Returns the text that a model writes if each token is evaluated and the next is sampled, without guesses.
Ids plain_text(const LoadedModel& model, const SamplingOptions& options, std::size_t count) {
  Session session = new_session(model);
  Sampler sampler(options);
  sampler.begin(prompt);
  Ids text, next = prompt;
  while (text.size() < count && session.size() + next.size() <= max_positions) {
    const Result<std::span<const float>> logits = session.evaluate(next);
    EXPECT_TRUE(logits);
    next = {sampler.sample(*logits).value()};
    sampler.accept(next[0]);
    text.push_back(next[0]);
  }
  return text;
}

struct Written {
  Ids text;
  std::size_t guesses = 0, right = 0;
};

Written text_of(Decoder& decoder, std::size_t count) {
  Written out;
  const Result<std::size_t> begun = decoder.begin(prompt);
  EXPECT_TRUE(begun);
  while (out.text.size() < count && decoder.size() <= max_positions) {
    const Result<std::uint32_t> id = decoder.choose(count - out.text.size());
    EXPECT_TRUE(id) << id.error().message;
    if (!id) break;
    out.text.push_back(*id);
    decoder.push(*id);
  }
  decoder.finish();
  out.guesses = decoder.guesses();
  out.right = decoder.right_guesses();
  return out;
}

std::vector<SamplingOptions> samplings(std::size_t vocabulary) {
  SamplingOptions greedy;
  greedy.temperature = 0.0f;
  greedy.vocabulary = vocabulary;
  SamplingOptions sampled;
  sampled.vocabulary = vocabulary;
  sampled.seed = 7;
  SamplingOptions penalised = sampled;
  penalised.repetition_penalty = 1.2f;
  penalised.top_k = 10;
  penalised.top_p = 1.0f;
  return {greedy, sampled, penalised};
}

TEST(Decoder, GuessesDoNotChangeTheText) {
  const LoadedModel model(ModelFile::tiny("tiny-qwen2"));
  ASSERT_TRUE(model) << model.error();
  ModelFile rounded = ModelFile::tiny("tiny-qwen2");
  convert_matrices(rounded, id_of<Q4_0>);
  const LoadedModel nearly_equal(rounded), other(ModelFile::tiny("tiny-llama"));
  ASSERT_TRUE(nearly_equal && other);
  const std::size_t vocabulary = std::min(model->config().vocabulary, other->config().vocabulary);

  std::size_t right = 0, wrong = 0;
  for (const SamplingOptions& sampling : samplings(vocabulary)) {
    const Ids expected = plain_text(model, sampling, Decoder::no_limit);
    ASSERT_GT(expected.size(), 100u);
    for (const LoadedModel* small : {static_cast<const LoadedModel*>(nullptr), &model, &nearly_equal, &other}) {
      for (const std::size_t guesses : {0u, 4u, 15u}) {
        for (const bool lookup : {false, true}) {
          if (lookup && guesses == 15) continue;
          Session session = new_session(model);
          std::optional<Session> draft;
          // The draft model's context is so large that the whole text fits. So the draft model never has to forget the text and
          // read its end once more.
          if (small != nullptr) draft.emplace(new_session(*small, 2 * max_positions));
          Decoder decoder(session, sampling, {lookup, draft ? &*draft : nullptr, guesses});
          const Written written = text_of(decoder, Decoder::no_limit);
          EXPECT_EQ(written.text, expected) << guesses << " guesses, lookup " << lookup;
          EXPECT_LE(written.right, written.guesses);
          if (small == &model && sampling.temperature == 0.0f && !lookup) {
            EXPECT_EQ(written.right, written.guesses) << "the same model guesses right";
          }
          if (small == &model && guesses == 15) {
            EXPECT_GT(written.guesses, 50u);
          }
          right += written.right;
          wrong += written.guesses - written.right;
        }
      }
    }
  }
  EXPECT_GT(right, 500u);
  EXPECT_GT(wrong, 500u);
}

TEST(Decoder, StopsAtTheLimitAndGoesOn) {
  const LoadedModel model(ModelFile::tiny("tiny-qwen2"));
  ASSERT_TRUE(model) << model.error();
  const SamplingOptions greedy = samplings(model->config().vocabulary)[0];
  const Ids expected = plain_text(model, greedy, 40);
  Session session = new_session(model), draft = new_session(model);
  Decoder decoder(session, greedy, {false, &draft, 8});
  for (const std::size_t count : {1u, 2u, 9u, 40u}) {  // from the second count on, the session holds the tokens of the text before
    const Written written = text_of(decoder, count);
    EXPECT_EQ(written.text, Ids(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(count)));
    EXPECT_EQ(session.size(), prompt.size() + count - 1) << "guesses are gone, and nobody asked what follows the last token";
  }
}

TEST(Decoder, TheCallerMayPushOtherTokens) {
  const LoadedModel model(ModelFile::tiny("tiny-qwen2"));
  ASSERT_TRUE(model) << model.error();
  const SamplingOptions sampling = samplings(model->config().vocabulary)[2];
  const auto text_with_words = [&](const DecoderOptions& options) {
    Session session = new_session(model);
    Decoder decoder(session, sampling, options);
    EXPECT_TRUE(decoder.begin(prompt));
    Ids text;
    for (int i = 0; i < 30; ++i) {
      const Result<std::uint32_t> id = decoder.choose();
      EXPECT_TRUE(id);
      decoder.push(*id);
      text.push_back(*id);
      if (i % 7 == 3) {
        for (const std::uint32_t word : {3u, 8u, 4u}) decoder.push(word);
      }
    }
    decoder.finish();
    EXPECT_EQ(decoder.size(), prompt.size() + 30 + 12);
    return text;
  };
  Session draft = new_session(model);
  EXPECT_EQ(text_with_words({false, &draft, 5}), text_with_words({false}));
}

TEST(Decoder, BeginsWhereTextsDiffer) {
  const LoadedModel model(ModelFile::tiny("tiny-qwen2"));
  ASSERT_TRUE(model) << model.error();
  Session session = new_session(model);
  Decoder decoder(session, samplings(model->config().vocabulary)[0]);
  EXPECT_EQ(*decoder.begin(prompt), prompt.size());
  EXPECT_EQ(*decoder.begin(prompt), 1u) << "the last token again, for its logits";
  Ids changed = prompt;
  changed[4] = 2;
  EXPECT_EQ(*decoder.begin(changed), 4u);
  EXPECT_FALSE(decoder.begin({}));
  EXPECT_EQ(session.size(), prompt.size());
  EXPECT_FALSE(decoder.begin(Ids(max_positions + 1, 3)));

  std::size_t calls = 0;
  const Result<std::size_t> stopped = decoder.begin(Ids(150, 2), [&](std::size_t, std::size_t total) {
    EXPECT_EQ(total, 150u);
    return ++calls > 1;
  });
  EXPECT_EQ(*stopped, 128u);
  EXPECT_EQ(session.size(), 128u);
}

TEST(Decoder, NumbersThatAreNone) {
  ModelFile damaged = ModelFile::tiny("tiny-qwen2");
  ModelFile::Tensor& norm = damaged.tensor("output_norm.weight");
  const std::vector<float> nans(norm.bytes.size() / sizeof(float), std::nanf(""));
  std::memcpy(norm.bytes.data(), nans.data(), norm.bytes.size());
  const LoadedModel model(damaged), whole(ModelFile::tiny("tiny-qwen2"));
  ASSERT_TRUE(model && whole);
  const SamplingOptions greedy = samplings(whole->config().vocabulary)[0];
  Session bad = new_session(model), good = new_session(whole);
  Decoder of_bad(bad, greedy);
  ASSERT_TRUE(of_bad.begin(prompt));
  EXPECT_FALSE(of_bad.choose());
  Decoder with_bad(good, greedy, {false, &bad, 4});
  EXPECT_EQ(text_of(with_bad, 20).text, plain_text(whole, greedy, 20)) << "a draft model that is damaged guesses nothing";
  EXPECT_EQ(with_bad.guesses(), 0u);
}

// If many tokens of a text are new to a draft model, it reads only the end of the text. This end fills at most about half of the
// draft model's context.
TEST(DraftModel, ReadsTheEndOfALongText) {
  const LoadedModel model(ModelFile::tiny("tiny-qwen2"));
  ASSERT_TRUE(model) << model.error();
  Session session = new_session(model);
  DraftModel draft(session, 0);
  Ids text(1000, 3), out(4);
  const auto always = [](float confidence) {
    EXPECT_GE(confidence, 0.5f);
    EXPECT_LE(confidence, 1.0f);
    return true;
  };
  EXPECT_EQ(*draft.guess(text, out, always), 4u);
  EXPECT_EQ(session.size(), max_positions / 2 + 1 + 3);
  const Ids guessed = out;
  text.insert(text.end(), guessed.begin(), guessed.begin() + 2);
  EXPECT_EQ(*draft.guess(text, out, always), 4u);
  EXPECT_EQ(session.size(), max_positions / 2 + 1 + 2 + 3) << "goes on where it was";
  EXPECT_TRUE(std::equal(guessed.begin() + 2, guessed.end(), out.begin()));
  EXPECT_EQ(*draft.guess(text, std::span(out).first(0), always), 0u);
  EXPECT_EQ(*draft.guess({}, out, always), 0u);
  std::size_t asked = 0;
  EXPECT_EQ(*draft.guess(text, out, [&](float) { return ++asked < 2; }), 2u);
}

// Simulates writing a text with the guesses of a draft model, and returns the tokens per second. ModelDraftPolicy decides when to
// guess and how much. Evaluating one token takes 1 second. Each guess costs the draft model `cost` seconds, adds `slope` seconds
// to the evaluation that checks it, and is right with probability `chance`.
double speed(double chance, double cost, double slope) {
  DraftPolicy times;
  ModelDraftPolicy policy;
  Random random(3);
  times.learn_time(0, 1.0);
  double seconds = 0.0, tokens = 0.0;
  for (int step = 0; step < 4000; ++step) {
    std::size_t n = 0;
    if (policy.begins(times)) {
      std::size_t written = 1;
      while (policy.goes_on(0.85f, times)) ++written;
      seconds += static_cast<double>(written) * cost;
      policy.learn_time(static_cast<double>(written) * cost, times);
      n = policy.length(times);
    }
    std::size_t right = 0;
    while (right < n && random.uniform() < chance) ++right;
    policy.learn_right(n, right);
    const double time = 1.0 + slope * static_cast<double>(n);
    times.learn_time(n, time);
    seconds += time;
    tokens += static_cast<double>(1 + right);
  }
  return tokens / seconds;
}

TEST(ModelDraftPolicy, GuessesWhatPays) {
  EXPECT_GT(speed(0.9, 0.1, 0.05), 2.0);
  EXPECT_GT(speed(0.7, 0.3, 0.1), 1.1);
  EXPECT_GT(speed(0.5, 0.4, 0.2), 0.97) << "off by itself";
  EXPECT_GT(speed(0.0, 0.3, 0.3), 0.97);
  EXPECT_GT(speed(0.9, 1.0, 0.1), 0.97) << "a draft model as slow as the large one";
}

}  // namespace
