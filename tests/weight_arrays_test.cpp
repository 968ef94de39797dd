// SPDX-License-Identifier: Apache-2.0
//
// Tests of weights in separate arrays of codes, scales and zero points: every weight equals the formula scale * (code - zero
// point), for every order of the codes, number of bits and size of a group. The tests write the arrays word by word, as the
// packers of AutoGPTQ and AutoAWQ write them.
#include <stilla/format/weight_arrays.hpp>
#include <stilla/matmul.hpp>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

struct Arrays {
  WeightArrays view;
  std::vector<std::uint8_t> codes, zeros;
  std::vector<std::uint32_t> words, zero_words;
  std::vector<f16> halves;
  std::vector<float> floats;
  std::vector<double> weights;  // N x K

  Arrays(CodeOrder order, std::size_t N, std::size_t K, unsigned bits, std::size_t group, bool has_zeros, bool less_one = false) {
    const std::size_t G = group == 0 ? 1 : K / group;
    std::vector<int> code(N * K), zero(N * G, bits == 8 ? 0 : 8);
    std::vector<float> scale(N * G);
    for (std::size_t i = 0; i < code.size(); ++i) {
      code[i] = bits == 8 ? static_cast<int>(noise_bits(1, i) % 256) - 128 : static_cast<int>(noise_bits(1, i) % 16);
    }
    for (std::size_t i = 0; i < scale.size(); ++i) {
      scale[i] = group == 0 ? noise(2, i) : to_float(to_f16(noise(2, i)));
      if (has_zeros) zero[i] = static_cast<int>(noise_bits(3, i) % 15) + (less_one ? 1 : 0);
    }
    weights.resize(N * K);
    for (std::size_t n = 0; n < N; ++n) {
      for (std::size_t k = 0; k < K; ++k) {
        const std::size_t g = group == 0 ? 0 : k / group;
        weights[n * K + k] = double{scale[n * G + g]} * (code[n * K + k] - zero[n * G + g]);
      }
    }
    view = {order, N, K, bits, group, nullptr, group == 0 ? ScaleType::f32 : ScaleType::f16, nullptr, nullptr, less_one};
    const auto by_group = [&](auto& out, auto&& value) {  // the order is [K / group][N], or [N][K / group] with CodeOrder::rows
      for (std::size_t i = 0; i < N * G; ++i) out.push_back(value(order == CodeOrder::rows ? i : i % N * G + i / N));
    };
    if (group == 0) {
      by_group(floats, [&](std::size_t i) { return scale[i]; });
      view.scales = floats.data();
    } else {
      by_group(halves, [&](std::size_t i) { return to_f16(scale[i]); });
      view.scales = halves.data();
    }
    constexpr std::size_t awq_order[] = {0, 2, 4, 6, 1, 3, 5, 7};  // the outputs whose codes a word holds, from the low nibble on
    const auto word_of_outputs = [&](auto&& value) {
      std::uint32_t word = 0;
      for (std::size_t i = 0; i < 8; ++i) word |= static_cast<std::uint32_t>(value(order == CodeOrder::awq ? awq_order[i] : i)) << (4 * i);
      return word;
    };
    if (order == CodeOrder::rows) {
      for (std::size_t i = 0; bits == 4 && i < N * K; i += 2) codes.push_back(static_cast<std::uint8_t>(code[i] | code[i + 1] << 4));
      for (std::size_t i = 0; bits == 8 && i < N * K; ++i) codes.push_back(static_cast<std::uint8_t>(code[i]));
      for (const int z : zero) zeros.push_back(static_cast<std::uint8_t>(z - (less_one ? 1 : 0)));
      view.codes = codes.data();
      if (has_zeros) view.zero_points = zeros.data();
      return;
    }
    if (order == CodeOrder::gptq) {
      for (std::size_t k = 0; k < K; k += 8) {
        for (std::size_t n = 0; n < N; ++n) {
          std::uint32_t word = 0;
          for (std::size_t i = 0; i < 8; ++i) word |= static_cast<std::uint32_t>(code[n * K + k + i]) << (4 * i);
          words.push_back(word);
        }
      }
    } else {
      for (std::size_t k = 0; k < K; ++k) {
        for (std::size_t n = 0; n < N; n += 8) words.push_back(word_of_outputs([&](std::size_t i) { return code[(n + i) * K + k]; }));
      }
    }
    for (std::size_t g = 0; g < G; ++g) {
      for (std::size_t n = 0; n < N; n += 8) {
        zero_words.push_back(word_of_outputs([&](std::size_t i) { return zero[(n + i) * G + g] - (less_one ? 1 : 0); }));
      }
    }
    view.codes = words.data();
    if (has_zeros) view.zero_points = zero_words.data();
  }
};

void expect_formula(const Arrays& a, FormatId expected) {
  const std::size_t N = a.view.rows, K = a.view.cols;
  const Result<FormatId> format = format_of(a.view);
  ASSERT_TRUE(format) << format.error().message;
  EXPECT_EQ(format_name(*format), format_name(expected));
  std::vector<std::byte> rows(*encoded_bytes(*format, N, K));
  ThreadPool pool(3);
  const Status s = rows_of_arrays(rows, a.view, pool);
  ASSERT_TRUE(s) << s.error().message;
  const auto packed = PackedMatrix::create(*format, rows.data(), N, K);
  ASSERT_TRUE(packed);
  std::vector<float> row(K);
  for (std::size_t n = 0; n < N; ++n) {
    embedding_lookup(row.data(), packed->view(), n);
    for (std::size_t k = 0; k < K; ++k) ASSERT_EQ(row[k], static_cast<float>(a.weights[n * K + k])) << n << ", " << k;
  }
}

TEST(WeightArrays, EveryWeightIsTheFormulas) {
  constexpr std::size_t N = 24, K = 256;
  for (const CodeOrder order : {CodeOrder::rows, CodeOrder::gptq, CodeOrder::awq}) {
    for (const bool zeros : {false, true}) {
      for (const bool less_one : {false, true}) {
        if (less_one && !zeros) continue;
        for (const std::size_t group : {32u, 64u})
          expect_formula(Arrays(order, N, K, 4, group, zeros, less_one), zeros ? id_of<Q5_0> : id_of<Q4_0>);
        expect_formula(Arrays(order, N, K, 4, 128, zeros, less_one), zeros ? id_of<UINT4_G128> : id_of<INT4_G128>);
        expect_formula(Arrays(order, N, K, 4, 0, zeros, less_one), zeros ? id_of<INT8_CHANNEL> : id_of<INT4_CHANNEL>);
      }
    }
  }
  for (const std::size_t group : {32u, 64u, 128u}) expect_formula(Arrays(CodeOrder::rows, N, K, 8, group, false), id_of<Q8_0>);
  expect_formula(Arrays(CodeOrder::rows, N, K, 8, 0, false), id_of<INT8_CHANNEL>);
  expect_formula(Arrays(CodeOrder::rows, 5, 96, 4, 32, true), id_of<Q5_0>);
}

TEST(WeightArrays, RefusesWhatNoFormatHolds) {
  const auto refused = [](const WeightArrays& w, std::string_view part) {
    std::vector<std::byte> rows;
    if (const auto format = format_of(w)) rows.resize(*encoded_bytes(*format, w.rows, w.cols));
    const Status s = rows_of_arrays(rows, w);
    EXPECT_TRUE(!s && s.error().message.find(part) != std::string::npos) << (s ? "taken" : s.error().message);
  };
  const Arrays good(CodeOrder::gptq, 24, 256, 4, 128, true);
  WeightArrays w = good.view;
  w.group = 48;
  refused(w, "groups of 48");
  w = good.view, w.cols = 200;
  refused(w, "200 columns are not a multiple of 128");
  w = good.view, w.rows = 20;
  refused(w, "20 rows are not a multiple of the 8");
  w = good.view, w.bits = 3;
  refused(w, "3 bits");
  w = good.view, w.bits = 8;
  refused(w, "8 bits are for rows");
  w = good.view, w.scales = nullptr;
  refused(w, "no scales");
  Arrays odd(CodeOrder::rows, 4, 64, 4, 32, false);
  std::vector<float> scales(8, 0.1f);
  odd.view.scale_type = ScaleType::f32, odd.view.scales = scales.data();
  refused(odd.view, "row 0, group 0: scale 0.1 is no half");
  scales.assign(8, 0.5f), scales[5] = std::nanf("");
  refused(odd.view, "row 2, group 1");
  Arrays zeros(CodeOrder::rows, 4, 64, 4, 32, true);
  zeros.zeros[3] = 17;
  refused(zeros.view, "row 1, group 1");
  std::vector<std::byte> few(10);
  EXPECT_FALSE(rows_of_arrays(few, good.view));
}

}  // namespace
