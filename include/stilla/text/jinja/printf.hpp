// SPDX-License-Identifier: Apache-2.0
//
// Formats text in Python's two ways: "%s of %d" % (a, b), and "{} of {name}".format(a, name=b). The parts that templates use are
// supported: %s %r %d %i %x %X %f %% with the flags - and 0, a width and a precision, and {} {0} {name} without a format.
// Anything else is an error that names it.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/text/jinja/operators.hpp>
#include <stilla/text/jinja/print.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

// Returns a number as text, with `precision` digits behind the decimal point. `precision` is at most 60, so that the text always fits into
// the memory that the function reserves for it.
inline std::string fixed_text(double value, int precision) {
  std::string out(400, '\0');
  const auto end = std::to_chars(out.data(), out.data() + out.size(), value, std::chars_format::fixed, precision);
  out.resize(static_cast<std::size_t>(end.ptr - out.data()));
  return out;
}

namespace detail {

struct Conversion {
  bool is_left = false, is_zero_padded = false;
  std::size_t width = 0;
  std::optional<int> precision;
  char letter = 0;
};

// Reads a conversion of a format, for example the 5.2f of "%5.2f". `at` is the place behind the %, and is moved behind the conversion.
inline Conversion read_conversion(std::string_view format, std::size_t& at) {
  Conversion out;
  for (; at < format.size() && (format[at] == '-' || format[at] == '0'); ++at) {
    (format[at] == '-' ? out.is_left : out.is_zero_padded) = true;
  }
  const auto number = [&] {
    int value = 0;
    const std::from_chars_result read = std::from_chars(format.data() + at, format.data() + format.size(), value);
    at = static_cast<std::size_t>(read.ptr - format.data());
    return read.ec == std::errc::result_out_of_range ? std::numeric_limits<int>::max() : value;  // more than a text may have
  };
  if (at < format.size() && format[at] >= '1' && format[at] <= '9') out.width = static_cast<std::size_t>(number());
  if (at < format.size() && format[at] == '.') {
    ++at;
    out.precision = at < format.size() && format[at] != '-' ? number() : 0;
  }
  if (at < format.size()) out.letter = format[at++];
  return out;
}

inline MarkedText converted(Rendering& run, const Conversion& how, const Value& value) {
  MarkedText out;
  if (how.letter == 's' || how.letter == 'r') {
    how.letter == 's' ? append_str(run, out, value) : append_repr(run, out, value);
    if (!how.precision) return out;
    return out.part(0, byte_of_char(out.bytes(), static_cast<std::size_t>(*how.precision)));
  }
  const auto number = number_of(value);
  if (!number) return run.fail("%", std::string_view(&how.letter, 1), " of a ", type_name(value)), out;
  if (how.letter == 'f') {
    if (how.precision.value_or(6) > 60) run.fail("%f with more than 60 digits");
    out.append(fixed_text(*number, std::min(how.precision.value_or(6), 60)), from_template);
    return out;
  }
  std::int64_t integer = integer_of(value).value_or(0);
  if (!integer_of(value)) {
    if (how.letter != 'd' && how.letter != 'i') return run.fail("%x of a float"), out;
    if (!(*number > -9e18 && *number < 9e18)) return run.fail("%d of a number beyond 64 bits"), out;
    integer = static_cast<std::int64_t>(*number);
  }
  char digits[80];
  const int base = how.letter == 'd' || how.letter == 'i' ? 10 : 16;
  std::string text(digits, std::to_chars(digits, digits + sizeof digits, integer, base).ptr);
  if (how.letter == 'X') {
    for (char& c : text) c = c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  if (how.precision) run.fail("%.", *how.precision, std::string_view(&how.letter, 1), " is not supported");
  out.append(text, from_template);
  return out;
}

inline void append_padded(Rendering& run, MarkedText& out, const Conversion& how, const MarkedText& text) {
  const std::size_t size = char_count(text.bytes());
  const std::size_t padding = how.width > size ? how.width - size : 0;
  const bool has_zeros = how.is_zero_padded && !how.is_left && how.letter != 's' && how.letter != 'r';
  const std::size_t sign = has_zeros && text.bytes().starts_with('-') ? 1 : 0;
  out.append(text, 0, sign);
  if (!how.is_left) append_fill(run, out, padding, has_zeros ? '0' : ' ');
  out.append(text, sign, text.size());
  if (how.is_left) append_fill(run, out, padding);
}

}  // namespace detail

template <class>
Value format_percent(Rendering& run, const Text& format, const Value& values) {
  const List* list = values.list();
  const bool is_tuple = list != nullptr && list->kind == ListKind::tuple;
  const std::size_t count = is_tuple ? list->items.size() : 1;
  const MarkedText& marked = format.marked;
  const std::string_view bytes = marked.bytes();
  if (format.is_safe) return run.fail("% of a safe text is not supported");
  MarkedText out;
  std::size_t used = 0, done = 0;
  for (std::size_t at = bytes.find('%'); at != std::string_view::npos && run.read(bytes.size()); at = bytes.find('%', done)) {
    out.append(marked, done, at);
    done = at + 1;
    const detail::Conversion how = detail::read_conversion(bytes, done);
    if (how.letter == '%') {
      out.append("%", marked.changed_origin(at));
      continue;
    }
    if (how.letter == 0 || std::string_view("srdixXf").find(how.letter) == std::string_view::npos) {
      return run.fail("the format '", printable(bytes.substr(at, done - at)), "' is not supported");
    }
    if (used == count) return run.fail("not enough values for the format '", printable(bytes), "'");
    detail::append_padded(run, out, how, detail::converted(run, how, is_tuple ? list->items[used] : values));
    ++used;
    if (!run.room(out.memory())) return {};
  }
  const bool may_be_unused = values.dict() != nullptr || (list != nullptr && !is_tuple);
  if (used < count && !may_be_unused) return run.fail("too many values for the format '", printable(bytes), "'");
  out.append(marked, done, marked.size());
  return run.text(std::move(out));
}

// Formats as Python's str.format() does: puts the arguments in place of {}, {0} and {name} in the text `format`.
inline Value format_braces(Rendering& run, const Text& format, const Arguments& arguments) {
  if (format.is_safe) return run.fail("format() of a safe text is not supported");
  const MarkedText& marked = format.marked;
  const std::string_view bytes = marked.bytes();
  MarkedText out;
  std::size_t next = 0;
  for (std::size_t at = 0; at < bytes.size() && run.step();) {
    const std::size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
    out.append(marked, at, brace);
    at = brace;
    if (at == bytes.size()) break;
    if (at + 1 < bytes.size() && bytes[at + 1] == bytes[at]) {
      out.append(marked, at, at + 1);
      at += 2;
      continue;
    }
    const std::size_t end = bytes.find('}', at);
    const std::string_view field = bytes.substr(at, end == std::string_view::npos ? end : end + 1 - at);
    const auto refuse = [&] { return run.fail("the format field '", printable(field), "' is not supported"); };
    if (bytes[at] == '}' || end == std::string_view::npos) return refuse();
    const std::string_view name = field.substr(1, field.size() - 2);
    const Value* value = nullptr;
    std::size_t index = 0;
    if (name.empty()) {
      index = next++;
    } else if (std::from_chars(name.data(), name.data() + name.size(), index).ptr != name.data() + name.size()) {
      index = no_limit;
      for (const auto& [key, named] : arguments.named) value = key == name ? &named : value;
    }
    if (index < arguments.positional.size()) value = &arguments.positional[index];
    if (value == nullptr) return refuse();
    append_str(run, out, *value);
    at = end + 1;
  }
  return run.text(std::move(out));
}

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
