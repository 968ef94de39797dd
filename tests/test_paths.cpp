// SPDX-License-Identifier: Apache-2.0
#include "test_paths.hpp"

namespace stilla_test {

const char* const test_data = STILLA_TEST_DATA;
const char* const program = STILLA_PROGRAM;

}  // namespace stilla_test
