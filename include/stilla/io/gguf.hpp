// SPDX-License-Identifier: Apache-2.0
//
// A GGUF model file: typed access to its keys and its tensors. Parsing and what it guarantees are in gguf_parser.hpp.
//
//   Result<GgufFile> file = GgufFile::open("model.gguf");
//   if (!file) return report(file.error());
//   Result<std::uint64_t> layers = file->get_uint("qwen2.block_count");
//   Result<const GgufTensor*> head = file->require_tensor("output.weight", {hidden, vocabulary});
//   std::span<const std::byte> bytes = file->tensor_bytes(**head);
//
// A getter never trusts a key's declared type: it fails with one line that names file, key, byte offset, what was found
// and what was expected. An integer of any width is accepted where its value fits. Strings are views into the file and
// live as long as the GgufFile (moving it keeps them valid). Everything is const after open, so threads may share one
// GgufFile.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/io/checked.hpp>
#include <stilla/io/gguf_parser.hpp>
#include <stilla/io/gguf_types.hpp>
#include <stilla/io/mapped_file.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The strings of an array, front to back: for (std::string_view token : strings). No copy and no table; the n-th string
// is found by walking. If a mapped file is changed under us, a length that has grown is cut at the array's end.
class GgufStrings {
 public:
  class Iterator {
   public:
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::input_iterator_tag;

    Iterator() = default;
    Iterator(std::span<const std::byte> bytes, std::uint64_t left) : rest_(bytes), left_(left) { read(); }

    std::string_view operator*() const { return text_; }
    Iterator& operator++() {
      --left_;
      read();
      return *this;
    }
    Iterator operator++(int) {
      Iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const Iterator& other) const { return left_ == other.left_; }

   private:
    void read() {
      text_ = {};
      if (left_ == 0 || rest_.size() < sizeof(std::uint64_t)) return;
      const std::uint64_t length = load_as<std::uint64_t>(rest_.data());
      rest_ = rest_.subspan(sizeof(std::uint64_t));
      const std::size_t kept = length < rest_.size() ? static_cast<std::size_t>(length) : rest_.size();
      text_ = {reinterpret_cast<const char*>(rest_.data()), kept};
      rest_ = rest_.subspan(kept);
    }

    std::span<const std::byte> rest_;
    std::uint64_t left_ = 0;
    std::string_view text_;
  };

  GgufStrings(std::span<const std::byte> bytes, std::size_t count) : bytes_(bytes), count_(count) {}
  std::size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  Iterator begin() const { return {bytes_, count_}; }
  Iterator end() const { return {}; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t count_;
};

class GgufFile {
 public:
  static Result<GgufFile> open(std::string path, LoadMode mode = LoadMode::map) {
    Result<MappedFile> file = MappedFile::open(std::move(path), mode);
    if (!file) return file.error();
    return parse(std::move(*file));
  }

  static Result<GgufFile> parse(MappedFile file) {
    GgufFile out(std::move(file));
    if (Status s = parse_gguf(out.file_, out.contents_); !s) return s.error();
    return out;
  }

  const MappedFile& file() const { return file_; }
  const std::string& path() const { return file_.path(); }
  std::uint32_t version() const { return contents_.version; }
  std::uint64_t alignment() const { return contents_.alignment; }
  std::uint64_t data_offset() const { return contents_.data_offset; }
  // True if its matrices are packed already (packed_file.hpp).
  bool is_packed() const { return contents_.is_packed; }

  // Both in file order.
  std::span<const GgufKey> keys() const { return contents_.keys; }
  std::span<const GgufTensor> tensors() const { return contents_.tensors; }

  // Null if there is none.
  const GgufKey* find(std::string_view key) const {
    return detail::find_by_name(contents_.keys, contents_.keys_by_name, key);
  }
  const GgufTensor* find_tensor(std::string_view name) const {
    return detail::find_by_name(contents_.tensors, contents_.tensors_by_name, name);
  }
  bool has(std::string_view key) const { return find(key) != nullptr; }

  // Keys that must be there.
  Result<std::uint64_t> get_uint(std::string_view key,
                                 std::uint64_t most = std::numeric_limits<std::uint64_t>::max()) const {
    return get_integer<std::uint64_t>(key, 0, most);
  }
  Result<std::int64_t> get_int(std::string_view key, std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                               std::int64_t most = std::numeric_limits<std::int64_t>::max()) const {
    return get_integer<std::int64_t>(key, least, most);
  }
  // float32 as it is, float64 rounded to float; the caller decides whether infinity and NaN are welcome.
  Result<float> get_float(std::string_view key) const;
  Result<bool> get_bool(std::string_view key) const;
  Result<std::string_view> get_string(std::string_view key) const;
  Result<GgufStrings> get_strings(std::string_view key) const;
  // A copy of an array of numbers as T: std::int32_t, float, ... Integers of other widths are accepted where every
  // value fits, and for integer T booleans as 0 and 1; for floating T float32 and float64 are.
  template <class T>
  Result<std::vector<T>> get_array(std::string_view key) const;

  // Keys that may be missing: `fallback` then. A key of the wrong type is still an error.
  Result<std::uint64_t> get_uint_or(std::string_view key, std::uint64_t fallback,
                                    std::uint64_t most = std::numeric_limits<std::uint64_t>::max()) const {
    return has(key) ? get_uint(key, most) : fallback;
  }
  Result<std::int64_t> get_int_or(std::string_view key, std::int64_t fallback) const {
    return has(key) ? get_int(key) : fallback;
  }
  Result<float> get_float_or(std::string_view key, float fallback) const {
    return has(key) ? get_float(key) : fallback;
  }
  Result<bool> get_bool_or(std::string_view key, bool fallback) const { return has(key) ? get_bool(key) : fallback; }
  Result<std::string_view> get_string_or(std::string_view key, std::string_view fallback) const {
    return has(key) ? get_string(key) : fallback;
  }

  // A tensor that must be there, of a type that Stilla decodes and, if given, of this shape (contiguous dimension
  // first).
  Result<const GgufTensor*> require_tensor(std::string_view name) const;
  Result<const GgufTensor*> require_tensor(std::string_view name, std::initializer_list<std::uint64_t> shape) const;
  // Rows of blocks one after the other; of a packed tensor its panels.
  std::span<const std::byte> tensor_bytes(const GgufTensor& tensor) const {
    return file_.bytes().subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.size_bytes));
  }
  // The tensor's first `count` bytes were copied elsewhere and may leave memory (MappedFile::drop_pages).
  void drop_tensor_pages(const GgufTensor& tensor, std::uint64_t count) const {
    file_.drop_pages(tensor.offset, std::min(count, tensor.size_bytes));
  }

  // Before all tensors are read (MappedFile::ask_for_large_pages).
  void ask_for_large_pages() const { file_.ask_for_large_pages(); }

  // A value for people: "28", "'qwen2'", "[151936 string]".
  std::string value_text(const GgufKey& key) const;

  // Errors in the house form, for checks that only the caller can make: "m.gguf: key 'a.b' at byte 24: found 3; ..."
  template <class... Parts>
  Error key_error(const GgufKey& key, const Parts&... parts) const {
    return refuse("key '", printable(key.name), "' at byte ", key.record_offset, ": ", parts...);
  }
  template <class... Parts>
  Error tensor_error(const GgufTensor& tensor, const Parts&... parts) const {
    return refuse("tensor '", printable(tensor.name), "' at byte ", tensor.record_offset, ": ", parts...);
  }

 private:
  explicit GgufFile(MappedFile file) : file_(std::move(file)) {}

  template <class... Parts>
  Error refuse(const Parts&... parts) const {
    return {ErrorKind::refused_file, concat(printable_path(path()), ": ", parts...)};
  }
  Error missing_key(std::string_view key, std::string_view expected) const {
    return refuse("key '", printable(key), "' is missing; expected ", expected);
  }
  Error wrong_type(const GgufKey& key, std::string_view expected) const {
    if (key.type != GgufValueType::array) return key_error(key, "found ", name_of(key.type), "; expected ", expected);
    return key_error(key, "found an array of ", key.count, " ", name_of(key.element_type), "; expected ", expected);
  }

  const std::byte* address_of(const GgufKey& key) const { return file_.bytes().data() + key.value_offset; }

  // Calls f with the number of this type at this address; false, and no call, if the type is not a number's. A boolean
  // comes as its byte.
  template <class F>
  static bool visit_number(GgufValueType type, const std::byte* address, F&& f) {
    switch (type) {
      case GgufValueType::uint8:
      case GgufValueType::boolean: f(load_as<std::uint8_t>(address)); return true;
      case GgufValueType::int8: f(load_as<std::int8_t>(address)); return true;
      case GgufValueType::uint16: f(load_as<std::uint16_t>(address)); return true;
      case GgufValueType::int16: f(load_as<std::int16_t>(address)); return true;
      case GgufValueType::uint32: f(load_as<std::uint32_t>(address)); return true;
      case GgufValueType::int32: f(load_as<std::int32_t>(address)); return true;
      case GgufValueType::uint64: f(load_as<std::uint64_t>(address)); return true;
      case GgufValueType::int64: f(load_as<std::int64_t>(address)); return true;
      case GgufValueType::float32: f(load_as<float>(address)); return true;
      case GgufValueType::float64: f(load_as<double>(address)); return true;
      case GgufValueType::string:
      case GgufValueType::array: break;
    }
    return false;
  }

  static constexpr bool is_floating(GgufValueType type) {
    return type == GgufValueType::float32 || type == GgufValueType::float64;
  }
  static constexpr bool is_integer(GgufValueType type) {
    return !is_floating(type) && type != GgufValueType::boolean && value_bytes(type) != 0;
  }

  template <class T>
  Result<T> get_integer(std::string_view name, T least, T most) const {
    constexpr std::string_view expected = std::is_signed_v<T> ? "an integer" : "an unsigned integer";
    const GgufKey* key = find(name);
    if (!key) return missing_key(name, expected);
    if (!is_integer(key->type)) return wrong_type(*key, expected);
    T value{};
    std::string found;  // set if the value does not fit
    visit_number(key->type, address_of(*key), [&]<class Number>(Number number) {
      if constexpr (std::is_integral_v<Number>) {
        if (std::cmp_less(number, least) || std::cmp_greater(number, most)) {
          found = concat(number);
        } else {
          value = static_cast<T>(number);
        }
      }
    });
    if (!found.empty()) return key_error(*key, "found ", found, "; expected ", least, " to ", most);
    return value;
  }

  MappedFile file_;
  GgufContents contents_;
};

inline Result<float> GgufFile::get_float(std::string_view name) const {
  const GgufKey* key = find(name);
  if (!key) return missing_key(name, "a float");
  if (key->type == GgufValueType::float32) return load_as<float>(address_of(*key));
  if (key->type != GgufValueType::float64) return wrong_type(*key, "a float");
  // A finite double that rounds to infinity has no float that stands for it. Told by bits, which -ffast-math leaves
  // alone.
  const double value = load_as<double>(address_of(*key));
  const bool finite = (std::bit_cast<std::uint64_t>(value) >> 52 & 0x7ff) != 0x7ff;
  const bool finite_float = (std::bit_cast<std::uint32_t>(static_cast<float>(value)) >> 23 & 0xff) != 0xff;
  if (finite && !finite_float) return key_error(*key, "found ", value, "; expected a value that fits in a float");
  return static_cast<float>(value);
}

inline Result<bool> GgufFile::get_bool(std::string_view name) const {
  const GgufKey* key = find(name);
  if (!key) return missing_key(name, "a boolean");
  if (key->type != GgufValueType::boolean) return wrong_type(*key, "a boolean");
  return load_as<std::uint8_t>(address_of(*key)) != 0;
}

inline Result<std::string_view> GgufFile::get_string(std::string_view name) const {
  const GgufKey* key = find(name);
  if (!key) return missing_key(name, "a string");
  if (key->type != GgufValueType::string) return wrong_type(*key, "a string");
  return std::string_view(reinterpret_cast<const char*>(address_of(*key)), static_cast<std::size_t>(key->count));
}

inline Result<GgufStrings> GgufFile::get_strings(std::string_view name) const {
  const GgufKey* key = find(name);
  if (!key) return missing_key(name, "an array of strings");
  if (key->type != GgufValueType::array || key->element_type != GgufValueType::string) {
    return wrong_type(*key, "an array of strings");
  }
  return GgufStrings({address_of(*key), static_cast<std::size_t>(key->value_bytes)},
                     static_cast<std::size_t>(key->count));
}

template <class T>
Result<std::vector<T>> GgufFile::get_array(std::string_view name) const {
  static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>, "read booleans as std::uint8_t");
  constexpr std::string_view expected = std::is_floating_point_v<T> ? "an array of floats" : "an array of integers";
  const GgufKey* key = find(name);
  if (!key) return missing_key(name, expected);
  if (key->type != GgufValueType::array || value_bytes(key->element_type) == 0 ||
      is_floating(key->element_type) != std::is_floating_point_v<T>) {
    return wrong_type(*key, expected);
  }
  // An element has at least one byte in the file, so the copy is at most sizeof(T) times as large as the file.
  std::vector<T> out(static_cast<std::size_t>(key->count));
  const std::uint64_t element_bytes = value_bytes(key->element_type);
  const std::byte* address = address_of(*key);
  for (std::size_t i = 0; i < out.size(); ++i, address += element_bytes) {
    bool fits = true;
    visit_number(key->element_type, address, [&]<class Number>(Number number) {
      if constexpr (std::is_integral_v<Number> && std::is_integral_v<T>) {
        fits = std::in_range<T>(number);
      }
      if (fits) out[i] = static_cast<T>(number);
    });
    if (!fits) {
      std::string found;
      visit_number(key->element_type, address, [&](auto number) { found = concat(number); });
      return key_error(*key, "found ", found, " as element ", i, " at byte ", key->value_offset + i * element_bytes,
                       "; expected ", std::numeric_limits<T>::min(), " to ", std::numeric_limits<T>::max());
    }
  }
  return out;
}

inline Result<const GgufTensor*> GgufFile::require_tensor(std::string_view name) const {
  const GgufTensor* tensor = find_tensor(name);
  if (!tensor) return refuse("tensor '", printable(name), "' is missing");
  if (tensor->format == no_format) {
    return tensor_error(*tensor, tensor_type_text(tensor->type),
                        " is not supported; supported: ", decodable_types_text());
  }
  return tensor;
}

inline Result<const GgufTensor*> GgufFile::require_tensor(std::string_view name,
                                                          std::initializer_list<std::uint64_t> shape) const {
  Result<const GgufTensor*> tensor = require_tensor(name);
  if (!tensor) return tensor;
  std::array<std::uint64_t, 4> dims{1, 1, 1, 1};
  std::size_t n_dims = 0;
  for (const std::uint64_t dim : shape) {
    if (n_dims == dims.size()) return tensor_error(**tensor, "asked for with more than ", dims.size(), " dimensions");
    dims[n_dims++] = dim;
  }
  if ((*tensor)->dims != dims) {
    return tensor_error(**tensor, "found shape ", detail::shape_text((*tensor)->dims, (*tensor)->n_dims), "; expected ",
                        detail::shape_text(dims, static_cast<std::uint32_t>(n_dims)));
  }
  return tensor;
}

inline std::string GgufFile::value_text(const GgufKey& key) const {
  if (key.type == GgufValueType::array) return concat("[", key.count, " ", name_of(key.element_type), "]");
  if (key.type == GgufValueType::string) {
    const char* text = reinterpret_cast<const char*>(address_of(key));
    return concat("'", printable({text, static_cast<std::size_t>(key.count)}), "'");
  }
  if (key.type == GgufValueType::boolean) return load_as<std::uint8_t>(address_of(key)) ? "true" : "false";
  std::string out;
  visit_number(key.type, address_of(key), [&](auto number) { out = concat(number); });
  return out;
}

// The format that a tensor has where a model's layers are requantised to `format`, if given: the layers' matrices take it
// whose rows are whole blocks of it; embedding, head and vectors stay as the file has them.
inline FormatId requantised_format(const GgufTensor& tensor, std::optional<FormatId> format) {
  const bool is_of_layer = tensor.is_matrix() && tensor.name.starts_with("blk.");
  if (!format || !is_of_layer || tensor.format == no_format) return tensor.format;
  return packed_bytes(*format, tensor.rows(), tensor.columns()) ? *format : tensor.format;
}

}}  // namespace stilla
