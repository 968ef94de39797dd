// SPDX-License-Identifier: Apache-2.0
//
// Tests a target, a format and a device (the skeletons), which this program adds to the library by one line each. The tests check
// that the skeletons are compiled and chosen, that coverage() lists them, and that their results are right. They also test what the
// skeletons use and no x86 target does: sweeps over 8 rows, signed codes that are not made unsigned for the dot product, and tasks
// that take only some of the tokens.
#include <stilla/coverage.hpp>
#include <stilla/devices.hpp>
#include <stilla/fused.hpp>
#include <stilla/matmul.hpp>
#include <stilla/norm.hpp>
#include <stilla/skeleton/elementwise.hpp>
#include <stilla/skeleton/matmul.hpp>

#include <fstream>
#include <string>

#include "test_util.hpp"
#include "users.hpp"

namespace {

using namespace stilla_test;

// Compares a file with a copy to which lines were added. Returns the number of added lines, or -1 if the original has a line
// that the copy lacks.
int added_lines(const std::string& original, const std::string& copy) {
  std::ifstream a(original), b(copy);
  std::string line, other;
  int added = 0;
  bool has_line = static_cast<bool>(std::getline(a, line));
  while (std::getline(b, other)) {
    if (has_line && line == other) {
      has_line = static_cast<bool>(std::getline(a, line));
    } else {
      ++added;
    }
  }
  return has_line ? -1 : added;
}

TEST(Skeleton, IsOneLineOfEachList) {
  const std::string source = STILLA_SOURCE, overlay = STILLA_OVERLAY;
  EXPECT_EQ(added_lines(source + "/kernels/stilla/targets.hpp", overlay + "/stilla/targets.hpp"), 1);
  EXPECT_EQ(added_lines(source + "/include/stilla/format/format.hpp", overlay + "/stilla/format/format.hpp"), 1);
  EXPECT_EQ(added_lines(source + "/kernels/stilla/devices.hpp", overlay + "/stilla/devices.hpp"), 1);
}

TEST(Skeleton, IsTheBestTargetAndCovered) {
  EXPECT_EQ(active_target(), Skeleton::id);
  EXPECT_EQ(implementer("matmul", "skeleton6", Skeleton::id), Skeleton::id);
  EXPECT_EQ(implementer("matmul", "f32", Skeleton::id), Scalar::id);
  EXPECT_EQ(implementer("rms_norm", "", Skeleton::id), Skeleton::id);
  EXPECT_EQ(implementer("rope", "", Skeleton::id), Scalar::id);
  EXPECT_NE(coverage_markdown().find("| skeleton |"), std::string::npos);
}

// Two source files include different headers that both contain RMSNorm. Both must run the kernel of the skeleton, as coverage()
// says.
TEST(Skeleton, OneKernelInAllFiles) {
  const std::vector<float> x = noise_values(1, 100), weight = noise_values(2, 100);
  const std::size_t before = skeleton::norms;
  const std::vector<float> a = norm_by_norm_hpp(x, weight);
  EXPECT_EQ(skeleton::norms, before + 1) << "norm.hpp ran another target's kernel";
  const std::vector<float> b = norm_by_fused_hpp(x, weight);
  EXPECT_EQ(skeleton::norms, before + 2) << "fused.hpp ran another target's kernel";
  EXPECT_TRUE(same_bits(a, b));
}

template <class F>
class SkeletonFormats : public ::testing::Test {};
TYPED_TEST_SUITE(SkeletonFormats, AsGtestTypes<Formats>::Types, FormatNames);

// The skeleton target gives the bits of scalar: for few and many tokens, and for matrices that end within a panel, within a set
// of panels, and within a tile of 8 rows.
TYPED_TEST(SkeletonFormats, EqualsScalar) {
  using F = TypeParam;
  ThreadPool pool(3);
  for (const std::size_t K : {std::size_t{512}, F::block_weights <= 64 ? std::size_t{576} : std::size_t{768}}) {
    for (const std::size_t N : {7u, 48u, 59u, 112u}) {
      const std::vector<std::byte> rows = random_rows<F>(11, N, K);
      const auto w = PackedMatrix::create<F>(rows.data(), N, K);
      ASSERT_TRUE(w);
      for (const std::size_t M : {1u, 2u, 5u, 16u, 19u, 45u}) {
        const std::vector<float> x = noise_values(12, M * K), bias = noise_values(13, N);
        for (const ActivationBits bits : {ActivationBits::eight, ActivationBits::sixteen}) {
          std::vector<float> y[2] = {std::vector<float>(M * N, 7.0f), std::vector<float>(M * N, 8.0f)};
          std::size_t i = 0;
          for (const TargetId target : {Scalar::id, Skeleton::id}) {
            const OnTarget on(target);
            ActivationBuffer rounded(bits);
            ASSERT_TRUE(matmul(Matrix(y[i].data(), M, N), *w, ConstMatrix(x.data(), M, K), rounded, bias.data(),
                               i == 0 ? Parallel() : Parallel(pool)));
            ++i;
          }
          ASSERT_TRUE(same_bits(y[0], y[1])) << "M " << M << " N " << N << " K " << K;
        }
      }
    }
  }
}

TEST(SkeletonForm, TasksTakeAPartOfTheTokens) {
  constexpr std::size_t M = 45, K = 512, N = 96;
  const std::vector<float> x = noise_values(21, M * K);
  const std::vector<std::byte> gate_rows = random_rows<Q4_K>(22, N, K), up_rows = random_rows<SKELETON6>(23, N, K);
  const auto gate = PackedMatrix::create<Q4_K>(gate_rows.data(), N, K), up = PackedMatrix::create<SKELETON6>(up_rows.data(), N, K);
  ASSERT_TRUE(gate && up);
  ActivationBuffer rounded;
  ASSERT_TRUE(quantise(rounded, ConstMatrix(x.data(), M, K)));
  const ActivationQ8 view = rounded.view();
  ASSERT_EQ(view.arranged.form, Skeleton::id);
  ASSERT_LT(ActivationForm<Skeleton>::tokens_per_task(view), M);
  // Every block of activations must be at the place that activation_form.hpp of the skeleton (the example of a target) gives it, and so
  // must every scale of the rounded sums.
  for (std::size_t m = 0; m < M; ++m) {
    for (std::size_t b = 0; b < K / 32; ++b) {
      ASSERT_EQ(std::memcmp(view.arranged.data + (b * M + m) * 32, view.row_values(m) + 32 * b, 32), 0);
    }
    for (std::size_t i = 0; i < K / 256; ++i) {
      const auto scale = load_as<float>(view.arranged.data + M * K + (m * (K / 256) + i) * sizeof(float));
      ASSERT_EQ(scale, view.row_rounded_sums(m)[i].scale);
    }
  }
  EXPECT_EQ(view.rows_from(7, 3).arranged.first, 7u);

  // The products of many tokens, also those of gated_matmul(), must equal those of one token at a time.
  ThreadPool pool(3);
  std::vector<float> g(M * N), u(M * N), expected_g(M * N), expected_u(M * N);
  const auto row_of = [&](std::vector<float>& y, std::size_t m) { return Matrix(y.data() + m * N, 1, N); };
  const std::size_t before = skeleton::arranged_matmuls;
  EXPECT_TRUE(matmul(Matrix(g.data(), M, N), *gate, view, nullptr, pool));
  EXPECT_TRUE(matmul(Matrix(u.data(), M, N), *up, view, nullptr, pool));
  EXPECT_GT(skeleton::arranged_matmuls, before + 2 * (M / 20)) << "several parts of the tokens for each matrix";
  for (std::size_t m = 0; m < M; ++m) {
    EXPECT_TRUE(matmul(row_of(expected_g, m), *gate, view.rows_from(m, 1)));
    EXPECT_TRUE(matmul(row_of(expected_u, m), *up, view.rows_from(m, 1)));
  }
  EXPECT_TRUE(same_bits(g, expected_g));
  EXPECT_TRUE(same_bits(u, expected_u));
  EXPECT_TRUE(silu_mul(Matrix(expected_g.data(), M, N), ConstMatrix(expected_g.data(), M, N), ConstMatrix(expected_u.data(), M, N)));
  ActivationBuffer wanted, found;
  ASSERT_TRUE(quantise(wanted, ConstMatrix(expected_g.data(), M, N)) && found.resize(M, N));
  EXPECT_TRUE(gated_matmul({Matrix(g.data(), M, N), *gate}, {Matrix(u.data(), M, N), *up}, {{}, view}, &found, pool));
  EXPECT_EQ(std::memcmp(found.view().values, wanted.view().values, M * N), 0);
  EXPECT_EQ(std::memcmp(found.view().arranged.data, wanted.view().arranged.data, M * N), 0);

  // If another target fills the same buffer of activations, it removes the skeleton's arrangement, because it cannot write this
  // arrangement.
  const OnTarget on(Scalar::id);
  std::vector<float> h(M * K), scratch(x), ones(K, 1.0f);
  EXPECT_TRUE(add_norm_quantise(Matrix(h.data(), M, K), Matrix(scratch.data(), M, K), nullptr, ones.data(), 1e-6f, &rounded));
  EXPECT_EQ(rounded.view().arranged.data, nullptr);
}

// This program is compiled with few formats. So an error message can say of a format that it exists but is not compiled.
TEST(Formats, OneThatIsNotCompiledIsNamed) {
  const Result<std::size_t> bytes = packed_bytes(id_of<LPBQ64>, 16, 64);
  ASSERT_FALSE(bytes);
  EXPECT_EQ(bytes.error().message,
            "weights of the format lpbq64 are not supported, because it is not compiled: STILLA_FORMATS has to name "
            "it (stilla/base/config.hpp)");
}

// Every device must keep the tolerance that it states for itself, and no device is in the list of targets.
TEST(SkeletonDevices, KeepTheirTolerance) {
  std::size_t devices = 0;
  for_each_type(Devices{}, [&]<class D>(D) {
    ++devices;
    if (!D::available()) return;
    for_each_type(Formats{}, [&]<class F>(F) {
      constexpr std::size_t M = 3, N = 40, K = 512;
      const std::vector<std::byte> rows = random_rows<F>(31, N, K);
      const std::vector<float> x = noise_values(32, M * K);
      const Result<typename D::Weights> w = D::template prepare<F>(rows.data(), N, K);
      if (!w) {  // a device may refuse a format; the message names it
        EXPECT_FALSE((std::is_same_v<D, SkeletonDevice>));
        EXPECT_NE(w.error().message.find(F::name), std::string::npos) << w.error().message;
        return;
      }
      std::vector<float> y(M * N);
      ASSERT_TRUE(D::multiply(Matrix(y.data(), M, N), *w, ConstMatrix(x.data(), M, K)));
      const auto [error, power] = product_error<F>(rows.data(), N, K, x, y);
      EXPECT_LE(error, D::tolerance * power) << D::id.name << " with " << F::name;
      EXPECT_GT(error, 0.0) << "a device with the bits of the targets would be a target";
    });
    std::vector<float> y(4);
    EXPECT_FALSE(D::multiply(Matrix(y.data(), 2, 2), typename D::Weights{}, ConstMatrix(y.data(), 2, 2)));
  });
  EXPECT_EQ(devices, Devices::size);
  EXPECT_GE(devices, 2u) << "the one of the overlay, and the library's";
}

}  // namespace
