// SPDX-License-Identifier: Apache-2.0
//
// A GGUF model file: typed access to its keys and its tensors. Parsing and what it guarantees are in gguf_parser.hpp; getters
// of single values and checks of tensors are those of every model source (model_source.hpp).
//
//   Result<GgufFile> file = GgufFile::open("model.gguf");
//   if (!file) return report(file.error());
//   Result<std::uint64_t> layers = file->get_uint("qwen2.block_count");
//   Result<const TensorInfo*> head = file->require_tensor("output.weight", {hidden, vocabulary});
//   std::span<const std::byte> bytes = file->tensor_bytes(**head);
//
// The vocabulary and the chat template are read from
//
//   tokenizer.ggml.model           must be "gpt2": byte-level BPE
//   tokenizer.ggml.pre             name of the pre-tokenizer (text/pretokenizer.hpp)
//   tokenizer.ggml.tokens          [string], spelled in the byte alphabet; control and user-defined ones in plain text
//   tokenizer.ggml.token_type      [int32], optional
//   tokenizer.ggml.merges          [string], "left right"
//   tokenizer.ggml.{bos,eos,eot,padding,unknown}_token_id, tokenizer.ggml.add_bos_token     optional
//   tokenizer.chat_template        a Jinja program (text/chat_template.hpp runs it), optional
//
// A getter never trusts a key's declared type: it fails with one line that names file, key, byte offset, what was found
// and what was expected. An integer of any width is accepted where its value fits. Strings are views into the file and
// live as long as the GgufFile (moving it keeps them valid). Everything is const after open, so threads may share one
// GgufFile.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
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
#include <stilla/io/model_source.hpp>
#include <stilla/io/vocabulary.hpp>

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

class GgufFile final : public ModelSource {
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
  const std::string& path() const override { return file_.path(); }
  std::uint64_t size_bytes() const override { return file_.bytes().size(); }
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
  const GgufTensor* find_tensor(std::string_view name) const override {
    return detail::find_by_name(contents_.tensors, contents_.tensors_by_name, name);
  }
  std::size_t tensor_count() const override { return contents_.tensors.size(); }
  const GgufTensor& tensor(std::size_t i) const override { return contents_.tensors[i]; }
  std::span<const std::byte> tensor_bytes(const TensorInfo& tensor) const override {
    return file_.bytes().subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.size_bytes));
  }
  void drop_tensor_pages(const TensorInfo& tensor, std::uint64_t count) const override {
    file_.drop_pages(tensor.offset, std::min(count, tensor.size_bytes));
  }
  void ask_for_large_pages() const override { file_.ask_for_large_pages(); }

  std::optional<MetadataValue> find_value(std::string_view key) const override;
  // Arrays, which must be there.
  Result<GgufStrings> get_strings(std::string_view key) const;
  // A copy of an array of numbers as T: std::int32_t, float, ... Integers of other widths are accepted where every
  // value fits, and for integer T booleans as 0 and 1; for floating T float32 and float64 are.
  template <class T>
  Result<std::vector<T>> get_array(std::string_view key) const;

  Result<Vocabulary> vocabulary() const override;
  Result<std::string_view> chat_template() const override { return get_string_or("tokenizer.chat_template", ""); }

  // A value for people: "28", "'qwen2'", "[151936 string]".
  std::string value_text(const GgufKey& key) const;

  std::string key_place(std::string_view key) const override {
    const GgufKey* found = find(key);
    return place("key", key, found ? &found->record_offset : nullptr);
  }
  std::string tensor_place(std::string_view name) const override {
    const GgufTensor* found = find_tensor(name);
    return place("tensor", name, found ? &found->record_offset : nullptr);
  }
  std::string vocabulary_place() const override;
  std::string supported_types_text() const override { return decodable_types_text(); }
  std::string type_text(const TensorInfo& tensor) const override {
    const GgufTensor* found = find_tensor(tensor.name);
    return found ? tensor_type_text(found->type) : ModelSource::type_text(tensor);
  }

 private:
  explicit GgufFile(MappedFile file) : file_(std::move(file)) {}

  std::string place(std::string_view what, std::string_view name, const std::uint64_t* record_offset) const {
    std::string out = concat(printable_path(path()), ": ", what, " '", printable(name), "'");
    return record_offset ? concat(out, " at byte ", *record_offset) : out;
  }
  static std::string type_text(const GgufKey& key) {
    if (key.type != GgufValueType::array) return std::string(name_of(key.type));
    return concat("an array of ", key.count, " ", name_of(key.element_type));
  }
  Error wrong_type(const GgufKey& key, std::string_view expected) const {
    return ModelSource::wrong_type(key.name, type_text(key), expected);
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

  // Parts of the vocabulary.
  Status read_strings(std::string_view key, std::vector<std::string>& out) const;
  Status read_token_types(std::size_t tokens, std::vector<TokenType>& out) const;
  Status read_token_id(std::string_view key, std::size_t tokens, std::optional<std::uint32_t>& out) const;

  MappedFile file_;
  GgufContents contents_;
};

inline std::optional<MetadataValue> GgufFile::find_value(std::string_view name) const {
  const GgufKey* key = find(name);
  if (!key) return std::nullopt;
  MetadataValue found{{}, type_text(*key)};
  if (key->type == GgufValueType::boolean) {
    found.value = load_as<std::uint8_t>(address_of(*key)) != 0;
  } else if (key->type == GgufValueType::string) {
    found.value = std::string_view(reinterpret_cast<const char*>(address_of(*key)), static_cast<std::size_t>(key->count));
  } else {
    visit_number(key->type, address_of(*key), [&]<class Number>(Number number) {
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
      return key_error(name, "found ", found, " as element ", i, " at byte ", key->value_offset + i * element_bytes,
                       "; expected ", std::numeric_limits<T>::min(), " to ", std::numeric_limits<T>::max());
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
  visit_number(key.type, address_of(key), [&](auto number) { out = concat(number); });
  return out;
}

inline Status GgufFile::read_strings(std::string_view key, std::vector<std::string>& out) const {
  const Result<GgufStrings> strings = get_strings(key);
  if (!strings) return strings.error();
  out.reserve(strings->size());  // at most four times the bytes that they take in the file
  for (const std::string_view text : *strings) out.emplace_back(text);
  return success();
}

inline Status GgufFile::read_token_types(std::size_t tokens, std::vector<TokenType>& out) const {
  constexpr std::string_view key = "tokenizer.ggml.token_type";
  if (!has(key)) return success();
  const Result<std::vector<std::int32_t>> types = get_array<std::int32_t>(key);
  if (!types) return types.error();
  if (types->size() != tokens) return key_error(key, "found ", types->size(), " types; expected ", tokens);
  out.reserve(tokens);
  for (std::size_t i = 0; i < tokens; ++i) {
    const std::int32_t type = (*types)[i];
    if (type < 1 || type > 6) return key_error(key, "found type ", type, " for token ", i, "; expected 1 to 6");
    out.push_back(static_cast<TokenType>(type));
  }
  return success();
}

inline Status GgufFile::read_token_id(std::string_view key, std::size_t tokens, std::optional<std::uint32_t>& out) const {
  if (!has(key)) return success();
  const Result<std::uint64_t> id = get_uint(key, tokens - 1);
  if (!id) return id.error();
  out = static_cast<std::uint32_t>(*id);
  return success();
}

inline Result<Vocabulary> GgufFile::vocabulary() const {
  const Result<std::string_view> model = get_string("tokenizer.ggml.model");
  if (!model) return model.error();
  if (*model != "gpt2") {
    return key_error("tokenizer.ggml.model", "found '", printable(*model),
                     "'; expected 'gpt2' (byte-level BPE), the only kind that is supported");
  }
  const Result<std::string_view> pretokenizer = get_string("tokenizer.ggml.pre");
  if (!pretokenizer) return pretokenizer.error();
  Vocabulary out;
  out.pretokenizer = *pretokenizer;
  if (Status s = read_strings("tokenizer.ggml.tokens", out.tokens); !s) return s.error();
  const std::size_t tokens = out.tokens.size();
  if (tokens == 0) return key_error("tokenizer.ggml.tokens", "found no tokens");
  if (Status s = read_strings("tokenizer.ggml.merges", out.merges); !s) return s.error();
  if (Status s = read_token_types(tokens, out.types); !s) return s.error();
  const std::pair<std::string_view, std::optional<std::uint32_t>&> ids[] = {
      {"tokenizer.ggml.bos_token_id", out.bos},         {"tokenizer.ggml.eos_token_id", out.eos},
      {"tokenizer.ggml.eot_token_id", out.eot},         {"tokenizer.ggml.padding_token_id", out.padding},
      {"tokenizer.ggml.unknown_token_id", out.unknown},
  };
  for (const auto& [key, id] : ids) {
    if (Status s = read_token_id(key, tokens, id); !s) return s.error();
  }
  const Result<bool> add_bos = get_bool_or("tokenizer.ggml.add_bos_token", false);
  if (!add_bos) return add_bos.error();
  out.add_bos = *add_bos;
  return out;
}

// Tokens and merges that contradict each other are told by their numbers.
inline std::string GgufFile::vocabulary_place() const {
  std::string out = concat(printable_path(path()), ": keys 'tokenizer.ggml.*'");
  const GgufKey* tokens = find("tokenizer.ggml.tokens");
  const GgufKey* merges = find("tokenizer.ggml.merges");
  if (!tokens || !merges) return out;
  return concat(out, ", tokens at byte ", tokens->record_offset, " and merges at byte ", merges->record_offset);
}

}}  // namespace stilla
