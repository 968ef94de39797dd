// SPDX-License-Identifier: Apache-2.0
//
// Tests of the int4 formats that the software of NPUs takes and GGUF does not have: LPBQ and UINT4_G128. The tests decode rows
// with code of their own, as the drawings in the formats' headers say, and check how good the encoders' choices are.
#include <stilla/format/lpbq.hpp>
#include <stilla/format/uint4_g128.hpp>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

static_assert(row_bytes<LPBQ32>(896) == 4 + 28 * 17 && row_bytes<LPBQ64>(896) == 4 + 14 * 33 && row_bytes<LPBQ128>(896) == 4 + 7 * 65);
static_assert(row_bytes<UINT4_G128>(896) == 7 * 67);
static_assert(RowScaledFormat<LPBQ32> && RowScaledFormat<LPBQ64> && RowScaledFormat<LPBQ128> && !RowScaledFormat<UINT4_G128>);

std::vector<float> normal_row(std::uint32_t seed, std::size_t K) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> row(K);
  for (std::size_t k = 0; k < K; ++k) row[k] = normal(random) * (k % 200 == 7 ? 6.0f : 1.0f);
  return row;
}

template <class F>
class Lpbq : public testing::Test {};
using LpbqFormats = testing::Types<LPBQ32, LPBQ64, LPBQ128>;
TYPED_TEST_SUITE(Lpbq, LpbqFormats);

TYPED_TEST(Lpbq, RowsDecodeAsDrawn) {
  using F = TypeParam;
  constexpr std::size_t K = 384, B = F::block_weights;
  for (std::uint32_t seed = 0; seed < 50; ++seed) {
    const std::vector<std::byte> row = random_rows<F>(seed, 1, K);
    std::vector<float> found(K);
    decode_row<F>(row.data(), found.data(), K);
    const auto row_scale = load_as<float>(row.data());
    for (std::size_t k = 0; k < K; ++k) {
      const std::byte* block = row.data() + 4 + k / B * (1 + B / 2);
      const int pair = std::to_integer<int>(block[1 + k % B / 2]);
      const int level = (k % 2 == 0 ? pair % 16 : pair / 16) - 8;
      const float step = row_scale * static_cast<float>(std::to_integer<int>(block[0]) % 16);
      ASSERT_EQ(found[k], step * static_cast<float>(level)) << k;
    }
  }
}

// A decoded weight of LPBQ is an integer of at most 7 bits (15 * 8) times a row scale of 16 bits. So it is exact in float, in
// whatever order the factors are multiplied. Block scales must be at least 1, because QNN takes no 0.
TYPED_TEST(Lpbq, EncodedRowsAreExactAndInRange) {
  using F = TypeParam;
  constexpr std::size_t K = 512, B = F::block_weights;
  for (std::uint32_t seed = 0; seed < 50; ++seed) {
    const std::vector<float> weights = normal_row(seed, K);
    std::vector<std::byte> row(row_bytes<F>(K));
    std::vector<float> decoded(K);
    encode_row<F>(weights.data(), row.data(), K);
    decode_row<F>(row.data(), decoded.data(), K);
    const auto row_scale = load_as<float>(row.data());
    ASSERT_EQ(std::bit_cast<std::uint32_t>(row_scale) & 0xffu, 0u);
    int most = 0;
    for (std::size_t k = 0; k < K; ++k) {
      const std::byte* block = row.data() + 4 + k / B * (1 + B / 2);
      const int block_scale = std::to_integer<int>(block[0]);
      ASSERT_TRUE(block_scale >= 1 && block_scale <= 15);
      most = std::max(most, block_scale);
      const double exact = double{row_scale} * block_scale * (F::code(block, k % B) - 8);
      ASSERT_EQ(static_cast<double>(decoded[k]), exact);
    }
    EXPECT_GE(most, 14);  // block scales use their whole range
  }
}

template <class F>
double relative_error(std::uint32_t seed, std::size_t K) {
  const std::vector<float> weights = normal_row(seed, K);
  std::vector<std::byte> row(row_bytes<F>(K));
  std::vector<float> decoded(K);
  encode_row<F>(weights.data(), row.data(), K);
  decode_row<F>(row.data(), decoded.data(), K);
  double error = 0, power = 0;
  for (std::size_t k = 0; k < K; ++k) {
    error += std::pow(double{decoded[k]} - double{weights[k]}, 2);
    power += std::pow(double{weights[k]}, 2);
  }
  return error / power;
}

// Some weights of the rows are much larger than the others. Formats with small blocks have smaller errors than formats with
// large ones, and all of them have smaller errors than a format with one scale for each row.
TEST(NpuFormats, SmallerBlocksLoseLess) {
  double of_32 = 0, of_64 = 0, of_128 = 0, of_row = 0;
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    of_32 += relative_error<LPBQ32>(seed, 1024);
    of_64 += relative_error<LPBQ64>(seed, 1024);
    of_128 += relative_error<LPBQ128>(seed, 1024);
    of_row += relative_error<INT4_CHANNEL>(seed, 1024);
  }
  EXPECT_LT(of_32, 0.9 * of_64);
  EXPECT_LT(of_64, 0.9 * of_128);
  EXPECT_LT(of_128, 0.95 * of_row);
}

TEST(Uint4G128, BlocksDecodeAsDrawn) {
  for (std::uint32_t seed = 0; seed < 50; ++seed) {
    const std::vector<std::byte> block = random_rows<UINT4_G128>(seed, 1, 128);
    std::vector<float> found(128);
    decode_row<UINT4_G128>(block.data(), found.data(), 128);
    const float scale = to_float(load_as<f16>(block.data()));
    for (std::size_t k = 0; k < 128; ++k) {
      const int pair = std::to_integer<int>(block[3 + k / 2]);
      const int code = k % 2 == 0 ? pair % 16 : pair / 16;
      ASSERT_EQ(found[k], scale * static_cast<float>(code - std::to_integer<int>(block[2]) % 16)) << k;
    }
  }
}

// Weights of the form scale * (code - zero point), as models of AWQ and GPTQ have them, are encoded in UINT4_G128 and decoded
// without change. So these models lose nothing.
TEST(Uint4G128, WeightsOfItsKindSurvive) {
  for (int zero = 0; zero < 16; ++zero) {
    std::vector<float> weights(128), decoded(128);
    for (std::size_t k = 0; k < 128; ++k) weights[k] = 0.0078125f * static_cast<float>(static_cast<int>(k * 7 % 16) - zero);
    std::vector<std::byte> block(UINT4_G128::block_bytes);
    encode_row<UINT4_G128>(weights.data(), block.data(), 128);
    decode_row<UINT4_G128>(block.data(), decoded.data(), 128);
    EXPECT_EQ(UINT4_G128::zero(block.data()), zero);
    EXPECT_EQ(weights, decoded);
  }
}

}  // namespace
