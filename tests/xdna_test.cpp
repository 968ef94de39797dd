// SPDX-License-Identifier: Apache-2.0
//
// Tests of the code for XDNA2, which has not run on an NPU. Operands are arranged in tiles and back. A loop reads the tiles with
// pointers that only move forward, as mlir-aie's kernels do, and finds all numbers. The emulated arithmetic is compared with its
// definition on plain matrices. The memory budgets are checked.
#include <stilla/devices.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/npu_xdna/schedule.hpp>

#include <algorithm>
#include <cmath>
#include <string>

#include "read_file.hpp"
#include "test_util.hpp"

namespace {

using namespace stilla_test;
using namespace stilla::xdna;

// Returns a random matrix of units. A unit is one number, or with bfp16 the 8 numbers that share an exponent. All numbers
// are finite.
std::vector<std::byte> random_units(Form form, std::uint32_t seed, std::size_t rows, std::size_t K) {
  std::vector<std::byte> units(rows * xdna::row_bytes(form, K));
  for (std::size_t i = 0; i < units.size(); ++i) units[i] = static_cast<std::byte>(noise_bits(seed, i) >> 24);
  const std::size_t step = unit_bytes(form);
  for (std::size_t at = 0; at < units.size(); at += step) {
    if (form == Form::bf16) store_as(units.data() + at, to_bf16(noise(seed, at)));
    if (form == Form::bfp16) units[at] = static_cast<std::byte>(120 + noise_bits(seed, at) % 10);
  }
  return units;
}

// Returns number k of a row of an operand. The row consists of units: one number each, or with bfp16 the 8 numbers that share an
// exponent.
float number(Form form, const std::byte* row, std::size_t k) {
  if (form == Form::int8) return static_cast<float>(load_as<std::int8_t>(row + k));
  if (form == Form::bf16) return to_float(load_as<bf16>(row + 2 * k));
  float weights[8];
  BFP16EBS8::decode(row + k / 8 * 9, weights);
  return weights[k % 8];
}

const ProductLayout layouts[] = {
    {Form::int8, {}, 8, 1, 1, 1},
    {Form::int8, {}, 8, 129, 700, 130},
    {Form::int8, {16, 64, 64}, 3, 16, 200, 64},
    {Form::bf16, {}, 1, 65, 65, 65},
    {Form::bf16, {}, 8, 300, 129, 100},
    {Form::bf16, {8, 64, 64}, 5, 9, 640, 3},
    {Form::bfp16, {}, 2, 64, 64, 64},
    {Form::bfp16, {}, 8, 257, 1000, 72},
    {Form::bfp16, {16, 64, 64}, 4, 7, 65, 61},
    {Form::bfp16, {96, 128, 64}, 8, 97, 70, 136},
    {Form::bf16, {64, 88, 64}, 8, 70, 70, 180},
    {Form::int8, {}, 7, 0, 0, 0},
    {Form::bf16, {}, 4, 3, 5, 0},
};

TEST(XdnaTiles, UnpackingIsTheInverseOfPacking) {
  for (const ProductLayout& layout : layouts) {
    SCOPED_TRACE(concat(form_name(layout.form), ' ', layout.M, ' ', layout.N, ' ', layout.K));
    ASSERT_TRUE(is_whole(layout.form, layout.tile));
    const auto check = [&](std::size_t rows, std::size_t bytes, auto pack, auto unpack) {
      std::vector<std::byte> units = random_units(layout.form, 1, rows, layout.K), found(units.size(), std::byte{0xee});
      for (std::byte& b : units) b |= std::byte{1};  // no byte is 0, so none can be mistaken for padding
      GuardedArray<std::byte> tiles(bytes);
      std::fill_n(tiles.data(), bytes, std::byte{0xee});
      pack(layout, tiles.data(), units.data());
      unpack(layout, found.data(), tiles.data());
      EXPECT_EQ(found, units);
      std::size_t in_use = 0;
      for (const std::byte b : tiles.values()) in_use += b != std::byte{};
      EXPECT_EQ(in_use, units.size()) << "all else is zero";
    };
    check(layout.N, layout.weights_bytes(), pack_weights, unpack_weights);
    check(layout.M, layout.activations_bytes(), pack_activations, unpack_activations);

    const std::vector<float> y = noise_values(2, layout.M * layout.N);
    std::vector<float> found(y.size(), 7.0f), tiles(layout.results());
    pack_results(layout, tiles.data(), ConstMatrix(y.data(), layout.M, layout.N));
    unpack_results(layout, Matrix(found.data(), layout.M, layout.N), tiles.data());
    EXPECT_TRUE(same_bits(found, y));
    EXPECT_EQ(std::count_if(tiles.begin(), tiles.end(), [](float x) { return x != 0.0f; }),
              std::count_if(y.begin(), y.end(), [](float x) { return x != 0.0f; }));
  }
}

// Single numbers of an operand lie at the places that the drawing in tiles.hpp shows.
TEST(XdnaTiles, StandWhereTheyAreDrawn) {
  constexpr CoreTile tile;
  EXPECT_EQ(a_offset(Form::int8, tile, 1, 3), 8u + 3);
  EXPECT_EQ(a_offset(Form::int8, tile, 0, 8), 64u);                        // the second block
  EXPECT_EQ(a_offset(Form::int8, tile, 8, 0), 8u * 64);                    // the first block of the next rows, behind 8 blocks along K
  EXPECT_EQ(a_offset(Form::bf16, tile, 4, 0), 2u * 8 * 32);                // with bf16, a block has 4 rows
  EXPECT_EQ(a_offset(Form::bf16, tile, 3, 9), 2u * (32 + 3 * 8 + 1));
  EXPECT_EQ(a_offset(Form::bfp16, tile, 2, 8), 9u * (8 + 2));
  EXPECT_EQ(b_offset(Form::int8, tile, 1, 3), 8u + 3);
  EXPECT_EQ(b_offset(Form::int8, tile, 0, 8), 64u);
  EXPECT_EQ(b_offset(Form::int8, tile, 8, 0), 8u * 64);
  EXPECT_EQ(b_offset(Form::bf16, tile, 9, 17), 2u * ((8 + 2) * 64 + 8 + 1));
  EXPECT_EQ(b_offset(Form::bfp16, tile, 8, 0), 72u);                       // the next 8 k are the next block
  EXPECT_EQ(b_offset(Form::bfp16, tile, 0, 8), 8u * 72);
  EXPECT_EQ(b_offset(Form::bfp16, tile, 0, 3), 3u * 9);
  EXPECT_EQ(c_index(Form::bf16, tile, 4, 0), 8u * 32);
  EXPECT_EQ(c_index(Form::int8, tile, 1, 9), 64u + 8 + 1);
  // An operand is cut into tiles. Here five of them along N are shared by two columns of XDNA's cores: one column has tiles 0, 2
  // and 4, the other has 1, 3 and padding.
  const ProductLayout layout{Form::int8, tile, 2, 130, 300, 128};
  EXPECT_EQ(layout.weights_bytes(), 6u * 2 * 4096);
  const std::size_t places[] = {0, 3, 1, 4, 2};
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(layout.weights_tile(i, 1), (places[i] * 2 + 1) * 4096) << i;
  EXPECT_EQ(layout.activations_bytes(), 4u * 2 * 4096);  // three tiles along M are spread over four rows of cores
  EXPECT_EQ(layout.activations_tile(2, 1), 5u * 4096);
  EXPECT_EQ(layout.results_tile(2, 1), (3u * 3 + 2) * 4096);
}

// mlir-aie's own host code arranges the bytes of bfp16 in the same places as Stilla, for the operand A (activations) and for B
// (weights, which it receives as W, the transpose of B), and reads the same numbers from them. golden/xdna.bin, made by
// golden/make_xdna_golden.py, holds the results of that code.
TEST(XdnaTiles, AreWhereMlirAiePutsThem) {
  constexpr std::size_t width = 64, height = 16;
  const auto record = [&](const char* what) -> const std::vector<double>& {
    return golden_records("xdna.bin").at(concat("tile/", width, "/", height, "/", what));
  };
  std::vector<std::byte> rows, expected;
  for (const double byte : record("rows")) rows.push_back(static_cast<std::byte>(byte));
  for (const double byte : record("tiles")) expected.push_back(static_cast<std::byte>(byte));
  ASSERT_EQ(rows.size(), height * xdna::row_bytes(Form::bfp16, width));
  const ProductLayout layout{Form::bfp16, {height, width, height}, 1, height, height, width};
  std::vector<std::byte> a(layout.activations_bytes()), b(layout.weights_bytes());
  pack_activations(layout, a.data(), rows.data());
  pack_weights(layout, b.data(), rows.data());
  EXPECT_EQ(b, expected);
  a.resize(expected.size());  // this row of cores has all tiles, and the other rows have none
  EXPECT_EQ(a, expected);
  std::vector<float> values(width * height);
  decode_row<BFP16EBS8>(rows.data(), values.data(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(double{values[i]}, record("values")[i]) << i;
}

// Multiplies one core tile of activations A by one of weights B. Both are cut into the blocks that an instruction multiplies, and
// two blocks of A and two of B are read at a time, with pointers that only move forward. If the product is right, kernels that
// read the operands in this way find the right numbers too.
template <Form form>
std::vector<double> walked_product(CoreTile tile, const std::byte* a, const std::byte* b) {
  constexpr BlockShape shape = block_shape(form);
  const std::size_t a_block = operand_bytes(form, shape.r * shape.s), b_block = operand_bytes(form, shape.s * shape.t);
  const std::size_t rows = tile.m / shape.r, inner = tile.k / shape.s, columns = tile.n / shape.t;
  std::vector<double> c(tile.m * tile.n);
  const auto mac = [&](double* out, const std::byte* x, const std::byte* w) {
    for (std::size_t i = 0; i < shape.r; ++i) {
      for (std::size_t j = 0; j < shape.t; ++j) {
        for (std::size_t k = 0; k < shape.s; ++k) {
          const float left = number(form, x + operand_bytes(form, i * shape.s), k);
          const float right =
              form == Form::bfp16 ? number(form, w + operand_bytes(form, j * shape.s), k) : number(form, w, k * shape.t + j);
          out[i * shape.t + j] += double{left} * double{right};
        }
      }
    }
  };
  double* out = c.data();  // points to the results of rows z and z + 1 of blocks
  for (std::size_t z = 0; z < rows; z += 2, out += 2 * columns * shape.r * shape.t) {
    double *upper = out, *lower = out + columns * shape.r * shape.t;
    for (std::size_t j = 0; j < columns; j += 2) {
      const std::byte *a0 = a + z * inner * a_block, *a1 = a0 + inner * a_block;
      const std::size_t next = form == Form::bfp16 ? b_block : columns * b_block;  // the distance from a block of B to the next one along k
      const std::byte* b0 = b + j * (form == Form::bfp16 ? inner * b_block : b_block);
      const std::byte* b1 = b0 + (form == Form::bfp16 ? inner * b_block : b_block);
      for (std::size_t i = 0; i < inner; ++i, a0 += a_block, a1 += a_block, b0 += next, b1 += next) {
        mac(upper, a0, b0);
        mac(upper + shape.r * shape.t, a0, b1);
        mac(lower, a1, b0);
        mac(lower + shape.r * shape.t, a1, b1);
      }
      upper += 2 * shape.r * shape.t;
      lower += 2 * shape.r * shape.t;
    }
  }
  return c;
}

template <Form form>
void expect_walk_finds_operands() {
  const ProductLayout layout{form, {}, 1, 64, 64, 64};
  const std::vector<std::byte> a = random_units(form, 3, 64, 64), w = random_units(form, 4, 64, 64);
  std::vector<std::byte> a_tiles(layout.activations_bytes()), b_tiles(layout.weights_bytes());
  pack_activations(layout, a_tiles.data(), a.data());
  pack_weights(layout, b_tiles.data(), w.data());
  const std::vector<double> c = walked_product<form>(layout.tile, a_tiles.data(), b_tiles.data());
  const std::size_t stride = xdna::row_bytes(form, 64);
  for (std::size_t m = 0; m < 64; ++m) {
    for (std::size_t n = 0; n < 64; ++n) {
      double sum = 0, magnitude = 0;
      for (std::size_t k = 0; k < 64; ++k) {
        const double term = double{number(form, a.data() + m * stride, k)} * double{number(form, w.data() + n * stride, k)};
        sum += term;
        magnitude += std::fabs(term);
      }
      ASSERT_NEAR(c[c_index(form, layout.tile, m, n)], sum, 1e-13 * magnitude) << form_name(form) << ' ' << m << ' ' << n;
    }
  }
}
TEST(XdnaTiles, AKernelsWalkFindsTheOperands) {
  expect_walk_finds_operands<Form::int8>();
  expect_walk_finds_operands<Form::bf16>();
  expect_walk_finds_operands<Form::bfp16>();
}

// The definition of the emulator's arithmetic, computed for one row and one token at a time. Subnormal floats count as 0.
float flush(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

template <class F>
float defined(Form form, const std::byte* row, const float* x, std::size_t K) {
  std::vector<float> w(K);
  decode_row<F>(row, w.data(), K);
  float y = 0;
  if (form == Form::int8) {
    if constexpr (QuantisedFormat<F>) {
      float highest = 0;
      for (std::size_t k = 0; k < K; ++k) highest = std::max(highest, std::fabs(x[k]));
      const float scale_x = highest < 1e-30f ? 0.0f : highest / 127.0f, inverse = scale_x == 0.0f ? 0.0f : 1.0f / scale_x;
      const std::size_t reach = F::has_sub_scales ? F::group_weights : RowScaledFormat<F> ? K : F::block_weights;
      for (std::size_t k0 = 0; k0 < K; k0 += reach) {
        const std::byte* block = block_of<F>(row, k0);
        float scale = to_float(F::scale(RowScaledFormat<F> ? row : block));
        if constexpr (F::has_sub_scales) {
          scale *= static_cast<float>(F::sub_scale(block, k0 % F::block_weights / F::group_weights));
        }
        std::int64_t sum = 0;
        for (std::size_t k = k0; k < k0 + reach; ++k) {
          int level = F::code(block_of<F>(row, k), k % F::block_weights) - F::zero_point;
          if constexpr (F::is_codebook) level = F::codebook[static_cast<std::size_t>(level)];
          sum += level * std::lrint(double{x[k]} * double{inverse});  // ties to even
        }
        y = std::fma(scale * scale_x, static_cast<float>(sum), y);
      }
    }
    return y;
  }
  for (std::size_t k0 = 0; k0 < K; k0 += 8) {
    float a[8] = {}, b[8] = {};
    for (std::size_t i = 0; i < 8 && k0 + i < K; ++i) a[i] = x[k0 + i], b[i] = w[k0 + i];
    if (form == Form::bfp16) {
      std::byte block[9];
      BFP16EBS8::encode(a, block);
      BFP16EBS8::decode(block, a);
      BFP16EBS8::encode(b, block);
      BFP16EBS8::decode(block, b);
    } else {
      for (std::size_t i = 0; i < 8; ++i) a[i] = flush(to_float(to_bf16(a[i]))), b[i] = flush(to_float(to_bf16(b[i])));
    }
    double sum = 0;
    for (std::size_t i = 0; i < 8; ++i) sum += double{a[i]} * double{b[i]};
    y = flush(static_cast<float>(double{y} + sum));
  }
  return y;
}

template <class F>
class XdnaEmulatedFormats : public ::testing::Test {};
TYPED_TEST_SUITE(XdnaEmulatedFormats, AsGtestTypes<Formats>::Types, FormatNames);

TYPED_TEST(XdnaEmulatedFormats, FollowsItsDefinitionAndKeepsItsTolerance) {
  using F = TypeParam;
  constexpr std::size_t K = 256;
  for (const Form form : forms) {
    if (form == Form::int8 && !has_levels<F>()) {
      const auto refused = XdnaEmulated::prepare<F>(nullptr, 1, K, form);
      ASSERT_FALSE(refused);
      EXPECT_TRUE(refused.error().message.starts_with(concat("XDNA2's int8 tiles multiply integers, and a weight of ", F::name)));
      continue;
    }
    for (const auto& [M, N] : {std::pair<std::size_t, std::size_t>{1, 70}, {9, 5}, {67, 65}}) {
      const std::vector<std::byte> rows = random_rows<F>(5, N, K);
      const std::vector<float> x = noise_values(6, M * K);
      const auto w = XdnaEmulated::prepare<F>(rows.data(), N, K, form, 3);
      ASSERT_TRUE(w) << w.error().message;
      std::vector<float> y(M * N);
      ASSERT_TRUE(XdnaEmulated::multiply(Matrix(y.data(), M, N), *w, ConstMatrix(x.data(), M, K)));
      for (std::size_t n = 0; n < N; ++n) {
        for (std::size_t m = 0; m < M; ++m) {
          ASSERT_TRUE(same_bits(y[m * N + n], defined<F>(form, rows.data() + n * stilla::row_bytes<F>(K), x.data() + m * K, K)))
              << form_name(form) << ' ' << m << ' ' << n;
        }
      }
      const auto [error, power] = product_error<F>(rows.data(), N, K, x, y);
      EXPECT_LE(error, XdnaEmulated::tolerance_of(form) * power) << form_name(form) << ": " << error / power;
      EXPECT_GT(error, 0.0);
    }
  }
}

// Tests numbers of rows and columns that are no whole units (8 numbers of bfp16 that share an exponent), no whole blocks (what
// one instruction multiplies) and no whole core tiles.
TEST(XdnaEmulated, AnySize) {
  for (const std::size_t K : {1u, 7u, 8u, 9u, 63u, 65u, 130u}) {
    for (const auto& [M, N] : {std::pair<std::size_t, std::size_t>{1, 1}, {17, 3}, {5, 129}}) {
      const std::vector<std::byte> rows = random_rows<F32>(7, N, K);
      const std::vector<float> x = noise_values(8, M * K);
      for (const Form form : {Form::bf16, Form::bfp16}) {
        const auto w = XdnaEmulated::prepare<F32>(rows.data(), N, K, form);
        ASSERT_TRUE(w);
        std::vector<float> y(M * N, 7.0f);
        ASSERT_TRUE(XdnaEmulated::multiply(Matrix(y.data(), M, N), *w, ConstMatrix(x.data(), M, K)));
        for (std::size_t i = 0; i < M * N; ++i) {
          const float expected = defined<F32>(form, rows.data() + i % N * K * 4, x.data() + i / N * K, K);
          ASSERT_TRUE(same_bits(y[i], expected)) << K << ' ' << M << ' ' << N;
        }
      }
    }
  }
}

// Integer weights become int8 numbers of the operand unchanged: each number times its scale is exactly the decoded weight.
TEST(XdnaEmulated, Int4ExpandsExactly) {
  for_each_type(TypeList<INT4_G128, INT4_CHANNEL, INT8_CHANNEL>{}, [](auto tag) {
    using F = decltype(tag);
    constexpr std::size_t N = 70, K = 384;
    const std::vector<std::byte> rows = random_rows<F>(9, N, K);
    const Result<Operand> w = weights_operand<F>(Form::int8, rows.data(), N, K);
    ASSERT_TRUE(w);
    ASSERT_EQ(w->group, RowScaledFormat<F> ? K : 128);
    std::vector<float> decoded(K);
    for (std::size_t n = 0; n < N; ++n) {
      decode_row<F>(rows.data() + n * stilla::row_bytes<F>(K), decoded.data(), K);
      for (std::size_t k = 0; k < K; ++k) {
        const auto level = static_cast<float>(load_as<std::int8_t>(w->units.data() + n * K + k));
        ASSERT_EQ(w->scales[k / w->group * N + n] * level, decoded[k]);
      }
    }
  });
}

TEST(XdnaEmulated, SubnormalsAreZero) {
  const float tiny = 0x1p-130f;
  for (const auto& [w, x] : {std::pair(tiny, 1e30f), std::pair(1e30f, tiny), std::pair(0x1p-70f, 0x1p-60f)}) {
    const auto weights = XdnaEmulated::prepare<F32>(reinterpret_cast<const std::byte*>(&w), 1, 1);
    float y = 7.0f;
    ASSERT_TRUE(weights && XdnaEmulated::multiply(Matrix(&y, 1, 1), *weights, ConstMatrix(&x, 1, 1)));
    EXPECT_EQ(y, 0.0f);
  }
}

TEST(XdnaEmulated, RefusesWhatItCannotHold) {
  const std::vector<std::byte> rows = random_rows<Q4_0>(1, 2, 64);
  EXPECT_EQ(XdnaEmulated::prepare<Q4_0>(rows.data(), 2, 40).error().message, "40 columns are not a multiple of the q4_0 block of 32");
  EXPECT_EQ(XdnaEmulated::prepare<Q4_0>(rows.data(), 2, 64, Form::bf16, 9).error().message, "found 9 columns; XDNA2 has 1 to 8");
  EXPECT_EQ(XdnaEmulated::prepare<INT8_CHANNEL>(nullptr, 0, 131072).error().message,
            "131072 columns; sums of int8 products fit int32 up to 131071");
  EXPECT_EQ(XdnaEmulated::prepare<INT4_G128_MIN>(nullptr, 1, 128, Form::int8).error().message,
            "XDNA2's int8 tiles multiply integers, and a weight of int4_g128_min has a minimum beside its scale; "
            "use bf16 or bfp16");
  const auto w = XdnaEmulated::prepare<Q4_0>(rows.data(), 2, 64, Form::bfp16);
  ASSERT_TRUE(w);
  std::vector<float> x(128, 1.0f), y(4);
  EXPECT_EQ(XdnaEmulated::multiply(Matrix(y.data(), 2, 2), *w, ConstMatrix(x.data(), 2, 32)).error().message,
            "found y of 2 x 2 and x of 2 x 32 for weights of 2 x 64");
  x[64 + 5] = std::nanf("");
  EXPECT_EQ(XdnaEmulated::multiply(Matrix(y.data(), 2, 2), *w, ConstMatrix(x.data(), 2, 64)).error().message,
            "activation of token 1, column 5: found nan, which bfp16 has no number for");
}

TEST(XdnaSchedule, FitsAndIsTheOneInTheTable) {
  const Schedule prompt = schedule(Form::bf16, {}, 8, 1536);
  EXPECT_TRUE(prompt.fits());
  // The memory of an XDNA core holds two buffers of 8192 bytes for core tiles of A and two for those of B, one of 16384 for the
  // results C = A * B, and 3328 bytes for the stack.
  EXPECT_EQ(prompt.core_bytes, 4u * 8192 + 16384 + 3328);
  EXPECT_EQ(prompt.c_buffers, 1u);
  EXPECT_EQ(prompt.memory_bytes, 8u * 16384 + prompt.depth * 2 * 2 * 8192);
  EXPECT_FALSE(schedule(Form::bf16, {128, 128, 64}, 8, 1536).fits());
  EXPECT_FALSE(is_whole(Form::bf16, {12, 64, 64}));
  EXPECT_FALSE(is_whole(Form::int8, {64, 60, 64}));
  EXPECT_FALSE(is_whole(Form::bfp16, {64, 64, 24}));
  EXPECT_EQ(rows_fed(1), 4u);
  EXPECT_EQ(rows_fed(3), 2u);
  EXPECT_EQ(rows_fed(8), 1u);
  const std::string table = schedule_markdown();
  EXPECT_EQ(static_cast<std::size_t>(std::count(table.begin(), table.end(), '\n')), 2u + 3 * 5 * 3 * 2);
  EXPECT_NE(table.find("| 14B | down | 5120 x 13824 | bfp16 | 64 x 64 x 64 |"), std::string::npos);
}

// Tests the tolerance with real weights: the matrices of the model in examples/models, whose weights have 4 bits.
TEST(XdnaEmulated, KeepsItsToleranceOnTheEmbeddedModel) {
  const Result<GgufFile> file = GgufFile::open(std::string(test_data) + "/../../examples/models/stilla-drop-q4_0.gguf");
  ASSERT_TRUE(file) << file.error().message;
  std::size_t matrices = 0;
  for (const GgufTensor& tensor : file->tensors()) {
    if (!tensor.name.starts_with("blk.0.") || !tensor.is_matrix()) continue;
    ASSERT_EQ(tensor.format, id_of<Q4_0>);
    ++matrices;
    const std::size_t N = tensor.rows(), K = tensor.columns();
    constexpr std::size_t M = 2;
    const std::byte* rows = file->tensor_bytes(tensor).data();
    const std::vector<float> x = noise_values(10, M * K);
    for (const Form form : forms) {
      const auto w = XdnaEmulated::prepare<Q4_0>(rows, N, K, form);
      ASSERT_TRUE(w) << w.error().message;
      std::vector<float> y(M * N);
      ASSERT_TRUE(XdnaEmulated::multiply(Matrix(y.data(), M, N), *w, ConstMatrix(x.data(), M, K)));
      const auto [error, power] = product_error<Q4_0>(rows, N, K, x, y);
      EXPECT_LE(error, XdnaEmulated::tolerance_of(form) * power) << tensor.name << ' ' << form_name(form);
    }
  }
  EXPECT_EQ(matrices, 7u);
}

// The numbers in kernels/README.md's table of tiles and memory for XDNA2 are those of schedule(), for the matrix down of the 1.5B
// model.
TEST(XdnaSchedule, IsTheOneInTheReadme) {
  const std::string text = read_file(std::string(test_data) + "/../../kernels/README.md");
  ASSERT_FALSE(text.empty());
  for (const Form form : forms) {
    for (const CoreTile& tile : {CoreTile{}, step_tile(form)}) {
      const Schedule s = schedule(form, tile, max_columns, 8960);
      const std::string row = concat("| ", form_name(form), " | ", tile.m, " x ", tile.k, " x ", tile.n, " | ", s.c_buffers, " | ",
                                     s.core_bytes, " | ", s.depth, " | ", s.memory_bytes, " |\n");
      EXPECT_NE(text.find(row), std::string::npos) << row;
    }
  }
}

TEST(XdnaDevice, IsInTheList) {
  bool found = false;
  for_each_type(Devices{}, [&](auto device) { found = found || decltype(device)::id == DeviceId{"xdna-emulated"}; });
  EXPECT_TRUE(found);
}

}  // namespace
