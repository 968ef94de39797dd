// SPDX-License-Identifier: Apache-2.0
//
// Paths of files that tests need. They differ between two checkouts of the repository. Only test_paths.cpp is compiled with them,
// so that ccache (a cache of compiled files) can reuse all other files of one checkout in another.
#pragma once

namespace stilla_test {

extern const char* const test_data;  // the folder tests/golden
extern const char* const program;    // the program stilla

}  // namespace stilla_test
