// SPDX-License-Identifier: Apache-2.0
//
// A file of the safetensors format: tensors by name, checked. This header is opt-in: it needs nlohmann/json.hpp (checked_json.hpp).
//
//     byte 0         8                       8 + N                      end
//          | N, u64  | header, N bytes, JSON | tensor data              |
//
//     header  {"NAME": {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [begin, end]}, ..., "__metadata__": {...}}
//
// The offsets count from 8 + N. When a file has been opened, these facts hold. The header has at most 100 000 000 bytes and is
// JSON within the limits of checked_json.hpp. Every type is known. A tensor has as many bytes as its shape and type say. Tensors
// share no byte, have no hole between them, and end where the file ends. In addition to what the format's own reader guarantees,
// each name occurs once, has at most 512 bytes, and contains no zero byte. The values of the weights are not checked.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/base/types.hpp>
#include <stilla/io/checked.hpp>
#include <stilla/io/checked_json.hpp>
#include <stilla/io/file_kind.hpp>
#include <stilla/io/mapped_file.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct SafetensorsTensor {
  std::string name;
  std::string_view dtype;  // as in the header: "BF16"
  std::vector<std::uint64_t> shape;  // in PyTorch's order: the contiguous dimension is last
  std::uint64_t offset;              // in the file
  std::uint64_t size_bytes;
};

namespace detail {

struct SafetensorsType {
  std::string_view name;
  std::uint32_t bits;
};
inline constexpr SafetensorsType safetensors_types[] = {
    {"BOOL", 8},    {"F4", 4},          {"F6_E2M3", 6},     {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},
    {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16}, {"F16", 16}, {"BF16", 16},   {"I32", 32},
    {"U32", 32},    {"F32", 32},        {"C64", 64},        {"F64", 64},    {"I64", 64}, {"U64", 64}};

}  // namespace detail

class SafetensorsFile {
 public:
  static constexpr std::uint64_t max_header_bytes = 100'000'000;
  static constexpr std::uint64_t max_tensors = 1u << 17;
  static constexpr std::size_t max_name_bytes = 512;
  static constexpr std::size_t max_dimensions = 8;

  static Result<SafetensorsFile> open(std::string path, LoadMode mode = LoadMode::map) {
    Result<MappedFile> file = MappedFile::open(std::move(path), mode);
    if (!file) return file.error();
    return parse(std::move(*file));
  }

  static Result<SafetensorsFile> parse(MappedFile file) {
    SafetensorsFile out(std::move(file));
    if (Status s = out.read(); !s) return out.file_.reason(s.error());
    return out;
  }

  const MappedFile& file() const { return file_; }
  const std::string& path() const { return file_.path(); }
  // The tensors, ordered by the place of their bytes in the file.
  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }
  std::span<const std::byte> bytes_of(const SafetensorsTensor& tensor) const {
    return file_.bytes().subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.size_bytes));
  }

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}

  template <class... Parts>
  Error refuse(const Parts&... parts) const {
    return {ErrorKind::refused_file, concat(printable_path(path()), ": ", parts...)};
  }
  template <class... Parts>
  Error refuse_tensor(std::string_view name, const Parts&... parts) const {
    return refuse("tensor '", printable(name), "': ", parts...);
  }

  Status read() {
    constexpr std::uint64_t length_bytes = 8;
    const std::span<const std::byte> bytes = file_.bytes();
    if (bytes.size() <= length_bytes) {
      return refuse("is not a safetensors file: has ", bytes.size(), " bytes; expected more than 8, found ", guess_file_kind(bytes));
    }
    const std::uint64_t header_bytes = load_as<std::uint64_t>(bytes.data());
    if (bytes[length_bytes] != std::byte{'{'}) {
      const std::string kind = guess_file_kind(bytes);
      const std::string_view there{reinterpret_cast<const char*>(&bytes[length_bytes]), 1};
      return refuse("is not a safetensors file: expected a header that begins with '{' at byte 8, found ",
                    kind.starts_with("unknown") ? concat("'", printable(there), "' there") : kind);
    }
    if (header_bytes < 2) return refuse("length of the header at byte 0: found ", header_bytes, "; expected at least 2, since it is JSON");
    if (header_bytes > max_header_bytes) {
      return refuse("length of the header at byte 0: found ", header_bytes, "; expected at most ", max_header_bytes);
    }
    const std::uint64_t present = bytes.size() - length_bytes;
    if (header_bytes > present) {
      return refuse("header at byte 8: needs ", header_bytes, " bytes and ", present, " are present; the file is truncated or damaged");
    }
    const std::span<const std::byte> text = bytes.subspan(length_bytes, static_cast<std::size_t>(header_bytes));
    const Result<nlohmann::json> header =
        parse_json(text, concat(printable_path(path()), ": header at byte 8"), {max_header_bytes, std::uint64_t{1} << 21});
    if (!header) {
      return Error{header.error().kind, concat(header.error().message, "; the length of the header at byte 0 is ", header_bytes)};
    }
    const auto* members = header->get_ptr<const nlohmann::json::object_t*>();
    if (members == nullptr) return refuse("header at byte 8: found ", json_type_text(*header), "; expected an object");
    if (members->size() > max_tensors) {
      return refuse("header at byte 8: found ", members->size(), " names; expected at most ", max_tensors);
    }
    data_begin_ = length_bytes + header_bytes;
    for (const auto& [name, entry] : *members) {
      if (name == "__metadata__") {  // texts about the file, which change nothing
        if (!entry.is_object())
          return refuse("header at byte 8: key '__metadata__': found ", json_type_text(entry), "; expected an object");
        continue;
      }
      if (Status s = read_tensor(name, entry); !s) return s;
    }
    return place();
  }

  Status read_tensor(const std::string& name, const nlohmann::json& entry) {
    if (name.empty() || name.size() > max_name_bytes || name.find('\0') != std::string::npos) {
      return refuse_tensor(name, "its name has ", name.size(), " bytes; expected 1 to ", max_name_bytes, ", no zero among them");
    }
    if (!entry.is_object()) return refuse_tensor(name, "found ", json_type_text(entry), "; expected an object");
    for (const auto& [key, value] : entry.get_ref<const nlohmann::json::object_t&>()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets") {
        return refuse_tensor(name, "found the key '", printable(key), "'; expected dtype, shape and data_offsets");
      }
    }
    SafetensorsTensor tensor{name, {}, {}, 0, 0};
    std::uint64_t bits = 0;
    if (Status s = read_type(name, find_member(entry, "dtype"), tensor, bits); !s) return s;
    std::uint64_t elements = 1;
    if (Status s = read_shape(name, find_member(entry, "shape"), tensor, elements); !s) return s;
    if (!checked_mul(elements, bits, bits)) return refuse_tensor(name, "the size of its shape does not fit in 64 bits");
    if (bits % 8 != 0) return refuse_tensor(name, "its ", elements, " elements of ", tensor.dtype, " are not whole bytes");
    if (Status s = read_offsets(name, find_member(entry, "data_offsets"), tensor); !s) return s;
    if (tensor.size_bytes != bits / 8) {
      return refuse_tensor(name, "data_offsets: found ", tensor.size_bytes, " bytes; expected ", bits / 8, ", which are ", elements,
                           " elements of ", tensor.dtype, "; the offsets, the shape or the dtype is wrong");
    }
    tensors_.push_back(std::move(tensor));
    return success();
  }

  Status read_type(std::string_view name, const nlohmann::json* value, SafetensorsTensor& tensor, std::uint64_t& bits) const {
    const std::string* dtype = text_of(value);
    if (dtype == nullptr) return refuse_tensor(name, "dtype: ", json_found_text(value), "; expected a string");
    for (const detail::SafetensorsType& type : detail::safetensors_types) {
      if (type.name != *dtype) continue;
      tensor.dtype = type.name;
      bits = type.bits;
      return success();
    }
    return refuse_tensor(name, "dtype: found '", printable(*dtype), "', which is not a type of the format");
  }

  Status read_shape(std::string_view name, const nlohmann::json* value, SafetensorsTensor& tensor, std::uint64_t& elements) const {
    if (value == nullptr || !value->is_array()) {
      return refuse_tensor(name, "shape: ", json_found_text(value), "; expected an array of integers");
    }
    if (value->size() > max_dimensions) {
      return refuse_tensor(name, "shape: found ", value->size(), " dimensions; expected at most ", max_dimensions);
    }
    for (const nlohmann::json& item : *value) {
      const std::optional<std::uint64_t> dimension = count_of(item);
      if (!dimension) return refuse_tensor(name, "shape: found ", json_no_count_text(item), " in it; expected integers of at least 0");
      if (!checked_mul(elements, *dimension, elements)) return refuse_tensor(name, "shape: its size does not fit in 64 bits");
      tensor.shape.push_back(*dimension);
    }
    return success();
  }

  Status read_offsets(std::string_view name, const nlohmann::json* value, SafetensorsTensor& tensor) const {
    if (value == nullptr || !value->is_array()) {
      return refuse_tensor(name, "data_offsets: ", json_found_text(value), "; expected an array of two integers");
    }
    if (value->size() != 2) return refuse_tensor(name, "data_offsets: found ", value->size(), " values; expected two integers");
    const std::optional<std::uint64_t> begin = count_of((*value)[0]), end = count_of((*value)[1]);
    if (!begin || !end) {
      return refuse_tensor(name, "data_offsets: found ", json_value_text((*value)[begin ? 1 : 0]),
                           " in it; expected two integers of at least 0");
    }
    if (*begin > *end) {
      return refuse_tensor(name, "data_offsets: found ", *begin, " and ", *end, "; expected the second not below the first");
    }
    if (!checked_add(data_begin_, *begin, tensor.offset) || *end > ~std::uint64_t{0} - data_begin_) {
      return refuse_tensor(name, "data_offsets: found ", *begin, " and ", *end, ", which do not fit in 64 bits behind the header");
    }
    tensor.size_bytes = *end - *begin;
    return success();
  }

  // Sorts the tensors by their place in the file and checks that each begins where the one before it ends.
  Status place() {
    std::sort(tensors_.begin(), tensors_.end(), [](const SafetensorsTensor& a, const SafetensorsTensor& b) {
      return std::pair(a.offset, a.offset + a.size_bytes) < std::pair(b.offset, b.offset + b.size_bytes);
    });
    const std::uint64_t file_bytes = file_.bytes().size();
    const std::uint64_t needed = tensors_.empty() ? data_begin_ : tensors_.back().offset + tensors_.back().size_bytes;
    std::uint64_t end = data_begin_;
    for (const SafetensorsTensor& tensor : tensors_) {
      if (tensor.offset < end) {
        return refuse_tensor(tensor.name, "its data at byte ", tensor.offset, " overlaps the tensor before, which ends at byte ", end);
      }
      if (tensor.offset > end) {
        return refuse_tensor(tensor.name, "its data is at byte ", tensor.offset, "; expected byte ", end,
                             ", where the tensor before ends: the format has no holes");
      }
      end = tensor.offset + tensor.size_bytes;
      if (end > file_bytes) {
        return refuse_tensor(tensor.name, "needs ", tensor.size_bytes, " bytes at byte ", tensor.offset, " and ",
                             file_bytes > tensor.offset ? file_bytes - tensor.offset : 0, " are present: the file has ", file_bytes,
                             " bytes of the ", needed, " that its tensors need; ",
                             why_beyond_end(tensor.offset, tensor.size_bytes, file_bytes));
      }
    }
    if (end == file_bytes) return success();
    return refuse("bytes ", end, " to ", file_bytes, " belong to no tensor of its header; expected it to end with its last tensor");
  }

  MappedFile file_;
  std::uint64_t data_begin_ = 0;
  std::vector<SafetensorsTensor> tensors_;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
