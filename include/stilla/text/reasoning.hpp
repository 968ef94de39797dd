// SPDX-License-Identifier: Apache-2.0
//
// Splits the output of a reasoning model into the thinking between <think> and </think> and the answer after it, while the text
// still arrives in pieces.
//
//   ReasoningSplitter splitter(prompt.opens_thought);
//   splitter.push(text, [](TextKind kind, std::string_view part) { ... });
//   splitter.finish(emit);
//
// The first <think> counts only if nothing but white space comes before it. After </think> there is no second thought, so that a
// model that writes about these tags in its answer does no harm. Every byte is emitted once and in order, the tags as
// TextKind::tag. Text that may be the beginning of a tag is held back until more text decides it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Text that is put into the answer to end a thought that has become too long. Encode it so that its tag becomes a token
// (SpecialTokens::parse).
inline constexpr std::string_view closing_words = "\n\nI have thought long enough, so here is my answer.\n</think>\n\n";

enum class TextKind : std::uint8_t { reasoning, answer, tag };

class ReasoningSplitter {
 public:
  static constexpr std::string_view open_tag = "<think>";
  static constexpr std::string_view close_tag = "</think>";

  // `is_open`: the prompt already ended with <think>, so that the text begins inside a thought.
  explicit ReasoningSplitter(bool is_open = false) : state_(is_open ? State::reasoning : State::start) {}

  // Adds a piece of text. Calls emit(kind, text) for all text whose kind is now decided. `text` is never empty, and is valid until
  // emit returns.
  template <class Emit>
  void push(std::string_view piece, Emit&& emit) {
    held_.append(piece);
    std::string_view rest = held_;
    while (advance(rest, emit)) {
    }
    held_.erase(0, held_.size() - rest.size());
  }

  // Must be called when no more text will come. Text that was held back is then no tag, and is emitted.
  template <class Emit>
  void finish(Emit&& emit) {
    if (!held_.empty()) emit(state_ == State::reasoning ? TextKind::reasoning : TextKind::answer, std::string_view(held_));
    held_.clear();
  }

  bool is_reasoning() const { return state_ == State::reasoning; }

 private:
  enum class State : std::uint8_t { start, reasoning, answer };

  // Emits the part of `rest` whose kind is decided, and removes it from `rest`. Returns true if this call found out whether the
  // text begins with a thought, or found the end of the thought; another call may then decide what is left in `rest`.
  template <class Emit>
  bool advance(std::string_view& rest, Emit&& emit) {
    const auto take = [&](TextKind kind, std::size_t bytes) {
      if (bytes > 0) emit(kind, rest.substr(0, bytes));
      rest.remove_prefix(bytes);
    };
    if (state_ == State::answer) {
      take(TextKind::answer, rest.size());
      return false;
    }
    if (state_ == State::start) {
      const std::size_t space = rest.find_first_not_of(" \t\r\n");
      take(TextKind::answer, space == std::string_view::npos ? rest.size() : space);
      const std::string_view tag = rest.substr(0, open_tag.size());
      if (tag != open_tag && open_tag.starts_with(tag)) return false;  // there is nothing yet, or it may become a tag
      if (tag == open_tag) take(TextKind::tag, tag.size());
      state_ = tag == open_tag ? State::reasoning : State::answer;
      return true;
    }
    const std::size_t tag = rest.find(close_tag);
    if (tag == std::string_view::npos) {
      take(TextKind::reasoning, rest.size() - partial_tag(rest));
      return false;
    }
    take(TextKind::reasoning, tag);
    take(TextKind::tag, close_tag.size());
    state_ = State::answer;
    return true;
  }

  // The number of bytes at the end of `text` that may be the beginning of a closing tag.
  static std::size_t partial_tag(std::string_view text) {
    std::size_t bytes = text.size() < close_tag.size() ? text.size() : close_tag.size() - 1;
    while (bytes > 0 && !text.ends_with(close_tag.substr(0, bytes))) --bytes;
    return bytes;
  }

  std::string held_;
  State state_;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
