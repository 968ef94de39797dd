// SPDX-License-Identifier: Apache-2.0
//
// Tests of lookup decoding, which guesses the next tokens from earlier places of the same text. Drafts are compared with a search
// by brute force. Also tested are texts that repeat a short pattern, copies that go on behind an edit, and when DraftPolicy
// decides to guess.
#include <stilla/sampling/lookup.hpp>
#include <stilla/base/random.hpp>

#include <algorithm>
#include <vector>

#include "test_util.hpp"

namespace {

using namespace stilla_test;
using Ids = std::vector<std::uint32_t>;

NgramIndex index_of(const Ids& text) {
  NgramIndex index;
  index.clear();
  for (const std::uint32_t id : text) index.push(id);
  return index;
}

Ids draft_of(const Ids& text, std::size_t most) {
  Ids out(most);
  NgramIndex index = index_of(text);
  out.resize(index.draft(out).tokens);
  return out;
}

TEST(NgramIndex, GuessesWhatFollowedTheSameWords) {
  EXPECT_EQ(draft_of({1, 2, 3, 4, 5, 6, 1, 2, 3}, 3), (Ids{4, 5, 6}));
  EXPECT_EQ(draft_of({9, 1, 2, 3, 7, 8, 1, 2, 3, 5, 9, 1, 2, 3}, 2), (Ids{7, 8})) << "the longer match, not the later";
  EXPECT_EQ(draft_of({1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3}, 1), Ids{8}) << "the later of equals";
  EXPECT_EQ(draft_of({1, 2, 3, 4, 2, 3}, 3), Ids{}) << "too short";
  EXPECT_EQ(draft_of({1, 2, 3}, 3), Ids{});
  EXPECT_EQ(draft_of({}, 3), Ids{});
  EXPECT_EQ(draft_of({1, 2, 3, 4, 1, 2, 3}, 0), Ids{});
}

TEST(NgramIndex, ARhythmGoesOn) {
  EXPECT_EQ(draft_of({5, 5, 5, 5}, 6), (Ids{5, 5, 5, 5, 5, 5}));
  EXPECT_EQ(draft_of({1, 2, 1, 2, 1, 2}, 5), (Ids{1, 2, 1, 2, 1}));
}

TEST(NgramIndex, ACopyResumesBehindAnEdit) {
  Ids text;
  for (std::uint32_t i = 0; i < 30; ++i) text.push_back(100 + i);
  const Ids prefix = text;
  text.insert(text.end(), prefix.begin(), prefix.begin() + 10);
  NgramIndex index = index_of(text);
  Ids out(4);
  EXPECT_EQ(index.draft(out).tokens, 4u);
  EXPECT_EQ(out, (Ids{110, 111, 112, 113}));
  for (const std::uint32_t id : {7u, 8u, 9u}) {  // the edit: the text goes on with these tokens instead of 110 and 111
    index.push(id);
    EXPECT_EQ(index.draft(out).tokens, 0u);
  }
  index.push(112);
  const Draft resumed = index.draft(out);
  EXPECT_EQ(resumed.match, 1u);
  EXPECT_EQ(out, (Ids{113, 114, 115, 116}));
}

// A draft copies the tokens that follow an earlier place of the text. Of all places, it must be the one whose preceding tokens
// match the end of the text over the greatest length. This is tested for every length of random texts that have only a few
// different tokens. The index looks at no more than 32 places with the same hash, so the texts are short enough to have fewer.
TEST(NgramIndex, FindsTheLongestMatch) {
  std::size_t found = 0;
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    NgramIndex index;
    index.clear();
    Ids text;
    for (std::size_t n = 0; n < 60; ++n) {
      text.push_back(noise_bits(seed, n) % 4);
      index.push(text.back());
      std::size_t longest = 0;
      for (std::size_t place = 0; place + 1 < text.size(); ++place) {
        std::size_t length = 0;
        while (length <= place && text[place - length] == text[n - length]) ++length;
        longest = std::max(longest, length);
      }
      Ids out(1);
      const Draft draft = index.draft(out);
      if (longest >= NgramIndex::shortest_match) {
        ASSERT_EQ(draft.match, std::min<std::size_t>(longest, 32)) << "seed " << seed << ", " << n;
      } else {
        ASSERT_LE(draft.match, longest);
      }
      found += draft.match >= NgramIndex::shortest_match;
    }
  }
  EXPECT_GT(found, 1000u);
}

TEST(NgramIndex, GrowsAndStartsAnew) {
  NgramIndex index;
  for (int round = 0; round < 2; ++round) {
    index.clear();
    for (std::uint32_t i = 0; i < 20000; ++i) index.push(i);
    for (std::uint32_t i = 500; i < 510; ++i) index.push(i);
    Ids out(2);
    EXPECT_EQ(index.draft(out).match, 10u);
    EXPECT_EQ(out, (Ids{510, 511}));
  }
}

// Simulates writing a text with guesses, and returns its speed compared with no guesses. A guess is right with probability
// `chance`, and checking it takes the share `cost` of the time of a token.
double speed(double chance, double cost, std::size_t rounds) {
  DraftPolicy policy;
  stilla::Random random(1);
  double seconds = 0, tokens = 0;
  for (std::size_t i = 0; i < rounds; ++i) {
    const Draft draft{DraftPolicy::max_guesses, 5};
    const std::size_t guesses = policy.length(draft);
    const double time = 0.01 * (1.0 + cost * static_cast<double>(guesses));
    policy.learn_time(guesses, time);
    std::size_t right = 0;
    while (right < guesses && random.uniform() < chance) ++right;
    if (guesses > 0) policy.learn_right(draft, guesses, right);
    seconds += time;
    tokens += 1.0 + static_cast<double>(right);
  }
  return tokens / (seconds / 0.01);
}

TEST(DraftPolicy, LearnsWhatPays) {
  EXPECT_GT(speed(0.0, 0.3, 2000), 0.98);  // the policy stops guessing
  EXPECT_GT(speed(0.1, 0.3, 2000), 0.97);  // guesses gain nothing
  EXPECT_GT(speed(0.95, 0.1, 2000), 4.0);   // long drafts pay
  EXPECT_GT(speed(0.6, 0.1, 2000), 1.6);  // short drafts pay
  EXPECT_GT(speed(0.95, 1.0, 2000), 0.94);  // a guess costs as much as a token, so batches save nothing
}

TEST(DraftPolicy, GivesChangedTextsAnotherTry) {
  DraftPolicy policy;
  const Draft draft{8, 5};
  for (int i = 0; i < 100; ++i) policy.learn_right(draft, 4, 0);
  policy.learn_time(0, 0.01);
  policy.learn_time(1, 0.013);
  ASSERT_EQ(policy.length(draft), 0u);
  std::size_t waited = 1;
  while (policy.length(draft) == 0 && waited < 1000) ++waited;
  EXPECT_GT(waited, 20u);
  EXPECT_LT(waited, 500u);
  EXPECT_EQ(policy.length({0, 0}), 0u);
}

}  // namespace
