// SPDX-License-Identifier: Apache-2.0
//
// A float32 matrix as a NumPy file, row after row. The file appears under its name only whole (stilla/io/atomic_file.hpp), and
// replaces no file but a NumPy one unless somebody at the terminal wants it. What exists and is no regular file (/dev/null, a pipe)
// is written to directly.
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
  std::uint64_t offset_ = 0;  // in it
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> device_;  // otherwise
};

}  // namespace program
