// SPDX-License-Identifier: Apache-2.0
//
// Tests the kernel for AMX with tiles in software. Its results must equal those of scalar bit for bit. There is no other way to run
// the kernel on a CPU without AMX. But the CPU needs AVX-512, which the kernel's float steps use. On a CPU with AMX the tests of
// matmul run the kernel with the real tiles.
#if defined(__GNUC__) && !defined(__clang__)
// GCC's warning -Wmaybe-uninitialized is false here. It comes from GCC 12's own AVX-512 header (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <stilla/scalar/matmul.hpp>
#include <stilla/x86_amx/activation_form.hpp>
#include <stilla/x86_amx/matmul.hpp>

#include "matmul_data.hpp"

#if STILLA_ARCH_X86
namespace {

using namespace stilla_test;

// The tile operations of AMX in plain C++, as Intel's manual (SDM) describes them. What would be a fault of the processor is a
// failure of the test. The tiles are static members, one set for the whole program, because these tests use one thread.
class SoftwareTiles {
 public:
  static void configure(const TileShapes& shapes) {
    EXPECT_EQ(shapes.palette, 1);
    EXPECT_EQ(shapes.start_row, 0);
    for (int t = 0; t < 16; ++t) {
      EXPECT_LE(shapes.rows[t], 16);
      EXPECT_LE(shapes.row_bytes[t], 64);
      EXPECT_EQ(shapes.rows[t] == 0, shapes.row_bytes[t] == 0) << "tile " << t;
      EXPECT_TRUE(t < 8 || shapes.rows[t] == 0) << "there are eight tiles";
    }
    shapes_ = shapes;
    std::memset(bytes_, 0, sizeof bytes_);
    is_configured_ = true;
  }
  static void release() { is_configured_ = false; }  // may also be called when no tiles are configured
  template <int tile>
  static void zero() {
    usable(tile);
    std::memset(bytes_[tile], 0, sizeof bytes_[tile]);
  }
  template <int tile, int at = 0>
  static void load(const void* from, std::size_t stride) {
    zero<tile>();  // this also zeros the rows and bytes outside the tile's shape
    for (std::size_t r = 0; r < shapes_.rows[tile]; ++r) {
      std::memcpy(bytes_[tile][r], static_cast<const std::byte*>(from) + at + r * stride, shapes_.row_bytes[tile]);
    }
  }
  template <int tile>
  static void load_once(const void* from, std::size_t stride) {
    load<tile>(from, stride);
  }
  template <int tile, int at = 0>
  static void store(void* to, std::size_t stride) {
    usable(tile);
    for (std::size_t r = 0; r < shapes_.rows[tile]; ++r) {
      std::memcpy(static_cast<std::byte*>(to) + at + r * stride, bytes_[tile][r], shapes_.row_bytes[tile]);
    }
  }
  template <int sum, int a, int b>
  static void dot_bf16() {
    static_assert(sum != a && a != b && sum != b);
    usable(sum), usable(a), usable(b);
    if (shapes_.rows[sum] != shapes_.rows[a] || shapes_.row_bytes[sum] != shapes_.row_bytes[b] ||
        shapes_.row_bytes[a] != 4 * shapes_.rows[b] || shapes_.row_bytes[a] % 4 != 0 || shapes_.row_bytes[b] % 4 != 0) {
      ADD_FAILURE() << "shapes of tiles " << sum << ", " << a << ", " << b << " do not match";
      return;
    }
    const auto factor = [](const std::byte* tile_row, std::size_t i) {
      std::uint16_t half;
      std::memcpy(&half, tile_row + 2 * i, 2);
      const float x = std::bit_cast<float>(std::uint32_t{half} << 16);
      return std::fpclassify(x) == FP_SUBNORMAL ? 0.0f : x;
    };
    for (std::size_t m = 0; m < shapes_.rows[sum]; ++m) {
      for (std::size_t n = 0; n < shapes_.row_bytes[sum] / 4u; ++n) {
        float sums[2] = {};
        for (std::size_t k = 0; k < shapes_.row_bytes[a] / 4u; ++k) {
          for (std::size_t j = 0; j < 2; ++j) {
            sums[j] = std::fma(factor(bytes_[a][m], 2 * k + j), factor(bytes_[b][k], 2 * n + j), sums[j]);
          }
        }
        float total;
        std::memcpy(&total, &bytes_[sum][m][4 * n], 4);
        total += sums[0] + sums[1];
        std::memcpy(&bytes_[sum][m][4 * n], &total, 4);
      }
    }
    ++products;
  }

  static inline std::size_t products = 0;

 private:
  static void usable(int tile) {
    if (!is_configured_ || shapes_.rows[tile] == 0) ADD_FAILURE() << "tile " << tile << " is not configured";
  }
  static inline TileShapes shapes_;
  static inline bool is_configured_ = false;
  static inline std::byte bytes_[8][16][64];
};

template <class F>
class AmxMatmul : public TargetTest<Avx512Vnni> {};

template <class F>
struct IsQuantised {
  // Formats with has_nibble_minimums (minimums of 4 bits, as Q2_K has) are left out: AMX runs the kernel of avx512vnni for them.
  static constexpr bool value = QuantisedFormat<F> && !has_nibble_minimums<F>;
};
using QuantisedFormats = Filtered<IsQuantised, Formats>;
TYPED_TEST_SUITE(AmxMatmul, AsGtestTypes<QuantisedFormats>::Types, FormatNames);

// Runs the kernel of scalar and that of AMX over panels [first, last) and compares their results. Two neighbouring rows of the
// results have a gap of three floats between them, which must not be written. Memory behind the last row cannot be written.
template <class F>
void expect_the_same(Weights<F>& w, Activations<F>& x, const float* bias, std::size_t first, std::size_t last) {
  const std::size_t N = w.view.rows, K = w.view.cols, stride = N + 3;
  GuardedArray<float> expected(x.M * stride - 3), found(x.M * stride - 3);
  std::fill(expected.data(), expected.data() + expected.size(), 7.0f);
  std::fill(found.data(), found.data() + found.size(), 7.0f);
  MatmulArgs<F> args{w.view.data, N, K, x.all(), Matrix(expected.data(), x.M, N, stride), bias};
  MatmulPanels<Scalar, F>::run(args, first, last);
  args.y.data = found.data();
  amx::matmul_panels<F, SoftwareTiles>(args, first, last);
  ASSERT_TRUE(same_bits(found.values(), expected.values())) << "M " << x.M << " N " << N << " K " << K;
}

TYPED_TEST(AmxMatmul, EqualsScalarInEveryShape) {
  using F = TypeParam;
  std::vector<std::size_t> column_counts = columns<F>();
  column_counts.push_back(7 * 256);  // the kernel computes this K in several chunks of several slices
  column_counts.push_back(9 * 256);  // of this K, the second chunk begins between two multiples of 512
  for (const std::size_t K : column_counts) {
    for (const std::size_t N : {15u, 32u, 83u}) {
      Weights<F> w(3, N, K);
      const std::vector<float> bias = noise_values(4, N);
      for (const std::size_t M : {31u, 32u, 43u, 130u}) {
        for (const ActivationBits bits : roundings_of<F>()) {
          Activations<F> x(5, M, K, bits);
          x.arrange(stilla::detail::activation_form(Amx::id));
          const std::size_t products = SoftwareTiles::products;
          expect_the_same(w, x, M % 2 == 1 ? bias.data() : nullptr, 0, w.view.panels());
          const std::size_t tiles = M < 32 || K % 64 != 0 ? 0 : N / 32 * 2 * ((M + 14) / 15) * (K / F::group_weights);
          const std::size_t of_sums = has_sub_minimums<F> ? tiles / RoundedSums::blocks : 0;
          EXPECT_EQ(SoftwareTiles::products - products, (bits == ActivationBits::sixteen ? 2 * tiles : tiles) + of_sums);
        }
      }
    }
  }
}

TYPED_TEST(AmxMatmul, EqualsScalarOnSomeOfThePanels) {
  using F = TypeParam;
  constexpr std::size_t N = 116, K = 256;
  Weights<F> w(6, N, K);
  Activations<F> x(7, 36, K);
  x.arrange(stilla::detail::activation_form(Amx::id));
  for (std::size_t first = 0; first < w.view.panels(); ++first) {
    for (std::size_t last = first; last <= w.view.panels(); ++last) expect_the_same<F>(w, x, nullptr, first, last);
  }
}

// The blocks of weights are random bits, so they can be any blocks that a file can hold. Some of their scales are NaN, infinite or
// subnormal.
TYPED_TEST(AmxMatmul, EqualsScalarOnRandomBytes) {
  using F = TypeParam;
  constexpr std::size_t N = 32, K = 512;
  for (std::uint32_t seed = 200; seed < 220; ++seed) {
    std::vector<std::byte> blocks(N * row_bytes<F>(K));
    for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<std::byte>(noise_bits(seed, i) >> 24);
    Weights<F> w(std::move(blocks), N, K);
    Activations<F> x(seed + 100, 33, K, seed % 2 == 0 ? ActivationBits::eight : ActivationBits::sixteen);
    x.arrange(stilla::detail::activation_form(Amx::id));
    expect_the_same<F>(w, x, nullptr, 0, 2);
  }
}

// Codes of weights and activations have their extreme values, so the sums of their products are the largest that can occur.
TYPED_TEST(AmxMatmul, ExtremeCodesAndActivations) {
  using F = TypeParam;
  constexpr std::size_t N = 32, K = 512, M = 32;
  std::vector<float> values(M * K);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i / K % 4 == 0 || i % (1 + i / K) == 0 ? 127.0f : -127.0f;
  for (const unsigned byte : {0x00u, 0xffu, 0x80u, 0x7fu, 0x88u}) {
    std::vector<std::byte> blocks(N * row_bytes<F>(K), std::byte(byte));
    set_scales_to_one<F>(blocks, N, K);
    Weights<F> w(std::move(blocks), N, K);
    for (const ActivationBits bits : roundings_of<F>()) {
      Activations<F> x(ConstMatrix(values.data(), M, K), bits);
      x.arrange(stilla::detail::activation_form(Amx::id));
      expect_the_same<F>(w, x, nullptr, 0, 2);
    }
  }
}

// The arrangement of activations for tiles holds the same numbers as the rounded activations, in the layout that
// x86_amx/activation_form.hpp draws. The test reads it through a view of all tokens, and through one that begins at token 2.
class AmxActivations : public TargetTest<Avx512Vnni> {};
TEST_F(AmxActivations, AreExactAndInTheirPlaces) {
  const auto value_at = [](const std::uint16_t* tile, std::size_t i) {
    return to_float(bf16{tile[i / 16 * 16 + amx::tile_position(i % 16)]});
  };
  for (const auto& [M, K] : {std::array<std::size_t, 2>{32, 96}, {35, 544}, {40, 288}, {33, 1024}}) {
    for (const ActivationBits bits : {ActivationBits::eight, ActivationBits::sixteen}) {
      Activations<Q4_0> x(41, M, K, bits);
      x.scales.data()[0] = std::numeric_limits<float>::quiet_NaN();
      x.scales.data()[1] = 0x1p-74f;
      x.scales.data()[2] = 0x1p54f;
      x.values.data()[32] = -128;
      x.arrange(stilla::detail::activation_form(Amx::id));
      const ActivationQ8 some = x.all().rows_from(0, M);
      for (const std::size_t begin : {std::size_t{0}, std::size_t{2}}) {
        const ActivationQ8 part = some.rows_from(begin, M - begin);
        const amx::TileActivations tiles(part.arranged);
        EXPECT_GE(tiles.stride, M + 16);
        for (std::size_t m = 0; m < part.rows; ++m) {
          for (std::size_t b = 0; b < K / 32; ++b) {
            const float scale = part.row_scales(m)[b];
            EXPECT_TRUE(same_bits(tiles.scaled_sums[b * tiles.stride + m], part.row_scaled_sums(m)[b]));
            for (std::size_t i = 0; i < 32; ++i) {
              const float high = scale * (part.low == nullptr ? 1.0f : 256.0f) * static_cast<float>(part.row_values(m)[32 * b + i]);
              ASSERT_TRUE(same_bits(value_at(tiles.values + tiles.at(m, b), i), high)) << m << ' ' << b << ' ' << i;
              if (part.low == nullptr) continue;
              const float low = scale * static_cast<float>(part.row_low(m)[32 * b + i]);
              ASSERT_TRUE(same_bits(value_at(tiles.low + tiles.at(m, b), i), low)) << m << ' ' << b << ' ' << i;
            }
          }
          for (std::size_t s = 0; s < (K / 256 + 1) / 2 * 2; ++s) {  // there are zeros behind the last 256 values
            const std::uint16_t* sums = tiles.rounded_sums + tiles.sums_at(m, 256 * s);
            const RoundedSums rounded = s < K / 256 ? part.row_rounded_sums(m)[s] : RoundedSums{};
            for (std::size_t b = 0; b < 8; ++b) {
              const double found = double{to_float(bf16{sums[2 * b]})} + double{to_float(bf16{sums[2 * b + 1]})};
              EXPECT_EQ(found, double{rounded.scale} * rounded.sums[b]) << "nothing is lost";
            }
          }
        }
      }
    }
  }
}

TEST(AmxForm, FewTokensHaveNone) {
  EXPECT_EQ(ActivationForm<Amx>::bytes(amx::fewest_tokens_for_tiles - 1, 512, ActivationBits::eight), 0u);
  EXPECT_GT(ActivationForm<Amx>::bytes(amx::fewest_tokens_for_tiles, 512, ActivationBits::eight), 0u);
  EXPECT_EQ(ActivationForm<Avx512Vnni>::bytes(100, 512, ActivationBits::eight), 0u);
}

TEST(AmxForm, PositionsAreAPermutation) {
  std::array<bool, 16> seen{};
  for (std::size_t k = 0; k < 16; ++k) seen.at(amx::tile_position(k)) = true;
  for (const bool s : seen) EXPECT_TRUE(s);
  EXPECT_EQ(amx::tile_position(5) / 2, amx::tile_position(7) / 2);  // a tile stores the values of k and k + 2 side by side
}

// The target amx is not available if the CPU lacks one of its bits of CPUID, or if the system does not permit the use of tiles.
TEST(AmxTarget, NeedsTheCpuAndTheSystem) {
  CpuInfo cpu;
  cpu.xcr0 = 0x602e7;
  cpu.leaf1.ecx = 1u << 12 | 1u << 29;
  cpu.leaf7.ebx = 1u << 3 | 1u << 5 | 1u << 8 | 1u << 16 | 1u << 30 | 1u << 31;
  cpu.leaf7.ecx = 1u << 11;
  cpu.leaf7.edx = 1u << 22 | 1u << 24;
  cpu.tiles_granted = true;
  EXPECT_TRUE(Amx::available(cpu));
  for (const unsigned bit : {22u, 24u}) {
    CpuInfo less = cpu;
    less.leaf7.edx &= ~(1u << bit);
    EXPECT_FALSE(Amx::available(less)) << bit;
  }
  CpuInfo refused = cpu;
  refused.tiles_granted = false;
  EXPECT_FALSE(Amx::available(refused));
  EXPECT_TRUE(Avx512Vnni::available(refused));
  CpuInfo no_vnni = cpu;
  no_vnni.leaf7.ecx = 0;
  EXPECT_FALSE(Amx::available(no_vnni));
}

}  // namespace
#endif
