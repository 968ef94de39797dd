// SPDX-License-Identifier: Apache-2.0
//
// Detects that a text repeats itself, as reasoning models do when they are stuck. The rule: the text ends with at least four copies of
// one passage in a row. The passage has at most 512 tokens, and its copies have at least 64 tokens in all. Four repetitions of a word,
// or of the dashes below the head of a table, are shorter than this. A list whose items differ in one token is no repetition.
//
//   if (std::optional<TextLoop> loop = detector.push(id)) ...   // reported once, until the repetition ends
//
// For each period p the detector counts how many of the last tokens equal the token p places before them. This is 512 comparisons
// for each token.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct TextLoop {
  std::size_t period = 0;  // number of tokens in the passage
  std::size_t tokens = 0;  // number of tokens in all its repetitions so far
};

class LoopDetector {
 public:
  static constexpr std::size_t longest_period = 512, fewest_times = 4, fewest_tokens = 64;

  void clear() { *this = LoopDetector(); }

  // Adds a token. Returns the loop that is complete with this token, with its shortest period.
  std::optional<TextLoop> push(std::uint32_t token) {
    const std::size_t periods = std::min(size_, longest_period);
    std::optional<TextLoop> loop;
    for (std::size_t p = periods; p > 0; --p) {
      run_[p] = recent_[(size_ - p) % longest_period] == token ? run_[p] + 1 : 0;
      const std::size_t tokens = run_[p] + p;
      if (run_[p] != 0 && tokens >= std::max(fewest_times * p, fewest_tokens)) loop = TextLoop{p, tokens};
    }
    recent_[size_++ % longest_period] = token;
    const bool is_new = loop && !is_told_;
    is_told_ = loop.has_value();
    return is_new ? loop : std::nullopt;
  }

 private:
  std::array<std::uint32_t, longest_period> recent_{};
  std::array<std::size_t, longest_period + 1> run_{};  // run_[p]: how many of the last tokens equal the token p places before
  std::size_t size_ = 0;
  bool is_told_ = false;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
