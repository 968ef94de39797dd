// SPDX-License-Identifier: Apache-2.0
//
// Compares BFP16EBS8 (blocks of 8 weights that share an exponent) with AMD Quark's own kernel (golden/bfp16.bin, made by
// golden/make_bfp16_golden.py). Also tests that a bf16 can hold every weight of the format, what becomes of the smallest and the
// largest weights, and that all targets multiply the format as they multiply BF16.
#include <stilla/format/encode_rows.hpp>
#include <stilla/matmul.hpp>

#include <array>
#include <cmath>
#include <limits>

#include "test_util.hpp"

namespace {

using namespace stilla_test;
using Weights = std::array<float, 8>;
using Block = std::array<std::byte, 9>;

static_assert(row_bytes<BFP16EBS8>(64) == 72);
static_assert(std::is_same_v<PanelFormat<BFP16EBS8>, BF16> && std::is_same_v<PanelFormat<Q4_0>, Q4_0>);

Block encoded(const Weights& weights, Bfp16Ties ties = Bfp16Ties::to_even, Bfp16Overflow overflow = Bfp16Overflow::saturate) {
  Block block;
  BFP16EBS8::encode(weights.data(), block.data(), ties, overflow);
  return block;
}
Weights decoded(const Block& block) {
  Weights weights;
  BFP16EBS8::decode(block.data(), weights.data());
  return weights;
}
Block block_of_bytes(unsigned exponent, std::array<int, 8> mantissas) {
  Block block{static_cast<std::byte>(exponent)};
  for (std::size_t k = 0; k < 8; ++k) block[1 + k] = static_cast<std::byte>(mantissas[k]);
  return block;
}

TEST(Bfp16, EncodesAsQuark) {
  const std::vector<double>& input = golden_records("bfp16.bin").at("bfp16/input");
  ASSERT_GT(input.size(), 900u);
  std::size_t modes = 0, differences = 0, infinite = 0;
  const auto compare = [&](const std::string& name, Bfp16Ties ties, Bfp16Overflow overflow) {
    const std::vector<double>& expected = golden_records("bfp16.bin").at("bfp16/" + name);
    ASSERT_EQ(expected.size(), input.size());
    ++modes;
    for (std::size_t i = 0; i < input.size(); i += 8) {
      Weights weights;
      for (std::size_t k = 0; k < 8; ++k) weights[k] = static_cast<float>(input[i + k]);
      const Weights found = decoded(encoded(weights, ties, overflow)), usual = decoded(encoded(weights));
      differences += found != usual;
      bool is_finite = true;
      for (std::size_t k = 0; k < 8; ++k) is_finite = is_finite && std::isfinite(expected[i + k]);
      if (!is_finite) {  // Quark's weights are infinite only where the largest floats would need the exponent 255
        ++infinite;
        EXPECT_EQ(overflow, Bfp16Overflow::next_exponent);
        EXPECT_EQ(encoded(weights, ties, overflow)[0], std::byte{254});
      }
      for (std::size_t k = 0; k < 8; ++k) {
        ASSERT_TRUE(std::isfinite(found[k]));
        if (is_finite) {
          ASSERT_EQ(double{found[k]}, expected[i + k]) << name << ", block " << i / 8 << ": " << weights[k];
        }
      }
    }
  };
  compare("saturate/to_even", Bfp16Ties::to_even, Bfp16Overflow::saturate);
  EXPECT_EQ(differences, 0u) << "what encode() does";
  constexpr std::pair<const char*, Bfp16Overflow> overflows[] = {{"saturate", Bfp16Overflow::saturate},
                                                                 {"next_exponent", Bfp16Overflow::next_exponent}};
  constexpr std::pair<const char*, Bfp16Ties> all_ties[] = {
      {"to_even", Bfp16Ties::to_even}, {"away_from_zero", Bfp16Ties::away_from_zero}, {"up", Bfp16Ties::up}};
  for (const auto& [overflow, o] : overflows) {
    for (const auto& [ties, t] : all_ties) {
      differences = 0;
      compare(concat(overflow, "/", ties), t, o);
      if (t != Bfp16Ties::to_even || o != Bfp16Overflow::saturate) {
        EXPECT_GT(differences, 10u) << overflow << '/' << ties << ": the data does not tell it from the usual way";
      }
    }
  }
  EXPECT_EQ(modes, 7u);
  EXPECT_GT(infinite, 0u);
}

// For every exponent and mantissa of BFP16EBS8, the decoded weight is mantissa * 2^(exponent - 133), and a bf16 can hold it. Only
// -128 with the largest exponent, 254, is beyond the numbers of bf16 and becomes -infinity.
TEST(Bfp16, EveryWeightIsABf16) {
  for (unsigned exponent = 0; exponent < 255; ++exponent) {
    for (int first = -128; first < 128; first += 8) {
      std::array<int, 8> mantissas;
      for (std::size_t k = 0; k < 8; ++k) mantissas[k] = first + static_cast<int>(k);
      const Weights weights = decoded(block_of_bytes(exponent, mantissas));
      for (std::size_t k = 0; k < 8; ++k) {
        const double value = std::ldexp(first + static_cast<int>(k), static_cast<int>(exponent) - 133);
        ASSERT_EQ(double{weights[k]}, exponent == 254 && first == -128 && k == 0 ? -HUGE_VAL : value);
        ASSERT_TRUE(same_bits(to_float(to_bf16(weights[k])), weights[k]));
      }
    }
  }
}

TEST(Bfp16, TheEndsOfTheRange) {
  constexpr float most = std::numeric_limits<float>::max(), nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(encoded({most, -most, 0x1p127f, 0, 0, 0, 0, 0}), block_of_bytes(254, {127, -127, 64, 0, 0, 0, 0, 0}));
  EXPECT_EQ(decoded(encoded({most}))[0], 0x1.fcp127f);
  EXPECT_EQ(encoded({0x1p-133f, 0x1.8p-133f, -0x1p-134f, 0x1.8p-127f, 1e-45f}), block_of_bytes(0, {1, 2, 0, 96, 0, 0, 0, 0}));
  EXPECT_EQ(encoded({-0.0f}), Block{});
  EXPECT_EQ(encoded({nan, 1.0f, -HUGE_VALF, HUGE_VALF}), block_of_bytes(127, {0, 64, -127, 127, 0, 0, 0, 0}));
  EXPECT_EQ(encoded({nan, -nan}), Block{});
  for (const float w : decoded(block_of_bytes(255, {0, 1, 2, 3, 4, 5, 6, 7}))) EXPECT_TRUE(std::isnan(w));
  EXPECT_EQ(decoded(block_of_bytes(254, {-128, 0, 0, 0, 0, 0, 0, 0}))[0], -HUGE_VALF);
}

TEST(Bfp16, EncodeRowsNamesTheWeightThatIsNotFinite) {
  std::vector<float> values = noise_values(1, 32);
  values[21] = HUGE_VALF;
  std::vector<std::byte> blocks(*encoded_bytes(id_of<BFP16EBS8>, 2, 16));
  const Result<EncodingReport> report = encode_rows<BFP16EBS8>(blocks, ConstMatrix(values.data(), 2, 16));
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().message, "row 1, column 5: inf cannot be encoded as bfp16ebs8");
  EXPECT_EQ(encoded_bytes(id_of<BFP16EBS8>, 2, 12).error().message, "12 columns are not a multiple of the bfp16ebs8 block of 8");
}

// A matrix in BFP16EBS8 has the same packed panels as the same weights in BF16, and gives the same products.
TEST(Bfp16, IsMultipliedAsBf16) {
  constexpr std::size_t N = 37, K = 72, M = 5;
  const std::vector<std::byte> rows = random_rows<BFP16EBS8>(3, N, K);
  std::vector<bf16> same(N * K);
  std::vector<float> row(K);
  for (std::size_t n = 0; n < N; ++n) {
    decode_row<BFP16EBS8>(rows.data() + n * row_bytes<BFP16EBS8>(K), row.data(), K);
    for (std::size_t k = 0; k < K; ++k) same[n * K + k] = to_bf16(row[k]);
  }
  const auto ours = PackedMatrix::create<BFP16EBS8>(rows.data(), N, K);
  const auto theirs = PackedMatrix::create<BF16>(reinterpret_cast<const std::byte*>(same.data()), N, K);
  ASSERT_TRUE(ours && theirs);
  ASSERT_EQ(ours->bytes(), theirs->bytes());
  EXPECT_EQ(std::memcmp(ours->view().data, theirs->view().data, ours->bytes()), 0);
  const std::vector<float> x = noise_values(4, M * K);
  for_each_available_target([&](TargetId target) {
    const OnTarget on(target);
    ActivationBuffer unused;
    std::vector<float> y(M * N), z(M * N);
    ASSERT_TRUE(matmul(Matrix(y.data(), M, N), *ours, ConstMatrix(x.data(), M, K), unused));
    ASSERT_TRUE(matmul(Matrix(z.data(), M, N), *theirs, ConstMatrix(x.data(), M, K), unused));
    EXPECT_TRUE(same_bits(y, z)) << target.name;
  });
}

}  // namespace
