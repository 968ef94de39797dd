// SPDX-License-Identifier: Apache-2.0
#include "conversation.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <stilla/base/utf8.hpp>
#include <stilla/io/checked_json.hpp>
#include <stilla/text/reasoning.hpp>

namespace program {
namespace {

constexpr std::array<std::string_view, 3> role_names{"system", "user", "assistant"};

// Reads the JSON that Conversation::to_json() wrote, from the events of nlohmann's parser. A member function that returns false
// ends the reading.
class SavedMessages {
 public:
  std::vector<stilla::ChatMessage> messages;

  explicit SavedMessages(std::size_t bytes) : bytes_(bytes) {}

  // Returns the error message of a JSON that could not be read to its end: what is wrong with it and, if this is within a
  // message of the conversation, the number of this message.
  std::string trouble() const {
    if (depth_ < in_message) return fmt::format("the note in it is no conversation: {}", reason_);
    return fmt::format("message {} of its conversation cannot be read: {}", messages.size(), reason_);
  }

  bool start_object(std::size_t) {
    if (depth_ == outside) return enter();
    if (depth_ != in_list) return wrong_value("an object");
    messages.emplace_back();
    seen_ = 0;
    return enter();
  }
  bool end_object() {
    if (depth_ == in_message) {
      const auto missing = static_cast<std::size_t>(std::countr_one(seen_));
      if (missing < text || (seen_ & texts) == 0) return fail(fmt::format("key '{}' is missing", member_names[missing]));
      if ((seen_ & texts) == texts) return fail("keys 'text' and 'bytes' are both there; expected one of them");
    }
    if (depth_ == in_note && !is_list_) return fail("key 'messages' is missing");
    --depth_;
    return true;
  }
  bool start_array(std::size_t) {
    if ((depth_ == in_note && is_list_) || (depth_ == in_message && member_ == ids)) return enter();
    return wrong_value("an array");
  }
  bool end_array() {
    --depth_;
    return true;
  }
  bool key(std::string& name) {
    if (depth_ == in_note) {
      if (name != "messages") return fail(fmt::format("key '{}' is unknown; expected 'messages'", stilla::printable(name)));
      return !std::exchange(is_list_, true) || fail("key 'messages' stands twice");
    }
    for (member_ = 0; member_ < member_names.size() && member_names[member_] != name; ++member_) {
    }
    if (member_ == member_names.size()) {
      return fail(fmt::format("key '{}' is unknown; expected ids, role, and text or bytes", stilla::printable(name)));
    }
    const unsigned flag = 1u << member_;
    if ((seen_ & flag) != 0) return fail(fmt::format("key '{}' stands twice", name));
    seen_ |= flag;
    return true;
  }
  bool string(std::string& value) {
    if (depth_ != in_message || member_ == ids) return wrong_value("a string");
    if (member_ == text) {
      messages.back().text = std::move(value);
      return true;
    }
    if (member_ == raw) return bytes_of(value);
    const auto found = std::find(role_names.begin(), role_names.end(), value);
    if (found == role_names.end()) {
      return fail(fmt::format("key 'role': found '{}'; expected {}", stilla::printable(value), fmt::join(role_names, ", ")));
    }
    messages.back().role = static_cast<stilla::ChatRole>(found - role_names.begin());
    return true;
  }
  bool number_unsigned(std::uint64_t value) {
    if (depth_ != in_ids || value > 0xffffffff) return wrong_value(fmt::format("{}", value));
    messages.back().ids.push_back(static_cast<std::uint32_t>(value));
    return true;
  }
  bool number_integer(std::int64_t value) { return wrong_value(fmt::format("{}", value)); }
  bool number_float(double, const std::string& value) { return wrong_value(stilla::printable(value)); }
  bool boolean(bool) { return wrong_value("a boolean"); }
  bool null() { return wrong_value("null"); }
  bool binary(nlohmann::json::binary_t&) { return wrong_value("binary data"); }
  bool parse_error(std::size_t at, const std::string&, const nlohmann::json::exception&) {
    if (at > bytes_) return fail(fmt::format("its JSON is not complete: it ends after {} bytes", bytes_));
    return fail(fmt::format("byte {} of it is no JSON", at == 0 ? 0 : at - 1));  // nlohmann counts from 1
  }

 private:
  enum Depth { outside, in_note, in_list, in_message, in_ids };
  enum Member : std::size_t { ids, role, text, raw };
  static constexpr std::array<std::string_view, 4> member_names{"ids", "role", "text", "bytes"};
  static constexpr unsigned texts = 1u << text | 1u << raw;  // a message has one of these two

  bool enter() {
    ++depth_;
    return true;
  }
  // Reads a text that is not UTF-8, each byte of which stands as the character with its number, U+0000 to U+00FF.
  bool bytes_of(std::string_view value) {
    for (std::size_t at = 0; at < value.size();) {
      const stilla::Utf8Char c = stilla::decode_utf8(value, at);
      if (c.value > 0xff) return fail(fmt::format("key 'bytes': found a character above U+00FF at byte {}", at));
      messages.back().text += static_cast<char>(c.value);
      at += c.length;
    }
    return true;
  }
  // fail() and wrong_value() end the reading with a reason. If they are called several times, the first reason is kept.
  bool fail(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
    return false;
  }
  bool wrong_value(std::string_view found) {
    if (depth_ == outside) return fail(fmt::format("found {}; expected an object", found));
    if (depth_ == in_note) return fail(fmt::format("key 'messages': found {}; expected an array", found));
    if (depth_ == in_list) return fail(fmt::format("found {} behind message {}; expected a message", found, messages.size()));
    if (depth_ == in_ids) return fail(fmt::format("key 'ids': id {} is {}; expected ids of tokens", messages.back().ids.size() + 1, found));
    if (member_ == ids) return fail(fmt::format("key 'ids': found {}; expected an array of ids", found));
    return fail(fmt::format("key '{}': found {}; expected a string", member_names[member_], found));
  }

  std::size_t bytes_;  // of the text that is read
  int depth_ = outside;
  bool is_list_ = false;
  std::size_t member_ = 0;  // index of the message's member that is being read
  unsigned seen_ = 0;       // a bit for each member of this message that was read
  std::string reason_;
};

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const stilla::Utf8Char c = stilla::decode_utf8(text, at);
    if (c.value == stilla::invalid_byte) return false;
    at += c.length;
  }
  return true;
}
// Returns the bytes as characters with their numbers, U+0000 to U+00FF, because JSON holds only characters.
std::string as_characters(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) stilla::append_utf8(out, static_cast<unsigned char>(byte));
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
    // The text of an answer, decoded from the ids of its tokens, does not show control tokens, so these are removed from the ids, too.
    std::erase_if(message.ids, [&](std::uint32_t id) { return tokenizer_->is_control(id); });
    // If a stop text ended the answer, the kept text ends before the stop text, but the kept ids go on. That does no harm: if the kept
    // text does not end where a token ends, a prompt with this answer is made from the text and not from the ids.
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
  // The text of each message is converted to JSON by itself, and the rest is put together here. nlohmann's JSON values of more than one
  // level need memory when they are destroyed, and end the program if there is none.
  const auto quoted = [](std::string_view text) { return nlohmann::json(text).dump(); };
  std::string out = R"({"messages":[)";
  for (const stilla::ChatMessage& message : messages_) {
    if (&message != &messages_.front()) out += ',';
    const bool is_text = is_utf8(message.text);
    out += fmt::format(R"({{"ids":[{}],"role":{},"{}":{}}})", fmt::join(message.ids, ","),
                       quoted(role_names[static_cast<std::size_t>(message.role)]), is_text ? "text" : "bytes",
                       quoted(is_text ? message.text : as_characters(message.text)));
  }
  return out + "]}";
}

stilla::Result<std::vector<stilla::ChatMessage>> Conversation::from_json(std::string_view text) const {
  if (text.empty()) return stilla::Error{stilla::ErrorKind::refused_file, "the note in it is empty; expected a conversation"};
  if (const auto zero = stilla::find_zero_byte(text)) {
    return stilla::Error{stilla::ErrorKind::refused_file,
                         fmt::format("the note in it is no conversation: byte {} of it is no JSON: found a zero byte", *zero)};
  }
  SavedMessages saved(text.size());
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &saved)) {
    return stilla::Error{stilla::ErrorKind::refused_file, saved.trouble()};
  }
  for (const stilla::ChatMessage& message : saved.messages) {
    for (const std::uint32_t id : message.ids) {
      if (id < tokenizer_->size() && !tokenizer_->is_control(id)) continue;
      const std::string what = id < tokenizer_->size() ? std::string("is a control token, which no message holds")
                                                       : fmt::format("is outside the vocabulary of {} tokens", tokenizer_->size());
      return stilla::Error{stilla::ErrorKind::refused_file,
                           fmt::format("message {} of its conversation: token id {} {}", &message - saved.messages.data() + 1, id, what)};
    }
  }
  return std::move(saved.messages);
}

}  // namespace program
