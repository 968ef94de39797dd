// SPDX-License-Identifier: Apache-2.0
//
// Tests of packed panels: unpacked rows equal the original ones, sizes, threads, the layout that pack.hpp draws, and formats that
// the layout refuses.
#include <stilla/io/checksum.hpp>
#include <stilla/matmul.hpp>
#include <stilla/pack.hpp>

#include <map>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

template <class F>
class Pack : public ::testing::Test {
 protected:
  static constexpr std::size_t columns = F::block_weights == 1 ? 21 : 3 * F::block_weights;

  static std::vector<float> decoded(const std::byte* row) {
    std::vector<float> weights(columns);
    decode_row<F>(row, weights.data(), columns);
    return weights;
  }
};
TYPED_TEST_SUITE(Pack, AsGtestTypes<Formats>::Types, FormatNames);

// Rows are packed and unpacked again. Their blocks hold weights like trained ones, or random bytes. The rows lie at an odd
// address, and guard pages follow the rows and the panels.
TYPED_TEST(Pack, UnpackedRowsAreTheDecodedRows) {
  using F = TypeParam;
  constexpr std::size_t K = TestFixture::columns;
  for (const std::size_t N : {1u, 15u, 16u, 17u, 40u}) {
    for (const bool any_bytes : {false, true}) {
      std::vector<std::byte> blocks = random_rows<F>(1, N, K);
      if (any_bytes) {
        for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<std::byte>(noise_bits(2, i) >> 24);
      }
      blocks.insert(blocks.begin(), std::byte{0});
      if (blocks.size() % 2 == 0) blocks.insert(blocks.begin(), std::byte{0});  // makes the address of the rows odd
      const std::size_t rows_bytes = N * row_bytes<F>(K);
      GuardedArray<std::byte> rows{std::span<const std::byte>(blocks)};
      const std::byte* first = rows.data() + rows.size() - rows_bytes;
      GuardedArray<std::byte> packed(packed_bytes<F>(N, K));
      std::fill(packed.data(), packed.data() + packed.size(), std::byte{0xee});
      pack<F>(packed.data(), first, N, K);
      const PackedView view{id_of<F>, N, K, packed.data()};
      for (std::size_t n = 0; n < N; ++n) {
        GuardedArray<float> row(K);
        unpack_row<F>(view, n, row.data());
        const std::vector<float> expected = this->decoded(first + n * row_bytes<F>(K));
        ASSERT_TRUE(same_bits(row.values(), expected)) << "row " << n << " of " << N;
        embedding_lookup(row.data(), view, n);
        ASSERT_TRUE(same_bits(row.values(), expected));
      }
    }
  }
}

// The sizes of a format's spans in a panel of 16 rows, as the drawing in pack.hpp gives them. For each row, a record has a half (a
// 16-bit float) for the scale, another one for the minimum if the format has minimums, and a byte for each sub-scale. In formats
// with a scale word, it has only this word for each row. A span has the smallest number of records that fill whole lines. Formats
// with one scale for a whole row have one line of scales before all spans, and their records hold nothing but sub-scales.
template <class F>
struct DrawnSpan {
  std::size_t record_bytes = 0, records = 1, codes_bytes = 0, head_bytes = 0;
  DrawnSpan() {
    const std::size_t halves = F::has_minimum ? 2 : 1;
    record_bytes = 16 * 2 * halves;
    if (WordScaledFormat<F>) record_bytes = 16 * 4;
    if (RowScaledFormat<F>) record_bytes = 0, head_bytes = 16 * 4;
    // There is one byte for each sub-scale and one for each sub-minimum. In formats with groups of 16 weights, one byte holds
    // both.
    const std::size_t bytes = F::has_minimum && F::group_weights == 16 ? 1 : halves;
    if (F::has_sub_scales && !WordScaledFormat<F>) record_bytes += F::block_weights / F::group_weights * 16 * bytes;
    while (records * record_bytes % 64 != 0) ++records;
    codes_bytes = k() * 16 * F::code_bits / 8;
  }
  std::size_t k() const { return records * F::block_weights; }
  std::size_t bytes() const { return codes_bytes + records * record_bytes; }
};

TYPED_TEST(Pack, PackedBytesAreThoseOfTheLayout) {
  using F = TypeParam;
  constexpr std::size_t K = TestFixture::columns;
  std::size_t panel = 0;
  if constexpr (QuantisedFormat<F>) {
    const DrawnSpan<F> span;
    panel = span.head_bytes + (K + span.k() - 1) / span.k() * span.bytes();
  } else {
    panel = (K * 16 * PanelFormat<F>::block_bytes + 63) / 64 * 64;
  }
  EXPECT_EQ(packed_bytes<F>(0, K), 0u);
  EXPECT_EQ(packed_bytes<F>(1, K), panel);
  EXPECT_EQ(packed_bytes<F>(16, K), panel);
  EXPECT_EQ(packed_bytes<F>(17, K), 2 * panel);
  EXPECT_EQ(packed_bytes<F>(16, 0), 0u);
}

// In a panel, the codes of four consecutive k of one row are neighbours. With codes of 8 bits, row r has bytes 4 r to 4 r + 3 of
// every 64 bytes.
TYPED_TEST(Pack, LayoutIsTheDrawnOne) {
  using F = TypeParam;
  constexpr std::size_t K = TestFixture::columns, N = 16;
  const std::vector<std::byte> rows = random_rows<F>(3, N, K);
  AlignedBuffer<std::byte> packed;
  ASSERT_TRUE(packed.resize(packed_bytes<F>(N, K)));
  pack<F>(packed.data(), rows.data(), N, K);
  for (std::size_t n = 0; n < N; ++n) {
    for (std::size_t k = 0; k < K; ++k) {
      const std::byte* row = rows.data() + n * row_bytes<F>(K);
      const std::byte* block = row + (RowScaledFormat<F> ? 4 : 0) + k / F::block_weights * F::block_bytes;
      if constexpr (QuantisedFormat<F>) {
        const auto code = static_cast<unsigned>(F::code(block, k % F::block_weights));
        const DrawnSpan<F> drawn;
        const std::byte* span = packed.data() + drawn.head_bytes + k / drawn.k() * drawn.bytes();
        const std::byte* codes = span + k % drawn.k() / 32 * (32 * 16 * F::code_bits / 8);
        const std::byte* record = span + drawn.codes_bytes + k % drawn.k() / F::block_weights * drawn.record_bytes;
        if constexpr (RowScaledFormat<F>) {
          ASSERT_EQ(std::memcmp(packed.data() + 4 * n, row, 4), 0);
          if constexpr (F::has_sub_scales) {
            const std::size_t g = k % F::block_weights / F::group_weights;
            ASSERT_EQ(static_cast<std::int8_t>(record[16 * g + n]), F::sub_scale(block, g));
          }
        } else if constexpr (WordScaledFormat<F>) {
          ASSERT_EQ(load_as<std::uint32_t>(record + 4 * n), F::scale_word(block));
        } else {
          const auto scale = F::scale(block);
          ASSERT_EQ(std::memcmp(record + 2 * n, &scale, 2), 0);
          constexpr std::size_t groups = F::block_weights / F::group_weights;
          [[maybe_unused]] const std::size_t g = k % F::block_weights / F::group_weights;
          if constexpr (F::has_minimum) {
            const auto minimum = F::minimum(block);
            ASSERT_EQ(std::memcmp(record + 32 + 2 * n, &minimum, 2), 0);
          }
          if constexpr (F::has_sub_scales) {
            const std::byte* sub_scales = record + (F::has_minimum ? 64 : 32);
            if constexpr (F::has_minimum && F::group_weights == 16) {
              ASSERT_EQ(std::to_integer<int>(sub_scales[16 * g + n]), F::sub_scale(block, g) + 16 * F::sub_minimum(block, g));
              ASSERT_EQ(record + drawn.record_bytes, sub_scales + groups * 16);
            } else {
              ASSERT_EQ(static_cast<std::int8_t>(sub_scales[16 * g + n]), F::sub_scale(block, g));
            }
            if constexpr (F::has_minimum && F::group_weights == 32) {
              ASSERT_EQ(static_cast<std::int8_t>(sub_scales[groups * 16 + g / 2 * 32 + 2 * n + g % 2]), F::sub_minimum(block, g));
            }
          }
        }
        const std::size_t lane = n * 4 + k % 4, in_block = k % 32;
        const auto at = [&](std::size_t line) { return std::to_integer<unsigned>(codes[line * 64 + lane]); };
        if (F::code_bits == 8) {
          ASSERT_EQ(at(in_block / 4), code & 255u);
        } else if (F::code_bits == 2) {
          ASSERT_EQ(at(in_block / 16) >> (in_block % 16 / 4 * 2) & 3u, code);
        } else if (F::code_bits == 3 && in_block < 24) {
          ASSERT_EQ(at(in_block / 8) >> (in_block % 8 < 4 ? 0 : 4) & 7u, code);
        } else if (F::code_bits == 3) {
          const unsigned bit = in_block < 28 ? 3 : 7;
          ASSERT_EQ((at(0) >> bit & 1u) + 2 * (at(1) >> bit & 1u) + 4 * (at(2) >> bit & 1u), code);
        } else {
          ASSERT_EQ(at(in_block / 8) >> (in_block % 8 < 4 ? 0 : 4) & 15u, code & 15u);
        }
        if (F::code_bits == 5) {
          ASSERT_EQ(at(4) >> (in_block / 4) & 1u, code >> 4);
        }
        if (F::code_bits == 6) {
          ASSERT_EQ(at(4 + in_block / 16) >> (in_block % 16 / 4 * 2) & 3u, code >> 4);
        }
      } else {
        using G = PanelFormat<F>;  // a weight is one block of G
        float weight[F::block_weights], found = 0;
        decode_block<F>(row, k - k % F::block_weights, weight);
        G::decode(packed.data() + (k * 16 + n) * G::block_bytes, &found);
        ASSERT_TRUE(same_bits(found, weight[k % F::block_weights]));
      }
    }
  }
}

// Tests the checksums of the packed panels of each format. Packed files hold these bytes, so whoever changes a layout must change
// packed_layout_version and this table too.
TYPED_TEST(Pack, StoredPanelsAreOfThisVersion) {
  using F = TypeParam;
  static_assert(packed_layout_version == 2);
  const std::map<std::string_view, std::uint64_t> expected{
      {"f32", 0xa2021fd52a7c7797u},           {"f16", 0xdc8969656793195du},          {"bf16", 0xdc8969656793195du},
      {"q8_0", 0x293849177b33b3c9u},          {"q4_0", 0xdb0e650a702cc8f5u},         {"q4_1", 0x07228cb0b62f0938u},
      {"q5_0", 0x7fa9c135c4981599u},          {"q5_1", 0x0376711e427dac7fu},         {"q4_k", 0xaee4f7008c614a49u},
      {"q5_k", 0x76199f20dd47b10cu},          {"q6_k", 0x3ed82a5370147f41u},         {"iq4_nl", 0xdb0e650a702cc8f5u},
      {"iq4_xs", 0x15fee79bce192ea6u},        {"st4", 0x015c5f536db1173bu},          {"int4_g128", 0xf9c429f09f535cadu},
      {"int4_g128_min", 0x7e9889b0482ca795u}, {"int4_channel", 0x72e0eb26d52d82b5u}, {"int8_channel", 0x2a42076fd63c1781u},
      {"bfp16ebs8", 0x8d5eaf367a56fc6bu},     {"uint4_g128", 0x3d789b258fe4d33eu},   {"q2_k", 0x16199c30fa42ee06u},
      {"q3_k", 0x340f8a86b9de1e98u},          {"iq2_xxs", 0x896a8cff9872ebbau},      {"iq2_xs", 0x4f6ad77277be391au},
      {"iq2_s", 0x46305bea811835f2u},         {"iq3_xxs", 0x71481ecb7eab8e3du},      {"iq3_s", 0x34f3014c3e3f60e0u},
      {"lpbq32", 0x49f22170c2bc3905u},        {"lpbq64", 0xd330f8aeb2b17ffeu},       {"lpbq128", 0xc4a2397e431f4974u}};
  constexpr std::size_t K = TestFixture::columns, N = 21;
  std::vector<std::byte> rows(N * row_bytes<F>(K));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::byte>(noise_bits(7, i) >> 24);
  AlignedBuffer<std::byte> packed;
  ASSERT_TRUE(packed.resize(packed_bytes<F>(N, K)));
  pack<F>(packed.data(), rows.data(), N, K);
  if (!expected.contains(F::name)) {
    GTEST_SKIP() << "no packed files with " << F::name << " are out yet; before there are, its line is needed: 0x" << std::hex
                 << checksum({packed.data(), packed.size()});
  }
  EXPECT_EQ(checksum({packed.data(), packed.size()}), expected.at(F::name)) << F::name;
}

// Formats that differ from a real one in one property, so that the layout cannot hold them. Each is tested beside a similar
// format that the layout can hold.
template <class Base, unsigned bits>
struct WithCodeBits : Base {
  static constexpr unsigned code_bits = bits;
};
template <class Base, int zero>
struct WithZeroPoint : Base {
  static constexpr int zero_point = zero;
};
template <class Base, std::size_t weights>
struct WithGroups : Base {
  static constexpr std::size_t group_weights = weights;
};
struct MinimumOfRows : INT8_CHANNEL {
  static constexpr bool has_minimum = true;
};
struct OtherWords : ST4 {  // has the sub-scales of the groups in reverse order
  static constexpr int sub_scale_of(std::uint32_t word, std::size_t g) { return ST4::sub_scale_of(word, 3 - g); }
};
struct MinimumsOfSevenBits : Q4_K {
  static constexpr int sub_minimum(const std::byte* block, std::size_t g) { return 2 * Q4_K::sub_minimum(block, g); }
};
struct CodesOfSixBits : Q4_0 {
  static constexpr int code(const std::byte* block, std::size_t k) { return std::to_integer<int>(block[2 + k / 2]) & 63; }
};
struct NegativeCodes : Q4_0 {
  static constexpr int code(const std::byte* block, std::size_t k) { return Q4_0::code(block, k) - 8; }
};
TEST(Layout, HoldsNothingThatItCannot) {
  EXPECT_EQ(PackedView{}.layout, Rows16K4::id);
  for_each_type(Formats{}, [&]<class F>(F) {
    if constexpr (QuantisedFormat<F>) {
      static_assert(Rows16K4::holds<F>());
      static_assert(stilla::detail::codes_fit<F>());
    }
  });
  static_assert(Rows16K4::holds<WithCodeBits<Q4_0, 5>>());
  static_assert(!Rows16K4::holds<WithCodeBits<Q4_1, 1>>());
  static_assert(!Rows16K4::holds<WithCodeBits<Q4_0, 7>>());
  static_assert(!Rows16K4::holds<WithCodeBits<Q4_0, 9>>());
  static_assert(!Rows16K4::holds<WithCodeBits<IQ4_NL, 5>>());  // a codebook needs a level for each code, and can have at most 16 levels
  static_assert(!Rows16K4::holds<WithCodeBits<IQ4_NL, 3>>());
  static_assert(!Rows16K4::holds<WithZeroPoint<Q4_0, 7>>());  // the zero point is not a power of two
  static_assert(!Rows16K4::holds<WithZeroPoint<Q4_0, 16>>());
  static_assert(!Rows16K4::holds<WithZeroPoint<Q8_0, 128>>());
  static_assert(!Rows16K4::holds<WithGroups<Q4_0, 8>>());
  static_assert(!Rows16K4::holds<WithGroups<INT4_G128, 64>>());
  static_assert(!Rows16K4::holds<WithGroups<Q4_1, 16>>());  // minimums must belong to 32 weights
  // In groups of 16 weights, sub-scales and sub-minimums must have 4 bits. Those of Q4_K have six.
  static_assert(!Rows16K4::holds<WithGroups<Q4_K, 16>>());
  static_assert(!Rows16K4::holds<MinimumsOfSevenBits>());
  static_assert(!Rows16K4::holds<MinimumOfRows>());
  static_assert(!Rows16K4::holds<OtherWords>());
  static_assert(!stilla::detail::codes_fit<CodesOfSixBits>());
  static_assert(!stilla::detail::codes_fit<NegativeCodes>());
}

// Whatever bytes a file holds, the codes that a format's code() returns fit the bits that the layout has for them.
TYPED_TEST(Pack, CodesFitWhateverTheBytes) {
  using F = TypeParam;
  if constexpr (QuantisedFormat<F>) {
    std::vector<std::byte> block(F::block_bytes);
    for (std::uint32_t seed = 0; seed < 300; ++seed) {
      for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::byte>(noise_bits(seed, i) >> 24);
      for (std::size_t k = 0; k < F::block_weights; ++k) {
        const int code = F::code(block.data(), k);
        ASSERT_GE(code, F::code_bits == 8 ? -128 : 0);
        ASSERT_LE(code, F::code_bits == 8 ? 127 : (1 << F::code_bits) - 1);
      }
    }
  }
}

// If a packed matrix has another layout, matmul() refuses it, as it refuses one of an unknown format, and writes nothing.
TEST(Layout, AnotherOneIsNotMisread) {
  const std::vector<std::byte> rows = random_rows<Q4_0>(1, 16, 32);
  const auto matrix = PackedMatrix::create<Q4_0>(rows.data(), 16, 32);
  ASSERT_TRUE(matrix);
  PackedView other = *matrix;
  other.layout = LayoutId{0x4711};
  EXPECT_EQ(panels_from(other, 0, 1).layout, other.layout);
  std::vector<float> row(other.cols);
  embedding_lookup(row.data(), other, 0);
  for (const float value : row) EXPECT_TRUE(std::isnan(value));
  const std::vector<float> x = noise_values(2, 32);
  std::vector<float> y(16, 7.0f);
  ActivationBuffer rounded;
  ASSERT_FALSE(matmul(Matrix(y.data(), 1, 16), other, ConstMatrix(x.data(), 1, 32), rounded));
  for (const float value : y) EXPECT_EQ(value, 7.0f);
}

// Every target packs the same bytes as scalar. The rows are random bytes at an odd address, and guard pages follow the rows and
// the panels. Some panels have fewer than 16 rows, and some rows end within a span.
TYPED_TEST(Pack, EveryTargetEqualsScalar) {
  using F = TypeParam;
  for (const std::size_t blocks : {1u, 2u, 3u, 5u, 8u, 13u}) {
    const std::size_t K = blocks * F::block_weights;
    for (const std::size_t N : {1u, 15u, 16u, 17u, 48u}) {
      const std::size_t bytes = N * row_bytes<F>(K);
      std::vector<std::byte> noise(bytes + 1 + bytes % 2);  // makes the address of the rows odd
      for (std::size_t i = 0; i < noise.size(); ++i)
        noise[i] = static_cast<std::byte>(noise_bits(static_cast<std::uint32_t>(N + K), i) >> 24);
      GuardedArray<std::byte> rows{std::span<const std::byte>(noise)};
      const std::byte* first = rows.data() + rows.size() - bytes;
      std::vector<std::byte> expected(packed_bytes<F>(N, K));
      {
        const OnTarget scalar(Scalar::id);
        pack<F>(expected.data(), first, N, K);
      }
      for_each_available_target([&](TargetId target) {
        const OnTarget on(target);
        GuardedArray<std::byte> packed(expected.size());
        std::fill(packed.data(), packed.data() + packed.size(), std::byte{0xee});
        pack<F>(packed.data(), first, N, K);
        ASSERT_EQ(std::memcmp(packed.data(), expected.data(), expected.size()), 0) << target.name << ", " << N << " x " << K;
      });
    }
  }
}

TYPED_TEST(Pack, ThreadsDoNotMatter) {
  using F = TypeParam;
  constexpr std::size_t K = TestFixture::columns, N = 100;
  const std::vector<std::byte> rows = random_rows<F>(4, N, K);
  AlignedBuffer<std::byte> one, many;
  ASSERT_TRUE(one.resize(packed_bytes<F>(N, K)) && many.resize(packed_bytes<F>(N, K)));
  ThreadPool pool(4);
  pack<F>(one.data(), rows.data(), N, K);
  pack<F>(many.data(), rows.data(), N, K, pool);
  EXPECT_EQ(std::memcmp(one.data(), many.data(), one.size()), 0);
}

TYPED_TEST(Pack, MatrixOwnsWhatWasPacked) {
  using F = TypeParam;
  constexpr std::size_t K = TestFixture::columns, N = 19;
  const std::vector<std::byte> rows = random_rows<F>(5, N, K);
  Result<PackedMatrix> made = PackedMatrix::create<F>(rows.data(), N, K);
  ASSERT_TRUE(made) << made.error().message;
  const PackedMatrix matrix = std::move(*made);
  EXPECT_EQ(matrix.view().format, id_of<F>);
  EXPECT_EQ(matrix.view().rows, N);
  EXPECT_EQ(matrix.view().cols, K);
  EXPECT_EQ(matrix.view().panels(), 2u);
  EXPECT_EQ(matrix.bytes(), packed_bytes<F>(N, K));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(matrix.view().data) % 64, 0u);
  std::vector<float> row(K);
  embedding_lookup(row.data(), matrix, N - 1);
  EXPECT_TRUE(same_bits(row, this->decoded(rows.data() + (N - 1) * row_bytes<F>(K))));
}

TYPED_TEST(Pack, MatrixFillsGivenMemory) {
  using F = TypeParam;
  constexpr std::size_t K = TestFixture::columns, N = 19, bytes = packed_bytes<F>(N, K);
  const std::vector<std::byte> rows = random_rows<F>(5, N, K);
  AlignedBuffer<std::byte> expected, memory;
  ASSERT_TRUE(expected.resize(bytes) && memory.resize(bytes + 64));
  pack<F>(expected.data(), rows.data(), N, K);
  std::memset(memory.data(), 0xab, bytes + 64);
  const Result<PackedMatrix> made = PackedMatrix::create<F>(rows.data(), N, K, {}, {}, memory.data());
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->view().data, memory.data());
  EXPECT_EQ(std::memcmp(memory.data(), expected.data(), bytes), 0);
  for (std::size_t i = bytes; i < bytes + 64; ++i) EXPECT_EQ(memory[i], std::byte{0xab}) << i - bytes;
}

TYPED_TEST(Pack, ImpossibleShapesAreRefused) {
  using F = TypeParam;
  constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();
  constexpr std::size_t B = F::block_weights;
  const auto message = [](std::size_t N, std::size_t K) {
    const Result<PackedMatrix> made = PackedMatrix::create<F>(nullptr, N, K);
    return made ? std::string("made") : made.error().message;
  };
  if (B != 1) {
    EXPECT_EQ(message(1, B + 1), concat(B + 1, " columns are not a multiple of the ", F::name, " block of ", B));
  }
  for (const auto& [N, K] : {std::pair(huge, B), std::pair(huge - 15, B), std::pair(std::size_t{1}, huge / B * B),
                             std::pair(huge / 2, huge / 2 / B * B), std::pair(std::size_t{1} << 33, std::size_t{1} << 33)}) {
    EXPECT_EQ(message(N, K), concat(N, " x ", K, " weights do not fit the address space"));
  }
  const std::string none = message(std::size_t{1} << 38, 1024 * B);  // this may fit the address space, but not the memory
  EXPECT_TRUE(none.starts_with("not enough memory for packed weights: ")) << none;
  EXPECT_EQ(message(0, B), "made");
  EXPECT_EQ(message(0, 0), "made");
}

// A large matrix is packed in pieces, and the function `packed` is called for each piece. The panels are so large that a few of
// them make a piece. The result equals that of packing at once.
TEST(PackedMatrixPieces, AreTheWhole) {
  for_each_type(TypeList<F32, Q4_0>{}, [&]<class F>(F) {
    constexpr std::size_t K = std::size_t{1} << (QuantisedFormat<F> ? 20 : 17), N = 37;
    std::vector<std::byte> rows(N * row_bytes<F>(K));
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::byte>(noise_bits(8, i) >> 24);
    std::size_t last = 0, calls = 0;
    const Result<PackedMatrix> made = PackedMatrix::create<F>(rows.data(), N, K, {}, [&](std::size_t n) {
      EXPECT_TRUE(n == N || n % 16 == 0);
      EXPECT_GT(n, last);
      last = n;
      ++calls;
    });
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(last, N);
    EXPECT_GT(calls, 1u);
    AlignedBuffer<std::byte> at_once;
    ASSERT_TRUE(at_once.resize(packed_bytes<F>(N, K)));
    pack<F>(at_once.data(), rows.data(), N, K);
    EXPECT_EQ(std::memcmp(made->view().data, at_once.data(), at_once.size()), 0) << F::name;
  });
}

TEST(PackedMatrixFormat, UnknownFormatsAreRefused) {
  for (const std::uint32_t id : {0u, 2u, 10u, 255u, 0xffffffffu}) {
    const Result<PackedMatrix> made = PackedMatrix::create(FormatId{id}, nullptr, 1, 32);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().message, concat("weights of an unknown format (id ", id, ") are not supported"));
    EXPECT_EQ(packed_bytes(FormatId{id}, 1, 32).error().message, made.error().message);
    EXPECT_EQ(made.error().kind, ErrorKind::bad_argument);
  }
}

}  // namespace
