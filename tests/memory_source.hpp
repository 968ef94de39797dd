// SPDX-License-Identifier: Apache-2.0
//
// A model source that is no file: its tensors and metadata are maps, which tests fill. Its error messages say "entry" and
// "array" where those of a GGUF file say key and tensor, so that a message shows which source wrote it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <stilla/format/format_name.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/io/model_source.hpp>

namespace stilla_test {

class MemorySource final : public stilla::ModelSource {
 public:
  using Value = std::variant<bool, std::uint64_t, double, std::string>;
  struct Tensor {
    std::vector<std::uint64_t> dims;  // the size of the contiguous dimension comes first
    stilla::FormatId format;
    std::vector<std::byte> bytes;
    bool is_packed = false;
  };
  std::map<std::string, Value, std::less<>> values;
  stilla::Vocabulary words;

  MemorySource() = default;
  MemorySource(MemorySource&&) = default;  // it cannot be copied, because names point into the maps

  // Returns a source with the tensors and metadata of a GGUF file, except for metadata that are arrays, and for the
  // vocabulary.
  static MemorySource copy_of(const stilla::GgufFile& file) {
    MemorySource out;
    for (const stilla::GgufKey& key : file.keys()) {
      if (const auto text = file.get_string(key.name)) out.values[std::string(key.name)] = std::string(*text);
      if (const auto number = file.get_uint(key.name)) out.values[std::string(key.name)] = *number;
      if (const auto number = file.get_float(key.name)) out.values[std::string(key.name)] = static_cast<double>(*number);
    }
    for (const stilla::GgufTensor& tensor : file.tensors()) {
      const auto bytes = file.tensor_bytes(tensor);
      out.set(std::string(tensor.name),
              {{tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims}, tensor.format, {bytes.begin(), bytes.end()}});
    }
    return out;
  }

  void set(const std::string& name, Tensor tensor) {
    Stored& stored = tensors_[name];
    stored.bytes = std::move(tensor.bytes);
    stored.info = {tensors_.find(name)->first,
                   {1, 1, 1, 1},
                   static_cast<std::uint32_t>(tensor.dims.size()),
                   tensor.format,
                   stilla::format_name(tensor.format),
                   stored.bytes.size(),
                   0,
                   tensor.is_packed};
    std::copy(tensor.dims.begin(), tensor.dims.end(), stored.info.dims.begin());
  }
  void remove(const std::string& name) { tensors_.erase(name); }

  const std::string& path() const override { return path_; }
  std::uint64_t size_bytes() const override { return 0; }
  std::size_t tensor_count() const override { return tensors_.size(); }
  const stilla::TensorInfo& tensor(std::size_t i) const override {
    return std::next(tensors_.begin(), static_cast<std::ptrdiff_t>(i))->second.info;
  }
  const stilla::TensorInfo* find_tensor(std::string_view name) const override {
    const auto found = tensors_.find(name);
    return found != tensors_.end() ? &found->second.info : nullptr;
  }
  std::span<const std::byte> tensor_bytes(const stilla::TensorInfo& tensor) const override {
    return tensors_.find(tensor.name)->second.bytes;
  }
  std::optional<stilla::MetadataValue> find_value(std::string_view key) const override {
    const auto found = values.find(key);
    if (found == values.end()) return std::nullopt;
    constexpr std::string_view types[] = {"a truth value", "a whole number", "a number", "a text"};
    stilla::MetadataValue out{{}, std::string(types[found->second.index()])};
    std::visit([&](const auto& value) { out.value = value; }, found->second);
    return out;
  }
  stilla::Result<stilla::Vocabulary> vocabulary() const override { return words; }
  stilla::Result<std::string_view> chat_template() const override { return std::string_view(); }
  stilla::Result<stilla::GgufRecords> metadata_records() const override { return stilla::GgufRecords(); }
  std::string key_place(std::string_view key) const override { return stilla::concat(path_, ": entry '", key, "'"); }
  std::string tensor_place(std::string_view name) const override { return stilla::concat(path_, ": array '", name, "'"); }
  std::string vocabulary_place() const override { return path_ + ": words"; }
  std::string supported_types_text() const override { return "all others"; }

 private:
  struct Stored {
    stilla::TensorInfo info;
    std::vector<std::byte> bytes;
  };
  std::string path_ = "memory";
  std::map<std::string, Stored, std::less<>> tensors_;
};

}  // namespace stilla_test
