// SPDX-License-Identifier: Apache-2.0
//
// Builds the records of keys (name, type and value) as they stand in a GGUF file (gguf_parser.hpp), for code that writes such a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <stilla/base/types.hpp>
#include <stilla/io/gguf_types.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

class GgufRecords {
 public:
  std::uint64_t count = 0;
  std::string bytes;

  template <class Number>
  void number(std::string_view name, Number value) {
    begin(name, type_of<Number>());
    add(value);
  }
  void boolean(std::string_view name, bool value) {
    begin(name, GgufValueType::boolean);
    add(std::uint8_t{value});
  }
  void text(std::string_view name, std::string_view value) {
    begin(name, GgufValueType::string);
    add_text(value);
  }
  void texts(std::string_view name, std::span<const std::string> values) {
    begin_array(name, GgufValueType::string, values.size());
    for (const std::string& value : values) add_text(value);
  }
  template <class Number>
  void numbers(std::string_view name, std::span<const Number> values) {
    begin_array(name, type_of<Number>(), values.size());
    for (const Number value : values) add(value);
  }
  // Adds a key whose whole record is given, as it stands in another GGUF file.
  void record(std::span<const std::byte> record) {
    bytes.append(reinterpret_cast<const char*>(record.data()), record.size());
    ++count;
  }

  // Begins the record of a key by its name and type. The caller must add the value next.
  void begin(std::string_view name, GgufValueType type) {
    add_text(name);
    add(static_cast<std::uint32_t>(type));
    ++count;
  }
  void begin_array(std::string_view name, GgufValueType element_type, std::uint64_t elements) {
    begin(name, GgufValueType::array);
    add(static_cast<std::uint32_t>(element_type));
    add(elements);
  }
  template <class Number>
  void add(Number number) {
    const std::size_t at = bytes.size();
    bytes.resize(at + sizeof number);
    store_as(reinterpret_cast<std::byte*>(bytes.data() + at), number);
  }
  void add_text(std::string_view text) {
    add(std::uint64_t{text.size()});
    bytes += text;
  }

 private:
  template <class Number>
  static constexpr GgufValueType type_of() {
    if constexpr (std::is_same_v<Number, std::uint32_t>) return GgufValueType::uint32;
    if constexpr (std::is_same_v<Number, std::int32_t>) return GgufValueType::int32;
    if constexpr (std::is_same_v<Number, std::uint64_t>) return GgufValueType::uint64;
    if constexpr (std::is_same_v<Number, float>) return GgufValueType::float32;
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
