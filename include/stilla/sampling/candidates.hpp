// SPDX-License-Identifier: Apache-2.0
//
// The candidates: the tokens that may come next. Every step of a sampling chain removes some of them or changes their logits.
//
//     probability of c  =  weight(c) / sum of weights,      weight(c) = e^((logit - highest logit) / temperature)
//
// At first the candidates are a row of logits, as a model gives them. A vocabulary has 150 000 tokens, of which a few hundred
// matter. Two passes of vector kernels therefore find the highest logit and the sum of weights of every block of 64 logits
// (contract/elementwise.hpp). Steps that look for single tokens then read only the blocks that can hold these tokens. A step that removes
// candidates turns the row into a list of {logit, id}, ordered by id, or with the best first once a step has ranked it.
//
// The weights of a row are summed block after block, and inside a block in the order of the kernels. The weights of a list are summed
// one candidate after the other. The ranking is a total order: of equal logits the lower id comes first. The results therefore depend
// neither on the target nor on the sorting of a standard library. No candidate has a NaN as its logit. Equal infinities count as equal
// logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include <stilla/base/math.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct Candidate {
  float logit;
  std::uint32_t id;
};

inline bool ranks_before(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }
inline bool ranks_after(const Candidate& a, const Candidate& b) { return ranks_before(b, a); }

// The logits of a row that a sampler needs, if it does not need all of them (Sampler::request, stilla/head.hpp).
struct LogitRequest {
  std::size_t best = 1;               // how many ids are wanted besides those in `also`: the ids with the best logits
  std::vector<std::uint32_t> also{};  // ids that are wanted whatever their logits are; sorted, each once
  std::size_t vocabulary = 0;         // ids from here on are padding; 0: there is no padding
};

// Finds the best of candidates that come one by one, and keeps as many in a heap as there is room for. If n candidates come in random
// order and there is room for k, about k ln(n / k) of them enter the heap.
class BestCandidates {
 public:
  explicit BestCandidates(std::span<Candidate> room = {}) : room_(room) {}

  std::size_t size() const { return count_; }
  // The lowest logit with which a further candidate can be among the best: -infinity while there is room left, and +infinity if
  // there is no room at all.
  float bound() const {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    return count_ < room_.size() ? -infinity : room_.empty() ? infinity : room_[0].logit;
  }

  // Takes the candidate if it is among the best so far. The candidate may itself lie in the memory that was given for the best
  // candidates, behind those that were taken so far.
  void offer(const Candidate& candidate) {
    if (count_ < room_.size()) {
      room_[count_++] = candidate;
      if (count_ == room_.size()) std::make_heap(room_.begin(), room_.end(), ranks_before);  // the worst is on top
    } else if (!room_.empty() && ranks_before(candidate, room_[0])) {
      std::pop_heap(room_.begin(), room_.end(), ranks_before);
      room_.back() = candidate;
      std::push_heap(room_.begin(), room_.end(), ranks_before);
    }
  }

 private:
  std::span<Candidate> room_;
  std::size_t count_ = 0;
};

class Candidates {
 public:
  // Makes ids 0 to logits.size() - 1 the candidates, except those whose logit is NaN. Allocates memory only if the vocabulary is
  // larger than all vocabularies before.
  void assign(std::span<const float> logits) {
    const std::size_t blocks = (logits.size() + logit_block - 1) / logit_block;
    row_.resize(blocks * logit_block);
    highest_.resize(blocks);
    sums_.resize(blocks);
    make_room(row_.size() + 1);  // append() may write one element behind the last
    std::fill(std::copy(logits.begin(), logits.end(), row_.begin()), row_.end(), std::nanf(""));
    find_highest(0, blocks);
    is_row_ = true;
    begin_with(0);
  }
  // Takes over this list of candidates, which must be ordered by id. Earlier candidates are dropped.
  void assign(std::span<const Candidate> candidates) {
    make_room(candidates.size());
    std::copy(candidates.begin(), candidates.end(), items_.begin());
    is_row_ = false;
    begin_with(candidates.size());
  }

  // Returns all candidates as a list. If they are still the row of logits that assign() got, the row is first turned into a list.
  std::span<const Candidate> items() {
    make_list(-infinity);
    return {items_.data(), count_};
  }
  std::size_t size() const {
    if (!is_row_) return count_;
    const auto absent = std::count_if(row_.begin(), row_.end(), [](float logit) { return logit != logit; });
    return row_.size() - static_cast<std::size_t>(absent);
  }
  bool empty() const { return is_row_ ? highest() == -infinity && size() == 0 : count_ == 0; }
  std::size_t most() const { return items_.size(); }  // the largest number of candidates there has been
  bool is_ranked() const { return is_ranked_; }  // whether the best come first; otherwise they are ordered by id

  // The temperature is the divisor of all differences of logits. It is above 0.
  float temperature() const { return temperature_; }
  void set_temperature(float temperature) { temperature_ = temperature; }

  // Returns the best candidate. There must be at least one candidate.
  Candidate best() const {
    const float logit = highest();
    if (!is_row_) return *std::find_if(begin(), end(), [&](const Candidate& c) { return c.logit == logit; });
    const auto block = std::find(highest_.begin(), highest_.end(), logit) - highest_.begin();
    const auto found = std::find(row_.begin() + block * std::ptrdiff_t{logit_block}, row_.end(), logit);
    return {*found, static_cast<std::uint32_t>(found - row_.begin())};
  }
  float highest() const {
    if (is_row_) return highest_.empty() ? -infinity : *std::max_element(highest_.begin(), highest_.end());
    float highest = items_[0].logit;
    if (is_ranked_) return highest;
    for (std::size_t i = 1; i < count_; ++i) highest = items_[i].logit > highest ? items_[i].logit : highest;
    return highest;
  }

  double weight(const Candidate& c, float highest) const { return static_cast<double>(softmax_weight(c.logit, highest, temperature_)); }
  double total_weight(float highest) {
    double total = 0.0;
    if (is_row_) {
      detail::row_kernel<LogitWeights>(active_target())(sums_.data(), row_.data(), row_.size(), highest, temperature_);
      for (const double sum : sums_) total += sum;
    } else {
      for (std::size_t i = 0; i < count_; ++i) total += weight(items_[i], highest);
    }
    return total;
  }

  // Calls change(logit) with a reference to the logit of the candidate `id`. If there is no such candidate nothing happens.
  // settle() must be called after the last change: it removes candidates whose logit became NaN and restores their order.
  template <class Change>
  void change(std::uint32_t id, Change&& change) {
    if (is_row_) {
      if (id >= row_.size() || std::isnan(row_[id])) return;
      change(row_[id]);
      return find_highest(id / logit_block, 1);
    }
    Candidate* found = end();
    if (is_ranked_) {
      found = std::find_if(begin(), end(), [&](const Candidate& c) { return c.id == id; });
    } else {
      found = std::lower_bound(begin(), end(), id, [](const Candidate& c, std::uint32_t value) { return c.id < value; });
      if (found != end() && found->id != id) found = end();
    }
    if (found == end()) return;
    change(found->logit);
    has_changes_ = true;
    has_nan_ = has_nan_ || std::isnan(found->logit);
  }
  void settle() {
    if (std::exchange(has_nan_, false)) remove_if([](const Candidate& c) { return std::isnan(c.logit); });
    if (std::exchange(has_changes_, false) && is_ranked_) std::sort(begin(), end(), ranks_before);
  }

  template <class Predicate>
  void remove_if(Predicate&& predicate) {
    if (is_row_) {
      for (std::size_t i = 0; i < row_.size(); ++i) {
        const Candidate c{row_[i], static_cast<std::uint32_t>(i)};
        if (!std::isnan(c.logit) && predicate(c)) row_[i] = std::nanf("");
      }
      return find_highest(0, highest_.size());
    }
    count_ = static_cast<std::size_t>(std::remove_if(begin(), end(), predicate) - begin());
  }

  // Removes all candidates that are less than e^-16 times as likely as the best one.
  void remove_far() {
    const float bound = below(highest(), 16.0f);
    make_list(bound);
    remove_if([&](const Candidate& c) { return c.logit < bound; });
  }

  // Keeps only the candidates `kept`, and puts the best first. All of them must be candidates already.
  void keep_only(std::span<const Candidate> kept) {
    std::copy(kept.begin(), kept.end(), items_.begin());
    count_ = kept.size();
    std::sort(begin(), end(), ranks_before);
    is_row_ = false;
    is_ranked_ = true;
  }

  // Keeps the k best candidates and puts the best first; k is at least 1.
  void keep_best(std::size_t k) {
    if (is_row_) {  // k blocks hold a logit of at least blocks.bound(), so the k best are not below it
      BestCandidates blocks({begin(), std::min(k, highest_.size())});
      for (std::size_t b = 0; b < highest_.size(); ++b) blocks.offer({highest_[b], static_cast<std::uint32_t>(b)});
      make_list(k < highest_.size() ? blocks.bound() : -infinity);
    }
    k = std::min(k, count_);
    if (!is_ranked_) {
      if (k < count_) select(k);
      std::sort(begin(), begin() + k, ranks_before);
      is_ranked_ = true;
    }
    count_ = k;
  }

  // Keeps the best candidates: as few as are needed for their probabilities to reach `share` together, but at least one. Puts the
  // best first.
  void keep_share(double share) {
    if (empty()) return;
    const float highest = this->highest();
    const double wanted = share * total_weight(highest);
    std::size_t kept = 0;
    double sum = 0.0;
    if (is_ranked_) {
      while (kept < count_ && (kept == 0 || sum < wanted)) sum += weight(items_[kept++], highest);
    } else if (!is_row_) {
      (void)rank_until(wanted, highest, kept, sum);
    } else {  // takes candidates from the best downwards until their weights are enough
      float low = std::nanf("");
      for (const float reach : {4.0f, 8.0f, 16.0f, 32.0f, std::numeric_limits<float>::infinity()}) {
        const float above = std::exchange(low, below(highest, reach));
        append(low, above);
        if (rank_until(wanted, highest, kept, sum)) break;
      }
      is_row_ = false;
    }
    count_ = kept;
    is_ranked_ = true;
  }

  // Draws a candidate by a random number `u` in [0, 1): adds up the candidates' weights (numbers in proportion to their
  // probabilities) and returns the candidate at which the sum passes the fraction `u` of the sum of all weights. A candidate of
  // weight 0 is never drawn. There must be at least one candidate.
  Candidate at(double u) {
    const float highest = this->highest();
    const double place = u * total_weight(highest);
    double before = 0.0;
    std::span<const Candidate> candidates(items_.data(), count_);
    if (is_row_) {
      std::size_t block = 0;
      double sum = 0.0;
      for (std::size_t b = 0; b < sums_.size() && !(place < sum); ++b) {
        if (sums_[b] > 0.0) block = b, before = sum, sum += sums_[b];
      }
      candidates = list_of(block);
    }
    return walk(candidates, before, place, highest);
  }

 private:
  static constexpr float infinity = std::numeric_limits<float>::infinity();

  void make_room(std::size_t count) {
    if (items_.size() < count) items_.resize(count);
  }
  void begin_with(std::size_t count) {
    count_ = count;
    is_ranked_ = false;
    temperature_ = 1.0f;
  }

  Candidate* begin() { return items_.data(); }
  Candidate* end() { return items_.data() + count_; }
  const Candidate* begin() const { return items_.data(); }
  const Candidate* end() const { return items_.data() + count_; }

  // Finds the highest logit of each of `count` blocks of 64 logits of the row, from the block `first` on.
  void find_highest(std::size_t first, std::size_t count) {
    const auto kernel = detail::row_kernel<HighestLogits>(active_target());
    kernel(highest_.data() + first, row_.data() + first * logit_block, count * logit_block);
  }

  // Returns the logit of a candidate that is e^-reach times as likely as one with the logit `highest`. Returns -infinity if the result
  // is not a number.
  float below(float highest, float reach) const {
    const float logit = highest - reach * temperature_;
    return std::isnan(logit) ? -infinity : logit;
  }

  // Appends candidates of the row of logits to the list: those whose logits are at least `low` and, if `above` is a number, below
  // `above`.
  void append(float low, float above) {
    for (std::size_t b = 0; b < highest_.size(); ++b) {
      if (!(highest_[b] >= low)) continue;
      for (std::size_t i = b * logit_block; i < (b + 1) * logit_block; ++i) {  // the body has no branch
        items_[count_] = {row_[i], static_cast<std::uint32_t>(i)};
        count_ += row_[i] >= low && !(row_[i] >= above) ? std::size_t{1} : 0;
      }
    }
  }
  // Turns the row of logits into a list of the candidates whose logits are not below `low`.
  void make_list(float low) {
    if (!std::exchange(is_row_, false)) return;
    append(low, std::nanf(""));
  }
  // Lists the candidates of one block of 64 logits of the row. The row itself stays as it is.
  std::span<const Candidate> list_of(std::size_t block) {
    std::size_t count = 0;
    for (std::size_t i = block * logit_block; i < (block + 1) * logit_block; ++i) {
      if (!std::isnan(row_[i])) items_[count++] = {row_[i], static_cast<std::uint32_t>(i)};
    }
    return {items_.data(), count};
  }

  // Moves the k best candidates to the front of the list, in any order.
  void select(std::size_t k) {
    BestCandidates best({begin(), k});
    for (std::size_t i = 0; i < count_; ++i) best.offer(items_[i]);
  }

  // Orders the list of candidates from place `kept` on, best first, until the weights of all candidates ordered so far (numbers in
  // proportion to their probabilities) reach the sum `wanted`. Adds these weights to `sum`, and moves `kept` behind the ordered
  // candidates. Returns false if `wanted` is not reached. A heap yields the best candidates without sorting the rest.
  bool rank_until(double wanted, float highest, std::size_t& kept, double& sum) {
    Candidate* const first = begin() + kept;
    Candidate* last = end();
    std::make_heap(first, last, ranks_after);
    while (last != first && (kept == 0 || sum < wanted)) {
      sum += weight(*first, highest);
      ++kept;
      std::pop_heap(first, last--, ranks_after);
    }
    std::reverse(first, end());  // the heap put the best at the end
    return kept != 0 && sum >= wanted;
  }

  // Adds up the weights of the candidates (numbers in proportion to their probabilities), beginning with `sum`, and returns the
  // candidate at which the sum passes `place`. If the sum does not pass `place` because of rounding, it returns the last candidate with
  // a weight above 0.
  Candidate walk(std::span<const Candidate> candidates, double sum, double place, float highest) const {
    Candidate found = candidates[0];
    for (const Candidate& c : candidates) {
      const double w = weight(c, highest);
      if (!(w > 0.0)) continue;
      found = c;
      sum += w;
      if (place < sum) break;
    }
    return found;
  }

  std::vector<float> row_;        // the logits by id; NaN for ids that are no candidates
  std::vector<float> highest_;    // the highest logit of each block
  std::vector<double> sums_;      // the sum of weights of each block, after total_weight()
  std::vector<Candidate> items_;  // the list is the first count_ of these; not used while there is a row
  std::size_t count_ = 0;
  float temperature_ = 1.0f;
  bool is_row_ = false;
  bool is_ranked_ = false;
  bool has_changes_ = false;
  bool has_nan_ = false;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
