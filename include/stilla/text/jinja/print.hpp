// SPDX-License-Identifier: Apache-2.0
//
// Values as text, as Python's str(), repr() and json.dumps() print them. In all three, the text of messages stays marked as text of
// messages (marked_text.hpp). Brackets, quotes and escapes count as text of the template.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/text/jinja/marked_text.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/jinja/text_ops.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

// The Python name of a value's type, for messages.
inline std::string_view type_name(const Value& value) {
  if (value.is_undefined()) return "undefined";
  if (value.is_none()) return "None";
  if (value.as<bool>()) return "bool";
  if (value.as<std::int64_t>()) return "int";
  if (value.as<double>()) return "float";
  if (value.text()) return "str";
  if (value.dict()) return "dict";
  if (value.loop()) return "loop";
  if (value.name_space()) return "namespace";
  if (const List* list = value.list()) {
    constexpr std::string_view names[] = {"list", "tuple", "range", "generator", "dict_keys", "dict_values", "dict_items"};
    return names[static_cast<std::size_t>(list->kind)];
  }
  return "function";
}

// The text that Python's repr() prints for a float: the fewest digits that give the same number again, with an exponent from 1e16 on
// and below 1e-4.
inline std::string float_text(double value) {
  if (value != value) return "nan";
  char digits[400];
  const auto write = [&](std::chars_format format) {
    return std::string(digits, std::to_chars(digits, digits + sizeof digits, value, format).ptr);
  };
  std::string scientific = write(std::chars_format::scientific);
  const std::size_t e = scientific.find('e');
  if (e == std::string::npos) return value < 0 ? "-inf" : "inf";
  int exponent = 0;
  std::from_chars(scientific.data() + e + (scientific[e + 1] == '+' ? 2 : 1), scientific.data() + scientific.size(), exponent);
  if (exponent < -4 || exponent >= 16) return scientific;
  std::string fixed = write(std::chars_format::fixed);
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

namespace detail {

inline std::string hex_escape(std::string_view start, std::uint32_t value, int digits) {
  std::string out(start);
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out.push_back("0123456789abcdef"[value >> shift & 15]);
  return out;
}

// The escape that Python's repr() writes for a character. Empty if the character needs none.
inline std::string repr_escape(std::uint32_t c, char quote) {
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  if (c == '\\' || c == static_cast<unsigned char>(quote)) return {'\\', static_cast<char>(c)};
  if (c == invalid_byte || is_printable(c)) return {};
  if (c < 0x100) return hex_escape("\\x", c, 2);
  return c < 0x10000 ? hex_escape("\\u", c, 4) : hex_escape("\\U", c, 8);
}

inline std::string json_escape(std::uint32_t c, bool is_ascii) {
  constexpr std::string_view known = "\"\\\n\r\t\b\f";
  constexpr std::string_view letters = "\"\\nrtbf";
  const std::size_t at = c < 0x80 ? known.find(static_cast<char>(c)) : std::string_view::npos;
  if (at != std::string_view::npos) return {'\\', letters[at]};
  if (c < 0x20) return hex_escape("\\u", c, 4);
  if (c < 0x7f || !is_ascii || c == invalid_byte) return {};
  if (c < 0x10000) return hex_escape("\\u", c, 4);
  return hex_escape("\\u", 0xd7c0 + (c >> 10), 4) + hex_escape("\\u", 0xdc00 + (c & 0x3ff), 4);
}

// Appends a text. Each character for which `escape(code point)` is not empty is replaced by that escape.
template <class Escape>
void append_escaped(Rendering& run, MarkedText& out, const MarkedText& text, Escape&& escape) {
  if (!run.change_each(text.size()) || !run.room(out.size() + text.size())) return;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text.bytes(), at);
    const std::string instead = escape(c.value);
    if (!instead.empty()) {
      out.append(text, done, at);
      out.append(instead, text.changed_origin(at));
      done = at + c.length;
    }
    at += c.length;
  }
  out.append(text, done, text.size());
}

}  // namespace detail

inline void append_str(Rendering& run, MarkedText& out, const Value& value);

inline void append_repr(Rendering& run, MarkedText& out, const Value& value) {
  const auto plain = [&](std::string_view text) { out.append(text, from_template); };
  if (!run.step() || !run.room(out.size())) return;
  if (const Text* text = value.text()) {
    const std::string_view bytes = text->marked.bytes();
    const char quote = bytes.find('\'') != std::string_view::npos && bytes.find('"') == std::string_view::npos ? '"' : '\'';
    if (text->is_safe) plain("Markup(");
    plain({&quote, 1});
    detail::append_escaped(run, out, text->marked, [quote](std::uint32_t c) { return detail::repr_escape(c, quote); });
    plain({&quote, 1});
    if (text->is_safe) plain(")");
    return;
  }
  if (const Dict* dict = value.dict()) {
    plain("{");
    for (const auto& [key, entry] : dict->entries) {
      if (&key != &dict->entries.front().first) plain(", ");
      append_repr(run, out, key);
      plain(": ");
      append_repr(run, out, entry);
      if (run.failed()) return;
    }
    return plain("}");
  }
  const List* list = value.list();
  if (list == nullptr) {
    if (value.is_undefined()) return plain("Undefined");
    return append_str(run, out, value);
  }
  if (list->kind == ListKind::range || list->kind == ListKind::generator) {
    run.fail("a ", type_name(value), " printed; use the filter list");
    return;
  }
  const bool is_view = list->kind >= ListKind::keys;
  const bool is_tuple = list->kind == ListKind::tuple;
  if (is_view) plain(concat(type_name(value), "("));
  plain(is_tuple ? "(" : "[");
  for (const Value& item : list->items) {
    if (&item != &list->items.front()) plain(", ");
    append_repr(run, out, item);
    if (run.failed()) return;
  }
  if (is_tuple && list->items.size() == 1) plain(",");
  plain(is_tuple ? ")" : "]");
  if (is_view) plain(")");
}

// Appends what {{ value }} prints in a template.
inline void append_str(Rendering& run, MarkedText& out, const Value& value) {
  const auto plain = [&](std::string_view text) { out.append(text, from_template); };
  if (const Text* text = value.text()) {
    if (run.read(text->marked.size()) && run.room(out.size() + text->marked.size())) out.append(text->marked);
  } else if (value.list() != nullptr || value.dict() != nullptr) {
    append_repr(run, out, value);
  } else if (const bool* flag = value.as<bool>()) {
    plain(*flag ? "True" : "False");
  } else if (const std::int64_t* number = value.as<std::int64_t>()) {
    plain(concat(*number));
  } else if (const double* real = value.as<double>()) {
    plain(float_text(*real));
  } else if (value.is_none()) {
    plain("None");
  } else if (!value.is_undefined()) {
    run.fail("a ", type_name(value), " printed");
  }
}

inline MarkedText str(Rendering& run, const Value& value) {
  MarkedText out;
  append_str(run, out, value);
  return out;
}

struct JsonStyle {
  std::optional<MarkedText> indent;  // the indent of one level; if there is none, everything is on one line
  MarkedText item_separator, key_separator;
  bool is_ascii = false;
  bool sorts_keys = false;
};

namespace detail {

inline void append_json(Rendering& run, MarkedText& out, const Value& value, const JsonStyle& style, std::size_t level);

inline void append_json_text(Rendering& run, MarkedText& out, const MarkedText& text, const JsonStyle& style) {
  out.append("\"", from_template);
  append_escaped(run, out, text, [&](std::uint32_t c) { return json_escape(c, style.is_ascii); });
  out.append("\"", from_template);
}

inline std::string json_number(double value) {
  const std::string text = float_text(value);
  return text == "nan" ? "NaN" : text == "inf" ? "Infinity" : text == "-inf" ? "-Infinity" : text;
}

inline void append_json_line(Rendering& run, MarkedText& out, const JsonStyle& style, std::size_t level) {
  if (!style.indent) return;
  out.append("\n", from_template);
  for (std::size_t i = 0; i < level && run.room(out.memory()); ++i) out.append(*style.indent);
}

inline void append_json_dict(Rendering& run, MarkedText& out, const Dict& dict, const JsonStyle& style, std::size_t level) {
  std::vector<std::pair<MarkedText, const Value*>> entries;
  for (const auto& [key, entry] : dict.entries) {
    if (key.list() != nullptr || key.is_undefined()) return void(run.fail("tojson: a key of type ", type_name(key)));
    if (style.sorts_keys && key.text() == nullptr && dict.entries.size() > 1) {
      return void(run.fail("tojson: sort_keys with a key of type ", type_name(key), " is not supported"));
    }
    MarkedText name;
    if (key.text() != nullptr) {
      name = key.text()->marked;
    } else if (const bool* flag = key.as<bool>()) {
      name = MarkedText(*flag ? "true" : "false");
    } else if (const double* real = key.as<double>()) {
      name = MarkedText(json_number(*real));
    } else {
      name = key.is_none() ? MarkedText("null") : str(run, key);
    }
    entries.emplace_back(std::move(name), &entry);
  }
  if (style.sorts_keys) {
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first.bytes() < b.first.bytes(); });
  }
  out.append("{", from_template);
  for (std::size_t i = 0; i < entries.size() && !run.failed(); ++i) {
    if (i > 0) out.append(style.item_separator);
    append_json_line(run, out, style, level + 1);
    append_json_text(run, out, entries[i].first, style);
    out.append(style.key_separator);
    append_json(run, out, *entries[i].second, style, level + 1);
  }
  if (!entries.empty()) append_json_line(run, out, style, level);
  out.append("}", from_template);
}

inline void append_json(Rendering& run, MarkedText& out, const Value& value, const JsonStyle& style, std::size_t level) {
  const auto plain = [&](std::string_view text) { out.append(text, from_template); };
  if (!run.step() || !run.room(out.memory())) return;
  if (const Text* text = value.text()) return append_json_text(run, out, text->marked, style);
  if (const Dict* dict = value.dict()) return append_json_dict(run, out, *dict, style, level);
  if (value.is_none()) return plain("null");
  if (const bool* flag = value.as<bool>()) return plain(*flag ? "true" : "false");
  if (value.as<std::int64_t>() != nullptr) return append_str(run, out, value);
  if (const double* real = value.as<double>()) return plain(json_number(*real));
  const List* list = value.list();
  if (list == nullptr || list->kind > ListKind::tuple) {
    return void(run.fail("tojson: a value of type ", type_name(value), " is no JSON"));
  }
  plain("[");
  for (const Value& item : list->items) {
    if (&item != &list->items.front()) out.append(style.item_separator);
    append_json_line(run, out, style, level + 1);
    append_json(run, out, item, style, level + 1);
    if (run.failed()) return;
  }
  if (!list->items.empty()) append_json_line(run, out, style, level);
  plain("]");
}

}  // namespace detail

inline MarkedText json_text(Rendering& run, const Value& value, const JsonStyle& style) {
  MarkedText out;
  detail::append_json(run, out, value, style, 0);
  return out;
}

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
