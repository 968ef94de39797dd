// SPDX-License-Identifier: Apache-2.0
//
// Tests of real, trained models. The environment variable STILLA_MODELS names the folder that scripts/fetch_models.sh filled.
// Without it, or if a model is missing there, tests are skipped. Results are compared with transformers in float32 on the
// dequantised weights. The golden file, which golden/make_real_model_golden.py wrote, has the most likely tokens and a sample of the
// logits; bench/check_fidelity.py compares all logits.
#include <stilla/sampling.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model_util.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

const char* const qwen = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
const char* const smollm = "smollm2-135m-instruct-q4_1.gguf";
const std::vector<std::string> prompts = {"python", "french", "chinese", "whitespace", "chat", "maths"};
constexpr std::size_t top = 16, sample = 32;

// What llama.cpp reaches with the Qwen2 0.5B, compared with transformers. Stilla must not be worse. The first two are distances:
// the normalised mean square error of a sample of 32 logits for each position, and the Kullback-Leibler divergence. The third is
// the share of positions where the likeliest token is the same.
constexpr double worst_nmse = 4.7e-4, mean_divergence = 0.0013, same_winner = 0.977;
constexpr float clear_margin = 0.1f;

// Returns the path of a file in the folder that STILLA_MODELS names, or nothing if there is no such file.
std::optional<std::string> model_path(const std::string& name) {
  const char* folder = std::getenv("STILLA_MODELS");
  if (folder == nullptr) return std::nullopt;
  std::string path = std::string(folder) + "/" + name;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}

std::span<const float> golden(const std::string& name) {
  static const auto records = read_records(std::string(test_data) + "/real_models.bin");
  const auto found = records.find(name);
  if (found != records.end()) return found->second;
  ADD_FAILURE() << "no golden record " << name;
  return {};
}

class RealModel : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::optional<std::string> path = model_path(GetParam());
    if (!path) GTEST_SKIP() << "STILLA_MODELS names no folder with " << GetParam();
    static std::map<std::string, std::unique_ptr<Model>> models;
    std::unique_ptr<Model>& model = models[GetParam()];
    if (model == nullptr) {
      Result<GgufFile> file = GgufFile::open(*path);
      ASSERT_TRUE(file) << file.error().message;
      Result<Model> loaded = Model::load(std::move(*file), pool());
      ASSERT_TRUE(loaded) << loaded.error().message;
      model = std::make_unique<Model>(std::move(*loaded));
    }
    model_ = model.get();
  }

  static ThreadPool& pool() {
    static ThreadPool two(2);
    return two;
  }
  const Model& model() const { return *model_; }
  std::vector<std::uint32_t> ids(const std::string& prompt) const { return as_ids(golden(GetParam() + "/" + prompt + "/ids")); }
  // Returns numbers of transformers' golden results for position m of a prompt and its continuation. `what` is the name of the
  // result, such as the highest logits; each position has `width` numbers.
  std::span<const float> row_of_golden(const std::string& prompt, const std::string& what, std::size_t m, std::size_t width) const {
    return golden(GetParam() + "/" + prompt + "/" + what).subspan(m * width, width);
  }
  std::size_t prompt_length(const std::string& prompt) const {
    return static_cast<std::size_t>(golden(GetParam() + "/" + prompt + "/length")[0]);
  }
  // Returns how far the logit of transformers' most likely token is above that of the second.
  float margin(const std::string& prompt, std::size_t m) const {
    const auto row = row_of_golden(prompt, "top", m, 2 * top);
    return row[top] - row[top + 1];
  }

  const Model* model_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(, RealModel, ::testing::Values(qwen, smollm),
                         [](const auto& tested) { return std::string(tested.param == qwen ? "qwen" : "smollm"); });

struct Distance {
  double squared_error = 0, squared_size = 0;
  double divergence = 0;
  std::size_t positions = 0, same_winner = 0;
};

// Adds the distance of the logits at one position from those of transformers to the sums in `d`. The Kullback-Leibler divergence
// is computed for the tokens that transformers holds most likely, with all other tokens counted as one. It is at most the true
// divergence, and close to it, because these tokens have nearly all the probability.
void add(Distance& d, std::span<const float> logits, std::span<const float> row, std::span<const float> sampled, double log_sum_exp) {
  for (std::size_t i = 0; i < sample; ++i) {
    const double ours = logits[i * (logits.size() / sample)], expected = sampled[i];
    d.squared_error += (ours - expected) * (ours - expected);
    d.squared_size += expected * expected;
  }
  double highest = -HUGE_VAL, sum = 0.0;
  for (const float logit : logits) highest = std::max(highest, static_cast<double>(logit));
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  const double our_log_sum_exp = highest + std::log(sum);
  double rest = 1.0, our_rest = 1.0;
  for (std::size_t i = 0; i < top; ++i) {
    const double ours = logits[static_cast<std::size_t>(row[i])], expected = row[top + i];
    const double log_p = expected - log_sum_exp, log_q = ours - our_log_sum_exp;
    d.divergence += std::exp(log_p) * (log_p - log_q);
    rest -= std::exp(log_p);
    our_rest -= std::exp(log_q);
  }
  if (rest > 1e-6 && our_rest > 1e-9) d.divergence += rest * std::log(rest / our_rest);
  ++d.positions;
  d.same_winner += greedy_token(logits) == static_cast<std::uint32_t>(row[0]);
}

TEST_P(RealModel, StaysNearTheReference) {
  double worst = 0.0;
  Distance all;
  std::size_t flips = 0;
  for (const std::string& prompt : prompts) {
    const std::vector<std::uint32_t> text = ids(prompt);
    const std::size_t length = prompt_length(prompt);
    Distance one;
    Result<Session> session = Session::create(model(), {.batch = 32}, pool());
    ASSERT_TRUE(session) << session.error().message;
    const Status status = session->evaluate_all(text, [&](std::size_t first, ConstMatrix rows) {
      for (std::size_t i = 0; i < rows.rows; ++i) {
        const std::size_t m = first + i;
        const std::span<const float> logits(rows.row(i), rows.cols);
        const auto row = row_of_golden(prompt, "top", m, 2 * top);
        const auto sampled = row_of_golden(prompt, "sample", m, sample);
        const double log_sum_exp = row_of_golden(prompt, "logsumexp", m, 1)[0];
        add(one, logits, row, sampled, log_sum_exp);
        add(all, logits, row, sampled, log_sum_exp);
        const bool same = greedy_token(logits) == static_cast<std::uint32_t>(row[0]);
        if (m + 1 >= length && m + 1 < text.size() && !same && margin(prompt, m) > clear_margin) {
          ++flips;
          std::printf("%s, token %zu: differs though won by %.3f\n", prompt.c_str(), m + 1 - length, margin(prompt, m));
        }
      }
    });
    ASSERT_TRUE(status) << status.error().message;
    worst = std::max(worst, one.squared_error / one.squared_size);
  }
  const auto positions = static_cast<double>(all.positions);
  const double divergence = all.divergence / positions, winners = static_cast<double>(all.same_winner) / positions;
  std::printf("%s: worst nmse %.2e, mean KL %.2e, top-1 %.2f %%, %zu clear tokens differ\n", GetParam().c_str(), worst, divergence,
              winners * 100.0, flips);
  EXPECT_LE(worst, worst_nmse);
  EXPECT_LE(divergence, mean_divergence);
  EXPECT_GE(winners, same_winner);
  EXPECT_EQ(flips, 0u);
}

// Generates a text token by token, as a user sees it. It must be that of transformers, up to the first position where the two
// likeliest tokens of transformers have nearly the same logit.
TEST_P(RealModel, GreedyTextIsTheReferences) {
  for (const std::string& prompt : prompts) {
    const std::vector<std::uint32_t> text = ids(prompt);
    const std::size_t length = prompt_length(prompt);
    Result<Session> session = Session::create(model(), {}, pool());
    ASSERT_TRUE(session) << session.error().message;
    std::span<const std::uint32_t> next = std::span(text).first(length);
    for (std::size_t m = length; m < text.size() && margin(prompt, m - 1) > clear_margin; ++m) {
      const Result<std::span<const float>> logits = session->evaluate(next);
      ASSERT_TRUE(logits) << logits.error().message;
      ASSERT_EQ(greedy_token(*logits), text[m]) << prompt << ", token " << m - length << ", won by " << margin(prompt, m - 1);
      next = std::span(text).subspan(m, 1);
    }
  }
}

TEST_P(RealModel, SameBitsForThreadsCallsAndTargets) {
  const std::vector<std::uint32_t> whole = ids("maths");
  const std::vector<std::uint32_t> text(whole.begin(), whole.begin() + 9);
  const std::vector<float> expected = all_logits(model(), text, {}, pool());
  for (const std::size_t threads : {1u, 7u}) {
    ThreadPool other(threads);
    EXPECT_TRUE(same_bits(all_logits(model(), text, {}, other), expected)) << threads << " threads";
  }
  for (const std::size_t batch : {1u, 7u}) {
    EXPECT_TRUE(same_bits(all_logits(model(), text, {.batch = batch}, pool()), expected)) << "batches of " << batch;
    Result<Session> session = Session::create(model(), {}, pool());
    ASSERT_TRUE(session) << session.error().message;
    std::vector<float> divided;
    for (std::size_t at = 0; at < text.size(); at += batch) {
      const auto part = all_logits(*session, std::span(text).subspan(at, std::min(batch, text.size() - at)));
      divided.insert(divided.end(), part.begin(), part.end());
    }
    EXPECT_TRUE(same_bits(divided, expected)) << "calls of " << batch;
  }
  for_each_available_target([&](TargetId id) {
    const OnTarget target(id);
    EXPECT_TRUE(same_bits(all_logits(model(), text, {}, pool()), expected)) << id.name;
  });
}

TEST(RealFile, ATruncatedDownloadIsRefusedAtOnce) {
  const std::optional<std::string> path = model_path("r1-distill-qwen-7b-q4_k_m.head.bin");
  if (!path) GTEST_SKIP() << "STILLA_MODELS names no folder with the head of R1";
  for (const LoadMode mode : {LoadMode::map, LoadMode::read}) {
    const auto start = std::chrono::steady_clock::now();
    const Result<GgufFile> file = GgufFile::open(*path, mode);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    ASSERT_FALSE(file);
    const std::string& message = file.error().message;
    EXPECT_LT(seconds.count(), 1.0);
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    for (const std::string& part : {*path, std::string("tensor '"), std::to_string(std::filesystem::file_size(*path))}) {
      EXPECT_NE(message.find(part), std::string::npos) << message << " says nothing of " << part;
    }
  }
}

}  // namespace
