// SPDX-License-Identifier: Apache-2.0
//
// The specification of packing (contract/pack.hpp), for every format: weight by weight.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include <stilla/contract/pack.hpp>
#include <stilla/layout/pack.hpp>
#include <stilla/scalar/target.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

template <WeightFormat F>
struct PackPanel<Scalar, F> {
  static constexpr TargetId implemented_on = Scalar::id;

  static void run(std::byte* panel, const PanelRows& rows, std::size_t K) {
    // The panel is cleared by fill_n and not by memset, because for a matrix with K = 0 the panel has no bytes and its pointer may be
    // null.
    std::fill_n(panel, PanelLayout<F>::panel_bytes(K), std::byte{});
    for (std::size_t r = 0; r < rows.count; ++r) {
      const std::byte* row = rows.first + r * rows.stride_bytes;
      for (std::size_t k0 = 0; k0 < K; k0 += F::block_weights) {
        if constexpr (QuantisedFormat<F>) {
          put_block(panel, r, row, k0);
        } else {
          put_floats(panel, r, row, k0);
        }
      }
    }
  }

 private:
  // Packs one block of row r of the panel: the block of the file whose first weight has the number k0.
  static void put_block(std::byte* panel, std::size_t r, const std::byte* row, std::size_t k0) {
    using Layout = PanelLayout<F>;
    const std::byte* block = block_of<F>(row, k0);
    for (std::size_t k = 0; k < F::block_weights; ++k) {
      // A code of more than F::code_bits bits would also change the bits of neighbouring codes in the panel. The mask prevents
      // this.
      const auto code = static_cast<unsigned>(F::code(block, k)) & ((1u << F::code_bits) - 1);
      put_code(panel + Layout::codes_offset(k0 + k), r, (k0 + k) % code_block, code);
    }
    std::byte* record = panel + Layout::record_offset(k0);
    detail::put_scales<F>(panel, record, r, row, block);
    detail::put_sub_scales<F>(record, r, block);
  }

  // Writes the code of row r at position k of a block of 32 k. The bytes of the block were zeros before.
  static void put_code(std::byte* codes, std::size_t r, std::size_t k, unsigned code) {
    const std::size_t lane = r * 4 + k % 4;
    const auto put = [&](std::size_t line, unsigned bits) { codes[line * 64 + lane] |= static_cast<std::byte>(bits); };
    if constexpr (F::code_bits == 8) {
      put(k / 4, code);
    } else if constexpr (F::code_bits == 2) {
      put(k / 16, code << (k % 16 / 4 * 2));
    } else if constexpr (F::code_bits == 3) {
      if (k < 24) return put(k / 8, code << (k % 8 / 4 * 4));
      for (std::size_t line = 0; line < 3; ++line) put(line, (code >> line & 1u) << (k < 28 ? 3 : 7));
    } else {
      put(k / 8, (code & 15u) << (k % 8 / 4 * 4));
      if constexpr (F::code_bits == 5) put(4, code >> 4 << (k / 4));
      if constexpr (F::code_bits == 6) put(4 + k / 16, code >> 4 << (k % 16 / 4 * 2));
    }
  }

  static void put_floats(std::byte* panel, std::size_t r, const std::byte* row, std::size_t k) {
    using Storage = typename PanelFormat<F>::Storage;
    constexpr std::size_t element = sizeof(Storage);
    std::byte* first = panel + (k * panel_rows + r) * element;
    if constexpr (std::is_same_v<PanelFormat<F>, F>) {
      std::memcpy(first, row + k * element, element);
    } else {
      float weights[F::block_weights];
      decode_block<F>(row, k, weights);
      for (std::size_t i = 0; i < F::block_weights; ++i) {
        store_as(first + i * panel_rows * element, from_float<Storage>(weights[i]));
      }
    }
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
