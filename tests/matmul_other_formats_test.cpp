// SPDX-License-Identifier: Apache-2.0
//
// Tests of matmul for the formats that matmul_test.cpp leaves out: blocks of 256 weights, and floats.
#include "test_util.hpp"

namespace {
template <class F>
struct IsTested {
  static constexpr bool value = F::block_weights != 32 && F::block_weights != 128;
};
using TestedFormats = stilla::Filtered<IsTested, stilla::Formats>;
}  // namespace

#include "matmul_cases.hpp"
