// SPDX-License-Identifier: Apache-2.0
//
// Tests of io/damaged_weights.hpp, which finds weights that are NaN or infinite. For many formats its check of a row reads only the
// scales. This check must find the same damage as decoding all weights of the row. The search through the tensors of a source must
// name the first damaged one.
#include <stilla/io/damaged_weights.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <stilla/base/random.hpp>
#include <stilla/format/format_name.hpp>
#include <stilla/pack.hpp>

#include "memory_source.hpp"
#include "test_util.hpp"

namespace {

using namespace stilla;

// The rows of weights are random bytes, and so are their scales. A random 16-bit float is NaN or infinite in one of 32 cases, so
// there are rows with and without damage.
TEST(DamagedWeights, ScalesTellOfEveryFormatWhatDecodingTells) {
  for_each_type(Formats{}, []<class F>(F) {
    const std::size_t K = 4 * F::block_weights;
    std::vector<std::byte> row(row_bytes<F>(K));
    std::vector<float> scratch(K), decoded(K);
    Random random(7);
    std::size_t finite = 0;
    constexpr std::size_t tries = 2000;
    for (std::size_t i = 0; i < tries; ++i) {
      for (std::byte& b : row) b = static_cast<std::byte>(static_cast<unsigned>(256 * random.uniform()));
      decode_row<F>(row.data(), decoded.data(), K);
      const bool expected = all_finite(decoded);
      ASSERT_EQ(detail::is_finite_row<F>(row.data(), scratch), expected) << F::name << ", row " << i;
      finite += expected;
    }
    if (detail::has_half_scales<F>) {
      EXPECT_GT(finite, tries / 4) << F::name;
      EXPECT_LT(finite, tries) << F::name;
    }
  });
}

stilla_test::MemorySource::Tensor floats(const std::vector<std::uint64_t>& dims, const std::vector<float>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {dims, id_of<F32>, {bytes.begin(), bytes.end()}};
}

// The damaged weight is in the first or in the last row, and there are more rows than one task gets.
TEST(DamagedWeights, TheFirstDamagedTensorIsNamed) {
  constexpr std::size_t columns = 3, rows = 200;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (const std::size_t at : {std::size_t{0}, columns * rows - 1}) {
      std::vector<float> values(columns * rows, 1.0f);
      stilla_test::MemorySource source;
      source.set("a", floats({columns, rows}, values));
      source.set("b", {{4}, no_format, std::vector<std::byte>(4, std::byte{0xff})});  // skipped, because its format is unknown
      EXPECT_TRUE(check_weights_are_numbers(source));
      values[at] = bad;
      source.set("c", floats({columns, rows}, values));
      source.set("d", floats({1}, {bad}));
      const Status status = check_weights_are_numbers(source);
      ASSERT_FALSE(status);
      EXPECT_EQ(status.error().message, "memory: array 'c': holds weights that are not numbers (NaN or infinity); the file is damaged");
      std::size_t most = 0;
      const auto until = [&](std::size_t end) {
        return find_damaged_tensor(source, {}, [&, end](std::size_t done, std::size_t all) {
          EXPECT_EQ(all, 4u);
          return (most = done) < end;
        });
      };
      EXPECT_EQ(*until(2), nullptr) << "it was told to end before the damaged tensor";
      EXPECT_EQ(*until(4), source.find_tensor("c"));
      EXPECT_EQ(most, 2u);
    }
  }
}

// The rows of this tensor are so long that no memory can hold one of them.
TEST(DamagedWeights, MemoryThatIsShortIsAnError) {
  stilla_test::MemorySource source;
  source.set("a", {{std::uint64_t{1} << 60, 200}, id_of<F32>, {}});
  const Status status = check_weights_are_numbers(source);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::system);
  EXPECT_NE(status.error().message.find("a row of weights"), std::string::npos) << status.error().message;
}

// Packed tensors are searched, too. Their panels hold the weights in another order than the rows of a file.
TEST(DamagedWeights, AlsoInPanels) {
  constexpr std::size_t N = 20, K = 8;
  std::vector<float> values(N * K, 1.0f);
  for (const bool is_damaged : {false, true}) {
    if (is_damaged) values[N * K - 1] = std::numeric_limits<float>::infinity();
    stilla_test::MemorySource source;
    std::vector<std::byte> panels(packed_bytes<F32>(N, K));
    pack<F32>(panels.data(), std::as_bytes(std::span(values)).data(), N, K);
    source.set("a", {{K, N}, id_of<F32>, panels, true});
    EXPECT_EQ(*find_damaged_tensor(source) != nullptr, is_damaged);
  }
}

}  // namespace
