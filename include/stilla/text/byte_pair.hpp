// SPDX-License-Identifier: Apache-2.0
//
// Byte pair encoding of one word. The word is a row of symbols (tokens), at first one for each byte or character. A merge rule makes
// one symbol of two neighbours, and has a rank. While any rule applies, the one with the lowest rank is applied, at its leftmost
// place first.
//
// There are three ways to the same result. The length of the word, and how often its parts repeat, decide which one is used:
//   up to 32 symbols    the rules of all neighbours are in an array, which is searched for the lowest rank each time
//   longer, repetitive  passes over the word; each pass applies the lowest rule everywhere at once. A run of one letter becomes half
//                       as long with every pass, so all passes together take linear time. They need 4 bytes of memory for a symbol
//   longer, varied      when a pass makes the word less than 1/8 shorter, a heap of (rank, place) over a linked list is used. It
//                       takes n log n time, and at most about 28 bytes of memory for each symbol that is left
// If several rules may have the same rank (sentencepiece.hpp) there are no passes, because a pass applies one rule only, and
// another rule of the same rank may apply further left. A pass stops early when it creates a pair with a lower rank than its own, so
// that the order of merges is kept exactly.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

// How far an entry of a hash table may be from the place that its hash gives. A table that is at most half full stays far below
// this limit (the largest distance seen with Qwen2.5 and SmolLM2 is 18). A file whose tokens or merges were chosen to have equal
// hashes would make every search long. Because of the limit it is refused.
inline constexpr std::size_t longest_search = 4096;

struct MergeRule {
  std::uint32_t left = 0;
  std::uint32_t right = 0;
  std::uint32_t rank = UINT32_MAX;  // UINT32_MAX: an empty place of the table
  std::uint32_t merged = 0;
};

// Finds the merge rule for a pair of tokens (left, right). It is a hash table with open addressing that is at most half full.
class MergeTable {
 public:
  explicit MergeTable(std::size_t rules = 0) : rules_(std::bit_ceil(2 * rules + 2)) { shift_ = 64 - std::countr_zero(rules_.size()); }

  enum class Added : std::uint8_t { yes, repeats, crowded };

  // Adds a rule. The caller must not add more rules than it passed to the constructor.
  Added add(const MergeRule& rule) {
    const std::size_t home = home_of(rule.left, rule.right);
    const std::size_t place = place_of(rule.left, rule.right);
    if (rules_[place].rank != UINT32_MAX) return Added::repeats;
    if (((place - home) & (rules_.size() - 1)) > longest_search) return Added::crowded;
    rules_[place] = rule;
    return Added::yes;
  }

  // Allows rules of different tokens to have the same rank. Of all places where rules of the lowest rank apply, the leftmost is merged
  // first.
  void allow_equal_ranks() { has_equal_ranks_ = true; }
  bool has_equal_ranks() const { return has_equal_ranks_; }

  const MergeRule* find(std::uint32_t left, std::uint32_t right) const {
    const MergeRule& place = rules_[place_of(left, right)];
    return place.rank == UINT32_MAX ? nullptr : &place;
  }

 private:
  std::size_t home_of(std::uint32_t left, std::uint32_t right) const {
    const std::uint64_t key = std::uint64_t{left} << 32 | right;
    return static_cast<std::size_t>((key ^ key >> 29) * 0x9e3779b97f4a7c15u >> shift_);
  }

  std::size_t place_of(std::uint32_t left, std::uint32_t right) const {
    std::size_t place = home_of(left, right);
    while (rules_[place].rank != UINT32_MAX && (rules_[place].left != left || rules_[place].right != right)) {
      place = (place + 1) & (rules_.size() - 1);
    }
    return place;
  }

  std::vector<MergeRule> rules_;
  int shift_;
  bool has_equal_ranks_ = false;
};

// Merges the symbols of words by the rules of a MergeTable. Keeps its memory from one word to the next.
class WordMerger {
 public:
  explicit WordMerger(const MergeTable& table) : table_(table) {}

  // Merges `symbols`, at most 2^32 - 1 of them, in place.
  void merge(std::vector<std::uint32_t>& symbols) {
    std::size_t before = symbols.size() * 2;
    while (!table_.has_equal_ranks() && symbols.size() > few && symbols.size() <= before - before / 8) {
      before = symbols.size();
      if (!merge_lowest_everywhere(symbols)) return;
    }
    if (symbols.size() <= few) {
      merge_few(symbols);
    } else {
      merge_with_heap(symbols);
    }
  }

 private:
  static constexpr std::size_t few = 32;
  static constexpr std::uint32_t none = UINT32_MAX;

  void merge_few(std::vector<std::uint32_t>& symbols) const {
    const MergeRule* rules[few];  // rules[i] joins symbols i and i + 1
    std::size_t n = symbols.size();
    for (std::size_t i = 0; i + 1 < n; ++i) rules[i] = table_.find(symbols[i], symbols[i + 1]);
    while (n > 1) {
      const MergeRule* lowest = nullptr;
      std::size_t at = 0;
      for (std::size_t i = 0; i + 1 < n; ++i) {
        if (rules[i] != nullptr && (lowest == nullptr || rules[i]->rank < lowest->rank)) {
          lowest = rules[i];
          at = i;
        }
      }
      if (lowest == nullptr) break;
      symbols[at] = lowest->merged;
      --n;
      for (std::size_t i = at + 1; i < n; ++i) symbols[i] = symbols[i + 1];
      for (std::size_t i = at + 1; i + 1 < n; ++i) rules[i] = rules[i + 1];
      if (at > 0) rules[at - 1] = table_.find(symbols[at - 1], symbols[at]);
      if (at + 1 < n) rules[at] = table_.find(symbols[at], symbols[at + 1]);
    }
    symbols.resize(n);
  }

  // Makes one pass over the word: merges every pair to which the rule with the lowest rank applies. Returns false if no rule
  // applies.
  bool merge_lowest_everywhere(std::vector<std::uint32_t>& symbols) const {
    const MergeRule* lowest = nullptr;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      if (i > 0 && symbols[i] == symbols[i - 1] && symbols[i] == symbols[i + 1]) continue;  // a pair that was just looked up
      const MergeRule* rule = table_.find(symbols[i], symbols[i + 1]);
      if (rule != nullptr && (lowest == nullptr || rule->rank < lowest->rank)) lowest = rule;
    }
    if (lowest == nullptr) return false;
    const auto is_more_urgent = [&](std::uint32_t left, std::uint32_t right) {
      const MergeRule* rule = table_.find(left, right);
      return rule != nullptr && rule->rank < lowest->rank;
    };
    std::size_t in = 0;
    std::size_t out = 0;
    bool stop = false;
    while (in + 1 < symbols.size() && !stop) {
      if (symbols[in] != lowest->left || symbols[in + 1] != lowest->right) {
        symbols[out++] = symbols[in++];
        continue;
      }
      in += 2;
      stop = (out > 0 && is_more_urgent(symbols[out - 1], lowest->merged)) ||
             (in < symbols.size() && is_more_urgent(lowest->merged, symbols[in]));
      symbols[out++] = lowest->merged;
    }
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(out), symbols.begin() + static_cast<std::ptrdiff_t>(in));
    return true;
  }

  void merge_with_heap(std::vector<std::uint32_t>& symbols) {
    const auto n = static_cast<std::uint32_t>(symbols.size());
    previous_.resize(n);
    next_.resize(n);
    heap_.clear();
    for (std::uint32_t i = 0; i < n; ++i) {
      previous_[i] = i > 0 ? i - 1 : none;
      next_[i] = i + 1 < n ? i + 1 : none;
      if (i + 1 == n) break;
      if (const MergeRule* rule = table_.find(symbols[i], symbols[i + 1])) heap_.push_back(entry(rule->rank, i));
    }
    std::make_heap(heap_.begin(), heap_.end(), std::greater<>{});
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<>{});
      const auto rank = static_cast<std::uint32_t>(heap_.back() >> 32);
      const auto at = static_cast<std::uint32_t>(heap_.back());
      heap_.pop_back();
      const std::uint32_t right = next_[at];
      if (right == none) continue;
      // An entry of the heap is out of date if one of the two symbols of its pair has been merged with a neighbour. The pair at
      // this place then has no rule, or a rule of another rank.
      const MergeRule* rule = table_.find(symbols[at], symbols[right]);
      if (rule == nullptr || rule->rank != rank) continue;
      symbols[at] = rule->merged;
      const std::uint32_t after = next_[right];
      next_[right] = none;
      next_[at] = after;
      if (after != none) previous_[after] = at;
      push_pair(symbols, previous_[at], at);
      push_pair(symbols, at, after);
    }
    std::size_t out = 0;
    for (std::uint32_t i = 0; i != none; i = next_[i]) symbols[out++] = symbols[i];
    symbols.resize(out);
  }

  static std::uint64_t entry(std::uint32_t rank, std::uint32_t at) { return std::uint64_t{rank} << 32 | at; }

  void push_pair(const std::vector<std::uint32_t>& symbols, std::uint32_t left, std::uint32_t right) {
    if (left == none || right == none) return;
    if (const MergeRule* rule = table_.find(symbols[left], symbols[right])) {
      heap_.push_back(entry(rule->rank, left));
      std::push_heap(heap_.begin(), heap_.end(), std::greater<>{});
    }
  }

  const MergeTable& table_;
  std::vector<std::uint32_t> previous_;
  std::vector<std::uint32_t> next_;
  std::vector<std::uint64_t> heap_;  // rank << 32 | place of the left symbol
};

}  // namespace detail
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
