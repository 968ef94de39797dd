// SPDX-License-Identifier: Apache-2.0
//
// A program that uses the installed headers. It needs both folders of headers: the one with the public header, and the one with
// the kernels that this header includes.
#include <cstdio>

#include <stilla/dispatch.hpp>

int main() {
  std::printf("Stilla %d.%d.%d runs on %s\n", STILLA_VERSION_MAJOR, STILLA_VERSION_MINOR, STILLA_VERSION_PATCH,
              stilla::active_target().name);
  return 0;
}
