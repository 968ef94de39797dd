// SPDX-License-Identifier: Apache-2.0
//
// Decides how many guesses a draft model should write, and how many of them are worth checking. A guess costs an evaluation of the small
// model and makes the batch of the large one longer. It gains a token if it and all guesses before it are right. The chance of
// this is learned separately for guesses of similar confidence; the times are learned from a clock. If guessing does not pay,
// nothing is guessed. But a bad chance is slowly forgotten, so that guessing is tried again if the text changes its character.
//
//   if (policy.begins(times)) n = draft.guess(text, out, [&](float confidence) { return policy.goes_on(confidence, times); });
//   n = policy.length(times);   policy.learn_time(seconds, times);   check n guesses;   policy.learn_right(n, right);
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include <stilla/base/config.hpp>
#include <stilla/sampling/lookup.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

class ModelDraftPolicy {
 public:
  static constexpr std::size_t max_guesses = DraftPolicy::max_guesses;

  // Returns whether the small model should write guesses at all, that is, whether some number of guesses can be expected to save more
  // time than it costs. `times` are the times of batches of the large model.
  bool begins(const DraftPolicy& times) {
    count_ = 0;
    if (times.seconds_of_one() == 0.0) return false;  // there is no time to compare with yet
    const double a = any_.of_right();
    double tokens = 1.0, power = 1.0;
    for (std::size_t n = 1; n <= max_guesses; ++n) {
      power *= a;
      tokens += power;
      if (tokens > times.time(n) + static_cast<double>(n) * cost_) return true;
    }
    any_.fade(forgets_unused);
    return false;
  }

  // Must be called when a guess of this confidence was written. Returns whether another guess behind it is worth its time.
  bool goes_on(float confidence, const DraftPolicy& times) {
    const std::size_t kind = kind_of(confidence);
    kinds_[count_] = kind;
    chance_[count_] = (count_ == 0 ? 1.0 : chance_[count_ - 1]) * chances_[kind].of_right();
    ++count_;
    if (count_ == max_guesses) return false;
    return chance_[count_ - 1] * any_.of_right() > cost_ + times.time(count_ + 1) - times.time(count_);
  }

  // Returns how many of the written guesses to check: the number that can be expected to give the most tokens per second. The time that
  // writing the guesses has already cost is counted too.
  std::size_t length(const DraftPolicy& times) {
    const double spent = static_cast<double>(count_) * cost_;
    double tokens = 1.0, best_rate = 1.0 / (1.0 + spent);
    std::size_t best = 0;
    for (std::size_t n = 1; n <= count_; ++n) {
      tokens += chance_[n - 1];
      const double rate = tokens / (times.time(n) + spent);
      if (rate > best_rate) best_rate = rate, best = n;
    }
    if (count_ > 0 && best == 0) any_.learn(chance_[0]);  // no guess will be checked, so the expected chance is learned instead
    return best;
  }

  // Tells the policy that the first `checked` guesses were checked and `right` of them were right.
  void learn_right(std::size_t checked, std::size_t right) {
    for (std::size_t i = 0; i < std::min(right + 1, checked); ++i) {
      for (Chance* chance : {&chances_[kinds_[i]], &any_}) chance->learn(i < right ? 1.0 : 0.0);
    }
  }

  // Tells the policy how long it took to write the guesses since the last call of begins().
  void learn_time(double seconds, const DraftPolicy& times) {
    if (count_ == 0) return;
    const double cost = std::clamp(seconds / times.seconds_of_one() / static_cast<double>(count_), 0.0, 4.0);
    cost_ += (has_cost_ ? 0.1 : 1.0) * (cost - cost_);
    has_cost_ = true;
  }

 private:
  // While nothing is guessed, the results of earlier guesses are multiplied by forgets_unused with each token, so that they count
  // less: after some hundred tokens a bad chance is half forgotten. It is forgotten so slowly because the small model has not read the
  // tokens that were written meanwhile. Before it can guess again, it has to evaluate the last tokens of the text (up to
  // DraftModel::max_context) as one batch, which takes as long as five tokens of the large model.
  static constexpr double forgets_unused = 0.997;

  // A chance that is learned. Old results count less and less. Before there are results, the chance is `belief`.
  struct Chance {
    double right = 0.0, tried = 0.0, belief = 0.7;
    double of_right() const { return (right + 2.0 * belief) / (tried + 2.0); }
    void fade(double kept) { right *= kept, tried *= kept; }
    void learn(double share_right) {
      fade(0.97);
      right += share_right;
      tried += 1.0;
    }
  };

  static constexpr std::array<float, 7> steps{0.6f, 0.7f, 0.8f, 0.9f, 0.97f, 0.995f, 0.9995f};
  static std::size_t kind_of(float confidence) {
    return static_cast<std::size_t>(std::upper_bound(steps.begin(), steps.end(), confidence) - steps.begin());
  }

  std::array<Chance, steps.size() + 1> chances_{
      {{0, 0, 0.3}, {0, 0, 0.4}, {0, 0, 0.5}, {0, 0, 0.6}, {0, 0, 0.7}, {0, 0, 0.8}, {0, 0, 0.9}, {0, 0, 0.95}}};
  Chance any_;
  double cost_ = 0.3;  // the time of a guess, as a multiple of the time of a token of the large model; it is learned
  bool has_cost_ = false;
  std::array<std::size_t, max_guesses> kinds_{};
  std::array<double, max_guesses> chance_{};  // the chance that this guess and all before it are right
  std::size_t count_ = 0;                      // number of guesses written
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
