// SPDX-License-Identifier: Apache-2.0
//
// Tests how a target is chosen. The default is the best target that this machine can run. A caller can choose any target of this
// machine by its name. All other names are refused.
#include <stilla/dispatch.hpp>

#include <algorithm>
#include <optional>
#include <string>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

std::vector<std::string> available_names() {
  std::vector<std::string> names;
  for_each_available_target([&](TargetId id) { names.emplace_back(id.name); });
  return names;
}

std::string all_names() {
  std::string names;
  for_each_type(Targets{}, [&](auto target) {
    if (!names.empty()) names += ", ";
    names += decltype(target)::id.name;
  });
  return names;
}

TEST(Dispatch, ScalarIsAlwaysThereAndLast) {
  const std::vector<std::string> names = available_names();
  ASSERT_FALSE(names.empty());
  EXPECT_EQ(names.back(), "scalar");
  EXPECT_TRUE(Scalar::available(CpuInfo{}));
  std::printf("targets this machine runs:");
  for (const std::string& name : names) std::printf(" %s", name.c_str());
  std::printf(" (compiled: %s)\n", all_names().c_str());
}

TEST(Dispatch, BestIsTheDefaultAndComesBack) {
  const std::string best = detail::best_target(Targets{}, cpu_info()).name;
  const std::vector<std::string> names = available_names();
  EXPECT_NE(std::find(names.begin(), names.end(), best), names.end());
  EXPECT_EQ(active_target().name, best);
  ASSERT_TRUE(force_target("scalar"));
  EXPECT_EQ(active_target(), Scalar::id);
  ASSERT_TRUE(force_target(""));
  EXPECT_EQ(active_target().name, best);
}

TEST(Dispatch, EveryAvailableTargetCanBeForcedAndRuns) {
  for (const std::string& name : available_names()) {
    ASSERT_TRUE(force_target(name));
    EXPECT_EQ(active_target().name, name);
    std::string ran;
    with_target(active_target(), [&](auto target) { ran = decltype(target)::id.name; });
    EXPECT_EQ(ran, name);
  }
  ASSERT_TRUE(force_target(""));
}

TEST(Dispatch, UnknownNamesAreRefusedWithTheKnownOnes) {
  for (const std::string name : {"avx9", "Scalar", " scalar", "scalar ", "sca", "best"}) {
    ASSERT_TRUE(force_target("scalar"));
    const Status status = force_target(name);
    ASSERT_FALSE(status) << name;
    EXPECT_EQ(status.error().kind, ErrorKind::bad_argument);
    EXPECT_EQ(status.error().message, "unknown target '" + name + "'; this program has: " + all_names());
    EXPECT_EQ(active_target(), Scalar::id) << "a refusal changes nothing";
  }
  const Status hostile = force_target("a\nb\x1b[2J");
  ASSERT_FALSE(hostile);
  EXPECT_EQ(hostile.error().message, "unknown target 'a\\x0ab\\x1b[2J'; this program has: " + all_names());
  ASSERT_TRUE(force_target(""));
}

// A target that is compiled but that the CPU cannot run is refused. On a CPU that can run all targets, this test
// is skipped; CI runs it on an emulated CPU that cannot.
TEST(Dispatch, TargetsThatTheCpuLacksAreRefused) {
  std::string lacking;
  for_each_type(Targets{}, [&](auto target) {
    if (!decltype(target)::available(cpu_info())) lacking = decltype(target)::id.name;
  });
  if (lacking.empty()) GTEST_SKIP() << "this CPU has every compiled target";
  const Status status = force_target(lacking);
  ASSERT_FALSE(status);
  std::string runnable;
  for (const std::string& name : available_names()) runnable += (runnable.empty() ? "" : ", ") + name;
  EXPECT_EQ(status.error().message, "target '" + lacking + "' is not supported by this CPU and operating system; it can run: " + runnable);
  EXPECT_EQ(active_target(), detail::best_target(Targets{}, cpu_info()));
}

TEST(Dispatch, NamesThatWereNotCompiledRunScalar) {
  std::string ran;
  with_target(TargetId{"not compiled here"}, [&](auto target) { ran = decltype(target)::id.name; });
  EXPECT_EQ(ran, "scalar");
}

#if STILLA_ARCH_ARM
// The features of an Arm CPU come from the bits of AT_HWCAP and AT_HWCAP2, as Linux reports them. What other
// systems report is stored in the same form.
TEST(Dispatch, ArmTargetsNeedTheirFeatures) {
  CpuInfo cpu;
  EXPECT_FALSE(Dotprod::available(cpu));
  cpu.hwcap = std::uint64_t{1} << 20;
  EXPECT_TRUE(Dotprod::available(cpu));
  EXPECT_FALSE(I8mm::available(cpu));
  cpu.hwcap2 = std::uint64_t{1} << 13;
  EXPECT_TRUE(I8mm::available(cpu));
  cpu.hwcap = ~cpu.hwcap;
  EXPECT_FALSE(Dotprod::available(cpu));
  EXPECT_FALSE(I8mm::available(cpu));
}

// The test gives the library's description of a CPU different values of MIDR_EL1, the Arm register that names the core (designer
// << 24 | part << 4). The target i8mm becomes the default only on cores that are faster with its instruction smmla.
TEST(Dispatch, SmmlaIsTheDefaultWhereTheCoreIsFasterWithIt) {
  CpuInfo cpu;
  cpu.hwcap = std::uint64_t{1} << 20;
  cpu.hwcap2 = std::uint64_t{1} << 13;
  using Both = TypeList<I8mm, Dotprod, Scalar>;
  using WithoutDotprod = TypeList<I8mm, Scalar>;
  for (const std::uint64_t midr : {0x410fd400u /* Neoverse V1 */, 0x410fd490u /* N2 */, 0x6d0fd490u /* Cobalt 100 */}) {
    cpu.midr = midr;
    EXPECT_EQ(detail::best_target(Both{}, cpu), I8mm::id) << midr;
  }
  cpu.midr = 0x510f0010;  // Oryon
  EXPECT_EQ(detail::best_target(Both{}, cpu), Dotprod::id);
  EXPECT_EQ(detail::best_target(WithoutDotprod{}, cpu), I8mm::id);
  cpu.hwcap2 = 0;
  EXPECT_EQ(detail::best_target(Both{}, cpu), Dotprod::id);
}

// For some cores the library knows whether they are faster with smmla. The core's variant and revision, which MIDR_EL1 also has,
// make no difference. The library measures all other cores when the program runs. These include other cores of Qualcomm's, because
// they may be faster with smmla.
TEST(Dispatch, OnlyKnownCoresAreNotMeasured) {
  const auto known = [](std::uint64_t midr) {
    CpuInfo cpu;
    cpu.midr = midr;
    return i8mm::smmla_is_known_faster(cpu);
  };
  EXPECT_EQ(known(0x510f0010), false) << "Oryon in Snapdragon X";
  EXPECT_EQ(known(0x512f0011), false) << "a later revision of it";
  for (const std::uint64_t midr : {0x510f0020u, 0x511f0030u, 0x510f8000u, 0x610f0220u, 0x4e0f0040u, 0u}) {
    EXPECT_EQ(known(midr), std::nullopt) << midr;
  }
  EXPECT_EQ(known(0x410fd490), true) << "Neoverse N2";
  EXPECT_EQ(known(0x410f0010), true) << "the part's number belongs to its designer";
}

class MeasuredSmmla : public TargetTest<I8mm> {};
TEST_F(MeasuredSmmla, DecidesOnceWhereTheCoreIsNotKnown) {
  CpuInfo cpu = cpu_info();
  cpu.midr = 0;
  const bool is_faster = I8mm::is_faster(cpu);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(I8mm::is_faster(cpu), is_faster);
}
#endif

#if STILLA_ARCH_X86
// The features of an x86 CPU come from the bits of CPUID. If one that the target portable uses is missing, the
// target is not available.
TEST(Dispatch, PortableNeedsEveryFeatureItUses) {
  CpuInfo cpu;
  cpu.xcr0 = 0x7;
  cpu.leaf1.ecx = 1u << 12 | 1u << 29;
  cpu.leaf7.ebx = 1u << 5 | 1u << 3 | 1u << 8;
  EXPECT_TRUE(Portable::available(cpu));
  for (const unsigned bit : {12u, 29u}) {
    CpuInfo less = cpu;
    less.leaf1.ecx &= ~(1u << bit);
    EXPECT_FALSE(Portable::available(less)) << bit;
  }
  for (const unsigned bit : {3u, 5u, 8u}) {
    CpuInfo less = cpu;
    less.leaf7.ebx &= ~(1u << bit);
    EXPECT_FALSE(Portable::available(less)) << bit;
  }
  for (const std::uint64_t saved : {0u, 1u, 3u, 5u}) {  // registers that the system saves; some are missing
    CpuInfo less = cpu;
    less.xcr0 = saved;
    EXPECT_FALSE(Portable::available(less)) << saved;
  }
}
#endif

}  // namespace
