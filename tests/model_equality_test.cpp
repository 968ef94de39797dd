// SPDX-License-Identifier: Apache-2.0
//
// A model gives logits with the same bits, whatever the number of threads, the division into calls and batches, the target,
// what the session did before, and who else uses the model. The tests run under the thread sanitizer too.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "model_util.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

#if defined(__SANITIZE_THREAD__)
constexpr bool sanitizes_threads = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr bool sanitizes_threads = true;
#else
constexpr bool sanitizes_threads = false;
#endif
#else
constexpr bool sanitizes_threads = false;
#endif

// The length of the test's text in tokens. It exceeds one chunk of the cache, but is short under the thread sanitizer and under
// emulators, which are many times slower.
#ifndef STILLA_EMULATED
#define STILLA_EMULATED 0
#endif
constexpr std::size_t text_tokens = sanitizes_threads || STILLA_EMULATED ? 40 : 300;

class SameBits : public ::testing::TestWithParam<std::tuple<std::string, KvType>> {
 protected:
  void SetUp() override {
    const auto& [name, kv_type] = GetParam();
    options_.kv_type = kv_type;
    static std::map<std::string, LoadedModel> models;
    model_ = &models.try_emplace(name, name).first->second;
    ASSERT_TRUE(*model_) << model_->error();
    ids_ = as_ids(tiny_golden(name + "/long-ids"));
    ASSERT_GE(ids_.size(), text_tokens);
    ids_.resize(text_tokens);
    expected_ = all_logits(model(), ids_, options_);
  }

  const Model& model() const { return **model_; }
  std::span<const std::uint32_t> ids(std::size_t first, std::size_t count) const { return std::span(ids_).subspan(first, count); }
  std::span<const float> expected(std::size_t first, std::size_t count) const {
    const std::size_t vocabulary = model().config().vocabulary;
    return std::span(expected_).subspan(first * vocabulary, count * vocabulary);
  }
  Session session(const SessionOptions& options, Parallel parallel = {}) const {
    Result<Session> made = Session::create(model(), options, parallel);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  Session session() const { return session(options_); }

  const LoadedModel* model_ = nullptr;
  SessionOptions options_;
  std::vector<std::uint32_t> ids_;
  std::vector<float> expected_;
};

INSTANTIATE_TEST_SUITE_P(, SameBits, ::testing::Combine(::testing::ValuesIn(tiny_models), ::testing::ValuesIn(kv_types)),
                         [](const auto& tested) {
                           std::string name = std::get<0>(tested.param);
                           name[4] = '_';
                           return name + "_" + std::string(kv_type_name(std::get<1>(tested.param)));
                         });

TEST_P(SameBits, AnyNumberOfThreads) {
  for (const std::size_t threads : {1u, 2u, 3u, 7u}) {
    ThreadPool pool(threads);
    EXPECT_TRUE(same_bits(all_logits(model(), ids_, options_, pool), expected_)) << threads << " threads";
  }
}

TEST_P(SameBits, AnyNumberOfThreadsWhenLoading) {
  for (const std::size_t threads : {2u, 7u}) {
    ThreadPool pool(threads);
    const LoadedModel loaded(ModelFile::tiny(std::get<0>(GetParam())), pool);
    ASSERT_TRUE(loaded) << loaded.error();
    EXPECT_TRUE(same_bits(all_logits(*loaded, ids(0, 9), options_), expected(0, 9))) << threads << " threads";
  }
}

TEST_P(SameBits, AnyBatch) {
  for (const std::size_t batch : {0u, 1u, 2u, 7u, 16u, 33u, 256u, 257u, 10000u}) {
    SessionOptions options = options_;
    options.batch = batch;
    EXPECT_TRUE(same_bits(all_logits(model(), ids_, options), expected_)) << "batches of " << batch;
  }
}

TEST_P(SameBits, AnyDivisionIntoCalls) {
  for (const std::size_t step : {1u, 7u, 32u, 100u}) {
    Session divided = session();
    for (std::size_t at = 0; at < ids_.size(); at += step) {
      const std::size_t count = std::min(step, ids_.size() - at);
      ASSERT_TRUE(same_bits(all_logits(divided, ids(at, count)), expected(at, count))) << step << " at a time, " << at;
    }
    EXPECT_EQ(divided.size(), ids_.size());
  }
}

// evaluate() returns the logits of the last token only, and leaves out what evaluate_all() computes for those before it. The
// logits of the last token must be the same.
TEST_P(SameBits, TheLastRowAlone) {
  for (const std::size_t batch : {1u, 16u, 512u}) {
    SessionOptions options = options_;
    options.batch = batch;
    Session one = session(options);
    std::size_t done = 0;
    for (const std::size_t count : {std::size_t{1}, std::size_t{17}, ids_.size() - 19, std::size_t{1}}) {
      const Result<std::span<const float>> last = one.evaluate(ids(done, count));
      ASSERT_TRUE(last) << last.error().message;
      done += count;
      EXPECT_TRUE(same_bits(*last, expected(done - 1, 1))) << done;
    }
  }
}

TEST_P(SameBits, AnyTarget) {
  for_each_available_target([&](TargetId id) {
    const OnTarget target(id);
    EXPECT_TRUE(same_bits(all_logits(model(), ids_, options_), expected_)) << id.name;
    ThreadPool pool(3);
    SessionOptions options = options_;
    options.batch = 5;
    EXPECT_TRUE(same_bits(all_logits(model(), ids(0, 39), options, pool), expected(0, 39))) << id.name << ", batches of 5";
  });
}

// A model is packed while one target is active, and multiplied on another: the packed form is the same for all targets.
TEST_P(SameBits, PackedOnAnotherTarget) {
  for_each_available_target([&](TargetId id) {
    std::optional<LoadedModel> loaded;
    {
      const OnTarget target(id);
      loaded.emplace(std::get<0>(GetParam()));
    }
    ASSERT_TRUE(*loaded) << loaded->error();
    EXPECT_TRUE(same_bits(all_logits(**loaded, ids(0, 9), options_), expected(0, 9))) << id.name;
  });
}

// Each next token of a text is evaluated on another target.
TEST_P(SameBits, ChangingHorses) {
  std::vector<TargetId> targets;
  for_each_available_target([&](TargetId id) { targets.push_back(id); });
  Session text = session();
  for (std::size_t at = 0; at < 30; ++at) {
    const OnTarget target(targets[at % targets.size()]);
    ASSERT_TRUE(same_bits(all_logits(text, ids(at, 1)), expected(at, 1))) << at;
  }
}

TEST_P(SameBits, TruncatedAndContinued) {
  Session text = session();
  (void)all_logits(text, ids_);
  const std::size_t most = ids_.size();
  for (const std::size_t kept : {most - 1, most / 2 + 1, std::size_t{17}, std::size_t{16}, std::size_t{1}, std::size_t{0}}) {
    SCOPED_TRACE(kept);
    text.truncate(kept);
    EXPECT_EQ(text.size(), kept);
    std::vector<std::uint32_t> other(ids_.begin(), ids_.begin() + 5);  // evaluates another continuation, which is removed again
    (void)all_logits(text, other);
    text.truncate(kept);
    text.truncate(most + 1000);  // the text is not so long, so nothing is removed
    EXPECT_EQ(text.size(), kept);
    EXPECT_TRUE(same_bits(all_logits(text, ids(kept, most - kept)), expected(kept, most - kept)));
  }
}

TEST_P(SameBits, TwoTextsInTurnOnOneThread) {
  Session first = session(), second = session();
  const std::vector<std::uint32_t> other(ids_.rbegin(), ids_.rend());
  const std::vector<float> other_expected = all_logits(model(), other, options_);
  const std::size_t vocabulary = model().config().vocabulary;
  for (std::size_t at = 0; at < 40; at += 4) {
    ASSERT_TRUE(same_bits(all_logits(first, ids(at, 4)), expected(at, 4))) << at;
    ASSERT_TRUE(
        same_bits(all_logits(second, std::span(other).subspan(at, 4)), std::span(other_expected).subspan(at * vocabulary, 4 * vocabulary)))
        << at;
  }
}

TEST_P(SameBits, AMovedSession) {
  Session text = session();
  (void)all_logits(text, ids(0, 10));
  Session moved = std::move(text);
  EXPECT_EQ(moved.size(), 10u);
  EXPECT_TRUE(same_bits(all_logits(moved, ids(10, 10)), expected(10, 10)));
}

// Several threads evaluate texts with the same const model at the same time. Each thread has a pool of its own, all threads
// share one, or there is none.
TEST_P(SameBits, ManyTextsAtOnce) {
  constexpr std::size_t texts = 4;
  ThreadPool shared(3);
  for (const int pools : {0, 1, 2}) {
    std::vector<std::vector<float>> found(texts);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < texts; ++t) {
      threads.emplace_back([&, t] {
        ThreadPool own(pools == 1 ? 2 : 1);
        SessionOptions options = options_;
        options.batch = 1 + 6 * t;
        Session text = session(options, pools == 0 ? Parallel() : pools == 1 ? Parallel(own) : Parallel(shared));
        found[t] = all_logits(text, ids(0, 40));
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (std::size_t t = 0; t < texts; ++t) EXPECT_TRUE(same_bits(found[t], expected(0, 40))) << pools << " " << t;
  }
}

// If a call is refused, the session has the same text as before.
TEST_P(SameBits, RefusedCallsChangeNothing) {
  SessionOptions options = options_;
  options.context = 24;
  options.batch = 5;
  Session text = session(options);
  EXPECT_EQ(text.context(), 24u);
  const auto refused = [&](std::span<const std::uint32_t> wrong, std::initializer_list<std::string_view> parts) {
    const std::size_t before = text.size();
    const auto one = text.evaluate(wrong);
    ASSERT_FALSE(one);
    EXPECT_EQ(one.error().kind, ErrorKind::bad_argument);
    for (const std::string_view part : parts) {
      EXPECT_NE(one.error().message.find(part), std::string::npos) << one.error().message << " says nothing of " << part;
    }
    EXPECT_FALSE(text.evaluate_all(wrong, [](std::size_t, ConstMatrix) { ADD_FAILURE() << "called"; }));
    EXPECT_EQ(text.size(), before);
  };
  const auto vocabulary = static_cast<std::uint32_t>(model().config().vocabulary);
  const std::vector<std::uint32_t> outside = {1, 2, 3, 4, 5, 6, vocabulary}, far_outside = {1, 0xffffffffu};
  const std::string known = std::to_string(vocabulary);
  refused(ids(0, 25), {"25", "24"});
  refused(outside, {known});
  refused(far_outside, {"4294967295", known});
  refused({}, {"no tokens"});
  EXPECT_TRUE(same_bits(all_logits(text, ids(0, 20)), expected(0, 20)));
  refused(ids(20, 5), {"25", "24"});
  refused(ids(20, 20), {"40", "24"});
  refused(outside, {"27", "24"});
  refused(far_outside, {"4294967295", known});
  refused({}, {"no tokens"});
  EXPECT_TRUE(same_bits(all_logits(text, ids(20, 4)), expected(20, 4)));
  refused(ids(24, 1), {"25", "24"});
  text.truncate(23);
  EXPECT_TRUE(same_bits(all_logits(text, ids(23, 1)), expected(23, 1)));
}

TEST_P(SameBits, TheContextIsTheModelsAtMost) {
  const std::size_t trained = model().config().context;
  for (const auto& [asked, given] : {std::pair(std::size_t{0}, trained), std::pair(trained + 1, trained), std::pair(SIZE_MAX, trained),
                                     std::pair(std::size_t{1}, std::size_t{1})}) {
    SessionOptions options = options_;
    options.context = asked;
    EXPECT_EQ(session(options).context(), given);
  }
}

// With mixed activations, a batch has rows of 8 bits and of 16 bits, and logits have the same bits however the text is divided. The
// rows of the tiny models have few blocks. So the square of one block's scale is often more than half of the sum of all these
// squares, which makes the row wide.
TEST(MixedActivations, SameBits) {
  for (const std::string& name : tiny_models) {
    SCOPED_TRACE(name);
    const LoadedModel model(ModelFile::tiny(name), {}, id_of<Q8_0>);
    ASSERT_TRUE(model) << model.error();
    std::vector<std::uint32_t> ids = as_ids(tiny_golden(name + "/long-ids"));
    ids.resize(40);
    SessionOptions options;
    const auto logits_of = [&](ActivationBits bits) {
      options.activations = bits;
      return all_logits(*model, ids, options);
    };
    const std::vector<float> eight = logits_of(ActivationBits::eight), sixteen = logits_of(ActivationBits::sixteen),
                             expected = logits_of(ActivationBits::mixed);
    EXPECT_FALSE(same_bits(expected, eight));
    EXPECT_FALSE(same_bits(expected, sixteen));
    ThreadPool pool(3);
    for_each_available_target([&](TargetId id) {
      const OnTarget target(id);
      for (const std::size_t batch : {1u, 7u, 33u, 512u}) {
        options.batch = batch;
        EXPECT_TRUE(same_bits(all_logits(*model, ids, options, pool), expected)) << id.name << ", batches of " << batch;
      }
    });
    options.observer = [](std::size_t, LinearInput, ConstMatrix) {};  // an observer splits the fused ops
    EXPECT_TRUE(same_bits(all_logits(*model, ids, options, pool), expected)) << "observed";
  }
}

}  // namespace
