// SPDX-License-Identifier: Apache-2.0
//
// Builds GGUF files in memory. The functions whose names begin with raw, and the public members, can also make every kind of bad
// file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stilla/io/gguf_types.hpp>

namespace stilla_test {

class GgufBuilder {
 public:
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  // The multiple of bytes at which build() places tensor data. build() does not write the key general.alignment: the
  // caller adds it.
  std::uint64_t alignment = 32;
  std::optional<std::uint64_t> key_count;  // if set, written to the header in place of the true count; the same holds for tensor_count
  std::optional<std::uint64_t> tensor_count;

  // Returns the bytes of a number, in little-endian order.
  template <class T>
  static std::string raw(T value) {
    static_assert(std::is_arithmetic_v<T>);
    std::string out(sizeof value, '\0');
    std::memcpy(out.data(), &value, sizeof value);
    return out;
  }
  // Returns a text as GGUF writes it: its length, then its bytes.
  static std::string raw_string(std::string_view text) { return raw<std::uint64_t>(text.size()) + std::string(text); }

  // Adds a key with any type number, and any bytes as its value.
  GgufBuilder& raw_key(std::string_view name, std::uint32_t type, std::string_view value) {
    keys_.push_back(raw_string(name) + raw(type) + std::string(value));
    return *this;
  }

  template <class T>
  GgufBuilder& number(std::string_view name, T value) {
    return raw_key(name, static_cast<std::uint32_t>(type_of<T>()), raw(value));
  }
  GgufBuilder& boolean(std::string_view name, bool value) { return raw_key(name, 7, raw<std::uint8_t>(value)); }
  GgufBuilder& string(std::string_view name, std::string_view value) { return raw_key(name, 8, raw_string(value)); }
  GgufBuilder& strings(std::string_view name, const std::vector<std::string>& values) {
    std::string bytes = raw<std::uint32_t>(8) + raw<std::uint64_t>(values.size());
    for (const std::string& value : values) bytes += raw_string(value);
    return raw_key(name, 9, bytes);
  }
  template <class T>
  GgufBuilder& array(std::string_view name, const std::vector<T>& values) {
    std::string bytes = raw(static_cast<std::uint32_t>(type_of<T>())) + raw<std::uint64_t>(values.size());
    for (const T value : values) bytes += raw(value);
    return raw_key(name, 9, bytes);
  }

  // Adds an entry to the list of tensors, without data. Its numbers may be wrong. `offset` counts from the start of the tensor
  // data.
  GgufBuilder& raw_tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type, std::uint64_t offset,
                          std::optional<std::uint32_t> n_dims = std::nullopt) {
    std::string record = raw_string(name) + raw(n_dims.value_or(static_cast<std::uint32_t>(dims.size())));
    for (const std::uint64_t dim : dims) record += raw(dim);
    tensors_.push_back(record + raw(type) + raw(offset));
    return *this;
  }

  // Adds a tensor and its data. The data are placed behind those of earlier tensors.
  GgufBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type, std::span<const std::byte> bytes) {
    pad(data_);
    raw_tensor(name, dims, type, data_.size());
    data_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return *this;
  }
  GgufBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& dims, stilla::FormatId format,
                      std::span<const std::byte> bytes) {
    return tensor(name, dims, stilla::gguf_type_of(format).value(), bytes);
  }
  GgufBuilder& floats(std::string_view name, const std::vector<std::uint64_t>& dims, const std::vector<float>& values) {
    return tensor(name, dims, 0, std::as_bytes(std::span(values)));
  }

  GgufBuilder& raw_data(std::string_view bytes) {
    data_ += bytes;
    return *this;
  }

  std::vector<std::byte> build() const {
    std::string out = magic + raw(version) + raw<std::uint64_t>(tensor_count.value_or(tensors_.size())) +
                      raw<std::uint64_t>(key_count.value_or(keys_.size()));
    for (const std::string& key : keys_) out += key;
    for (const std::string& record : tensors_) out += record;
    if (!data_.empty()) pad(out);
    out += data_;
    std::vector<std::byte> bytes(out.size());
    if (!out.empty()) std::memcpy(bytes.data(), out.data(), out.size());
    return bytes;
  }

  bool write(const std::string& path) const {
    const std::vector<std::byte> bytes = build();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return static_cast<bool>(file);
  }

 private:
  template <class T>
  static constexpr stilla::GgufValueType type_of() {
    using enum stilla::GgufValueType;
    if constexpr (std::is_same_v<T, float>) return float32;
    if constexpr (std::is_same_v<T, double>) return float64;
    if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
      return sizeof(T) == 1 ? int8 : sizeof(T) == 2 ? int16 : sizeof(T) == 4 ? int32 : int64;
    }
    return sizeof(T) == 1 ? uint8 : sizeof(T) == 2 ? uint16 : sizeof(T) == 4 ? uint32 : uint64;
  }

  void pad(std::string& bytes) const {
    while (alignment != 0 && bytes.size() % alignment != 0) bytes += '\0';
  }

  std::vector<std::string> keys_;
  std::vector<std::string> tensors_;
  std::string data_;
};

}  // namespace stilla_test
