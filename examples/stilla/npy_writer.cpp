// SPDX-License-Identifier: Apache-2.0
#include "npy_writer.hpp"

#include <string_view>

#include <fmt/format.h>

#include "output.hpp"
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

stilla::AtomicFile created(const std::string& path) {
  constexpr std::string_view kind = "a NumPy file";
  if (!may_replace(path, npy_magic, kind)) fail(exit_usage, fmt::format("-o {}", not_replaced_text(path, kind)));
  return value_of(stilla::AtomicFile::create(path));
}

}  // namespace

NpyWriter::NpyWriter(const std::string& path, std::size_t rows, std::size_t cols) : file_(created(path)) {
  const std::string header = npy_header(rows, cols);
  write(std::as_bytes(std::span(header.data(), header.size())));
}

void NpyWriter::write(std::span<const std::byte> bytes) {
  check(file_.write(offset_, bytes));
  offset_ += bytes.size();
}

void NpyWriter::add_row(std::span<const float> row) { write(std::as_bytes(row)); }

void NpyWriter::finish() { check(file_.commit()); }

}  // namespace program
