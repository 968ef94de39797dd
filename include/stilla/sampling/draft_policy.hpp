// SPDX-License-Identifier: Apache-2.0
//
// How many guesses a draft model shall write, and how many of them are worth checking. A guess costs an evaluation of the small
// model and makes the large one's batch longer; it gains a token if it and all guesses before it are right. The chance of that is
// learned for guesses of a similar confidence, times are learned from a clock. Where guessing does not pay nothing is guessed, but
// a chance found bad is slowly forgotten, so that a text that changes its character gets another try.
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
  static constexpr std::size_t most_guesses = DraftPolicy::most_guesses;

  // Whether the first guess of a draft is worth its time. `times`: what batches of the large model take.
  bool begins(const DraftPolicy& times) {
    count_ = 0;
    if (times.seconds_of_one() == 0.0) return false;  // nothing to compare with yet
    const double a = any_.of_right();
    double tokens = 1.0, power = 1.0;
    for (std::size_t n = 1; n <= most_guesses; ++n) {
      power *= a;
      tokens += power;
      if (tokens > times.time(n) + static_cast<double>(n) * cost_) return true;
    }
    any_.fade(forgets_unused);
    return false;
  }

  // A guess of this confidence was written: whether another one behind it is worth its time.
  bool goes_on(float confidence, const DraftPolicy& times) {
    const std::size_t kind = kind_of(confidence);
    kinds_[count_] = kind;
    chance_[count_] = (count_ == 0 ? 1.0 : chance_[count_ - 1]) * chances_[kind].of_right();
    ++count_;
    if (count_ == most_guesses) return false;
    return chance_[count_ - 1] * any_.of_right() > cost_ + times.time(count_ + 1) - times.time(count_);
  }

  // How many of the guesses to check: as many as give the most tokens for the time, which includes what they have cost.
  std::size_t length(const DraftPolicy& times) {
    const double spent = static_cast<double>(count_) * cost_;
    double tokens = 1.0, best_rate = 1.0 / (1.0 + spent);
    std::size_t best = 0;
    for (std::size_t n = 1; n <= count_; ++n) {
      tokens += chance_[n - 1];
      const double rate = tokens / (times.time(n) + spent);
      if (rate > best_rate) best_rate = rate, best = n;
    }
    if (count_ > 0 && best == 0) any_.learn(chance_[0]);  // nobody will find out
    return best;
  }

  // What became of the first `checked` guesses.
  void learn_right(std::size_t checked, std::size_t right) {
    for (std::size_t i = 0; i < std::min(right + 1, checked); ++i) {
      for (Chance* chance : {&chances_[kinds_[i]], &any_}) chance->learn(i < right ? 1.0 : 0.0);
    }
  }

  // How long it took to write the guesses since begins().
  void learn_time(double seconds, const DraftPolicy& times) {
    if (count_ == 0) return;
    const double cost = std::clamp(seconds / times.seconds_of_one() / static_cast<double>(count_), 0.0, 4.0);
    cost_ += (has_cost_ ? 0.1 : 1.0) * (cost - cost_);
    has_cost_ = true;
  }

 private:
  // Tokens after which a bad chance is half forgotten: some hundred, because another try costs the small model a batch of the
  // text's end, as much as five tokens of the large one.
  static constexpr double forgets_unused = 0.997;

  struct Chance {  // counts that fade, and a belief to begin with
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
  double cost_ = 0.3;  // of a guess, in times of a token of the large model; learned
  bool has_cost_ = false;
  std::array<std::size_t, most_guesses> kinds_{};
  std::array<double, most_guesses> chance_{};  // that this guess and all before it are right
  std::size_t count_ = 0;                      // guesses written
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
