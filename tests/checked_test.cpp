// SPDX-License-Identifier: Apache-2.0
//
// Tests of the arithmetic that reports overflow, at the limits of 64 bits. The true values are written down in this file. Where the
// compiler has __int128, a test also computes true values with it.
#include <stilla/io/checked.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace {

using namespace stilla;

constexpr std::int64_t smallest = std::numeric_limits<std::int64_t>::min(), largest = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t root = 3037000499;  // the largest integer whose square is below 2^63

// Returns the result of operation(a, b), or `otherwise` if the operation refuses because of overflow. If it refuses but changes its
// output all the same, which is an error, this function returns ~otherwise.
template <class Operation>
constexpr std::int64_t result(Operation operation, std::int64_t a, std::int64_t b, std::int64_t otherwise) {
  std::int64_t out = otherwise;
  const bool fits = operation(a, b, out);
  return fits || out == otherwise ? out : ~otherwise;
}
constexpr auto add = [](std::int64_t a, std::int64_t b, std::int64_t& out) { return checked_add(a, b, out); };
constexpr auto sub = [](std::int64_t a, std::int64_t b, std::int64_t& out) { return checked_sub(a, b, out); };
constexpr auto mul = [](std::int64_t a, std::int64_t b, std::int64_t& out) { return checked_mul(a, b, out); };

// The compiler evaluates the conditions of static_assert as constant expressions, which may hold no undefined behaviour. So these
// static_asserts also show that no step on the way to a result overflows.
static_assert(result(add, largest, 0, 7) == largest && result(add, largest, 1, 7) == 7 && result(add, 1, largest, 7) == 7);
static_assert(result(add, smallest, 0, 7) == smallest && result(add, smallest, -1, 7) == 7 && result(add, -1, smallest, 7) == 7);
static_assert(result(add, smallest, largest, 7) == -1 && result(add, smallest, smallest, 7) == 7);
static_assert(result(sub, largest, -1, 7) == 7 && result(sub, smallest, 1, 7) == 7 && result(sub, smallest, smallest, 7) == 0);
static_assert(result(sub, 0, smallest, 7) == 7 && result(sub, -1, smallest, 7) == largest && result(sub, 0, largest, 7) == -largest);
static_assert(result(mul, smallest, 1, 7) == smallest && result(mul, smallest, -1, 7) == 7 && result(mul, -1, smallest, 7) == 7);
static_assert(result(mul, largest, -1, 7) == -largest && result(mul, largest, 2, 7) == 7 && result(mul, smallest, 0, 7) == 0);
static_assert(result(mul, std::int64_t{1} << 32, std::int64_t{-1} << 31, 7) == smallest);
static_assert(result(mul, std::int64_t{1} << 32, std::int64_t{1} << 31, 7) == 7);
static_assert(result(mul, root, root, 7) == root * root && result(mul, root + 1, root + 1, 7) == 7 &&
              result(mul, -root - 1, root + 1, 7) == 7);

#if defined(__SIZEOF_INT128__)
TEST(Checked, SignedResultsAreTheTrueValuesOrRefused) {
  __extension__ using Wide = __int128;
  std::vector<std::int64_t> numbers;
  for (const std::int64_t middle : {std::int64_t{0}, root, -root, std::int64_t{1} << 31, std::int64_t{-1} << 31, std::int64_t{1} << 32,
                                    std::int64_t{-1} << 32, largest / 2, smallest / 2, largest / 3, smallest / 3}) {
    for (std::int64_t distance = -3; distance <= 3; ++distance) numbers.push_back(middle + distance);
  }
  for (std::int64_t distance = 0; distance <= 3; ++distance) {
    numbers.push_back(largest - distance);
    numbers.push_back(smallest + distance);
  }
  const auto compare = [](auto operation, const char* name, std::int64_t a, std::int64_t b, Wide expected) {
    const bool fits = expected >= smallest && expected <= largest;
    std::int64_t out = 7;
    EXPECT_EQ(operation(a, b, out), fits) << name << " " << a << " " << b;
    EXPECT_EQ(out, fits ? static_cast<std::int64_t>(expected) : 7) << name << " " << a << " " << b;
  };
  for (const std::int64_t a : numbers) {
    for (const std::int64_t b : numbers) {
      compare(add, "add", a, b, Wide{a} + b);
      compare(sub, "sub", a, b, Wide{a} - b);
      compare(mul, "mul", a, b, Wide{a} * b);
    }
  }
}
#endif

TEST(Checked, UnsignedResultsAreRefusedBeyond64Bits) {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t out = 7;
  EXPECT_FALSE(checked_add(most, std::uint64_t{1}, out));
  EXPECT_FALSE(checked_mul(std::uint64_t{1} << 32, std::uint64_t{1} << 32, out));
  EXPECT_FALSE(checked_align_up(most, 2, out));
  EXPECT_EQ(out, 7u);
  EXPECT_TRUE(checked_add(most - 1, std::uint64_t{1}, out));
  EXPECT_EQ(out, most);
  EXPECT_TRUE(checked_mul((std::uint64_t{1} << 32) - 1, (std::uint64_t{1} << 32) + 1, out));
  EXPECT_EQ(out, most);
  EXPECT_TRUE(checked_align_up(most - 63, 64, out));
  EXPECT_EQ(out, most - 63);
}

}  // namespace
