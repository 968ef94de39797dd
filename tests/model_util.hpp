// SPDX-License-Identifier: Apache-2.0
//
// What the tests of whole models share: the tiny models and the results of transformers (golden/make_tiny_models.py), model files
// that can be edited in memory, the logits of a text, and distances between logits.
#pragma once

#include <stilla/io/gguf.hpp>
#include <stilla/model/forward.hpp>
#include <stilla/format/encode_rows.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf_builder.hpp"
#include "test_util.hpp"

namespace stilla_test {

inline const std::string tiny_folder = std::string(test_data) + "/";
// Token ids that serve as a text for the tiny models.
inline const std::vector<std::uint32_t> some_ids{1, 500, 17, 3, 3, 99, 256, 511, 0, 42, 7, 11, 12, 13, 14, 15, 16, 300, 301};
inline const std::vector<std::string> tiny_models = {"tiny-qwen2", "tiny-llama", "tiny-qwen3"};

// Reads the records of a golden file. A record has this layout, with little-endian numbers:
//   u32 name bytes | name | u32 count | count floats
inline std::map<std::string, std::vector<float>> read_records(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::map<std::string, std::vector<float>> all;
  std::uint32_t count = 0;
  while (file.read(reinterpret_cast<char*>(&count), 4)) {
    std::string name(count, '\0');
    file.read(name.data(), count);
    file.read(reinterpret_cast<char*>(&count), 4);
    std::vector<float> values(count);
    file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(float)));
    all.emplace(std::move(name), std::move(values));
  }
  return all;
}

// Returns the floats of a record of golden/models.bin. If there is no record of this name, the test fails and the span is empty.
inline std::span<const float> tiny_golden(const std::string& name) {
  static const auto records = read_records(tiny_folder + "models.bin");
  const auto found = records.find(name);
  if (found != records.end()) return found->second;
  ADD_FAILURE() << "no golden record " << name;
  return {};
}

inline std::vector<std::uint32_t> as_ids(std::span<const float> values) {
  std::vector<std::uint32_t> ids;
  for (const float value : values) ids.push_back(static_cast<std::uint32_t>(value));
  return ids;
}

// Returns the normalised mean square error: sum (ours - expected)^2 / sum expected^2.
inline double nmse(std::span<const float> ours, std::span<const float> expected) {
  if (ours.size() != expected.size()) return HUGE_VAL;
  double difference = 0.0, size = 0.0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const double a = ours[i], b = expected[i];
    difference += (a - b) * (a - b);
    size += b * b;
  }
  return difference / size;
}

// A GGUF file taken apart into its keys and tensors, so that a test can change it and put it together again.
struct ModelFile {
  struct Key {
    std::string name;
    std::uint32_t type;
    std::string value;  // the bytes of the value in the file
  };
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dims;  // the size of the contiguous dimension comes first
    std::uint32_t type;               // the number that GGUF has for the format
    std::vector<std::byte> bytes;

    FormatId format() const { return format_of_gguf_type(type).value_or(no_format); }
  };
  std::vector<Key> keys;
  std::vector<Tensor> tensors;

  static ModelFile read(const std::string& path) {
    ModelFile out;
    const Result<GgufFile> file = GgufFile::open(path);
    if (!file) {
      ADD_FAILURE() << file.error().message;
      return out;
    }
    const std::span<const std::byte> bytes = file->file().bytes();
    for (const GgufKey& key : file->keys()) {
      const std::uint64_t at = key.record_offset + 8 + key.name.size() + 4;
      const auto* value = reinterpret_cast<const char*>(bytes.data() + at);
      out.keys.push_back(
          {std::string(key.name), static_cast<std::uint32_t>(key.type), std::string(value, key.value_offset + key.value_bytes - at)});
    }
    for (const GgufTensor& tensor : file->tensors()) {
      const std::span<const std::byte> data = file->tensor_bytes(tensor);
      out.tensors.push_back(
          {std::string(tensor.name), {tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims}, tensor.type, {data.begin(), data.end()}});
    }
    return out;
  }
  static ModelFile tiny(const std::string& name) { return read(tiny_folder + name + ".gguf"); }

  Tensor& tensor(std::string_view name) {
    const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.name == name; });
    if (found != tensors.end()) return *found;
    ADD_FAILURE() << "no tensor " << name;
    return tensors.front();
  }
  void add_floats(std::string_view name, const std::vector<std::uint64_t>& dims, std::span<const float> values) {
    const auto data = std::as_bytes(values);
    tensors.push_back({std::string(name), dims, gguf_type_of(id_of<F32>).value(), {data.begin(), data.end()}});
  }
  void remove_tensor(std::string_view name) {
    std::erase_if(tensors, [&](const Tensor& t) { return t.name == name; });
  }
  void remove_key(std::string_view name) {
    std::erase_if(keys, [&](const Key& k) { return k.name == name; });
  }
  // Adds a key, or replaces it if the file has one of this name.
  void set_raw(std::string_view name, GgufValueType type, const std::string& value) {
    remove_key(name);
    keys.push_back({std::string(name), static_cast<std::uint32_t>(type), value});
  }
  void set(std::string_view name, std::uint32_t value) { set_raw(name, GgufValueType::uint32, GgufBuilder::raw(value)); }
  void set(std::string_view name, std::uint64_t value) { set_raw(name, GgufValueType::uint64, GgufBuilder::raw(value)); }
  void set(std::string_view name, float value) { set_raw(name, GgufValueType::float32, GgufBuilder::raw(value)); }
  void set(std::string_view name, const char* value) { set(name, std::string_view(value)); }
  void set(std::string_view name, std::string_view value) { set_raw(name, GgufValueType::string, GgufBuilder::raw_string(value)); }
  void set(std::string_view name, bool value) { set_raw(name, GgufValueType::boolean, GgufBuilder::raw<std::uint8_t>(value ? 1 : 0)); }
  void set(std::string_view name, const std::vector<std::uint32_t>& values) {
    std::string bytes =
        GgufBuilder::raw(static_cast<std::uint32_t>(GgufValueType::uint32)) + GgufBuilder::raw<std::uint64_t>(values.size());
    for (const std::uint32_t value : values) bytes += GgufBuilder::raw(value);
    set_raw(name, GgufValueType::array, bytes);
  }

  GgufBuilder builder() const {
    GgufBuilder out;
    for (const Key& key : keys) out.raw_key(key.name, key.type, key.value);
    for (const Tensor& tensor : tensors) out.tensor(tensor.name, tensor.dims, tensor.type, tensor.bytes);
    return out;
  }
};

inline std::vector<float> decoded(const ModelFile::Tensor& tensor) {
  std::vector<float> values;
  with_format(tensor.format(), [&](auto tag) {
    using F = decltype(tag);
    const std::size_t cols = tensor.dims[0], row = row_bytes<F>(cols), rows = tensor.bytes.size() / row;
    values.resize(rows * cols);
    for (std::size_t n = 0; n < rows; ++n) decode_row<F>(tensor.bytes.data() + n * row, values.data() + n * cols, cols);
  });
  return values;
}

// Converts the tensor's weights to the format. They stay the same as far as the format can hold them.
inline void convert(ModelFile::Tensor& tensor, FormatId format) {
  const std::vector<float> weights = decoded(tensor);
  const std::size_t cols = tensor.dims[0], rows = weights.size() / cols;
  const Result<std::size_t> bytes = encoded_bytes(format, rows, cols);
  ASSERT_TRUE(bytes) << tensor.name << ": " << bytes.error().message;
  tensor.bytes.resize(*bytes);
  const auto report = encode_rows(tensor.bytes, ConstMatrix{weights.data(), rows, cols}, format);
  ASSERT_TRUE(report) << tensor.name << ": " << report.error().message;
  tensor.type = gguf_type_of(format).value();
}

inline void convert_matrices(ModelFile& file, FormatId format) {
  for (ModelFile::Tensor& tensor : file.tensors) {
    if (tensor.dims.size() > 1) convert(tensor, format);
  }
}

// Converts the tensor's weights to format F. If F has no encoder, the tensor gets random blocks of F, scaled so that their root
// mean square is that of the old weights.
template <class F>
void give_weights(ModelFile::Tensor& tensor) {
  if constexpr (EncodableFormat<F>) {
    convert(tensor, id_of<F>);
  } else {
    const auto spread = [](std::span<const float> values) {
      double sum = 0.0;
      for (const float x : values) sum += static_cast<double>(x) * static_cast<double>(x);
      return std::sqrt(sum / static_cast<double>(values.size()));
    };
    const std::vector<float> before = decoded(tensor);
    const std::size_t cols = tensor.dims[0], rows = before.size() / cols;
    tensor.type = gguf_type_of(id_of<F>).value();
    tensor.bytes = random_rows<F>(static_cast<std::uint32_t>(rows * 31 + cols), rows, cols);
    const double factor = spread(before) / spread(decoded(tensor));
    // Every block of a format without an encoder begins with its scale, a half.
    for (std::size_t at = 0; at < tensor.bytes.size(); at += F::block_bytes) {
      store_as(tensor.bytes.data() + at, to_f16(static_cast<float>(factor) * to_float(load_as<f16>(tensor.bytes.data() + at))));
    }
  }
}

// A GGUF file in memory, and the model loaded from it.
class LoadedModel {
 public:
  explicit LoadedModel(const ModelFile& file, Parallel parallel = {}, std::optional<FormatId> format = {}, const RopeChoice& rope = {})
      : bytes_(file.builder().build()) {
    Result<GgufFile> parsed = GgufFile::parse(MappedFile::from_memory(bytes_, "memory.gguf"));
    if (!parsed) {
      error_ = parsed.error().message;
      return;
    }
    Result<Model> model = Model::load(std::move(*parsed), parallel, {}, format, {}, rope);
    if (model) {
      model_ = std::make_unique<Model>(std::move(*model));
    } else {
      error_ = model.error().message;
    }
  }
  explicit LoadedModel(const std::string& tiny) : LoadedModel(ModelFile::tiny(tiny)) {}

  explicit operator bool() const { return model_ != nullptr; }
  const Model& operator*() const { return *model_; }
  const Model* operator->() const { return model_.get(); }
  const std::string& error() const { return error_; }

 private:
  std::vector<std::byte> bytes_;
  std::unique_ptr<Model> model_;
  std::string error_;
};

// Returns the logits at every position of the ids, row after row.
inline std::vector<float> all_logits(Session& session, std::span<const std::uint32_t> ids) {
  std::vector<float> out;
  const std::size_t before = session.size();
  const Status status = session.evaluate_all(ids, [&](std::size_t first, ConstMatrix rows) {
    EXPECT_EQ((first - before) * rows.cols, out.size());
    for (std::size_t m = 0; m < rows.rows; ++m) out.insert(out.end(), rows.row(m), rows.row(m) + rows.cols);
  });
  EXPECT_TRUE(status) << status.error().message;
  return out;
}

inline std::vector<float> all_logits(const Model& model, std::span<const std::uint32_t> ids, const SessionOptions& options = {},
                                     Parallel parallel = {}) {
  Result<Session> session = Session::create(model, options, parallel);
  if (!session) {
    ADD_FAILURE() << session.error().message;
    return {};
  }
  return all_logits(*session, ids);
}

// Returns row m of the logits that all_logits() returned.
inline std::span<const float> row_of(const std::vector<float>& logits, std::size_t m, std::size_t vocabulary) {
  return std::span(logits).subspan(m * vocabulary, vocabulary);
}

}  // namespace stilla_test
