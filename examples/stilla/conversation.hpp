// SPDX-License-Identifier: Apache-2.0
//
// What was said in a chat. Past thoughts are not part of a prompt, as the authors of reasoning models advise. A chat template
// that drops thoughts itself is given the whole answer. For any other template an answer is kept only from the end of its thought
// on. In both cases the answer is kept with the tokens that it was generated with.
//
// Each turn renders the whole conversation again. Generator::run() finds how many ids at the beginning are the same as those that
// the cache holds, and shortens the cache to these. So a template may change what stands before the last turn.
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

  // Begins a new conversation. It starts with the system prompt, if there is one.
  void reset(const std::optional<std::string>& system);

  void add_user(std::string text) { messages_.push_back({stilla::ChatRole::user, std::move(text)}); }
  // Adds the model's answer. `is_cut` says that the answer ended within a thought; nothing of such an answer is kept.
  void add_answer(const Generation& generation, bool is_cut, const stilla::ChatTemplate& chat_template);
  void remove_last() { messages_.pop_back(); }
  bool ends_with(stilla::ChatRole role) const { return !messages_.empty() && messages_.back().role == role; }

  // Removes the user's oldest message and the answer to it. Returns false, and removes nothing, if the user has no later message.
  bool forget_oldest_turn();

  // Renders the conversation as a prompt. Fails if the template refuses the conversation.
  stilla::Result<stilla::ChatPrompt> prompt(const stilla::ChatTemplate& chat_template) const {
    return stilla::encode_chat(*tokenizer_, chat_template, messages_);
  }
  std::size_t size() const { return messages_.size(); }
  std::string_view last_text() const { return messages_.back().text; }  // the conversation must have a message

  // Returns the conversation as JSON for a saved session: {"messages":[{"ids":[1,2],"role":"user","text":"hi"}, ...]}
  // A text that is not UTF-8, such as an answer that ends within a character, stands under "bytes" in place of "text", each byte as the
  // character with its number.
  std::string to_json() const;
  // Reads the messages from the JSON of a saved session, which may come from anybody. The JSON is refused unless it has exactly the
  // form that to_json() writes, with tokens of the vocabulary that are not control tokens.
  stilla::Result<std::vector<stilla::ChatMessage>> from_json(std::string_view text) const;
  void replace(std::vector<stilla::ChatMessage> messages) { messages_ = std::move(messages); }

 private:
  const stilla::Tokenizer* tokenizer_;
  std::vector<stilla::ChatMessage> messages_;
};

}  // namespace program
