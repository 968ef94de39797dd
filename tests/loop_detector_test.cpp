// SPDX-License-Identifier: Apache-2.0
//
// Tests of LoopDetector: when a text counts as repeating itself, and when it does not.
#include <stilla/text/loop_detector.hpp>

#include <gtest/gtest.h>

#include <vector>

namespace {

using stilla::LoopDetector;
using stilla::TextLoop;

// What a LoopDetector reported: the first loop (`loop`), the number of tokens after which it was reported (`at`, or 0 if none was),
// and the number of reports (`times`).
struct Told {
  std::size_t at = 0;
  TextLoop loop;
  std::size_t times = 0;
};
template <class Token>
Told first_told(std::size_t count, Token&& token) {
  LoopDetector detector;
  Told told;
  for (std::size_t i = 0; i < count; ++i) {
    if (const auto loop = detector.push(static_cast<std::uint32_t>(token(i)))) {
      if (told.times++ == 0) told.at = i + 1, told.loop = *loop;
    }
  }
  return told;
}

TEST(LoopDetector, TellsFourTimesTheSameOnce) {
  for (const std::size_t period : {1u, 2u, 5u, 16u, 17u, 100u, 511u, 512u}) {
    const Told told = first_told(6 * 512, [&](std::size_t i) { return i % period; });
    EXPECT_EQ(told.at, std::max<std::size_t>(64, 4 * period)) << period;
    EXPECT_EQ(told.loop.period, period);
    EXPECT_EQ(told.loop.tokens, told.at);
    EXPECT_EQ(told.times, 1u);
  }
  EXPECT_EQ(first_told(10000, [](std::size_t i) { return i % 513; }).at, 0u) << "longer than it remembers";
}

TEST(LoopDetector, IsSilentAboutOrdinaryText) {
  EXPECT_EQ(first_told(5000, [](std::size_t i) { return i; }).at, 0u);
  EXPECT_EQ(first_told(63, [](std::size_t) { return 7; }).at, 0u);
  // A list is not a loop: nine tokens are the same each time, but the tenth is a number that goes
  // up.
  EXPECT_EQ(first_told(5000, [](std::size_t i) { return i % 10 == 9 ? 100 + i : i % 10; }).at, 0u);
  EXPECT_EQ(first_told(300, [](std::size_t i) { return i % 100; }).at, 0u) << "three times";
}

TEST(LoopDetector, TellsANewLoopAfterTheOldOneEnded) {
  const Told told = first_told(400, [](std::size_t i) { return i < 100 ? 1 : i < 200 ? i : 2; });
  EXPECT_EQ(told.at, 64u);
  EXPECT_EQ(told.times, 2u);
}

}  // namespace
