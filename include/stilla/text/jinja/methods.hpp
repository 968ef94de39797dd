// SPDX-License-Identifier: Apache-2.0
//
// The methods of Python's str, dict, list and tuple that templates may call. These are the methods that change nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/text/jinja/operators.hpp>
#include <stilla/text/jinja/parameters.hpp>
#include <stilla/text/jinja/printf.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/jinja/text_ops.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {
namespace detail {

inline Value parts_list(Rendering& run, const Text& text, const std::vector<ByteRange>& ranges, ListKind kind = ListKind::list) {
  std::vector<Value> out;
  for (const ByteRange& range : ranges) {
    if (!run.step()) return {};
    out.push_back(run.text(text.marked.part(range.begin, range.end), text.is_safe));
  }
  return run.list(std::move(out), kind);
}

template <bool left, bool right>
Value strip_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, "strip()", arguments, {"chars"});
  const MarkedText chars = parameters.text(0);
  const MarkedText& text = self.text()->marked;
  if (!run.each_character(text.size() * (1 + chars.size()))) return {};
  const std::string_view bytes = chars.bytes();
  const ByteRange range = stripped(text.bytes(), parameters.is_given(0) ? &bytes : nullptr, left, right);
  return run.text(text.part(range.begin, range.end), self.text()->is_safe);
}

template <bool from_right>
Value split_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, "split()", arguments, {"sep", "maxsplit"});
  const MarkedText& text = self.text()->marked;
  const std::int64_t most = parameters.integer(1, -1);
  const std::size_t limit = most < 0 ? no_limit : static_cast<std::size_t>(most);
  if (!run.each_character(text.size())) return {};
  if (!parameters.is_given(0)) return parts_list(run, *self.text(), split_at_space(text.bytes(), limit, from_right));
  const MarkedText separator = parameters.text(0);
  if (separator.empty()) return run.fail("split() at an empty text");
  if (!run.search(text.size(), separator.size())) return {};
  return parts_list(run, *self.text(), split(text.bytes(), separator.bytes(), limit, from_right));
}

template <bool from_right>
Value partition_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, "partition()", arguments, {"sep"}, 1);
  const MarkedText& text = self.text()->marked;
  const MarkedText separator = parameters.text(0);
  if (separator.empty() || !run.search(text.size(), separator.size())) return run.fail("partition() at an empty text");
  const std::size_t at = from_right ? text.bytes().rfind(separator.bytes()) : text.bytes().find(separator.bytes());
  const std::size_t size = text.size();
  if (at == std::string_view::npos) {
    const std::size_t end = from_right ? 0 : size;
    return parts_list(run, *self.text(), {{0, end}, {end, end}, {end, size}}, ListKind::tuple);
  }
  const std::size_t behind = at + separator.size();
  return parts_list(run, *self.text(), {{0, at}, {at, behind}, {behind, size}}, ListKind::tuple);
}

inline Value splitlines_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, "splitlines()", arguments, {"keepends"});
  const MarkedText& text = self.text()->marked;
  if (!run.read(text.size())) return {};
  return parts_list(run, *self.text(), split_lines(text.bytes(), parameters.flag(0, false)));
}

// Does what Python's startswith() and endswith() do. The argument is one text or a tuple of texts.
template <bool at_end>
Value affix_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, at_end ? "endswith()" : "startswith()", arguments, {"affix"}, 1);
  const std::string_view text = self.text()->marked.bytes();
  const auto has = [&](const Value& affix) {
    if (affix.text() == nullptr) {
      run.fail(at_end ? "endswith()" : "startswith()", " with a ", type_name(affix), ", expected a str");
      return false;
    }
    const std::string_view bytes = affix.text()->marked.bytes();
    return run.read(bytes.size()) && (at_end ? text.ends_with(bytes) : text.starts_with(bytes));
  };
  const List* list = parameters[0].list();
  if (list == nullptr || list->kind != ListKind::tuple) return has(parameters[0]);
  return std::any_of(list->items.begin(), list->items.end(), has);
}

template <bool at_end>
Value remove_affix_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, at_end ? "removesuffix()" : "removeprefix()", arguments, {"affix"}, 1);
  const MarkedText affix = parameters.text(0);
  const MarkedText& text = self.text()->marked;
  if (!run.read(text.size())) return self;
  const bool has = at_end ? text.bytes().ends_with(affix.bytes()) : text.bytes().starts_with(affix.bytes());
  if (!has) return self;
  return run.text(at_end ? text.part(0, text.size() - affix.size()) : text.part(affix.size(), text.size()), self.text()->is_safe);
}

// The characters [start, end) of a text that Python's find(), rfind(), index(), rindex() and count() search.
struct SearchRange {
  ByteRange bytes;
  std::size_t start = 0;  // number of characters before the range
  bool is_empty = false;  // start is behind the end, or behind the end of the text
};
inline SearchRange search_range(const Parameters& parameters, std::string_view text) {
  SearchRange out;
  const auto size = static_cast<std::int64_t>(char_count(text));
  const auto bound = [&](std::size_t i, std::int64_t fallback) {
    std::int64_t at = parameters.integer(i, fallback);
    if (at < 0) at = std::max(at + size, std::int64_t{0});
    return at;
  };
  const std::int64_t start = bound(1, 0), end = std::min(bound(2, size), size);
  out.is_empty = start > end;
  if (out.is_empty) return out;
  out.start = static_cast<std::size_t>(start);
  out.bytes = {byte_of_char(text, out.start), byte_of_char(text, static_cast<std::size_t>(end))};
  return out;
}

template <bool from_right, bool must_be_there>
Value find_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, must_be_there ? "index()" : "find()", arguments, {"sub", "start", "end"}, 1);
  const std::string_view text = self.text()->marked.bytes();
  const MarkedText wanted = parameters.text(0);
  if (!run.each_character(text.size()) || !run.search(text.size(), wanted.size())) return {};
  const SearchRange range = search_range(parameters, text);
  const std::string_view part = text.substr(range.bytes.begin, range.bytes.end - range.bytes.begin);
  const std::size_t at = range.is_empty ? std::string_view::npos : from_right ? part.rfind(wanted.bytes()) : part.find(wanted.bytes());
  if (at == std::string_view::npos) {
    if (must_be_there) return run.fail("index(): '", printable(wanted.bytes()), "' is not in the text");
    return std::int64_t{-1};
  }
  return static_cast<std::int64_t>(range.start + char_count(part.substr(0, at)));
}

inline Value count_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, "count()", arguments, {"sub", "start", "end"}, 1);
  if (const List* list = self.list()) {
    return static_cast<std::int64_t>(
        std::count_if(list->items.begin(), list->items.end(), [&](const Value& item) { return equal(run, item, parameters[0]); }));
  }
  const std::string_view text = self.text()->marked.bytes();
  const MarkedText wanted = parameters.text(0);
  if (!run.each_character(text.size()) || !run.search(text.size(), wanted.size())) return {};
  const SearchRange range = search_range(parameters, text);
  if (range.is_empty) return std::int64_t{0};
  const std::string_view part = text.substr(range.bytes.begin, range.bytes.end - range.bytes.begin);
  if (wanted.empty()) return static_cast<std::int64_t>(char_count(part) + 1);
  return static_cast<std::int64_t>(split(part, wanted.bytes(), no_limit, false).size() - 1);
}

inline Value list_index_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, "index()", arguments, {"value"}, 1);
  const std::vector<Value>& items = self.list()->items;
  for (std::size_t i = 0; i < items.size() && !run.failed(); ++i) {
    if (equal(run, items[i], parameters[0])) return static_cast<std::int64_t>(i);
  }
  return run.fail("index(): the value is not in the list");
}

inline Value replace_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, "replace()", arguments, {"old", "new", "count"}, 2);
  const MarkedText& text = self.text()->marked;
  const std::int64_t most = parameters.integer(2, -1);
  const MarkedText old = parameters.text(0), plain = parameters.text(1);
  if (!run.read(text.size())) return {};
  const bool is_safe = self.text()->is_safe;
  const MarkedText by = is_safe && !detail::is_safe(parameters[1]) ? html_escaped(run, plain) : plain;
  return run.text(replaced(run, text, old.bytes(), by, most < 0 ? no_limit : static_cast<std::size_t>(most)), is_safe);
}

template <MarkedText (*changed)(const MarkedText&)>
Value case_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters none(run, "this method", arguments, {});
  const MarkedText& text = self.text()->marked;
  if (!run.change_each(text.size())) return {};
  return run.text(changed(text), self.text()->is_safe);
}

// Does what Python's isdigit() and similar methods do: the result is true if the text has at least one character and `holds` is true for
// all its characters.
template <bool (*holds)(std::uint32_t)>
Value all_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters none(run, "this method", arguments, {});
  const std::string_view text = self.text()->marked.bytes();
  if (!run.each_character(text.size())) return {};
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    if (!holds(c.value)) return false;
    at += c.length;
  }
  return !text.empty();
}
inline bool is_letter(std::uint32_t c) { return char_class(c) == CharClass::letter; }
inline bool is_letter_or_number(std::uint32_t c) { return is_letter(c) || is_digit(c); }

template <Case wanted>
Value is_case_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters none(run, "this method", arguments, {});
  const MarkedText& text = self.text()->marked;
  if (!run.change_each(text.size())) return {};
  bool has_cased = false;
  for (std::size_t at = 0; at < text.size(); at += decode_utf8(text.bytes(), at).length) {
    has_cased = has_cased || is_cased(decode_utf8(text.bytes(), at).value);
  }
  return has_cased && in_case(text, wanted).bytes() == text.bytes();
}

// Python's str.join(). Jinja's filter join uses this function too; it sets `takes_any` and takes values of any type. If `is_safe`, the
// separator is a text that Jinja calls safe (the filter safe marked it), and so is the result.
inline Value joined(Rendering& run, const MarkedText& separator, const std::vector<Value>& items, bool takes_any, bool is_safe) {
  MarkedText out;
  for (const Value& item : items) {
    if (&item != &items.front()) out.append(separator);
    if (item.text() == nullptr && !takes_any) return run.fail("join() of a ", type_name(item), ", expected a str");
    if (is_safe && !detail::is_safe(item)) {
      out.append(html_escaped(run, str(run, item)));
    } else {
      append_str(run, out, item);
    }
    if (!run.room(out.memory())) return {};
  }
  return run.text(std::move(out), is_safe);
}
inline Value join_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, "join()", arguments, {"iterable"}, 1);
  return joined(run, self.text()->marked, iterate(run, parameters[0]), false, self.text()->is_safe);
}

enum class Side : std::uint8_t { left, right, both };

// Does what Python's ljust(), rjust() and center() do. `side` is the side at which the text stands. `origin` says who wrote the fill
// character, the template or a message (marked_text.hpp).
inline MarkedText justified(Rendering& run, const MarkedText& text, std::size_t width, Side side, char fill = ' ',
                            Origin origin = from_template) {
  if (!run.each_character(text.size())) return text;
  const std::size_t size = char_count(text.bytes());
  if (width <= size || !run.room(text.size() + width)) return text;
  const std::size_t padding = width - size;
  // If the padding is odd, Python's center() puts the additional character on the left if the width is odd too, else on the right.
  const std::size_t before = side == Side::left ? 0 : side == Side::right ? padding : padding / 2 + (padding & width & 1);
  MarkedText out;
  append_fill(run, out, before, fill, origin);
  out.append(text);
  append_fill(run, out, padding - before, fill, origin);
  return out;
}
template <Side side>
Value justify_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, "this method", arguments, {"width", "fillchar"}, 1);
  const MarkedText fill = parameters.text(1, " ");
  if (fill.size() != 1) return run.fail("the fill character is not one of ASCII");
  const MarkedText& text = self.text()->marked;
  return run.text(justified(run, text, parameters.count(0, 0), side, fill.bytes()[0], fill.changed_origin(0)), self.text()->is_safe);
}
inline Value zfill_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, "zfill()", arguments, {"width"}, 1);
  const MarkedText& text = self.text()->marked;
  if (!run.each_character(text.size())) return {};
  const std::size_t width = parameters.count(0, 0), size = char_count(text.bytes());
  if (width <= size || !run.room(width)) return self;
  const bool has_sign = text.bytes().starts_with('-') || text.bytes().starts_with('+');
  MarkedText out = text.part(0, has_sign ? 1 : 0);
  append_fill(run, out, width - size, '0');
  out.append(text, has_sign ? 1 : 0, text.size());
  return run.text(std::move(out), self.text()->is_safe);
}

inline Value format_method(Rendering& run, const Value& self, const Arguments& arguments) {
  return format_braces(run, *self.text(), arguments);
}

inline Value get_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters parameters(run, "get()", arguments, {"key", "default"}, 1);
  if (run.failed()) return {};
  const Value* found = find_entry(run, *self.dict(), parameters[0]);
  if (found != nullptr) return *found;
  return parameters.has(1) ? parameters[1] : Value(None{});
}

template <ListKind kind>
Value view_method(Rendering& run, const Value& self, const Arguments& arguments) {
  const Parameters none(run, "this method", arguments, {});
  std::vector<Value> out;
  for (const auto& [key, value] : self.dict()->entries) {
    if (!run.step()) return {};
    out.push_back(kind == ListKind::keys ? key : kind == ListKind::values ? value : run.list({key, value}, ListKind::tuple));
  }
  return run.list(std::move(out), kind);
}

inline Value copy_method(Rendering&, const Value& self, const Arguments&) { return self; }  // values do not change, so no copy is needed

inline Value cycle_method(Rendering& run, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) return run.fail("loop.cycle() needs values");
  return arguments.positional[self.loop()->index % arguments.positional.size()];
}

inline constexpr NamedOperation text_methods[] = {
    {"strip", strip_method<true, true>},
    {"lstrip", strip_method<true, false>},
    {"rstrip", strip_method<false, true>},
    {"split", split_method<false>},
    {"rsplit", split_method<true>},
    {"splitlines", splitlines_method},
    {"partition", partition_method<false>},
    {"rpartition", partition_method<true>},
    {"startswith", affix_method<false>},
    {"endswith", affix_method<true>},
    {"removeprefix", remove_affix_method<false>},
    {"removesuffix", remove_affix_method<true>},
    {"find", find_method<false, false>},
    {"rfind", find_method<true, false>},
    {"index", find_method<false, true>},
    {"rindex", find_method<true, true>},
    {"count", count_method},
    {"replace", replace_method},
    {"lower", case_method<lower>},
    {"upper", case_method<upper>},
    {"capitalize", case_method<capitalized>},
    {"title", case_method<titled>},
    {"isdigit", all_method<is_python_digit>},
    {"isspace", all_method<is_space>},
    {"isalpha", all_method<is_letter>},
    {"isalnum", all_method<is_letter_or_number>},
    {"islower", is_case_method<Case::lower>},
    {"isupper", is_case_method<Case::upper>},
    {"join", join_method},
    {"ljust", justify_method<Side::left>},
    {"rjust", justify_method<Side::right>},
    {"center", justify_method<Side::both>},
    {"zfill", zfill_method},
    {"format", format_method},
};
inline constexpr NamedOperation dict_methods[] = {
    {"get", get_method},
    {"items", view_method<ListKind::items>},
    {"keys", view_method<ListKind::keys>},
    {"values", view_method<ListKind::values>},
    {"copy", copy_method},
};
inline constexpr NamedOperation list_methods[] = {
    {"index", list_index_method},
    {"count", count_method},
    {"copy", copy_method},
};
inline constexpr NamedOperation loop_methods[] = {{"cycle", cycle_method}};

inline const NamedOperation* find_operation(std::span<const NamedOperation> operations, std::string_view name) {
  for (const NamedOperation& operation : operations) {
    if (operation.name == name) return &operation;
  }
  return nullptr;
}

inline const NamedOperation* find_method_of(const Value& self, std::string_view name) {
  if (self.text() != nullptr) return find_operation(text_methods, name);
  if (self.dict() != nullptr) return find_operation(dict_methods, name);
  if (self.loop() != nullptr) return find_operation(loop_methods, name);
  const List* list = self.list();
  return list != nullptr && list->kind <= ListKind::tuple ? find_operation(list_methods, name) : nullptr;
}

}  // namespace detail

template <class>
std::string_view method_name(const Value& self, std::string_view name) {
  const NamedOperation* method = detail::find_method_of(self, name);
  return method != nullptr ? method->name : std::string_view();
}

// Whether there is a type of values that has a method with this name.
inline bool is_method_name(std::string_view name) {
  const std::span<const NamedOperation> types[] = {detail::text_methods, detail::dict_methods, detail::list_methods, detail::loop_methods};
  return std::any_of(std::begin(types), std::end(types), [&](auto methods) { return detail::find_operation(methods, name) != nullptr; });
}

inline Value call_method(Rendering& run, const Method& method, const Arguments& arguments) {
  const NamedOperation& found = *detail::find_method_of(method.self, method.name);  // method_name() has found it before
  return run.step() ? found.operation(run, method.self, arguments) : Value();
}

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
