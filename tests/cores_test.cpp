// SPDX-License-Identifier: Apache-2.0
//
// Tests base/cores.hpp, which counts the CPU's cores. Most tests make folders with files like those that Linux has under /proc and
// /sys. One test counts the cores of the machine that runs it.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include <stilla/base/cores.hpp>

namespace {

using stilla::Cores;
using stilla::detail::CgroupLimits;
using stilla::detail::read_cgroup_limits;
using stilla::detail::read_linux_cores;

// A folder with a few files, in place of the real /proc and /sys. The destructor removes it.
class Tree {
 public:
  Tree() { std::filesystem::remove_all(root_); }
  ~Tree() { std::filesystem::remove_all(root_); }
  Tree& write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << '\n';
    return *this;
  }
  Tree& cpu(std::size_t number, const std::string& siblings, const std::string& capacity = "") {
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(number);
    write(folder + "/topology/thread_siblings_list", siblings);
    return capacity.empty() ? *this : write(folder + "/cpu_capacity", capacity);
  }
  const std::string& root() const { return root_; }

 private:
  std::string root_ = ::testing::TempDir() + "stilla_cores_test";
};

TEST(Cores, HyperThreadsAreOneCore) {
  Tree tree;
  tree.cpu(0, "0,2").cpu(1, "1,3").cpu(2, "0,2").cpu(3, "1,3");
  const Cores all = read_linux_cores({0, 1, 2, 3}, tree.root());
  EXPECT_EQ(all.logical, 4u);
  EXPECT_EQ(all.physical, 2u);
  EXPECT_EQ(all.fast, 2u);
  EXPECT_EQ(all.threads(), 2u);
  EXPECT_EQ(all.max_threads(), 4u);
  EXPECT_EQ(read_linux_cores({0, 2}, tree.root()).physical, 1u) << "only what this process may run on counts";
}

TEST(Cores, FastOnesByCapacity) {
  Tree tree;  // a phone: one core of the fastest kind, three of the next, four slow ones
  tree.cpu(0, "0", "290")
      .cpu(1, "1", "290")
      .cpu(2, "2", "290")
      .cpu(3, "3", "290")
      .cpu(4, "4", "850")
      .cpu(5, "5", "850")
      .cpu(6, "6", "850")
      .cpu(7, "7", "1024");
  const Cores all = read_linux_cores({0, 1, 2, 3, 4, 5, 6, 7}, tree.root());
  EXPECT_EQ(all.physical, 8u);
  EXPECT_EQ(all.fast, 4u);
  EXPECT_EQ(all.threads(), 4u);
  EXPECT_EQ(all.max_threads(), 8u);
  EXPECT_EQ(read_linux_cores({0, 1}, tree.root()).threads(), 2u) << "bound to slow cores, these are all there is";
}

TEST(Cores, FastOnesByTheKindThatX86Names) {
  Tree tree;
  tree.write("/sys/devices/cpu_core/cpus", "0-3").write("/sys/devices/cpu_atom/cpus", "4-7");
  tree.cpu(0, "0-1").cpu(1, "0-1").cpu(2, "2-3").cpu(3, "2-3").cpu(4, "4").cpu(5, "5").cpu(6, "6").cpu(7, "7");
  const Cores all = read_linux_cores({0, 1, 2, 3, 4, 5, 6, 7}, tree.root());
  EXPECT_EQ(all.logical, 8u);
  EXPECT_EQ(all.physical, 6u);
  EXPECT_EQ(all.fast, 2u);
}

TEST(Cores, WithoutFilesEveryCpuIsACore) {
  Tree tree;
  const Cores all = read_linux_cores({0, 5, 9}, tree.root());
  EXPECT_EQ(all.logical, 3u);
  EXPECT_EQ(all.physical, 3u);
  EXPECT_EQ(all.fast, 3u);
}

TEST(Cores, ListsOfCpus) {
  using stilla::detail::parse_cpu_list;
  EXPECT_EQ(parse_cpu_list("0-2,7,10-11"), (std::set<std::size_t>{0, 1, 2, 7, 10, 11}));
  EXPECT_TRUE(parse_cpu_list("").empty());
  EXPECT_TRUE(parse_cpu_list("max").empty());
  EXPECT_EQ(parse_cpu_list("3-"), std::set<std::size_t>{});
  EXPECT_LE(parse_cpu_list("0-99999999999").size(), 1u) << "no list of that length";
}

TEST(CgroupLimits, Version2AndItsParents) {
  Tree tree;
  tree.write("/proc/self/cgroup", "0::/work/job").write("/sys/fs/cgroup/work/job/cpu.max", "max 100000");
  EXPECT_EQ(read_cgroup_limits(tree.root()).cpus, std::numeric_limits<double>::infinity());
  tree.write("/sys/fs/cgroup/work/cpu.max", "150000 100000").write("/sys/fs/cgroup/work/job/memory.max", "max");
  tree.write("/sys/fs/cgroup/memory.max", "1073741824");
  const CgroupLimits limits = read_cgroup_limits(tree.root());
  EXPECT_EQ(limits.cpus, 1.5);
  EXPECT_EQ(limits.memory_bytes, std::uint64_t{1} << 30);
}

TEST(CgroupLimits, InAContainerTheRootIsItsOwnGroup) {
  Tree tree;
  tree.write("/proc/self/cgroup", "0::/").write("/sys/fs/cgroup/cpu.max", "50000 100000");
  EXPECT_EQ(read_cgroup_limits(tree.root()).cpus, 0.5);
}

TEST(CgroupLimits, Version1) {
  Tree tree;
  tree.write("/proc/self/cgroup", "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc");
  tree.write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000").write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  tree.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(read_cgroup_limits(tree.root()).cpus, 3.0);
  EXPECT_EQ(read_cgroup_limits(tree.root()).memory_bytes, std::numeric_limits<std::uint64_t>::max());
  tree.write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1").write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4096");
  EXPECT_EQ(read_cgroup_limits(tree.root()).cpus, std::numeric_limits<double>::infinity());
  EXPECT_EQ(read_cgroup_limits(tree.root()).memory_bytes, 4096u);
}

TEST(CgroupLimits, WhatIsNotUnderstoodLimitsNothing) {
  Tree tree;
  EXPECT_EQ(read_cgroup_limits(tree.root()).cpus, std::numeric_limits<double>::infinity());
  tree.write("/proc/self/cgroup", "nothing\n0::relative\n::\n").write("/sys/fs/cgroup/cpu.max", "0 0");
  EXPECT_EQ(read_cgroup_limits(tree.root()).cpus, std::numeric_limits<double>::infinity());
}

TEST(Cores, AQuotaIsRoundedUp) {
  Cores cores{16, 8, 8};
  EXPECT_EQ(cores.threads(), 8u);
  cores.quota = 1.0;
  EXPECT_EQ(cores.threads(), 1u);
  cores.quota = 1.5;
  EXPECT_EQ(cores.threads(), 2u);
  EXPECT_EQ(cores.max_threads(), 2u);
  cores.quota = 0.25;
  EXPECT_EQ(cores.threads(), 1u);
  cores.quota = 12.0;
  EXPECT_EQ(cores.threads(), 8u);
  EXPECT_EQ(cores.max_threads(), 12u);
}

TEST(Cores, OfThisMachine) {
  const Cores cores = stilla::read_cores();
  EXPECT_GE(cores.threads(), 1u);
  EXPECT_LE(cores.fast, cores.physical);
  EXPECT_LE(cores.physical, cores.logical);
  EXPECT_LE(cores.threads(), cores.max_threads());
  EXPECT_GT(stilla::memory_bytes(), std::uint64_t{1} << 26);
}

}  // namespace
