// SPDX-License-Identifier: Apache-2.0
#include "conversation.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

#include <stilla/text/reasoning.hpp>

namespace program {
namespace {

constexpr std::array<std::string_view, 3> role_names{"system", "user", "assistant"};

std::optional<stilla::ChatMessage> message_of(const nlohmann::json& value) {
  if (!value.is_object() || !value.contains("role") || !value.contains("text") || !value.contains("ids")) return {};
  const nlohmann::json &role = value["role"], &text = value["text"], &ids = value["ids"];
  if (!role.is_string() || !text.is_string() || !ids.is_array()) return {};
  const auto found = std::find(role_names.begin(), role_names.end(), role.get<std::string>());
  if (found == role_names.end()) return {};
  stilla::ChatMessage out{static_cast<stilla::ChatRole>(found - role_names.begin()), text.get<std::string>()};
  for (const nlohmann::json& id : ids) {
    if (!id.is_number_unsigned()) return {};
    out.ids.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(id.get<std::uint64_t>(), 0xffffffff)));
  }
  return out;
}

}  // namespace

void Conversation::reset(const std::optional<std::string>& system) {
  messages_.clear();
  if (system) messages_.push_back({stilla::ChatRole::system, *system});
}

void Conversation::add_answer(const Generation& generation, bool is_cut, const stilla::ChatTemplate& chat_template) {
  stilla::ChatMessage message{stilla::ChatRole::assistant, {}};
  if (!is_cut) {
    message.ids = generation.ids;
    message.text = tokenizer_->decode(message.ids);
    const bool shows_thought = message.text.find(stilla::ReasoningSplitter::close_tag) != std::string::npos;
    if (generation.answer_begin > 0 && !(chat_template.drops_thoughts && shows_thought)) {
      message.ids.erase(message.ids.begin(), message.ids.begin() + static_cast<std::ptrdiff_t>(generation.answer_begin));
      message.text = tokenizer_->decode(message.ids);
      message.text.erase(0, message.text.find_first_not_of('\n'));
    }
    // Tokens behind the text's end do no harm: a text is encoded anew where its tokens have no border.
    message.text.resize(message.text.size() - std::min(message.text.size(), generation.bytes_not_shown));
  }
  messages_.push_back(std::move(message));
}

bool Conversation::forget_oldest_turn() {
  const auto is_user = [](const stilla::ChatMessage& m) { return m.role == stilla::ChatRole::user; };
  const auto first = std::find_if(messages_.begin(), messages_.end(), is_user);
  if (first == messages_.end()) return false;
  const auto next = std::find_if(first + 1, messages_.end(), is_user);
  if (next == messages_.end()) return false;
  messages_.erase(first, next);
  return true;
}

std::string Conversation::to_json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const stilla::ChatMessage& message : messages_) {
    list.push_back(
        {{"role", role_names[static_cast<std::size_t>(message.role)]}, {"text", message.text}, {"ids", message.ids}});
  }
  return nlohmann::json{{"messages", list}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

stilla::Status Conversation::from_json(std::string_view text) {
  const nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  std::vector<stilla::ChatMessage> messages;
  bool is_fine = value.is_object() && value.contains("messages") && value["messages"].is_array();
  for (std::size_t i = 0; is_fine && i < value["messages"].size(); ++i) {
    std::optional<stilla::ChatMessage> message = message_of(value["messages"][i]);
    is_fine = message.has_value();
    if (is_fine) messages.push_back(std::move(*message));
  }
  if (!is_fine) return stilla::Error{stilla::ErrorKind::refused_file, "the saved session holds no conversation"};
  messages_ = std::move(messages);
  return stilla::success();
}

}  // namespace program
