// SPDX-License-Identifier: Apache-2.0
//
// Tests the kernels for HVX, the vector unit of Qualcomm's Hexagon DSP, on a vocabulary in plain C++ (HvxPlain). Their results must
// equal the specification in contract/npu.hpp bit for bit, and every memory access must follow the hardware's rules.
// (tests/npu_hexagon/run.sh, which .ci/full runs, tests the same kernels with HVX's own instructions under qemu.)
#include <stilla/contract/npu.hpp>
#include <stilla/contract/npu_activations.hpp>
#include <stilla/contract/npu_fixed_point.hpp>
#include <stilla/devices.hpp>
#include <stilla/npu_hexagon/fixed_point.hpp>
#include <stilla/npu_hexagon/hvx_plain.hpp>
#include <stilla/npu_hexagon/matmul.hpp>
#include <stilla/npu_hexagon/schedule.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "test_util.hpp"

namespace {

using namespace stilla_test;
using hexagon::HvxPlain;
using hexagon::WeightForm;

// An array whose address is a multiple of 128. Kernels may touch its first `allowed` elements, by default all, and nothing
// around them.
template <class T>
class VectorArray {
 public:
  explicit VectorArray(std::size_t size) : VectorArray(size, size) {}
  VectorArray(std::size_t size, std::size_t allowed) : size_(size), bytes_(new(std::align_val_t{128}) std::byte[size * sizeof(T)]{}) {
    memory_ = std::make_unique<HvxPlain::Memory>(data(), allowed * sizeof(T));
  }
  template <class Container>
  static std::unique_ptr<VectorArray> of(const Container& values) {
    auto a = std::make_unique<VectorArray>(values.size());
    std::copy(values.begin(), values.end(), a->data());
    return a;
  }
  VectorArray(const VectorArray&) = delete;
  VectorArray& operator=(const VectorArray&) = delete;
  ~VectorArray() { ::operator delete[](bytes_, std::align_val_t{128}); }
  T* data() { return reinterpret_cast<T*>(bytes_); }
  std::vector<T> values() { return {data(), data() + size_}; }

 private:
  std::size_t size_;
  std::byte* bytes_;
  std::unique_ptr<HvxPlain::Memory> memory_;
};

class Hexagon : public ::testing::Test {
 protected:
  void SetUp() override { HvxPlain::forget_faults(); }
  void TearDown() override { EXPECT_EQ(HvxPlain::faults(), 0u) << HvxPlain::first_fault(); }
};

struct RandomWeights {
  RandomWeights(std::uint32_t seed, std::size_t N, std::size_t K, std::size_t block)
      : codes(N * K), block_scales(block == 0 ? 0 : N * K / block), scales(noise_values(seed + 2, N, 0.01f)) {
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = noise_bits(seed, i) >> 28 & 15u;
    for (std::size_t i = 0; i < block_scales.size(); ++i) {
      block_scales[i] = static_cast<std::uint8_t>(1 + noise_bits(seed + 1, i) % 15u);
    }
    // The first two rows of the matrix have extreme weights: all of row 0 are the lowest, and all of row 1 the highest. So their sums
    // of products have the largest magnitude that is possible, with each sign.
    for (std::size_t n = 0; n < 2 && n < N; ++n) {
      std::fill_n(codes.begin() + std::ptrdiff_t(n * K), K, std::uint8_t(15 * n));
      if (block != 0) std::fill_n(block_scales.begin() + std::ptrdiff_t(n * K / block), K / block, std::uint8_t{15});
    }
    view = {codes.data(), block_scales.data(), scales.data(), K, block};
    form = block == 0 ? WeightForm::per_channel : WeightForm::lpbq;
  }
  std::vector<std::uint8_t> codes, block_scales;
  std::vector<float> scales;
  npu::ArrayWeights view;
  WeightForm form;
};

TEST_F(Hexagon, UnpackIsTheInverseOfPack) {
  for (const std::size_t block : {0u, 32u, 64u, 128u}) {
    for (const std::size_t N : {1u, 128u, 200u}) {
      constexpr std::size_t K = 384;
      const RandomWeights w(1, N, K, block);
      std::vector<std::uint8_t> panels(hexagon::panel_count(N) * hexagon::panel_bytes(w.form, K), 0xee);
      hexagon::pack(panels.data(), w.form, w.view, N, K);
      const hexagon::PanelWeights found{panels.data(), w.form, K};
      std::vector<std::uint8_t> again(panels.size(), 0xdd);
      hexagon::pack(again.data(), w.form, found, N, K);
      EXPECT_EQ(again, panels) << "every byte is written, and says all that was packed";
      for (std::size_t n = 0; n < N; ++n) {
        ASSERT_EQ(found.channel_scale(n), w.scales[n]);
        for (std::size_t k = 0; k < K; ++k) {
          ASSERT_EQ(found.code(n, k), w.view.code(n, k)) << n << ' ' << k;
          ASSERT_EQ(found.block_scale(n, k), w.view.block_scale(n, k)) << n << ' ' << k;
        }
      }
    }
  }
}

template <class A>
void expect_the_contract(std::size_t N, std::size_t K, std::size_t M, std::size_t block, bool with_bias) {
  const RandomWeights w(static_cast<std::uint32_t>(N + M), N, K, block);
  std::vector<A> a(M * K);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<A>(noise_bits(5, i) >> 16);
  // Activations of the first token all have the lowest value of their type, those of the second token the highest.
  std::fill_n(a.begin(), K, std::numeric_limits<A>::min());
  if (M > 1) std::fill_n(a.begin() + std::ptrdiff_t(K), K, std::numeric_limits<A>::max());
  const std::vector<float> token_scales = noise_values(6, M), bias = noise_values(7, N);
  std::vector<float> expected(M * N), found(M * N, 7.0f);
  npu::scalar::matmul(expected.data(), w.view, N, K, a.data(), token_scales.data(), M, with_bias ? bias.data() : nullptr);

  constexpr auto activations = sizeof(A) == 1 ? npu::Activations::int8 : npu::Activations::int16;
  VectorArray<std::uint8_t> panels(hexagon::panel_count(N) * hexagon::panel_bytes(w.form, K));
  VectorArray<std::uint8_t> columns(hexagon::columns_bytes(activations, M, K));
  hexagon::pack(panels.data(), w.form, w.view, N, K);
  hexagon::pack_columns(columns.data(), a.data(), M, K);
  hexagon::MatmulArgs args;
  args.panels = panels.data(), args.form = w.form, args.N = N, args.K = K;
  args.columns = columns.data(), args.activations = activations, args.token_scales = token_scales.data(), args.M = M;
  args.bias = with_bias ? bias.data() : nullptr;
  args.y = found.data(), args.y_stride = N;
  hexagon::matmul<HvxPlain>(args, 0, hexagon::panel_count(N));
  EXPECT_TRUE(same_bits(found, expected)) << "M " << M << " N " << N << " K " << K << " block " << block << " of " << sizeof(A);
}

TEST_F(Hexagon, MatmulEqualsTheContract) {
  for (const std::size_t block : {0u, 32u, 64u, 128u}) {
    for (const std::size_t M : {1u, 2u, 3u, 4u, 7u}) {
      expect_the_contract<std::int8_t>(150, 256, M, block, M % 2 == 0);
      expect_the_contract<std::int16_t>(150, 256, M, block, M % 2 == 1);
    }
    if (block != 128) expect_the_contract<std::int16_t>(1, 64, 1, block, false);
  }
}

// Tests products with the largest K that is allowed. A byte of a packed panel holds two weights of 4 bits, and the kernel
// multiplies activations by whole bytes. This K gives the largest sums of such products, and of the products with 16 times the upper
// weight, which the kernel subtracts. Neither may overflow.
TEST_F(Hexagon, MatmulAtTheLargestK) {
  for (const std::size_t block : {0u, 32u}) {
    expect_the_contract<std::int8_t>(2, npu::largest_k, 2, block, false);
    expect_the_contract<std::int16_t>(2, npu::largest_k, 1, block, false);
  }
}

TEST_F(Hexagon, FixedPointEqualsTheContract) {
  for (const std::size_t n : {64u, 192u, 1536u}) {
    std::vector<std::int16_t> x(n), weight(n), expected(n);
    for (std::size_t i = 0; i < n; ++i) {
      x[i] = static_cast<std::int16_t>(noise_bits(8, i) >> 16);
      weight[i] = static_cast<std::int16_t>(noise_bits(9, i) >> 16);
    }
    x[0] = x[1] = weight[1] = weight[2] = -32768, x[3] = weight[3] = 32767;
    const auto in = VectorArray<std::int16_t>::of(x), second = VectorArray<std::int16_t>::of(weight);
    VectorArray<std::int16_t> out(n);
    for (const std::uint64_t epsilon : {std::uint64_t{0}, std::uint64_t{n} << 20}) {
      for (const npu::NormFormat f : {npu::NormFormat{12, 10}, npu::NormFormat{15, 0}}) {
        npu::scalar::rms_norm(expected.data(), x.data(), weight.data(), n, epsilon, f);
        hexagon::rms_norm<HvxPlain>(out.data(), in->data(), second->data(), n, epsilon, f);
        EXPECT_EQ(out.values(), expected);
      }
    }
    for (int fraction = 1; fraction <= npu::largest_score_fraction; ++fraction) {
      npu::scalar::softmax(expected.data(), x.data(), n, fraction);
      hexagon::softmax<HvxPlain>(out.data(), in->data(), n, fraction);
      EXPECT_EQ(out.values(), expected) << fraction;
      for (const int shift : {0, 1, 14, 30}) {
        npu::scalar::swiglu(expected.data(), x.data(), weight.data(), n, fraction, shift);
        hexagon::swiglu<HvxPlain>(out.data(), in->data(), second->data(), n, fraction, shift);
        EXPECT_EQ(out.values(), expected) << fraction << ' ' << shift;
      }
    }
  }
  // RMSNorm is tested with a token of zeros, which has the least root mean square that is possible.
  VectorArray<std::int16_t> zeros(64), out(64);
  hexagon::rms_norm<HvxPlain>(out.data(), zeros.data(), zeros.data(), 64, 0, {});
  EXPECT_EQ(out.values(), zeros.values());
}

TEST_F(Hexagon, HadamardEqualsTheContract) {
  for (const std::size_t n : {64u, 192u, 256u, 640u, 4864u, 18944u, 32768u}) {
    for (const int kind : {0, 1, 2}) {  // 0 is noise, 1 small noise, and 2 the largest sum that is possible
      std::vector<std::int16_t> x(n), expected(n);
      for (std::size_t i = 0; i < n; ++i) {
        const auto noise = static_cast<std::int16_t>(noise_bits(12, i) >> 16);
        x[i] = kind == 0 ? noise : kind == 1 ? static_cast<std::int16_t>(noise >> 9) : std::int16_t{-32768};
      }
      std::vector<std::int32_t> exact(n);
      const int shift = npu::scalar::hadamard(expected.data(), exact.data(), x.data(), n);
      const auto in = VectorArray<std::int16_t>::of(x);
      VectorArray<std::int16_t> out(n);
      VectorArray<std::int32_t> sums(n);
      EXPECT_EQ(hexagon::hadamard<HvxPlain>(out.data(), sums.data(), in->data(), n), shift) << n;
      EXPECT_EQ(out.values(), expected) << n;
      EXPECT_EQ(sums.values(), exact) << n;
      EXPECT_EQ(hexagon::hadamard<HvxPlain>(in->data(), sums.data(), in->data(), n), shift) << n;  // output and input are the same array
      EXPECT_EQ(in->values(), expected) << n;
    }
  }
}

TEST_F(Hexagon, RopeEqualsTheContract) {
  for (const std::size_t pairs : {64u, 128u}) {
    std::vector<std::int16_t> x(2 * pairs), cos(pairs), sin(pairs);
    for (std::size_t i = 0; i < pairs; ++i) {
      x[2 * i] = static_cast<std::int16_t>(noise_bits(11, i) >> 16);
      x[2 * i + 1] = i % 3 == 0 ? -32768 : 32767;
      cos[i] = static_cast<std::int16_t>(std::lrint(std::cos(double(i)) * 16384));
      sin[i] = static_cast<std::int16_t>(std::lrint(std::sin(double(i)) * 16384));
    }
    const auto found = VectorArray<std::int16_t>::of(x);
    const auto c = VectorArray<std::int16_t>::of(cos), s = VectorArray<std::int16_t>::of(sin);
    npu::scalar::rope(x.data(), cos.data(), sin.data(), pairs);
    hexagon::rope<HvxPlain>(found->data(), c->data(), s->data(), pairs);
    EXPECT_EQ(found->values(), x);
  }
}

// Tests e^x and the sigmoid for every argument of 16 bits. The vector kernels must give the results of scalar code.
TEST_F(Hexagon, ExpAndSigmoidOfEveryArgument) {
  std::vector<std::int16_t> all(65536), expected(65536);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int16_t>(i);
  const auto in = VectorArray<std::int16_t>::of(all);
  VectorArray<std::int16_t> out(64);
  for (const int fraction : {1, 7, 11}) {
    for (std::size_t i = 0; i < all.size(); i += 64) {
      const HvxPlain::Vector v = HvxPlain::load(in->data() + i);
      HvxPlain::store(out.data(), hexagon::sigmoid<HvxPlain>(v, fraction));
      for (std::size_t j = 0; j < 64; ++j) ASSERT_EQ(out.data()[j], npu::scalar::sigmoid(all[i + j], fraction)) << all[i + j];
      if (i >= 32768) continue;
      HvxPlain::store(out.data(), hexagon::exp_negative<HvxPlain>(v, fraction));
      for (std::size_t j = 0; j < 64; ++j) ASSERT_EQ(out.data()[j], npu::scalar::exp_negative(all[i + j], fraction));
    }
  }
}

// Tests the checks that HvxPlain, the vocabulary in plain C++, makes itself: it records the faults of a wrong kernel.
TEST(HexagonPlain, RecordsWhatTheHardwareWouldNotDo) {
  HvxPlain::forget_faults();
  VectorArray<std::uint8_t> memory(256);
  HvxPlain::load(memory.data());
  HvxPlain::two_words(memory.data() + 248);
  EXPECT_EQ(HvxPlain::faults(), 0u);
  HvxPlain::load(memory.data() + 64);
  EXPECT_STREQ(HvxPlain::first_fault(), "a vector at no multiple of 128");
  HvxPlain::store(memory.data() + 256, HvxPlain::zero());
  HvxPlain::load(memory.data() - 128);
  HvxPlain::two_words(memory.data() + 4);
  HvxPlain::two_words(memory.data() + 256);
  HvxPlain::shift_each_right(HvxPlain::zero(), HvxPlain::splat_half(16));
  EXPECT_GE(HvxPlain::faults(), 6u);

  // The test forbids the kernel to touch the last vector of a panel's block scales and the tail of the panel behind it. The kernel
  // loads this vector, and it also loads two vectors ahead, from the tail. So three faults are recorded.
  HvxPlain::forget_faults();
  const RandomWeights w(3, 128, 128, 32);
  const std::size_t bytes = hexagon::panel_bytes(w.form, 128);
  VectorArray<std::uint8_t> short_panel(bytes, bytes - hexagon::tail_bytes - 128);
  hexagon::pack(short_panel.data(), w.form, w.view, 128, 128);
  VectorArray<std::uint8_t> columns(hexagon::columns_bytes(npu::Activations::int8, 1, 128));
  const float scale = 1.0f;
  std::vector<float> y(128);
  hexagon::MatmulArgs args;
  args.panels = short_panel.data(), args.form = w.form, args.N = 128, args.K = 128, args.columns = columns.data();
  args.token_scales = &scale, args.M = 1, args.y = y.data(), args.y_stride = 128;
  hexagon::matmul<HvxPlain>(args, 0, 1);
  EXPECT_EQ(HvxPlain::faults(), 3u);
  EXPECT_STREQ(HvxPlain::first_fault(), "an access outside the memory that the kernel was given");
  HvxPlain::forget_faults();
}

// A weight format that only these tests have: a row has one float scale, and each block of 64 weights has an integer scale, as in
// LPBQ with blocks of 64.
struct BlockScaled {
  static constexpr std::string_view name = "block_scaled";
  static constexpr std::size_t block_weights = 64, block_bytes = 33, group_weights = 32;
  static constexpr unsigned code_bits = 4;
  static constexpr int zero_point = 8;
  static constexpr bool has_sub_scales = true, has_minimum = false, is_codebook = false;

  static int code(const std::byte* block, std::size_t k) { return std::to_integer<int>(block[1 + k / 2]) >> (4 * (k % 2)) & 15; }
  static int sub_scale(const std::byte* block, std::size_t) { return std::to_integer<int>(block[0]); }
  static float scale(const std::byte* row) { return load_as<float>(row); }
  static float fit(const float*, std::size_t) { return 1.0f; }
  static void decode(const std::byte* block, float scale, float* weights) {
    for (std::size_t k = 0; k < block_weights; ++k) {
      weights[k] = scale * static_cast<float>(sub_scale(block, 0) * (code(block, k) - zero_point));
    }
  }
};

template <class F>
std::vector<std::byte> rows_of(std::uint32_t seed, std::size_t N, std::size_t K) {
  std::vector<std::byte> rows = random_rows<F>(seed, N, K);
  if constexpr (F::has_sub_scales) {
    for (std::size_t n = 0; n < N; ++n) {
      for (std::size_t k = 0; k < K; k += F::block_weights) {
        rows[static_cast<std::size_t>(block_of<F>(rows.data() + n * row_bytes<F>(K), k) - rows.data())] =
            static_cast<std::byte>(1 + noise_bits(seed, n * K + k) % 15u);
      }
    }
  }
  return rows;
}

// Returns M tokens of noise. In each token one value is replaced by 30. It is about 30 times the root mean square of the other
// values, and 24 times that of all values if K is 1536. The device's tolerance is stated for activations of up to 32 times the root
// mean square, so these tokens come near that limit.
std::vector<float> tokens_with_outliers(std::uint32_t seed, std::size_t M, std::size_t K) {
  std::vector<float> x = noise_values(seed, M * K, 1.7f);
  for (std::size_t m = 0; m < M; ++m) x[m * K + 5 * m] = 30.0f;
  return x;
}

template <class F>
void expect_a_good_device() {
  constexpr std::size_t M = 3, N = 140, K = 1536;
  const std::vector<std::byte> rows = rows_of<F>(51, N, K);
  const std::vector<float> x = tokens_with_outliers(52, M, K);
  const Result<HexagonEmulated::Weights> w = HexagonEmulated::prepare<F>(rows.data(), N, K);
  ASSERT_TRUE(w) << w.error().message;
  std::vector<float> y(M * N);
  ASSERT_TRUE(HexagonEmulated::multiply(Matrix(y.data(), M, N), *w, ConstMatrix(x.data(), M, K)));

  // The device rounds activations. Its result is within its tolerance of the product of the same weights and the activations before
  // rounding, computed in double.
  const auto [error, power] = product_error<F>(rows.data(), N, K, x, y);
  EXPECT_LE(error, HexagonEmulated::tolerance * power);
  EXPECT_GT(error, 1e-3 * HexagonEmulated::tolerance * power) << "the tolerance says something";

  // The emulated device's result also has the bits that the HVX kernels compute from the same rows of weights.
  std::vector<std::int16_t> a(M * K);
  std::vector<float> token_scales(M), found(M * N);
  for (std::size_t m = 0; m < M; ++m) token_scales[m] = npu::quantise_token(a.data() + m * K, x.data() + m * K, K);
  constexpr WeightForm form = F::has_sub_scales ? WeightForm::lpbq : WeightForm::per_channel;
  VectorArray<std::uint8_t> panels(hexagon::panel_count(N) * hexagon::panel_bytes(form, K));
  VectorArray<std::uint8_t> columns(hexagon::columns_bytes(npu::Activations::int16, M, K));
  hexagon::pack(panels.data(), form, hexagon::RowWeights<F>{rows.data(), K}, N, K);
  hexagon::pack_columns(columns.data(), a.data(), M, K);
  hexagon::MatmulArgs args;
  args.panels = panels.data(), args.form = form, args.N = N, args.K = K, args.columns = columns.data(), args.M = M;
  args.activations = npu::Activations::int16, args.token_scales = token_scales.data(), args.y = found.data(), args.y_stride = N;
  hexagon::matmul<HvxPlain>(args, 0, hexagon::panel_count(N));
  EXPECT_TRUE(same_bits(y, found));
}

TEST_F(Hexagon, DeviceKeepsItsToleranceAndTheKernelsBits) {
  expect_a_good_device<INT4_CHANNEL>();
  expect_a_good_device<BlockScaled>();
  expect_a_good_device<LPBQ32>();
  expect_a_good_device<LPBQ64>();
  expect_a_good_device<LPBQ128>();
}

// The device applies the Hadamard transform to its inputs itself. Its result is near the exact one, and has the bits that the
// HVX kernels give.
TEST_F(Hexagon, DeviceTransformsItsInputs) {
  using F = INT4_CHANNEL;
  constexpr std::size_t M = 3, N = 40, K = 4864;
  const std::vector<std::byte> rows = rows_of<F>(61, N, K);
  std::vector<float> x = noise_values(62, M * K, 1.7f), transformed;
  for (std::size_t m = 0; m < M; ++m) x[m * K + 7 * m] = 15.0f;
  for (std::size_t m = 0; m < M; ++m) {
    std::vector<double> exact(x.begin() + std::ptrdiff_t(m * K), x.begin() + std::ptrdiff_t((m + 1) * K));
    hadamard_butterflies(exact.data(), K);
    for (const double value : exact) transformed.push_back(static_cast<float>(value / std::sqrt(double(hadamard_run(K)))));
  }
  const Result<HexagonEmulated::Weights> w = HexagonEmulated::prepare<F>(rows.data(), N, K);
  ASSERT_TRUE(w) << w.error().message;
  std::vector<float> y(M * N);
  ASSERT_TRUE(HexagonEmulated::multiply_transformed(Matrix(y.data(), M, N), *w, ConstMatrix(x.data(), M, K)));
  const auto [error, power] = product_error<F>(rows.data(), N, K, transformed, y);
  EXPECT_LE(error, HexagonEmulated::tolerance * power);
  EXPECT_GT(error, 1e-3 * HexagonEmulated::tolerance * power);

  const hexagon::RowWeights<F> weights{rows.data(), K};
  for (std::size_t m = 0; m < M; ++m) {
    VectorArray<std::int16_t> token(K);
    VectorArray<std::int32_t> sums(K);
    const float scale = npu::quantise_token(token.data(), x.data() + m * K, K);
    const int shift = hexagon::hadamard<HvxPlain>(token.data(), sums.data(), token.data(), K);
    const float token_scale = npu::hadamard_scale(scale, shift, K);
    std::vector<float> found(N);
    npu::scalar::matmul(found.data(), weights, N, K, token.data(), &token_scale, 1, nullptr);
    EXPECT_TRUE(same_bits(found, std::vector<float>(y.begin() + std::ptrdiff_t(m * N), y.begin() + std::ptrdiff_t((m + 1) * N))));
  }
}

template <class F>
std::string refusal(std::vector<std::byte> rows, std::size_t N, std::size_t K) {
  const auto w = HexagonEmulated::prepare<F>(rows.data(), N, K);
  return w ? "none" : w.error().message;
}
TEST(HexagonDevice, RefusesWhatItCannotHold) {
  EXPECT_EQ(refusal<INT8_CHANNEL>({}, 0, 64),
            "expected 4-bit weights with zero point 8, a scale for each row and block scales of 1 to 15 if "
            "any, found int8_channel");
  EXPECT_EQ(refusal<INT4_CHANNEL>(rows_of<INT4_CHANNEL>(1, 1, 96), 1, 96),
            "expected rows of whole chunks of 64 weights, at most 65536, found 96");
  std::vector<std::byte> rows = rows_of<BlockScaled>(1, 2, 128);
  rows[row_bytes<BlockScaled>(128) + 4 + 33] = std::byte{16};
  EXPECT_EQ(refusal<BlockScaled>(rows, 2, 128), "expected block scales of 1 to 15, found 16 in row 1 at 64");
  std::vector<float> y(4);
  const auto status = HexagonEmulated::multiply(Matrix(y.data(), 2, 2), {}, ConstMatrix(y.data(), 2, 2));
  EXPECT_EQ(status.error().message, "expected x of 2 x 0 and y of 2 x 0, found x of 2 x 2 and y of 2 x 2");
}
TEST(HexagonDevice, RefusesATransformThatCouldOverflow) {
  const std::size_t K = npu::largest_k;
  const std::vector<std::byte> rows = rows_of<INT4_CHANNEL>(1, 1, K);
  const auto w = HexagonEmulated::prepare<INT4_CHANNEL>(rows.data(), 1, K);
  ASSERT_TRUE(w);
  std::vector<float> x(K), y(1);
  const Status status = HexagonEmulated::multiply_transformed(Matrix(y.data(), 1, 1), *w, ConstMatrix(x.data(), 1, K));
  EXPECT_EQ(status.error().message, "expected transforms of at most 32768 values, found 65536");
}
static_assert(stilla::detail::is_in_list<HexagonEmulated, Devices>);
static_assert(TransformingDevice<HexagonEmulated>);

// Computes once more, by hand, what a schedule says about a product on Hexagon: its steps and the fast memory that they take. The
// product is that of the matrix down of the 7B model, in LPBQ, and 64 tokens of int16.
TEST(HexagonSchedule, DownOfThe7B) {
  const hexagon::MatrixShape down = hexagon::r1_layers[1].matrices[3];
  EXPECT_EQ(down.N, 3584u);
  EXPECT_EQ(down.K, 18944u);
  const hexagon::Schedule s = hexagon::plan(down, WeightForm::lpbq, npu::Activations::int16, 64, 8u << 20);
  EXPECT_EQ(s.column_bytes, 64u * 2 * 18944 * 9 / 8);
  EXPECT_EQ(s.panels, 2u);
  EXPECT_EQ(s.steps, 14u);
  EXPECT_EQ(s.weight_bytes, 2u * 2 * (1024 + 18944 / 64 * 33 * 128));
  EXPECT_EQ(s.result_bytes, 2u * 64 * 2 * 128 * 4);
  EXPECT_LE(s.bytes(), 8u << 20);
  const hexagon::Schedule less = hexagon::plan(down, WeightForm::lpbq, npu::Activations::int16, 64, 4u << 20);
  EXPECT_EQ(less.passes, 2u);
  EXPECT_EQ(less.tokens, 32u);
  EXPECT_EQ(hexagon::plan(down, WeightForm::lpbq, npu::Activations::int16, 64, 1u << 20).panels, 0u) << "no panel fits";
}

}  // namespace
