// SPDX-License-Identifier: Apache-2.0
//
// Writes a float32 matrix as a NumPy file, row after row. The file appears under its name only when it is whole
// (stilla/io/atomic_file.hpp). It replaces no file but a NumPy file, unless somebody at the terminal agrees. Something that
// exists and is not a regular file (/dev/null, a pipe) is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <stilla/io/atomic_file.hpp>

namespace program {

class NpyWriter {
 public:
  NpyWriter(const std::string& path, std::size_t rows, std::size_t cols);
  void add_row(std::span<const float> row);
  void finish();

 private:
  void write(std::span<const std::byte> bytes);

  stilla::AtomicFile file_;
  std::uint64_t offset_ = 0;  // where the next bytes go
};

}  // namespace program
