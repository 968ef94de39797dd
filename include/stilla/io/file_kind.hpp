// SPDX-License-Identifier: Apache-2.0
//
// Guesses what kind of file was given instead of a GGUF file, for the message that refuses it. The most common damage is a wrong
// download. Only the first bytes of the file are looked at. The answer is a guess, and nothing depends on it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <stilla/base/error.hpp>
#include <stilla/base/types.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Guesses the kind of a file from its bytes. The result is a text such as "a zip archive (a PyTorch checkpoint?)".
inline std::string guess_file_kind(std::span<const std::byte> bytes) {
  struct Signature {
    std::string_view magic;
    std::string_view kind;
  };
  using namespace std::string_view_literals;
  static constexpr Signature signatures[] = {
      {"GGUF"sv, "a GGUF file"sv},
      {"FUGG"sv, "a GGUF file with its bytes swapped"sv},
      {"lmgg"sv, "a GGML file of 2023 (convert the original model again)"sv},
      {"fmgg"sv, "a GGMF file of 2023 (convert the original model again)"sv},
      {"tjgg"sv, "a GGJT file of 2023 (convert the original model again)"sv},
      {"algg"sv, "a GGLA adapter of 2023"sv},
      {"PK\x03\x04"sv, "a zip archive (a PyTorch checkpoint?)"sv},
      {"\x80\x02"sv, "a Python pickle (an old PyTorch checkpoint?)"sv},
      {"version https://git-lfs"sv, "a git-lfs pointer (the model itself was not downloaded; run `git lfs pull`)"sv},
      {"\x1f\x8b"sv, "a gzip archive"sv},
      {"\x28\xb5\x2f\xfd"sv, "a zstd archive"sv},
      {"\xfd"
       "7zXZ"sv,
       "an xz archive"sv},
      {"\x89HDF"sv, "an HDF5 file"sv},
      {"\x93NUMPY"sv, "a NumPy array"sv},
      {"\x7f"
       "ELF"sv,
       "a program"sv},
      {"%PDF"sv, "a PDF document"sv},
  };
  if (bytes.empty()) return "an empty file";
  const std::size_t kept = std::min<std::size_t>(bytes.size(), 512);
  const std::string_view head(reinterpret_cast<const char*>(bytes.data()), kept);
  for (const Signature& signature : signatures) {
    if (head.starts_with(signature.magic)) return std::string(signature.kind);
  }
  if (bytes.size() > 9 && head[8] == '{' && load_as<std::uint64_t>(bytes.data()) <= bytes.size() - 8) {
    return "a safetensors file (name the folder that it lies in)";
  }
  const std::size_t text_begin = std::min(head.find_first_not_of(" \t\r\n\xef\xbb\xbf"), head.size());
  const std::string_view text = head.substr(text_begin);
  const auto starts_with_word = [&](std::string_view lower_case) {
    return text.size() >= lower_case.size() && std::equal(lower_case.begin(), lower_case.end(), text.begin(), [](char a, char b) {
             return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b + 32) : b);
           });
  };
  for (const std::string_view word : {"<!doctype"sv, "<html"sv, "<head"sv, "<?xml"sv, "<error"sv}) {
    if (starts_with_word(word)) return "an HTML or XML page (an error page saved under this name?)";
  }
  if (starts_with_word("{")) return "JSON text";
  if (std::all_of(head.begin(), head.end(), [](char c) { return c == '\0'; })) {
    return "nothing but zero bytes at its start (a download that was cut off?)";
  }
  const auto is_text = [](char c) { return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c < 0x7f); };
  if (std::all_of(head.begin(), head.end(), is_text)) {
    const std::string_view line = text.substr(0, std::min(text.find_first_of("\r\n"), std::size_t{48}));
    return concat("text: '", printable(line), "'");
  }
  return concat("unknown bytes: '", printable(head.substr(0, std::min<std::size_t>(head.size(), 4))), "'");
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
