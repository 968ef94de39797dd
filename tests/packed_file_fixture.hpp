// SPDX-License-Identifier: Apache-2.0
//
// Helpers for tests of packed files: a folder for each test, the bytes of a packed file, which a test can change, and checks of
// what a refusal says.
#pragma once

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/io/packed_file.hpp>

#include "model_util.hpp"

namespace stilla_test {

namespace fs = std::filesystem;

inline std::vector<std::byte> read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

inline void write_bytes(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

inline GgufFile parsed(std::span<const std::byte> bytes, const std::string& name = "memory.gguf") {
  Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes, name));
  EXPECT_TRUE(file) << file.error().message;
  return std::move(*file);
}

// A copy of a file's bytes on a page boundary, where a mapped file lies too.
class PageAligned {
 public:
  explicit PageAligned(std::span<const std::byte> bytes) : size_(bytes.size()), memory_(bytes.size() + page) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    first_ = (page - address % page) % page;
    std::copy(bytes.begin(), bytes.end(), memory_.begin() + static_cast<std::ptrdiff_t>(first_));
  }
  std::span<std::byte> bytes() { return std::span(memory_).subspan(first_, size_); }
  template <class T>
  void put(std::uint64_t at, T value) {
    store_as(bytes().data() + at, value);
  }
  // Corrects the checksum of the header after bytes were changed.
  void seal() {
    GgufContents contents;
    const MappedFile file = MappedFile::from_memory(bytes(), "sealed");
    (void)parse_gguf(file, contents);
    const GgufKey* key = detail::find_by_name(contents.keys, contents.keys_by_name, packed_checksum_key);
    if (!key || contents.data_offset < key->value_offset + 8 || contents.data_offset > size_) return;
    put(key->value_offset, detail::packed_header_checksum(bytes().first(contents.data_offset), key->value_offset));
  }

 private:
  static constexpr std::size_t page = 4096;
  std::size_t size_;
  std::vector<std::byte> memory_;
  std::size_t first_ = 0;
};

class PackedFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("stilla-packed-file-test-" + std::to_string(getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override {
    fs::permissions(folder_, fs::perms::owner_all);
    fs::remove_all(folder_);
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
      out.push_back(entry.path().filename().string());
    }
    return out;
  }

  // Returns the bytes of a model's packed file.
  std::vector<std::byte> packed_bytes_of(const ModelFile& model) const {
    const std::vector<std::byte> original = model.builder().build();
    const Status status = write_packed_file(parsed(original), path("made.stilla"));
    EXPECT_TRUE(status) << status.error().message;
    return read_bytes(path("made.stilla"));
  }
  std::vector<std::byte> packed_tiny() const { return packed_bytes_of(ModelFile::tiny("tiny-qwen2")); }

  fs::path folder_;
};

inline void expect_one_line(const Error& error, std::initializer_list<std::string_view> parts) {
  EXPECT_EQ(error.message.find('\n'), std::string::npos) << error.message;
  for (const std::string_view part : parts) {
    EXPECT_NE(error.message.find(part), std::string::npos) << "\"" << error.message << "\" says nothing of " << part;
  }
}

inline void expect_refused(std::span<const std::byte> bytes, std::initializer_list<std::string_view> parts) {
  const Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes, "m.stilla"));
  ASSERT_FALSE(file) << "accepted though it should name " << *parts.begin();
  EXPECT_EQ(file.error().kind, ErrorKind::refused_file);
  expect_one_line(file.error(), {"m.stilla: "});
  expect_one_line(file.error(), parts);
}

}  // namespace stilla_test
