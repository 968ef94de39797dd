// SPDX-License-Identifier: Apache-2.0
//
// Tests of sampling: which tokens each filter leaves, how often each is drawn (chi-square), penalties, seeds, and logits that are
// NaN or infinite. The random generator is compared with its authors' definition, computed with Python's integers.
#include <stilla/sampling.hpp>

#include <algorithm>
#include <numeric>
#include <set>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

constexpr float infinity = HUGE_VALF;
const float not_a_number = std::nanf("");

// Returns options that switch everything off except the temperature.
SamplingOptions plain(float temperature = 1.0f) {
  SamplingOptions options;
  options.temperature = temperature;
  options.top_p = 1.0f;
  return options;
}

std::vector<float> logits_of(std::initializer_list<double> probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

// Draws many tokens and returns the ids that appear among them.
std::set<std::uint32_t> drawn(const SamplingOptions& options, std::span<const float> logits, int draws = 2000) {
  Sampler sampler(options);
  std::set<std::uint32_t> ids;
  for (int i = 0; i < draws; ++i) ids.insert(sampler.sample(logits).value());
  return ids;
}
using Ids = std::set<std::uint32_t>;

TEST(Random, IsXoshiro256PlusPlusSeededBySplitmix64) {
  const std::vector<std::pair<std::uint64_t, std::vector<std::uint64_t>>> expected{
      {0, {0x53175d61490b23df, 0x61da6f3dc380d507, 0x5c0fdf91ec9a7bfc, 0x02eebf8c3bbe5e1a}},
      {1, {0xcfc5d07f6f03c29b, 0xbf424132963fe08d, 0x19a37d5757aaf520, 0xbf08119f05cd56d6}},
      {42, {0xd0764d4f4476689f, 0x519e4174576f3791, 0xfbe07cfb0c24ed8c, 0xb37d9f600cd835b8}},
      {~std::uint64_t{0}, {0x56ccf8ce948e27b2, 0xe68588432e5a5b90, 0xe3e9b5a48119ca8b, 0x460f19495532ae73}}};
  for (const auto& [seed, values] : expected) {
    Random random(seed);
    for (const std::uint64_t value : values) EXPECT_EQ(random.next(), value);
  }
}

TEST(Random, UniformIsUniform) {
  // A Kolmogorov-Smirnov test of n random numbers. D is the largest distance of their distribution from the uniform one. If the
  // numbers are uniform, sqrt(n) D is greater than 2.23 with a probability of 1e-4.
  constexpr std::size_t n = 100000;
  Random random(7);
  std::vector<double> values(n);
  for (double& u : values) {
    u = random.uniform();
    ASSERT_TRUE(u >= 0.0 && u < 1.0);
  }
  std::sort(values.begin(), values.end());
  double distance = 0;
  for (std::size_t i = 0; i < n; ++i) {
    distance = std::max({distance, values[i] - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - values[i]});
  }
  EXPECT_LT(std::sqrt(static_cast<double>(n)) * distance, 2.23);
}

TEST(Greedy, HighestWinsTiesGoToTheLowestId) {
  EXPECT_EQ(greedy_token(std::vector<float>{1, 3, 2}), 1u);
  EXPECT_EQ(greedy_token(std::vector<float>{1, 3, 3, 3}), 1u);
  EXPECT_EQ(greedy_token(std::vector<float>{-infinity, -infinity}), 0u);
  EXPECT_EQ(greedy_token(std::vector<float>{5, infinity, infinity}), 1u);
  EXPECT_EQ(greedy_token(std::vector<float>{-0.0f, 0.0f}), 0u);
  EXPECT_EQ(greedy_token(std::vector<float>{not_a_number, -1, not_a_number, -0.5f}), 3u);
  EXPECT_EQ(greedy_token(std::vector<float>{not_a_number, not_a_number}), std::nullopt);
  EXPECT_EQ(greedy_token({}), std::nullopt);
}

TEST(Sampler, TemperatureZeroIsGreedy) {
  for (const float temperature : {0.0f, -1.0f, not_a_number}) {
    Sampler sampler(plain(temperature));
    for (std::uint32_t seed = 0; seed < 200; ++seed) {
      const std::vector<float> logits = noise_values(seed, 1 + seed * 7);
      EXPECT_EQ(sampler.sample(logits), greedy_token(logits));
    }
    EXPECT_EQ(sampler.sample(std::vector<float>{2, 7, 7, 1}), 1u);
  }
}

// Computes Pearson's chi-square statistic of 10^6 draws, whose probabilities should be softmax(logits / temperature).
TEST(Sampler, DrawsByProbability) {
  constexpr std::size_t draws = 1000000;
  const std::vector<float> logits{1.0f, 0.0f, -1.0f, 2.5f, 0.5f, 0.5f, -3.0f, 1.75f, 2.5f, -0.25f};
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    SamplingOptions options = plain(temperature);
    options.seed = 12345;
    Sampler sampler(options);
    std::vector<double> probability(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i) probability[i] = std::exp(double{logits[i]} / double{temperature});
    const double total = std::accumulate(probability.begin(), probability.end(), 0.0);
    std::vector<std::size_t> count(logits.size());
    for (std::size_t i = 0; i < draws; ++i) ++count[sampler.sample(logits).value()];
    double chi_square = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double expected = probability[i] / total * draws;
      chi_square += (static_cast<double>(count[i]) - expected) * (static_cast<double>(count[i]) - expected) / expected;
    }
    // A chi-square statistic with nine degrees of freedom (ten tokens) is greater than 33.72 with a probability of 1e-4.
    std::printf("temperature %.1f: chi-square %.2f of at most 33.72\n", static_cast<double>(temperature), chi_square);
    EXPECT_LT(chi_square, 33.72);
  }
}

// The tokens that a filter leaves are drawn in the same proportions as without the filter.
TEST(Sampler, FiltersKeepProportions) {
  constexpr std::size_t draws = 100000;
  const std::vector<float> logits = logits_of({0.1, 0.4, 0.05, 0.3, 0.15});
  SamplingOptions by_k = plain(), by_p = plain(), by_min_p = plain();
  by_k.top_k = 3;
  by_p.top_p = 0.8f;
  by_min_p.min_p = 0.3f;
  for (const SamplingOptions& options : {by_k, by_p, by_min_p}) {  // each leaves the tokens 1, 3 and 4
    Sampler sampler(options);
    std::vector<double> count(5);
    for (std::size_t i = 0; i < draws; ++i) count[sampler.sample(logits).value()] += 1;
    EXPECT_EQ(count[0] + count[2], 0);
    double chi_square = 0;
    for (const auto& [id, p] : {std::pair{1u, 0.4}, {3u, 0.3}, {4u, 0.15}}) {
      const double expected = draws * p / 0.85;
      chi_square += (count[id] - expected) * (count[id] - expected) / expected;
    }
    EXPECT_LT(chi_square, 18.42);  // with two degrees of freedom, a greater value has the probability 1e-4
  }
}

TEST(Sampler, TopKKeepsTheHighestTiesByLowestId) {
  const std::vector<float> logits{0.0f, 1.0f, 0.5f, 1.0f, 0.5f, 0.5f};
  SamplingOptions options = plain(5.0f);
  const std::vector<Ids> expected{{0, 1, 2, 3, 4, 5}, {1}, {1, 3}, {1, 2, 3}, {1, 2, 3, 4}, {1, 2, 3, 4, 5}};
  for (std::size_t k = 0; k < 10; ++k) {
    options.top_k = k;
    EXPECT_EQ(drawn(options, logits), expected[k < 6 ? k : 0]) << k;
  }
  options.top_k = 2;
  EXPECT_EQ(drawn(options, std::vector<float>(50, 1.0f)), (Ids{0, 1}));
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  const std::vector<float> logits = logits_of({0.125, 0.5, 0.125, 0.25});
  SamplingOptions options = plain();
  for (const auto& [p, expected] : {std::pair{0.0f, Ids{1}},
                                    {0.49f, Ids{1}},
                                    {0.51f, Ids{1, 3}},
                                    {0.74f, Ids{1, 3}},
                                    {0.76f, Ids{0, 1, 3}},
                                    {0.88f, Ids{0, 1, 2, 3}},
                                    {1.0f, Ids{0, 1, 2, 3}},
                                    {7.0f, Ids{0, 1, 2, 3}}}) {
    options.top_p = p;
    EXPECT_EQ(drawn(options, logits), expected) << p;
  }
  // The tokens that top_p leaves do not depend on the temperature, because the temperature is applied after top_p.
  options.top_p = 0.51f;
  options.temperature = 10.0f;
  EXPECT_EQ(drawn(options, logits), (Ids{1, 3}));
}

TEST(Sampler, MinPKeepsWhatIsLikelyEnoughBesideTheBest) {
  const std::vector<float> logits = logits_of({0.05, 0.5, 0.2, 0.25});
  SamplingOptions options = plain();
  for (const auto& [p, expected] : {std::pair{0.0f, Ids{0, 1, 2, 3}},
                                    {0.09f, Ids{0, 1, 2, 3}},
                                    {0.11f, Ids{1, 2, 3}},
                                    {0.41f, Ids{1, 3}},
                                    {0.51f, Ids{1}},
                                    {1.0f, Ids{1}},
                                    {2.0f, Ids{1}}}) {
    options.min_p = p;
    EXPECT_EQ(drawn(options, logits), expected) << p;
  }
}

// All filters together are applied to random logits, and the tokens that can be drawn are compared with sets that are computed in
// double by sorting.
TEST(Sampler, FiltersTogetherLeaveTheReferenceSet) {
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    const std::size_t n = 1 + noise_bits(seed, 1) % 300;
    const std::vector<float> logits = noise_values(seed + 100, n, 6.0f);
    SamplingOptions options = plain(3.0f);
    options.top_k = noise_bits(seed, 2) % (n + 3);
    options.top_p = 0.3f + 0.7f * static_cast<float>(noise_bits(seed, 3) % 1000) / 999.0f;
    options.min_p = static_cast<float>(noise_bits(seed, 4) % 100) / 300.0f;
    options.seed = seed;

    std::vector<std::uint32_t> order(n);
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
    if (options.top_k != 0 && options.top_k < n) order.resize(options.top_k);
    double total = 0, sum = 0;
    const auto likelihood = [&](std::uint32_t id) { return std::exp(double{logits[id]} - double{logits[order[0]]}); };
    for (const std::uint32_t id : order) total += likelihood(id);
    // If the probability of a token is within 1e-6 of the limit of a filter, the sampler may keep the token or not, because its
    // exp_approximate() is not exact. Such tokens are in the set `possibly` and not in `surely`.
    Ids surely, possibly;
    for (const std::uint32_t id : order) {
      const bool wanted = sum < double{options.top_p} * total, likely = likelihood(id) >= double{options.min_p};
      const bool close =
          std::fabs(sum - double{options.top_p} * total) < 1e-6 * total || std::fabs(likelihood(id) - double{options.min_p}) < 1e-6;
      if (!close && !(wanted && likely)) break;
      if (!close) surely.insert(id);
      possibly.insert(id);
      sum += likelihood(id);
    }
    const Ids found = drawn(options, logits, 5000);
    EXPECT_TRUE(std::includes(possibly.begin(), possibly.end(), found.begin(), found.end())) << "seed " << seed;
    if (surely.size() < 30) {  // few enough that every one of them is drawn
      EXPECT_TRUE(std::includes(found.begin(), found.end(), surely.begin(), surely.end())) << "seed " << seed;
    }
  }
}

TEST(Sampler, ASeedGivesTheSameTokensEverywhere) {
  SamplingOptions options = plain();
  options.seed = 42;
  // All eight tokens have the same probability, so the drawn id is floor(8 u), where u is the random number in [0, 1). The ids were
  // computed with Python.
  const std::vector<float> alike(8, 0.25f);
  const std::vector<std::uint32_t> expected{6, 2, 7, 5, 6, 4, 1, 4, 1, 7, 4, 6, 5, 0, 3, 4, 1, 0, 4, 3, 1, 6, 5, 4, 6, 1, 3, 7, 4, 6, 0, 5};
  Sampler sampler(options);
  for (const std::uint32_t id : expected) EXPECT_EQ(sampler.sample(alike), id);

  const auto text = [](std::uint64_t seed) {
    SamplingOptions r1;  // the defaults
    r1.seed = seed;
    Sampler s(r1);
    std::vector<std::uint32_t> tokens;
    for (std::uint32_t i = 0; i < 100; ++i) tokens.push_back(s.sample(noise_values(i, 200, 4.0f)).value());
    return tokens;
  };
  EXPECT_EQ(text(1), text(1));
  EXPECT_NE(text(1), text(2));
}

TEST(Sampler, ImpossibleTokensAreNeverDrawn) {
  EXPECT_EQ(drawn(plain(), std::vector<float>{0, -infinity, 0, -200}), (Ids{0, 2}));
  EXPECT_EQ(drawn(plain(0.01f), std::vector<float>{0, -1, -2}), Ids{0});
  EXPECT_EQ(drawn(plain(1e-40f), std::vector<float>{0, -1, 0}), (Ids{0, 2}));
  EXPECT_EQ(drawn(plain(), std::vector<float>{1, infinity, 3e38f, infinity}), (Ids{1, 3}));
  EXPECT_EQ(drawn(plain(), std::vector<float>{-infinity, -infinity}), (Ids{0, 1}));
  EXPECT_EQ(drawn(plain(), std::vector<float>{not_a_number, 0, not_a_number, 0}), (Ids{1, 3}));
  for (const float filter : {0.0f, 0.5f}) {  // without and with filters
    SamplingOptions options = plain();
    options.top_k = 3;
    options.top_p = 0.999f;
    options.min_p = filter;
    EXPECT_EQ(drawn(options, std::vector<float>{0, -infinity, 0, not_a_number, -infinity}), (Ids{0, 2}));
    EXPECT_EQ(drawn(options, std::vector<float>{1, infinity, 3e38f, infinity}), (Ids{1, 3}));
  }
  Sampler sampler(plain());
  EXPECT_EQ(sampler.sample({}), std::nullopt);
  EXPECT_EQ(sampler.sample(std::vector<float>(5, not_a_number)), std::nullopt);
  EXPECT_EQ(sampler.sample(std::vector<float>{-infinity}), 0u);
}

// Tests of penalties, which change the logit of one token. The change is measured exactly by the logit of a rival, another token.
class Penalties : public ::testing::Test {
 protected:
  // Returns the logit of token 0 after the penalties. It is found by bisection with greedy choices between token 0 and its rival,
  // token 1.
  static float penalised(SamplingOptions options, float logit, int times, int others = 0) {
    options.temperature = 0.0f;
    Sampler sampler(options);
    for (int i = 0; i < times; ++i) sampler.accept(0);
    for (int i = 0; i < others; ++i) sampler.accept(2);
    // `low`, `middle` and `high` are positions in a list of all floats in ascending order, so the bisection can reach every float.
    std::uint32_t low = 0, high = 0xffffffffu;
    const auto rival = [](std::uint32_t at) { return std::bit_cast<float>(at >= 0x80000000u ? at - 0x80000000u : 0xffffffffu - at); };
    low = 0xffffffffu - std::bit_cast<std::uint32_t>(-100.0f);
    high = std::bit_cast<std::uint32_t>(100.0f) + 0x80000000u;
    while (low + 1 < high) {  // if both logits are equal, token 0 wins, which has the lower id
      const std::uint32_t middle = low + (high - low) / 2;
      const std::vector<float> logits{logit, rival(middle), -200.0f};
      (sampler.sample(logits) == 0u ? low : high) = middle;
    }
    return rival(low);
  }
};

TEST_F(Penalties, RepetitionDividesOrMultiplies) {
  SamplingOptions options;
  options.repetition_penalty = 1.25f;
  EXPECT_EQ(penalised(options, 2.5f, 0), 2.5f);
  EXPECT_EQ(penalised(options, 2.5f, 1), 2.5f / 1.25f);
  EXPECT_EQ(penalised(options, -2.5f, 1), -2.5f * 1.25f);
  EXPECT_EQ(penalised(options, 2.5f, 5), 2.5f / 1.25f);  // the penalty is applied once, however often the token came
}

TEST_F(Penalties, PresenceOnceFrequencyForEachTime) {
  SamplingOptions options;
  options.presence_penalty = 0.5f;
  EXPECT_EQ(penalised(options, 3.0f, 0), 3.0f);
  EXPECT_EQ(penalised(options, 3.0f, 1), 2.5f);
  EXPECT_EQ(penalised(options, 3.0f, 9), 2.5f);
  options.frequency_penalty = 0.25f;
  EXPECT_EQ(penalised(options, 3.0f, 4), 1.5f);
  options.repetition_penalty = 2.0f;  // this penalty is applied first
  EXPECT_EQ(penalised(options, 3.0f, 4), 0.0f);
  options = SamplingOptions();
  options.frequency_penalty = -1.0f;  // a negative penalty is a reward
  EXPECT_EQ(penalised(options, 3.0f, 2), 5.0f);
}

TEST_F(Penalties, OnlyTheWindowCounts) {
  SamplingOptions options;
  options.frequency_penalty = 0.5f;
  options.penalty_window = 8;
  EXPECT_EQ(penalised(options, 3.0f, 4, 0), 1.0f);
  EXPECT_EQ(penalised(options, 3.0f, 4, 4), 1.0f);
  EXPECT_EQ(penalised(options, 3.0f, 4, 6), 2.0f);
  EXPECT_EQ(penalised(options, 3.0f, 4, 8), 3.0f);
  EXPECT_EQ(penalised(options, 3.0f, 100, 0), -1.0f);
  options.penalty_window = 0;
  EXPECT_EQ(penalised(options, 3.0f, 100, 0), 3.0f);
}

TEST_F(Penalties, TokensThatAreNotThereAreIgnored) {
  SamplingOptions options = plain();
  options.presence_penalty = 100.0f;
  Sampler sampler(options);
  for (const std::uint32_t id : {1u, 7u, 1000000u, 0xffffffffu}) sampler.accept(id);
  EXPECT_EQ(sampler.sample(std::vector<float>{0, not_a_number}), 0u);
  EXPECT_EQ(sampler.sample(std::vector<float>{0, 50, -40}), 0u);
}

// Some options and logits make a penalised logit NaN. Such a token is never chosen, and nothing breaks.
TEST_F(Penalties, NoNumberIsNeverChosen) {
  SamplingOptions options = plain();
  options.repetition_penalty = 0.0f;
  options.presence_penalty = -infinity;
  options.top_k = 40;
  options.top_p = 0.9f;
  options.min_p = 0.01f;
  SamplingOptions greedy = options;
  greedy.temperature = 0.0f;
  for (const SamplingOptions& o : {greedy, options}) {
    Sampler first(o);
    first.accept(0);
    EXPECT_EQ(first.sample(std::vector<float>{-infinity, 1.0f}), 1u);
    EXPECT_EQ(first.sample(std::vector<float>{-infinity}), std::nullopt);
  }
  Sampler sampler(options);
  std::vector<float> logits = noise_values(3, 200);
  for (std::uint32_t id = 0; id < 50; ++id) {
    sampler.accept(id);
    logits[id] = id % 2 == 0 ? -infinity : infinity;
  }
  for (int i = 0; i < 100; ++i) {
    const auto id = sampler.sample(logits);
    ASSERT_TRUE(id.has_value());
    ASSERT_TRUE(*id < 200 && !(*id < 50 && *id % 2 == 0)) << *id;  // those have the logit NaN: -infinity * 0
  }
}

}  // namespace
