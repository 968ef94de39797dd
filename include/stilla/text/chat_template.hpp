// SPDX-License-Identifier: Apache-2.0
//
// Chat templates: a conversation to the prompt that a model was trained on. A model file carries its template as a
// Jinja program; Stilla runs no programs from files but recognises the three families below by their control tokens and
// reads the few things that differ within a family off the program's text.
//
//   chatml        <|im_start|>ROLE\nTEXT<|im_end|>\n ...  Qwen2, SmolLM2. The default system prompt is the file's.
//   deepseek-r1   BOS SYSTEM <｜User｜>TEXT<｜Assistant｜>TEXT<｜end▁of▁sentence｜> ...  The last system message counts,
//                 past reasoning (up to the last </think>) is dropped; newer files open the next one with <think>\n.
//   llama3        BOS <|start_header_id|>ROLE<|end_header_id|>\n\nTEXT<|eot_id|> ...  White space around TEXT is
//                 dropped; from Llama 3.1 on a system message with dates always stands first.
//
// What users and models wrote is never searched for control tokens (TextSegment), so nobody can end their own turn and
// begin another's. BOS is added here and nowhere else: encode_chat() for chats, encode_prompt() for plain text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/text/tokenizer.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class ChatRole : std::uint8_t { system, user, assistant };

struct ChatMessage {
  ChatRole role = ChatRole::user;
  std::string text;
  // The tokens that the model wrote it with. Used instead of encoding the text again, if they say just that, so that a
  // conversation's next prompt begins with what the cache holds. May be empty.
  std::vector<std::uint32_t> ids{};
};

enum class ChatFormat : std::uint8_t { chatml, deepseek_r1, llama3 };

struct ChatTemplate {
  ChatFormat format = ChatFormat::chatml;
  bool begins_with_bos = false;               // BOS stands first even if the vocabulary does not ask for it
  bool opens_reasoning = false;               // the generation prompt ends with <think>\n (see reasoning.hpp). DeepSeek
                                              // advises to set this for R1 models whose file does not do it
  bool closes_reasoning = false;              // it ends with an empty thought: the model is to answer at once
  std::optional<std::string> default_system;  // chatml: if the messages do not begin with a system message
  std::optional<std::string> date;            // llama3: "26 Jul 2024", for models whose template tells the date
};

inline constexpr std::string_view chat_template_names = "chatml, deepseek-r1, llama3";

// A template by name, for files that have none or one that is not recognised.
inline Result<ChatTemplate> chat_template_by_name(std::string_view name) {
  ChatTemplate out;
  if (name == "chatml") return out;
  if (name == "deepseek-r1") {
    out.format = ChatFormat::deepseek_r1;
    out.begins_with_bos = true;
    out.opens_reasoning = true;
    return out;
  }
  if (name == "llama3") {
    out.format = ChatFormat::llama3;
    out.begins_with_bos = true;
    return out;
  }
  return Error{ErrorKind::bad_argument,
               concat("chat template '", printable(name), "' is not known; known: ", chat_template_names)};
}

namespace detail {

// The default system prompt written in a ChatML program: the literal between "<|im_start|>system\n" and "<|im_end|>".
// The newline may be an escape of the Jinja string or a real one.
inline std::optional<std::string> chatml_default_system(std::string_view jinja) {
  constexpr std::string_view begin = "<|im_start|>system";
  for (std::size_t at = jinja.find(begin); at != std::string_view::npos; at = jinja.find(begin, at + 1)) {
    std::string_view rest = jinja.substr(at + begin.size());
    if (rest.starts_with("\\n")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with('\n')) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    const std::string_view literal = rest.substr(0, rest.find("<|im_end|>"));
    if (literal.size() == rest.size() || literal.empty()) continue;
    if (literal.find_first_of("'\"{}\\\n") == std::string_view::npos) return std::string(literal);
  }
  return std::nullopt;
}

// Without white space around it, as Python's strip().
inline std::string_view trimmed(std::string_view text) {
  const auto is_space = [](std::uint32_t c) { return char_class(c) == CharClass::space || (c >= 0x1c && c <= 0x1f); };
  std::size_t begin = 0;
  std::size_t end = 0;  // of the last character that is no white space
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    at += c.length;
    if (!is_space(c.value)) {
      end = at;
    } else if (end == 0) {
      begin = at;
    }
  }
  return end == 0 ? std::string_view() : text.substr(begin, end - begin);
}

inline std::string_view role_name(ChatRole role) {
  return role == ChatRole::system ? "system" : role == ChatRole::user ? "user" : "assistant";
}

}  // namespace detail

// The template that a file's Jinja program describes.
inline Result<ChatTemplate> recognise_chat_template(std::string_view jinja) {
  const auto has = [&](std::string_view text) { return jinja.find(text) != std::string_view::npos; };
  ChatTemplate out;
  if (has("<｜User｜>") && has("<｜Assistant｜>")) {
    out.format = ChatFormat::deepseek_r1;
    out.begins_with_bos = has("bos_token") || has("<｜begin▁of▁sentence｜>");
    out.opens_reasoning = has("<｜Assistant｜><think>");
    return out;
  }
  if (has("<|start_header_id|>")) {
    out.format = ChatFormat::llama3;
    out.begins_with_bos = has("bos_token") || has("<|begin_of_text|>");
    if (has("Cutting Knowledge Date")) out.date = "26 Jul 2024";  // what the program takes if it is told none
    return out;
  }
  if (has("<|im_start|>")) {
    out.begins_with_bos = has("bos_token");
    out.opens_reasoning = has("<|im_start|>assistant\\n<think>");
    out.default_system = detail::chatml_default_system(jinja);
    return out;
  }
  return Error{ErrorKind::refused_file,
               concat(jinja.empty() ? "the file has no chat template" : "chat template '", printable(jinja),
                      jinja.empty() ? "" : "' is not recognised", "; choose one by name: ", chat_template_names)};
}

// The prompt's parts, without BOS. `add_generation_prompt` ends it where the model is to answer.
inline std::vector<TextSegment> render_chat(const ChatTemplate& chat_template, std::span<const ChatMessage> messages,
                                            bool add_generation_prompt = true) {
  std::vector<TextSegment> out;
  const auto markup = [&](const auto&... parts) { out.push_back({concat(parts...), true}); };
  const auto content = [&](std::string_view text, std::span<const std::uint32_t> ids = {}) {
    out.push_back({std::string(text), false, {ids.begin(), ids.end()}});
  };
  const std::string_view reasoning = chat_template.closes_reasoning  ? "<think>\n\n</think>\n\n"
                                     : chat_template.opens_reasoning ? "<think>\n"
                                                                     : "";
  const bool begins_with_system = !messages.empty() && messages.front().role == ChatRole::system;
  switch (chat_template.format) {
    case ChatFormat::chatml:
      if (chat_template.default_system && !begins_with_system) {
        markup("<|im_start|>system\n", *chat_template.default_system, "<|im_end|>\n");
      }
      for (const ChatMessage& message : messages) {
        markup("<|im_start|>", detail::role_name(message.role), "\n");
        content(message.text, message.ids);
        markup("<|im_end|>\n");
      }
      if (add_generation_prompt) markup("<|im_start|>assistant\n", reasoning);
      return out;

    case ChatFormat::deepseek_r1: {
      std::string_view system;
      for (const ChatMessage& message : messages) {
        if (message.role == ChatRole::system) system = message.text;
      }
      content(system);
      for (const ChatMessage& message : messages) {
        if (message.role == ChatRole::user) {
          markup("<｜User｜>");
          content(message.text);
        } else if (message.role == ChatRole::assistant) {
          constexpr std::string_view end_of_reasoning = "</think>";
          const std::size_t end = message.text.rfind(end_of_reasoning);
          markup("<｜Assistant｜>");
          content(std::string_view(message.text).substr(end == std::string::npos ? 0 : end + end_of_reasoning.size()),
                  message.ids);
          markup("<｜end▁of▁sentence｜>");
        }
      }
      if (add_generation_prompt) markup("<｜Assistant｜>", reasoning);
      return out;
    }

    case ChatFormat::llama3:
      if (chat_template.date) {
        markup("<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ",
               *chat_template.date, "\n\n");
        if (begins_with_system) {
          content(detail::trimmed(messages.front().text));
          messages = messages.subspan(1);
        }
        markup("<|eot_id|>");
      }
      for (const ChatMessage& message : messages) {
        markup("<|start_header_id|>", detail::role_name(message.role), "<|end_header_id|>\n\n");
        content(detail::trimmed(message.text), message.ids);
        markup("<|eot_id|>");
      }
      if (add_generation_prompt) {
        markup("<|start_header_id|>assistant<|end_header_id|>\n\n", reasoning);
      }
      return out;
  }
  return out;
}

// A whole prompt's ids, BOS included if the template or the vocabulary wants one.
inline std::vector<std::uint32_t> encode_chat(const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                                              std::span<const ChatMessage> messages,
                                              bool add_generation_prompt = true) {
  std::vector<std::uint32_t> ids = tokenizer.encode(render_chat(chat_template, messages, add_generation_prompt));
  if (tokenizer.bos() && (chat_template.begins_with_bos || tokenizer.add_bos()))
    ids.insert(ids.begin(), *tokenizer.bos());
  return ids;
}

// Text to be continued, without a template: BOS if the vocabulary wants one, then the text.
inline std::vector<std::uint32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view text,
                                                SpecialTokens special = SpecialTokens::as_text) {
  std::vector<std::uint32_t> ids = tokenizer.encode(text, special);
  if (tokenizer.bos() && tokenizer.add_bos()) ids.insert(ids.begin(), *tokenizer.bos());
  return ids;
}

}}  // namespace stilla
