// SPDX-License-Identifier: Apache-2.0
//
// A program that uses the installed headers. It needs both folders of headers: that of the public header, and that of the kernels
// which this header includes.
#include <cstdio>

#include <stilla/dispatch.hpp>

int main() {
  std::printf("Stilla %d.%d.%d runs on %s\n", STILLA_VERSION_MAJOR, STILLA_VERSION_MINOR, STILLA_VERSION_PATCH,
              stilla::active_target().name);
  return 0;
}
