// SPDX-License-Identifier: Apache-2.0
//
// Tests of matmul for all formats except those in blocks of 256 weights, which matmul_superblock_test.cpp
// tests.
#include "test_util.hpp"

namespace {
template <class F>
struct IsTested {
  static constexpr bool value = F::block_weights != 256;
};
using TestedFormats = stilla::Filtered<IsTested, stilla::Formats>;
}  // namespace

#include "matmul_cases.hpp"
