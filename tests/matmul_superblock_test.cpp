// SPDX-License-Identifier: Apache-2.0
//
// Tests of matmul for the formats in super-blocks, which are blocks of 256 weights in groups that have scales of
// their own.
#include "test_util.hpp"

namespace {
template <class F>
struct IsTested {
  static constexpr bool value = F::block_weights == 256;
};
using TestedFormats = stilla::Filtered<IsTested, stilla::Formats>;
}  // namespace

#include "matmul_cases.hpp"
