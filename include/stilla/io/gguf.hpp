// SPDX-License-Identifier: Apache-2.0
//
// A GGUF model file: typed access to its keys and its tensors. gguf_parser.hpp parses the file and says what it guarantees.
// Getters of single values and checks of tensors are the same for every model source (model_source.hpp).
//
//   Result<GgufFile> file = GgufFile::open("model.gguf");
//   if (!file) return report(file.error());
//   Result<std::uint64_t> layers = file->get_uint("qwen2.block_count");
//   Result<const TensorInfo*> head = file->require_tensor("output.weight", {hidden, vocabulary});
//   std::span<const std::byte> bytes = file->tensor_bytes(**head);
//
// The vocabulary and the chat template are read from the keys in this table. Beside each key stand its type and its meaning. A key
// with "gpt2:" or "llama:" beside it is read only for this tokenizer model.
//
//   tokenizer.ggml.model           "gpt2", byte-level BPE, or "llama", SentencePiece
//   tokenizer.ggml.tokens          [string]; for gpt2 in the byte alphabet (text/byte_alphabet.hpp), but control and user-defined
//                                  tokens in plain text
//   tokenizer.ggml.token_type      [int32], optional
//   tokenizer.ggml.pre             gpt2: name of the pre-tokenizer (text/pretokenizer.hpp), optional
//   tokenizer.ggml.merges          gpt2: [string], "left right"
//   tokenizer.ggml.scores          llama: [float32]
//   tokenizer.ggml.add_space_prefix     llama: optional
//   tokenizer.ggml.{bos,eos,eot,eom,padding,unknown}_token_id, tokenizer.ggml.eos_token_ids     optional; an id outside the
//                                  vocabulary, for example -1, means that there is none
//   tokenizer.ggml.add_{bos,eos}_token  optional
//   tokenizer.chat_template        a Jinja program (text/chat_template.hpp runs it), optional
//   stilla.tokenizer.end_ids       [uint32], further tokens that end an answer; only in packed files (packed_file.hpp)
//                                  that were made from a Hugging Face folder
//
// A getter never trusts the declared type of a key. If the type is wrong the getter fails with one line that names the file, the
// key, the byte offset, what was found and what was expected. An integer may have any width if its value fits. Strings are views
// into the file and live as long as the GgufFile; moving it keeps them valid. Everything is const after open, so that threads may
// share one GgufFile.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
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
#include <stilla/io/gguf_parser.hpp>
#include <stilla/io/gguf_parts.hpp>
#include <stilla/io/gguf_records.hpp>
#include <stilla/io/gguf_types.hpp>
#include <stilla/io/mapped_file.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/io/vocabulary.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The strings of a GGUF array, from front to back: for (std::string_view token : strings). Nothing is copied and there is no table;
// the n-th string is found by walking over the strings before it. If a mapped file is changed while it is read, the length of a
// string may become too large; the string then ends where the array ends.
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

class GgufFile final : public ModelSource {
 public:
  // Opens the file, or all parts of a split model if the file is one of them (gguf_parts.hpp).
  static Result<GgufFile> open(std::string path, LoadMode mode = LoadMode::map) {
    Result<MappedFile> file = MappedFile::open(std::move(path), mode);
    if (!file) return file.error();
    Result<Part> part = parse_part(std::move(*file));
    if (!part) return part.error();
    GgufFile out;
    if (part->contents.split.count <= 1) {
      out.parts_.push_back(std::move(*part));
    } else if (Status s = out.open_parts(std::move(*part), mode); !s) {
      return s.error();
    }
    if (Status s = out.collect_tensors(); !s) return s.error();
    return out;
  }

  // Parses a file that is a whole model. A part of a split model is refused, because its bytes do not say where the other parts
  // are.
  static Result<GgufFile> parse(MappedFile file) {
    Result<Part> part = parse_part(std::move(file));
    if (!part) return part.error();
    const GgufSplit split = part->contents.split;
    if (split.count > 1) {
      const std::string& name = part->file.path();
      return Error{ErrorKind::refused_file,
                   concat(printable_path(name), ": ", gguf_part_text(name, split.number + 1, split.count), "; expected a whole model")};
    }
    GgufFile out;
    out.parts_.push_back(std::move(*part));
    if (Status s = out.collect_tensors(); !s) return s.error();
    return out;
  }

  // The file of the model. If the model has several parts, this is the first part, which has the keys. The offsets of keys are
  // offsets in this file.
  const MappedFile& file() const { return parts_.front().file; }
  const std::string& path() const override { return file().path(); }
  std::uint64_t size_bytes() const override {
    std::uint64_t bytes = 0;
    for (const Part& part : parts_) bytes += part.file.bytes().size();
    return bytes;
  }
  // The number of files that the model consists of; 1 if it is not split. TensorInfo::file tells which of them has a tensor, from 0.
  std::size_t part_count() const { return parts_.size(); }
  const MappedFile& part(std::size_t i) const { return parts_[i].file; }
  std::uint32_t version() const { return contents().version; }
  std::uint64_t alignment() const { return contents().alignment; }
  std::uint64_t data_offset() const { return contents().data_offset; }
  // True if the matrices of the file are packed (packed_file.hpp).
  bool is_packed() const override { return contents().is_packed; }

  // The keys of the file, and its tensors. If the model has several parts, the keys are those of the first part, and the tensors
  // those of all parts, in the order of the parts.
  std::span<const GgufKey> keys() const { return contents().keys; }
  std::span<const GgufTensor> tensors() const { return tensors_; }

  // The key, or the tensor, with this name; null if there is none.
  const GgufKey* find(std::string_view key) const { return detail::find_by_name(contents().keys, contents().keys_by_name, key); }
  const GgufTensor* find_tensor(std::string_view name) const override { return detail::find_by_name(tensors_, tensors_by_name_, name); }
  std::size_t tensor_count() const override { return tensors_.size(); }
  const GgufTensor& tensor(std::size_t i) const override { return tensors_[i]; }
  std::span<const std::byte> tensor_bytes(const TensorInfo& tensor) const override {
    return parts_[tensor.file].file.bytes().subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.size_bytes));
  }
  void read_ahead(const TensorInfo& tensor) const override { parts_[tensor.file].file.read_ahead(tensor.offset, tensor.size_bytes); }
  void drop_tensor_pages(const TensorInfo& tensor, std::uint64_t count) const override {
    parts_[tensor.file].file.drop_pages(tensor.offset, std::min(count, tensor.size_bytes));
  }
  void ask_for_large_pages() const override {
    for (const Part& part : parts_) part.file.ask_for_large_pages();
  }
  Status check_lengths() const override {
    for (const Part& part : parts_) {
      if (Status s = part.file.check_length(); !s) return s;
    }
    return success();
  }

  std::optional<MetadataValue> find_value(std::string_view key) const override;
  // The value of a key that must exist and be an array of strings.
  Result<GgufStrings> get_strings(std::string_view key) const;
  // A copy of an array of numbers as T: std::int32_t, float, ... For an integer T, integers of other widths are accepted if every
  // value fits, and booleans as 0 and 1. For a floating T, float32 and float64 are accepted.
  template <class T>
  Result<std::vector<T>> get_array(std::string_view key) const;

  std::optional<std::vector<std::uint64_t>> find_integers(std::string_view key) const override;
  std::vector<std::string_view> keys_under(std::string_view prefix) const override;
  std::vector<std::string> notes() const override;
  // The records of all keys except those that describe how the model is laid out in its files: the alignment, the parts of a split
  // model, and the keys of packed files.
  Result<GgufRecords> metadata_records() const override;
  std::optional<std::uint32_t> foreign_type_number(const TensorInfo& tensor) const override {
    const GgufTensor* found = find_tensor(tensor.name);
    return found ? std::optional(found->type) : std::nullopt;
  }

  Result<Vocabulary> vocabulary() const override;
  std::size_t token_count() const override {
    const Result<GgufStrings> tokens = get_strings("tokenizer.ggml.tokens");
    return tokens ? tokens->size() : 0;
  }
  std::uint64_t token_checksum() const override {
    const Result<GgufStrings> tokens = get_strings("tokenizer.ggml.tokens");
    return tokens ? detail::texts_checksum(*tokens) : 0;
  }
  Result<std::string_view> chat_template() const override { return get_string_or("tokenizer.chat_template", ""); }

  // The value of a key as text for people: "28", "'qwen2'", "[151936 string]".
  std::string value_text(const GgufKey& key) const;

  std::string key_place(std::string_view key) const override {
    const GgufKey* found = find(key);
    return place(path(), "key", key, found ? &found->record_offset : nullptr);
  }
  std::string tensor_place(std::string_view name) const override {
    const GgufTensor* found = find_tensor(name);
    return place(found ? parts_[found->file].file.path() : path(), "tensor", name, found ? &found->record_offset : nullptr);
  }
  std::string vocabulary_place() const override;
  std::string supported_types_text() const override { return decodable_types_text(); }
  std::string type_text(const TensorInfo& tensor) const override {
    const GgufTensor* found = find_tensor(tensor.name);
    return found ? tensor_type_text(found->type) : ModelSource::type_text(tensor);
  }

 private:
  struct Part {
    MappedFile file;
    GgufContents contents;  // the parts after the first have only what their header says; all tensors are in tensors_
  };

  GgufFile() = default;

  static Result<Part> parse_part(MappedFile file) {
    Part part{std::move(file), {}};
    if (Status s = parse_gguf(part.file, part.contents); !s) return part.file.reason(s.error());
    return part;
  }
  const GgufContents& contents() const { return parts_.front().contents; }
  static bool is_followed_by_gguf(const Part& part);
  Status open_parts(Part named, LoadMode mode);
  Status collect_tensors();

  static std::string place(std::string_view path, std::string_view what, std::string_view name, const std::uint64_t* record_offset) {
    std::string out = concat(printable_path(path), ": ", what, " '", printable(name), "'");
    return record_offset ? concat(out, " at byte ", *record_offset) : out;
  }
  static std::string type_text(const GgufKey& key) {
    if (key.type != GgufValueType::array) return std::string(name_of(key.type));
    return concat("an array of ", key.count, " ", name_of(key.element_type));
  }
  Error wrong_type(const GgufKey& key, std::string_view expected) const {
    return ModelSource::wrong_type(key.name, type_text(key), expected);
  }

  const std::byte* address_of(const GgufKey& key) const { return file().bytes().data() + key.value_offset; }

  static constexpr bool is_floating(GgufValueType type) { return type == GgufValueType::float32 || type == GgufValueType::float64; }

  // Each of the functions from read_strings() to read_sentencepiece() reads one part of the vocabulary.
  Status read_strings(std::string_view key, std::vector<std::string>& out) const;
  Status read_token_types(std::size_t tokens, std::vector<TokenType>& out) const;
  Status read_token_ids(Vocabulary& out) const;
  Status read_token_id(std::string_view key, std::optional<std::uint32_t>& id, Vocabulary& out) const;
  static void note_id_outside(std::string_view key, std::int64_t id, Vocabulary& out);
  void note_unknown_keys(Vocabulary& out) const;
  Status read_byte_level(Vocabulary& out) const;
  Status read_sentencepiece(Vocabulary& out) const;

  std::vector<Part> parts_;
  std::vector<GgufTensor> tensors_;
  std::vector<std::uint32_t> tensors_by_name_;  // positions in tensors_
};

// Whether another GGUF file begins directly behind the last tensor of this file, or behind the padding that may follow the tensor.
// Such a file arises if somebody joins the parts of a split model to one file.
inline bool GgufFile::is_followed_by_gguf(const Part& part) {
  std::uint64_t end = part.contents.data_offset;
  for (const GgufTensor& tensor : part.contents.tensors) end = std::max(end, tensor.offset + tensor.size_bytes);
  const std::span<const std::byte> bytes = part.file.bytes();
  const std::uint64_t after_padding = (end + part.contents.alignment - 1) / part.contents.alignment * part.contents.alignment;
  for (const std::uint64_t at : {end, after_padding}) {
    if (at > bytes.size() || bytes.size() - at < sizeof(std::uint32_t)) continue;
    if (load_as<std::uint32_t>(bytes.data() + at) == gguf_magic) return true;
  }
  return false;
}

// Opens the other parts of the split model that the file `named` is a part of. All parts are in the same folder.
inline Status GgufFile::open_parts(Part named, LoadMode mode) {
  const GgufSplit split = named.contents.split;
  const std::string path = named.file.path();
  const auto refuse = [](std::string_view at, const auto&... text) {
    return Error{ErrorKind::refused_file, concat(printable_path(at), ": ", text...)};
  };
  const std::optional<GgufPartName> name = parse_gguf_part_path(path);
  if (!name || name->number != split.number + 1 || name->count != split.count) {
    return refuse(
        path, "its keys split.no and split.count say ", gguf_part_text(path, split.number + 1, split.count),
        ", in one folder; its name says ", name ? concat("part ", name->number, " of ", name->count) : std::string("no part"),
        ": it was renamed, or one of these keys is wrong",
        is_followed_by_gguf(named) ? "; another GGUF file follows in it: parts that `cat` joined are no model, keep them apart" : "");
  }
  std::optional<Part> given(std::move(named));
  std::uint64_t tensors = 0;
  for (std::uint64_t i = 0; i < split.count; ++i) {
    const std::string at = gguf_part_path(name->stem, i + 1, split.count);
    if (i == split.number) {
      parts_.push_back(*std::exchange(given, std::nullopt));
    } else {
      Result<MappedFile> file = MappedFile::open(at, mode);
      if (!file) {
        return Error{file.error().kind,
                     concat(file.error().message, " (part ", i + 1, " of the ", split.count, " of ", printable_path(path), ")")};
      }
      Result<Part> part = parse_part(std::move(*file));
      if (!part) return part.error();
      const GgufContents& contents = part->contents;
      const auto differs = [&](std::string_view key_name, std::uint64_t found, std::uint64_t expected) -> Status {
        if (found == expected) return success();
        const GgufKey* key = detail::find_by_name(contents.keys, contents.keys_by_name, key_name);
        return refuse(at, "key '", key_name, "'",
                      key ? concat(" at byte ", key->record_offset, ": found ", found) : std::string(" is missing"), "; expected ",
                      expected, ", because this is part ", i + 1, " of ", printable_path(path));
      };
      if (Status s = differs("split.count", contents.split.count, split.count); !s) return s;
      if (Status s = differs("split.no", contents.split.number, i); !s) return s;
      if (Status s = differs("split.tensors.count", contents.split.tensors, split.tensors); !s) return s;
      parts_.push_back(std::move(*part));
    }
    if (i != 0 && parts_.back().contents.is_packed) return refuse(at, "is a packed file; expected a part of a split model");
    tensors += parts_.back().contents.tensors.size();
  }
  if (tensors == split.tensors) return success();
  return refuse(path, "the ", split.count, " parts have ", tensors, " tensors together; expected ", split.tensors,
                ", as key 'split.tensors.count' of each says");
}

// Collects the tensors of all parts of a split model in one table.
inline Status GgufFile::collect_tensors() {
  if (parts_.size() == 1) {
    tensors_ = std::move(parts_.front().contents.tensors);
    tensors_by_name_ = std::move(parts_.front().contents.tensors_by_name);
    return success();
  }
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    for (GgufTensor tensor : std::exchange(parts_[i].contents.tensors, {})) {
      tensor.file = static_cast<std::uint32_t>(i);
      tensors_.push_back(tensor);
    }
  }
  const std::optional<detail::SameName> twice = detail::sort_by_name(tensors_, tensors_by_name_);
  if (!twice) return success();
  const GgufTensor& first = tensors_[twice->first];
  const GgufTensor& second = tensors_[twice->second];
  return Error{ErrorKind::refused_file, concat(place(parts_[second.file].file.path(), "tensor", second.name, &second.record_offset),
                                               ": found a second time; the first is in ", printable_path(parts_[first.file].file.path()),
                                               " at byte ", first.record_offset)};
}

inline std::optional<MetadataValue> GgufFile::find_value(std::string_view name) const {
  const GgufKey* key = find(name);
  if (!key) return std::nullopt;
  MetadataValue found{{}, type_text(*key)};
  if (key->type == GgufValueType::boolean) {
    found.value = load_as<std::uint8_t>(address_of(*key)) != 0;
  } else if (key->type == GgufValueType::string) {
    found.value = std::string_view(reinterpret_cast<const char*>(address_of(*key)), static_cast<std::size_t>(key->count));
  } else {
    detail::visit_number(key->type, address_of(*key), [&]<class Number>(Number number) {
      if constexpr (std::is_floating_point_v<Number>) {
        found.value = static_cast<double>(number);
      } else if constexpr (std::is_signed_v<Number>) {
        found.value = static_cast<std::int64_t>(number);
      } else {
        found.value = static_cast<std::uint64_t>(number);
      }
    });
  }
  return found;
}

inline std::optional<std::vector<std::uint64_t>> GgufFile::find_integers(std::string_view name) const {
  const GgufKey* key = find(name);
  if (!key || key->type != GgufValueType::array || key->count > max_array) return std::nullopt;
  Result<std::vector<std::uint64_t>> all = get_array<std::uint64_t>(name);
  if (!all) return std::nullopt;
  return std::move(*all);
}

inline std::vector<std::string_view> GgufFile::keys_under(std::string_view prefix) const {
  std::vector<std::string_view> out;
  for (const GgufKey& key : keys()) {
    if (key.name.starts_with(prefix)) out.push_back(key.name);
  }
  return out;
}

// Returns notes about what is not used: keys of the parts after the first, and bytes behind the last tensor of a file. A note names a key
// of a later part unless the first part has the same key with the same value. Writers may fill the space behind the last tensor up to the
// next multiple of the alignment with zeros; any other bytes there are not part of the model, and a note reports them.
inline std::vector<std::string> GgufFile::notes() const {
  std::vector<std::string> out;
  for (std::size_t i = 1; i < parts_.size(); ++i) {
    std::vector<std::string> unused;
    for (const GgufKey& key : parts_[i].contents.keys) {
      const GgufKey* first = find(key.name);
      const bool is_same =
          first != nullptr && first->type == key.type && first->element_type == key.element_type && first->value_bytes == key.value_bytes &&
          std::memcmp(address_of(*first), parts_[i].file.bytes().data() + key.value_offset, static_cast<std::size_t>(key.value_bytes)) == 0;
      const bool is_its_own = key.name.starts_with("split.") || key.name == "general.alignment";  // read of every part
      if (!is_same && !is_its_own) unused.emplace_back(key.name);
    }
    if (!unused.empty()) {
      out.push_back(concat(printable_path(parts_[i].file.path()), ": the keys of the first part are used, and not '", printable(unused[0]),
                           unused.size() == 1 ? "'" : "' and others", " of this part"));
    }
  }
  if (tensors_.empty()) return out;
  std::vector<std::uint64_t> ends;
  for (const Part& part : parts_) ends.push_back(part.contents.data_offset);
  for (const GgufTensor& tensor : tensors_) ends[tensor.file] = std::max(ends[tensor.file], tensor.offset + tensor.size_bytes);
  const auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const std::span<const std::byte> bytes = parts_[i].file.bytes();
    if (ends[i] >= bytes.size()) continue;
    const std::uint64_t alignment = parts_[i].contents.alignment, filled = (ends[i] + alignment - 1) / alignment * alignment;
    const std::span<const std::byte> behind = bytes.subspan(static_cast<std::size_t>(ends[i]));
    if (behind.size() <= filled - ends[i] && std::all_of(behind.begin(), behind.end(), is_zero)) continue;
    out.push_back(concat(printable_path(parts_[i].file.path()), ": ", behind.size(), " bytes from byte ", ends[i],
                         " on, behind the last tensor, are not a part of the model and are not used"));
  }
  return out;
}

inline Result<GgufStrings> GgufFile::get_strings(std::string_view name) const {
  const GgufKey* key = find(name);
  if (!key) return missing_key(name, "an array of strings");
  if (key->type != GgufValueType::array || key->element_type != GgufValueType::string) {
    return wrong_type(*key, "an array of strings");
  }
  return GgufStrings({address_of(*key), static_cast<std::size_t>(key->value_bytes)}, static_cast<std::size_t>(key->count));
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
  // Every element of the array has at least one byte in the file and becomes one number of type T. A damaged file can therefore not make
  // the array of numbers larger than sizeof(T) times the size of the file.
  std::vector<T> out(static_cast<std::size_t>(key->count));
  const std::uint64_t element_bytes = value_bytes(key->element_type);
  const std::byte* address = address_of(*key);
  for (std::size_t i = 0; i < out.size(); ++i, address += element_bytes) {
    bool fits = true;
    detail::visit_number(key->element_type, address, [&]<class Number>(Number number) {
      if constexpr (std::is_integral_v<Number> && std::is_integral_v<T>) {
        fits = std::in_range<T>(number);
      }
      if (fits) out[i] = static_cast<T>(number);
    });
    if (!fits) {
      std::string found;
      detail::visit_number(key->element_type, address, [&](auto number) { found = concat(number); });
      return key_error(name, "found ", found, " as element ", i, " at byte ", key->value_offset + i * element_bytes, "; expected ",
                       std::numeric_limits<T>::min(), " to ", std::numeric_limits<T>::max());
    }
  }
  return out;
}

inline std::string GgufFile::value_text(const GgufKey& key) const {
  if (key.type == GgufValueType::array) return concat("[", key.count, " ", name_of(key.element_type), "]");
  if (key.type == GgufValueType::string) {
    const char* text = reinterpret_cast<const char*>(address_of(key));
    return concat("'", printable({text, static_cast<std::size_t>(key.count)}), "'");
  }
  if (key.type == GgufValueType::boolean) return load_as<std::uint8_t>(address_of(key)) ? "true" : "false";
  std::string out;
  detail::visit_number(key.type, address_of(key), [&](auto number) { out = concat(number); });
  return out;
}

inline Result<GgufRecords> GgufFile::metadata_records() const {
  GgufRecords out;
  const std::span<const std::byte> bytes = file().bytes();
  for (const GgufKey& key : keys()) {
    if (key.name == "general.alignment" || key.name.starts_with("stilla.packed.") || key.name.starts_with("split.")) continue;
    out.record(bytes.subspan(static_cast<std::size_t>(key.record_offset),
                             static_cast<std::size_t>(key.value_offset + key.value_bytes - key.record_offset)));
  }
  return out;
}

}}  // namespace stilla

#include <stilla/io/gguf_vocabulary.hpp>  // the members that read the vocabulary

#include <stilla/base/pop_macros-inl.hpp>
