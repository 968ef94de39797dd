// SPDX-License-Identifier: Apache-2.0
//
// Tests of the single steps of the sampling chain, such as its filters. Their results are compared with transformers and with the
// steps' definitions (golden/make_sampling_golden.py), and the frequencies of drawn tokens with their probabilities (chi-square).
// Extreme options and logits are tested, and also the order of the steps, bans, biases, masks and padding.
#include <stilla/sampling.hpp>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "counted_new.hpp"
#include "test_util.hpp"

namespace {

using namespace stilla_test;
using Ids = std::set<std::uint32_t>;

constexpr float infinity = HUGE_VALF;

template <class F>
void for_each_case(std::string_view kind, F&& f) {
  for_each_golden(
      kind,
      [&](const std::vector<std::string>& texts, std::span<const double> values) {
        std::vector<float> parameters;
        for (const std::string& text : texts) parameters.push_back(std::strtof(text.c_str(), nullptr));
        f(parameters, values);
      },
      "sampling.bin");
}

std::vector<float> logits_of(const std::vector<float>& parameters, std::size_t step = 0) {
  return noise_values(static_cast<std::uint32_t>(parameters[0]) + static_cast<std::uint32_t>(step), static_cast<std::size_t>(parameters[1]),
                      parameters[2]);
}

Ids ids_of(Candidates& candidates) {
  Ids ids;
  for (const Candidate& c : candidates.items()) ids.insert(c.id);
  return ids;
}

// Each filter has two implementations, one for candidates in the order of their ids and one for candidates with the best first.
// Both must leave the tokens that the golden record names.
template <class Filter>
void filter_leaves_golden(std::string_view kind, Filter&& filter) {
  for_each_case(kind, [&](const std::vector<float>& parameters, std::span<const double> values) {
    Ids expected;
    for (const double id : values) expected.insert(static_cast<std::uint32_t>(id));
    for (const bool is_ranked : {false, true}) {
      Candidates candidates;
      candidates.assign(logits_of(parameters));
      if (is_ranked) candidates.keep_best(candidates.size());
      filter(candidates, parameters[3]);
      EXPECT_EQ(ids_of(candidates), expected) << (is_ranked ? "best first" : "by id");
      EXPECT_TRUE(!candidates.is_ranked() || std::is_sorted(candidates.items().begin(), candidates.items().end(), ranks_before));
    }
  });
}

TEST(SamplingGolden, FiltersLeaveWhatTheyShould) {
  filter_leaves_golden("top_k", [](Candidates& c, float k) { keep_top_k(c, static_cast<std::size_t>(k)); });
  filter_leaves_golden("top_p", [](Candidates& c, float p) { keep_top_p(c, p); });
  filter_leaves_golden("min_p", [](Candidates& c, float p) { keep_min_p(c, p); });
  filter_leaves_golden("typical", [](Candidates& c, float p) { TypicalFilter().keep(c, p); });
  filter_leaves_golden("xtc", [](Candidates& c, float threshold) {
    Random random(1);
    exclude_top_choices(c, 1.0f, threshold, random);
  });
}

TEST(SamplingGolden, RepetitionPenalty) {
  for_each_case("repetition", [](const std::vector<float>& parameters, std::span<const double> values) {
    std::vector<std::uint32_t> text, scratch;
    const auto count = static_cast<std::uint32_t>(values.size());
    for (std::size_t i = 0; i < 20; ++i) text.push_back(noise_bits(static_cast<std::uint32_t>(parameters[0]) + 50, i) % count);
    Candidates candidates;
    candidates.assign(logits_of(parameters));
    penalise_repeats(candidates, {parameters[3], 0.0f, 0.0f}, text, scratch);
    for (const Candidate& c : candidates.items()) {
      EXPECT_NEAR(static_cast<double>(c.logit), values[c.id], unit_roundoff * std::fabs(values[c.id]));
    }
  });
}

TEST(SamplingGolden, DryPenalty) {
  std::size_t penalised = 0;
  for_each_case("dry", [&](const std::vector<float>& parameters, std::span<const double> values) {
    const auto seed = static_cast<std::uint32_t>(parameters[0]), tokens = static_cast<std::uint32_t>(parameters[1]);
    const auto length = static_cast<std::size_t>(parameters[2]);
    std::vector<std::uint32_t> text;
    for (std::size_t i = 0; i < length; ++i) text.push_back(noise_bits(seed + 70, i) % tokens);
    if (seed % 2 == 1) text.insert(text.end(), text.begin(), text.begin() + static_cast<std::ptrdiff_t>(length / 3));
    DryPenalty::Options options{
        parameters[3], parameters[4], static_cast<std::size_t>(parameters[5]), {static_cast<std::uint32_t>(parameters[6])}};
    for (const bool is_ranked : {false, true}) {
      Candidates candidates;
      candidates.assign(std::vector<float>(tokens, 0.0f));
      if (is_ranked) candidates.keep_best(tokens);
      DryPenalty().apply(candidates, options, text);
      for (const Candidate& c : candidates.items()) {
        EXPECT_NEAR(static_cast<double>(-c.logit), values[c.id], 1e-5 * values[c.id]) << "token " << c.id;
        penalised += values[c.id] > 0;
      }
      EXPECT_TRUE(!is_ranked || std::is_sorted(candidates.items().begin(), candidates.items().end(), ranks_before));
    }
  });
  EXPECT_GT(penalised, 100u);
}

TEST(SamplingGolden, Mirostat) {
  for_each_case("mirostat", [](const std::vector<float>& parameters, std::span<const double> values) {
    Mirostat mirostat(parameters[3], parameters[4]);
    for (std::size_t step = 0; step < 20; ++step) {
      Candidates candidates;
      candidates.assign(logits_of(parameters, step));
      mirostat.keep(candidates);
      ASSERT_EQ(static_cast<double>(candidates.size()), values[2 * step]) << "step " << step;
      const auto items = candidates.items();
      mirostat.observe(candidates, *std::max_element(items.begin(), items.end(), ranks_before));
      ASSERT_NEAR(mirostat.mu(), values[2 * step + 1], 1e-5) << "step " << step;
    }
  });
}

// Returns a row of logits, of any kind that occurs in sampling: many logits far below a few, plateaus, ties, and values that are
// NaN or infinite.
std::vector<float> row_of_kind(std::uint32_t seed, std::size_t n) {
  std::vector<float> logits = noise_values(seed, n, seed % 2 == 0 ? 12.0f : 1.0f);
  if (seed % 3 == 0) logits[0] = 3.0f + static_cast<float>(seed % 20);  // one logit far above all others
  if (seed % 5 == 0) std::fill(logits.begin(), logits.end(), -7.25f);
  if (seed % 7 == 0) {
    for (float& logit : logits) logit = std::floor(logit);
  }
  const std::vector<float> specials{std::nanf(""), -infinity, infinity};
  for (std::size_t i = 0; i < n && seed % 4 == 1; i += 1 + noise_bits(seed, i) % 40) {
    logits[i] = specials[noise_bits(seed, i + 1) % (seed % 8 == 1 ? 3 : 2)];
  }
  return logits;
}

// The candidates of a sampler are first a row of logits and later a list of tokens and their logits. Each step must do the same to
// a row as to a list. (In a row it searches with the help of numbers that kernels compute for each block of neighbouring logits.)
TEST(Candidates, ARowGivesWhatItsListDoes) {
  std::size_t undecided = 0;
  for (std::uint32_t seed = 0; seed < 400; ++seed) {
    const std::size_t n = 1 + noise_bits(seed, 1) % 3000;
    const std::vector<float> logits = row_of_kind(seed, n);
    const float temperature = std::vector{0.3f, 2.5f, 1.0f, 1e38f, 1.0f, 1.0f}[seed % 6];
    const auto row = [&] {
      Candidates candidates;
      candidates.assign(logits);
      candidates.set_temperature(temperature);
      return candidates;
    };
    const auto list = [&] {
      Candidates candidates = row();
      (void)candidates.items();
      return candidates;
    };
    SCOPED_TRACE("seed " + std::to_string(seed));
    const auto is_number = [](float logit) { return !std::isnan(logit); };
    const auto size = static_cast<std::size_t>(std::count_if(logits.begin(), logits.end(), is_number));
    ASSERT_EQ(row().size(), size);
    ASSERT_EQ(row().empty(), size == 0);
    if (size == 0) continue;
    ASSERT_EQ(row().best().id, list().best().id);
    const float highest = row().highest();
    ASSERT_EQ(highest, list().highest());
    const double total = list().total_weight(highest);
    ASSERT_NEAR(row().total_weight(highest), total, 1e-12 * total);  // the two sums have different orders

    const auto expect_same = [](Candidates a, Candidates b) {
      ASSERT_EQ(a.is_ranked(), b.is_ranked());
      const auto is_same = [](const Candidate& x, const Candidate& y) { return x.id == y.id && x.logit == y.logit; };
      ASSERT_EQ(a.size(), b.size());
      ASSERT_TRUE(std::equal(a.items().begin(), a.items().end(), b.items().begin(), is_same));
    };
    const auto both = [&](auto&& change) {
      Candidates a = row(), b = list();
      change(a);
      change(b);
      expect_same(std::move(a), std::move(b));
    };
    both([&](Candidates& c) { c.keep_best(1 + noise_bits(seed, 3) % n); });
    both([&](Candidates& c) { c.keep_best(n + 1); });
    both([](Candidates& c) { c.remove_far(); });
    both([&](Candidates& c) { c.remove_if([](const Candidate& x) { return x.id % 3 == 0; }); });
    both([&](Candidates& c) {
      for (std::uint32_t i = 0; i < 20; ++i) {
        c.change(noise_bits(seed, 4 + i) % 3100, [&](float& logit) { logit = i % 4 == 0 ? std::nanf("") : logit - 20.0f; });
      }
      c.settle();
      if (!c.empty()) c.keep_best(5);
    });

    const double share = 1.0 - std::pow(10.0, -0.05 * (1.0 + static_cast<double>(noise_bits(seed, 2) % 200)));
    Candidates found = row(), by_list = list(), ranked = row();
    ranked.keep_best(n);
    for (Candidates* candidates : {&found, &by_list, &ranked}) candidates->keep_share(share);
    const std::size_t smaller = std::min(found.size(), by_list.size()), larger = std::max(found.size(), by_list.size());
    ASSERT_LE(larger - smaller, 1u);
    undecided += larger - smaller;
    found.keep_best(smaller);
    by_list.keep_best(smaller);
    expect_same(found, by_list);
    ASSERT_LE(std::max(ranked.size(), smaller) - std::min(ranked.size(), smaller), 1u);

    for (std::size_t i = 0; i < 50; ++i) {
      const double u = i == 0 ? 0.0 : i == 1 ? 0x1.fffffffffffffp-1 : noise_bits(seed, 10 + i) * 0x1p-32;
      const std::uint32_t id = row().at(u).id;
      ASSERT_GT(row().weight({logits[id], id}, highest), 0.0);
      if (id == list().at(u).id) continue;
      // u in [0, 1) draws the token whose part of the total weight holds u * total. Row and list may differ only near the borders of parts.
      double place = u * total;
      for (std::uint32_t j = 0; j <= std::min(id, list().at(u).id); ++j) {
        if (!std::isnan(logits[j])) place -= row().weight({logits[j], j}, highest);
      }
      ASSERT_LT(std::fabs(place), 1e-12 * total) << "u " << u;
    }
  }
  EXPECT_LE(undecided, 2u);
}

TEST(Sampler, DrawsTheSameOnEveryTarget) {
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    SamplingOptions options;
    options.seed = seed;
    if (seed % 3 == 1) options.top_p = 1.0f;
    if (seed % 3 == 2) options.order = *SamplingOrder::parse("temperature;top_p");
    if (seed % 4 == 1) options.mirostat = true;
    if (seed % 5 == 1) options.banned = {0, 7, 2999}, options.vocabulary = 1000;
    std::vector<std::optional<std::uint32_t>> expected;
    for_each_available_target([&](TargetId target) {
      const OnTarget on(target);
      Sampler sampler(options);
      std::vector<std::optional<std::uint32_t>> drawn;
      for (std::uint32_t i = 0; i < 20; ++i) drawn.push_back(sampler.sample(row_of_kind(seed + 400 * i, 1 + 50 * seed)));
      if (expected.empty()) expected = drawn;
      EXPECT_EQ(drawn, expected) << target.name << ", seed " << seed;
    });
  }
}

// If no logit of a row stands out, the sampler takes its slowest path. It must draw all tokens equally often.
TEST(Sampler, EqualLogitsAreDrawnAlike) {
  constexpr std::size_t n = 5000;
  const std::vector<float> logits(n, 3.5f);
  SamplingOptions options;
  Sampler sampler(options);
  std::vector<std::size_t> tenths(10);
  for (int i = 0; i < 2000; ++i) {
    const std::uint32_t id = sampler.sample(logits).value();
    ASSERT_LT(id, 4750u);  // of equal tokens, top_p keeps those with the lowest ids
    ++tenths[id / 475];
  }
  double chi_square = 0;
  for (const std::size_t count : tenths) chi_square += std::pow(static_cast<double>(count) - 200.0, 2) / 200.0;
  EXPECT_LT(chi_square, 33.72);  // with nine degrees of freedom, a greater value has the probability 1e-4
}

// Compares Pearson's chi-square statistic of the draws with its limit for the given probabilities. The statistic exceeds the
// limit with probability 1e-4. The limit is the approximation of the quantile by Wilson and Hilferty.
void expect_distribution(const SamplingOptions& options, const std::vector<float>& logits, const std::vector<double>& wanted) {
  constexpr std::size_t draws = 200000;
  Sampler sampler(options);
  std::vector<std::size_t> count(logits.size());
  for (std::size_t i = 0; i < draws; ++i) ++count[sampler.sample(logits).value()];
  const double total = std::accumulate(wanted.begin(), wanted.end(), 0.0);
  double chi_square = 0, degrees = -1;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == 0) {
      EXPECT_EQ(count[i], 0u) << "token " << i;
      continue;
    }
    const double expected = wanted[i] / total * draws;
    chi_square += (static_cast<double>(count[i]) - expected) * (static_cast<double>(count[i]) - expected) / expected;
    degrees += 1;
  }
  const double c = 2.0 / (9.0 * degrees);
  const double limit = degrees * std::pow(1.0 - c + 3.719 * std::sqrt(c), 3);
  EXPECT_LT(chi_square, limit) << degrees << " degrees of freedom";
}

SamplingOptions plain() {
  SamplingOptions options;
  options.temperature = 1.0f;
  options.top_p = 1.0f;
  options.seed = 99;
  return options;
}

const std::vector<double> ten{0.30, 0.20, 0.15, 0.10, 0.08, 0.06, 0.05, 0.03, 0.02, 0.01};
std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> out;
  for (const double p : probabilities) out.push_back(static_cast<float>(std::log(p)));
  return out;
}

TEST(SamplingChain, EachStepLeavesTheRightDistribution) {
  const std::vector<float> logits = logs(ten);
  const auto first = [](std::size_t count) {
    std::vector<double> out = ten;
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(count), out.end(), 0.0);
    return out;
  };
  SamplingOptions options = plain();
  expect_distribution(options, logits, ten);
  options.top_k = 4;
  expect_distribution(options, logits, first(4));
  options = plain(), options.top_p = 0.7f;
  expect_distribution(options, logits, first(4));
  options = plain(), options.min_p = 0.19f;
  expect_distribution(options, logits, first(6));
  // The typical filter keeps the tokens whose surprise, -ln p, is nearest to the entropy of the ten probabilities p of this test,
  // which is 1.95. The nearest surprise is -ln 0.15 = 1.90, then come -ln 0.2 and -ln 0.1.
  options = plain(), options.typical_p = 0.4f;
  std::vector<double> typical(10, 0.0);
  typical[1] = 0.20, typical[2] = 0.15, typical[3] = 0.10;
  expect_distribution(options, logits, typical);

  // In half of the draws, the filter XTC removes the tokens whose probability reaches its threshold, here 0.14, except the least
  // likely of them. Of this test's ten tokens it removes those with the probabilities 0.30 and 0.20, and keeps that with 0.15.
  options = plain(), options.xtc_probability = 0.5f, options.xtc_threshold = 0.14f;
  std::vector<double> mixed = ten;
  for (std::size_t i = 0; i < ten.size(); ++i) mixed[i] = 0.5 * ten[i] + (i >= 2 ? 0.5 * ten[i] / 0.5 : 0.0);
  expect_distribution(options, logits, mixed);

  options = plain(), options.temperature = 2.0f;
  std::vector<double> hot;
  for (const double p : ten) hot.push_back(std::sqrt(p));
  expect_distribution(options, logits, hot);

  // If its option eta is 0, mirostat keeps tokens with a surprise of at most 2 tau = 3 bits, which is a probability of at least
  // 1/8.
  options = plain(), options.mirostat = true, options.mirostat_tau = 1.5f, options.mirostat_eta = 0.0f;
  options.top_k = 1;  // has no effect beside mirostat
  expect_distribution(options, logits, first(3));
}

TEST(SamplingChain, OrderIsTheCallers) {
  const std::vector<float> logits = logs({0.5, 0.2, 0.2, 0.1});
  const auto drawn = [&](const char* order) {
    SamplingOptions options = plain();
    options.top_p = 0.6f;
    options.temperature = 10.0f;
    options.order = *SamplingOrder::parse(order);
    Sampler sampler(options);
    Ids ids;
    for (int i = 0; i < 3000; ++i) ids.insert(sampler.sample(logits).value());
    return ids;
  };
  EXPECT_EQ(drawn("top_p;temperature"), (Ids{0, 1}));
  EXPECT_EQ(drawn("temperature;top_p"), (Ids{0, 1, 2}));  // at that temperature the probabilities are nearly equal: 0.28 0.25 0.25 0.22
  EXPECT_EQ(drawn("temperature"), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(drawn(""), (Ids{0, 1, 2, 3}));
  const SamplingOrder usual, parsed = *SamplingOrder::parse(default_sampling_order);
  EXPECT_TRUE(std::equal(parsed.begin(), parsed.end(), usual.begin(), usual.end()));
  EXPECT_FALSE(SamplingOrder::parse("top_p;top_p"));
  EXPECT_FALSE(SamplingOrder::parse(";top_p"));
  const auto unknown = SamplingOrder::parse("top_p;tail\x1b");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("'tail\\x1b' is not known"), std::string::npos);
}

TEST(SamplingChain, PaddingBansBiasesAndMasks) {
  std::vector<float> logits(100, 0.0f);
  logits[99] = 1000.0f;
  for (const float temperature : {0.0f, 1.0f}) {
    SamplingOptions options = plain();
    options.temperature = temperature;
    options.vocabulary = 10;
    options.banned = {0, 3, 500};
    options.logit_bias = {{4, -infinity}, {5, -1.0e6f}, {99, 5.0f}};
    Sampler sampler(options);
    Ids ids;
    for (int i = 0; i < 2000; ++i) ids.insert(sampler.sample(logits).value());
    EXPECT_EQ(ids, temperature == 0.0f ? Ids{1} : (Ids{1, 2, 6, 7, 8, 9}));
    ids.clear();
    const auto is_even = [](std::uint32_t id) { return id % 2 == 0; };
    for (int i = 0; i < 2000; ++i) ids.insert(sampler.sample(logits, is_even).value());
    EXPECT_EQ(ids, temperature == 0.0f ? Ids{2} : (Ids{2, 6, 8}));
    EXPECT_EQ(sampler.sample(logits, [](std::uint32_t) { return false; }), std::nullopt);
    EXPECT_EQ(sampler.sample(logits, [](std::uint32_t id) { return id == 3 || id == 50; }), std::nullopt);
    EXPECT_EQ(sampler.sample(logits, [](std::uint32_t id) { return id == 4; }), 4u);  // its logit is -infinity, but no other is allowed
  }
  // The option logit_bias adds to a logit: a bias of ln 3 makes a token three times as likely.
  SamplingOptions options = plain();
  options.logit_bias = {{2, static_cast<float>(std::log(3.0))}};
  expect_distribution(options, std::vector<float>(4, 0.5f), {1, 1, 3, 1});
}

TEST(SamplingChain, ANewTextForgetsTheOld) {
  SamplingOptions options = plain();
  options.temperature = 0.0f;
  options.presence_penalty = 5.0f;
  options.penalty_window = 4;
  Sampler sampler(options);
  const std::vector<float> logits{1.0f, 0.5f, 0.0f};
  const std::vector<std::uint32_t> text{0, 1, 2, 2, 2, 2};
  sampler.begin(text);
  EXPECT_EQ(sampler.sample(logits), 0u);  // token 0 is outside the window of the penalty
  for (int i = 0; i < 100; ++i) sampler.accept(0);
  EXPECT_EQ(sampler.sample(logits), 1u);
  sampler.begin({});
  EXPECT_EQ(sampler.sample(logits), 0u);
}

TEST(SamplingChain, DryBreaksALoop) {
  SamplingOptions options = plain();
  options.temperature = 0.0f;
  options.dry.multiplier = 0.8f;
  Sampler sampler(options);
  // The text is chosen greedily from a table of the next tokens: 0 1 2 0 1 2 ..., with token 3 as a close second everywhere. The
  // penalty DRY must break this loop.
  std::vector<std::uint32_t> text{0};
  for (int i = 0; i < 40; ++i) {
    sampler.accept(text.back());
    std::vector<float> logits(5, 0.0f);
    logits[(text.back() + 1) % 3] = 4.0f;
    logits[3] = 2.0f;
    text.push_back(sampler.sample(logits).value());
  }
  EXPECT_NE(std::find(text.begin(), text.begin() + 12, 3u), text.begin() + 12);
}

TEST(SamplingChain, AllocatesNothingOnceUnderWay) {
  SamplingOptions options;
  options.top_k = 500;
  options.typical_p = 0.9f;
  options.min_p = 0.001f;
  options.xtc_probability = 0.5f;
  options.presence_penalty = 0.1f;
  options.dry.multiplier = 0.5f;
  options.dry_window = 100;
  for (const bool is_ranked_early : {true, false}) {
    if (!is_ranked_early) options.top_k = 0, options.typical_p = 1.0f;
    Sampler sampler(options);
    std::size_t before = 0;
    for (std::uint32_t i = 0; i < 1000; ++i) {
      if (i == 500) before = allocations;
      const std::vector<float> logits = noise_values(i, 2000, 10.0f);
      const std::size_t outside = allocations;
      sampler.accept(sampler.sample(logits).value());
      if (i >= 500) {
        EXPECT_EQ(allocations, outside) << "token " << i;
      }
    }
    EXPECT_GT(before, 0u);
  }
}

// Infinite logits and absurd options cause no crash, no NaN, and no token that is impossible.
TEST(SamplingChain, AbsurdValuesDoNoHarm) {
  for (std::uint32_t seed = 0; seed < 400; ++seed) {
    const auto pick = [&](std::size_t i, std::initializer_list<float> from) { return from.begin()[noise_bits(seed, i) % from.size()]; };
    SamplingOptions options;
    options.seed = seed;
    options.temperature = pick(1, {1e-40f, 0.6f, 1.0f, 1e38f});
    options.top_k = noise_bits(seed, 2) % 5;
    options.top_p = pick(3, {0.0f, 0.5f, 1.0f});
    options.min_p = pick(4, {0.0f, 1e-9f, 0.5f, 1.0f});
    options.typical_p = pick(5, {0.0f, 0.5f, 1.0f});
    options.xtc_probability = pick(6, {0.0f, 0.5f, 1.0f});
    options.xtc_threshold = pick(7, {0.0f, 0.1f, 0.5f});
    options.mirostat = noise_bits(seed, 8) % 2 == 0;
    options.mirostat_tau = pick(9, {0.0f, 5.0f, 1e30f});
    options.dry = {pick(10, {0.0f, 1.0f, 1e38f}), pick(11, {0.0f, 1.0f, 1e30f}), noise_bits(seed, 12) % 3, {1}};
    options.repetition_penalty = pick(13, {0.0f, 1.0f, 1e38f});
    std::vector<std::string_view> names(std::begin(sampling_step_names), std::end(sampling_step_names));
    std::shuffle(names.begin(), names.end(), std::minstd_rand(seed));
    std::string order;
    for (const std::string_view name : names) order += concat(order.empty() ? "" : ";", name);
    options.order = *SamplingOrder::parse(order);
    Sampler sampler(options);
    for (std::uint32_t i = 0; i < 20; ++i) {
      std::vector<float> logits;
      for (std::uint32_t t = 0; t < 8; ++t) {
        const std::uint32_t kind = noise_bits(seed * 100 + i, t) % 12;
        logits.push_back(kind == 0 ? infinity : kind == 1 ? -infinity : kind == 2 ? std::nanf("") : noise(seed, t) * 50.0f);
      }
      const std::optional<std::uint32_t> id = sampler.sample(logits);
      if (!id) continue;
      ASSERT_LT(*id, 8u);
      ASSERT_FALSE(std::isnan(logits[*id]));
      sampler.accept(*id);
    }
  }
}

}  // namespace
