// SPDX-License-Identifier: Apache-2.0
//
// A text in which each byte remembers who wrote it: the template, or a message that the template only passes on. The tokenizer
// looks for control tokens only in the bytes of the template, so that a message may contain <|im_end|> without harm.
//
//   bytes   <|im_start|>user\nHello<|im_end|>
//   runs    template----------@ 7--template--     @ 7: the first byte of "Hello" is byte 7 among all bytes of messages
//
// Bytes of a message know their place among all messages as long as they are copied unchanged. Changed bytes (upper case, for
// example) only know that they come from a message. The places lead back to the tokens with which a model wrote an answer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

// Where a byte comes from: from_template, from_message, or first_place + its place among all bytes of messages.
using Origin = std::uint64_t;
inline constexpr Origin from_template = 0;
inline constexpr Origin from_message = 1;  // its place is not known
inline constexpr Origin first_place = 2;

class MarkedText {
 public:
  MarkedText() = default;
  explicit MarkedText(std::string_view bytes, Origin origin = from_template) { append(bytes, origin); }

  std::string_view bytes() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  std::size_t memory() const { return bytes_.size() + runs_.size() * sizeof(Run); }  // bytes of memory that it needs

  // Appends bytes of one origin. If `origin` is a place among the bytes of the messages (first_place or more), it is the place of the
  // first byte. Each byte after it then has the next place.
  void append(std::string_view bytes, Origin origin) {
    if (bytes.empty()) return;
    if (runs_.empty() && origin != from_template && !bytes_.empty()) runs_.push_back({0, from_template});
    const bool is_plain = runs_.empty() && origin == from_template;
    if (!is_plain && (runs_.empty() || origin_behind(runs_.back()) != origin)) runs_.push_back({bytes_.size(), origin});
    bytes_.append(bytes);
  }
  void append(const MarkedText& other) { append(other, 0, other.size()); }
  // Appends bytes [begin, end) of another text.
  void append(const MarkedText& other, std::size_t begin, std::size_t end) {
    other.for_each_run(begin, end, [this](std::string_view bytes, Origin origin) { append(bytes, origin); });
  }

  MarkedText part(std::size_t begin, std::size_t end) const {
    MarkedText out;
    out.append(*this, begin, end);
    return out;
  }

  // The origin of a byte that replaces byte `at`: from_template if that byte is the template's, otherwise from_message.
  Origin changed_origin(std::size_t at) const {
    return runs_.empty() || run_of(at)->origin == from_template ? from_template : from_message;
  }

  bool has_message() const {
    return std::any_of(runs_.begin(), runs_.end(), [](const Run& run) { return run.origin != from_template; });
  }

  bool has_message(std::size_t begin, std::size_t end) const {
    bool has = false;
    if (!runs_.empty()) for_each_run(begin, end, [&](std::string_view, Origin origin) { has = has || origin != from_template; });
    return has;
  }

  // Calls f(bytes, origin) for each piece of [begin, end) that has one origin or consecutive places.
  template <class F>
  void for_each_run(std::size_t begin, std::size_t end, F&& f) const {
    if (begin >= end) return;
    const std::string_view all = bytes_;
    if (runs_.empty()) return f(all.substr(begin, end - begin), from_template);
    for (auto run = run_of(begin); begin < end; ++run) {
      const std::size_t stop = run + 1 == runs_.end() ? end : std::min(end, (run + 1)->begin);
      const Origin origin = run->origin < first_place ? run->origin : run->origin + (begin - run->begin);
      f(all.substr(begin, stop - begin), origin);
      begin = stop;
    }
  }

 private:
  struct Run {
    std::size_t begin;
    Origin origin;  // of its first byte
  };

  // The origin that the next appended byte must have to belong to `last`, the last run. A run is bytes that all come from the template,
  // or from messages without known places, or that have consecutive places.
  Origin origin_behind(const Run& last) const {
    return last.origin < first_place ? last.origin : last.origin + (bytes_.size() - last.begin);
  }
  std::vector<Run>::const_iterator run_of(std::size_t at) const {
    return std::upper_bound(runs_.begin(), runs_.end(), at, [](std::size_t a, const Run& run) { return a < run.begin; }) - 1;
  }

  std::string bytes_;
  std::vector<Run> runs_;  // ordered by begin; empty: all bytes are the template's
};

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
