// SPDX-License-Identifier: Apache-2.0
//
// Uses both include roots: a public header, and the kernels behind it.
#include <cstdio>

#include <stilla/dispatch.hpp>

int main() {
  std::printf("Stilla %d.%d.%d runs on %s\n", STILLA_VERSION_MAJOR, STILLA_VERSION_MINOR, STILLA_VERSION_PATCH,
              stilla::active_target().name);
  return 0;
}
