// SPDX-License-Identifier: Apache-2.0
//
// The common parts of formats with evenly spaced levels. They have one scale for each block, with or without a minimum, and codes
// of 4 or 5 bits. The header of each such format shows its bytes. The format derives from SymmetricFormat or from MinimumFormat and
// says where its codes lie:
//
//     code(block, k)                 code k of a block
//     store_codes(block, code_of)    stores code_of(k) for all k; calls code_of once for each k
#pragma once

#include <cstddef>
#include <cstdint>

#include <stilla/base/types.hpp>
#include <stilla/format/rounding.hpp>
#include <stilla/format/scale_search.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

// Replaces a nibble of a byte: the low one if `shift` is 0, the high one if it is 4.
constexpr void set_nibble(std::byte& pair, unsigned shift, int code) {
  pair = (pair & ~(std::byte{15} << shift)) | static_cast<std::byte>(code) << shift;
}

// These functions read, set and store 32 codes of 4 bits in 16 bytes. The low nibble of byte j is code[j], the high one
// code[j + 16].
constexpr int split_nibble(const std::byte* codes, std::size_t k) {
  const unsigned pair = std::to_integer<unsigned>(codes[k % 16]);
  return static_cast<int>(k < 16 ? pair & 15u : pair >> 4);
}
constexpr void set_split_nibble(std::byte* codes, std::size_t k, int code) { set_nibble(codes[k % 16], k < 16 ? 0 : 4, code); }
template <class Code>
void store_split_nibbles(std::byte* codes, const Code& code_of) {
  for (std::size_t j = 0; j < 16; ++j) codes[j] = static_cast<std::byte>(code_of(j) | code_of(j + 16) << 4);
}

// These functions read and store any even number of codes of 4 bits. The low nibble of byte j is code[2j], the high one
// code[2j + 1].
constexpr int paired_nibble(const std::byte* codes, std::size_t k) {
  return std::to_integer<int>(codes[k / 2] >> (k % 2 * 4) & std::byte{15});
}
template <class Code>
void store_paired_nibbles(std::byte* codes, std::size_t count, const Code& code_of) {
  for (std::size_t k = 0; k < count; k += 2) codes[k / 2] = static_cast<std::byte>(code_of(k) | code_of(k + 1) << 4);
}

constexpr void set_paired_nibble(std::byte* codes, std::size_t k, int code) { set_nibble(codes[k / 2], k % 2 * 4, code); }

// These functions read and store 32 codes of 5 bits. The lower four bits stand in 16 bytes: in byte j, the low nibble belongs to
// code[j] and the high one to code[j + 16]. The fifth bit of code[k] is bit k of a word of 32 bits.
constexpr int split_code5(const std::byte* word, const std::byte* codes, std::size_t k) {
  return split_nibble(codes, k) | static_cast<int>((load_as<std::uint32_t>(word) >> k & 1u) << 4);
}
template <class Code>
void store_split_codes5(std::byte* word, std::byte* codes, const Code& code_of) {
  std::uint32_t high_bits = 0;
  store_split_nibbles(codes, [&](std::size_t k) {
    const unsigned code = code_of(k);
    high_bits |= code >> 4 << k;
    return code & 15u;
  });
  store_as(word, high_bits);
}

// What formats without a minimum have in common: weight[k] = scale * (code[k] - 2^bits / 2), where a code has `bits` bits. A block
// begins with its scale, an f16.
template <class F, unsigned bits>
struct SymmetricFormat {
  // The following members describe the codes and scales of the format to the kernels that multiply integers. format/format.hpp says
  // what each of them means.
  static constexpr unsigned code_bits = bits;
  static constexpr int zero_point = 1 << (bits - 1);
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = false;
  static constexpr bool has_minimum = false;
  static constexpr bool is_codebook = false;

  static f16 scale(const std::byte* block) { return load_as<f16>(block); }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    for (std::size_t k = 0; k < F::block_weights; ++k) {
      weights[k] = d * static_cast<float>(F::code(block, k) - zero_point);
    }
  }

  // The weight of the largest magnitude becomes code 0, and its sign goes into the scale, as in ggml's reference encoder.
  static void encode(const float* weights, std::byte* block) {
    constexpr auto zero = static_cast<float>(zero_point);
    const float d = extreme_of(weights, F::block_weights) / -zero;
    const float inverse = inverse_scale(d);
    store_as(block, to_f16(d));
    F::store_codes(block, [&](std::size_t k) { return truncated_code(rounded(weights[k] * inverse) + (zero + 0.5f), (1u << bits) - 1); });
  }

  // Encodes a block with importance: chooses the scale by least squares (format/scale_search.hpp), then the codes whose decoded
  // weights are nearest to the given ones.
  static void encode(const float* weights, std::byte* block, const float* importance) {
    if (importance == nullptr) return encode(weights, block);
    const auto nearest = [](float x) { return nearest_level(x, -zero_point, zero_point - 1); };
    const f16 stored = to_f16(fit_scale(weights, F::block_weights, static_cast<float>(-zero_point), nearest, importance));
    const float inverse = inverse_scale(to_float(stored));
    store_as(block, stored);
    F::store_codes(block, [&](std::size_t k) { return static_cast<unsigned>(nearest(rounded(weights[k] * inverse)) + zero_point); });
  }
};

// What formats with a minimum have in common: weight[k] = scale * code[k] + minimum. A block begins with its scale and its minimum,
// both f16.
template <class F, unsigned bits>
struct MinimumFormat {
  static constexpr unsigned code_bits = bits;
  static constexpr int zero_point = 0;
  static constexpr std::size_t group_weights = 32;
  static constexpr bool has_sub_scales = false;
  static constexpr bool has_minimum = true;
  static constexpr bool is_codebook = false;

  static f16 scale(const std::byte* block) { return load_as<f16>(block); }
  static f16 minimum(const std::byte* block) { return load_as<f16>(block + 2); }

  static void decode(const std::byte* block, float* weights) {
    const float d = to_float(scale(block));
    const float m = to_float(minimum(block));
    for (std::size_t k = 0; k < F::block_weights; ++k) weights[k] = d * static_cast<float>(F::code(block, k)) + m;
  }

  // The smallest weight becomes code 0 and the largest weight becomes the last code, as in ggml's reference encoder.
  static void encode(const float* weights, std::byte* block) {
    constexpr unsigned last = (1u << bits) - 1;
    const Range range = range_of(weights, F::block_weights);
    const float d = (range.most - range.least) / static_cast<float>(last);
    const float inverse = inverse_scale(d);
    store_as(block, to_f16(d));
    store_as(block + 2, to_f16(range.least));
    F::store_codes(block, [&](std::size_t k) { return truncated_code(rounded((weights[k] - range.least) * inverse) + 0.5f, last); });
  }
};

}}}  // namespace stilla::detail

#include <stilla/base/pop_macros-inl.hpp>
