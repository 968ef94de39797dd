// SPDX-License-Identifier: Apache-2.0
//
// Tests of coverage(), a list that names for each op and each target the target whose kernel runs. The list has every op on every
// target exactly once. Each kernel belongs to the target itself or to one of the targets that it falls back to. No op falls back to
// scalar, with the exceptions that a test below explains. The tables in kernels/coverage.md say the same as the list.
#include <stilla/coverage.hpp>

#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <tuple>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

// Returns the names of the targets whose kernels target T may run: T itself, and then its chain of fallbacks.
template <class T>
std::vector<std::string> fallback_chain() {
  std::vector<std::string> chain{T::id.name};
  if constexpr (requires { typename T::Fallback; }) {
    for (const std::string& name : fallback_chain<typename T::Fallback>()) chain.push_back(name);
  }
  return chain;
}

TEST(Coverage, HasEveryOpOnEveryTargetOnce) {
  const std::vector<CoverageEntry> entries = coverage();
  ASSERT_FALSE(entries.empty());
  std::set<std::tuple<std::string_view, std::string_view, std::string_view>> seen;
  std::set<std::pair<std::string_view, std::string_view>> kernels;
  for (const CoverageEntry& e : entries) {
    EXPECT_TRUE(seen.insert({e.op, e.variant, e.target.name}).second) << e.op << " " << e.variant << " " << e.target.name;
    kernels.insert({e.op, e.variant});
  }
  EXPECT_EQ(entries.size(), kernels.size() * Targets::size);
  for_each_type(Formats{}, [&](auto format) { EXPECT_TRUE(kernels.contains({"matmul", decltype(format)::name})); });
}

TEST(Coverage, NamesATargetOfTheFallbackChain) {
  for_each_type(Targets{}, [](auto target) {
    using T = decltype(target);
    const std::vector<std::string> chain = fallback_chain<T>();
    for (const CoverageEntry& e : coverage()) {
      if (e.target != T::id) continue;
      EXPECT_NE(std::find(chain.begin(), chain.end(), e.implemented_on.name), chain.end())
          << e.op << " " << e.variant << " on " << e.target.name << " runs " << e.implemented_on.name;
    }
  });
}

// The target `scalar` is the specification. Its code is written to be short, and is slow. So no other target may fall back to it
// by mistake, only because somebody forgot to write a kernel.
TEST(Coverage, NothingButScalarRunsScalar) {
  if (!STILLA_HAS_PORTABLE) GTEST_SKIP() << "without the portable kernels scalar is what is left";
  for (const CoverageEntry& e : coverage()) {
    if (e.target == Scalar::id) continue;
    // Packing may run scalar in two cases, because it is done only once, while a model is loaded. The first is the target
    // `portable`, which is used only where avx2 could not be compiled, and on Arm CPUs without dot products. The second is the
    // format bfp16ebs8, because no published file has it.
    if (e.op == "pack" && (e.target == Portable::id || e.variant == BFP16EBS8::name)) continue;
    EXPECT_NE(e.implemented_on, Scalar::id) << e.op << " " << e.variant << " on " << e.target.name;
  }
}

TEST(Coverage, PageHoldsTheTables) {
#if !STILLA_HAS_PORTABLE || STILLA_SINGLE_TARGET || defined(STILLA_TARGETS) || defined(STILLA_FORMATS)
  GTEST_SKIP() << "kernels/coverage.md shows the tables of all targets and formats";
#endif
  std::ifstream file(std::string(test_data) + "/../../kernels/coverage.md", std::ios::binary);
  ASSERT_TRUE(file) << "there is no kernels/coverage.md";
  const std::string page(std::istreambuf_iterator<char>(file), {});
  const std::string opening = STILLA_ARCH_X86 ? "<!-- coverage x86-64 -->\n" : "<!-- coverage aarch64 -->\n";
  const std::size_t begin = page.find(opening);
  const std::size_t end = page.find("<!-- /coverage -->", begin);
  ASSERT_NE(begin, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  const std::size_t table = begin + opening.size();
  ASSERT_LE(table, end);
  EXPECT_EQ(page.substr(table, end - table), coverage_markdown()) << "put this between the markers:\n" << coverage_markdown();
}

}  // namespace
