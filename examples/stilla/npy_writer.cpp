// SPDX-License-Identifier: Apache-2.0
#include "npy_writer.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <stilla/io/mapped_file.hpp>

#include "output.hpp"
#include "platform.hpp"
#include "replacing.hpp"

namespace program {
namespace {

constexpr std::string_view npy_magic = "\x93NUMPY";

// Returns the header of a file in NumPy's format 1.0: magic, version, the length of the rest as two little-endian bytes, a
// Python dictionary, then spaces and a newline up to a multiple of 64 bytes.
std::string npy_header(std::size_t rows, std::size_t cols) {
  std::string dictionary = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  constexpr std::size_t prefix_bytes = 10;
  constexpr std::size_t alignment = 64;
  const std::size_t unpadded = prefix_bytes + dictionary.size() + 1;
  dictionary.append((alignment - unpadded % alignment) % alignment, ' ');
  dictionary += '\n';
  std::string header(npy_magic);
  header += std::string_view("\x01\x00", 2);
  header += static_cast<char>(dictionary.size() & 0xff);
  header += static_cast<char>(dictionary.size() >> 8);
  return header + dictionary;
}

}  // namespace

NpyWriter::NpyWriter(std::string path, std::size_t rows, std::size_t cols) : path_(std::move(path)), device_(nullptr, std::fclose) {
  constexpr std::string_view kind = "a NumPy file";
  if (!may_replace(path_, npy_magic, kind)) fail(exit_usage, fmt::format("-o {}", not_replaced_text(path_, kind)));
  std::error_code ignored;
  const std::filesystem::file_status status = std::filesystem::status(file_path(path_), ignored);
  if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status)) {
    whole_ = value_of(stilla::AtomicFile::create(path_));
  } else {
    device_.reset(open_file(path_, "wb"));
    if (!device_) fail_to_write();
  }
  const std::string header = npy_header(rows, cols);
  write(std::as_bytes(std::span(header.data(), header.size())));
}

void NpyWriter::write(std::span<const std::byte> bytes) {
  if (whole_) {
    check(whole_->write(offset_, bytes));
    offset_ += bytes.size();
  } else if (std::fwrite(bytes.data(), 1, bytes.size(), device_.get()) != bytes.size()) {
    fail_to_write();
  }
}

void NpyWriter::add_row(std::span<const float> row) { write(std::as_bytes(row)); }

void NpyWriter::finish() {
  if (whole_) return check(whole_->commit());
  if (std::fclose(device_.release()) != 0) fail_to_write();
}

void NpyWriter::fail_to_write() const {
  fail(exit_failed, fmt::format("{}: cannot write: {}", stilla::printable_path(path_), std::strerror(errno)));
}

}  // namespace program
