// SPDX-License-Identifier: Apache-2.0
//
// From logits to the next token. The chain, in this order (llama.cpp's, so that settings carry over):
//
//   1. penalties on tokens among the last `penalty_window`: a positive logit is divided by `repetition_penalty`, a negative
//      one multiplied (Keskar et al., 2019); then  logit -= presence_penalty + frequency_penalty * count
//   2. temperature 0: the highest logit wins, ties go to the lowest id; nothing below happens
//   3. top-k: keep the k highest      4. top-p: keep the fewest whose probabilities reach p (Holtzman et al., 2020)
//   5. min-p: keep those at least min_p times as likely as the best (Nguyen et al., 2024)
//   6. divide by the temperature and draw
//
// A seed gives the same tokens on every target and platform. NaN logits are never chosen, nor is a token of probability 0.
// Defaults are DeepSeek's advice for R1: temperature 0.6, top-p 0.95.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <stilla/math.hpp>
#include <stilla/random.hpp>

namespace stilla::inline STILLA_ABI {

struct SamplingOptions {
  float temperature = 0.6f;         // 0: greedy
  std::size_t top_k = 0;            // 0: off
  float top_p = 0.95f;              // 1: off
  float min_p = 0.0f;               // 0: off
  float repetition_penalty = 1.0f;  // 1: off
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::size_t penalty_window = 64;
  std::uint64_t seed = 0;
};

// The highest logit's id, ties to the lowest; nothing if there is no number among them.
inline std::optional<std::uint32_t> greedy_token(std::span<const float> logits) {
  std::optional<std::uint32_t> best;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) continue;
    if (!best || logits[i] > logits[*best]) best = static_cast<std::uint32_t>(i);
  }
  return best;
}

class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {}

  const SamplingOptions& options() const { return options_; }

  // Tells the sampler what the text so far holds, for the penalties: prompt tokens too if they are to count.
  void accept(std::uint32_t token) {
    if (options_.penalty_window == 0) return;
    if (history_.size() == options_.penalty_window) history_.erase(history_.begin());
    history_.push_back(token);
  }

  // Draws from the first logits.size() tokens: leave out the padding rows that a model's vocabulary may have. Nothing if
  // no logit is a number. Does not call accept().
  std::optional<std::uint32_t> sample(std::span<const float> logits) {
    candidates_.clear();
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (!std::isnan(logits[i])) candidates_.push_back({logits[i], static_cast<std::uint32_t>(i)});
    }
    apply_penalties();
    if (candidates_.empty()) return std::nullopt;
    if (!(options_.temperature > 0.0f)) return std::min_element(candidates_.begin(), candidates_.end(), ranks_before)->id;
    keep_top_k();
    keep_top_p_and_min_p();
    return draw();
  }

 private:
  struct Candidate {
    float logit;
    std::uint32_t id;
  };
  static bool ranks_before(const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  }
  static bool ranks_after(const Candidate& a, const Candidate& b) { return ranks_before(b, a); }

  void apply_penalties() {
    if (options_.repetition_penalty == 1.0f && options_.presence_penalty == 0.0f && options_.frequency_penalty == 0.0f) return;
    std::vector<std::uint32_t> seen = history_;
    std::sort(seen.begin(), seen.end());
    for (auto first = seen.begin(); first != seen.end();) {
      const auto last = std::upper_bound(first, seen.end(), *first);
      const auto count = static_cast<float>(last - first);
      const auto found = std::lower_bound(candidates_.begin(), candidates_.end(), *first,
                                          [](const Candidate& c, std::uint32_t id) { return c.id < id; });
      if (found != candidates_.end() && found->id == *first) {
        float& logit = found->logit;
        logit = logit > 0.0f ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
        logit = std::fma(-options_.frequency_penalty, count, logit - options_.presence_penalty);
      }
      first = last;
    }
    // Infinities can cancel out, and comparisons below need numbers.
    std::erase_if(candidates_, [](const Candidate& c) { return std::isnan(c.logit); });
  }

  void keep_top_k() {
    if (options_.top_k == 0 || options_.top_k >= candidates_.size()) return;
    const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(options_.top_k);
    std::nth_element(candidates_.begin(), end - 1, candidates_.end(), ranks_before);
    candidates_.erase(end, candidates_.end());
    std::sort(candidates_.begin(), candidates_.end(), by_id);  // so that the sums below have one order
  }

  // Moves the survivors, best first, to the front: a heap yields them without sorting the whole vocabulary.
  void keep_top_p_and_min_p() {
    const bool by_p = options_.top_p < 1.0f;
    if (!by_p && !(options_.min_p > 0.0f)) return;
    const float highest = std::min_element(candidates_.begin(), candidates_.end(), ranks_before)->logit;
    double total = 0.0;
    for (const Candidate& c : candidates_) total += probability(c, highest);
    const double wanted = by_p ? static_cast<double>(options_.top_p) * total : total;
    std::make_heap(candidates_.begin(), candidates_.end(), ranks_after);
    auto heap_end = candidates_.end();
    double sum = 0.0;
    kept_.clear();
    while (heap_end != candidates_.begin()) {
      const Candidate best = candidates_.front();
      const double p = probability(best, highest);
      if (!kept_.empty() && p < static_cast<double>(options_.min_p)) break;
      kept_.push_back(best);
      sum += p;
      if (by_p && sum >= wanted) break;
      std::pop_heap(candidates_.begin(), heap_end, ranks_after);
      --heap_end;
    }
    candidates_.swap(kept_);
  }

  // Relative to the best candidate's; equal infinities count as equal.
  static double probability(const Candidate& c, float highest, float temperature = 1.0f) {
    if (c.logit == highest) return 1.0;
    return static_cast<double>(exp_approximate((c.logit - highest) / temperature));
  }

  std::uint32_t draw() {
    const float highest = std::min_element(candidates_.begin(), candidates_.end(), ranks_before)->logit;
    double total = 0.0;
    for (const Candidate& c : candidates_) total += probability(c, highest, options_.temperature);
    double left = random_.uniform() * total;
    std::uint32_t chosen = candidates_.front().id;
    for (const Candidate& c : candidates_) {
      const double p = probability(c, highest, options_.temperature);
      if (p == 0.0) continue;
      chosen = c.id;
      left -= p;
      if (left < 0.0) break;
    }
    return chosen;
  }

  static bool by_id(const Candidate& a, const Candidate& b) { return a.id < b.id; }

  SamplingOptions options_;
  Random random_;
  std::vector<std::uint32_t> history_;
  std::vector<Candidate> candidates_;
  std::vector<Candidate> kept_;
};

}  // namespace stilla::STILLA_ABI
