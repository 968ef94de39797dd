// SPDX-License-Identifier: Apache-2.0
//
// Jinja's filters, which follow | in an expression. This header has the filters of single values. list_filters.hpp has the filters
// of lists, and the table of all filters.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/text/jinja/methods.hpp>
#include <stilla/text/jinja/operators.hpp>
#include <stilla/text/jinja/parameters.hpp>
#include <stilla/text/jinja/print.hpp>
#include <stilla/text/jinja/printf.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/jinja/text_ops.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja { namespace detail {

inline Value default_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'default'", arguments, {"default_value", "boolean"});
  const bool is_missing = value.is_undefined() || (parameters.flag(1, false) && !truth(value));
  if (!is_missing) return value;
  return parameters.has(0) ? parameters[0] : run.text(MarkedText());
}

inline Value trim_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'trim'", arguments, {"chars"});
  const Value text = run.text(str(run, value), is_safe(value));
  return run.failed() ? Value() : strip_method<true, true>(run, text, arguments);
}

template <MarkedText (*changed)(const MarkedText&)>
Value case_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "this filter", arguments, {});
  const MarkedText text = str(run, value);
  return run.change_each(text.size()) ? run.text(changed(text), is_safe(value)) : Value();
}

// Jinja's filter title. It is like Python's str.title(), but words begin only behind white space, - and opening brackets.
inline MarkedText title_words(const MarkedText& text) {
  MarkedText out;
  bool begins = true;
  append_in_case(out, text, {0, text.size()}, [&](std::uint32_t c, bool) {
    const bool is_bracket = c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) != std::string_view::npos;
    const bool is_first = std::exchange(begins, is_space(c) || is_bracket);
    return is_first ? Case::upper : Case::lower;
  });
  return out;
}

inline Value string_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "filter 'string'", arguments, {});
  return value.text() != nullptr ? value : run.text(str(run, value));
}

inline Value safe_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "filter 'safe'", arguments, {});
  return run.text(str(run, value), true);
}

inline Value escape_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "filter 'escape'", arguments, {});
  return is_safe(value) ? value : run.text(html_escaped(run, str(run, value)), true);
}

inline Value replace_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'replace'", arguments, {"old", "new", "count"}, 2);
  const std::int64_t most = parameters.integer(2, -1);
  const MarkedText text = str(run, value), old = str(run, parameters[0]), by = str(run, parameters[1]);
  if (!run.read(text.size())) return {};
  return run.text(replaced(run, text, old.bytes(), by, most < 0 ? no_limit : static_cast<std::size_t>(most)));
}

inline Value format_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  if (!arguments.named.empty()) return run.fail("filter 'format' with named values is not supported");
  const Value format = run.text(str(run, value), is_safe(value));
  return run.failed() ? Value() : format_percent(run, *format.text(), run.list(arguments.positional, ListKind::tuple));
}

inline Value indent_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'indent'", arguments, {"width", "first", "blank"});
  MarkedText indention;
  if (parameters[0].text() != nullptr) {
    indention = parameters.text(0);
  } else {
    append_fill(run, indention, parameters.count(0, 4));
  }
  MarkedText text = str(run, value);
  text.append("\n", from_template);  // as Jinja does; split_lines() removes the last line end
  if (!run.read(text.size())) return {};
  const std::vector<ByteRange> lines = split_lines(text.bytes(), false);
  MarkedText out;
  if (parameters.flag(1, false)) out.append(indention);
  for (std::size_t i = 0; i < lines.size() && run.room(out.memory()); ++i) {
    const bool is_blank = lines[i].begin == lines[i].end;
    if (i > 0) out.append("\n", text.changed_origin(lines[i - 1].end));
    if (i > 0 && (!is_blank || parameters.flag(2, false))) out.append(indention);
    out.append(text, lines[i].begin, lines[i].end);
  }
  return run.text(std::move(out), is_safe(value));
}

inline Value center_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'center'", arguments, {"width"});
  return run.text(justified(run, str(run, value), parameters.count(0, 80), Side::both));
}

inline Value truncate_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'truncate'", arguments, {"length", "killwords", "end", "leeway"});
  const MarkedText text = str(run, value), end = parameters.text(2, "...");
  const std::size_t length = parameters.count(0, 255), tail = char_count(end.bytes());
  const std::int64_t leeway = parameters.integer(3, 5);
  if (length < tail || leeway < 0) return run.fail("filter 'truncate' to less than its end, or with a leeway below 0");
  if (!run.each_character(text.size()) || char_count(text.bytes()) <= length + static_cast<std::size_t>(leeway)) return run.text(text);
  std::size_t kept = byte_of_char(text.bytes(), length - tail);
  const std::size_t space = text.bytes().substr(0, kept).rfind(' ');
  if (!parameters.flag(1, false) && space != std::string_view::npos) kept = space;
  MarkedText out = text.part(0, kept);
  out.append(end);
  return run.text(std::move(out));
}

inline Value wordcount_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "filter 'wordcount'", arguments, {});
  const MarkedText text = str(run, value);
  std::int64_t count = 0;
  bool is_word = false;
  for (std::size_t at = 0; at < text.size() && run.step();) {
    const Utf8Char c = decode_utf8(text.bytes(), at);
    const bool goes_on = is_letter_or_number(c.value) || c.value == '_';
    count += goes_on && !is_word ? 1 : 0;
    is_word = goes_on;
    at += c.length;
  }
  return count;
}

inline Value urlencode_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "filter 'urlencode'", arguments, {});
  if (value.dict() || value.list()) return run.fail("filter 'urlencode' of a ", type_name(value), " is not supported");
  const MarkedText text = str(run, value);
  MarkedText out;
  for (std::size_t at = 0; at < text.size() && run.step(); ++at) {
    const auto byte = static_cast<unsigned char>(text.bytes()[at]);
    const bool is_mark = std::string_view("_.-~/").find(text.bytes()[at]) != std::string_view::npos;
    const bool stays = byte < 0x80 && (is_letter_or_number(byte) || is_mark);
    if (stays) {
      out.append(text, at, at + 1);
    } else {
      const char escape[] = {'%', "0123456789ABCDEF"[byte >> 4], "0123456789ABCDEF"[byte & 15]};
      out.append({escape, sizeof escape}, text.changed_origin(at));
    }
  }
  return run.text(std::move(out));
}

// Python's int() and float() ignore white space around a number and single underscores between its digits. without_space() removes the
// white space. without_underscores() removes the underscores, and returns nothing if one of them stands elsewhere.
inline std::string_view without_space(std::string_view text) {
  const ByteRange range = stripped(text, nullptr, true, true);
  return text.substr(range.begin, range.end - range.begin);
}
inline std::optional<std::string> without_underscores(std::string_view text, bool (*is_digit)(char)) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out.push_back(text[i]);
    } else if (i == 0 || i + 1 == text.size() || !is_digit(text[i - 1]) || !is_digit(text[i + 1])) {
      return std::nullopt;
    }
  }
  return out;
}

// `number` is a number that no double can hold, because it is too close to 0 or too far from it. Returns whether it is too close. The
// power of ten of its first digit that is not 0 tells which: the exponent, plus the number of digits between this digit and the
// decimal point.
inline bool is_too_small(std::string_view number) {
  const std::size_t e = std::min(number.find_first_of("eE"), number.size());
  std::int64_t exponent = 0;
  if (e < number.size()) {
    const char* begin = number.data() + e + (number[e + 1] == '+' ? 2 : 1);
    const std::from_chars_result read = std::from_chars(begin, number.data() + number.size(), exponent);
    if (read.ec != std::errc()) return number[e + 1] == '-';
  }
  const std::string_view digits = number.substr(0, e);
  const auto first = static_cast<std::int64_t>(digits.find_first_of("123456789"));
  return exponent < first - static_cast<std::int64_t>(std::min(digits.find('.'), digits.size()));
}

inline std::optional<double> read_float(std::string_view text) {
  text = without_space(text);
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  const auto spelling = without_underscores(text, [](char c) { return c >= '0' && c <= '9'; });
  if (!spelling || spelling->find_first_of("()xX") != std::string::npos) return std::nullopt;
  double value = 0;
  const char* end = spelling->data() + spelling->size();
  const std::from_chars_result read = std::from_chars(spelling->data(), end, value);
  if (read.ptr != end || read.ec == std::errc::invalid_argument) return std::nullopt;
  if (read.ec == std::errc::result_out_of_range) {
    value = is_too_small(*spelling) ? 0.0 : std::numeric_limits<double>::infinity();
    return spelling->starts_with('-') ? -value : value;
  }
  return value;
}

inline std::optional<std::int64_t> read_integer(Rendering& run, std::string_view text, int base) {
  text = without_space(text);
  std::string digits;
  if (text.starts_with('-')) digits = "-";
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  const char letter = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : '\0';  // as in 0xff
  if (letter != '\0' && text.size() > 2 && text[0] == '0' && (text[1] | 32) == letter) text.remove_prefix(text[2] == '_' ? 3 : 2);
  const auto rest = without_underscores(text, [](char c) { return c != '_'; });
  if (!rest || rest->starts_with('-')) return std::nullopt;
  digits += *rest;
  std::int64_t value = 0;
  const char* end = digits.data() + digits.size();
  const std::from_chars_result read = std::from_chars(digits.data(), end, value, base);
  if (read.ptr != end || read.ec == std::errc::invalid_argument) return std::nullopt;
  if (read.ec == std::errc::result_out_of_range) run.fail("an integer beyond 64 bits");
  return value;
}

inline Value int_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'int'", arguments, {"default", "base"});
  Value fallback = parameters.has(0) ? parameters[0] : Value(std::int64_t{0});
  const std::int64_t base = parameters.integer(1, 10);
  if (base < 2 || base > 36) return run.fail("filter 'int' with the base ", base, " is not supported");
  if (value.is_undefined()) return undefined_error(run, value);
  if (const auto integer = integer_of(value)) return *integer;
  std::optional<double> number = number_of(value);
  if (const Text* text = value.text()) {
    if (!run.change_each(text->marked.size())) return {};
    if (const auto integer = read_integer(run, text->marked.bytes(), static_cast<int>(base))) return *integer;
    number = read_float(text->marked.bytes());
  }
  if (!number || !std::isfinite(*number)) return fallback;
  if (std::fabs(*number) >= 9.2e18) return run.fail("an integer beyond 64 bits");
  return static_cast<std::int64_t>(*number);
}

inline Value float_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'float'", arguments, {"default"});
  if (value.is_undefined()) return undefined_error(run, value);
  if (const auto number = number_of(value)) return *number;
  if (value.text() != nullptr && !run.change_each(value.text()->marked.size())) return {};
  const auto number = value.text() != nullptr ? read_float(value.text()->marked.bytes()) : std::nullopt;
  if (number) return *number;
  return parameters.has(0) ? parameters[0] : Value(0.0);
}

inline Value abs_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "filter 'abs'", arguments, {});
  if (const auto integer = integer_of(value))
    return *integer < 0 ? arithmetic(run, Operator::subtract, std::int64_t{0}, *integer) : *integer;
  const auto number = number_of(value);
  return number ? Value(std::fabs(*number)) : run.fail("filter 'abs' of a ", type_name(value));
}

inline Value round_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'round'", arguments, {"precision", "method"});
  const std::int64_t precision = parameters.integer(0, 0);
  const MarkedText method = parameters.text(1, "common");
  const auto number = number_of(value);
  if (!number) return run.fail("filter 'round' of a ", type_name(value));
  if (precision < 0 || precision > 15) return run.fail("filter 'round' to ", precision, " digits is not supported");
  if (method.bytes() == "common") {
    if (integer_of(value)) return *integer_of(value);
    const std::string text = fixed_text(*number, static_cast<int>(precision));  // correctly rounded, ties to even
    double out = *number;
    if (std::isfinite(out)) std::from_chars(text.data(), text.data() + text.size(), out);
    return out;
  }
  if (!std::isfinite(*number)) return run.fail("filter 'round' of ", float_text(*number), " to an integer");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method.bytes() == "ceil") return std::ceil(*number * scale) / scale;
  if (method.bytes() == "floor") return std::floor(*number * scale) / scale;
  return run.fail("filter 'round' with the method '", printable(method.bytes()), "'");
}

inline Value tojson_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'tojson'", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.is_ascii = parameters.flag(0, false);
  style.sorts_keys = parameters.flag(3, false);
  if (parameters[1].text() != nullptr) {
    style.indent = parameters.text(1);
  } else if (parameters.is_given(1)) {
    style.indent.emplace();
    append_fill(run, *style.indent, parameters.count(1, 0));
  }
  style.item_separator = MarkedText(style.indent ? "," : ", ");
  style.key_separator = MarkedText(": ");
  if (parameters.is_given(2)) {
    const List* list = parameters[2].list();
    if (list == nullptr || list->items.size() != 2 || !list->items[0].text() || !list->items[1].text()) {
      return run.fail("filter 'tojson': separators are two texts");
    }
    style.item_separator = list->items[0].text()->marked;
    style.key_separator = list->items[1].text()->marked;
  }
  return run.text(json_text(run, value, style));
}

inline Value attr_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'attr'", arguments, {"name"}, 1);
  const MarkedText name = parameters.text(0);
  if (value.is_undefined()) return undefined_error(run, value);
  if (value.loop() != nullptr && name.bytes() != "cycle") return loop_attribute(run, *value.loop(), name.bytes(), nullptr);
  const Value* found = value.name_space() != nullptr ? find_attribute(*value.name_space(), name.bytes()) : nullptr;
  if (found != nullptr) return *found;
  const std::string_view method = method_name(value, name.bytes());
  return method.empty() ? Value() : run.method(value, method);
}

}  // namespace detail
}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
