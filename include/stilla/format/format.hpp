// SPDX-License-Identifier: Apache-2.0
//
// Defines what a weight format is and lists all formats. A weight format is a type; this header says which members that type has.
// To add a format, write its header beside this one and add its line to STILLA_FORMAT_LIST.
//
// Every format has:
//   name            "q4_0", as in file names; the format's id is a hash of the name (format_id.hpp)
//   block_weights   weights per block; a row's length must be a multiple of it
//   block_bytes     bytes per block; the blocks of a row follow each other without gaps, and so do the rows
//   decode(block, weights)    turns one block into block_weights floats; the block may have any alignment; reads block_bytes bytes
//                             and nothing past them
//   encode(weights, block)    the reverse, where the format has an encoder (EncodableFormat)
//   encode(weights, block, importance)    the same with a factor for the squared error of each weight, where the encoder searches for
//                             scales (ImportanceFormat, format/importance.hpp); with a null pointer all factors are equal
//
// A format with one scale for each row is a RowScaledFormat. A row then begins with its scale, a float, and the blocks follow.
// Such a format has decode(block, scale, weights) and encode(weights, scale, block), and fit(weights, count) returns the scale for
// a row. Here, too, an importance may follow as the last argument.
//
// A format may name another format (PanelFormat) whose packed panels and kernels serve it.
//   - A format that is not quantised is multiplied as floats. F32, F16 and BF16 store one number per weight, of type Storage. Any
//     other such format names the one of these three that holds each of its weights exactly.
//   - A quantised format names a format whose kernels can read its panels: the panels are, byte for byte, valid panels of the named
//     format. Only the codebooks may differ, because kernels are given the format's own codebook (contract/matmul.hpp).
//
// A format may have set_code(block, k, code), the reverse of code() below. With it a caller who knows more than encode() chooses
// the codes for the scales that encode() found (model/error_feedback.hpp). Such a format has no minimums, and its codebook, if it
// has one, is in ascending order.
//
// A quantised format also shows its parts to the integer kernels. With g = k / group_weights, the number of weight k's group:
//
//   weight[k] = s[g] * (code(k) - zero_point) + m[g]            codebook formats: s[g] * codebook[code(k)]
//
//   code(block, k)          the integer code, 0 .. 2^code_bits - 1; for code_bits == 8 a signed value
//   codebook                where is_codebook: 2^code_bits signed bytes
//   scale(block)            s[g] = to_float(scale), or to_float(scale) * sub_scale(block, g) when has_sub_scales. The scale is a
//                           half (f16), or a half times a power of two (scaled_f16.hpp).
//   scale_word(block)       the scale and the sub-scales of a block, where these are one number of 32 bits (WordScaledFormat):
//                           scale_of(word) and sub_scale_of(word, g) take that word apart
//   scale(row)              replaces scale(block) where a row has one scale (RowScaledFormat): a float. s[g] = scale, or
//                           scale * sub_scale(block, g)
//   minimum(block)          f16, when has_minimum. m[g] = minimum, or minimum * sub_minimum(block, g) with sub-scales. The format
//                           chooses the sign of sub_minimum: Q4_K, which subtracts minimums, returns it negated. With
//                           sub-minimums there are either eight groups of 32, and a sub_minimum is at most 63 in magnitude; or
//                           groups of 16, and sub-scales and sub-minimums are 0 .. 15.
//
// The products scale * sub_scale and minimum * sub_minimum are exact in float, because the scale or minimum has 11 significant
// bits and its factor at most 8. The exception is the scale of a row: its product with a sub-scale is rounded once.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include <stilla/base/type_list.hpp>
#include <stilla/base/types.hpp>
#include <stilla/format/format_id.hpp>
#include <stilla/format/grouped_block.hpp>

// The list of formats, in the order in which tables and tests have them. Each line names a header of this folder and the types that
// it defines. The formats of published weights come first. INT4_G128 and those after it are used by `stilla export` and by models
// whose weights were rotated (model/rotation.hpp). A file that compiles its kernels itself has these later formats only where
// STILLA_FORMATS names them, because compiling all formats takes it 50 % longer.
// clang-format off
#define STILLA_PUBLISHED_FORMAT_LIST(format)      \
  format(float_formats, F32, F16, BF16)           \
  format(bfp16, BFP16EBS8)                        \
  format(q8_0, Q8_0)                              \
  format(q4_0, Q4_0)                              \
  format(q4_1, Q4_1)                              \
  format(q5_0, Q5_0)                              \
  format(q5_1, Q5_1)                              \
  format(q2_k, Q2_K)                              \
  format(q3_k, Q3_K)                              \
  format(q4_k, Q4_K)                              \
  format(q5_k, Q5_K)                              \
  format(q6_k, Q6_K)                              \
  format(iq2, IQ2_XXS, IQ2_XS, IQ2_S)             \
  format(iq3, IQ3_XXS, IQ3_S)                     \
  format(iq4_nl, IQ4_NL)                          \
  format(iq4_xs, IQ4_XS)                          \
  format(st4, ST4)                                \
  format(uint4_g128, UINT4_G128)
#define STILLA_FORMAT_LIST(format)                \
  STILLA_PUBLISHED_FORMAT_LIST(format)            \
  format(int4_g128, INT4_G128, INT4_G128_MIN)     \
  format(int_channel, INT4_CHANNEL, INT8_CHANNEL) \
  format(lpbq, LPBQ32, LPBQ64, LPBQ128)
// clang-format on

#define STILLA_EACH_LIST STILLA_FORMAT_LIST
#define STILLA_EACH_HEADER(header) <stilla/format/header.hpp>
#include <stilla/base/include_each-inl.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

template <class F>
concept RowScaledFormat = requires(const std::byte* row, float* weights, std::size_t count) {
  { F::scale(row) } -> std::same_as<float>;
  F::decode(row, F::scale(row), weights);
  { F::fit(weights, count) } -> std::same_as<float>;
};

template <class F>
concept WeightFormat = requires(const std::byte* block, float* weights) {
  { F::name } -> std::convertible_to<std::string_view>;
  { F::block_weights } -> std::convertible_to<std::size_t>;
  { F::block_bytes } -> std::convertible_to<std::size_t>;
  requires RowScaledFormat<F> || requires { F::decode(block, weights); };
};

template <class F>
concept EncodableFormat = WeightFormat<F> && requires(const float* weights, std::byte* block) {
  requires RowScaledFormat<F> || requires { F::encode(weights, block); };
};

template <class F>
concept ImportanceFormat = EncodableFormat<F> && requires(const float* weights, float scale, std::byte* block, const float* importance) {
  requires requires { F::encode(weights, block, importance); } || (RowScaledFormat<F> && requires {
             F::fit(weights, std::size_t{}, importance);
             F::encode(weights, scale, block, importance);
           });
};

template <class F>
concept QuantisedFormat = WeightFormat<F> && requires(const std::byte* block, std::size_t k) {
  { F::code(block, k) } -> std::same_as<int>;
  { to_float(F::scale(block)) } -> std::same_as<float>;
  F::code_bits;
  F::zero_point;
  F::group_weights;
};

namespace detail {
template <class F>
struct PanelFormatOf {
  using Type = F;
};
template <class F>
  requires requires { typename F::PanelFormat; }
struct PanelFormatOf<F> {
  using Type = typename F::PanelFormat;
};
}  // namespace detail

// The format that a matrix of F is packed as: F itself, or the format that F names as its PanelFormat.
template <class F>
using PanelFormat = typename detail::PanelFormatOf<F>::Type;

template <class F>
concept ChosenCodesFormat = QuantisedFormat<F> && EncodableFormat<F> && requires(std::byte* block) {
  F::set_code(block, std::size_t{}, int{});
  requires !F::has_minimum;
};

template <class F>
concept WordScaledFormat = QuantisedFormat<F> && requires(const std::byte* block, std::uint32_t word) {
  { F::scale_word(block) } -> std::same_as<std::uint32_t>;
  F::scale_of(word);
  { F::sub_scale_of(word, std::size_t{}) } -> std::same_as<int>;
};

// Whether F has sub-minimums for groups of 32: each minimum is an integer times the minimum of the block. Kernels multiply eight
// sub-minimums at a time by rounded sums of activations (RoundedSums in contract/activation_q8.hpp).
template <class F>
inline constexpr bool has_sub_minimums = false;
template <class F>
  requires requires { F::has_sub_scales; }
inline constexpr bool has_sub_minimums<F> = F::has_sub_scales && F::has_minimum && F::group_weights == 32;

// Whether F has sub-minimums for groups of 16. The sub-scale and the sub-minimum of a group then have four bits each and share one
// byte of a panel.
template <class F>
inline constexpr bool has_nibble_minimums = false;
template <class F>
  requires requires { F::has_sub_scales; }
inline constexpr bool has_nibble_minimums<F> = F::has_sub_scales && F::has_minimum && F::group_weights == 16;

// Whether F has a codebook whose levels are -63 .. 63, integers of seven bits. With 64 added the levels are unsigned and small
// enough for any instruction that computes dot products of bytes.
template <class F>
inline constexpr bool has_small_codebook = false;
template <QuantisedFormat F>
  requires(F::is_codebook)
inline constexpr bool has_small_codebook<F> = [] {
  for (const std::int8_t level : F::codebook) {
    if (level < -63 || level > 63) return false;
  }
  return true;
}();

namespace detail {

#define STILLA_TYPES_OF_FORMAT(header, ...) __VA_ARGS__,
using ListedFormats = ListedTypes<TypeList<>, STILLA_FORMAT_LIST(STILLA_TYPES_OF_FORMAT) void>::Type;
using PublishedFormats = ListedTypes<TypeList<>, STILLA_PUBLISHED_FORMAT_LIST(STILLA_TYPES_OF_FORMAT) void>::Type;
#undef STILLA_TYPES_OF_FORMAT

}  // namespace detail

// The formats that this program was compiled with, in the order in which tables and tests have them.
#ifdef STILLA_FORMATS
using Formats = TypeList<STILLA_FORMATS>;
#elif STILLA_SEPARATE_KERNELS
using Formats = detail::ListedFormats;
#else
using Formats = detail::PublishedFormats;
#endif

template <WeightFormat F>
inline constexpr FormatId id_of = format_id(F::name);

namespace detail {
template <class... Ts, class F>
constexpr bool with_format(TypeList<Ts...>, FormatId id, F&& f) {
  return ((id_of<Ts> == id ? (f(Ts{}), true) : false) || ...);
}

template <class... Ts>
constexpr bool ids_are_unique(TypeList<Ts...>) {
  constexpr FormatId ids[] = {no_format, id_of<Ts>...};
  for (const FormatId& a : ids) {
    for (const FormatId& b : ids) {
      if (&a != &b && a == b) return false;
    }
  }
  return true;
}
static_assert(ids_are_unique(Formats{}), "two formats have the same name, or names of the same hash: rename one");
}  // namespace detail

// Calls f(Format{}) for the format whose id is `id`, and returns true. If there is no such format, it calls nothing and returns
// false.
template <class F>
constexpr bool with_format(FormatId id, F&& f) {
  return detail::with_format(Formats{}, id, std::forward<F>(f));
}

// The number of bytes of a row that stand before its blocks: its scale, if a row has one.
template <WeightFormat F>
inline constexpr std::size_t row_head_bytes = RowScaledFormat<F> ? sizeof(float) : 0;

// Bytes of a row of `count` weights of format F; count is a multiple of F::block_weights.
template <WeightFormat F>
constexpr std::size_t row_bytes(std::size_t count) {
  return count == 0 ? 0 : row_head_bytes<F> + count / F::block_weights * F::block_bytes;
}

// The block of a row that holds weight k.
template <WeightFormat F>
const std::byte* block_of(const std::byte* row, std::size_t k) {
  return row + row_head_bytes<F> + k / F::block_weights * F::block_bytes;
}

// Decodes one block of a row: its F::block_weights weights from the k-th on. Weight k must be the first one of a block.
template <WeightFormat F>
void decode_block(const std::byte* row, std::size_t k, float* weights) {
  if constexpr (RowScaledFormat<F>) {
    F::decode(block_of<F>(row, k), F::scale(row), weights);
  } else {
    F::decode(block_of<F>(row, k), weights);
  }
}

// The level and the scale of weight k of a row. The level is an integer: the codebook's entry for the weight's code, or the code
// less the zero point. weight[k] = scale * level, plus the minimum where the format has one.
template <QuantisedFormat F>
int weight_level(const std::byte* row, std::size_t k) {
  return detail::level_of<F>(block_of<F>(row, k), k % F::block_weights);
}
template <QuantisedFormat F>
float weight_scale(const std::byte* row, std::size_t k) {
  const std::byte* block = block_of<F>(row, k);
  float scale = 0;
  if constexpr (RowScaledFormat<F>) {
    scale = F::scale(row);
  } else {
    scale = to_float(F::scale(block));
  }
  if constexpr (F::has_sub_scales) scale *= static_cast<float>(F::sub_scale(block, k % F::block_weights / F::group_weights));
  return scale;
}

// Decodes a row of `count` weights; `count` is a multiple of F::block_weights.
template <WeightFormat F>
void decode_row(const std::byte* row, float* weights, std::size_t count) {
  for (std::size_t k = 0; k < count; k += F::block_weights) decode_block<F>(row, k, weights + k);
}

// The reverse of decode_row: encodes a row of `count` weights.
template <EncodableFormat F>
void encode_row(const float* weights, std::byte* row, std::size_t count) {
  if (count == 0) return;  // `row` may be null
  std::byte* block = row + row_head_bytes<F>;
  if constexpr (RowScaledFormat<F>) {
    const float scale = F::fit(weights, count);
    store_as(row, scale);
    for (std::size_t k = 0; k < count; k += F::block_weights, block += F::block_bytes) F::encode(weights + k, scale, block);
  } else {
    for (std::size_t k = 0; k < count; k += F::block_weights, block += F::block_bytes) F::encode(weights + k, block);
  }
}

// Encodes a row of `count` weights by their importance: `count` factors as prepare_importance() makes them (format/importance.hpp).
template <ImportanceFormat F>
void encode_row(const float* weights, std::byte* row, std::size_t count, const float* importance) {
  if (count == 0) return;  // `row` may be null
  std::byte* block = row + row_head_bytes<F>;
  if constexpr (RowScaledFormat<F>) {
    const float scale = F::fit(weights, count, importance);
    store_as(row, scale);
    for (std::size_t k = 0; k < count; k += F::block_weights, block += F::block_bytes) {
      F::encode(weights + k, scale, block, importance + k);
    }
  } else {
    for (std::size_t k = 0; k < count; k += F::block_weights, block += F::block_bytes) F::encode(weights + k, block, importance + k);
  }
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
