// SPDX-License-Identifier: Apache-2.0
//
// The tokens that may come next: one buffer of {logit, id} that every step of a sampling chain narrows or changes.
//
//     probability of c  =  weight(c) / sum of weights,      weight(c) = e^((logit - highest logit) / temperature)
//
// No candidate's logit is a NaN. Candidates stand by id, or best first once a filter has ranked them; that order is the
// order of every sum, and ranks are a total order (ties go to the lower id), so results do not depend on a standard
// library's sorting. Equal infinities count as equal logits.
//
// A vocabulary has 150 000 tokens of which some hundred matter, and exponentials cost more than all the rest. So sums over
// all of them are bounded first: the weight of the far tokens, those below e^-16 each, is known within 6.2 % without an
// exponential. What both bounds decide alike is decided; otherwise the sum is worked out. Results are the same either way.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include <stilla/math.hpp>

namespace stilla::inline STILLA_ABI {

struct Candidate {
  float logit;
  std::uint32_t id;
};

inline bool ranks_before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}
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
  // Ids 0 to logits.size() - 1, but for those whose logit is a NaN. Allocates only for a larger vocabulary than ever before.
  void assign(std::span<const float> logits) {
    make_room(logits.size());
    std::size_t count = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {  // without a branch
      items_[count] = {logits[i], static_cast<std::uint32_t>(i)};
      count += logits[i] == logits[i] ? std::size_t{1} : 0;
    }
    begin_with(count);
  }
  // These, which stand by id.
  void assign(std::span<const Candidate> candidates) {
    make_room(candidates.size());
    std::copy(candidates.begin(), candidates.end(), items_.begin());
    begin_with(candidates.size());
  }

  std::span<const Candidate> items() const { return {items_.data(), count_}; }
  std::size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  std::size_t most() const { return items_.size(); }  // that there have ever been
  bool is_ranked() const { return is_ranked_; }  // best first; else by id

  // What all differences of logits are divided by; above 0.
  float temperature() const { return temperature_; }
  void set_temperature(float temperature) { temperature_ = temperature; }

  // There must be one.
  Candidate best() const {
    const float logit = highest();
    return *std::find_if(begin(), end(), [&](const Candidate& c) { return c.logit == logit; });
  }
  float highest() const {
    float highest = items_[0].logit;
    if (is_ranked_) return highest;
    for (const Candidate& c : items()) highest = c.logit > highest ? c.logit : highest;
    return highest;
  }

  double weight(const Candidate& c, float highest) const {
    if (c.logit == highest) return 1.0;
    return static_cast<double>(exp_approximate((c.logit - highest) / temperature_));
  }
  double total_weight(float highest) const {
    double total = 0.0;
    for (const Candidate& c : items()) total += weight(c, highest);
    return total;
  }

  // Calls change(logit) with a reference to the candidate's logit; nothing happens if it is none. Call settle() after the
  // last change.
  template <class Change>
  void change(std::uint32_t id, Change&& change) {
    Candidate* found = end();
    if (is_ranked_) {
      found = std::find_if(begin(), end(), [&](const Candidate& c) { return c.id == id; });
    } else {
      found = std::lower_bound(begin(), end(), id, [](const Candidate& c, std::uint32_t wanted) { return c.id < wanted; });
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
    count_ = static_cast<std::size_t>(std::remove_if(begin(), end(), predicate) - begin());
  }

  // Removes the far ones, whose weight is below e^-16.
  void remove_far() {
    const float highest = this->highest();
    std::size_t count = 0;
    for (std::size_t i = 0; i < count_; ++i) {  // without a branch
      items_[count] = items_[i];
      count += is_far(items_[i], highest) ? std::size_t{0} : 1;
    }
    count_ = count;
  }

  // Keeps these, all of which are candidates; best first.
  void keep_only(std::span<const Candidate> kept) {
    std::copy(kept.begin(), kept.end(), items_.begin());
    count_ = kept.size();
    std::sort(begin(), end(), ranks_before);
    is_ranked_ = true;
  }

  // Keeps the k best, at least 1, best first.
  void keep_best(std::size_t k) {
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
    if (is_ranked_) {
      const double wanted = share * total_weight(highest);
      double sum = 0.0;
      std::size_t kept = 0;
      while (kept < count_ && (kept == 0 || sum < wanted)) sum += weight(items_[kept++], highest);
      count_ = kept;
      return;
    }
    const Split all = split(highest);
    if (!keep_share_of(all.nearby, share * (all.weight + all.least), share * (all.weight + all.most), highest)) {
      const double wanted = share * (all.weight + far_weight(highest));
      if (!keep_share_of(all.nearby, wanted, wanted, highest)) (void)keep_share_of(items(), wanted, wanted, highest);
    }
    items_.swap(other_);
    count_ = kept_;
    is_ranked_ = true;
  }

  // The candidate at `u` in [0, 1) of the sum of weights, never one of weight 0. There must be a candidate.
  Candidate at(double u) {
    const float highest = this->highest();
    if (is_ranked_) return walk(u * total_weight(highest), highest, items(), {}).first;
    const Split all = split(highest);
    const auto [found, end] = walk(u * (all.weight + all.least), highest, all.nearby, {});
    if (u * (all.weight + all.most) < end) return found;
    return walk(u * (all.weight + far_weight(highest)), highest, all.nearby, items()).first;
  }

 private:
  struct Split {
    std::span<const Candidate> nearby;  // by id
    double weight;                      // of them
    double least, most;                 // that all others weigh
  };
  static constexpr float far_logits = 16.0f;

  void make_room(std::size_t count) {
    if (items_.size() >= count) return;
    for (std::vector<Candidate>* buffer : {&items_, &near_, &other_}) buffer->resize(count);
    heap_.reserve(count);
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

  // Moves the k best to the front, in any order.
  void select(std::size_t k) {
    BestCandidates best({begin(), k});
    for (const Candidate& c : items()) best.offer(c);
  }

  bool is_far(const Candidate& c, float highest) const {
    return c.logit < highest - far_logits * temperature_;  // never if the highest is -infinity
  }

  Split split(float highest) {
    std::size_t count = 0;
    // A float's bits, read as an integer, are 2^23 (127 + log2) of it but that between powers of two they follow a line,
    // which lies above by at most 6.15 %: so they bound the weight when made from its logarithm.
    const float scale = 12102203.16f / temperature_;  // 2^23 log2(e)
    double bound = 0.0;
    for (const Candidate& c : items()) {  // without a branch
      const bool left_out = is_far(c, highest);
      near_[count] = c;
      count += left_out ? std::size_t{0} : 1;
      const float place = std::max((c.logit - highest) * scale, -1065353216.0f);
      const std::int32_t bits = left_out ? 0x3f800000 + static_cast<std::int32_t>(place) : 0;
      bound += static_cast<double>(std::bit_cast<float>(bits));
    }
    const std::span<const Candidate> nearby(near_.data(), count);
    double sum = 0.0;
    for (const Candidate& c : nearby) sum += weight(c, highest);
    return {nearby, sum, bound * (1.0 / 1.0616), bound * 1.00001 + 1e-30};
  }

  double far_weight(float highest) const {
    double sum = 0.0;
    for (const Candidate& c : items()) {
      if (is_far(c, highest)) sum += weight(c, highest);
    }
    return sum;
  }

  // Copies the best of `pool` to other_, best first, until they weigh `high`. False if they are not
  // enough or `low` would have taken fewer. A heap yields them without sorting the rest.
  bool keep_share_of(std::span<const Candidate> pool, double low, double high, float highest) {
    heap_.assign(pool.begin(), pool.end());
    std::make_heap(heap_.begin(), heap_.end(), ranks_after);
    auto heap_end = heap_.end();
    double sum = 0.0;
    std::size_t for_low = 0;
    kept_ = 0;
    while (heap_end != heap_.begin() && (kept_ == 0 || sum < high)) {
      const Candidate best = heap_.front();
      other_[kept_++] = best;
      sum += weight(best, highest);
      if (for_low == 0 && sum >= low) for_low = kept_;
      std::pop_heap(heap_.begin(), heap_end, ranks_after);
      --heap_end;
    }
    return for_low == kept_ && sum >= high;
  }

  // The candidate where the sum of weights passes `place`, first over `candidates`, then over the far ones of `others`, and
  // the sum behind it. Rounding may leave `place` at the very end: then the last candidate of any weight.
  std::pair<Candidate, double> walk(double place, float highest, std::span<const Candidate> candidates,
                                    std::span<const Candidate> others) const {
    Candidate found = candidates[0];
    double sum = 0.0;
    const auto passes = [&](const Candidate& c) {
      const double w = weight(c, highest);
      if (w > 0.0) found = c;
      sum += w;
      return w > 0.0 && place < sum;
    };
    if (std::any_of(candidates.begin(), candidates.end(), passes)) return {found, sum};
    (void)std::any_of(others.begin(), others.end(), [&](const Candidate& c) { return is_far(c, highest) && passes(c); });
    return {found, sum};
  }

  std::vector<Candidate> items_;  // the first count_ count
  std::vector<Candidate> other_, near_, heap_;
  std::size_t count_ = 0;
  std::size_t kept_ = 0;  // in other_
  float temperature_ = 1.0f;
  bool is_ranked_ = false;
  bool has_changes_ = false;
  bool has_nan_ = false;
};

}  // namespace stilla::STILLA_ABI
