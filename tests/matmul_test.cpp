// SPDX-License-Identifier: Apache-2.0
//
// Tests of matmul for the formats in blocks of 32 and of 128 weights.
#include "test_util.hpp"

namespace {
template <class F>
struct IsTested {
  static constexpr bool value = F::block_weights == 32 || F::block_weights == 128;
};
using TestedFormats = stilla::Filtered<IsTested, stilla::Formats>;
}  // namespace

#include "matmul_cases.hpp"
