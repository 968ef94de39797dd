// SPDX-License-Identifier: Apache-2.0
//
// A float32 matrix as a NumPy file, row after row. The file appears under its name only whole: rows go to a temporary
// file beside it, finish() renames. What exists and is no regular file (/dev/null, a pipe) is written to directly.
#pragma once

#include <cstddef>
#include <cstdio>
#include <memory>
#include <span>
#include <string>

namespace program {

class NpyWriter {
 public:
  NpyWriter(std::string path, std::size_t rows, std::size_t cols);
  ~NpyWriter();  // without finish(): nothing is left behind
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;

  void add_row(std::span<const float> row);
  void finish();

 private:
  [[noreturn]] void fail_to_write() const;

  std::string path_;
  std::string temporary_;  // empty: written directly
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

}  // namespace program
