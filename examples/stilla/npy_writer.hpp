// SPDX-License-Identifier: Apache-2.0
//
// Writes a float32 matrix as a NumPy file, row after row. The file appears under its name only when it is whole
// (stilla/io/atomic_file.hpp). It replaces no file but a NumPy file, unless somebody at the terminal agrees. Something that
// exists and is not a regular file (/dev/null, a pipe) is written to directly.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <stilla/io/atomic_file.hpp>

namespace program {

class NpyWriter {
 public:
  NpyWriter(std::string path, std::size_t rows, std::size_t cols);
  void add_row(std::span<const float> row);
  void finish();

 private:
  void write(std::span<const std::byte> bytes);
  [[noreturn]] void fail_to_write() const;

  std::string path_;
  std::optional<stilla::AtomicFile> whole_;
  std::uint64_t offset_ = 0;  // where the next bytes go in whole_
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> device_;  // used instead of whole_ if the path is not a regular file
};

}  // namespace program
