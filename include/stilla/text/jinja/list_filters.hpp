// SPDX-License-Identifier: Apache-2.0
//
// Jinja's filters of lists and dictionaries, and the table of all filters.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/text/jinja/filters.hpp>
#include <stilla/text/jinja/operators.hpp>
#include <stilla/text/jinja/parameters.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/jinja/tests.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

// The Jinja filter with this name; null if there is none.
inline Operation find_filter(std::string_view name);

namespace detail {

// Returns the attribute of a value that a path such as "a.b.0" leads to, for filters that take such a path. The path consists of names
// and numbers. If the value that a part of the path leads to is undefined, `fallback` takes its place.
inline Value path_of(Rendering& run, Value value, const Value& path, const Value& fallback = {}) {
  if (integer_of(path)) {
    value = item_of(run, value, path, nullptr);
    return value.is_undefined() ? fallback : value;
  }
  if (path.text() == nullptr) return run.fail("an attribute is a ", type_name(path), ", expected a str");
  const std::string_view bytes = path.text()->marked.bytes();
  for (const ByteRange& range : split(bytes, ".", no_limit, false)) {
    const std::string_view part = bytes.substr(range.begin, range.end - range.begin);
    std::int64_t index = 0;
    const std::from_chars_result read = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_number = !part.empty() && part[0] != '-' && read.ec == std::errc() && read.ptr == part.data() + part.size();
    value = item_of(run, value, is_number ? Value(index) : run.text(part), nullptr);
    if (value.is_undefined()) value = fallback;
    if (run.failed()) return {};
  }
  return value;
}

// What a filter compares in place of `value`: the value itself, but a text in lower case if case does not matter.
inline Value folded(Rendering& run, const Value& value, bool is_case_sensitive) {
  if (is_case_sensitive || value.text() == nullptr || !run.change_each(value.text()->marked.size())) return value;
  return run.text(lower(value.text()->marked));
}

// A stable merge sort. It is safe even if `less` is not a consistent order, which is the case after an error in a comparison.
template <class T, class Less>
void merge_sort(std::vector<T>& items, Less&& less) {
  std::vector<T> merged(items.size());
  for (std::size_t width = 1; width < items.size(); width *= 2) {
    for (std::size_t begin = 0; begin < items.size(); begin += 2 * width) {
      const std::size_t middle = std::min(begin + width, items.size()), end = std::min(begin + 2 * width, items.size());
      for (std::size_t left = begin, right = middle, out = begin; out < end; ++out) {
        const bool takes_right = left == middle || (right < end && less(items[right], items[left]));
        merged[out] = std::move(items[takes_right ? right++ : left++]);
      }
    }
    std::swap(items, merged);
  }
}

// Sorts items by the keys that `key` computes for them. The key of each item is computed once.
template <class MakeKey>
std::vector<Value> sorted(Rendering& run, const std::vector<Value>& items, bool is_reversed, MakeKey&& key) {
  std::vector<std::pair<Value, std::size_t>> keys;
  keys.reserve(items.size());
  for (const Value& item : items) keys.emplace_back(key(item), keys.size());
  merge_sort(keys, [&](const auto& a, const auto& b) {
    return is_reversed ? order(run, b.first, a.first) < 0 : order(run, a.first, b.first) < 0;
  });
  std::vector<Value> out;
  out.reserve(keys.size());
  for (const auto& [unused, index] : keys) out.push_back(items[index]);
  return out;
}

inline Value sort_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'sort'", arguments, {"reverse", "case_sensitive", "attribute"});
  const std::vector<Value> items = iterate(run, value);
  const auto key = [&](const Value& item) -> Value {
    if (!parameters.is_given(2)) return folded(run, item, parameters.flag(1, false));
    if (parameters[2].text() == nullptr) return folded(run, path_of(run, item, parameters[2]), parameters.flag(1, false));
    std::vector<Value> keys;
    const MarkedText names = parameters.text(2);
    for (const ByteRange& range : split(names.bytes(), ",", no_limit, false)) {
      const Value name = run.text(names.part(range.begin, range.end));
      keys.push_back(folded(run, path_of(run, item, name), parameters.flag(1, false)));
    }
    return run.list(std::move(keys));
  };
  return run.list(sorted(run, items, parameters.flag(0, false), key));
}

inline Value dictsort_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'dictsort'", arguments, {"case_sensitive", "by", "reverse"});
  const MarkedText by = parameters.text(1, "key");
  if (value.dict() == nullptr) return run.fail("filter 'dictsort' of a ", type_name(value), ", expected a dict");
  if (by.bytes() != "key" && by.bytes() != "value") return run.fail("filter 'dictsort' sorts by key or value");
  const Value entries = view_method<ListKind::items>(run, value, {});
  if (run.failed()) return {};
  const std::size_t place = by.bytes() == "key" ? 0 : 1;
  return run.list(sorted(run, entries.list()->items, parameters.flag(2, false),
                         [&](const Value& entry) { return folded(run, entry.list()->items[place], parameters.flag(0, false)); }));
}

inline Value unique_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'unique'", arguments, {"case_sensitive", "attribute"});
  std::vector<Value> seen, out;
  for (const Value& item : iterate(run, value)) {
    const Value part = parameters.is_given(1) ? path_of(run, item, parameters[1]) : item;
    const Value key = folded(run, part, parameters.flag(0, false));
    if (run.failed()) return {};
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return equal(run, other, key); })) continue;
    seen.push_back(key);
    out.push_back(item);
  }
  return run.list(std::move(out), ListKind::generator);
}

inline Value length_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "filter 'length'", arguments, {});
  const auto length = length_of(run, value);
  return length ? Value(*length) : run.fail("'", type_name(value), "' has no length");
}

inline Value list_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "filter 'list'", arguments, {});
  return run.list(iterate(run, value));
}

inline Value first_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "filter 'first'", arguments, {});
  const std::vector<Value> items = iterate(run, value);
  return items.empty() ? Value() : items.front();
}

inline Value last_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "filter 'last'", arguments, {});
  if (value.list() != nullptr && value.list()->kind == ListKind::generator) return run.fail("filter 'last' of a generator");
  const std::vector<Value> items = iterate(run, value);
  return items.empty() ? Value() : items.back();
}

inline Value reverse_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "filter 'reverse'", arguments, {});
  std::vector<Value> items = iterate(run, value);
  std::reverse(items.begin(), items.end());
  if (value.text() == nullptr) return run.list(std::move(items), ListKind::generator);
  MarkedText out;
  for (const Value& item : items) {
    if (run.step()) out.append(item.text()->marked);
  }
  return run.text(std::move(out));
}

inline Value join_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'join'", arguments, {"d", "attribute"});
  std::vector<Value> items = iterate(run, value);
  if (parameters.is_given(1)) {
    for (Value& item : items) item = path_of(run, item, parameters[1]);
  }
  return joined(run, parameters.has(0) ? str(run, parameters[0]) : MarkedText(), items, true, false);
}

inline Value items_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "filter 'items'", arguments, {});
  if (value.is_undefined()) return run.list({}, ListKind::generator);
  if (value.dict() == nullptr) return run.fail("filter 'items' of a ", type_name(value), ", expected a dict");
  const Value entries = view_method<ListKind::items>(run, value, {});
  return run.failed() ? Value() : run.list(entries.list()->items, ListKind::generator);
}

// Some filters, such as map and select, get the name of another filter or of a test as an argument. A Told holds the filter or test
// with that name, and the arguments that follow the name.
struct Told {
  Operation operation = nullptr;
  Arguments arguments;
};
inline Told told_operation(Rendering& run, const Arguments& arguments, std::size_t at, Operation (*find)(std::string_view),
                           std::string_view kind) {
  Told out;
  const Text* name = arguments.positional[at].text();
  if (name != nullptr) out.operation = find(name->marked.bytes());
  if (out.operation == nullptr) {
    run.fail("the ", kind, " '", name != nullptr ? printable(name->marked.bytes()) : "", "' is not supported");
  }
  out.arguments.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(at) + 1, arguments.positional.end());
  out.arguments.named = arguments.named;
  return out;
}

inline Value map_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  if (!truth(value)) return run.list({}, ListKind::generator);  // for None and 0 too, as in Jinja
  std::vector<Value> items = iterate(run, value);
  if (arguments.positional.empty()) {
    const Parameters parameters(run, "filter 'map'", arguments, {"attribute", "default"}, 1);
    for (Value& item : items) {
      if (run.failed()) return {};
      item = path_of(run, item, parameters[0], parameters.is_given(1) ? parameters[1] : Value());
    }
    return run.list(std::move(items), ListKind::generator);
  }
  const Told told = told_operation(run, arguments, 0, find_filter, "filter");
  for (Value& item : items) {
    if (!run.step()) return {};
    item = told.operation(run, item, told.arguments);
  }
  return run.list(std::move(items), ListKind::generator);
}

template <bool has_attribute, bool keeps>
Value select_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  constexpr std::size_t before = has_attribute ? 1 : 0;
  if (arguments.positional.size() < before) return run.fail("selectattr and rejectattr need an attribute");
  Told told;
  const bool has_test = arguments.positional.size() > before;
  if (has_test) told = told_operation(run, arguments, before, find_test, "test");
  std::vector<Value> out;
  if (!truth(value)) return run.list({}, ListKind::generator);
  for (const Value& item : iterate(run, value)) {
    if (!run.step()) return {};
    const Value part = has_attribute ? path_of(run, item, arguments.positional[0]) : item;
    const bool holds = truth(has_test && !run.failed() ? told.operation(run, part, told.arguments) : part);
    if (holds == keeps) out.push_back(item);
  }
  return run.list(std::move(out), ListKind::generator);
}

inline Value sum_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'sum'", arguments, {"attribute", "start"});
  Value sum = parameters.has(1) ? parameters[1] : Value(std::int64_t{0});
  for (const Value& item : iterate(run, value)) {
    sum = arithmetic(run, Operator::add, sum, parameters.is_given(0) ? path_of(run, item, parameters[0]) : item);
  }
  return sum;
}

template <bool wants_most>
Value extreme_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filters 'min' and 'max'", arguments, {"case_sensitive", "attribute"});
  const std::vector<Value> items = iterate(run, value);
  Value best, best_key;
  for (const Value& item : items) {
    const Value part = parameters.is_given(1) ? path_of(run, item, parameters[1]) : item;
    const Value key = folded(run, part, parameters.flag(0, false));
    const bool is_first = &item == &items.front();
    if (!is_first && (wants_most ? order(run, key, best_key) <= 0 : order(run, key, best_key) >= 0)) continue;
    best = item;
    best_key = key;
  }
  return best;
}

inline Value batch_filter(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "filter 'batch'", arguments, {"linecount", "fill_with"}, 1);
  const std::size_t size = parameters.count(0, 0);
  if (size == 0) return run.fail("filter 'batch' of 0");
  const std::vector<Value> items = iterate(run, value);
  std::vector<Value> out;
  for (std::size_t at = 0; at < items.size() && run.step(); at += std::min(size, items.size() - at)) {
    const auto first = items.begin() + static_cast<std::ptrdiff_t>(at);
    std::vector<Value> part(first, first + static_cast<std::ptrdiff_t>(std::min(size, items.size() - at)));
    if (parameters.is_given(1) && run.read(size) && run.room(size * sizeof(Value))) part.resize(size, parameters[1]);
    out.push_back(run.list(std::move(part)));
  }
  return run.list(std::move(out), ListKind::generator);
}

inline constexpr NamedOperation filters[] = {
    {"abs", abs_filter},
    {"attr", attr_filter},
    {"batch", batch_filter},
    {"capitalize", case_filter<capitalized>},
    {"center", center_filter},
    {"count", length_filter},
    {"d", default_filter},
    {"default", default_filter},
    {"dictsort", dictsort_filter},
    {"e", escape_filter},
    {"escape", escape_filter},
    {"first", first_filter},
    {"float", float_filter},
    {"format", format_filter},
    {"indent", indent_filter},
    {"int", int_filter},
    {"items", items_filter},
    {"join", join_filter},
    {"last", last_filter},
    {"length", length_filter},
    {"list", list_filter},
    {"lower", case_filter<lower>},
    {"map", map_filter},
    {"max", extreme_filter<true>},
    {"min", extreme_filter<false>},
    {"reject", select_filter<false, false>},
    {"rejectattr", select_filter<true, false>},
    {"replace", replace_filter},
    {"reverse", reverse_filter},
    {"round", round_filter},
    {"safe", safe_filter},
    {"select", select_filter<false, true>},
    {"selectattr", select_filter<true, true>},
    {"sort", sort_filter},
    {"string", string_filter},
    {"sum", sum_filter},
    {"title", case_filter<title_words>},
    {"tojson", tojson_filter},
    {"trim", trim_filter},
    {"truncate", truncate_filter},
    {"unique", unique_filter},
    {"upper", case_filter<upper>},
    {"urlencode", urlencode_filter},
    {"wordcount", wordcount_filter},
};

}  // namespace detail

inline Operation find_filter(std::string_view name) {
  const NamedOperation* found = detail::find_operation(detail::filters, name);
  return found != nullptr ? found->operation : nullptr;
}

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
