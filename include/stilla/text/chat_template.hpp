// SPDX-License-Identifier: Apache-2.0
//
// Chat templates turn a conversation into the prompt format that a model was trained with. A model file contains its template as
// a Jinja program, which Stilla runs (jinja/template.hpp says what such a program cannot do). For files without a template, one of Stilla's
// own templates is chosen by name (builtin_templates.hpp); these are Jinja programs too.
//
// A program gets the same variables as from the function apply_chat_template of Hugging Face's library transformers:
//   messages               each with `role` and `content`
//   add_generation_prompt  whether the prompt ends where the model is to answer
//   bos_token, eos_token   as the vocabulary spells them; undefined if it has none
//   tools, documents       always None
//   enable_thinking        false if no thought is wanted, otherwise undefined
//   strftime_now()         returns ChatTemplate::now
//
// The text of users and models is marked while it passes through the program, and is never searched for control tokens
// (TextSegment). Nobody can therefore end their own turn and begin another's. The text that the program writes is searched.
// Roles, BOS and EOS count as text of the program.
//
// The program writes BOS. encode_chat() adds it in front only if the vocabulary asks for it and the program did not write it.
//
// The next prompt of a conversation need not begin with the previous prompt: programs remove earlier thoughts, and some put tools or
// system messages next to the last turn. A chat therefore renders everything again for each turn. Of its cache it keeps the positions
// before the first id that differs in the new prompt; Decoder::begin() does this (model/decoder.hpp). Answers keep the tokens with
// which they were written wherever their text is unchanged in the prompt, so that as much of the cache as possible is kept.
#pragma once

#include <algorithm>
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
#include <stilla/text/token_types.hpp>
#include <stilla/text/tokenizer.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class ChatRole : std::uint8_t { system, user, assistant };

struct ChatMessage {
  ChatRole role = ChatRole::user;
  std::string text;
  // The tokens with which the model wrote the text. If they decode to exactly this text, they are used instead of encoding it
  // again, so that the next prompt of the conversation begins with what the cache holds. May be empty.
  std::vector<std::uint32_t> ids{};
};

enum class Thinking : std::uint8_t {
  as_template,  // the template's program decides
  open,  // the prompt ends with <think>\n, even if the program leaves this to the caller
  // The model is to answer at once, without a thought. If the template's program knows the variable enable_thinking, this variable
  // is set to false; otherwise an empty thought is written into the prompt.
  off,
};

struct ChatTemplate {
  jinja::Template program;
  Thinking thinking = Thinking::as_template;
  jinja::LocalTime now{};

  bool knows_enable_thinking = false;  // the program uses the variable enable_thinking
  bool drops_thoughts = false;  // the program removes earlier thoughts itself, so it is given answers with their thoughts
  bool is_deepseek_r1 = false;  // DeepSeek advises to open a thought; older files leave this to the caller
  std::string origin{};  // the file that contains the program, for messages; empty: none
};

struct ChatPrompt {
  std::vector<std::uint32_t> ids;
  bool opens_thought = false;  // the prompt ends with <think>, so what follows is a thought (reasoning.hpp)
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
    place += message.text.size() + 1;  // + 1, so that two neighbouring messages stay two parts
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

// The ids of the tokens with which the model wrote `size` bytes of a message. `place` is the place of the first byte among all
// bytes of the messages. There are no ids if these bytes do not begin and end at the borders of tokens.
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

// Returns BOS and EOS as the vocabulary spells them. Each of the two is nothing if the vocabulary lacks that token.
inline std::pair<std::optional<std::string_view>, std::optional<std::string_view>> spelled_ends(const Tokenizer& tokenizer) {
  const auto spelled = [&](std::optional<std::uint32_t> id) {
    return id ? std::optional(tokenizer.piece(*id, ControlText::show)) : std::nullopt;
  };
  return {spelled(tokenizer.bos()), spelled(tokenizer.eos())};
}

inline bool opens_thought(std::string_view text) { return text.ends_with(ReasoningSplitter::open_tag) || text.ends_with("<think>\n"); }

// What must be appended to the text that the template's program wrote, so that the model thinks, or does not think, as `wanted`
// says.
inline std::string_view thought_suffix(std::string_view text, Thinking wanted, bool knows_enable_thinking) {
  if (wanted == Thinking::open) return opens_thought(text) ? "" : "<think>\n";
  if (wanted != Thinking::off || knows_enable_thinking) return "";
  if (!opens_thought(text)) return "<think>\n\n</think>\n\n";
  return text.ends_with('\n') ? "\n</think>\n\n" : "\n\n</think>\n\n";
}

}  // namespace detail

// A rendered prompt, as a list of parts. Neighbouring parts that the template's program wrote are one part.
struct RenderedChat {
  struct Part {
    TextSegment segment;
    // The place of the part's first byte among all bytes of the messages. Nothing if the template's program wrote the part, or
    // changed the text of a message in it.
    std::optional<std::size_t> place;
  };
  std::vector<Part> parts;
  bool opens_thought = false;

  std::string text() const {
    std::string out;
    for (const Part& part : parts) out += part.segment.text;
    return out;
  }
};

// Renders a prompt. `bos` and `eos` are as the vocabulary spells them, if it has them.
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

// Makes a template from a Jinja program. The message of an error says which part is not understood, and in which line. `origin`
// is the path of the file that contains the program, and may be empty. Error messages, also those of rendering, begin with it.
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
  // Whether the program drops the thoughts of earlier answers is found out by rendering a short conversation with it, because
  // there is no other reliable sign.
  const ChatMessage probe[] = {{ChatRole::user, "a"}, {ChatRole::assistant, "earlier thought</think>b"}, {ChatRole::user, "c"}};
  const auto text = out.program.render(detail::chat_variables(out, probe, "", "", true), out.now);
  out.drops_thoughts = text && text->bytes().find("earlier thought") == std::string_view::npos;
  return out;
}

// One of Stilla's own templates by its name, for files that have no template, or whose template is not understood.
inline Result<ChatTemplate> chat_template_by_name(std::string_view name) {
  for (const auto& [known, source] : detail::builtin_templates) {
    if (known == name) return read_chat_template(source);
  }
  return Error{ErrorKind::bad_argument, concat("chat template '", printable(name), "' is not known; known: ", chat_template_names)};
}

// Sets `thinking` of a template. If `think` is true, the model is to think first. If it is false, the model is to answer at once.
// If it is not given, the advice of the model's makers is followed: DeepSeek advises to begin every answer of R1 with a thought,
// and older files leave it to the caller to open this thought. For a model without thoughts the template decides.
inline void choose_thinking(ChatTemplate& chat_template, const Tokenizer& tokenizer, std::optional<bool> think) {
  const bool can_think = tokenizer.find(ReasoningSplitter::close_tag).has_value();
  chat_template.thinking = Thinking::as_template;
  if (can_think && think == false) {
    chat_template.thinking = Thinking::off;
  } else if (can_think && (think == true || chat_template.is_deepseek_r1)) {
    chat_template.thinking = Thinking::open;
  }
}

// Puts BOS in front of the ids, unless it is there already or the vocabulary has none.
inline void begin_with_bos(const Tokenizer& tokenizer, std::vector<std::uint32_t>& ids) {
  const bool has_bos = !ids.empty() && ids.front() == tokenizer.bos();
  if (tokenizer.bos() && !has_bos) ids.insert(ids.begin(), *tokenizer.bos());
}

// Renders a conversation with the template and encodes it. The result is the ids of the whole prompt.
inline Result<ChatPrompt> encode_chat(const Tokenizer& tokenizer, const ChatTemplate& chat_template, std::span<const ChatMessage> messages,
                                      bool add_generation_prompt = true) {
  const auto [bos, eos] = detail::spelled_ends(tokenizer);
  Result<RenderedChat> chat = render_chat(chat_template, messages, bos, eos, add_generation_prompt);
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

namespace detail {

// The length of the markup that begins at text[at], as only chat templates write it: <|NAME|> and its like, and the names in
// `control_names`. 0 if there is none. [INST] and its like are markup only in a byte-level vocabulary: Llama 2 and Mistral 7B, whose
// vocabularies are SentencePiece's, were trained to read them as ordinary text.
inline std::size_t markup_length(std::string_view text, std::size_t at, VocabularyKind kind) {
  constexpr std::size_t most = 256;
  const std::string_view rest = text.substr(at, most);
  for (const std::string_view end : {"|>", "｜>", "|]"}) {
    const std::size_t found = rest.find(end, 2);
    if (found != std::string_view::npos && is_barred(rest.substr(0, found + end.size()))) return found + end.size();
  }
  for (const std::string_view name : control_names) {
    if (rest.starts_with(name) && (name[0] != '[' || kind == VocabularyKind::byte_level)) return name.size();
  }
  return 0;
}

inline constexpr std::size_t markup_named = 8;  // a note names at most this many pieces of unknown markup

// Appends the pieces of markup in a text to `out`, unless `out` has them already. Stops as soon as `out` has more than markup_named pieces.
inline void collect_markup(std::vector<std::string>& out, std::string_view text, VocabularyKind kind) {
  for (std::size_t at = text.find_first_of("<["); at < text.size() && out.size() <= markup_named; at = text.find_first_of("<[", at)) {
    const std::size_t length = markup_length(text, at, kind);
    const std::string_view markup = text.substr(at, length);
    if (length != 0 && std::find(out.begin(), out.end(), markup) == out.end()) out.emplace_back(markup);
    at += length != 0 ? length : 1;
  }
}

}  // namespace detail

// Returns a line for the user if the template writes markup for which the vocabulary has no control token, as a template of Llama 3 does
// for a vocabulary of Qwen. The model then reads the markup as ordinary text, and a message may contain the same text. Returns nothing if
// every piece of markup is a token. What the template writes is found out by rendering a short conversation with it.
inline std::optional<std::string> unknown_markup_note(const Tokenizer& tokenizer, const ChatTemplate& chat_template) {
  const ChatMessage chat[] = {{ChatRole::system, "a"}, {ChatRole::user, "b"}, {ChatRole::assistant, "c"}, {ChatRole::user, "d"}};
  const std::span<const ChatMessage> all = chat;
  const auto [bos, eos] = detail::spelled_ends(tokenizer);
  Result<RenderedChat> text = render_chat(chat_template, all, bos, eos);
  if (!text) text = render_chat(chat_template, all.subspan(1), bos, eos);  // the template may refuse system messages
  if (!text) return std::nullopt;
  std::vector<std::string> unknown;
  for (const RenderedChat::Part& part : text->parts) {
    if (!part.segment.is_template) continue;
    std::string_view rest = part.segment.text;
    for (const std::uint32_t id : tokenizer.encode(rest, SpecialTokens::parse)) {
      const std::size_t at = tokenizer.is_control(id) ? rest.find(tokenizer.piece(id, ControlText::show)) : std::string_view::npos;
      if (at == std::string_view::npos) continue;
      detail::collect_markup(unknown, rest.substr(0, at), tokenizer.kind());
      rest.remove_prefix(at + tokenizer.piece(id, ControlText::show).size());
    }
    detail::collect_markup(unknown, rest, tokenizer.kind());
  }
  if (unknown.empty()) return std::nullopt;
  std::string names;
  for (std::size_t i = 0; i < unknown.size() && i < detail::markup_named; ++i)
    names += concat(i == 0 ? "'" : ", '", printable(unknown[i]), "'");
  if (unknown.size() > detail::markup_named) names += ", ...";
  const bool is_one = unknown.size() == 1;
  return concat(chat_template.origin.empty() ? "" : concat(printable_path(chat_template.origin), ": "), "the chat template writes ", names,
                is_one ? ", which is no token of this vocabulary, so it is read as ordinary text"
                       : ", which are no tokens of this vocabulary, so they are read as ordinary text");
}

// The ids of a text that is to be continued without a template: BOS if the vocabulary wants it, then the text.
inline std::vector<std::uint32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view text,
                                                SpecialTokens special = SpecialTokens::as_text) {
  std::vector<std::uint32_t> ids = tokenizer.encode(text, special);
  if (tokenizer.add_bos()) begin_with_bos(tokenizer, ids);
  return ids;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
