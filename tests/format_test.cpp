// SPDX-License-Identifier: Apache-2.0
//
// Tests of weight formats. Decoding and encoding are compared with gguf-py bit for bit (golden/formats.bin, made by
// golden/make_format_golden.py). The codes and scales that integer kernels read are compared with decoding. Conversions of halves
// and bfloats are tested at every rounding boundary.
#include <stilla/format/format.hpp>
#include <stilla/format/format_name.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "test_util.hpp"

namespace {

using namespace stilla;
using stilla_test::is_gguf_type;

struct Golden {
  std::vector<std::byte> blocks;
  std::vector<float> weights;
};

enum class Kind : std::uint32_t { decode = 0, encode = 1 };

const std::vector<char>& golden_bytes() {
  static const std::vector<char> bytes = [] {
    std::ifstream file(std::string(stilla_test::test_data) + "/formats.bin", std::ios::binary);
    return std::vector<char>(std::istreambuf_iterator<char>(file), {});
  }();
  return bytes;
}

// Returns the blocks and weights that the golden file has for format F. Both are empty if it has none, as for formats that GGUF
// files do not know.
template <class F>
Golden golden(Kind kind) {
  const std::vector<char>& bytes = golden_bytes();
  Golden out;
  for (std::size_t at = 0; at + 12 <= bytes.size();) {
    std::uint32_t head[3];
    std::memcpy(head, bytes.data() + at, sizeof head);
    at += sizeof head;
    std::size_t block_bytes = 0;
    std::size_t block_weights = 0;
    const bool known = with_format(format_of_gguf_type(head[0]).value_or(no_format), [&]<class G>(G) {
      block_bytes = G::block_bytes;
      block_weights = G::block_weights;
    });
    if (!known) break;
    const std::size_t packed = head[2] * block_bytes;
    const std::size_t weights = head[2] * block_weights;
    if (format_of_gguf_type(head[0]) == id_of<F> && head[1] == static_cast<std::uint32_t>(kind)) {
      out.blocks.resize(packed);
      out.weights.resize(weights);
      std::memcpy(out.blocks.data(), bytes.data() + at, packed);
      std::memcpy(out.weights.data(), bytes.data() + at + packed, weights * sizeof(float));
    }
    at += packed + weights * sizeof(float);
  }
  return out;
}

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

template <class F>
class FormatTest : public ::testing::Test {};
TYPED_TEST_SUITE(FormatTest, stilla_test::AsGtestTypes<Formats>::Types, stilla_test::FormatNames);

TYPED_TEST(FormatTest, DecodesAsGgufPy) {
  using F = TypeParam;
  const Golden expected = golden<F>(Kind::decode);
  if (!is_gguf_type<F>) GTEST_SKIP() << F::name << " is not a GGUF type";
  ASSERT_FALSE(expected.blocks.empty());
  std::vector<float> weights(F::block_weights + 1);
  for (std::size_t b = 0; b * F::block_bytes < expected.blocks.size(); ++b) {
    // The block is copied to memory of exactly its size and at an odd address, so that a sanitizer sees any byte that is read
    // behind the block.
    std::vector<std::byte> storage(F::block_bytes + 1);
    std::memcpy(storage.data() + 1, expected.blocks.data() + b * F::block_bytes, F::block_bytes);
    weights.back() = 12345.0f;
    decode_row<F>(storage.data() + 1, weights.data(), F::block_weights);
    EXPECT_EQ(weights.back(), 12345.0f);
    for (std::size_t k = 0; k < F::block_weights; ++k) {
      ASSERT_EQ(bits(weights[k]), bits(expected.weights[b * F::block_weights + k])) << "block " << b << " weight " << k;
    }
  }
}

TYPED_TEST(FormatTest, EncodesAsGgufPy) {
  using F = TypeParam;
  const Golden expected = golden<F>(Kind::encode);
  if (expected.blocks.empty()) GTEST_SKIP() << "gguf-py has no encoder for " << F::name;
  if constexpr (EncodableFormat<F>) {
    std::vector<std::byte> block(F::block_bytes);
    for (std::size_t b = 0; b * F::block_bytes < expected.blocks.size(); ++b) {
      encode_row<F>(expected.weights.data() + b * F::block_weights, block.data(), F::block_weights);
      for (std::size_t i = 0; i < F::block_bytes; ++i) {
        ASSERT_EQ(block[i], expected.blocks[b * F::block_bytes + i])
            << "block " << b << " byte " << i << " first weight " << expected.weights[b * F::block_weights];
      }
    }
  } else {
    FAIL() << F::name << " has no encoder";
  }
}

// Weights that the test computes from a block's codes, scales and minimums, as integer kernels use them, equal the weights that
// decode_row() returns.
TYPED_TEST(FormatTest, PartsReproduceDecode) {
  using F = TypeParam;
  if constexpr (QuantisedFormat<F>) {
    constexpr std::size_t row = row_bytes<F>(F::block_weights);
    Golden expected = golden<F>(Kind::decode);
    if (!is_gguf_type<F>) {
      expected.blocks = stilla_test::random_rows<F>(2, 64, F::block_weights);
      expected.weights.resize(64 * F::block_weights);
      for (std::size_t b = 0; b < 64; ++b) {
        decode_row<F>(expected.blocks.data() + b * row, expected.weights.data() + b * F::block_weights, F::block_weights);
      }
    }
    ASSERT_FALSE(expected.blocks.empty());
    for (std::size_t b = 0; b * row < expected.blocks.size(); ++b) {
      const std::byte* block = block_of<F>(expected.blocks.data() + b * row, 0);
      for (std::size_t k = 0; k < F::block_weights; ++k) {
        const std::size_t g = k / F::group_weights;
        const int code = F::code(block, k);
        if constexpr (F::code_bits == 8) {
          ASSERT_TRUE(code >= -128 && code <= 127);
        } else {
          ASSERT_TRUE(code >= 0 && code < 1 << F::code_bits);
        }
        float scale = to_float(F::scale(expected.blocks.data() + b * row));
        if constexpr (F::has_sub_scales) scale *= static_cast<float>(F::sub_scale(block, g));
        float weight = 0;
        if constexpr (F::is_codebook) {
          weight = scale * static_cast<float>(F::codebook[static_cast<std::size_t>(code)]);
        } else {
          weight = scale * static_cast<float>(code - F::zero_point);
        }
        if constexpr (F::has_minimum) {
          float minimum = to_float(F::minimum(block));
          if constexpr (F::has_sub_scales) minimum *= static_cast<float>(F::sub_minimum(block, g));
          weight += minimum;
        }
        ASSERT_EQ(bits(weight), bits(expected.weights[b * F::block_weights + k])) << "block " << b << " weight " << k;
      }
    }
  }
}

TYPED_TEST(FormatTest, ZeroBlocksStayZero) {
  using F = TypeParam;
  std::vector<std::byte> block(row_bytes<F>(F::block_weights));
  std::vector<float> weights(F::block_weights, 1.0f);
  decode_row<F>(block.data(), weights.data(), F::block_weights);  // a block whose bits are all zero
  for (const float w : weights) EXPECT_EQ(w, 0.0f);
  if constexpr (EncodableFormat<F>) {
    std::fill(block.begin(), block.end(), std::byte{0xff});
    encode_row<F>(weights.data(), block.data(), F::block_weights);
    std::fill(weights.begin(), weights.end(), 1.0f);
    decode_row<F>(block.data(), weights.data(), F::block_weights);
    for (const float w : weights) EXPECT_EQ(w, 0.0f);
  }
}

// Weights that are encoded and decoded again change by at most half the distance between two neighbouring values that a block can
// hold, plus the rounding of the scale and the minimum to halves.
TYPED_TEST(FormatTest, RoundTripErrorIsBounded) {
  using F = TypeParam;
  if constexpr (EncodableFormat<F>) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0.0f, 1.0f);
    std::vector<float> weights(F::block_weights);
    std::vector<float> decoded(F::block_weights);
    std::vector<std::byte> block(row_bytes<F>(F::block_weights));
    for (int round = 0; round < 200; ++round) {
      for (float& w : weights) w = normal(random);
      encode_row<F>(weights.data(), block.data(), F::block_weights);
      decode_row<F>(block.data(), decoded.data(), F::block_weights);
      float largest = 0;
      for (const float w : weights) largest = std::max(largest, std::fabs(w));
      // A bf16 keeps 8 bits of each weight. bfp16ebs8 keeps 8 bits of the largest weight of a block. The values that the block's
      // other weights can have lie as far apart as those around the largest weight.
      float bound = largest * (F::block_weights == 1 ? 0x1p-8f : 0x1p-7f);
      if constexpr (QuantisedFormat<F>) {
        // For quantised formats, `bound` is computed from the step, which is the distance between the values of two neighbouring
        // codes. In the worst case the codes of a block must cover [-largest, largest], where `largest` is the highest magnitude of
        // its weights. Symmetric formats have one code less on one side of 0, so the extreme weight of this side may be a whole
        // step away from its code's value. Scales and minimums are halves, which keep 11 bits. In UINT4_G128 the code and the zero
        // point have 4 bits each, so their difference has 5 bits.
        constexpr bool has_zero_point = std::is_same_v<F, UINT4_G128>;
        constexpr unsigned bits = has_zero_point ? 4 : F::code_bits;
        const int levels = bits == 8 ? 254 : (1 << bits) - (F::has_minimum || has_zero_point ? 1 : 0);
        bound = 2 * largest / static_cast<float>(levels) * (F::has_minimum || bits == 8 ? 0.5f : 1.0f) + largest * 0x1p-9f;
        // An encoder that searches for the best scales may clip extreme weights by 9/8 of the distance between two neighbouring
        // codes' values. It also rounds the scale and minimum of each group to an integer times the scale and minimum of the block.
        // `bound` assumes that these integers go up to 63, or, in formats with sub-minimums of 4 bits, up to 15; then the rounding
        // adds more to `bound`.
        if (F::has_sub_scales || RowScaledFormat<F>)
          bound += largest * (2 * 1.125f / static_cast<float>(levels) + 3.0f / (has_nibble_minimums<F> ? 30 : 126));
      }
      for (std::size_t k = 0; k < F::block_weights; ++k) {
        ASSERT_LE(std::fabs(decoded[k] - weights[k]), bound) << "round " << round << " weight " << k;
      }
    }
  }
}

// Returns the mean squared error of encoding in format F, over 2^14 weights. The weights are nearly normal, and they are made of
// integers, so they are the same on every platform.
template <class F>
double mean_squared_error() {
  std::mt19937 random(3);
  std::vector<float> weights(F::block_weights);
  std::vector<float> decoded(F::block_weights);
  std::vector<std::byte> block(row_bytes<F>(F::block_weights));
  double sum = 0;
  constexpr std::size_t n_weights = 1 << 14;
  for (std::size_t b = 0; b < n_weights / F::block_weights; ++b) {
    for (float& w : weights) {
      std::int64_t total = -6 * (std::int64_t{1} << 20);
      for (int i = 0; i < 12; ++i) total += static_cast<std::int64_t>(random() >> 12);
      w = static_cast<float>(total) * 0x1p-20f;
    }
    encode_row<F>(weights.data(), block.data(), F::block_weights);
    decode_row<F>(block.data(), decoded.data(), F::block_weights);
    for (std::size_t k = 0; k < F::block_weights; ++k) {
      const double error = static_cast<double>(decoded[k]) - static_cast<double>(weights[k]);
      sum += error * error;
    }
  }
  return sum / n_weights;
}

// The encoders of some formats search for the best scales. The error of such a format must be clearly below that of a simpler or
// smaller format, or below the least error that evenly spaced levels can have.
TEST(Formats, SearchedScalesBeatPlainOnes) {
  // The weights have variance 1. The least mean squared error that four evenly spaced levels can have is 0.119 (Max, 1960).
  EXPECT_LT(mean_squared_error<Q2_K>(), 0.11);
  EXPECT_LT(mean_squared_error<Q3_K>(), 0.037);  // the least error of eight evenly spaced levels is 0.0374
  EXPECT_LT(mean_squared_error<Q4_K>(), 0.75 * mean_squared_error<Q4_0>());
  EXPECT_LT(mean_squared_error<Q5_K>(), 0.75 * mean_squared_error<Q5_0>());
  EXPECT_LT(mean_squared_error<Q6_K>(), 0.3 * mean_squared_error<Q5_K>());
  EXPECT_LT(mean_squared_error<IQ4_NL>(), 0.85 * mean_squared_error<Q4_0>());
  EXPECT_LT(mean_squared_error<IQ4_XS>(), 0.9 * mean_squared_error<Q4_0>());
  EXPECT_LT(mean_squared_error<ST4>(), 0.9 * mean_squared_error<IQ4_XS>());
}

// If weights are NaN, or too large for any scale of the format, the encoder must not trap. It may encode them as anything.
TYPED_TEST(FormatTest, EncodesAnyBitsWithoutTrap) {
  using F = TypeParam;
  if constexpr (EncodableFormat<F>) {
    std::mt19937 random(5);
    std::vector<float> weights(F::block_weights);
    std::vector<std::byte> block(row_bytes<F>(F::block_weights));
    for (int round = 0; round < 300; ++round) {
      for (float& w : weights) w = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
      encode_row<F>(weights.data(), block.data(), F::block_weights);
      for (float& w : weights) w = round % 3 == 0 ? NAN : round % 3 == 1 ? -INFINITY : 1e-44f;
      encode_row<F>(weights.data(), block.data(), F::block_weights);
    }
  }
}

// Weights that were encoded and decoded stay the same if they are encoded and decoded once more. The second encoding finds the
// same scale, because the extreme weight has the extreme code.
TYPED_TEST(FormatTest, EncodingDecodedWeightsIsIdempotent) {
  using F = TypeParam;
  // Formats whose encoder searches for the scales are left out: a second search may find other scales that are as good.
  constexpr bool searched = [] {
    if constexpr (QuantisedFormat<F>) return F::has_sub_scales || F::is_codebook || RowScaledFormat<F>;
    return false;
  }();
  if constexpr (EncodableFormat<F> && !searched) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    std::vector<float> weights(F::block_weights);
    std::vector<float> once(F::block_weights);
    std::vector<float> twice(F::block_weights);
    std::vector<std::byte> block(row_bytes<F>(F::block_weights));
    for (int round = 0; round < 500; ++round) {
      for (float& w : weights) w = normal(random);
      encode_row<F>(weights.data(), block.data(), F::block_weights);
      decode_row<F>(block.data(), once.data(), F::block_weights);
      encode_row<F>(once.data(), block.data(), F::block_weights);
      decode_row<F>(block.data(), twice.data(), F::block_weights);
      for (std::size_t k = 0; k < F::block_weights; ++k) ASSERT_EQ(bits(once[k]), bits(twice[k])) << round << " " << k;
    }
  }
}

TEST(Formats, AreFoundByTheirIds) {
  EXPECT_FALSE(with_format(no_format, [](auto) {}));
  EXPECT_FALSE(with_format(format_id("q1_k"), [](auto) {}));
  EXPECT_TRUE(with_format(format_id("q4_k"), []<class F>(F) { EXPECT_EQ(F::name, "q4_k"); }));
  EXPECT_EQ(row_bytes<Q6_K>(512), 420u);
}

// The ids of formats are stored in files, so they must never change. They are FNV-1a hashes of the names; the hashes of "" and
// "a" are published.
TEST(Formats, IdsAreHashesOfNames) {
  EXPECT_EQ(format_id(""), FormatId{0x811c9dc5});
  EXPECT_EQ(format_id("a"), FormatId{0xe40c292c});
  for_each_type(Formats{}, [&]<class F>(F) {
    EXPECT_TRUE(with_format(id_of<F>, [&]<class G>(G) { EXPECT_EQ(G::name, F::name); }));
    EXPECT_EQ(format_name(id_of<F>), F::name);
  });
  EXPECT_EQ(format_name(no_format), "unknown");
}

// Returns the value of a half (16-bit float), computed from its bits as IEEE 754 defines it.
double value_of_half(std::uint16_t half) {
  const int exponent = half >> 10 & 31;
  const double mantissa = half & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

TEST(Half, EveryValueToFloatAndBack) {
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const f16 half{static_cast<std::uint16_t>(i)};
    const float x = to_float(half);
    if ((i & 0x7c00) == 0x7c00 && (i & 0x3ff) != 0) {
      EXPECT_TRUE(std::isnan(x)) << i;
      EXPECT_TRUE(std::isnan(to_float(to_f16(x)))) << i;
      continue;
    }
    if ((i & 0x7fff) == 0x7c00) {
      EXPECT_EQ(x, i & 0x8000 ? -INFINITY : INFINITY);
    } else {
      EXPECT_EQ(static_cast<double>(x), value_of_half(half.bits)) << i;
      EXPECT_EQ(std::signbit(x), (i & 0x8000) != 0) << i;
    }
    EXPECT_EQ(to_f16(x).bits, i);
  }
}

// Between two neighbouring halves lies one tie. to_f16() must round it to the even half, and the floats beside it to the nearer
// half. Because to_f16() is monotonic between such points, these are all its rounding decisions.
TEST(Half, EveryRoundingBoundary) {
  // The last of all pairs of neighbouring halves is 65504, the largest half, and 65536, which would follow and becomes infinity.
  for (std::uint32_t i = 0; i < 0x7c00; ++i) {
    const double low = value_of_half(static_cast<std::uint16_t>(i));
    const double high = i + 1 < 0x7c00 ? value_of_half(static_cast<std::uint16_t>(i + 1)) : 65536.0;
    const float tie = static_cast<float>((low + high) / 2);  // the tie needs 12 bits, so a float holds it exactly
    for (const std::uint32_t sign : {0u, 0x8000u}) {
      const float s = sign ? -1.0f : 1.0f;
      EXPECT_EQ(to_f16(s * tie).bits, sign | ((i & 1) ? i + 1 : i)) << i;
      EXPECT_EQ(to_f16(s * std::nextafter(tie, 0.0f)).bits, sign | i) << i;
      EXPECT_EQ(to_f16(s * std::nextafter(tie, INFINITY)).bits, sign | (i + 1)) << i;
    }
  }
  EXPECT_EQ(to_f16(std::numeric_limits<float>::max()).bits, 0x7c00);
  EXPECT_EQ(to_f16(std::numeric_limits<float>::denorm_min()).bits, 0);
  EXPECT_EQ(to_f16(-INFINITY).bits, 0xfc00);
}

TEST(Bfloat, EveryValueAndEveryRoundingBoundary) {
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const bf16 value{static_cast<std::uint16_t>(i)};
    const float x = to_float(value);
    EXPECT_EQ(bits(x), i << 16);
    if (std::isnan(x)) {
      EXPECT_TRUE(std::isnan(to_float(to_bf16(x))));
      continue;
    }
    EXPECT_EQ(to_bf16(x).bits, i);
    if ((i & 0x7fff) == 0x7f80) continue;  // infinity has no neighbour
    const auto rounded_bits = [&](std::uint32_t rest) { return to_bf16(std::bit_cast<float>(i << 16 | rest)).bits; };
    EXPECT_EQ(rounded_bits(0x7fff), i);
    EXPECT_EQ(rounded_bits(0x8000), (i & 1) ? i + 1 : i);
    EXPECT_EQ(rounded_bits(0x8001), i + 1);
  }
}

}  // namespace
