// SPDX-License-Identifier: Apache-2.0
//
// Operands for the tests of matmul: weights in file and packed form, activations, shapes.
#pragma once

#include <stilla/contract/elementwise.hpp>
#include <stilla/contract/matmul.hpp>
#include <stilla/layout/pack.hpp>
#include <stilla/scalar/elementwise.hpp>

#include "test_util.hpp"

namespace stilla_test {

// W[N, K] in blocks of one format, and packed, with nothing readable behind either.
template <class F>
struct Weights {
  Weights(std::vector<std::byte> blocks, std::size_t N, std::size_t K)
      : rows(std::span<const std::byte>(blocks)),
        packed(packed_bytes<F>(N, K)),
        view{id_of<F>, N, K, packed.data()} {
    pack<F>(packed.data(), rows.data(), N, K);
  }
  Weights(std::uint32_t seed, std::size_t N, std::size_t K)
      : Weights(random_rows<F>(seed, N, K), N, K) {}

  const std::byte* row(std::size_t n) { return rows.data() + n * row_bytes<F>(view.cols); }

  GuardedArray<std::byte> rows;
  GuardedArray<std::byte> packed;
  PackedView view;
};

// 8 and 16 bits where the format takes rounded activations; the same floats twice otherwise would be a waste.
template <class F>
std::vector<ActivationBits> roundings_of() {
  if (QuantisedFormat<F>) return {ActivationBits::eight, ActivationBits::sixteen};
  return {ActivationBits::eight};
}

// x[M, K] as the format takes it, with nothing readable behind any array.
template <class F>
struct Activations {
  explicit Activations(ConstMatrix x, ActivationBits bits = ActivationBits::eight)
      : M(x.rows),
        K(x.cols),
        floats(M * K),
        values(M * K),
        scales(M * K / 32),
        sums(M * K / 16),
        scaled_sums(M * K / 32),
        rounded_sums(M * (K / 256)),
        low(bits == ActivationBits::sixteen ? M * K : 0),
        tile_values((M + 16) * K),
        tile_low(bits == ActivationBits::sixteen ? (M + 16) * K : 0),
        tile_sums(K / 32 * (M + 16)),
        tile_rounded_sums((K / 256 + 1) / 2 * (M + 16) * 32),
        has_low(bits == ActivationBits::sixteen) {
    for (std::size_t m = 0; m < M; ++m) std::copy(x.row(m), x.row(m) + K, floats.data() + m * K);
    std::fill_n(tile_rounded_sums.data(), tile_rounded_sums.size(), std::uint16_t{0xffff});  // a NaN wherever nothing is stored
    if constexpr (QuantisedFormat<F>) {
      for (std::size_t m = 0; m < M; ++m) {
        QuantiseQ8<Scalar>::run(values.data() + m * K, scales.data() + m * K / 32, sums.data() + m * K / 16,
                                scaled_sums.data() + m * K / 32, floats.data() + m * K, K / 32,
                                has_low ? low.data() + m * K : nullptr);
        const TileActivations tiles = rows(0, M).tiles;
        const std::size_t stride = tiles.at(0, 1);
        TileValues<Scalar>::run(tile_values.data() + tiles.at(m, 0), stride, values.data() + m * K, scales.data() + m * K / 32,
                                K / 32, has_low ? 256.0f : 1.0f);
        if (has_low) {
          TileValues<Scalar>::run(tile_low.data() + tiles.at(m, 0), stride, low.data() + m * K, scales.data() + m * K / 32, K / 32,
                                  1.0f);
        }
        for (std::size_t b = 0; b < K / 32; ++b) tile_sums.data()[b * tiles.stride + m] = scaled_sums.data()[m * K / 32 + b];
        for (std::size_t i = 0; i < K / 256; ++i) {
          set_rounded_sums(m, i, stilla::detail::round_sums(scaled_sums.data() + m * K / 32 + 8 * i));
        }
        if (K / 256 % 2 != 0) stilla::detail::store_tile_sums(tile_rounded_sums.data() + tiles.sums_at(m, K / 256 * 256), {});
      }
    }
  }
  Activations(std::uint32_t seed, std::size_t M_, std::size_t K_, ActivationBits bits = ActivationBits::eight)
      : Activations(ConstMatrix(noise_values(seed, M_ * K_).data(), M_, K_), bits) {}

  // Those of row m's columns 256 * i and on.
  void set_rounded_sums(std::size_t m, std::size_t i, const RoundedSums& rounded) {
    rounded_sums.data()[m * (K / 256) + i] = rounded;
    stilla::detail::store_tile_sums(tile_rounded_sums.data() + TileActivations{.stride = M + 16}.sums_at(m, 256 * i), rounded);
  }

  // Rows [first, first + count) as the op's argument.
  auto rows(std::size_t first, std::size_t count) {
    if constexpr (QuantisedFormat<F>) {
      return ActivationQ8{values.data() + first * K,
                          scales.data() + first * K / 32,
                          sums.data() + first * K / 16,
                          scaled_sums.data() + first * K / 32,
                          rounded_sums.data() + first * (K / 256),
                          count,
                          K,
                          has_low ? low.data() + first * K : nullptr,
                          {tile_values.data() + 32 * first, has_low ? tile_low.data() + 32 * first : nullptr,
                           tile_sums.data() + first, tile_rounded_sums.data() + 32 * first, M + 16}};
    } else {
      return ConstMatrix(floats.data() + first * K, count, K);
    }
  }
  auto all() { return rows(0, M); }

  std::size_t M;
  std::size_t K;
  GuardedArray<float> floats;
  GuardedArray<std::int8_t> values;
  GuardedArray<float> scales;
  GuardedArray<std::int32_t> sums;
  GuardedArray<float> scaled_sums;
  GuardedArray<RoundedSums> rounded_sums;
  GuardedArray<std::int8_t> low;
  GuardedArray<std::uint16_t> tile_values;
  GuardedArray<std::uint16_t> tile_low;
  GuardedArray<float> tile_sums;
  GuardedArray<std::uint16_t> tile_rounded_sums;
  bool has_low;
};

// Numbers of columns: one block, two, and more; for float formats also what is no multiple of any vector.
template <class F>
std::vector<std::size_t> columns() {
  if (F::block_weights == 1) return {1, 2, 15, 16, 31, 33, 100};
  if (F::block_weights == 32) return {32, 64, 96, 256, 544};
  if (F::block_weights == 128) return {128, 256, 896};
  return {256, 512, 768};
}
template <class F>
constexpr std::size_t some_columns = F::block_weights == 1    ? 70
                                     : F::block_weights == 32 ? 96
                                                              : 512;

// The same where kernels for many tokens are meant, one of which takes rows of whole 64s only.
template <class F>
constexpr std::size_t many_columns = F::block_weights == 32 ? 128 : some_columns<F>;

}  // namespace stilla_test
