// SPDX-License-Identifier: Apache-2.0
//
// Chat templates: a conversation to the prompt that a model was trained on. A model file carries its template as a Jinja
// program, and that program is run (jinja/template.hpp says how little it can do). Files without one take a template by name;
// those are Jinja programs too.
//
// A program is given what transformers' apply_chat_template gives it:
//   messages               each with `role` and `content`
//   add_generation_prompt  whether the prompt ends where the model is to answer
//   bos_token, eos_token   as the vocabulary spells them; undefined where it has none
//   tools, documents       none
//   enable_thinking        false where no thought is wanted, else undefined
//   strftime_now()         tells ChatTemplate::now
//
// What users and models wrote is marked on its way through the program and never searched for control tokens (TextSegment), so
// nobody can end their own turn and begin another's. What the program writes is searched. Roles, BOS and EOS count as its own.
//
// BOS comes from the program; encode_chat() puts it in front only where the vocabulary asks for it and the program did not.
//
// A conversation's next prompt need not begin with the last one: programs drop earlier thoughts, and some place tools or system
// messages by the last turn. So a chat renders everything again for each turn, and keeps of its cache what the new ids have in
// common with it, from the beginning on; the program `stilla` does so in Generator::evaluate_prompt(). Answers keep the tokens
// that they were written with wherever their text comes through unchanged, so what they have in common is as long as can be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/io/mapped_file.hpp>  // printable_path
#include <stilla/text/builtin_templates.hpp>
#include <stilla/text/jinja/template.hpp>
#include <stilla/text/reasoning.hpp>
#include <stilla/text/tokenizer.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class ChatRole : std::uint8_t { system, user, assistant };

struct ChatMessage {
  ChatRole role = ChatRole::user;
  std::string text;
  // The tokens that the model wrote it with. Used instead of encoding the text again, if they say just that, so that a
  // conversation's next prompt begins with what the cache holds. May be empty.
  std::vector<std::uint32_t> ids{};
};

enum class Thinking : std::uint8_t {
  as_template,  // what the program does of itself
  open,         // the prompt ends with <think>\n, also if the program leaves that to the caller
  off,          // the model is to answer at once: by enable_thinking if the program knows it, else by an empty thought
};

struct ChatTemplate {
  jinja::Template program;
  Thinking thinking = Thinking::as_template;
  jinja::LocalTime now{};

  bool knows_enable_thinking = false;  // the program asks for that variable
  bool drops_thoughts = false;         // it removes the thoughts of earlier answers, so it wants to see them
  bool is_deepseek_r1 = false;         // DeepSeek advises to open a thought; older files leave that to the caller
  std::string origin{};                // the file that it comes from, which messages name; empty: none
};

struct ChatPrompt {
  std::vector<std::uint32_t> ids;
  bool opens_thought = false;  // it ends with <think>, so what follows is a thought (reasoning.hpp)
};

namespace detail {

inline Error template_error(std::string_view origin, const std::string& what) {
  return Error{ErrorKind::refused_file, origin.empty() ? what : concat(printable_path(origin), ": ", what)};
}

inline std::string_view role_name(ChatRole role) {
  return role == ChatRole::system ? "system" : role == ChatRole::user ? "user" : "assistant";
}

inline jinja::Variables chat_variables(const ChatTemplate& chat_template, std::span<const ChatMessage> messages,
                                       std::optional<std::string_view> bos, std::optional<std::string_view> eos,
                                       bool add_generation_prompt) {
  std::vector<jinja::Value> list;
  jinja::Origin place = jinja::first_place;
  for (const ChatMessage& message : messages) {
    list.push_back(
        jinja::dict_value({{"role", jinja::text_value(role_name(message.role))}, {"content", jinja::text_value(message.text, place)}}));
    place += message.text.size() + 1;  // so that two messages in a row are two parts
  }
  jinja::Variables out{{"messages", jinja::list_value(std::move(list))},
                       {"add_generation_prompt", add_generation_prompt},
                       {"tools", jinja::None{}},
                       {"documents", jinja::None{}}};
  if (bos) out.emplace_back("bos_token", jinja::text_value(*bos));
  if (eos) out.emplace_back("eos_token", jinja::text_value(*eos));
  if (chat_template.thinking == Thinking::off && chat_template.knows_enable_thinking) {
    out.emplace_back("enable_thinking", false);
  }
  return out;
}

// The ids that `size` bytes of a message were written with, from this place among all bytes of the messages on; none if its
// tokens have no borders there.
inline std::vector<std::uint32_t> ids_at(const Tokenizer& tokenizer, std::span<const ChatMessage> messages, std::size_t place,
                                         std::size_t size) {
  std::size_t i = 0;
  while (place > messages[i].text.size()) place -= messages[i++].text.size() + 1;
  const std::vector<std::uint32_t>& ids = messages[i].ids;
  const auto advance = [&](std::size_t from, std::size_t& at, std::size_t end) {
    while (from < ids.size() && at < end) at += tokenizer.piece(ids[from++]).size();
    return from;
  };
  std::size_t at = 0;
  const std::size_t first = advance(0, at, place);
  const bool begins = at == place;
  const std::size_t last = advance(first, at, place + size);
  if (!begins || at != place + size) return {};
  return {ids.begin() + static_cast<std::ptrdiff_t>(first), ids.begin() + static_cast<std::ptrdiff_t>(last)};
}

inline bool opens_thought(std::string_view text) { return text.ends_with(ReasoningSplitter::open_tag) || text.ends_with("<think>\n"); }

// What is to follow the program's text so that thoughts are as wanted.
inline std::string_view thought_suffix(std::string_view text, Thinking wanted, bool knows_enable_thinking) {
  if (wanted == Thinking::open) return opens_thought(text) ? "" : "<think>\n";
  if (wanted != Thinking::off || knows_enable_thinking) return "";
  if (!opens_thought(text)) return "<think>\n\n</think>\n\n";
  return text.ends_with('\n') ? "\n</think>\n\n" : "\n\n</think>\n\n";
}

}  // namespace detail

// A rendered prompt: its parts, of which neighbours that the program wrote are one.
struct RenderedChat {
  struct Part {
    TextSegment segment;
    std::optional<std::size_t> place;  // of its first byte among all bytes of the messages; none: the program's, or changed
  };
  std::vector<Part> parts;
  bool opens_thought = false;

  std::string text() const {
    std::string out;
    for (const Part& part : parts) out += part.segment.text;
    return out;
  }
};

// `bos` and `eos`: as the vocabulary spells them, if it has them.
inline Result<RenderedChat> render_chat(const ChatTemplate& chat_template, std::span<const ChatMessage> messages,
                                        std::optional<std::string_view> bos, std::optional<std::string_view> eos,
                                        bool add_generation_prompt = true) {
  Result<jinja::MarkedText> text =
      chat_template.program.render(detail::chat_variables(chat_template, messages, bos, eos, add_generation_prompt), chat_template.now);
  if (!text) return detail::template_error(chat_template.origin, concat("chat template, ", text.error().message));
  if (add_generation_prompt) {
    text->append(detail::thought_suffix(text->bytes(), chat_template.thinking, chat_template.knows_enable_thinking), jinja::from_template);
  }
  RenderedChat out;
  out.opens_thought = detail::opens_thought(text->bytes());
  text->for_each_run(0, text->size(), [&](std::string_view bytes, jinja::Origin origin) {
    const bool has_place = origin >= jinja::first_place;
    out.parts.push_back({{std::string(bytes), origin == jinja::from_template},
                         has_place ? std::optional(static_cast<std::size_t>(origin - jinja::first_place)) : std::nullopt});
  });
  return out;
}

// The template that a Jinja program is. The message of an error says what of it is not understood, and in which line. `origin`: the
// path of the file that has it, which this message and later ones begin with; empty for none.
inline Result<ChatTemplate> read_chat_template(std::string_view source, std::string_view origin = {}) {
  if (source.empty()) {
    return detail::template_error(origin, concat("the file has no chat template; choose one by name: ", chat_template_names));
  }
  Result<jinja::Template> program = jinja::Template::parse(source);
  if (!program) return detail::template_error(origin, concat("chat template, ", program.error().message));
  ChatTemplate out{std::move(*program)};
  out.origin = origin;
  out.knows_enable_thinking = source.find("enable_thinking") != std::string_view::npos;
  out.is_deepseek_r1 = source.find("<｜Assistant｜>") != std::string_view::npos;
  // Asked of the program itself, since there is no other sure sign.
  const ChatMessage probe[] = {{ChatRole::user, "a"}, {ChatRole::assistant, "earlier thought</think>b"}, {ChatRole::user, "c"}};
  const auto text = out.program.render(detail::chat_variables(out, probe, "", "", true), out.now);
  out.drops_thoughts = text && text->bytes().find("earlier thought") == std::string_view::npos;
  return out;
}

// A template by name, for files that have none or one that is not understood.
inline Result<ChatTemplate> chat_template_by_name(std::string_view name) {
  for (const auto& [known, source] : detail::builtin_templates) {
    if (known == name) return read_chat_template(source);
  }
  return Error{ErrorKind::bad_argument, concat("chat template '", printable(name), "' is not known; known: ", chat_template_names)};
}

// Sets `thinking` of a template. think: true asks for a thought, false for an answer at once, none for what the makers advise: DeepSeek
// to begin every answer of R1's with a thought, which older files leave to the caller. A model without thoughts keeps its template's way.
inline void choose_thinking(ChatTemplate& chat_template, const Tokenizer& tokenizer, std::optional<bool> think) {
  const bool can_think = tokenizer.find(ReasoningSplitter::close_tag).has_value();
  chat_template.thinking = Thinking::as_template;
  if (can_think && think == false) {
    chat_template.thinking = Thinking::off;
  } else if (can_think && (think == true || chat_template.is_deepseek_r1)) {
    chat_template.thinking = Thinking::open;
  }
}

// Puts BOS before the ids, unless it stands there already or the vocabulary has none.
inline void begin_with_bos(const Tokenizer& tokenizer, std::vector<std::uint32_t>& ids) {
  const bool has_bos = !ids.empty() && ids.front() == tokenizer.bos();
  if (tokenizer.bos() && !has_bos) ids.insert(ids.begin(), *tokenizer.bos());
}

// A whole prompt's ids.
inline Result<ChatPrompt> encode_chat(const Tokenizer& tokenizer, const ChatTemplate& chat_template, std::span<const ChatMessage> messages,
                                      bool add_generation_prompt = true) {
  const auto spelled = [&](std::optional<std::uint32_t> id) {
    return id ? std::optional(tokenizer.piece(*id, ControlText::show)) : std::nullopt;
  };
  Result<RenderedChat> chat =
      render_chat(chat_template, messages, spelled(tokenizer.bos()), spelled(tokenizer.eos()), add_generation_prompt);
  if (!chat) return std::move(chat).error();
  std::vector<TextSegment> segments;
  for (RenderedChat::Part& part : chat->parts) {
    if (part.place) part.segment.ids = detail::ids_at(tokenizer, messages, *part.place, part.segment.text.size());
    segments.push_back(std::move(part.segment));
  }
  ChatPrompt out{tokenizer.encode(segments), chat->opens_thought};
  if (tokenizer.add_bos()) begin_with_bos(tokenizer, out.ids);
  return out;
}

// Text to be continued, without a template: BOS if the vocabulary wants one, then the text.
inline std::vector<std::uint32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view text,
                                                SpecialTokens special = SpecialTokens::as_text) {
  std::vector<std::uint32_t> ids = tokenizer.encode(text, special);
  if (tokenizer.add_bos()) begin_with_bos(tokenizer, ids);
  return ids;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
