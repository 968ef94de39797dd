// SPDX-License-Identifier: Apache-2.0
//
// The parser of GGUF, versions 2 and 3, little endian. It turns bytes into checked tables of keys and tensors, or into one line
// that says why the file is refused. It follows the GGUF specification in ggml's docs/gguf.md.
//
//     byte  0       4          8                16           24
//           | GGUF  | version  | tensor count   | key count  | keys ... | tensor records ... | pad | tensor data ...
//           | magic | u32      | u64            | u64        |                               to general.alignment
//
//     key            name length u64, name, value type u32, value
//     string value   length u64, bytes
//     array value    element type u32, count u64, elements (strings with their lengths, one after the other)
//     tensor record  name length u64, name, dimension count u32, dimensions u64 each (contiguous one first), type u32,
//                    offset u64 (from the start of the tensor data)
//
// If parse_gguf succeeds, these facts hold. The bytes of every key and tensor lie inside the file. Names are unique. Every tensor
// has a type whose block sizes are known, dimensions other than zero, whole blocks in each row and an aligned offset. The bytes of the
// tensors follow each other in any order, without overlaps, and with no gap but the padding to the alignment. A packed file
// (packed_file.hpp) has the layout of this build, and its header has not changed since it was written. Bytes behind the last tensor
// are allowed.
//
// Tables grow as records are read and hold no copy of the text of the file. The counts are limited by the number of bytes left
// and by max_keys and max_tensors, so that refusing a file costs at most some 40 MB.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/io/checked.hpp>
#include <stilla/io/checksum.hpp>
#include <stilla/io/file_kind.hpp>
#include <stilla/io/gguf_parts.hpp>
#include <stilla/io/gguf_types.hpp>
#include <stilla/io/mapped_file.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/layout/pack.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

inline constexpr std::uint32_t gguf_magic = 0x46554747;  // "GGUF"

struct GgufKey {
  std::string_view name;
  GgufValueType type;
  GgufValueType element_type;   // type of the elements of an array; for other keys equal to type
  std::uint64_t count;          // elements of an array, bytes of a string, else 1
  std::uint64_t record_offset;  // of the whole record, for messages
  std::uint64_t value_offset;   // place of the number, the first byte of the string, or the first element of the array
  std::uint64_t value_bytes;    // from value_offset to the end of the record
};

struct GgufTensor : TensorInfo {  // is_packed is set only in packed files
  std::uint32_t type;           // GGUF type number; find_tensor_type(type) is never null here
  std::uint64_t record_offset;  // of the record that declares it, for messages
};

// The place of a file among the parts of a split model (gguf_parts.hpp).
struct GgufSplit {
  std::uint64_t number = 0;   // from 0
  std::uint64_t count = 1;    // 0 or 1: not split
  std::uint64_t tensors = 0;  // of all parts together
};

struct GgufContents {
  std::uint32_t version = 0;
  std::uint64_t alignment = 32;
  std::uint64_t data_offset = 0;    // where tensor data begins; may be past the end of a file without tensors
  bool is_packed = false;
  GgufSplit split;
  std::vector<GgufKey> keys;        // in file order
  std::vector<GgufTensor> tensors;  // in file order
  // The positions of all keys in `keys` and of all tensors in `tensors`, sorted by name. They are sorted and not hashed, so that
  // a file cannot make look-ups slow by its choice of names.
  std::vector<std::uint32_t> keys_by_name;
  std::vector<std::uint32_t> tensors_by_name;
};

namespace detail {

template <class Record>
const Record* find_by_name(const std::vector<Record>& records, const std::vector<std::uint32_t>& by_name, std::string_view name) {
  const auto found = std::lower_bound(by_name.begin(), by_name.end(), name,
                                      [&](std::uint32_t i, std::string_view wanted) { return records[i].name < wanted; });
  return found != by_name.end() && records[*found].name == name ? &records[*found] : nullptr;
}

// The positions of two records that have the same name.
struct SameName {
  std::uint32_t first, second;
};

// Fills `by_name` with the positions of all records, sorted by name. If names occur more than once, returns the first record, in
// file order, whose name occurred before, together with the record before it that has this name.
template <class Record>
std::optional<SameName> sort_by_name(const std::vector<Record>& records, std::vector<std::uint32_t>& by_name) {
  by_name.resize(records.size());
  std::iota(by_name.begin(), by_name.end(), 0u);
  std::sort(by_name.begin(), by_name.end(), [&](std::uint32_t a, std::uint32_t b) {
    const int order = records[a].name.compare(records[b].name);
    return order != 0 ? order < 0 : a < b;
  });
  std::optional<SameName> found;
  for (std::size_t i = 1; i < by_name.size(); ++i) {
    if (records[by_name[i - 1]].name != records[by_name[i]].name) continue;
    if (!found || by_name[i] < found->second) found = SameName{by_name[i - 1], by_name[i]};
  }
  return found;
}

// The checksum of the bytes before the tensor data of a packed file, without the 8 bytes at `value_offset`, where this checksum
// is stored.
inline std::uint64_t packed_header_checksum(std::span<const std::byte> header, std::uint64_t value_offset) {
  Checksum sum;
  sum.add(header.first(static_cast<std::size_t>(value_offset)));
  sum.add(header.subspan(static_cast<std::size_t>(value_offset) + sizeof(std::uint64_t)));
  return sum.value();
}

class GgufParser {
 public:
  static constexpr std::uint64_t max_keys = 1u << 16;     // known files have at most some hundred
  static constexpr std::uint64_t max_tensors = 1u << 17;  // a model of 61 layers with 256 unmerged experts has 47 000
  static constexpr std::uint64_t max_key_bytes = 65535;   // as the specification says
  static constexpr std::uint64_t max_tensor_name_bytes = 64;
  static constexpr std::uint64_t max_alignment = 1u << 20;
  static constexpr std::uint64_t min_key_record = 8 + 1 + 4 + 1;
  static constexpr std::uint64_t min_tensor_record = 8 + 1 + 4 + 4 + 8;
  static constexpr std::uint32_t max_value_type = 12;

  GgufParser(const MappedFile& file, GgufContents& out) : file_(file), cursor_(file.bytes()), out_(out) {}

  Status parse() {
    std::uint64_t n_tensors = 0;
    std::uint64_t n_keys = 0;
    if (Status s = read_header(n_tensors, n_keys); !s) return s;
    for (std::uint64_t i = 0; i < n_keys; ++i) {
      if (Status s = read_key(i, n_keys); !s) return s;
    }
    if (Status s = index(out_.keys, out_.keys_by_name, "key"); !s) return s;
    if (Status s = read_split(n_tensors); !s) return s;
    if (Status s = read_alignment(); !s) return s;
    if (Status s = read_packed_layout(); !s) return s;
    if (Status s = bound_tensor_count(n_tensors); !s) return s;
    for (std::uint64_t i = 0; i < n_tensors; ++i) {
      if (Status s = read_tensor(i, n_tensors); !s) return s;
    }
    if (Status s = index(out_.tensors, out_.tensors_by_name, "tensor"); !s) return s;
    // The cursor's offset is at most the size of the file, far below 2^64. Rounding it up to a multiple of the alignment adds less than
    // 1 MiB, so the sum cannot overflow.
    if (!checked_align_up(cursor_.offset(), out_.alignment, out_.data_offset)) return truncated("header at byte 0");
    if (Status s = check_packed_header(); !s) return s;
    return place_tensors();
  }

 private:
  template <class... Parts>
  Error refuse(const Parts&... parts) const {
    return {ErrorKind::refused_file, concat(printable_path(file_.path()), ": ", parts...)};
  }
  // Returns the error for a read that goes beyond the end of the file. `subject` names what was being read and where it begins:
  // "key 'a.b' at byte 24".
  Error truncated(const std::string& subject) const {
    return refuse(subject, ": needs ", cursor_.wanted(), " bytes at byte ", cursor_.offset(), " and ", cursor_.remaining(),
                  " are left; the file is truncated or damaged");
  }
  template <class Record>
  static std::string subject_of(std::string_view what, const Record& record) {
    return concat(what, " '", printable(record.name), "' at byte ", record.record_offset);
  }

  Status read_header(std::uint64_t& n_tensors, std::uint64_t& n_keys) {
    std::uint32_t magic = 0;
    if (!cursor_.read(magic) || magic != gguf_magic) {
      const std::uint64_t size = file_.bytes().size();
      return refuse("is not a GGUF file: ", size < sizeof magic ? concat("has ", size, " bytes; ") : "",
                    "expected it to start with 'GGUF', found ", guess_file_kind(file_.bytes()));
    }
    if (!cursor_.read(out_.version)) return truncated("header at byte 0");
    if (out_.version != 0 && (out_.version & 0xffff) == 0) {
      return refuse("header at byte 4: big-endian GGUF; expected little-endian (convert the model again)");
    }
    if (out_.version != 2 && out_.version != 3) {
      return refuse("header at byte 4: GGUF version ", out_.version, "; expected 2 or 3",
                    out_.version == 1 ? " (version 1 was used for some weeks of 2023: convert the model again)" : "");
    }
    if (!cursor_.read(n_tensors) || !cursor_.read(n_keys)) return truncated("header at byte 0");
    // A count that is larger than the file can hold is refused at once. Each of the two counts, of keys and of tensors, is compared
    // with the bytes that are left behind the header. The tensor count is compared again when the keys have been read and fewer
    // bytes are left.
    if (Status s = bound_count("key", 16, n_keys, min_key_record, max_keys); !s) return s;
    return bound_tensor_count(n_tensors);
  }

  Status bound_tensor_count(std::uint64_t n_tensors) const { return bound_count("tensor", 8, n_tensors, min_tensor_record, max_tensors); }

  Status bound_count(std::string_view what, unsigned offset, std::uint64_t count, std::uint64_t min_record, std::uint64_t limit) const {
    const std::uint64_t fits = cursor_.remaining() / min_record;
    if (count > fits) {
      return refuse(what, " count at byte ", offset, ": found ", count, "; expected at most ", fits, ", which is what the ",
                    cursor_.remaining(), " bytes left can hold; the file is truncated or damaged");
    }
    if (count > limit) {
      return refuse(what, " count at byte ", offset, ": found ", count, "; expected at most ", limit);
    }
    return success();
  }

  Status read_key(std::uint64_t i, std::uint64_t n_keys) {
    GgufKey key{};
    key.record_offset = cursor_.offset();
    const std::string anonymous = concat("key ", i + 1, " of ", n_keys, " at byte ", key.record_offset);
    if (Status s = read_name(key.name, max_key_bytes, anonymous, out_.keys, 16); !s) return s;

    const auto subject = [&] { return subject_of("key", key); };
    std::uint32_t type = 0;
    if (!cursor_.read(type)) return truncated(subject());
    if (Status s = check_value_type(type, subject); !s) return s;
    key.type = key.element_type = static_cast<GgufValueType>(type);
    key.count = 1;
    if (key.type == GgufValueType::array) {
      std::uint32_t element_type = 0;
      if (!cursor_.read(element_type) || !cursor_.read(key.count)) return truncated(subject());
      if (Status s = check_value_type(element_type, subject); !s) return s;
      key.element_type = static_cast<GgufValueType>(element_type);
      if (key.element_type == GgufValueType::array) {
        return refuse(subject(), ": found an array of arrays; expected an array of numbers or strings");
      }
    } else if (key.type == GgufValueType::string) {
      if (!cursor_.read(key.count)) return truncated(subject());
    }
    key.value_offset = cursor_.offset();
    if (Status s = skip_value(key, subject); !s) return s;
    key.value_bytes = cursor_.offset() - key.value_offset;
    out_.keys.push_back(key);
    return success();
  }

  template <class Subject>
  Status check_value_type(std::uint32_t type, const Subject& subject) const {
    if (type <= max_value_type) return success();
    return refuse(subject(), ": found value type ", type, " at byte ", cursor_.offset() - 4, "; expected 0 to ", max_value_type);
  }

  // Moves the cursor over the value of a key and checks all of the value.
  template <class Subject>
  Status skip_value(const GgufKey& key, const Subject& subject) {
    if (key.type == GgufValueType::string) {
      if (!cursor_.skip(key.count)) return truncated(subject());
      return success();
    }
    if (key.element_type == GgufValueType::string) {
      constexpr std::uint64_t length_bytes = 8;
      if (key.count > cursor_.remaining() / length_bytes) {
        return refuse(subject(), ": found ", key.count, " strings; expected at most ", cursor_.remaining() / length_bytes,
                      ", which is what the ", cursor_.remaining(), " bytes left can hold; the file is truncated or damaged");
      }
      std::string_view text;
      for (std::uint64_t i = 0; i < key.count; ++i) {
        if (cursor_.read_string(text)) continue;
        return refuse(subject(), ", string ", i + 1, " of ", key.count, ": needs ", cursor_.wanted(), " bytes at byte ", cursor_.offset(),
                      " and ", cursor_.remaining(),
                      " are left; the file is truncated, or the length of this string or of the one before it is wrong");
      }
      return success();
    }
    const std::uint64_t element_bytes = value_bytes(key.element_type);
    if (key.count > cursor_.remaining() / element_bytes) {
      return refuse(subject(), ": needs ", key.count, " values of ", element_bytes, " bytes at byte ", cursor_.offset(), " and ",
                    cursor_.remaining(), " bytes are left; the file is truncated or damaged");
    }
    std::span<const std::byte> elements;
    if (!cursor_.take(key.count * element_bytes, elements)) return truncated(subject());
    if (key.element_type == GgufValueType::boolean) {
      for (std::size_t i = 0; i < elements.size(); ++i) {
        const unsigned value = std::to_integer<unsigned>(elements[i]);
        if (value > 1) {
          return refuse(subject(), ": found boolean ", value, " at byte ", key.value_offset + i, "; expected 0 or 1");
        }
      }
    }
    return success();
  }

  // Reads the name of the next key or tensor, which may have 1 to `limit` bytes. The other arguments are for messages. `anonymous` names
  // the record while its name is not known. `before` are the records that have been read so far: if the length of a name is impossible,
  // often the record before it is wrong. The number of records stands at byte `count_at` of the file.
  template <class Record>
  Status read_name(std::string_view& name, std::uint64_t limit, const std::string& anonymous, const std::vector<Record>& before,
                   std::uint64_t count_at) {
    std::uint64_t length = 0;
    if (!cursor_.read(length)) return truncated(anonymous);
    if (length == 0 || length > limit) {
      const std::string last = before.empty()
                                   ? ""
                                   : concat("; '", printable(before.back().name), "' at byte ", before.back().record_offset,
                                            ", which stands before it, may be wrong, or the count at byte ", count_at, " is too high");
      return refuse(anonymous, ": found a name of ", length, " bytes; expected 1 to ", limit, last);
    }
    std::span<const std::byte> view;
    if (!cursor_.take(length, view)) return truncated(anonymous);
    name = {reinterpret_cast<const char*>(view.data()), view.size()};
    return success();
  }

  template <class Record>
  Status index(const std::vector<Record>& records, std::vector<std::uint32_t>& by_name, std::string_view what) const {
    const std::optional<SameName> twice = sort_by_name(records, by_name);
    if (!twice) return success();
    return refuse(subject_of(what, records[twice->second]), ": found a second time; the first is at byte ",
                  records[twice->first].record_offset);
  }

  // The value of a key that is an integer of any width. Nothing if the value is no integer or is negative.
  std::optional<std::uint64_t> integer_of(const GgufKey& key) const {
    std::optional<std::uint64_t> value;
    if (key.type == GgufValueType::boolean) return value;
    visit_number(key.type, file_.bytes().data() + key.value_offset, [&]<class Number>(Number number) {
      if constexpr (std::is_integral_v<Number>) {
        if (std::cmp_greater_equal(number, 0)) value = static_cast<std::uint64_t>(number);
      }
    });
    return value;
  }

  // The type of a key whose value is no integer of at least 0, and the value if it is a negative integer: "int32 -1".
  std::string negative_text(const GgufKey& key) const {
    std::string text(name_of(key.type));
    visit_number(key.type, file_.bytes().data() + key.value_offset, [&]<class Number>(Number number) {
      if constexpr (std::is_integral_v<Number> && std::is_signed_v<Number>) text += concat(" ", number);
    });
    return text;
  }

  // Finds out whether this file is a part of a split model, and which part. A part has only some of the model's tensors.
  Status read_split(std::uint64_t n_tensors) {
    const auto number_of = [&](std::string_view name, std::uint64_t most, std::uint64_t& value) -> Status {
      const GgufKey* key = find_by_name(out_.keys, out_.keys_by_name, name);
      if (!key) return refuse("key '", name, "' is missing, though this is a part of a split model");
      const std::optional<std::uint64_t> found = integer_of(*key);
      if (!found) {
        return refuse(subject_of("key", *key), ": found ", negative_text(*key), "; expected an integer of at least 0");
      }
      if (*found > most) return refuse(subject_of("key", *key), ": found ", *found, "; expected 0 to ", most);
      value = *found;
      return success();
    };
    const GgufKey* count = find_by_name(out_.keys, out_.keys_by_name, "split.count");
    if (!count) return success();
    if (Status s = number_of("split.count", max_gguf_parts, out_.split.count); !s) return s;
    if (out_.split.count <= 1) {
      // The key split.count says that this file is the whole model. The file is refused if it has the key split.tensors.count, the number
      // of tensors in the model, and this number differs from the number of tensors in the file.
      const GgufKey* all = find_by_name(out_.keys, out_.keys_by_name, "split.tensors.count");
      if (!all || integer_of(*all) == n_tensors) return success();
      return refuse(subject_of("key", *count), ": found ", out_.split.count,
                    ", which is a whole model; expected the number of parts, because ", subject_of("key", *all), " has another value than ",
                    n_tensors, ", the number of tensors in this file");
    }
    if (Status s = number_of("split.no", out_.split.count - 1, out_.split.number); !s) return s;
    return number_of("split.tensors.count", max_tensors, out_.split.tensors);
  }

  Status read_alignment() {
    const GgufKey* key = find_by_name(out_.keys, out_.keys_by_name, "general.alignment");
    if (!key) return success();
    if (key->type != GgufValueType::uint32) {
      return refuse(subject_of("key", *key), ": found ", name_of(key->type), "; expected uint32");
    }
    const std::uint64_t alignment = *integer_of(*key);
    if (alignment == 0 || alignment > max_alignment || (alignment & (alignment - 1)) != 0) {
      return refuse(subject_of("key", *key), ": found ", alignment, "; expected a power of two from 1 to ", max_alignment);
    }
    out_.alignment = alignment;
    return success();
  }

  // Finds out whether this is a packed file (packed_file.hpp); only then may tensors have packed types. Checks the layout of a
  // packed file before anything that depends on the layout is read.
  Status read_packed_layout() {
    const GgufKey* key = find_by_name(out_.keys, out_.keys_by_name, packed_layout_key);
    if (!key) return success();
    if (key->type != GgufValueType::uint32) {
      return refuse(subject_of("key", *key), ": found ", name_of(key->type), "; expected uint32");
    }
    if (const std::uint64_t version = *integer_of(*key); version != packed_layout_version) {
      return refuse(subject_of("key", *key), ": found weights packed in layout ", version, "; expected layout ", packed_layout_version,
                    ", which this version of Stilla reads: pack the original GGUF file again "
                    "(stilla pack)");
    }
    out_.is_packed = true;
    const GgufKey* alignment = find_by_name(out_.keys, out_.keys_by_name, "general.alignment");
    if (!alignment || out_.alignment == packed_alignment) return success();
    return refuse(subject_of("key", *alignment), ": found ", out_.alignment, "; expected ", packed_alignment, ", as packed files have");
  }

  Status check_packed_header() const {
    if (!out_.is_packed) return success();
    const GgufKey* key = find_by_name(out_.keys, out_.keys_by_name, packed_checksum_key);
    if (!key || key->type != GgufValueType::uint64) {
      return refuse("key '", packed_checksum_key, "': expected a uint64, as packed files have; found ", key ? name_of(key->type) : "none");
    }
    const GgufKey* sums = find_by_name(out_.keys, out_.keys_by_name, packed_tensor_checksums_key);
    if (!sums || sums->type != GgufValueType::array || sums->element_type != GgufValueType::uint64 || sums->count != out_.tensors.size()) {
      const std::string found = !sums                                ? "none"
                                : sums->type != GgufValueType::array ? std::string(name_of(sums->type))
                                                                     : concat(sums->count, " of the type ", name_of(sums->element_type));
      return refuse("key '", packed_tensor_checksums_key, "': expected ", out_.tensors.size(), " checksums of the type uint64, one for ",
                    "each tensor; found ", found);
    }
    const std::span<const std::byte> bytes = file_.bytes();
    if (bytes.size() < out_.data_offset) {
      return refuse("header at byte 0: needs ", out_.data_offset, " bytes and ", bytes.size(),
                    " are present; the file is truncated or damaged");
    }
    const std::uint64_t found = packed_header_checksum(bytes.first(static_cast<std::size_t>(out_.data_offset)), key->value_offset);
    const std::uint64_t expected = load_as<std::uint64_t>(bytes.data() + key->value_offset);
    if (found == expected) return success();
    return refuse(subject_of("key", *key), ": the checksum of the ", out_.data_offset, " bytes of the header is ", found, "; expected ",
                  expected, "; the file is damaged");
  }

  Status read_tensor(std::uint64_t i, std::uint64_t n_tensors) {
    GgufTensor tensor{};
    tensor.record_offset = cursor_.offset();
    const std::string anonymous = concat("tensor ", i + 1, " of ", n_tensors, " at byte ", tensor.record_offset);
    if (Status s = read_name(tensor.name, max_tensor_name_bytes, anonymous, out_.tensors, 8); !s) return s;

    const auto subject = [&] { return subject_of("tensor", tensor); };
    if (!cursor_.read(tensor.n_dims)) return truncated(subject());
    if (tensor.n_dims > tensor.dims.size()) {
      // If the header's count of keys is too low, the next key is read as the first tensor. A key has the type of its value where a tensor
      // has its number of dimensions, so the number that was found may be such a type.
      const bool may_be_key = i == 0 && tensor.n_dims <= max_value_type;
      const std::string or_key =
          may_be_key ? concat("; if this is a key, the key count at byte 16, ", out_.keys.size(), ", is too low") : std::string();
      return refuse(subject(), ": found ", tensor.n_dims, " dimensions; expected at most ", tensor.dims.size(), or_key);
    }
    tensor.dims.fill(1);
    for (std::uint32_t d = 0; d < tensor.n_dims; ++d) {
      if (!cursor_.read(tensor.dims[d])) return truncated(subject());
    }
    if (!cursor_.read(tensor.type) || !cursor_.read(tensor.offset)) return truncated(subject());

    tensor.is_packed = out_.is_packed && (tensor.type & packed_type_flag) != 0;
    if (tensor.is_packed) tensor.type &= ~packed_type_flag;
    const GgufTensorType* type = find_tensor_type(tensor.type);
    const bool is_removed = type && type->block_weights == 0;
    const bool is_only_packed = type && !is_ggml_type(tensor.type) && !tensor.is_packed;
    if (!type || is_removed || is_only_packed) {
      return refuse(subject(), ": found ", tensor.is_packed ? concat("type ", tensor.type | packed_type_flag, ", which means packed ") : "",
                    tensor_type_text(tensor.type),
                    is_removed       ? ", which was removed from ggml"
                    : is_only_packed ? ", which only packed files have"
                                     : "",
                    "; supported: ", decodable_types_text());
    }
    const ShapeBytes size = shape_bytes(*type, tensor.dims);
    const auto shape = [&] { return shape_text(tensor.dims, tensor.n_dims); };
    switch (size.fault) {
      case ShapeFault::none: break;
      case ShapeFault::zero_dimension: return refuse(subject(), ": shape ", shape(), "; expected no dimension to be 0");
      case ShapeFault::partial_block:
        return refuse(subject(), ": shape ", shape(), ": ", tensor.dims[0], " columns are not a multiple of the ", type->name, " block of ",
                      type->block_weights, "; the type or the shape is wrong");
      case ShapeFault::overflow: return refuse(subject(), ": shape ", shape(), ": its size does not fit in 64 bits");
    }
    tensor.size_bytes = size.bytes;
    tensor.type_name = type->name;
    tensor.format = format_of_gguf_type(tensor.type).value_or(no_format);
    if (tensor.is_packed) {
      if (tensor.format == no_format) {
        return refuse(subject(), ": found ", tensor_type_text(tensor.type), ", which cannot be packed");
      }
      const Result<std::size_t> bytes = packed_bytes(tensor.format, tensor.rows(), tensor.columns());
      if (!bytes) return refuse(subject(), ": shape ", shape(), ", packed: ", bytes.error().message);
      tensor.size_bytes = *bytes;
    }
    if (tensor.offset % out_.alignment != 0) {
      return refuse(subject(), ": found data offset ", tensor.offset, "; expected a multiple of the alignment ", out_.alignment);
    }
    out_.tensors.push_back(tensor);
    return success();
  }

  // Turns the offsets of tensors into places in the file. Then checks, in the order of their bytes, that each tensor lies inside
  // the file and begins where the one before it ends, rounded up to the alignment. A gap means that the type or the shape of a
  // tensor is wrong, since writers of GGUF leave none.
  Status place_tensors() {
    const std::uint64_t file_bytes = file_.bytes().size();
    std::uint64_t needed_bytes = 0;
    for (GgufTensor& tensor : out_.tensors) {
      std::uint64_t end = 0;
      if (!checked_add(out_.data_offset, tensor.offset, tensor.offset) || !checked_add(tensor.offset, tensor.size_bytes, end)) {
        return refuse(subject_of("tensor", tensor), ": ", tensor.size_bytes, " bytes at data offset ", tensor.offset,
                      ": their end does not fit in 64 bits");
      }
      needed_bytes = std::max(needed_bytes, end);
    }
    std::vector<std::uint32_t> by_offset(out_.tensors.size());
    std::iota(by_offset.begin(), by_offset.end(), 0u);
    std::sort(by_offset.begin(), by_offset.end(), [&](std::uint32_t a, std::uint32_t b) {
      return std::pair(out_.tensors[a].offset, a) < std::pair(out_.tensors[b].offset, b);
    });
    for (const std::uint32_t i : by_offset) {
      const GgufTensor& tensor = out_.tensors[i];
      const std::uint64_t present = file_bytes > tensor.offset ? file_bytes - tensor.offset : 0;
      if (present < tensor.size_bytes) {
        return refuse(subject_of("tensor", tensor), ": needs ", tensor.size_bytes, " bytes at byte ", tensor.offset, " and ", present,
                      " are present: the file has ", file_bytes, " bytes of the ", needed_bytes, " that its tensors need; ",
                      why_beyond_end(tensor.offset, tensor.size_bytes, file_bytes));
      }
    }
    for (std::size_t i = 0; i < by_offset.size(); ++i) {
      const GgufTensor& tensor = out_.tensors[by_offset[i]];
      if (i == 0) {
        if (tensor.offset == out_.data_offset) continue;
        return refuse(subject_of("tensor", tensor), ": its data begins at byte ", tensor.offset, ", and no tensor holds the ",
                      tensor.offset - out_.data_offset, " bytes before it; expected the first tensor at byte ", out_.data_offset);
      }
      const GgufTensor& before = out_.tensors[by_offset[i - 1]];
      const std::uint64_t before_end = before.offset + before.size_bytes;  // lies inside the file
      if (tensor.offset < before_end) {
        return refuse(subject_of("tensor", tensor), ": its data at byte ", tensor.offset, " overlaps ", subject_of("tensor", before),
                      ", which as ", kind_of(before), " holds bytes ", before.offset, " to ", before_end,
                      "; the type or the shape of the latter is wrong, or the offset of one of the two");
      }
      if (tensor.offset - before_end >= out_.alignment) {
        return refuse(
            subject_of("tensor", before), ": as ", kind_of(before), " it ends at byte ", before_end, ", and no tensor holds the ",
            tensor.offset - before_end, " bytes up to ", subject_of("tensor", tensor),
            "; the type or the shape of the former is wrong, or an offset: that of one of these two, or of a tensor between them");
      }
    }
    return success();
  }

  // Returns, for messages, the type and the shape of a tensor, from which its size follows: "f32 of shape [16, 32]".
  static std::string kind_of(const GgufTensor& tensor) {
    return concat(tensor.is_packed ? "packed " : "", tensor.type_name, " of shape ", shape_text(tensor.dims, tensor.n_dims));
  }

  const MappedFile& file_;
  ByteCursor cursor_;
  GgufContents& out_;
};

}  // namespace detail

// Parses `file` into `contents`. The views in `contents` point into `file`, so `file` must outlive them. After an error `contents` holds
// what was read so far.
inline Status parse_gguf(const MappedFile& file, GgufContents& contents) { return detail::GgufParser(file, contents).parse(); }

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
