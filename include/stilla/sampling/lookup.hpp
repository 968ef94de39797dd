// SPDX-License-Identifier: Apache-2.0
//
// Lookup decoding. If the last tokens of the text also occur at an earlier place in the text, the tokens behind that place are a free
// guess at what follows the end. Edited code, lists, and answers that repeat their thoughts have many such places.
//
//   index.push(id)            for every token of prompt and text
//   n = policy.length(index.draft(out))   how many guesses are worth checking
//   evaluate {last token, guess 1, ..., guess n} in one batch. Then sample position after position, as always, and go on while
//   the sampled token equals the guess. The positions behind the first difference are removed again.
//
// Logits have the same bits in a batch as one by one, and the sampler draws the same random numbers in the same order. The text
// is therefore the one that plain decoding writes, for greedy choice and for any sampling. Only the time differs, so that the
// policy may learn from a clock. The idea is prompt lookup decoding (Saxena, 2023), after speculative decoding (Leviathan et al.,
// 2023), whose acceptance rule is not needed.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Draft {
  std::size_t tokens = 0;  // number of guesses
  std::size_t match = 0;   // how many tokens before the place found are the same as at the end of the text
};

// Finds the place in the text whose preceding tokens match the end of the text over the greatest length. A hash table holds the
// latest place of each n-gram (three neighbouring tokens), and for each place the one before it with the same hash, as in the match
// finders of LZ77. If the text was a copy of an earlier passage until an edit interrupted it, the place where the copy would go on
// is searched close to the place where it stopped; there one common token is enough.
class NgramIndex {
 public:
  static constexpr std::size_t shortest_match = 3;

  void clear() {
    tokens_.clear();
    earlier_.clear();
    latest_.assign(std::size_t{1} << 12, none);
    source_ = none;
  }

  void push(std::uint32_t token) {
    tokens_.push_back(token);
    earlier_.push_back(none);
    if (latest_.size() < 2 * tokens_.size()) return grow();
    link(tokens_.size() - 1);
  }

  std::size_t size() const { return tokens_.size(); }

  // Writes guesses at what follows the text: either as many as `out` holds, or none. If the earlier place is so close to the end of
  // the text that its continuation reaches the end, the guesses repeat the tokens in between.
  Draft draft(std::span<std::uint32_t> out) {
    const std::size_t n = tokens_.size();
    if (n <= shortest_match || out.empty()) return {};
    Draft best{0, 0};
    std::size_t best_place = 0;
    const auto look_at = [&](std::size_t place) {
      std::size_t length = 0;
      while (length <= place && length < longest_match && tokens_[place - length] == tokens_[n - 1 - length]) ++length;
      if (length > best.match) best.match = length, best_place = place;
    };
    if (source_ != none && n - source_end_ < max_edited) {
      // The end of the text was a copy of an earlier passage until an edit interrupted the copy. `expected` is the place in the
      // passage where the copy goes on if the edit inserted as many tokens as it removed.
      const std::size_t expected = source_ + (n - source_end_);
      for (std::size_t i = 0; i <= max_edited; ++i) {           // the nearest place comes first
        if (expected + i < n - 1) look_at(expected + i);
        if (i > 0 && expected - i > source_ && expected - i < n - 1) look_at(expected - i);
      }
    }
    std::size_t looks = max_looks;
    for (std::size_t place = earlier_[n - 1]; place != none && looks > 0; place = earlier_[place], --looks) {
      look_at(place);
      if (best.match == longest_match) break;
    }
    if (best.match == 0) return {};
    best.tokens = out.size();
    if (best.match >= shortest_match) source_ = best_place, source_end_ = n;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t from = best_place + 1 + i;
      out[i] = from < n ? tokens_[from] : out[from - n];
    }
    return best;
  }

 private:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  static constexpr std::size_t longest_match = 32;
  static constexpr std::size_t max_looks = 32;
  static constexpr std::size_t max_edited = 16;

  std::size_t bucket(std::size_t last) const {
    std::uint64_t hash = 0;
    for (std::size_t i = 0; i < shortest_match; ++i) hash = (hash ^ tokens_[last - i]) * 0x9e3779b97f4a7c15u;
    return static_cast<std::size_t>(hash >> 32) & (latest_.size() - 1);
  }
  void link(std::size_t last) {
    if (last + 1 < shortest_match) return;
    std::size_t& latest = latest_[bucket(last)];
    earlier_[last] = latest;
    latest = last;
  }
  void grow() {
    latest_.assign(std::max(std::size_t{1} << 12, 4 * latest_.size()), none);
    for (std::size_t i = 0; i < tokens_.size(); ++i) link(i);
  }

  std::vector<std::uint32_t> tokens_;
  std::vector<std::size_t> earlier_;  // the place before this one with the same hash
  std::vector<std::size_t> latest_;   // the latest place of each hash; the size is a power of two
  std::size_t source_ = none;         // the place of the last draft with a long match
  std::size_t source_end_ = 0;        // the length of the text when source_ was found
};

// Decides how many guesses to check. Let a be the chance that a guess is right if those before it were right. Then n guesses give 1
// + a + ... + a^n tokens on average, in the time of a batch of n + 1 tokens. The best n may be 0. Guesses are the tokens behind an
// earlier place in the text where the tokens before the place are the same as the last tokens of the text. Draft::match says how many
// are the same. One chance is learned for each range of this number. The times are learned for each batch size. A bad chance is slowly
// forgotten, so that guessing is tried again if the text changes its character.
class DraftPolicy {
 public:
  static constexpr std::size_t max_guesses = 15;

  DraftPolicy() {
    for (std::size_t m = 0; m < time_.size(); ++m) time_[m] = 1.0 + 0.1 * static_cast<double>(m);
  }

  // Returns how many guesses of a draft to check.
  std::size_t length(const Draft& draft) {
    if (draft.tokens == 0 || one_ == 0.0) return 0;  // none while there is no time to compare with
    Chance& chance = chances_[kind(draft.match)];
    const double a = chance.of_right();
    double tokens = 1.0, power = 1.0, best_rate = 1.0;
    std::size_t best = 0;
    for (std::size_t n = 1; n <= std::min(draft.tokens, max_guesses); ++n) {
      power *= a;
      tokens += power;
      if (tokens / time_[n] > best_rate) best_rate = tokens / time_[n], best = n;
    }
    if (best == 0) chance.fade(0.99);
    return best;
  }

  // time() is the time of a batch with `guesses` guesses, as a multiple of the time of a batch with none. seconds_of_one() is the
  // time of a batch with none in seconds; 0 if it is not known yet.
  double time(std::size_t guesses) const { return time_[std::min(guesses, max_guesses)]; }
  double seconds_of_one() const { return one_; }

  // Tells this object, which chooses the number of guesses, that `guesses` guesses were checked and `right` of them were right.
  void learn_right(const Draft& draft, std::size_t guesses, std::size_t right) {
    Chance& chance = chances_[kind(draft.match)];
    chance.fade(0.9);
    chance.right += static_cast<double>(right);
    chance.tried += static_cast<double>(std::min(right + 1, guesses));
  }

  // Tells this object, which chooses the number of guesses, how many seconds a batch took: one token and `guesses` guesses.
  void learn_time(std::size_t guesses, double seconds) {
    if (guesses == 0) {
      one_ += (one_ == 0.0 ? 1.0 : 0.1) * (seconds - one_);
      return;
    }
    if (one_ == 0.0) return;
    const double times = std::clamp(seconds / one_, 0.5, 20.0);
    time_[guesses] += (is_measured_[guesses] ? 0.25 : 1.0) * (times - time_[guesses]);
    is_measured_[guesses] = true;
    // Until the time of a batch with another number of guesses is measured, it is estimated: the times are on a straight line from
    // the time with no guesses, which is 1, to the time that was measured now.
    for (std::size_t n = 1; n < time_.size(); ++n) {
      const double share = static_cast<double>(n) / static_cast<double>(guesses);
      if (!is_measured_[n]) time_[n] = 1.0 + (time_[guesses] - 1.0) * share;
    }
  }

 private:
  // The chance that a guess is right, learned from the numbers of guesses that were checked and that were right. Old results count
  // less and less. Before there are any, the chance has an assumed value.
  struct Chance {
    double right = 0.0, tried = 0.0;
    double of_right() const { return (right + 0.4) / (tried + 1.0); }
    void fade(double kept) { right *= kept, tried *= kept; }
  };

  static std::size_t kind(std::size_t match) { return match < 4 ? match : match < 6 ? 4 : match < 10 ? 5 : match < 20 ? 6 : 7; }

  std::array<Chance, 8> chances_{};
  // time_[n] is the time of a batch with n guesses, as a multiple of the time of a batch with none.
  std::array<double, max_guesses + 1> time_{};
  std::array<bool, max_guesses + 1> is_measured_{};
  double one_ = 0.0;                             // seconds of a batch with no guesses; 0 if not known yet
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
