// SPDX-License-Identifier: Apache-2.0
//
// The limits of one rendering of a template, what the rendering has used, and its error. Templates come from files that nobody has
// checked. Each step, each byte of a value and each level of depth is therefore counted and compared with Limits.
//
// The first error is kept. fail() returns an undefined value, and all code that takes long or is recursive asks failed() and
// returns at once. Values that are made after an error are never used.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/text/jinja/marked_text.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

// The limits of one rendering. For comparison: a conversation of 128 thousand tokens has half a million bytes, and templates of
// published models take some hundred steps for each message. A step takes about 50 ns.
struct Limits {
  std::size_t template_bytes = std::size_t{1} << 20;
  std::size_t steps = 20'000'000;
  std::size_t memory = std::size_t{256} << 20;  // of all values that exist at one time
  std::size_t text = std::size_t{64} << 20;     // of one text, and of the output
  std::size_t depth = 160;                      // of expressions and statements inside each other
  std::size_t levels = 400;                     // of expressions, statements and macros that run; Windows has 1 MB of stack
  std::size_t items = 1'000'000;                // of one list
};

// A local time: the year, the month from 1 to 12, the day from 1 to 31, the hour, the minute and the second.
struct LocalTime {
  int year = 1970, month = 1, day = 1;
  int hour = 0, minute = 0, second = 0;
};

class Rendering {
 public:
  static constexpr std::size_t max_value_depth = 64;  // of lists inside lists

  Rendering(const Limits& limits, const LocalTime& now) : limits_(limits), now_(now) {}
  Rendering(const Rendering&) = delete;
  Rendering& operator=(const Rendering&) = delete;

  const Limits& limits() const { return limits_; }
  const LocalTime& now() const { return now_; }

  bool failed() const { return has_failed_; }
  std::uint32_t error_line() const { return error_line_; }
  const std::string& error() const { return error_; }
  void set_line(std::uint32_t line) { line_ = line; }
  std::uint32_t line() const { return line_; }

  template <class... Parts>
  Value fail(const Parts&... parts) {
    if (!has_failed_) {
      has_failed_ = true;
      error_line_ = line_;
      error_ = concat(parts...);
    }
    return {};
  }

  // Counts a step. Returns false if the rendering has used up the steps that Limits allows, or after an error.
  bool step() { return spend(1); }
  // Counts the steps that reading `bytes` bytes costs. Returns false in the same cases as step().
  bool read(std::size_t bytes) { return spend(1 + bytes / 32); }
  // Counts the steps of looking at each character of `bytes` bytes, and of changing each.
  bool each_character(std::size_t bytes) { return spend(1 + bytes / 4); }
  bool change_each(std::size_t bytes) { return spend(1 + bytes); }
  // Counts the steps that searching a text of `bytes` bytes for one of `wanted` bytes can cost. std::string_view compares the wanted text
  // at each place, so the cost grows with the product of both, unless the texts differ soon.
  bool search(std::size_t bytes, std::size_t wanted) { return spend(1 + bytes / 32 * (1 + wanted / 32)); }
  // Whether one text or list may take `bytes` more bytes of memory. If not, the rendering fails.
  bool room(std::size_t bytes) {
    if (bytes > limits_.text) fail("a text of more than ", limits_.text, " bytes");
    if (meter_.used > limits_.memory || bytes > limits_.memory - meter_.used) {
      fail("more than ", limits_.memory, " bytes of memory");
    }
    return !has_failed_;
  }

  Value text(MarkedText marked, bool is_safe = false) {
    if (!room(marked.size())) return {};
    const std::size_t bytes = marked.memory() + sizeof(Text) + allocation;
    return std::make_shared<const Text>(Text{std::move(marked), is_safe, Charge(&meter_, bytes)});
  }
  Value text(std::string_view bytes) { return text(MarkedText(bytes)); }

  Value list(std::vector<Value> items, ListKind kind = ListKind::list) {
    if (!fits(items.size(), depth_of(items))) return {};
    const std::size_t depth = depth_of(items) + 1;
    const std::size_t bytes = items.capacity() * sizeof(Value) + sizeof(List) + allocation;
    return std::make_shared<const List>(List{std::move(items), kind, depth, false, Charge(&meter_, bytes)});
  }

  Value dict(std::vector<std::pair<Value, Value>> entries) {
    std::size_t depth = 0;
    for (const auto& [key, value] : entries) depth = std::max({depth, depth_of(key), depth_of(value)});
    if (!fits(entries.size(), depth)) return {};
    const std::size_t bytes = entries.capacity() * 2 * sizeof(Value) + sizeof(Dict) + allocation;
    return std::make_shared<const Dict>(Dict{std::move(entries), depth + 1, Charge(&meter_, bytes)});
  }

  std::shared_ptr<const Loop> loop(std::vector<Value> items) {
    const std::size_t depth = depth_of(items) + 1;
    (void)fits(items.size(), depth - 1);
    const std::size_t bytes = items.capacity() * sizeof(Value) + sizeof(Loop) + allocation;
    return std::make_shared<const Loop>(Loop{std::move(items), 0, depth, Charge(&meter_, bytes)});
  }

  Value method(const Value& self, std::string_view name) { return std::make_shared<const Method>(Method{self, name}); }

  // Makes a namespace that exists as long as the rendering. Null if there is no memory left for it.
  Namespace* name_space() {
    meter_.used += sizeof(Namespace) + allocation;
    return room(0) ? &namespaces_.emplace_back() : nullptr;
  }
  // Counts `bytes` bytes of memory that stay in use until the rendering ends, or until the caller gives them back with give_back().
  bool take(std::size_t bytes) {
    meter_.used += bytes;
    return room(0);
  }
  void give_back(std::size_t bytes) { meter_.used -= bytes; }

 private:
  static constexpr std::size_t allocation = 32;  // memory that an allocation costs in addition to its bytes

  bool spend(std::size_t steps) {
    if (has_failed_) return false;
    if (steps > limits_.steps - steps_) {
      fail("the template takes more than ", limits_.steps, " steps");
      return false;
    }
    steps_ += steps;
    return true;
  }
  bool fits(std::size_t items, std::size_t depth) {
    if (items > limits_.items) fail("a list of more than ", limits_.items, " values");
    if (depth >= max_value_depth) fail("lists nested more than ", max_value_depth, " deep");
    return room(items * sizeof(Value));
  }

  Limits limits_;
  LocalTime now_;
  Meter meter_;  // declared before everything that holds values
  std::size_t steps_ = 0;
  bool has_failed_ = false;
  std::uint32_t line_ = 1, error_line_ = 1;
  std::string error_;
  std::deque<Namespace> namespaces_;
};

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
