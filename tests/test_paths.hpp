// SPDX-License-Identifier: Apache-2.0
//
// Paths of files that tests need. Only test_paths.cpp is compiled with them, so that ccache (a cache of compiled files)
// recognises all other files in another checkout.
#pragma once

namespace stilla_test {

extern const char* const test_data;  // the folder tests/golden
extern const char* const program;    // the program stilla

}  // namespace stilla_test
