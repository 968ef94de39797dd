// SPDX-License-Identifier: Apache-2.0
//
// Filters of a sampling chain. Each filter removes unlikely candidates, but never all. The neutral value of a filter keeps all
// candidates.
//
//   keep_top_k            keeps the k likeliest
//   keep_top_p            keeps the fewest whose probabilities reach p: the nucleus (Holtzman et al., 2020)
//   keep_min_p            keeps those at least p times as likely as the best (Nguyen et al., 2024)
//   TypicalFilter         keeps those whose surprise (-ln of the probability) is nearest to the entropy: the fewest whose
//                         probabilities reach p (Meister et al., 2022)
//   exclude_top_choices   XTC: with some probability, removes the candidates whose probability reaches a threshold, except the
//                         least likely of them. Unusual tokens then have a chance (p-e-w, 2024, text-generation-webui pull request
//                         6335)
//   Mirostat              mirostat 2 (Basu et al., 2021): keeps those whose surprise is at most mu. The surprise of the drawn
//                         token then changes mu, so that the average surprise becomes tau
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <stilla/base/math.hpp>
#include <stilla/base/random.hpp>
#include <stilla/sampling/candidates.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Keeps the k likeliest candidates; k = 0 keeps all.
inline void keep_top_k(Candidates& candidates, std::size_t k) {
  if (k != 0 && k < candidates.size()) candidates.keep_best(k);
}

inline void keep_top_p(Candidates& candidates, float p) {
  if (p < 1.0f) candidates.keep_share(static_cast<double>(p));
}

inline void keep_min_p(Candidates& candidates, float p) {
  if (!(p > 0.0f) || candidates.empty()) return;
  if (p > 1.2e-7f) candidates.remove_far();  // p is above e^-16 = 1.13e-7: this saves the exponentials of far candidates
  const float highest = candidates.highest();
  candidates.remove_if([&](const Candidate& c) { return c.logit != highest && candidates.weight(c, highest) < static_cast<double>(p); });
}

// The surprise of a candidate, -ln of its probability. A probability is a weight, e^((logit - highest) / temperature), divided by
// the sum of all weights; log_total is the logarithm of this sum. The logarithm of the weight is not computed: it is the exponent
// (logit - highest) / temperature itself. The surprise of an impossible token is infinite, so do not compute `surprise *
// probability` for it.
inline double surprise_of(const Candidates& candidates, const Candidate& c, float highest, double log_total) {
  if (c.logit == highest) return log_total;
  return log_total - static_cast<double>((c.logit - highest) / candidates.temperature());
}

// Keeps the candidates whose surprise is nearest to the entropy: as few as are needed for their probabilities to reach p together.
// It computes the exponential of every candidate, which is cheap only after keep_top_k().
class TypicalFilter {
 public:
  void keep(Candidates& candidates, float p) {
    if (!(p < 1.0f) || candidates.empty()) return;
    const float highest = candidates.highest();
    const double total = candidates.total_weight(highest);
    const double log_total = log_approximate(total);
    double entropy = 0.0;
    for (const Candidate& c : candidates.items()) {
      const double w = candidates.weight(c, highest);
      if (w > 0.0) entropy = std::fma(w / total, surprise_of(candidates, c, highest, log_total), entropy);
    }
    ranked_.clear();
    ranked_.reserve(candidates.most());
    for (const Candidate& c : candidates.items()) {
      ranked_.push_back({std::fabs(surprise_of(candidates, c, highest, log_total) - entropy), c});
    }
    // Typical sampling takes one candidate after the other, beginning with the one whose surprise, -ln of its probability, is nearest to
    // the entropy. A heap yields the candidates in this order without sorting those that are not taken.
    const auto comes_later = [](const Ranked& a, const Ranked& b) {
      return a.distance != b.distance ? a.distance > b.distance : ranks_after(a.candidate, b.candidate);
    };
    std::make_heap(ranked_.begin(), ranked_.end(), comes_later);
    auto heap_end = ranked_.end();
    const double wanted = static_cast<double>(p) * total;
    double sum = 0.0;
    while (heap_end != ranked_.begin() && (heap_end == ranked_.end() || sum < wanted)) {
      sum += candidates.weight(ranked_.front().candidate, highest);
      std::pop_heap(ranked_.begin(), heap_end, comes_later);
      --heap_end;
    }
    kept_.clear();
    kept_.reserve(candidates.most());
    for (auto kept = heap_end; kept != ranked_.end(); ++kept) kept_.push_back(kept->candidate);
    candidates.keep_only(kept_);
  }

 private:
  struct Ranked {
    double distance;
    Candidate candidate;
  };
  std::vector<Ranked> ranked_;
  std::vector<Candidate> kept_;
};

// The filter XTC. If it is on, each call draws one random number, whatever the logits are. The sequence of random numbers therefore
// does not depend on the logits.
inline void exclude_top_choices(Candidates& candidates, float probability, float threshold, Random& random) {
  if (!(probability > 0.0f) || threshold > 0.5f || candidates.empty()) return;  // two candidates cannot both be above a half
  if (random.uniform() >= static_cast<double>(probability)) return;
  const float highest = candidates.highest();
  const double least = static_cast<double>(threshold) * candidates.total_weight(highest);
  const auto is_top = [&](const Candidate& c) { return candidates.weight(c, highest) >= least; };
  Candidate last{};  // the least likely of the top choices
  std::size_t count = 0;
  for (const Candidate& c : candidates.items()) {
    if (is_top(c) && (count++ == 0 || ranks_before(last, c))) last = c;
  }
  if (count < 2) return;
  candidates.remove_if([&](const Candidate& c) { return c.id != last.id && is_top(c); });
}

// The filter mirostat 2. It counts the surprise of a token in bits, from the probability before the filter, as in the paper of Basu
// et al.
class Mirostat {
 public:
  Mirostat(float tau, float eta) : tau_(static_cast<double>(tau)), eta_(static_cast<double>(eta)) { reset(); }

  void reset() { mu_ = 2.0 * tau_; }
  double mu() const { return mu_; }

  void keep(Candidates& candidates) {
    if (candidates.empty()) return;
    highest_ = candidates.highest();
    log_total_ = log_approximate(candidates.total_weight(highest_));
    const Candidate best = candidates.best();
    candidates.remove_if([&](const Candidate& c) { return c.id != best.id && bits(candidates, c) > mu_; });
  }

  // Changes mu after a token was drawn. `drawn` is a candidate that keep() kept.
  void observe(const Candidates& candidates, const Candidate& drawn) { mu_ = std::fma(-eta_, bits(candidates, drawn) - tau_, mu_); }

 private:
  double bits(const Candidates& candidates, const Candidate& c) const {
    constexpr double log2_e = 0x1.71547652b82fep+0;
    return surprise_of(candidates, c, highest_, log_total_) * log2_e;
  }

  double tau_, eta_;
  double mu_ = 0.0;
  float highest_ = 0.0f;
  double log_total_ = 0.0;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
