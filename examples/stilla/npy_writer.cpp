// SPDX-License-Identifier: Apache-2.0
#include "npy_writer.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <stilla/io/mapped_file.hpp>

#include "output.hpp"
#include "platform.hpp"

namespace program {
namespace {

// NumPy format 1.0: magic, version, length of the rest as two little-endian bytes, a Python dictionary, spaces and a
// newline up to a multiple of 64 bytes.
std::string npy_header(std::size_t rows, std::size_t cols) {
  std::string dictionary = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  constexpr std::size_t prefix_bytes = 10;
  constexpr std::size_t alignment = 64;
  const std::size_t unpadded = prefix_bytes + dictionary.size() + 1;
  dictionary.append((alignment - unpadded % alignment) % alignment, ' ');
  dictionary += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(dictionary.size() & 0xff);
  header += static_cast<char>(dictionary.size() >> 8);
  return header + dictionary;
}

}  // namespace

NpyWriter::NpyWriter(std::string path, std::size_t rows, std::size_t cols)
    : path_(std::move(path)), file_(nullptr, std::fclose) {
  std::error_code ignored;
  const std::filesystem::file_status status = std::filesystem::status(file_path(path_), ignored);
  const bool replaces = !std::filesystem::exists(status) || std::filesystem::is_regular_file(status);
  if (replaces) temporary_ = fmt::format("{}.{}.partial", path_, process_id());
  file_.reset(open_file(replaces ? temporary_ : path_, "wb"));
  if (!file_) fail_to_write();
  const std::string header = npy_header(rows, cols);
  if (std::fwrite(header.data(), 1, header.size(), file_.get()) != header.size()) fail_to_write();
}

NpyWriter::~NpyWriter() {
  file_.reset();
  std::error_code ignored;
  if (!temporary_.empty()) std::filesystem::remove(file_path(temporary_), ignored);
}

void NpyWriter::add_row(std::span<const float> row) {
  if (std::fwrite(row.data(), sizeof(float), row.size(), file_.get()) != row.size()) fail_to_write();
}

void NpyWriter::finish() {
  if (std::fclose(file_.release()) != 0) fail_to_write();
  if (temporary_.empty()) return;
  std::error_code error;
  std::filesystem::rename(file_path(temporary_), file_path(path_), error);
  if (error) fail(exit_failed, fmt::format("{}: cannot write: {}", stilla::printable_path(path_), error.message()));
  temporary_.clear();
}

void NpyWriter::fail_to_write() const {
  fail(exit_failed, fmt::format("{}: cannot write: {}", stilla::printable_path(path_), std::strerror(errno)));
}

}  // namespace program
