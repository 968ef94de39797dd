// SPDX-License-Identifier: Apache-2.0
//
// Finds tokens that stand for plain text, such as <|im_end|> and <think>, in a text. The leftmost match is taken, and of several
// that begin at the same place the longest, as in Hugging Face tokenizers.
//
// The texts of the tokens are sorted. Those that begin with the bytes of the input read so far are neighbours in this order, and
// each further byte leaves fewer of them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

class SpecialTokenFinder {
 public:
  struct Entry {
    std::string text;  // not empty
    std::uint32_t id = 0;
    bool is_control = false;
  };
  struct Match {
    std::size_t at = 0;
    std::size_t length = 0;  // 0: nothing was found
    std::uint32_t id = 0;
  };

  SpecialTokenFinder() = default;
  explicit SpecialTokenFinder(std::vector<Entry> entries) : entries_(std::move(entries)) {
    std::sort(entries_.begin(), entries_.end(),
              [](const Entry& a, const Entry& b) { return a.text != b.text ? a.text < b.text : a.id < b.id; });
    for (const Entry& entry : entries_) begins_[static_cast<unsigned char>(entry.text.front())] = true;
  }

  // The tokens that this object finds, sorted by text.
  const std::vector<Entry>& entries() const { return entries_; }

  const Entry* find_exactly(std::string_view text) const {
    const auto found =
        std::lower_bound(entries_.begin(), entries_.end(), text, [](const Entry& entry, std::string_view t) { return entry.text < t; });
    return found != entries_.end() && found->text == text ? &*found : nullptr;
  }

  // The first match that begins in the bytes [from, to) of the text. It may end behind `to`, but a control token must end at or
  // before `control_end`.
  Match find(std::string_view text, std::size_t from, std::size_t to, std::size_t control_end) const {
    for (std::size_t at = from; at < to; ++at) {
      if (!begins_[static_cast<unsigned char>(text[at])]) continue;
      const Match match = match_at(text, at, control_end);
      if (match.length != 0) return match;
    }
    return {};
  }

 private:
  Match match_at(std::string_view text, std::size_t at, std::size_t control_end) const {
    Match best{at, 0, 0};
    auto low = entries_.begin();
    auto high = entries_.end();
    for (std::size_t depth = 0; at + depth < text.size(); ++depth) {
      const auto byte = static_cast<unsigned char>(text[at + depth]);
      const auto byte_of = [depth](const Entry& e) { return static_cast<unsigned char>(e.text[depth]); };
      low = std::lower_bound(low, high, byte, [&](const Entry& e, unsigned char b) { return byte_of(e) < b; });
      high = std::upper_bound(low, high, byte, [&](unsigned char b, const Entry& e) { return b < byte_of(e); });
      if (low == high) break;
      if (low->text.size() == depth + 1) {  // the shortest text of a range comes first
        if (!low->is_control || at + depth + 1 <= control_end) best = {at, depth + 1, low->id};
        if (++low == high) break;
      }
    }
    return best;
  }

  std::vector<Entry> entries_;
  std::array<bool, 256> begins_{};
};

}  // namespace detail
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
