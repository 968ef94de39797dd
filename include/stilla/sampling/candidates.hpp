// SPDX-License-Identifier: Apache-2.0
//
// The tokens that may come next, which every step of a sampling chain narrows or changes.
//
//     probability of c  =  weight(c) / sum of weights,      weight(c) = e^((logit - highest logit) / temperature)
//
// First they are a row of logits, as a model gives them. A vocabulary has 150 000 tokens of which some hundred matter: so
// two passes of vector kernels find the highest logit and the sum of weights of every block of 64
// (contract/elementwise.hpp), and whatever looks for single tokens then reads only the blocks that can hold them. A step
// that narrows the row leaves a list of {logit, id}, by id, or best first once something has ranked it.
//
// Sums go block by block over a row, in the kernels' order inside a block, and one after another over a list. Ranks are a
// total order (ties go to the lower id). So results depend neither on the target nor on a standard library's sorting. No
// candidate's logit is a NaN; equal infinities count as equal logits.
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

// What a sampler needs of a row of logits when it can do without the rest (Sampler::request, stilla/head.hpp).
struct LogitRequest {
  std::size_t best = 1;               // so many of the best that are not in `also`
  std::vector<std::uint32_t> also{};  // and these ids, sorted, each once, whatever their logits
  std::size_t vocabulary = 0;         // ids from here on are padding; 0: none is
};

// The best of candidates that come one by one, as many as there is room for. Of candidates in random order k ln(n / k) enter
// the heap.
class BestCandidates {
 public:
  explicit BestCandidates(std::span<Candidate> room = {}) : room_(room) {}

  std::size_t size() const { return count_; }
  // No candidate below this logit can be among the best.
  float bound() const {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    return count_ < room_.size() ? -infinity : room_.empty() ? infinity : room_[0].logit;
  }

  // The candidate may lie in the room, behind those taken so far.
  void offer(const Candidate& candidate) {
    if (count_ < room_.size()) {
      room_[count_++] = candidate;
      if (count_ == room_.size()) std::make_heap(room_.begin(), room_.end(), ranks_before);  // the worst on top
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
  // Ids 0 to logits.size() - 1, but for those whose logit is a NaN. Allocates only for a larger vocabulary than ever.
  void assign(std::span<const float> logits) {
    const std::size_t blocks = (logits.size() + logit_block - 1) / logit_block;
    row_.resize(blocks * logit_block);
    highest_.resize(blocks);
    sums_.resize(blocks);
    make_room(row_.size() + 1);  // append() writes one behind
    std::fill(std::copy(logits.begin(), logits.end(), row_.begin()), row_.end(), std::nanf(""));
    find_highest(0, blocks);
    is_row_ = true;
    begin_with(0);
  }
  // These, which stand by id.
  void assign(std::span<const Candidate> candidates) {
    make_room(candidates.size());
    std::copy(candidates.begin(), candidates.end(), items_.begin());
    is_row_ = false;
    begin_with(candidates.size());
  }

  // All of them; a row becomes a list.
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
  std::size_t most() const { return items_.size(); }  // that there have ever been
  bool is_ranked() const { return is_ranked_; }  // best first; else by id

  // What all differences of logits are divided by; above 0.
  float temperature() const { return temperature_; }
  void set_temperature(float temperature) { temperature_ = temperature; }

  // There must be one.
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

  // Calls change(logit) with a reference to the candidate's logit; nothing happens if it is none. Call settle() after
  // the last change.
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

  // Removes the far ones, whose weight is below e^-16.
  void remove_far() {
    const float bound = below(highest(), 16.0f);
    make_list(bound);
    remove_if([&](const Candidate& c) { return c.logit < bound; });
  }

  // Keeps these, all of which are candidates; best first.
  void keep_only(std::span<const Candidate> kept) {
    std::copy(kept.begin(), kept.end(), items_.begin());
    count_ = kept.size();
    std::sort(begin(), end(), ranks_before);
    is_row_ = false;
    is_ranked_ = true;
  }

  // Keeps the k best, at least 1, best first.
  void keep_best(std::size_t k) {
    if (is_row_) {  // the k best are no lower than the k-th highest block's best
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

  // Keeps the fewest of the best whose probabilities together reach `share`, at least one; best first.
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
    } else {  // from the best downwards, until it is enough
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

  // The candidate at `u` in [0, 1) of the sum of weights, never one of weight 0. There must be a candidate.
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

  // Of `count` blocks of the row from the first on.
  void find_highest(std::size_t first, std::size_t count) {
    const auto kernel = detail::row_kernel<HighestLogits>(active_target());
    kernel(highest_.data() + first, row_.data() + first * logit_block, count * logit_block);
  }

  // The logit whose weight is e^-reach; -infinity where there is none.
  float below(float highest, float reach) const {
    const float logit = highest - reach * temperature_;
    return std::isnan(logit) ? -infinity : logit;
  }

  // Appends to the list what the row has from `low` on, but not from `above` on if that is a number.
  void append(float low, float above) {
    for (std::size_t b = 0; b < highest_.size(); ++b) {
      if (!(highest_[b] >= low)) continue;
      for (std::size_t i = b * logit_block; i < (b + 1) * logit_block; ++i) {  // without a branch
        items_[count_] = {row_[i], static_cast<std::uint32_t>(i)};
        count_ += row_[i] >= low && !(row_[i] >= above) ? std::size_t{1} : 0;
      }
    }
  }
  // Makes a list of the row, of what is not below `low`.
  void make_list(float low) {
    if (!std::exchange(is_row_, false)) return;
    append(low, std::nanf(""));
  }
  // One block of the row, which stays one.
  std::span<const Candidate> list_of(std::size_t block) {
    std::size_t count = 0;
    for (std::size_t i = block * logit_block; i < (block + 1) * logit_block; ++i) {
      if (!std::isnan(row_[i])) items_[count++] = {row_[i], static_cast<std::uint32_t>(i)};
    }
    return {items_.data(), count};
  }

  // Moves the k best to the front, in any order.
  void select(std::size_t k) {
    BestCandidates best({begin(), k});
    for (std::size_t i = 0; i < count_; ++i) best.offer(items_[i]);
  }

  // Ranks the list from `kept` on, which it moves on, until `sum`, the weights of all before, is `wanted`. False if that
  // is not reached. A heap yields the best without sorting the rest.
  bool rank_until(double wanted, float highest, std::size_t& kept, double& sum) {
    Candidate* const first = begin() + kept;
    Candidate* last = end();
    std::make_heap(first, last, ranks_after);
    while (last != first && (kept == 0 || sum < wanted)) {
      sum += weight(*first, highest);
      ++kept;
      std::pop_heap(first, last--, ranks_after);
    }
    std::reverse(first, end());  // the heap puts the best behind
    return kept != 0 && sum >= wanted;
  }

  // The candidate where the sum of weights, `sum` before the first, passes `place`. Rounding may leave `place` at the very
  // end: then the last candidate of any weight.
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

  std::vector<float> row_;        // by id, NaN where there is no candidate
  std::vector<float> highest_;    // of its blocks
  std::vector<double> sums_;      // of the blocks' weights, after total_weight()
  std::vector<Candidate> items_;  // the first count_ count, unless there is a row
  std::size_t count_ = 0;
  float temperature_ = 1.0f;
  bool is_row_ = false;
  bool is_ranked_ = false;
  bool has_changes_ = false;
  bool has_nan_ = false;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
