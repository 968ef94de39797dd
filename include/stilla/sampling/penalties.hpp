// SPDX-License-Identifier: Apache-2.0
//
// Steps of a sampling chain that make tokens less likely because the text already contains them.
//
//   penalise_repeats   for the tokens of the window, the last tokens of the text: a positive logit is divided by `repetition`, a
//                      negative one is multiplied by it (Keskar et al., 2019); then  logit -= presence + frequency * count, where
//                      count says how often the token occurs in the window
//   DryPenalty         "don't repeat yourself" (p-e-w, 2024, text-generation-webui pull request 5677). If the last n tokens of the
//                      text, n >= allowed, already occur earlier, the logit of the token that followed them there is
//                      lowered by multiplier * base^(n - allowed). A passage with a breaker in it, such as the end of a line, does
//                      not count as repeated, and a breaker that followed a passage keeps its logit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include <stilla/sampling/candidates.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct RepeatPenalties {
  float repetition = 1.0f;  // 1: off
  float presence = 0.0f;
  float frequency = 0.0f;

  bool is_on() const { return repetition != 1.0f || presence != 0.0f || frequency != 0.0f; }
};

// Lowers the logits of the tokens in `window`, the last tokens of the text, as `penalties` says. `scratch` is memory that the
// caller keeps from one call to the next.
inline void penalise_repeats(Candidates& candidates, const RepeatPenalties& penalties, std::span<const std::uint32_t> window,
                             std::vector<std::uint32_t>& scratch) {
  if (!penalties.is_on()) return;
  scratch.assign(window.begin(), window.end());
  std::sort(scratch.begin(), scratch.end());
  for (auto first = scratch.begin(); first != scratch.end();) {
    const auto last = std::upper_bound(first, scratch.end(), *first);
    const auto count = static_cast<float>(last - first);
    candidates.change(*first, [&](float& logit) {
      logit = logit > 0.0f ? logit / penalties.repetition : logit * penalties.repetition;
      logit = std::fma(-penalties.frequency, count, logit - penalties.presence);
    });
    first = last;
  }
  candidates.settle();
}

class DryPenalty {
 public:
  struct Options {
    float multiplier = 0.0f;  // 0: off
    float base = 1.75f;
    // A number of tokens: repeating a shorter passage costs nothing, and repeating a passage of exactly this length costs
    // `multiplier`.
    std::size_t allowed_length = 2;
    std::vector<std::uint32_t> breakers{};  // sorted
  };

  // Lowers the logits of tokens that would continue a repetition. `text` is the end of the text, as far back as it should count.
  void apply(Candidates& candidates, const Options& options, std::span<const std::uint32_t> text) {
    if (options.multiplier == 0.0f) return;
    const auto is_breaker = [&](std::uint32_t id) { return std::binary_search(options.breakers.begin(), options.breakers.end(), id); };
    // The number of tokens at the end of the text that can belong to a repeated passage: those behind the last breaker, a token
    // that no repeated passage contains.
    std::size_t reach = 0;
    while (reach < text.size() && !is_breaker(text[text.size() - 1 - reach])) ++reach;
    if (reach == 0) return;
    // z[i] says how many tokens the text that ends i tokens earlier has in common with the whole text, counted backwards from both
    // ends (Gusfield's Z algorithm on the text read backwards, which takes time in proportion to the length of the text).
    const std::size_t n = text.size();
    const auto back = [&](std::size_t i) { return text[n - 1 - i]; };
    matches_.assign(n, 0);
    longest_.clear();
    longest_.reserve(n);
    std::size_t left = 0, right = 0;
    for (std::size_t i = 1; i < n; ++i) {
      std::size_t z = i < right ? std::min(right - i, matches_[i - left]) : 0;
      while (i + z < n && back(z) == back(i + z)) ++z;
      matches_[i] = z;
      if (i + z > right) left = i, right = i + z;
      const std::size_t length = std::min(z, reach);
      if (length >= options.allowed_length && length > 0 && !is_breaker(back(i - 1))) longest_.push_back({back(i - 1), length});
    }
    std::sort(longest_.begin(), longest_.end());
    for (std::size_t i = 0; i < longest_.size(); ++i) {
      const std::uint32_t token = longest_[i].first;
      if (i + 1 < longest_.size() && longest_[i + 1].first == token) continue;  // a longer passage with this token follows
      const float penalty = amount(options, longest_[i].second - options.allowed_length);
      candidates.change(token, [&](float& logit) { logit -= penalty; });
    }
    candidates.settle();
  }

 private:
  // Returns the penalty multiplier * base^exponent. It is computed by repeated multiplication, because pow() of C libraries does not give
  // the same result everywhere.
  static float amount(const Options& options, std::size_t exponent) {
    constexpr float most = std::numeric_limits<float>::max();
    float penalty = options.multiplier;
    for (std::size_t i = 0; i < exponent && std::fabs(penalty) <= most && options.base != 1.0f; ++i) penalty *= options.base;
    return std::clamp(penalty, -most, most);
  }

  std::vector<std::size_t> matches_;
  std::vector<std::pair<std::uint32_t, std::size_t>> longest_;  // token, length of the passage that it would continue
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
