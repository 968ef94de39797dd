// SPDX-License-Identifier: Apache-2.0
//
// The numbers that stand for types of values and of tensors in GGUF files, the sizes of the tensor types' blocks, and the one function
// that computes the size of a tensor in bytes from its shape. Sources: the GGUF specification and ggml.h. The sizes of blocks are those of
// gguf-py's GGML_QUANT_SIZES, except for q8_1: its two scales are halves in ggml (36 bytes) and floats in gguf-py (40 bytes). q8_1 is a
// format for activations and does not occur in files.
//
// All types of ggml are listed, not only those that Stilla decodes (format/format.hpp). A file with one tensor of another type
// can therefore still be checked and listed, and it is refused with the name of the type where the tensor is used.
//
// Only this header translates between a number in GGUF and a format: the number is that of the ggml type with the same name.
// Stilla's own formats occur only in packed files. Their numbers are far from those that ggml uses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <stilla/base/error.hpp>
#include <stilla/base/types.hpp>
#include <stilla/format/format.hpp>
#include <stilla/io/checked.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class GgufValueType : std::uint32_t {
  uint8 = 0,
  int8 = 1,
  uint16 = 2,
  int16 = 3,
  uint32 = 4,
  int32 = 5,
  float32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  uint64 = 10,
  int64 = 11,
  float64 = 12,
};

constexpr std::string_view name_of(GgufValueType type) {
  constexpr std::array<std::string_view, 13> names{"uint8",   "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
                                                   "boolean", "string", "array",  "uint64", "int64",  "float64"};
  const auto number = static_cast<std::uint32_t>(type);
  return number < names.size() ? names[number] : "unknown";
}

// The number of bytes of one value of this type. 0 for strings and arrays, which store their length.
constexpr std::uint64_t value_bytes(GgufValueType type) {
  constexpr std::array<std::uint8_t, 13> sizes{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  const auto number = static_cast<std::uint32_t>(type);
  return number < sizes.size() ? sizes[number] : 0;
}

struct GgufTensorType {
  std::uint32_t number;
  std::uint32_t block_weights;  // 0: the type was removed from ggml, and files with it cannot be read any more
  std::uint32_t block_bytes;
  std::string_view name;
};

// What only packed files (packed_file.hpp) have: a flag in the type numbers of tensors, and some keys.
inline constexpr std::uint64_t packed_alignment = 4096;  // general.alignment of packed files, in bytes
inline constexpr std::uint32_t packed_type_flag = 0x80000000;  // added to a type's number: the tensor is panels, not rows
inline constexpr std::string_view packed_checksum_key = "stilla.packed.checksum";
inline constexpr std::string_view packed_layout_key = "stilla.packed.layout";
inline constexpr std::string_view packed_source_key = "stilla.packed.source";
inline constexpr std::string_view packed_tensor_checksums_key = "stilla.packed.tensor_checksums";
inline constexpr std::string_view packed_rotation_key = "stilla.packed.rotation";
inline constexpr std::string_view packed_calibration_key = "stilla.packed.calibration";
inline constexpr std::string_view packed_importance_key = "stilla.packed.importance";

// Keys of packed files that were made from a Hugging Face folder (hugging_face.hpp). GGUF has no keys for what they say. Beside each key
// stand the type of its value and what the value says.
inline constexpr std::string_view half_split_key = "stilla.rope.half_split";  // boolean: rows of Q and K are as in the original release
inline constexpr std::string_view nfc_key = "stilla.tokenizer.nfc";           // boolean: Vocabulary::nfc
inline constexpr std::string_view end_ids_key = "stilla.tokenizer.end_ids";   // uint32[]: Vocabulary::ends

namespace detail {
inline constexpr std::array<GgufTensorType, 42> gguf_tensor_types{{
    {0, 1, 4, "f32"},       {1, 1, 2, "f16"},         {2, 32, 18, "q4_0"},      {3, 32, 20, "q4_1"},      {4, 0, 0, "q4_2"},
    {5, 0, 0, "q4_3"},      {6, 32, 22, "q5_0"},      {7, 32, 24, "q5_1"},      {8, 32, 34, "q8_0"},      {9, 32, 36, "q8_1"},
    {10, 256, 84, "q2_k"},  {11, 256, 110, "q3_k"},   {12, 256, 144, "q4_k"},   {13, 256, 176, "q5_k"},   {14, 256, 210, "q6_k"},
    {15, 256, 292, "q8_k"}, {16, 256, 66, "iq2_xxs"}, {17, 256, 74, "iq2_xs"},  {18, 256, 98, "iq3_xxs"}, {19, 256, 50, "iq1_s"},
    {20, 32, 18, "iq4_nl"}, {21, 256, 110, "iq3_s"},  {22, 256, 82, "iq2_s"},   {23, 256, 136, "iq4_xs"}, {24, 1, 1, "i8"},
    {25, 1, 2, "i16"},      {26, 1, 4, "i32"},        {27, 1, 8, "i64"},        {28, 1, 8, "f64"},        {29, 256, 56, "iq1_m"},
    {30, 1, 2, "bf16"},     {31, 0, 0, "q4_0_4_4"},   {32, 0, 0, "q4_0_4_8"},   {33, 0, 0, "q4_0_8_8"},   {34, 256, 54, "tq1_0"},
    {35, 256, 66, "tq2_0"}, {36, 0, 0, "iq4_nl_4_4"}, {37, 0, 0, "iq4_nl_4_8"}, {38, 0, 0, "iq4_nl_8_8"}, {39, 32, 17, "mxfp4"},
    {40, 64, 36, "nvfp4"},  {41, 128, 18, "q1_0"},
}};

// The number of the ggml type with this name, if there is one.
constexpr std::optional<std::uint32_t> ggml_number(std::string_view name) {
  for (const GgufTensorType& type : gguf_tensor_types) {
    if (type.name == name) return type.number;
  }
  return std::nullopt;
}

template <class List, class... Kept>
struct GgmlFormats;
template <class... Kept>
struct GgmlFormats<TypeList<>, Kept...> {
  using Type = TypeList<Kept...>;
};
template <class F, class... Rest, class... Kept>
  requires(ggml_number(F::name).has_value())
struct GgmlFormats<TypeList<F, Rest...>, Kept...> : GgmlFormats<TypeList<Rest...>, Kept..., F> {};
template <class F, class... Rest, class... Kept>
  requires(!ggml_number(F::name).has_value())
struct GgmlFormats<TypeList<F, Rest...>, Kept...> : GgmlFormats<TypeList<Rest...>, Kept...> {};

// Returns the number that a format without a ggml type has in packed files. Formats in the table `chosen` have numbers that earlier
// versions of Stilla chose: the bytes of a short name, which stands beside each. The number of any other format is computed from its id and
// is above all that ggml will use.
constexpr std::uint32_t own_number(std::string_view name) {
  constexpr std::pair<std::string_view, std::uint32_t> chosen[] = {{"st4", 0x00345453},  // "ST4" as text
                                                                   {"int4_g128", 0x00533449},  // "I4S"
                                                                   {"int4_g128_min", 0x004d3449},  // "I4M"
                                                                   {"int4_channel", 0x00433449},  // "I4C"
                                                                   {"int8_channel", 0x00433849}};  // "I8C"
  for (const auto& [known, number] : chosen) {
    if (known == name) return number;
  }
  return (static_cast<std::uint32_t>(format_id(name)) & 0x7fffffff) | 0x40000000;
}

// All formats of this program as tensor types, with their numbers in files.
inline constexpr auto format_types = [] {
  std::array<GgufTensorType, Formats::size> out{};
  std::size_t n = 0;
  for_each_type(Formats{}, [&]<class F>(F) {
    out[n++] = {ggml_number(F::name).value_or(own_number(F::name)), F::block_weights, F::block_bytes, F::name};
  });
  return out;
}();

constexpr bool tensor_types_are_consistent() {
  for (std::size_t i = 0; i < gguf_tensor_types.size(); ++i) {
    if (gguf_tensor_types[i].number != i) return false;
  }
  for (std::size_t i = 0; i < format_types.size(); ++i) {
    const GgufTensorType& format = format_types[i];
    if (format.number < gguf_tensor_types.size()) {
      const GgufTensorType& type = gguf_tensor_types[format.number];
      if (type.block_weights != format.block_weights || type.block_bytes != format.block_bytes) return false;
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (format_types[j].number == format.number) return false;
    }
  }
  return true;
}
static_assert(tensor_types_are_consistent(),
              "a row of gguf_tensor_types is misplaced or disagrees with its format, or two formats have the same number");
}  // namespace detail

// The formats that GGUF files can contain, in the order of Formats, the list of all compiled formats (format/format.hpp).
using GgufFormats = detail::GgmlFormats<Formats>::Type;

// True for a type of ggml. Stilla's own types occur only in packed files.
constexpr bool is_ggml_type(std::uint32_t number) { return number < detail::gguf_tensor_types.size(); }

// The type with this number. Null if neither Stilla nor a ggml release that Stilla knows has it.
constexpr const GgufTensorType* find_tensor_type(std::uint32_t number) {
  if (is_ggml_type(number)) return &detail::gguf_tensor_types[number];
  for (const GgufTensorType& type : detail::format_types) {
    if (type.number == number) return &type;
  }
  return nullptr;
}

// format_of_gguf_type() gives the format of tensors of a GGUF type, if Stilla has it. gguf_type_of() gives the number of the GGUF
// type of a format.
constexpr std::optional<FormatId> format_of_gguf_type(std::uint32_t number) {
  for (const GgufTensorType& type : detail::format_types) {
    if (type.number == number) return format_id(type.name);
  }
  return std::nullopt;
}
constexpr std::optional<std::uint32_t> gguf_type_of(FormatId format) {
  for (const GgufTensorType& type : detail::format_types) {
    if (format_id(type.name) == format) return type.number;
  }
  return std::nullopt;
}
// True for a format that GGUF files can contain.
constexpr bool is_ggml_format(FormatId format) {
  const std::optional<std::uint32_t> number = gguf_type_of(format);
  return number && is_ggml_type(*number);
}

// The type with this number as text, for messages: "type 12 (q4_k)".
inline std::string tensor_type_text(std::uint32_t number) {
  const GgufTensorType* type = find_tensor_type(number);
  return type ? concat("type ", number, " (", type->name, ")") : concat("type ", number);
}

// The types that Stilla decodes, as text: "f32, f16, ...".
inline std::string decodable_types_text() {
  std::string out;
  for_each_type(GgufFormats{}, [&]<class F>(F) {
    if (!out.empty()) out += ", ";
    out += F::name;
  });
  return out;
}

enum class ShapeFault : std::uint8_t { none, zero_dimension, partial_block, overflow };

struct ShapeBytes {
  ShapeFault fault;
  std::uint64_t bytes;  // valid if fault is none
};

// The number of bytes of a tensor. This is the only function in Stilla that computes it from the numbers of a file. dims[0] is the
// contiguous dimension; unused dimensions are 1; type.block_weights is not 0.
constexpr ShapeBytes shape_bytes(const GgufTensorType& type, const std::array<std::uint64_t, 4>& dims) {
  for (const std::uint64_t dim : dims) {
    if (dim == 0) return {ShapeFault::zero_dimension, 0};
  }
  if (dims[0] % type.block_weights != 0) return {ShapeFault::partial_block, 0};
  // The number of weights must fit into 64 bits too, not only the number of bytes: a tensor with less than 8 bits for a weight has
  // more weights than bytes.
  std::uint64_t weights = 1;
  std::uint64_t bytes = 0;
  for (const std::uint64_t dim : dims) {
    if (!checked_mul(weights, dim, weights)) return {ShapeFault::overflow, 0};
  }
  if (!checked_mul(weights / type.block_weights, type.block_bytes, bytes)) return {ShapeFault::overflow, 0};
  return {ShapeFault::none, bytes};
}

namespace detail {

// Calls f with the number that is stored at `address` and has the type `type`. A boolean is passed as its byte. If `type` is not a
// type of numbers, returns false without calling f.
template <class F>
bool visit_number(GgufValueType type, const std::byte* address, F&& f) {
  switch (type) {
    case GgufValueType::uint8:
    case GgufValueType::boolean: f(load_as<std::uint8_t>(address)); return true;
    case GgufValueType::int8: f(load_as<std::int8_t>(address)); return true;
    case GgufValueType::uint16: f(load_as<std::uint16_t>(address)); return true;
    case GgufValueType::int16: f(load_as<std::int16_t>(address)); return true;
    case GgufValueType::uint32: f(load_as<std::uint32_t>(address)); return true;
    case GgufValueType::int32: f(load_as<std::int32_t>(address)); return true;
    case GgufValueType::uint64: f(load_as<std::uint64_t>(address)); return true;
    case GgufValueType::int64: f(load_as<std::int64_t>(address)); return true;
    case GgufValueType::float32: f(load_as<float>(address)); return true;
    case GgufValueType::float64: f(load_as<double>(address)); return true;
    case GgufValueType::string:
    case GgufValueType::array: break;
  }
  return false;
}

}  // namespace detail

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
