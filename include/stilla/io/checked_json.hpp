// SPDX-License-Identifier: Apache-2.0
//
// Parses JSON text from files of unknown origin, with nlohmann-json and with limits. This header is opt-in: it needs
// nlohmann/json.hpp (3.9 or later, Debian: nlohmann-json3-dev), which the rest of the library does not need.
//
//   Result<nlohmann::json> config = parse_json(bytes, "model/config.json", {});
//
// parse_json() requires more than JSON does: each name occurs once in its object, arrays and objects are nested at most
// max_json_depth deep, and the length of the text and the number of values are limited. Refusing a text therefore costs memory in
// proportion to the text, at most some 100 bytes for each value, and its nesting costs no stack.
//
// A text may hold a table of a hundred thousand elements, as tokenizer.json does. A JsonStream takes the elements of such a table one
// by one, so that they need not become values of the document first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/io/file_kind.hpp>
#include <stilla/io/mapped_file.hpp>

#if !__has_include(<nlohmann/json.hpp>)
#error "stilla/io/checked_json.hpp needs nlohmann/json.hpp (Debian: nlohmann-json3-dev); the rest of the library does not"
#endif
#include <nlohmann/json.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

inline constexpr std::size_t max_json_depth = 32;

struct JsonLimits {
  std::uint64_t bytes = std::uint64_t{1} << 20;
  std::uint64_t values = std::uint64_t{1} << 18;
};

// Takes the elements of one array or object, which is a member of a member of the document: in tokenizer.json, for example, the member
// "vocab" of the member "model". In the document that parse_json() returns, this array or object is empty.
struct JsonStream {
  std::string_view member;  // of the document, for example "model"
  std::string_view table;   // of that member, for example "vocab"
  // Is called for each element, in the order of the text, and may move from both arguments. For an array the name is empty. In an object
  // a name may occur twice, because parse_json() does not look for this in a streamed table: the function has to look for it.
  std::function<void(std::string& name, nlohmann::json& value)> take;
};

namespace detail {

// Builds a JSON value from the events of nlohmann's SAX parser. For each event the parser calls one of the member functions of this
// class. A member function that returns false ends the parsing.
class JsonBuilder {
 public:
  using Json = nlohmann::json;

  JsonBuilder(std::uint64_t max_values, std::span<const JsonStream> streams) : values_left_(max_values), streams_(streams) {}

  bool null() { return add_scalar(nullptr); }
  bool boolean(bool value) { return add_scalar(value); }
  bool number_integer(Json::number_integer_t value) { return add_scalar(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return add_scalar(value); }
  bool number_float(Json::number_float_t value, const std::string&) { return add_scalar(value); }
  bool string(std::string& value) { return add_scalar(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(Json::object()); }
  bool end_object() { return close(); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    if (in_table()) {
      name_ = std::move(name);
      return true;
    }
    if (open_.size() < table_depth) names_[open_.size() - 1] = name;
    const auto [place, is_new] = open_.back()->get_ptr<Json::object_t*>()->emplace(name, nullptr);
    if (!is_new) return fail(concat("the name '", printable(name), "' stands twice in one object"));
    member_ = &place->second;
    return true;
  }
  // Called by nlohmann's parser if it cannot parse the text. `position` is the number of bytes read so far.
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) {
    // The text of nlohmann's error is, for example: "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error
    // while parsing ...". Only what comes behind the first ": " is kept.
    std::string_view text = error.what();
    const std::size_t end_of_place = text.find(": ");
    if (end_of_place != std::string_view::npos) text.remove_prefix(end_of_place + 2);
    return fail(concat("byte ", position == 0 ? 0 : position - 1, ": is not JSON: ", printable(text)));
  }

  Json take() { return std::move(root_); }
  const std::string& error() const { return error_; }

 private:
  bool fail(std::string text) {
    error_ = std::move(text);
    return false;
  }

  // Puts a value into its place in the document. Returns null, and thereby ends the parsing, if the document has more values than
  // are allowed.
  template <class Value>
  Json* add(Value&& value) {
    if (values_left_ == 0) {
      fail("holds more values than any such file needs");
      return nullptr;
    }
    --values_left_;
    if (in_table()) {
      element_ = std::forward<Value>(value);
      return &element_;
    }
    if (open_.empty()) {
      root_ = std::forward<Value>(value);
      return &root_;
    }
    if (auto* array = open_.back()->template get_ptr<Json::array_t*>()) {
      array->emplace_back(std::forward<Value>(value));
      return &array->back();
    }
    *member_ = std::forward<Value>(value);
    return member_;
  }
  template <class Value>
  bool add_scalar(Value&& value) {
    if (add(std::forward<Value>(value)) == nullptr) return false;
    end_element();
    return true;
  }
  bool open(Json value) {
    if (open_.size() == max_json_depth) return fail(concat("arrays and objects are nested more than ", max_json_depth, " deep"));
    Json* const added = add(std::move(value));
    if (added == nullptr) return false;
    if (open_.size() == table_depth - 1 && open_[0]->is_object() && open_[1]->is_object()) {
      for (const JsonStream& stream : streams_) {
        if (stream.member == names_[0] && stream.table == names_[1]) stream_ = &stream;
      }
      name_.clear();
    }
    open_.push_back(added);
    return true;
  }
  bool close() {
    open_.pop_back();
    if (open_.size() < table_depth) stream_ = nullptr;
    end_element();
    return true;
  }

  static constexpr std::size_t table_depth = 3;  // how many arrays and objects are open between two elements of a table
  bool in_table() const { return stream_ != nullptr && open_.size() == table_depth; }
  void end_element() {
    if (in_table()) stream_->take(name_, element_);
  }

  std::uint64_t values_left_;
  std::span<const JsonStream> streams_;
  const JsonStream* stream_ = nullptr;
  std::string names_[table_depth - 1];  // the names that were read last in the document and in its member
  std::string name_;                    // of element_
  Json element_;                        // the element of the table that is being read
  Json root_;
  std::vector<Json*> open_;  // the arrays and objects that are open at this place of the text
  // The place for the next value, if the innermost open array or object is an object: the member of this object whose name was read last.
  Json* member_ = nullptr;
  std::string error_;
};

}  // namespace detail

// Returns the place of the first zero byte of a text, or nothing if the text has none. JSON never has a zero byte. nlohmann's parser takes
// one for the end of the text and ignores what stands behind it, so code that uses this parser looks for zero bytes first.
inline std::optional<std::size_t> find_zero_byte(std::string_view text) {
  const std::size_t at = text.find('\0');
  return at == std::string_view::npos ? std::nullopt : std::optional(at);
}

// Parses JSON text. `place` is what messages call the text.
inline Result<nlohmann::json> parse_json(std::span<const std::byte> text, std::string_view place, const JsonLimits& limits = {},
                                         std::span<const JsonStream> streams = {}) {
  if (text.size() > limits.bytes) {
    return Error{ErrorKind::refused_file, concat(place, ": has ", text.size(), " bytes of JSON; expected at most ", limits.bytes)};
  }
  detail::JsonBuilder builder(limits.values, streams);
  const char* const begin = reinterpret_cast<const char*>(text.data());
  const std::optional<std::size_t> zero = find_zero_byte({begin, text.size()});
  if (zero || !nlohmann::json::sax_parse(begin, begin + text.size(), &builder)) {
    const std::string kind = guess_file_kind(text);
    const bool is_text = kind == "JSON text" || kind.starts_with("text: ") || kind.starts_with("unknown");
    if (!is_text) {  // a wrong download
      return Error{ErrorKind::refused_file, concat(place, ": is not JSON: found ", kind)};
    }
    if (zero) return Error{ErrorKind::refused_file, concat(place, ": byte ", *zero, ": is not JSON: found a zero byte")};
    return Error{ErrorKind::refused_file, concat(place, ": ", builder.error())};
  }
  return builder.take();
}

// Parses the text of a file. If the file cannot be read the error has the kind `system`.
inline Result<nlohmann::json> read_json_file(const std::string& path, const JsonLimits& limits = {}) {
  const Result<MappedFile> file = MappedFile::open(path, LoadMode::map);
  if (!file) return file.error();
  Result<nlohmann::json> json = parse_json(file->bytes(), printable_path(path), limits);
  if (!json) return file->reason(json.error());
  return json;
}

// The member `name` of a JSON object. Null if there is no such member, if its value is null, or if `object` is not an object.
inline const nlohmann::json* find_member(const nlohmann::json& object, std::string_view name) {
  const auto* members = object.get_ptr<const nlohmann::json::object_t*>();
  if (members == nullptr) return nullptr;
  const auto found = members->find(std::string(name));
  return found != members->end() && !found->second.is_null() ? &found->second : nullptr;
}

// Returns the names of those members of a JSON object that `known` does not list, each with `prefix` in front of it. Members that are null
// count as missing.
inline std::vector<std::string> unknown_members(const nlohmann::json& object, std::string_view prefix,
                                                std::span<const std::string_view> known) {
  std::vector<std::string> out;
  const auto* members = object.get_ptr<const nlohmann::json::object_t*>();
  if (members == nullptr) return out;
  for (const auto& [name, value] : *members) {
    if (!value.is_null() && std::find(known.begin(), known.end(), name) == known.end()) out.push_back(concat(prefix, name));
  }
  return out;
}

// The text of a JSON string; null for any other value.
inline const std::string* text_of(const nlohmann::json* value) { return value == nullptr ? nullptr : value->get_ptr<const std::string*>(); }

// The value of a JSON integer that is not negative. Nothing for any other value.
inline std::optional<std::uint64_t> count_of(const nlohmann::json& value) {
  const auto* number = value.get_ptr<const nlohmann::json::number_unsigned_t*>();
  return number == nullptr ? std::nullopt : std::optional<std::uint64_t>(*number);
}

// The type of a JSON value, for messages: "an integer", "a string", ...
inline std::string_view json_type_text(const nlohmann::json& value) {
  if (value.is_number_integer()) return "an integer";
  if (value.is_number()) return "a float";
  if (value.is_string()) return "a string";
  if (value.is_boolean()) return "a boolean";
  if (value.is_array()) return "an array";
  return value.is_object() ? "an object" : "null";
}

// Returns, for messages, a short text of a value: numbers, true and false as they are, a string in quotes, and of others the type.
inline std::string json_value_text(const nlohmann::json& value) {
  if (const auto* text = value.get_ptr<const nlohmann::json::string_t*>()) return concat("'", printable(*text), "'");
  return value.is_primitive() ? value.dump() : std::string(json_type_text(value));
}

// Returns, for messages, what a value is that is no count (see count_of): a negative integer itself, or the type of any other value.
inline std::string json_no_count_text(const nlohmann::json& value) {
  return value.is_number_integer() ? value.dump() : std::string(json_type_text(value));
}

// Returns, for messages, what was found in place of a value of the expected type. A null pointer means that the member is missing.
inline std::string json_found_text(const nlohmann::json* value) {
  return value == nullptr ? "is missing" : concat("found ", json_type_text(*value));
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
