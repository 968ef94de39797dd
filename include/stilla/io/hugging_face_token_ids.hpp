// SPDX-License-Identifier: Apache-2.0
//
// The texts of the tokens of a tokenizer.json with their ids, for looking up an id by its text.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

// The texts are sorted and not hashed, because a file could be made of texts that have the same hash.
class HuggingFaceTokenIds {
 public:
  void reserve(std::size_t tokens) { entries_.reserve(tokens); }
  // Adds a token of model.vocab or, with `is_added`, of added_tokens. The text must outlive this object.
  void add(std::string_view text, std::uint32_t id, bool is_added) { entries_.push_back({text, id, is_added}); }

  // Two entries that have the same text and contradict each other: model.vocab has the text twice, or added_tokens gives it another id
  // than the entry before it did. It is no contradiction if an added token has the text and the id of a token of model.vocab.
  struct Contradiction {
    std::string_view text;
    std::uint32_t first, second;  // the ids
    bool is_added;  // whether added_tokens has the second entry
  };
  // Ends the adding. Returns the first contradiction in the order of the texts, if there is one.
  std::optional<Contradiction> sort() {
    std::sort(entries_.begin(), entries_.end(),
              [](const Entry& a, const Entry& b) { return std::tie(a.text, a.is_added, a.id) < std::tie(b.text, b.is_added, b.id); });
    for (std::size_t i = 1; i < entries_.size(); ++i) {
      const Entry &first = entries_[i - 1], &second = entries_[i];
      if (first.text == second.text && (!second.is_added || first.id != second.id)) {
        return Contradiction{first.text, first.id, second.id, second.is_added};
      }
    }
    return std::nullopt;
  }

  // Returns the id of a text; nothing if no token has it. Call sort() before.
  std::optional<std::uint32_t> find(std::string_view text) const {
    const auto found =
        std::lower_bound(entries_.begin(), entries_.end(), text, [](const Entry& a, std::string_view b) { return a.text < b; });
    return found != entries_.end() && found->text == text ? std::optional(found->id) : std::nullopt;
  }

 private:
  struct Entry {
    std::string_view text;
    std::uint32_t id;
    bool is_added;
  };
  std::vector<Entry> entries_;
};

// The ids that the library tokenizers gives to the tokens of added_tokens. It does not take the ids of the file: a token of model.vocab
// keeps its id, and another one gets the next number behind the vocabulary and behind the added tokens before it.
class LibraryTokenIds {
 public:
  // `tokens` is the number of tokens of model.vocab.
  explicit LibraryTokenIds(std::uint64_t tokens) : next_(tokens) {}

  // Takes the next added token. Returns a note if this is the first one to which the library gives another id than the file's.
  std::optional<std::string> add(std::string_view text, std::uint64_t id, bool is_in_vocabulary) {
    const std::uint64_t given = is_in_vocabulary ? id : next_;
    next_ = std::max(next_, given + 1);
    if (given == id || std::exchange(has_noted_, true)) return std::nullopt;
    return concat("key 'added_tokens' of tokenizer.json: token '", printable(text), "' has the id ", id,
                  ", which is used; the library tokenizers would give it ", given);
  }

 private:
  std::uint64_t next_;
  bool has_noted_ = false;
};

}}}  // namespace stilla::detail

#include <stilla/base/pop_macros-inl.hpp>
