// SPDX-License-Identifier: Apache-2.0
//
// Operands for the tests of matmul: weights in file and packed form, activations, shapes.
#pragma once

#include <stilla/base/aligned.hpp>
#include <stilla/contract/activation_form.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/contract/matmul.hpp>
#include <stilla/pack.hpp>
#include <stilla/row_kernels.hpp>

#include <optional>
#include <utility>

#include "test_util.hpp"

namespace stilla_test {

// The matrix W[N, K], once in blocks of one format (`rows`) and once packed (`packed`). A read behind the end of either array
// crashes the program.
template <class F>
struct Weights {
  Weights(std::vector<std::byte> blocks, std::size_t N, std::size_t K)
      : rows(std::span<const std::byte>(blocks)), packed(packed_bytes<F>(N, K)), view{id_of<F>, N, K, packed.data()} {
    pack<F>(packed.data(), rows.data(), N, K);
  }
  Weights(std::uint32_t seed, std::size_t N, std::size_t K) : Weights(random_rows<F>(seed, N, K), N, K) {}

  const std::byte* row(std::size_t n) { return rows.data() + n * row_bytes<F>(view.cols); }

  GuardedArray<std::byte> rows;
  GuardedArray<std::byte> packed;
  PackedView view;
};

// Returns the numbers of bits of activations to test with: 8 and 16 if the format takes rounded activations. Formats that take
// floats get one entry, because a second test would have the same activations.
template <class F>
std::vector<ActivationBits> roundings_of() {
  if (QuantisedFormat<F>) return {ActivationBits::eight, ActivationBits::sixteen};
  return {ActivationBits::eight};
}

// Activations x[M, K] in the form that the format takes: rounded or floats. A read behind the end of any of their arrays crashes
// the program.
template <class F>
struct Activations {
  explicit Activations(ConstMatrix x, ActivationBits bits = ActivationBits::eight)
      : M(x.rows), K(x.cols), floats(M * K), values(M * K), scales(M * K / 32), sums(M * K / 16), scaled_sums(M * K / 32),
        rounded_sums(M * (K / 256)), low(bits == ActivationBits::sixteen ? M * K : 0), has_low(bits == ActivationBits::sixteen) {
    for (std::size_t m = 0; m < M; ++m) std::copy(x.row(m), x.row(m) + K, floats.data() + m * K);
    if constexpr (QuantisedFormat<F>) {
      for (std::size_t m = 0; m < M; ++m) {
        stilla::detail::row_kernel<QuantiseQ8>(Scalar::id)(values.data() + m * K, scales.data() + m * K / 32, sums.data() + m * K / 16,
                                                           scaled_sums.data() + m * K / 32, floats.data() + m * K, K / 32,
                                                           has_low ? low.data() + m * K : nullptr);
        for (std::size_t i = 0; i < K / 256; ++i) {
          set_rounded_sums(m, i, stilla::detail::round_sums(scaled_sums.data() + m * K / 32 + 8 * i));
        }
      }
      // If one of this CPU's targets has an arrangement of activations that only it reads, the arrangement is added to these
      // activations. All other targets ignore it.
      for_each_available_target([&](TargetId target) {
        if (arranged.data == nullptr) arrange(stilla::detail::activation_form(target));
      });
    }
  }
  Activations(std::uint32_t seed, std::size_t M_, std::size_t K_, ActivationBits bits = ActivationBits::eight)
      : Activations(ConstMatrix(noise_values(seed, M_ * K_).data(), M_, K_), bits) {}

  // Replaces the rounded sums of row m for the 256 columns from 256 * i on by `rounded`.
  void set_rounded_sums(std::size_t m, std::size_t i, const RoundedSums& rounded) {
    rounded_sums.data()[m * (K / 256) + i] = rounded;
    if (arranged.data != nullptr) form.arrange_sums(arranged, all(), m);
  }

  // Adds an arrangement of the current activations, which functions.arrange() writes. All its bytes are first set to 0xff; four
  // such bytes are a NaN as a float. So a test notices what was not written.
  void arrange(const stilla::detail::ActivationFormFunctions& functions) {
    const ActivationBits bits = has_low ? ActivationBits::sixteen : ActivationBits::eight;
    const std::size_t bytes = functions.bytes(M, K, bits);
    if (bytes == 0) return;
    ASSERT_TRUE(arranged_memory.resize(bytes));
    std::fill_n(arranged_memory.data(), bytes, std::byte{0xff});
    form = functions;
    arranged = {functions.id, arranged_memory.data(), M, K, 0, has_low};
    const ActivationQ8 from = all();
    for (std::size_t m = 0; m < M; ++m) {
      functions.arrange(arranged, from, m, 0, K / 32);
      functions.arrange_sums(arranged, from, m);
    }
  }

  // Returns rows [first, first + count) in the form in which matmul takes activations.
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
                          {arranged.form, arranged.data, arranged.rows, arranged.cols, first, has_low}};
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
  bool has_low;
  AlignedBuffer<std::byte> arranged_memory;
  stilla::detail::ActivationFormFunctions form{};
  ArrangedActivations arranged;
};

// Returns the numbers of columns (K) to test format F with: one block, two blocks, and more. For formats whose blocks are single
// weights, some of these numbers are multiples of no target's vector length.
template <class F>
std::vector<std::size_t> columns() {
  if (F::block_weights == 1) return {1, 2, 15, 16, 31, 33, 100};
  if (F::block_weights == 8) return {8, 16, 24, 104};
  if (F::block_weights == 32) return {32, 64, 96, 256, 544};
  if (F::block_weights == 128) return {128, 256, 896};
  return {256, 512, 768};
}
template <class F>
constexpr std::size_t some_columns = F::block_weights == 1    ? 70
                                     : F::block_weights == 8  ? 72
                                     : F::block_weights == 32 ? 96
                                                              : 512;

// The number of columns for tests of the kernels for many tokens. One of these kernels takes only rows whose length is a multiple
// of 64.
template <class F>
constexpr std::size_t many_columns = F::block_weights == 32 ? 128 : some_columns<F>;

// Returns a matrix W[N, K] of random blocks, in a format that is known only when the test runs.
inline PackedMatrix random_matrix(std::uint32_t seed, FormatId format, std::size_t N, std::size_t K) {
  std::optional<PackedMatrix> matrix;
  with_format(format, [&](auto tag) {
    using F = decltype(tag);
    const std::vector<std::byte> blocks = random_rows<F>(seed, N, K);
    Result<PackedMatrix> made = PackedMatrix::create(format, blocks.data(), N, K);
    if (made) matrix = std::move(*made);
  });
  EXPECT_TRUE(matrix.has_value());
  return std::move(*matrix);
}

}  // namespace stilla_test
