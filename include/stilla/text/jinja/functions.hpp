// SPDX-License-Identifier: Apache-2.0
//
// The functions that a template can call by name: range, dict, namespace, and those that the library transformers adds:
// raise_exception and strftime_now. The caller of a rendering gives the time that strftime_now uses.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/io/checked.hpp>
#include <stilla/text/jinja/operators.hpp>
#include <stilla/text/jinja/parameters.hpp>
#include <stilla/text/jinja/print.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

struct Function {
  std::string_view name;
  Value (*operation)(Rendering& run, const Arguments& arguments);
};

// The text that C's strftime() writes in the C locale for this time and format.
inline std::string time_text(Rendering& run, const LocalTime& time, std::string_view format);

namespace detail {

inline Value range_function(Rendering& run, const Arguments& arguments) {
  constexpr std::int64_t most = 100000;  // as in Jinja's sandbox
  const Parameters parameters(run, "range()", arguments, {"start", "stop", "step"}, 1);
  const std::int64_t first = parameters.integer(0, 0), step = parameters.integer(2, 1);
  const std::int64_t start = parameters.has(1) ? first : 0, stop = parameters.has(1) ? parameters.integer(1, 0) : first;
  if (step == 0) return run.fail("range() with step 0");
  std::vector<Value> out;
  for (std::int64_t at = start; step > 0 ? at < stop : at > stop;) {
    if (static_cast<std::int64_t>(out.size()) == most) return run.fail("range() of more than ", most, " numbers");
    if (!run.step()) return {};
    out.push_back(at);
    if (!checked_add(at, step, at)) break;
  }
  return run.list(std::move(out), ListKind::range);
}

inline Value dict_function(Rendering& run, const Arguments& arguments) {
  if (arguments.positional.size() > 1) return run.fail("dict() takes at most 1 argument");
  std::vector<std::pair<Value, Value>> entries;
  if (!arguments.positional.empty()) {
    const Dict* dict = arguments.positional[0].dict();
    if (dict == nullptr) return run.fail("dict() of a ", type_name(arguments.positional[0]), " is not supported");
    entries = dict->entries;
  }
  for (const auto& [name, value] : arguments.named) {
    const Value key = run.text(name);
    std::size_t at = 0;
    while (at < entries.size() && !equal(run, entries[at].first, key)) ++at;
    if (at == entries.size()) entries.emplace_back(key, Value());
    entries[at].second = value;
  }
  return run.dict(std::move(entries));
}

inline Value namespace_function(Rendering& run, const Arguments& arguments) {
  const Value dict = dict_function(run, arguments);
  Namespace* const space = run.failed() ? nullptr : run.name_space();
  if (space == nullptr) return {};
  for (const auto& [key, value] : dict.dict()->entries) {
    const Text* name = key.text();
    if (name == nullptr || name->marked.bytes().starts_with('_')) {
      return run.fail("namespace(): an attribute is no text or begins with _");
    }
    space->attributes.emplace_back(name->marked.bytes(), value);
  }
  return space;
}

inline Value raise_exception_function(Rendering& run, const Arguments& arguments) {
  const Parameters parameters(run, "raise_exception()", arguments, {"message"}, 1);
  const MarkedText text = str(run, parameters[0]);
  return run.fail("the template says: ", printable(text.bytes()));
}

inline Value strftime_now_function(Rendering& run, const Arguments& arguments) {
  const Parameters parameters(run, "strftime_now()", arguments, {"format"}, 1);
  const MarkedText format = parameters.text(0);
  if (run.failed() || !run.read(format.size())) return {};
  // C's strftime() does not tell which byte of the format became which byte of the result. So if any byte of the format comes from a
  // message, the whole result counts as text of a message.
  return run.text(MarkedText(time_text(run, run.now(), format.bytes()), format.has_message() ? from_message : from_template));
}

inline constexpr Function functions[] = {
    {"range", range_function},
    {"dict", dict_function},
    {"namespace", namespace_function},
    {"raise_exception", raise_exception_function},
    {"strftime_now", strftime_now_function},
};

// The day of the week of a date. 0 is Sunday.
inline int week_day(const LocalTime& time) {
  constexpr std::array<int, 12> shift{0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4};
  const int year = time.month < 3 ? time.year - 1 : time.year;
  const int days = year + year / 4 - year / 100 + year / 400 + shift[static_cast<std::size_t>(time.month - 1)] + time.day;
  return (days % 7 + 7) % 7;
}

inline int day_of_year(const LocalTime& time) {
  constexpr std::array<int, 12> before{0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  const bool is_leap = (time.year % 4 == 0 && time.year % 100 != 0) || time.year % 400 == 0;
  return before[static_cast<std::size_t>(time.month - 1)] + time.day + (is_leap && time.month > 2 ? 1 : 0);
}

inline constexpr std::array<std::string_view, 7> day_names{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
inline constexpr std::array<std::string_view, 12> month_names{"January", "February", "March",     "April",   "May",      "June",
                                                              "July",    "August",   "September", "October", "November", "December"};

// A number as text with at least `digits` digits, filled up in front with `fill`. If `fill` is '-', it is not filled up.
inline std::string padded(int value, std::size_t digits, char fill) {
  std::string text = concat(value);
  if (fill != '-' && text.size() < digits) text.insert(0, digits - text.size(), fill);
  return text;
}

// Returns the text that one conversion of strftime() writes. For "%-d", `letter` is 'd' and `flag` is '-'. The text is empty if the
// conversion is not supported.
inline std::string time_part(const LocalTime& time, char letter, char flag) {
  const auto number = [&](int value, std::size_t digits, char fill) { return padded(value, digits, flag != 0 ? flag : fill); };
  const std::string_view day = day_names[static_cast<std::size_t>(week_day(time))];
  const std::string_view month = month_names[static_cast<std::size_t>(time.month - 1)];
  const int hour12 = time.hour % 12 == 0 ? 12 : time.hour % 12;
  switch (letter) {
    case 'Y': return number(time.year, 4, '0');
    case 'y': return number(time.year % 100, 2, '0');
    case 'm': return number(time.month, 2, '0');
    case 'd': return number(time.day, 2, '0');
    case 'e': return number(time.day, 2, ' ');
    case 'j': return number(day_of_year(time), 3, '0');
    case 'H': return number(time.hour, 2, '0');
    case 'k': return number(time.hour, 2, ' ');
    case 'I': return number(hour12, 2, '0');
    case 'l': return number(hour12, 2, ' ');
    case 'M': return number(time.minute, 2, '0');
    case 'S': return number(time.second, 2, '0');
    case 'w': return number(week_day(time), 1, '0');
    case 'u': return number(week_day(time) == 0 ? 7 : week_day(time), 1, '0');
    default: break;
  }
  if (flag != 0) return {};
  switch (letter) {
    case 'B': return std::string(month);
    case 'b':
    case 'h': return std::string(month.substr(0, 3));
    case 'A': return std::string(day);
    case 'a': return std::string(day.substr(0, 3));
    case 'p': return time.hour < 12 ? "AM" : "PM";
    case '%': return "%";
    case 'n': return "\n";
    case 't': return "\t";
    default: return {};
  }
}

// Returns the format that a conversion of strftime() stands for if it combines several other conversions: "%Y-%m-%d" for the letter F.
inline std::string_view composed_format(char letter) {
  switch (letter) {
    case 'F': return "%Y-%m-%d";
    case 'T':
    case 'X': return "%H:%M:%S";
    case 'R': return "%H:%M";
    case 'D':
    case 'x': return "%m/%d/%y";
    case 'r': return "%I:%M:%S %p";
    case 'c': return "%a %b %e %H:%M:%S %Y";
    default: return {};
  }
}

}  // namespace detail

inline std::string time_text(Rendering& run, const LocalTime& time, std::string_view format) {
  std::string out;
  for (std::size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%') {
      out.push_back(format[at]);
      continue;
    }
    const std::size_t begin = at;
    const char flag = at + 1 < format.size() && (format[at + 1] == '-' || format[at + 1] == '_') ? format[++at] : '\0';
    const char letter = at + 1 < format.size() ? format[++at] : '\0';
    const std::string_view composed = flag == 0 ? detail::composed_format(letter) : std::string_view();
    const std::string part = composed.empty() ? detail::time_part(time, letter, flag == '_' ? ' ' : flag) : time_text(run, time, composed);
    if (part.empty()) {
      run.fail("strftime_now() with '", printable(format.substr(begin, at + 1 - begin)), "' is not supported");
      return {};
    }
    out += part;
  }
  return out;
}

// Whether `name` is the name of a function or object of Jinja that Stilla does not have, such as cycler.
inline bool is_unknown_function(std::string_view name) {
  constexpr std::string_view names[] = {"cycler", "joiner", "lipsum", "self"};
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

// The function that templates call by this name; null if there is none.
inline const Function* find_function(std::string_view name) {
  for (const Function& function : detail::functions) {
    if (function.name == name) return &function;
  }
  return nullptr;
}

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
