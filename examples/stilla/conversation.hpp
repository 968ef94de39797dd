// SPDX-License-Identifier: Apache-2.0
//
// What was said in a chat. Past thoughts are not part of a prompt, as the authors of reasoning models advise. A chat template
// that drops them itself is given the whole answer; for any other an answer is kept from behind its thought on. Either way it is
// kept with the tokens that it was written with.
//
// Each turn renders the whole conversation again, and Generator::run() finds what the ids have in common with those that the
// cache holds, from the beginning on; the cache goes back to there. So a template may change what stands before the last turn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/text/chat_template.hpp>
#include <stilla/text/tokenizer.hpp>

#include "generate.hpp"

namespace program {

class Conversation {
 public:
  explicit Conversation(const stilla::Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  // Begins a new one.
  void reset(const std::optional<std::string>& system);

  void add_user(std::string text) { messages_.push_back({stilla::ChatRole::user, std::move(text)}); }
  // `is_cut`: it ended within a thought, of which nothing is kept.
  void add_answer(const Generation& generation, bool is_cut, const stilla::ChatTemplate& chat_template);
  void remove_last() { messages_.pop_back(); }
  bool ends_with(stilla::ChatRole role) const { return !messages_.empty() && messages_.back().role == role; }

  // Removes the oldest message of the user's and its answer; false if it is the last one's turn.
  bool forget_oldest_turn();

  // An error is the template's, which may not take such a conversation.
  stilla::Result<stilla::ChatPrompt> prompt(const stilla::ChatTemplate& chat_template) const {
    return stilla::encode_chat(*tokenizer_, chat_template, messages_);
  }
  std::size_t size() const { return messages_.size(); }
  std::string_view last_text() const { return messages_.back().text; }  // of a conversation with a message

  // For a saved session: {"messages":[{"ids":[1,2],"role":"user","text":"hi"}, ...]}
  std::string to_json() const;
  // The messages of such a text, which may be anybody's: refused unless it is exactly of this form, with tokens of the vocabulary that
  // are no control tokens.
  stilla::Result<std::vector<stilla::ChatMessage>> from_json(std::string_view text) const;
  void replace(std::vector<stilla::ChatMessage> messages) { messages_ = std::move(messages); }

 private:
  const stilla::Tokenizer* tokenizer_;
  std::vector<stilla::ChatMessage> messages_;
};

}  // namespace program
