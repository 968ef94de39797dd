// SPDX-License-Identifier: Apache-2.0
//
// Operations on values: truth, comparison, arithmetic, membership, iteration, attributes and subscripts, with the meaning that
// they have in Python and in Jinja's sandbox. Unlike Python's, integers have 64 bits; a result that needs more is an error.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/io/checked.hpp>
#include <stilla/text/jinja/marked_text.hpp>
#include <stilla/text/jinja/print.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/jinja/text_ops.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

// If values of the type of `self` have a method called `name`, returns this name from the table of methods, as a view that stays valid.
// Otherwise the result is empty. The function is defined with the methods (methods.hpp), which need this header. It is a template,
// because an inline function would have to be defined wherever this header is included.
template <class = void>
std::string_view method_name(const Value& self, std::string_view name);

inline Value undefined_error(Rendering& run, const Value& value) {
  const std::string* name = value.as<Undefined>()->name;
  return run.fail(name != nullptr ? concat("'", printable(*name), "' is undefined") : "a value is undefined");
}

inline bool truth(const Value& value) {
  if (const bool* flag = value.as<bool>()) return *flag;
  if (const std::int64_t* number = value.as<std::int64_t>()) return *number != 0;
  if (const double* real = value.as<double>()) return *real != 0.0;
  if (const Text* text = value.text()) return !text->marked.empty();
  if (const List* list = value.list()) return list->kind == ListKind::generator || !list->items.empty();
  if (const Dict* dict = value.dict()) return !dict->entries.empty();
  return !value.is_undefined() && !value.is_none();
}

// The value of an integer, or of a bool as 0 or 1.
inline std::optional<std::int64_t> integer_of(const Value& value) {
  if (const std::int64_t* number = value.as<std::int64_t>()) return *number;
  if (const bool* flag = value.as<bool>()) return *flag ? 1 : 0;
  return std::nullopt;
}
inline std::optional<double> number_of(const Value& value) {
  if (const double* real = value.as<double>()) return *real;
  if (const auto integer = integer_of(value)) return static_cast<double>(*integer);
  return std::nullopt;
}

inline bool equal(Rendering& run, const Value& a, const Value& b) {
  if (!run.step()) return false;
  if (a.text() != nullptr && b.text() != nullptr) {
    const std::string_view x = a.text()->marked.bytes(), y = b.text()->marked.bytes();
    return x.size() == y.size() && run.read(x.size()) && x == y;
  }
  if (integer_of(a) && integer_of(b)) return *integer_of(a) == *integer_of(b);
  if (number_of(a) && number_of(b)) return *number_of(a) == *number_of(b);
  if (const List *x = a.list(), *y = b.list(); x != nullptr && y != nullptr) {
    if (x == y) return true;
    if (x->kind != y->kind || x->items.size() != y->items.size()) return false;
    if (x->kind == ListKind::generator || x->kind == ListKind::values) return false;
    if (x->kind > ListKind::tuple && x->kind != ListKind::range) {  // keys and items of a dict, which are sets
      return std::all_of(x->items.begin(), x->items.end(), [&](const Value& i) {
        return std::any_of(y->items.begin(), y->items.end(), [&](const Value& j) { return equal(run, i, j); });
      });
    }
    return std::equal(x->items.begin(), x->items.end(), y->items.begin(), [&](const Value& i, const Value& j) { return equal(run, i, j); });
  }
  if (const Dict *x = a.dict(), *y = b.dict(); x != nullptr && y != nullptr) {
    if (x == y) return true;
    const auto is_in_y = [&](const auto& entry) {
      return std::any_of(y->entries.begin(), y->entries.end(),
                         [&](const auto& other) { return equal(run, entry.first, other.first) && equal(run, entry.second, other.second); });
    };
    return x->entries.size() == y->entries.size() && std::all_of(x->entries.begin(), x->entries.end(), is_in_y);
  }
  if (a.is_undefined() || a.is_none()) return a.is_undefined() ? b.is_undefined() : b.is_none();
  const auto are_one = [](const auto* x, const auto* y) { return x != nullptr && x == y; };
  return are_one(a.name_space(), b.name_space()) || are_one(a.macro(), b.macro()) || are_one(a.function(), b.function()) ||
         are_one(a.loop(), b.loop());
}

// Compares a with b. The result is below 0 if a is smaller, 0 if they are equal, and above 0 if a is larger. It is an error if the
// values have no order.
inline int order(Rendering& run, const Value& a, const Value& b) {
  const auto sign = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
  if (!run.step()) return 0;
  if (a.is_undefined()) return undefined_error(run, a), 0;
  if (b.is_undefined()) return undefined_error(run, b), 0;
  if (a.text() != nullptr && b.text() != nullptr) {
    const std::string_view x = a.text()->marked.bytes(), y = b.text()->marked.bytes();
    return run.read(std::min(x.size(), y.size())) ? sign(x, y) : 0;
  }
  if (integer_of(a) && integer_of(b)) return sign(*integer_of(a), *integer_of(b));
  if (number_of(a) && number_of(b)) return sign(*number_of(a), *number_of(b));
  const List *x = a.list(), *y = b.list();
  if (x == nullptr || y == nullptr || x->kind != y->kind || x->kind > ListKind::tuple) {
    run.fail("'", type_name(a), "' and '", type_name(b), "' have no order");
    return 0;
  }
  for (std::size_t i = 0; i < x->items.size() && i < y->items.size(); ++i) {
    if (!equal(run, x->items[i], y->items[i])) return order(run, x->items[i], y->items[i]);
  }
  return sign(x->items.size(), y->items.size());
}

inline const Value* find_entry(Rendering& run, const Dict& dict, const Value& key) {
  for (const auto& [name, value] : dict.entries) {
    if (equal(run, name, key)) return &value;
  }
  return nullptr;
}

// Returns the values that a for statement iterates over if it is given `value`. If `value` is a generator, it has no values afterwards.
inline std::vector<Value> iterate(Rendering& run, const Value& value) {
  std::vector<Value> out;
  if (const List* list = value.list()) {
    if (list->is_spent || !run.read(list->items.size() * sizeof(Value))) return out;
    list->is_spent = list->kind == ListKind::generator;
    if (run.room(list->items.size() * sizeof(Value))) out = list->items;
  } else if (const Dict* dict = value.dict()) {
    for (const auto& entry : dict->entries) out.push_back(entry.first);
  } else if (const Text* text = value.text()) {
    const MarkedText& marked = text->marked;
    for (std::size_t at = 0; at < marked.size() && run.step();) {
      const std::size_t next = at + decode_utf8(marked.bytes(), at).length;
      out.push_back(run.text(marked.part(at, next)));
      at = next;
    }
  } else if (!value.is_undefined()) {
    run.fail("'", type_name(value), "' is not iterable");
  }
  return out;
}

// The length of `value`, as Python's len() gives it. Nothing if the value has no length.
inline std::optional<std::int64_t> length_of(Rendering& run, const Value& value) {
  if (const Text* text = value.text()) {
    run.each_character(text->marked.size());
    return static_cast<std::int64_t>(char_count(text->marked.bytes()));
  }
  if (const Dict* dict = value.dict()) return static_cast<std::int64_t>(dict->entries.size());
  if (value.is_undefined()) return 0;
  const List* list = value.list();
  if (list == nullptr || list->kind == ListKind::generator) return std::nullopt;
  return static_cast<std::int64_t>(list->items.size());
}

inline bool contains(Rendering& run, const Value& container, const Value& item) {
  if (const Text* text = container.text()) {
    if (item.text() == nullptr) return run.fail("'in' of a str with a ", type_name(item)), false;
    const std::string_view bytes = text->marked.bytes(), wanted = item.text()->marked.bytes();
    return run.search(bytes.size(), wanted.size()) && bytes.find(wanted) != std::string_view::npos;
  }
  if (const Dict* dict = container.dict()) return find_entry(run, *dict, item) != nullptr;
  for (const Value& other : iterate(run, container)) {
    if (equal(run, other, item)) return true;
  }
  return false;
}

// Returns the place that a Python index means in a sequence of `size` items. A negative index counts from the end. Returns nothing if
// there is no such place.
inline std::optional<std::size_t> place_of(std::int64_t index, std::int64_t size) {
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  return static_cast<std::size_t>(index);
}

inline const Value* find_attribute(const Namespace& space, std::string_view name) {
  for (const auto& [key, value] : space.attributes) {
    if (key == name) return &value;
  }
  return nullptr;
}

// Returns the attribute `name` of Jinja's variable `loop`. previtem is undefined in the first round of the loop, and nextitem in the
// last. An undefined value then keeps `kept`, by which an error message can name it. `kept` points to the attribute's name in the
// syntax tree, and is null if the name does not stand there.
inline Value loop_attribute(Rendering& run, const Loop& loop, std::string_view name, const std::string* kept) {
  const auto number = [](std::size_t value) { return Value(static_cast<std::int64_t>(value)); };
  const std::size_t size = loop.items.size();
  if (name == "index") return number(loop.index + 1);
  if (name == "index0") return number(loop.index);
  if (name == "revindex") return number(size - loop.index);
  if (name == "revindex0") return number(size - loop.index - 1);
  if (name == "first") return loop.index == 0;
  if (name == "last") return loop.index + 1 == size;
  if (name == "length") return number(size);
  if (name == "depth") return number(1);  // for recursive loops, which are not supported
  if (name == "depth0") return number(0);
  if (name == "previtem") return loop.index > 0 ? loop.items[loop.index - 1] : Value(Undefined{kept});
  if (name == "nextitem") return loop.index + 1 < size ? loop.items[loop.index + 1] : Value(Undefined{kept});
  return run.fail("loop.", printable(name), " is not supported");
}

// Returns value[key] as Jinja's environment.getitem() does: an item, otherwise an attribute with this name, otherwise undefined. An
// undefined result keeps `name`, by which an error message can name it.
inline Value item_of(Rendering& run, const Value& value, const Value& key, const std::string* name) {
  if (!run.step()) return {};
  if (value.is_undefined()) return undefined_error(run, value);
  if (const Dict* dict = value.dict()) {
    if (const Value* found = find_entry(run, *dict, key)) return *found;
  }
  const auto index = integer_of(key);
  if (const List* list = value.list(); list != nullptr && index && list->kind <= ListKind::range) {
    const auto place = place_of(*index, static_cast<std::int64_t>(list->items.size()));
    return place ? list->items[*place] : Value(Undefined{name});
  }
  if (const Text* text = value.text(); text != nullptr && index && run.each_character(text->marked.size())) {
    const std::string_view bytes = text->marked.bytes();
    const auto place = place_of(*index, static_cast<std::int64_t>(char_count(bytes)));
    if (!place) return Undefined{name};
    const std::size_t at = byte_of_char(bytes, *place);
    return run.text(text->marked.part(at, at + decode_utf8(bytes, at).length), text->is_safe);
  }
  if (key.text() == nullptr) return Undefined{name};
  const std::string_view attribute = key.text()->marked.bytes();
  if (const Namespace* space = value.name_space()) {
    const Value* found = find_attribute(*space, attribute);
    return found != nullptr ? *found : Value(Undefined{name});
  }
  if (const Loop* loop = value.loop(); loop != nullptr && attribute != "cycle") return loop_attribute(run, *loop, attribute, name);
  const std::string_view method = method_name(value, attribute);
  return method.empty() ? Value(Undefined{name}) : run.method(value, method);
}

// Returns value.name as Jinja's environment.getattr() does: an attribute with this name, otherwise an item.
inline Value attribute_of(Rendering& run, const Value& value, const Value& name_value, const std::string& name) {
  if (value.is_undefined()) return undefined_error(run, value);
  if (const std::string_view method = method_name(value, name); !method.empty()) return run.method(value, method);
  return item_of(run, value, name_value, &name);
}

// Returns value[start:stop:step]. `parts` are start, stop and step; one that is missing is None.
inline Value slice_of(Rendering& run, const Value& value, const Value (&parts)[3]) {
  if (value.is_undefined()) return undefined_error(run, value);
  const List* list = value.list();
  const bool is_sliced = value.text() != nullptr || (list != nullptr && list->kind <= ListKind::range);
  if (!is_sliced) return run.fail("a slice of a ", type_name(value));
  const auto length = length_of(run, value);
  for (const Value& part : parts) {
    if (!integer_of(part) && !part.is_none()) return run.fail("a slice with a ", type_name(part), ", expected an int");
  }
  const std::int64_t step = integer_of(parts[2]).value_or(1);
  if (step == 0) return run.fail("a slice with step 0");
  const std::int64_t low = step > 0 ? 0 : -1, high = step > 0 ? *length : *length - 1;
  const auto bound = [&](const Value& part, std::int64_t fallback) {
    std::int64_t at = integer_of(part).value_or(fallback);
    if (integer_of(part) && at < 0) at += *length;
    return std::clamp(at, low, high);
  };
  const std::int64_t start = bound(parts[0], step > 0 ? low : high);
  const std::int64_t stop = bound(parts[1], step > 0 ? high : low);
  const auto goes_on = [&](std::int64_t at) { return step > 0 ? at < stop : at > stop; };
  const auto next = [&](std::int64_t at) { return step > 0 ? (step > high - at ? high : at + step) : (step < low - at ? low : at + step); };
  if (const Text* text = value.text()) {
    const std::string_view bytes = text->marked.bytes();
    if (!run.read(bytes.size())) return {};
    if (step == 1) {
      const std::size_t begin = byte_of_char(bytes, static_cast<std::size_t>(start));
      const std::size_t count = static_cast<std::size_t>(std::max(stop - start, std::int64_t{0}));
      return run.text(text->marked.part(begin, begin + byte_of_char(bytes.substr(begin), count)), text->is_safe);
    }
    const std::vector<Value> chars = iterate(run, value);
    MarkedText out;
    for (std::int64_t at = start; goes_on(at) && run.step(); at = next(at)) {
      out.append(chars[static_cast<std::size_t>(at)].text()->marked);
    }
    return run.text(std::move(out), text->is_safe);
  }
  std::vector<Value> out;
  for (std::int64_t at = start; goes_on(at) && run.step(); at = next(at)) {
    out.push_back(list->items[static_cast<std::size_t>(at)]);
  }
  return run.list(std::move(out), list->kind);
}

enum class Operator : std::uint8_t {
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power,
  equal,
  unequal,
  less,
  less_equal,
  greater,
  greater_equal,
  in,
  not_in
};

template <class = void>
Value format_percent(Rendering& run, const Text& format, const Value& values);  // printf.hpp

// Writes < & > " ' as HTML escapes, for text that is joined with a text which the filter `safe` or `escape` has marked as safe.
inline MarkedText html_escaped(Rendering& run, const MarkedText& text) {
  MarkedText out;
  detail::append_escaped(run, out, text, [](std::uint32_t c) -> std::string {
    switch (c) {
      case '&': return "&amp;";
      case '<': return "&lt;";
      case '>': return "&gt;";
      case '"': return "&#34;";
      case '\'': return "&#39;";
      default: return {};
    }
  });
  return out;
}

namespace detail {

inline bool is_safe(const Value& value) { return value.text() != nullptr && value.text()->is_safe; }

inline Value repeated(Rendering& run, const Value& value, std::int64_t count) {
  const auto times = static_cast<std::size_t>(std::max(count, std::int64_t{0}));
  const Text* text = value.text();
  const List* list = value.list();
  const std::size_t size = text != nullptr ? text->marked.memory() : list->items.size() * sizeof(Value);
  if (times != 0 && size > run.limits().text / times) return run.room(no_limit), Value();
  if (!run.read(size * times)) return {};
  if (text != nullptr) {
    MarkedText out;
    for (std::size_t i = 0; i < times && !text->marked.empty(); ++i) out.append(text->marked);
    return run.text(std::move(out), text->is_safe);
  }
  std::vector<Value> items;
  for (std::size_t i = 0; i < times && !list->items.empty(); ++i) {
    items.insert(items.end(), list->items.begin(), list->items.end());
  }
  return run.list(std::move(items), list->kind);
}

inline Value added(Rendering& run, const Value& a, const Value& b) {
  if (const Text *x = a.text(), *y = b.text(); x != nullptr && y != nullptr) {
    if (!run.read(x->marked.size() + y->marked.size()) || !run.room(x->marked.size() + y->marked.size())) return {};
    const bool is_safe = x->is_safe || y->is_safe;
    MarkedText out = is_safe && !x->is_safe ? html_escaped(run, x->marked) : x->marked;
    out.append(is_safe && !y->is_safe ? html_escaped(run, y->marked) : y->marked);
    return run.text(std::move(out), is_safe);
  }
  const List *x = a.list(), *y = b.list();
  if (x == nullptr || y == nullptr || x->kind != y->kind || x->kind > ListKind::tuple) {
    return run.fail("'", type_name(a), "' + '", type_name(b), "'");
  }
  if (!run.read((x->items.size() + y->items.size()) * sizeof(Value))) return {};
  std::vector<Value> items = x->items;
  items.insert(items.end(), y->items.begin(), y->items.end());
  return run.list(std::move(items), x->kind);
}

inline std::optional<std::int64_t> integer_power(std::int64_t base, std::int64_t exponent) {
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  std::int64_t out = 1;
  for (; exponent > 0; --exponent) {
    if (!checked_mul(out, base, out)) return std::nullopt;
  }
  return out;
}

inline Value float_power(Rendering& run, double base, double exponent) {
  if (base == 0.0 && exponent < 0) return run.fail("division by zero");
  const double power = std::pow(base, exponent);
  if (std::isfinite(base) && std::isfinite(exponent) && !std::isfinite(power)) {
    return run.fail(std::isnan(power) ? "a complex number is not supported" : "a power that no float can hold");
  }
  return power;
}

inline Value integer_arithmetic(Rendering& run, Operator op, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  bool overflows = false;
  const bool divides = op == Operator::divide || op == Operator::floor_divide || op == Operator::modulo;
  if (divides && b == 0) return run.fail("division by zero");
  switch (op) {
    case Operator::add: overflows = !checked_add(a, b, out); break;
    case Operator::subtract: overflows = !checked_sub(a, b, out); break;
    case Operator::multiply: overflows = !checked_mul(a, b, out); break;
    case Operator::divide: return static_cast<double>(a) / static_cast<double>(b);
    case Operator::power: {
      if (b < 0) return float_power(run, static_cast<double>(a), static_cast<double>(b));
      const auto power = integer_power(a, b);
      overflows = !power;
      out = power.value_or(0);
      break;
    }
    default: {  // floor_divide, modulo: the quotient is rounded down
      if (b == -1) {  // the quotient of the smallest integer has more than 64 bits
        if (op == Operator::floor_divide) overflows = !checked_sub(std::int64_t{0}, a, out);
        break;
      }
      const bool is_rounded = a % b != 0 && (a % b < 0) != (b < 0);
      out = op == Operator::modulo ? a % b + (is_rounded ? b : 0) : a / b - (is_rounded ? 1 : 0);
    }
  }
  if (overflows) return run.fail("an integer beyond 64 bits");
  return out;
}

inline Value float_arithmetic(Rendering& run, Operator op, double a, double b) {
  const bool divides = op == Operator::divide || op == Operator::floor_divide || op == Operator::modulo;
  if (divides && b == 0.0) return run.fail("division by zero");
  switch (op) {
    case Operator::add: return a + b;
    case Operator::subtract: return a - b;
    case Operator::multiply: return a * b;
    case Operator::divide: return a / b;
    case Operator::power: return float_power(run, a, b);
    default: break;
  }
  double remainder = std::fmod(a, b), quotient = (a - remainder) / b;
  if (remainder != 0.0 && (remainder < 0) != (b < 0)) {
    remainder += b;
    quotient -= 1.0;
  }
  if (op == Operator::modulo) return remainder == 0.0 ? std::copysign(0.0, b) : remainder;
  if (quotient == 0.0) return std::copysign(0.0, a / b);
  return quotient - std::floor(quotient) > 0.5 ? std::floor(quotient) + 1.0 : std::floor(quotient);
}

}  // namespace detail

inline Value arithmetic(Rendering& run, Operator op, const Value& a, const Value& b) {
  if (!run.step()) return {};
  if (a.is_undefined()) return undefined_error(run, a);
  if (op == Operator::modulo && a.text() != nullptr) return format_percent(run, *a.text(), b);
  if (b.is_undefined()) return undefined_error(run, b);
  if (integer_of(a) && integer_of(b)) return detail::integer_arithmetic(run, op, *integer_of(a), *integer_of(b));
  if (number_of(a) && number_of(b)) return detail::float_arithmetic(run, op, *number_of(a), *number_of(b));
  if (op == Operator::add) return detail::added(run, a, b);
  if (op == Operator::multiply) {
    const auto is_repeated = [](const Value& v) {
      return v.text() != nullptr || (v.list() != nullptr && v.list()->kind <= ListKind::tuple);
    };
    if (is_repeated(a) && integer_of(b)) return detail::repeated(run, a, *integer_of(b));
    if (is_repeated(b) && integer_of(a)) return detail::repeated(run, b, *integer_of(a));
  }
  constexpr std::string_view signs[] = {"+", "-", "*", "/", "//", "%", "**"};
  return run.fail("'", type_name(a), "' ", signs[static_cast<std::size_t>(op)], " '", type_name(b), "'");
}

inline bool compare(Rendering& run, Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::equal: return equal(run, a, b);
    case Operator::unequal: return !equal(run, a, b);
    case Operator::in: return contains(run, b, a);
    case Operator::not_in: return !contains(run, b, a);
    case Operator::less: return order(run, a, b) < 0;
    case Operator::less_equal: return order(run, a, b) <= 0;
    case Operator::greater: return order(run, a, b) > 0;
    default: return order(run, a, b) >= 0;
  }
}

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
