// SPDX-License-Identifier: Apache-2.0
//
// The names of the files that one GGUF model was split into, as llama.cpp's gguf-split writes them:
//
//     NAME-00001-of-00003.gguf    all keys, and the first tensors (or none)
//     NAME-00002-of-00003.gguf    only the keys split.*, and further tensors
//     NAME-00003-of-00003.gguf    only the keys split.*, and further tensors
//
// Every part has these keys:
//
//   split.no              u16   the number of this part, from 0
//   split.count           u16   the number of parts
//   split.tensors.count   i32   the number of tensors in all parts together
//
// GgufFile::open() opens all parts, whichever of them is given, and compares them with each other.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <stilla/base/error.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

inline constexpr std::uint64_t max_gguf_parts = 4096;

// What the path of a part consists of: the stem "folder/NAME", the number of the part, which counts from 1, and the number of parts.
struct GgufPartName {
  std::string_view stem;
  std::uint64_t number;
  std::uint64_t count;
};

namespace detail {

// The number n as text, with leading zeros up to five digits: "00002".
inline std::string five_digits(std::uint64_t n) {
  const std::string digits = concat(n);
  return digits.size() < 5 ? std::string(5 - digits.size(), '0') + digits : digits;
}

}  // namespace detail

// The path of a part, "folder/NAME-00002-of-00003.gguf".
inline std::string gguf_part_path(std::string_view stem, std::uint64_t number, std::uint64_t count) {
  return concat(stem, "-", detail::five_digits(number), "-of-", detail::five_digits(count), ".gguf");
}

// The reverse of gguf_part_path(): splits the path of a part. Returns nothing if the path does not have this form.
inline std::optional<GgufPartName> parse_gguf_part_path(std::string_view path) {
  constexpr std::string_view ending = "-00000-of-00000.gguf";
  if (path.size() <= ending.size()) return std::nullopt;
  GgufPartName out{path.substr(0, path.size() - ending.size()), 0, 0};
  const std::string_view tail = path.substr(out.stem.size());
  const auto digits = [&](std::size_t at, std::uint64_t& value) {
    const char* const end = tail.data() + at + 5;
    const std::from_chars_result read = std::from_chars(tail.data() + at, end, value);
    return read.ec == std::errc() && read.ptr == end;
  };
  const bool has_numbers = digits(1, out.number) && digits(10, out.count);
  if (!has_numbers || gguf_part_path(out.stem, out.number, out.count) != path) return std::nullopt;
  return out;
}

// Describes a part for messages: "part 2 of 3 of a split model; its parts are NAME-00001-of-00003.gguf to
// NAME-00003-of-00003.gguf". The path need not have the form of a part's path.
inline std::string gguf_part_text(std::string_view path, std::uint64_t number, std::uint64_t count) {
  const std::optional<GgufPartName> name = parse_gguf_part_path(path);
  std::string_view stem = name && name->count == count ? name->stem : "NAME";
  stem = stem.substr(stem.find_last_of("/\\") + 1);  // without a slash this is npos + 1, which is 0
  return concat("part ", number, " of ", count, " of a split model; its parts are ", printable(gguf_part_path(stem, 1, count)), " to ",
                printable(gguf_part_path(stem, count, count)));
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
