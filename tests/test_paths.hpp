// SPDX-License-Identifier: Apache-2.0
//
// Where tests find things. Only test_paths.cpp is compiled with these paths, so that ccache knows all other files again in another
// checkout.
#pragma once

namespace stilla_test {

extern const char* const test_data;  // the folder tests/golden
extern const char* const program;    // the program stilla

}  // namespace stilla_test
