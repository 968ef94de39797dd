// SPDX-License-Identifier: Apache-2.0
//
// The interface for the files of a model: tensors by name, metadata, a vocabulary and a chat template. Model, read_model_config
// and read_tokenizer use this interface and know no file format. Implementations are GgufFile (gguf.hpp) and HuggingFaceFolder
// (hugging_face.hpp).
//
// All names are those of GGUF, because GGUF is the one format that names everything in one place: "blk.0.attn_q.weight" for
// tensors, "general.architecture", "qwen2.block_count" and so on for metadata (model/config.hpp lists those that are read). A
// source of another kind, for example a folder with config.json and safetensors, translates its own names to these when it is
// asked. In its messages it uses its own names. Every error says in which place of which file the fault is, what was found and
// what was expected. Only the source knows the place; the functions named *_place return it.
//
// An implementation has checked its files: a tensor has as many bytes as its shape and format say, its rows are whole blocks, and
// names are unique. The user of a source checks that the source contains the model that it claims to contain.
//
// A source is const after it is opened, so that threads may share it. The views and pointers that it returns live as long as the
// source.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/base/math.hpp>
#include <stilla/format/format.hpp>
#include <stilla/format/q8_0.hpp>
#include <stilla/io/checksum.hpp>
#include <stilla/io/vocabulary.hpp>
#include <stilla/layout/pack.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// A list for a message: text_of(0), text_of(1), ... up to text_of(count - 1). Of many elements only the first 8 are in it.
template <class TextOf>
std::string list_text(std::size_t count, TextOf&& text_of) {
  constexpr std::size_t most = 8;
  std::string out;
  for (std::size_t i = 0; i < count && i < most; ++i) out += concat(i == 0 ? "" : ", ", text_of(i));
  return out + (count > most ? ", ..." : "");
}
// Names from a file as such a list: 'a', 'b'.
inline std::string names_text(const std::vector<std::string>& names) {
  return list_text(names.size(), [&](std::size_t i) { return concat("'", printable(names[i]), "'"); });
}

// A note for the user that names keys of a file which are not known and not used. Nothing if there are none. A note begins with the
// place of the file, unless whoever shows the note adds it.
inline std::optional<std::string> unknown_keys_note(const std::vector<std::string>& keys, std::string_view place = {}) {
  if (keys.empty()) return std::nullopt;
  return concat(place, place.empty() ? "" : ": ", keys.size() == 1 ? "a key that is" : "keys that are",
                " not known here and not used: ", names_text(keys));
}

struct TensorInfo {
  std::string_view name;
  std::array<std::uint64_t, 4> dims;  // contiguous dimension first; unused ones are 1
  std::uint32_t n_dims;
  FormatId format;             // no_format: a type that Stilla does not decode
  std::string_view type_name;  // the source's name of the type: "q4_k"
  std::uint64_t size_bytes;
  std::uint64_t offset;  // of the first byte in its file, for messages
  bool is_packed;        // its bytes are panels (layout/pack.hpp), not rows of blocks
  std::uint32_t file = 0;  // which of the source's files contains it, from 0

  std::uint64_t columns() const { return dims[0]; }
  std::uint64_t rows() const { return dims[1] * dims[2] * dims[3]; }
  bool is_matrix() const { return dims[1] > 1 && dims[2] == 1 && dims[3] == 1; }
};

// A value of the metadata, and the name of its type for messages: "uint32", "an array of 3 string". If the value is an array, only its
// type is given.
struct MetadataValue {
  std::variant<std::monostate, bool, std::uint64_t, std::int64_t, double, std::string_view> value;  // monostate: an array
  std::string type;
};

namespace detail {

// A shape as text, for example "[896, 151936]".
inline std::string shape_text(const std::array<std::uint64_t, 4>& dims, std::uint32_t n_dims) {
  std::string out = "[";
  for (std::uint32_t i = 0; i < n_dims; ++i) out += concat(i ? ", " : "", dims[i]);
  return out + "]";
}

// A checksum of texts in their order. The length of each text is part of it, so that no byte can move from one text to the next.
template <class Texts>
std::uint64_t texts_checksum(const Texts& texts) {
  Checksum sum;
  for (const std::string_view text : texts) {
    const std::uint64_t size = text.size();
    sum.add(std::as_bytes(std::span(&size, 1)));
    sum.add(std::as_bytes(std::span(text)));
  }
  return sum.value();
}

}  // namespace detail

class GgufRecords;  // gguf_records.hpp

class ModelSource {
 public:
  virtual ~ModelSource() = default;

  // The file or folder that was opened, for messages, and the number of bytes of all its files.
  virtual const std::string& path() const = 0;
  virtual std::uint64_t size_bytes() const = 0;

  // The tensors, in an order that the source chooses.
  virtual std::size_t tensor_count() const = 0;
  virtual const TensorInfo& tensor(std::size_t i) const = 0;
  // The tensor with this name; null if there is none.
  virtual const TensorInfo* find_tensor(std::string_view name) const = 0;
  // The bytes of a tensor: its rows of blocks one after the other, or, for a packed tensor, its panels. The tensor must belong to
  // this source.
  virtual std::span<const std::byte> tensor_bytes(const TensorInfo& tensor) const = 0;
  // Says that the tensor will be read soon. The source may begin to read its bytes from the disk.
  virtual void read_ahead(const TensorInfo&) const {}
  // Tells the source that the first `count` bytes of the tensor were copied elsewhere, so that they may leave memory.
  virtual void drop_tensor_pages(const TensorInfo&, std::uint64_t) const {}
  // Says that all tensors will be read. The source may then use large pages for its files (MappedFile::ask_for_large_pages).
  virtual void ask_for_large_pages() const {}
  // Whether all files still have the bytes that were mapped (MappedFile::check_length).
  virtual Status check_lengths() const { return success(); }

  // The value of a key. Nothing if the key is missing.
  virtual std::optional<MetadataValue> find_value(std::string_view key) const = 0;
  // The elements of a key that is an array of integers, if it has at most max_array elements and none is negative. Nothing for
  // any other key.
  virtual std::optional<std::vector<std::uint64_t>> find_integers(std::string_view) const { return std::nullopt; }
  static constexpr std::size_t max_array = 1 << 16;
  // The names of the keys that begin with the text in the argument, as far as the source can list them. They are used to find unknown
  // keys.
  virtual std::vector<std::string_view> keys_under(std::string_view) const { return {}; }
  // One line for each thing in the source that a user should know although the model can run.
  virtual std::vector<std::string> notes() const { return {}; }

  // vocabulary() returns the data of the tokenizer, which the caller checks. chat_template() returns the Jinja text of the chat
  // template, empty if there is none.
  virtual Result<Vocabulary> vocabulary() const = 0;
  // The number of tokens in the vocabulary. 0 if there is none or if it cannot be read.
  virtual std::size_t token_count() const {
    const Result<Vocabulary> all = vocabulary();
    return all ? all->tokens.size() : 0;
  }
  // A number that tells whether two vocabularies have the same texts of tokens with the same ids: a checksum of these texts. 0 if there
  // is no vocabulary or if it cannot be read.
  virtual std::uint64_t token_checksum() const {
    const Result<Vocabulary> all = vocabulary();
    return all ? detail::texts_checksum(all->tokens) : 0;
  }
  virtual Result<std::string_view> chat_template() const = 0;

  // True if the matrices of the source are packed, that is, panels (packed_file.hpp).
  virtual bool is_packed() const { return false; }
  // These two functions are for writing a GGUF file of the source. metadata_records() returns all its keys. foreign_type_number()
  // returns the GGUF number of the type of a tensor that Stilla does not decode.
  virtual Result<GgufRecords> metadata_records() const = 0;
  virtual std::optional<std::uint32_t> foreign_type_number(const TensorInfo&) const { return std::nullopt; }

  // The place of a key, of a tensor or of the vocabulary, whether it exists or is missing, for messages: "m.gguf: key 'a.b' at
  // byte 24".
  virtual std::string key_place(std::string_view key) const = 0;
  virtual std::string tensor_place(std::string_view name) const = 0;
  virtual std::string vocabulary_place() const = 0;
  // The types of tensors that the source may have: "f32, f16, ...".
  virtual std::string supported_types_text() const = 0;
  // The type of a tensor as text, "type 10 (q2_k)".
  virtual std::string type_text(const TensorInfo& tensor) const { return concat("type ", tensor.type_name); }

  bool has(std::string_view key) const { return find_value(key).has_value(); }

  // The values of keys that must exist. An integer may have any width if its value fits.
  Result<std::uint64_t> get_uint(std::string_view key, std::uint64_t most = std::numeric_limits<std::uint64_t>::max(),
                                 std::uint64_t least = 0) const {
    return get_integer<std::uint64_t>(key, least, most);
  }
  Result<std::int64_t> get_int(std::string_view key, std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                               std::int64_t most = std::numeric_limits<std::int64_t>::max()) const {
    return get_integer<std::int64_t>(key, least, most);
  }
  // The value of a key as a float. A double is rounded to float. The caller decides whether infinity and NaN are allowed.
  Result<float> get_float(std::string_view key) const;
  Result<bool> get_bool(std::string_view key) const { return get_as<bool>(key, "a boolean"); }
  Result<std::string_view> get_string(std::string_view key) const { return get_as<std::string_view>(key, "a string"); }

  // The values of keys that may be missing. If a key is missing the result is `fallback`. A key of the wrong type is still an error.
  Result<std::uint64_t> get_uint_or(std::string_view key, std::uint64_t fallback,
                                    std::uint64_t most = std::numeric_limits<std::uint64_t>::max()) const {
    return has(key) ? get_uint(key, most) : fallback;
  }
  Result<std::int64_t> get_int_or(std::string_view key, std::int64_t fallback) const { return has(key) ? get_int(key) : fallback; }
  Result<float> get_float_or(std::string_view key, float fallback) const { return has(key) ? get_float(key) : fallback; }
  Result<bool> get_bool_or(std::string_view key, bool fallback) const { return has(key) ? get_bool(key) : fallback; }
  Result<std::string_view> get_string_or(std::string_view key, std::string_view fallback) const {
    return has(key) ? get_string(key) : fallback;
  }

  // A tensor that must exist, in a format that Stilla decodes and, if a shape is given, with this shape (contiguous dimension
  // first).
  Result<const TensorInfo*> require_tensor(std::string_view name) const;
  Result<const TensorInfo*> require_tensor(std::string_view name, std::initializer_list<std::uint64_t> shape) const;

  // Errors in the usual form, for checks that only the caller can make: "m.gguf: key 'a.b' at byte 24: found 3; ..."
  template <class... Parts>
  Error key_error(std::string_view key, const Parts&... parts) const {
    return {ErrorKind::refused_file, concat(key_place(key), ": ", parts...)};
  }
  template <class... Parts>
  Error tensor_error(const TensorInfo& tensor, const Parts&... parts) const {
    return {ErrorKind::refused_file, concat(tensor_place(tensor.name), ": ", parts...)};
  }

 protected:
  ModelSource() = default;
  ModelSource(const ModelSource&) = default;
  ModelSource(ModelSource&&) = default;
  ModelSource& operator=(const ModelSource&) = default;
  ModelSource& operator=(ModelSource&&) = default;

  Error missing_key(std::string_view key, std::string_view expected) const {
    return {ErrorKind::refused_file, concat(key_place(key), " is missing; expected ", expected)};
  }
  Error wrong_type(std::string_view key, std::string_view type, std::string_view expected) const {
    return key_error(key, "found ", type, "; expected ", expected);
  }

 private:
  template <class T>
  Result<T> get_as(std::string_view key, std::string_view expected) const {
    const std::optional<MetadataValue> found = find_value(key);
    if (!found) return missing_key(key, expected);
    const T* value = std::get_if<T>(&found->value);
    return value ? Result<T>(*value) : wrong_type(key, found->type, expected);
  }

  template <class T>
  Result<T> get_integer(std::string_view key, T least, T most) const {
    constexpr std::string_view expected = std::is_signed_v<T> ? "an integer" : "an unsigned integer";
    const std::optional<MetadataValue> found = find_value(key);
    if (!found) return missing_key(key, expected);
    const auto checked = [&](auto value) -> Result<T> {
      if (std::cmp_less(value, least) || std::cmp_greater(value, most)) {
        return key_error(key, "found ", value, "; expected ", least, " to ", most);
      }
      return static_cast<T>(value);
    };
    if (const auto* value = std::get_if<std::uint64_t>(&found->value)) return checked(*value);
    if (const auto* value = std::get_if<std::int64_t>(&found->value)) return checked(*value);
    return wrong_type(key, found->type, expected);
  }
};

inline Result<float> ModelSource::get_float(std::string_view key) const {
  const Result<double> value = get_as<double>(key, "a float");
  if (!value) return value.error();
  // A finite double that rounds to infinity cannot be represented as a float.
  if (detail::is_finite(*value) && !detail::is_finite(static_cast<float>(*value)))
    return key_error(key, "found ", *value, "; expected a value that fits in a float");
  return static_cast<float>(*value);
}

inline Result<const TensorInfo*> ModelSource::require_tensor(std::string_view name) const {
  const TensorInfo* tensor = find_tensor(name);
  if (!tensor) {
    const std::string_view count = tensor_count() == 0   ? "; by its header the file has no tensors"
                                   : tensor_count() == 1 ? "; by its header the file has 1 tensor"
                                                         : "";
    return Error{ErrorKind::refused_file, concat(tensor_place(name), " is missing", count)};
  }
  if (tensor->format == no_format) {
    return tensor_error(*tensor, type_text(*tensor), " is not supported; supported: ", supported_types_text());
  }
  return tensor;
}

inline Result<const TensorInfo*> ModelSource::require_tensor(std::string_view name, std::initializer_list<std::uint64_t> shape) const {
  Result<const TensorInfo*> tensor = require_tensor(name);
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

// True if the tensor is the head, the matrix that gives the logits: output.weight, or the embedding of a model that has no output.weight.
inline bool is_head(const ModelSource& source, const TensorInfo& tensor) {
  return tensor.name == "output.weight" || (tensor.name == "token_embd.weight" && source.find_tensor("output.weight") == nullptr);
}

// Returns the format that a tensor gets if the layers of a model are requantised to `format`. Without `format`, every tensor keeps its
// format. Otherwise the matrices of the layers get `format` if their rows are whole blocks of it. Embedding, head and vectors stay as
// the source has them, with one exception: a head of floats becomes q8_0 unless `format` is one of floats too, because in 16 bits the
// head would be most of what a small model reads for each token.
inline FormatId requantised_format(const ModelSource& source, const TensorInfo& tensor, std::optional<FormatId> format) {
  if (!format || tensor.format == no_format || !tensor.is_matrix()) return tensor.format;
  if (!tensor.name.starts_with("blk.")) {
    const auto is_of_floats = [](FormatId id) {
      bool result = false;
      with_format(id, [&]<class F>(F) { result = F::block_weights == 1; });
      return result;
    };
    if (tensor.is_packed || !is_head(source, tensor) || !is_of_floats(tensor.format) || is_of_floats(*format)) return tensor.format;
    format = id_of<Q8_0>;
  }
  return packed_bytes(*format, tensor.rows(), tensor.columns()) ? *format : tensor.format;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
